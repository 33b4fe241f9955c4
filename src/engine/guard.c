/*
 * guard.c - see guard.h. Arithmetic over what the diff counted; the limits themselves are core/guard.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "catalog/session.h"
#include "engine/guard.h"
#include "engine/version.h"

#define RESEND_PERCENT 10 /* on_config_change = hold: fewer go without asking */
#define STATE_ROWS_MIN 20 /* a smaller loss of state rows is noise */

int64 ond_guard_deleted_lately(int64 sync_id) {
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(sync_id)};
  bool isnull;

  ond_spi(SPI_OK_SELECT,
          "SELECT coalesce(pg_catalog.sum(r.rows_deleted), 0)::pg_catalog.int8 FROM ondatra.all_runs r WHERE r.sync_id OPERATOR(pg_catalog.=) $1 AND r.approved_by IS NULL"
          " AND r.started_at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '24 hours'::pg_catalog.interval)",
          1, types, values, NULL);
  return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

char *ond_guard_definition(const OndModel *model) {
  char kind = OidIsValid(model->relid) ? get_rel_relkind(model->relid) : RELKIND_RELATION;

  if (kind != RELKIND_VIEW && kind != RELKIND_MATVIEW)
    return NULL;
  return TextDatumGetCString(OidFunctionCall1(F_PG_GET_VIEWDEF_OID, ObjectIdGetDatum(model->relid)));
}

static bool differs(const char *a, const char *b) {
  return a == NULL || b == NULL ? a != b : strcmp(a, b) != 0;
}

const char *ond_guard_config_change(const OndSync *sync, const char *definition) {
  bool model = sync->sent_model != NULL && differs(sync->sent_model, sync->model);
  bool mapping = sync->sent_model != NULL && differs(sync->sent_mapping, sync->mapping);
  bool view = sync->sent_model != NULL && !model && sync->sent_definition != NULL && differs(sync->sent_definition, definition);

  if (sync->hash_format != OND_HASH_FORMAT)
    return "the format of versions";
  if (mapping)
    return model ? "the model and the mapping" : view ? "the view and the mapping" : "the mapping";
  return model ? "the model" : view ? "the view" : NULL;
}

/* 48210 as "48,210": these words are for people. */
static char *number(int64 n) {
  char digits[MAXINT8LEN + 1];
  char *out = palloc(2 * MAXINT8LEN);
  int len = pg_lltoa(n, digits);
  char *at = out;

  for (int i = 0; i < len; i++) {
    *at++ = digits[i];
    if ((len - i - 1) % 3 == 0 && i + 1 < len && digits[i] != '-')
      *at++ = ',';
  }
  *at = '\0';
  return out;
}

/* "1 row", "48,210 rows" */
static char *rows_of(int64 n) {
  return psprintf("%s row%s", number(n), n == 1 ? "" : "s");
}

static bool trip(OndGuard *guard, const char *name, char *message) {
  guard->name = name;
  guard->message = message;
  return true;
}

static bool empty_trips(const OndGuardInput *in, OndGuard *guard) {
  OndMode mode = in->sync->mode;

  if (in->sync->options.empty_runs || in->pass != OND_PASS_FULL || in->diff->rows_scanned > 0 || in->diff->state_rows == 0 ||
      mode == OND_MODE_APPEND || mode == OND_MODE_INSERT || mode == OND_MODE_REPLACE)
    return false;
  return trip(guard, "empty", psprintf("the model has no rows, though %s were delivered (on_empty: hold)", number(in->diff->state_rows)));
}

static bool state_trips(const OndGuardInput *in, OndGuard *guard) {
  int64 lost = in->sync->state_rows - in->diff->state_rows;

  if (in->pass != OND_PASS_FULL || lost <= STATE_ROWS_MIN || in->diff->state_rows * 2 > in->sync->state_rows)
    return false;
  return trip(guard, "state", psprintf("the state table has %s, it had %s after the last run: what was delivered is not known any more",
                                       rows_of(in->diff->state_rows), number(in->sync->state_rows)));
}

/* "check "has an address" failed for 12 rows (on_fail: hold): email LIKE '%@%'"; the first of them that holds. */
static bool checks_trip(const OndGuardInput *in, OndGuard *guard) {
  for (int i = 0; i < in->sync->options.n_checks; i++) {
    const OndCheck *check = &in->sync->options.checks[i];

    if (check->on_fail != OND_FAIL_HOLD || in->diff->checks[i] == 0)
      continue;
    return trip(guard, "checks", check->whole ? psprintf("check \"%s\" failed (on_fail: hold): %s", check->name, check->sql)
                                              : psprintf("check \"%s\" failed for %s (on_fail: hold): %s", check->name, rows_of(in->diff->checks[i]), check->sql));
  }
  return false;
}

/* What the run would send of so many, with run_sync's max_rows. */
static int64 capped(const OndGuardInput *in, int64 rows) {
  return in->max_rows >= 0 ? Min(rows, in->max_rows) : rows;
}

static bool deletes_trip(const OndGuardInput *in, OndGuard *guard) {
  int64 deletes = capped(in, in->diff->verdicts[OND_V_DELETE]);
  int64 rows = in->diff->state_rows + in->deleted_lately;
  char words[64];

  if (deletes == 0 || deletes + in->deleted_lately <= ond_limit_most(&in->sync->options.max_deletes, rows))
    return false;
  ond_limit_words(&in->sync->options.max_deletes, words, sizeof(words));
  if (in->deleted_lately == 0)
    return trip(guard, "deletes", psprintf("the run would delete %s of %s delivered rows (max_deletes: %s)", number(deletes), number(rows), words));
  return trip(guard, "deletes", psprintf("the run would delete %s, %s with those of the last 24 hours, of %s delivered ones (max_deletes: %s)",
                                         rows_of(deletes), number(deletes + in->deleted_lately), number(rows), words));
}

static bool config_change_trips(const OndGuardInput *in, OndGuard *guard) {
  const char *changed = in->sync->options.on_config_change == OND_CONFIG_HOLD && !in->sync->resend ? ond_guard_config_change(in->sync, in->definition) : NULL;
  int64 again = capped(in, in->diff->verdicts[OND_V_UPDATE]);

  if (changed == NULL || again * 100 <= in->diff->rows_scanned * RESEND_PERCENT)
    return false;
  return trip(guard, "config_change", psprintf("%s changed, and %s of %s rows would be sent again (on_config_change: hold)", changed, number(again),
                                               number(in->diff->rows_scanned)));
}

static bool changes_trip(const OndGuardInput *in, OndGuard *guard) {
  int64 changes = capped(in, in->diff->verdicts[OND_V_CREATE] + in->diff->verdicts[OND_V_UPDATE]);
  char words[64];

  if (changes <= ond_limit_most(&in->sync->options.max_changes, in->diff->rows_scanned))
    return false;
  ond_limit_words(&in->sync->options.max_changes, words, sizeof(words));
  return trip(guard, "changes", psprintf("the run would change %s of %s rows (max_changes: %s)", number(changes), number(in->diff->rows_scanned), words));
}

bool ond_guard_trips(const OndGuardInput *in, OndGuard *guard) {
  if (in->pass == OND_PASS_KEYS)
    return false;
  return empty_trips(in, guard) || state_trips(in, guard) || checks_trip(in, guard) || deletes_trip(in, guard) || config_change_trips(in, guard) || changes_trip(in, guard);
}

void ond_guard_note_checks(const OndSync *sync, int64 run_id, const OndDiff *diff) {
  Oid types[2] = {INT8OID, TEXTOID};
  Datum values[2] = {Int64GetDatum(run_id)};
  StringInfoData s;

  if (sync->options.n_checks == 0)
    return;
  initStringInfo(&s);
  appendStringInfoChar(&s, '{');
  for (int i = 0; i < sync->options.n_checks; i++) {
    appendStringInfoString(&s, i > 0 ? ", " : "");
    escape_json(&s, sync->options.checks[i].name);
    appendStringInfo(&s, ": " INT64_FORMAT, diff->checks[i]);
  }
  appendStringInfoChar(&s, '}');
  values[1] = CStringGetTextDatum(s.data);
  ond_spi(SPI_OK_UPDATE, "UPDATE ondatra.all_runs SET checks = $2::pg_catalog.jsonb WHERE run_id OPERATOR(pg_catalog.=) $1", 2, types, values, NULL);
}
