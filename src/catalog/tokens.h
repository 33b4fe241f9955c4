/*
 * tokens.h - rows of all_tokens, and the lock that makes one process of many ask a token endpoint.
 *
 * All but the lock's release and its checks are called inside "ours" (session.h).
 */
#ifndef OND_CATALOG_TOKENS_H
#define OND_CATALOG_TOKENS_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "utils/snapshot.h"

typedef struct OndTokenRow {
  int64 version;              /* 0: no row, or no token came yet */
  char *token;                /* decrypted, palloc'd: the caller wipes it; NULL: none, or it cannot be read with this key */
  size_t token_n;
  char *previous;             /* likewise; NUL-terminated */
  TimestampTz obtained_at, expires_at; /* 0: none */
  TimestampTz intent_at;      /* 0: no request is unresolved */
} OndTokenRow;

/* snapshot NULL: the transaction's own. */
extern void ond_token_load(int64 destination_id, Oid owner, Snapshot snapshot, OndTokenRow *out);
extern void ond_token_row_wipe(OndTokenRow *row);
/* A request is about to go out; its number. The row is there afterwards. */
extern int64 ond_token_intend(int64 destination_id);
/* The request was answered without a token: nothing is on its way any more. */
extern void ond_token_settle(int64 destination_id, int64 intent_no);
/* Stores the answer to a request; previous: the refresh token before, or NULL. The new version; 0: another request has begun since, or the row is gone. */
extern int64 ond_token_store(int64 destination_id, int64 intent_no, Oid owner, const char *token, size_t token_n, const char *previous,
                             TimestampTz obtained_at, TimestampTz expires_at);
extern void ond_token_forget(int64 destination_id);
/* As ond_secrets_reencrypt(), of tokens. */
extern int64 ond_tokens_reencrypt(void);

/*
 * The token lock: heavyweight, on (database, all_tokens, destination), for the session, without waiting; user SQL can neither take nor release it,
 * and it goes when the process does. One at a time in a process. False: somebody else has it.
 */
extern bool ond_token_lock_try(int64 destination_id);
/* An abort gives it up. */
extern bool ond_token_lock_is_mine(void);
/* Also outside of transactions; nothing when it is not held. */
extern void ond_token_unlock(void);

#endif
