/*
 * change_row.h - a change with its row, from the diff to its ack: plain bytes in one piece of memory, so that it can go to disk and back and
 * outlive the transaction it was read in.
 */
#ifndef OND_ENGINE_CHANGE_ROW_H
#define OND_ENGINE_CHANGE_ROW_H

#include "postgres.h"
#include "connector/connector.h"
#include "core/change.h"
#include "core/deliver.h"
#include "lib/stringinfo.h"
#include "storage/buffile.h"

#define OND_KEYS_MAX 8

typedef struct OndChangeRow {
  OndTask task;               /* delivery's view; task.row points back here */
  OndRow row;                 /* the templates' view */
  OndKeyState before;
  bool has_before;
  OndHash hash;               /* OND_HASH_DELETE for deletes */
  int64 change_id;
  OndKeyState after;          /* settle rows: what to write; empty: remove the state row */
  int64 ordinal;              /* place in the model's order */
  int n_keys;
  OndBytes key_text[OND_KEYS_MAX];  /* as the state table's types read it */
  OndBytes key_json;          /* {"id": 113} */
  OndBytes keys[OND_KEYS_MAX];      /* JSON values, row.keys points here */
  OndBytes kept;              /* what goes along with its acceptance (kept.h); absent: nothing to keep */
  OndBytes kept_before;       /* as the state row has it */
  OndBytes *columns;          /* row.columns points here */
  int n_columns;
  char idempotency_key[33];
  int hops;                   /* of its way: engine/way.h */
  bool found;                 /* a lookup found its record */
  struct OndJob *job;         /* that carries it: engine/job.h */
  bool doubt_before;          /* in doubt before that began */
  bool resumed;               /* its job was begun by an earlier run, which counted it */
  bool settled;               /* and its fate is known already: nothing to record */
  /* what the answer told; palloc'd, freed with the row */
  char *message;              /* NULL: none */
  char *remote_id;            /* NULL: keep */
  char *remote;               /* NULL: keep */
  int created;                /* 1, 0, -1 */
  bool unconfirmed;
} OndChangeRow;

/* A change as the diff hands it over; bytes are copied. */
typedef struct OndChangeDraft {
  OndOp op;                   /* OND_OP_NONE: a settle row */
  OndKeyState before;
  bool has_before;
  OndHash hash;
  int64 change_id;
  OndKeyState after;
  int64 ordinal;
  int n_keys;
  OndBytes key_text[OND_KEYS_MAX];
  OndBytes keys[OND_KEYS_MAX];
  OndBytes key_json;
  OndBytes fields;
  OndBytes remote_id;
  OndBytes remote;
  OndBytes kept;
  OndBytes kept_before;
  int n_columns;
  const OndBytes *columns;
} OndChangeDraft;

/*
 * The store: what the diff found, in the order it is sent (settle rows, deletes, updates, creates); in temporary files, which are deleted with the process.
 * Created outside of any transaction's life; memory is bounded by the files' buffers.
 */
typedef struct OndStore OndStore;

extern OndStore *ond_store_create(void);                       /* in the current memory context */
extern void ond_store_add(OndStore *store, const OndChangeDraft *draft);   /* needs a transaction for temp tablespaces */
/* The number of changes of an operation (OND_OP_NONE: settle rows). */
extern int64 ond_store_count(const OndStore *store, OndOp op);
/* Forgets what was added. */
extern void ond_store_reset(OndStore *store);
/* Starts reading from the beginning: settle rows only, or changes only. */
extern void ond_store_rewind(OndStore *store, bool settle);
/* The next one, in the current memory context; NULL at the end. */
extern OndChangeRow *ond_store_next(OndStore *store);

/* For who sorts them: everything from the beginning, the next record appended as bytes (false: the end), and a row of such bytes, which it copies. */
extern void ond_store_rewind_all(OndStore *store);
extern bool ond_store_next_raw(OndStore *store, StringInfo out);
extern OndChangeRow *ond_store_row(const char *raw);

#endif
