/*
 * request_log.c - see request_log.h.
 *
 * Invariants: no header is kept; URL and bodies are scrubbed of secret values before they are cut, so that no half of one is left; a log
 * that cannot be
 * written does not touch the run; a run records no more requests than retention keeps of its sync.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "catalog/settings.h"
#include "catalog/utf8.h"
#include "core/text.h"
#include "engine/request_log.h"
#include "miscadmin.h"

#define TEXT_BYTES_MAX  2000
#define ANSWER_BYTES_MAX (64 * 1024) /* more of an answer is not looked at: secrets are out of it before it comes here */
#define NOTES_MAX       256

enum {
  N_FINISHED,
  N_OPERATION,
  N_ROWS,
  N_METHOD,
  N_URL,
  N_STATUS,
  N_ELAPSED,
  N_SENT,
  N_RECEIVED,
  N_ERROR,
  N_REQUEST,
  N_RESPONSE,
  N_COLUMNS
};

static const Oid element_types[N_COLUMNS] = {TIMESTAMPTZOID, TEXTOID, INT4OID, TEXTOID, TEXTOID, INT4OID,
                                             INT8OID,        INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID};

struct OndRequestLog {
  MemoryContext notes; /* reset with each flush */
  int64 sync_id, run_id;
  const OndAuth *auth;
  int64 left; /* so many more may be recorded */
  int n;
  Datum values[N_COLUMNS][NOTES_MAX];
  bool nulls[N_COLUMNS][NOTES_MAX];
};

OndRequestLog *ond_request_log_create(int64 sync_id, int64 run_id, const OndAuth *auth) {
  OndRequestLog *log;

  if (!ond_log_requests_errors())
    return NULL;
  log = palloc0(sizeof(*log));
  log->notes = AllocSetContextCreate(CurrentMemoryContext, "ondatra requests", ALLOCSET_DEFAULT_SIZES);
  log->sync_id = sync_id;
  log->run_id = run_id;
  log->auth = auth;
  log->left = ond_setting_request_retention_count < 0 ? PG_INT64_MAX : ond_setting_request_retention_count;
  return log;
}

/* Text for a column: scrubbed as a whole (half a secret at a cut would not be found), cut at a character, in the database's encoding; what it cannot express becomes '?'. */
static Datum clean_text(const OndRequestLog *log, const char *s, size_t n) {
  OndBuf buf;
  char *copy;
  Datum d;

  ond_buf_init(&buf, n + 1);
  ond_buf_append(&buf, s, n);
  ond_auth_scrub(log->auth, &buf);
  n = buf.len;
  copy = pnstrdup(buf.data, ond_utf8_cut(buf.data, n, TEXT_BYTES_MAX));
  ond_buf_free(&buf);
  ond_text_clean(copy);
  d = CStringGetTextDatum(ond_words_from_utf8(copy));
  pfree(copy);
  return d;
}

static void put_text(OndRequestLog *log, int column, const char *s, size_t n) {
  log->nulls[column][log->n] = s == NULL;
  log->values[column][log->n] = s == NULL ? (Datum)0 : clean_text(log, s, n);
}

void ond_request_log_add(OndRequestLog *log, const OndHttpRequest *request, const OndHttpResponse *response, const char *operation,
                         int rows, const char *error) {
  MemoryContext saved;

  if (log == NULL || log->left == 0 || log->n == NOTES_MAX)
    return;
  if (error == NULL && pg_prng_double(&pg_global_prng_state) >= ond_log_requests_share())
    return;
  saved = MemoryContextSwitchTo(log->notes);
  for (int c = 0; c < N_COLUMNS; c++)
    log->nulls[c][log->n] = false;
  log->values[N_FINISHED][log->n] = TimestampTzGetDatum(GetCurrentTimestamp());
  put_text(log, N_OPERATION, operation, strlen(operation));
  log->values[N_ROWS][log->n] = Int32GetDatum(rows);
  put_text(log, N_METHOD, request->method, strlen(request->method));
  put_text(log, N_URL, request->url, strlen(request->url));
  log->nulls[N_STATUS][log->n] = response->status == 0;
  log->values[N_STATUS][log->n] = Int32GetDatum(response->status);
  log->values[N_ELAPSED][log->n] = Int64GetDatum(response->elapsed_us / 1000);
  log->values[N_SENT][log->n] = Int64GetDatum(response->bytes_sent);
  log->values[N_RECEIVED][log->n] = Int64GetDatum(response->bytes_received);
  put_text(log, N_ERROR, error, error == NULL ? 0 : strlen(error));
  put_text(log, N_REQUEST, request->body.data, request->body.len);
  put_text(log, N_RESPONSE, response->body.data, Min(response->body.len, ANSWER_BYTES_MAX));
  log->n++;
  log->left--;
  MemoryContextSwitchTo(saved);
}

bool ond_request_log_is_full(const OndRequestLog *log) {
  return log != NULL && log->n > NOTES_MAX / 2;
}

static Datum column_array(OndRequestLog *log, int column, Oid *array_type) {
  Oid type = element_types[column];
  int dims[1] = {log->n}, lbs[1] = {1};

  *array_type = type == TEXTOID ? TEXTARRAYOID : type == INT4OID ? INT4ARRAYOID : type == INT8OID ? INT8ARRAYOID : TIMESTAMPTZARRAYOID;
  if (type == TEXTOID)
    return PointerGetDatum(construct_md_array(log->values[column], log->nulls[column], 1, dims, lbs, type, -1, false, TYPALIGN_INT));
  if (type == INT4OID)
    return PointerGetDatum(construct_md_array(log->values[column], log->nulls[column], 1, dims, lbs, type, 4, true, TYPALIGN_INT));
  return PointerGetDatum(
      construct_md_array(log->values[column], log->nulls[column], 1, dims, lbs, type, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void write_notes(OndRequestLog *log) {
  Oid types[N_COLUMNS + 2] = {INT8OID, INT8OID};
  Datum values[N_COLUMNS + 2] = {Int64GetDatum(log->sync_id), Int64GetDatum(log->run_id)};

  ond_tx_begin();
  for (int c = 0; c < N_COLUMNS; c++)
    values[c + 2] = column_array(log, c, &types[c + 2]);
  ond_spi(
      SPI_OK_INSERT,
      "INSERT INTO ondatra.all_requests (sync_id, run_id, finished_at, operation, rows, method, url, http_status, elapsed_ms, bytes_sent, "
      "bytes_received,"
      " error_message, request_body, response_body) SELECT $1, $2, u.* FROM unnest($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) u",
      N_COLUMNS + 2, types, values, NULL);
  ond_tx_commit_soon();
}

void ond_request_log_flush(OndRequestLog *log) {
  MemoryContext saved = CurrentMemoryContext;
  uint32 held = QueryCancelHoldoffCount;

  if (log == NULL || log->n == 0)
    return;
  Assert(!IsTransactionState());
  PG_TRY();
  { write_notes(log); }
  PG_CATCH();
  {
    MemoryContextSwitchTo(saved);
    EmitErrorReport();
    FlushErrorState();
    ond_tx_abort();
    QueryCancelHoldoffCount = held; /* raising gave up what delivery holds */
    log->left = 0;
  }
  PG_END_TRY();
  MemoryContextSwitchTo(saved);
  MemoryContextReset(log->notes);
  log->n = 0;
}
