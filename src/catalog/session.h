/*
 * session.h - whose rights and settings a piece of SQL runs with. Two kinds, never mixed in one transaction of a worker:
 *
 *   ours    our own SQL about our own tables: user = the extension's owner, restricted operation, search_path = pg_catalog, pg_temp,
 *           settings pinned. No user-defined code in reach.
 *   owner   the model: user = the sync's owner, restricted operation, search_path of the model's creation, read only.
 *
 * In a worker each is a transaction of its own (ond_tx_*). In a backend (SQL-callable functions) the caller's transaction goes on and only identity and
 * settings are switched (ond_our_begin/end); an error restores both by itself, as the (sub)transaction's abort does.
 */
#ifndef OND_CATALOG_SESSION_H
#define OND_CATALOG_SESSION_H

#include "postgres.h"
#include "core/error.h"
#include "utils/snapshot.h"

/* Facts about the extension in this database; looked up once per transaction and checked again in each. */
typedef struct OndExtension {
  Oid extension;   /* pg_extension.oid */
  Oid schema;      /* ondatra */
  Oid owner;       /* of the extension: its tables' owner */
  Oid syncs_relid; /* ondatra.all_syncs: the class of the run lock's tag */
  char version[64];
  bool is_other; /* than the library's */
} OndExtension;

/*
 * NULL when the extension is not installed here, or of another version than the library, which the log says (missing_ok), or an error with a hint: 42704,
 * 55000. Needs a transaction.
 */
extern const OndExtension *ond_extension(bool missing_ok);

/* State to restore. */
typedef struct OndScope {
  Oid saved_user;
  int saved_sec_context;
  bool saved_read_only; /* a (sub)transaction's abort restores it by itself, as it does the rest */
  int guc_nest_level;
  bool spi;
} OndScope;

/*
 * For a background worker that holds locks for its session, before it connects: the server releases those with transactions only, so a process that
 * is ended outside of one would leave them behind.
 */
extern void ond_session_locks_end_with_process(void);

/*
 * For a background worker: it works for the extension that its first transaction meets. When that was dropped, ond_tx_begin raises 55000, also when there
 * is a new one, whose syncs and destinations may have the same numbers.
 */
extern void ond_session_of_one_extension(void);
/*
 * Of a worker, once it is connected. The server ends whole processes for transaction_timeout (from 17 on): it is off for the session, and what the role or
 * database had set bounds the reading of the model.
 */
extern void ond_session_of_worker(const char *application_name);
/* How long a model may be read by the settings of its owner: the least of statement_timeout and transaction_timeout, in milliseconds; 0: no limit. */
extern int ond_model_timeout_ms(void);

/* Switches to "ours" inside a transaction and connects SPI (spi true). Nesting is fine. */
extern void ond_our_begin(OndScope *scope, bool spi);
extern void ond_our_end(OndScope *scope);

/* Switches to "owner": user, restricted operation, search_path as given (a list as in the setting) but pg_temp last, settings pinned, XactReadOnly. */
extern void ond_owner_begin(OndScope *scope, Oid owner, const char *search_path, bool spi);
extern void ond_owner_end(OndScope *scope);
/*
 * Likewise, but the owner may write, and enters restricted operations by what is called (REFRESH). Only in a session of the owner's own, and with nothing
 * of ours in the transaction. Ends with ond_owner_end().
 */
extern void ond_owner_write_begin(OndScope *scope, Oid owner, const char *search_path, bool spi);

/* Pins what text forms of values depend on, for the caller's GUC nest level. */
extern void ond_pin_text_settings(void);

/* Worker: a whole transaction of our own, with SPI connected and a snapshot; ond_tx_commit ends it, with ond_tx_abort in a PG_CATCH. READ COMMITTED, synchronous_commit on. */
extern void ond_tx_begin(void);
extern void ond_tx_commit(void);
/* The same without waiting for the disk: it comes there with the next ond_tx_commit of anybody, before that one. For what may be lost with all that follows it. */
extern void ond_tx_commit_soon(void);
extern void ond_tx_abort(void);

/* SPI_execute_with_args with an error on failure; command is e.g. SPI_OK_SELECT. args as in SPI. Returns SPI_processed. The memory context stays the caller's. */
extern uint64 ond_spi(int expect, const char *sql, int nargs, Oid *types, Datum *values, const char *nulls);
/* Likewise, read only under the snapshot given (for what this transaction's own snapshot is too old to see). */
extern uint64 ond_spi_snapshot(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls, Snapshot snapshot);

/* ereport(ERROR) from an OndError. */
extern _Noreturn void ond_raise(const OndError *e);

#endif
