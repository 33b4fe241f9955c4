/*
 * held.c - see held.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "catalog/session.h"
#include "catalog/utf8.h"
#include "core/text.h"
#include "engine/held.h"

#define PART_DIGESTS 131072 /* 1 MB */
#define SAMPLES      5
#define SAMPLE_BYTES_MAX 200

static uint64 digest(const OndSync *sync, const OndChangeRow *row) {
  char op = (char)row->task.op;
  uint64 seed;

  memcpy(&seed, sync->hash_seed, sizeof(seed));
  seed = XXH3_64bits_withSeed(&op, 1, seed);
  seed = XXH3_64bits_withSeed(row->hash.b, sizeof(row->hash.b), seed);
  return XXH3_64bits_withSeed(row->key_json.p, row->key_json.n, seed);
}

/* --- holding ---------------------------------------------------------------------------------------------- */

typedef struct Samples {
  int64 n[3];                 /* deletes, updates, creates */
  StringInfoData keys[3];
} Samples;

static int op_number(OndOp op) {
  return op == OND_OP_DELETE ? 0 : op == OND_OP_UPDATE ? 1 : 2;
}

static void insert_part(int64 run_id, int part, const uint64 *digests, int n) {
  Oid types[3] = {INT8OID, INT4OID, BYTEAOID};
  bytea *bytes = palloc(VARHDRSZ + sizeof(uint64) * n);
  Datum values[3] = {Int64GetDatum(run_id), Int32GetDatum(part), PointerGetDatum(bytes)};

  SET_VARSIZE(bytes, VARHDRSZ + sizeof(uint64) * n);
  memcpy(VARDATA(bytes), digests, sizeof(uint64) * n);
  ond_spi(SPI_OK_INSERT, "INSERT INTO ondatra.held_changes (run_id, part, digests) VALUES ($1, $2, $3)", 3, types, values, NULL);
  pfree(bytes);
}

static void note_sample(Samples *s, const OndChangeRow *row) {
  int i = op_number(row->task.op);

  if (s->n[i]++ < SAMPLES)
    appendStringInfo(&s->keys[i], "%s%s", s->keys[i].len > 0 ? ", " : "",
                     ond_words_from_utf8(pnstrdup(row->key_json.p, ond_utf8_cut(row->key_json.p, row->key_json.n, SAMPLE_BYTES_MAX))));
}

static void keep_digests(const OndSync *sync, int64 run_id, OndStore *store, Samples *samples) {
  MemoryContext rows = AllocSetContextCreate(CurrentMemoryContext, "ondatra held rows", ALLOCSET_DEFAULT_SIZES);
  uint64 *digests = palloc(sizeof(uint64) * PART_DIGESTS);
  int n = 0, part = 0;

  ond_store_rewind(store, false);
  for (;;) {
    MemoryContext saved = MemoryContextSwitchTo(rows);
    OndChangeRow *row = ond_store_next(store);

    if (row != NULL)
      digests[n++] = digest(sync, row);
    MemoryContextSwitchTo(saved);
    if (row != NULL)
      note_sample(samples, row);
    MemoryContextReset(rows);
    if (n == PART_DIGESTS || (row == NULL && n > 0)) {
      insert_part(run_id, part++, digests, n);
      n = 0;
    }
    if (row == NULL)
      break;
  }
  MemoryContextDelete(rows);
  pfree(digests);
}

/* "312 deletes ({"id": 1}, {"id": 2}, ...), 4 updates ({"id": 7})" */
static char *describe(const Samples *s) {
  static const char *const names[3][2] = {{"delete", "deletes"}, {"update", "updates"}, {"create", "creates"}};
  StringInfoData text;

  initStringInfo(&text);
  for (int i = 0; i < 3; i++)
    if (s->n[i] > 0)
      appendStringInfo(&text, "%s" INT64_FORMAT " %s (%s%s)", text.len > 0 ? ", " : "", s->n[i], names[i][s->n[i] > 1], s->keys[i].data, s->n[i] > SAMPLES ? ", ..." : "");
  if (text.len == 0)
    appendStringInfoString(&text, "nothing would be sent");
  return text.data;
}

void ond_hold_run(const OndSync *sync, int64 run_id, const OndGuard *guard, OndStore *store) {
  Oid types[4] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
  Datum values[4] = {Int64GetDatum(run_id), CStringGetTextDatum(guard->name), CStringGetTextDatum(guard->message)};
  Samples samples = {{0}};

  for (int i = 0; i < 3; i++)
    initStringInfo(&samples.keys[i]);
  keep_digests(sync, run_id, store, &samples);
  values[3] = CStringGetTextDatum(psprintf("It would send %s. Hint: ondatra.approve_run(" INT64_FORMAT ") sends this, ondatra.reject_run(" INT64_FORMAT ") drops it and pauses the sync.",
                                           describe(&samples), run_id, run_id));
  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_runs SET status = 'held', guard = $2, error_message = $3, error_detail = $4, held_at = pg_catalog.clock_timestamp()"
          " WHERE run_id OPERATOR(pg_catalog.=) $1",
          4, types, values, NULL);
}

/* --- approved --------------------------------------------------------------------------------------------- */

int64 ond_held_run(int64 sync_id, bool *approved) {
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(sync_id)};
  bool isnull;

  *approved = false;
  if (ond_spi(SPI_OK_SELECT,
              "SELECT run_id, approved_by IS NOT NULL FROM ondatra.all_runs WHERE sync_id OPERATOR(pg_catalog.=) $1 AND finished_at IS NULL AND status"
              " OPERATOR(pg_catalog.=) 'held'",
              1, types, values, NULL) == 0)
    return 0;
  *approved = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
  return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static int compare(const void *a, const void *b) {
  uint64 x = *(const uint64 *)a, y = *(const uint64 *)b;

  return x < y ? -1 : x > y;
}

static bool has_operation(const char *list, const char *operation) {
  return list == NULL || strstr(list, operation) != NULL;
}

OndApproval *ond_approval_take(int64 run_id) {
  MemoryContext caller = CurrentMemoryContext;
  OndApproval *a = palloc0(sizeof(OndApproval));
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(run_id)};
  char *operations;
  uint64 parts;
  Size at = 0;

  ond_spi(SPI_OK_SELECT, "SELECT pg_catalog.array_to_string(approved_operations, ',') FROM ondatra.all_runs WHERE run_id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
  operations = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
  a->creates = has_operation(operations, "create");
  a->updates = has_operation(operations, "update");
  a->deletes = has_operation(operations, "delete");
  parts = ond_spi(SPI_OK_DELETE_RETURNING, "DELETE FROM ondatra.held_changes WHERE run_id OPERATOR(pg_catalog.=) $1 RETURNING digests", 1, types, values, NULL);
  a->digests = MemoryContextAllocHuge(caller, sizeof(uint64) * PART_DIGESTS * Max(parts, 1));
  for (uint64 i = 0; i < parts; i++) {
    bool isnull;
    bytea *bytes = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

    memcpy((char *)a->digests + at, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
    at += VARSIZE_ANY_EXHDR(bytes);
  }
  a->n = (int64)(at / sizeof(uint64));
  qsort(a->digests, a->n, sizeof(uint64), compare);
  MemoryContextSwitchTo(caller);
  return a;
}

bool ond_approval_covers(const OndApproval *a, const OndSync *sync, const OndChangeRow *row) {
  uint64 d = digest(sync, row);
  bool operation = row->task.op == OND_OP_DELETE ? a->deletes : row->task.op == OND_OP_UPDATE ? a->updates : a->creates;

  return operation && bsearch(&d, a->digests, a->n, sizeof(uint64), compare) != NULL;
}
