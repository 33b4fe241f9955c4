/*
 * resume.c - see resume.h. The rows of a job come from its row in ondatra.jobs, in the order in which they were sent; what else is known of them from the state table.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/memutils.h"

#include "connector/members.h"
#include "catalog/session.h"
#include "engine/job_rows.h"
#include "engine/resume.h"
#include "engine/state_table.h"
#include "engine/window.h"

static OndRoute route_of(const char *name) {
  return strcmp(name, "delete") == 0 ? OND_ROUTE_DELETE : strcmp(name, "update") == 0 ? OND_ROUTE_UPDATE : OND_ROUTE_CREATE;
}

/* The job as it was; NULL: the destination is not described in a way that it could go on. */
static OndJob *job_from(const OndSpec *spec, const OndJobRow *row) {
  OndRoute route = route_of(row->operation);
  const OndOperation *operation = ond_connector_route(spec->connector, route);
  int step = operation == NULL ? -1 : ond_step_find(operation, row->step);
  OndJob *job;

  if (row->destination_id != spec->sync->destination_id || step < 0 || step < ond_operation_info(operation)->resumes_at)
    return NULL;
  job = ond_job_create(operation, route, row->started_at);
  job->deadline = row->deadline;
  job->run_id = row->run_id;
  job->job_no = row->job_no;
  job->step = step;
  job->carried = job->resumed = job->saved = true;
  ond_buf_append_str(&job->captures, row->captures);
  return job;
}

/* --- rows ------------------------------------------------------------------------------------------------- */

static char *copy_bytes(char **room, OndBytes from, OndBytes *to) {
  memcpy(*room, from.p, from.n);
  *to = (OndBytes){*room, from.n};
  *room += from.n;
  return *room;
}

/* Finds the key columns in the key's JSON. */
static void cut_key(const OndSpec *spec, OndChangeRow *row) {
  for (int i = 0; i < spec->n_keys; i++) {
    OndBytes name = {spec->keys[i].member, strlen(spec->keys[i].member)};
    OndMembers members;
    OndMember member;

    if (!ond_members_begin(&members, row->key_json))
      return;
    while (ond_members_next(&members, &member))
      if (ond_member_is(&member, name))
        row->keys[i] = member.value;
  }
}

/* In one piece, as all rows are. */
static OndChangeRow *row_from(const OndSpec *spec, const OndWindowEntry *entry, OndRoute route) {
  Size n = entry->key_json.n + entry->kept.n;
  OndChangeRow *row;
  char *room;

  for (int i = 0; i < spec->n_keys; i++)
    n += entry->key_text[i].n;
  row = palloc0(sizeof(OndChangeRow) + n);
  room = (char *)(row + 1);
  row->task.op = row->row.op = entry->op;
  row->task.route = route;
  row->task.row = row;
  row->hash = entry->hash;
  row->change_id = entry->change_id;
  row->n_keys = row->row.n_keys = spec->n_keys;
  row->row.keys = row->keys;
  row->created = -1;
  row->resumed = true;
  copy_bytes(&room, entry->key_json, &row->key_json);
  if (entry->kept.p != NULL)
    copy_bytes(&room, entry->kept, &row->kept);
  for (int i = 0; i < spec->n_keys; i++)
    copy_bytes(&room, entry->key_text[i], &row->key_text[i]);
  cut_key(spec, row);
  ond_delivery_row_key(spec->sync, row);
  row->row.idempotency_key = row->idempotency_key;
  row->task.bytes = n;
  return row;
}

/* What the state table says of the keys. A change that it does not have in doubt any more was recorded, or has another one after it. */
static void look_up_states(const OndSpec *spec, int n, OndChangeRow **rows, MemoryContext context) {
  const OndBytes **keys = palloc(sizeof(OndBytes *) * n);
  bool *found = palloc(sizeof(bool) * n);
  OndKeyState *states = palloc0(sizeof(OndKeyState) * n);
  OndBytes *kept = palloc0(sizeof(OndBytes) * n);

  for (int i = 0; i < n; i++)
    keys[i] = rows[i]->key_text;
  ond_state_read(spec->sync->sync_id, spec->n_keys, ond_state_key_types(spec->sync->sync_id, spec->n_keys), n, keys, found, states, kept);
  for (int i = 0; i < n; i++) {
    rows[i]->has_before = found[i];
    rows[i]->before = states[i];
    if (kept[i].p != NULL)
      rows[i]->kept_before = (OndBytes){MemoryContextStrdup(context, kept[i].p), kept[i].n};
    rows[i]->settled = !found[i] || states[i].doubt_op == OND_OP_NONE || states[i].change_id != rows[i]->change_id;
    rows[i]->task.sent_at = states[i].sent_at;
  }
}

static int load_rows(const OndSpec *spec, const OndJobRow *from, OndRoute route, MemoryContext context, OndChangeRow ***rows) {
  OndWindowEntry *entries;
  MemoryContext saved;
  int n;

  ond_tx_begin();
  n = ond_window_unpack(from->changes, spec->n_keys, &entries);
  saved = MemoryContextSwitchTo(context);
  *rows = palloc(sizeof(OndChangeRow *) * Max(n, 1));
  for (int i = 0; i < n; i++)
    (*rows)[i] = row_from(spec, &entries[i], route);
  MemoryContextSwitchTo(saved);
  look_up_states(spec, n, *rows, context);
  ond_tx_commit();
  return n;
}

/* --- all -------------------------------------------------------------------------------------------------- */

static void forget(const OndSpec *spec, const OndJobRow *row) {
  OndJob job = {.run_id = row->run_id, .job_no = row->job_no};

  ond_tx_begin();
  ond_job_row_delete(spec->sync->sync_id, &job);
  ond_tx_commit();
}

/* Whether the job is still in the table. */
static bool is_open(const OndSpec *spec, const OndJobRow *job, MemoryContext context) {
  OndJobRow *rows;
  bool found = false;
  int n;

  ond_tx_begin();
  n = ond_job_rows_read(spec->sync->sync_id, context, &rows);
  for (int i = 0; i < n; i++)
    found = found || (rows[i].run_id == job->run_id && rows[i].job_no == job->job_no);
  ond_tx_commit();
  return found;
}

static void resume(const OndDeliveryInput *input, const OndJobRow *row, OndDeliveryResult *result, MemoryContext context, bool *open) {
  OndDeliveryInput own = *input;
  OndCounters *counters = ond_recorder_counters(input->recorder);
  OndCounters before = *counters;

  own.job = job_from(input->spec, row);
  if (own.job == NULL) {
    forget(input->spec, row);
    return;
  }
  own.max_rows = -1;
  own.approval = NULL;
  own.n_job_rows = load_rows(input->spec, row, own.job->route, context, &own.job_rows);
  MemoryContextSwitchTo(context); /* transactions leave us elsewhere */
  ond_delivery_run(&own, result);
  counters->requests = before.requests + result->stats.requests;
  counters->retries = before.retries + result->stats.retries;
  counters->throttled_ms = before.throttled_ms + result->stats.throttled_us / 1000;
  *open = is_open(input->spec, row, context);
}

bool ond_jobs_are_open(int64 sync_id) {
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(sync_id)};
  bool open;

  ond_tx_begin();
  open = ond_spi(SPI_OK_SELECT, "SELECT FROM ondatra.jobs WHERE sync_id OPERATOR(pg_catalog.=) $1 LIMIT 1", 1, types, values, NULL) > 0;
  ond_tx_commit();
  return open;
}

void ond_jobs_resume(const OndDeliveryInput *input, OndDeliveryResult *result, bool *open) {
  MemoryContext saved = CurrentMemoryContext;
  MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "ondatra open jobs", ALLOCSET_DEFAULT_SIZES);
  OndJobRow *rows;
  int n;

  ond_tx_begin();
  n = ond_job_rows_read(input->spec->sync->sync_id, context, &rows);
  ond_tx_commit();
  *open = false;
  for (int i = 0; i < n && result->stop == OND_STOP_NONE && !*open; i++)
    resume(input, &rows[i], result, context, open);
  MemoryContextSwitchTo(saved);
  MemoryContextDelete(context);
}
