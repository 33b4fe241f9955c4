/*
 * lifecycle.c - the states of a sync, and when it is due next.
 *
 *   created   never ran; its schedule is live          paused    only runs when somebody asks
 *   active    has run; its schedule is live            error     stopped by itself, state_reason says why
 *                                                      archived  kept with its history, never runs
 *
 * transitions[] is the whole state machine: an event that it does not name for a state changes nothing (of runs and set_secret) or is
 * refused (of people). "active" for a sync that never ran is "created".
 *
 * next_run_at is set here and nowhere else, together with the state: NULL unless the schedule is live.
 * Does not: run anything (worker/), decide whether a failure is fatal (engine/), wake the launcher (the callers, at their commit).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "common/pg_prng.h"
#include "utils/timestamp.h"

#include "catalog/edit.h"
#include "catalog/rows.h"
#include "catalog/session.h"
#include "catalog/sync.h"

#define UNIX_EPOCH_US ((int64)(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define CHANNEL       "ondatra"

typedef enum Due { DUE_NEVER, DUE_NOW, DUE_NEXT, DUE_CATCH_UP } Due;

typedef struct Transition {
  OndSyncState from;
  OndSyncEvent event;
  OndSyncState to;
  Due due; /* of a sync with a schedule; CATCH_UP: at once when a due time has passed since the last run */
} Transition;

/* clang-format off */
static const Transition transitions[] = {
    {OND_SYNC_CREATED, OND_EVENT_PAUSE, OND_SYNC_PAUSED, DUE_NEVER},
    {OND_SYNC_CREATED, OND_EVENT_ARCHIVE, OND_SYNC_ARCHIVED, DUE_NEVER},
    {OND_SYNC_CREATED, OND_EVENT_RUN_DONE, OND_SYNC_ACTIVE, DUE_NEXT},
    {OND_SYNC_CREATED, OND_EVENT_RUN_GOOD, OND_SYNC_ACTIVE, DUE_NEXT},
    {OND_SYNC_CREATED, OND_EVENT_RUN_STOP, OND_SYNC_ERROR, DUE_NEVER},
    {OND_SYNC_ACTIVE, OND_EVENT_PAUSE, OND_SYNC_PAUSED, DUE_NEVER},
    {OND_SYNC_ACTIVE, OND_EVENT_ARCHIVE, OND_SYNC_ARCHIVED, DUE_NEVER},
    {OND_SYNC_ACTIVE, OND_EVENT_RUN_DONE, OND_SYNC_ACTIVE, DUE_NEXT},
    {OND_SYNC_ACTIVE, OND_EVENT_RUN_GOOD, OND_SYNC_ACTIVE, DUE_NEXT},
    {OND_SYNC_ACTIVE, OND_EVENT_RUN_STOP, OND_SYNC_ERROR, DUE_NEVER},
    {OND_SYNC_PAUSED, OND_EVENT_RESUME, OND_SYNC_ACTIVE, DUE_CATCH_UP},
    {OND_SYNC_PAUSED, OND_EVENT_ARCHIVE, OND_SYNC_ARCHIVED, DUE_NEVER},
    {OND_SYNC_ERROR, OND_EVENT_PAUSE, OND_SYNC_PAUSED, DUE_NEVER},
    {OND_SYNC_ERROR, OND_EVENT_RESUME, OND_SYNC_ACTIVE, DUE_NOW},
    {OND_SYNC_ERROR, OND_EVENT_ARCHIVE, OND_SYNC_ARCHIVED, DUE_NEVER},
    {OND_SYNC_ERROR, OND_EVENT_RUN_GOOD, OND_SYNC_ACTIVE, DUE_NEXT},
    {OND_SYNC_ERROR, OND_EVENT_CREDENTIAL, OND_SYNC_ACTIVE, DUE_NOW},
    {OND_SYNC_ARCHIVED, OND_EVENT_RESTORE, OND_SYNC_PAUSED, DUE_NEVER},
};
/* clang-format on */

/* What the events of people ask for: there already means that nothing is to do. */
static const struct {
  OndSyncEvent event;
  OndSyncState goal, goal_too;
} wishes[] = {
    {OND_EVENT_PAUSE, OND_SYNC_PAUSED, OND_SYNC_PAUSED},
    {OND_EVENT_RESUME, OND_SYNC_ACTIVE, OND_SYNC_CREATED},
    {OND_EVENT_ARCHIVE, OND_SYNC_ARCHIVED, OND_SYNC_ARCHIVED},
};

/* A sync's place, its row locked. */
typedef struct Place {
  char *name;
  OndSyncState state;
  char *reason;
  char *schedule; /* NULL: manual */
  bool cron;      /* the schedule is cron text */
  char *jitter;   /* of the options; NULL: none */
  TimestampTz anchor;
  TimestampTz last_started; /* of the last finished run; 0: none */
  bool ever_ran;
  int failures;
} Place;

static const Transition *find_transition(OndSyncState from, OndSyncEvent event) {
  for (int i = 0; i < lengthof(transitions); i++) {
    if (transitions[i].from == from && transitions[i].event == event) {
      return &transitions[i];
    }
  }
  return NULL;
}

static bool is_cron(const char *text) {
  OndSchedule schedule;
  OndError ignored;

  return text != NULL && ond_schedule_parse(text, &schedule, &ignored) && schedule.kind == OND_SCHEDULE_CRON;
}

bool ond_sync_has_cron(const OndSync *s) {
  return is_cron(s->schedule);
}

static bool read_place(int64 sync_id, Place *place) {
  const char *sql =
      "SELECT s.name, s.state, s.state_reason, s.schedule, s.anchor, s.last_run_id IS NOT NULL, s.failures, "
      "(SELECT coalesce(r.started_at, r.queued_at) FROM ondatra.all_runs r WHERE r.run_id OPERATOR(pg_catalog.=) s.last_run_id), "
      "s.options OPERATOR(pg_catalog.->>) 'jitter' "
      "FROM ondatra.all_syncs s WHERE s.sync_id OPERATOR(pg_catalog.=) $1 FOR UPDATE OF s";
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(sync_id)};
  MemoryContext caller = CurrentMemoryContext;
  bool found = ond_spi(SPI_OK_SELECT, sql, 1, types, values, NULL) > 0;

  if (found) {
    place->name = ond_row_text(1, caller);
    place->state = ond_sync_state_parse(ond_row_text(2, caller));
    place->reason = ond_row_text(3, caller);
    place->schedule = ond_row_text(4, caller);
    place->cron = is_cron(place->schedule);
    place->anchor = ond_row_time(5);
    place->ever_ran = ond_row_bool(6);
    place->failures = ond_row_int32(7);
    place->last_started = ond_row_time(8);
    place->jitter = ond_row_text(9, caller);
  }
  return found;
}

/* The first due time of the schedule after `after`. */
static TimestampTz due_after(const Place *place, TimestampTz after) {
  OndSchedule schedule;
  OndError err;

  if (!ond_schedule_parse(place->schedule, &schedule, &err)) {
    ond_raise(&err);
  }
  return ond_schedule_next(&schedule, place->anchor + UNIX_EPOCH_US, after + UNIX_EPOCH_US) - UNIX_EPOCH_US;
}

/* Up to the jitter later, but before the due time after it; the due times themselves stay where they are. */
static TimestampTz jittered(const Place *place, TimestampTz due) {
  int64 most = place->jitter == NULL ? 0 : ond_option_duration_us(place->jitter);

  if (most <= 0) {
    return due;
  }
  most = Min(most, due_after(place, due) - due - 1);
  return due + (int64)(pg_prng_double(&pg_global_prng_state) * (double)most);
}

/* 0: not by itself. */
static TimestampTz next_due(const Place *place, Due due) {
  TimestampTz now = GetCurrentTimestamp();

  if (place->schedule == NULL || due == DUE_NEVER || (place->cron && due != DUE_NOW)) {
    return 0; /* cron's jobs ask for their runs */
  }
  if (due == DUE_NEXT) {
    return jittered(place, due_after(place, now));
  }
  if (due == DUE_NOW || place->last_started == 0) {
    return now;
  }
  return Max(due_after(place, place->last_started), now);
}

/* last_run_id 0: keeps. */
static void write_place(int64 sync_id, const Place *place, TimestampTz next_run_at, int64 last_run_id, bool moved) {
  const char *sql = "UPDATE ondatra.all_syncs SET state = $2, state_reason = $3, next_run_at = $4, failures = $5, "
                    "last_run_id = coalesce($6, last_run_id), anchor = $7, "
                    "state_changed_at = CASE WHEN $8 THEN pg_catalog.clock_timestamp() ELSE state_changed_at END "
                    "WHERE sync_id OPERATOR(pg_catalog.=) $1";
  Oid types[] = {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID, INT8OID, TIMESTAMPTZOID, BOOLOID};
  Datum values[8];
  char nulls[9] = "        ";

  values[0] = Int64GetDatum(sync_id);
  values[1] = CStringGetTextDatum(ond_sync_state_name(place->state));
  values[2] = ond_text_datum(place->reason, &nulls[2]);
  values[3] = TimestampTzGetDatum(next_run_at);
  nulls[3] = next_run_at == 0 ? 'n' : ' ';
  values[4] = Int32GetDatum(place->failures);
  values[5] = Int64GetDatum(last_run_id);
  nulls[5] = last_run_id == 0 ? 'n' : ' ';
  values[6] = TimestampTzGetDatum(place->anchor);
  values[7] = BoolGetDatum(moved);
  ond_spi(SPI_OK_UPDATE, sql, 8, types, values, nulls);
}

static void move(Place *place, const Transition *t, const char *reason) {
  place->state = t->to == OND_SYNC_ACTIVE && !place->ever_ran ? OND_SYNC_CREATED : t->to;
  place->reason = reason == NULL ? NULL : pstrdup(reason);
}

/* True when a person asked for what is so already; an error when it cannot be. */
static bool is_there_already(const Place *place, OndSyncEvent event) {
  for (int i = 0; i < lengthof(wishes); i++) {
    if (wishes[i].event == event && (wishes[i].goal == place->state || wishes[i].goal_too == place->state)) {
      return true;
    }
  }
  if (place->state == OND_SYNC_ARCHIVED) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("sync \"%s\" is archived", place->name),
                    errhint("Call ondatra.restore_sync(%s) first.", quote_literal_cstr(place->name))));
  }
  if (event == OND_EVENT_RESTORE) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("sync \"%s\" is not archived", place->name),
                    errdetail("Its state is %s.", ond_sync_state_name(place->state))));
  }
  return true; /* of set_secret: it is not in state error any more */
}

static void notify(const char *payload) {
  Async_Notify(CHANNEL, payload);
}

void ond_notify_state(int64 sync_id) {
  Place place;

  if (read_place(sync_id, &place)) {
    notify(psprintf("{\"sync_id\": %lld, \"state\": \"%s\"}", (long long)sync_id, ond_sync_state_name(place.state)));
  }
}

void ond_notify_run(int64 run_id, int64 sync_id, const char *status) {
  notify(psprintf("{\"run_id\": %lld, \"sync_id\": %lld, \"status\": \"%s\"}", (long long)run_id, (long long)sync_id, status));
}

bool ond_sync_event(int64 sync_id, OndSyncEvent event, const char *reason) {
  Place place;
  const Transition *t;

  if (!read_place(sync_id, &place)) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the sync was dropped meanwhile")));
  }
  t = find_transition(place.state, event);
  if (t == NULL) {
    (void)is_there_already(&place, event);
    return false;
  }
  move(&place, t, reason);
  place.failures = 0;
  write_place(sync_id, &place, next_due(&place, t->due), 0, true);
  notify(psprintf("{\"sync_id\": %lld, \"state\": \"%s\"}", (long long)sync_id, ond_sync_state_name(place.state)));
  return true;
}

void ond_sync_reschedule(int64 sync_id) {
  Place place;
  bool live;

  if (!read_place(sync_id, &place)) {
    return;
  }
  live = !place.cron && (place.state == OND_SYNC_CREATED || place.state == OND_SYNC_ACTIVE);
  place.anchor = GetCurrentTimestamp();
  write_place(sync_id, &place, next_due(&place, !live ? DUE_NEVER : place.ever_ran ? DUE_NEXT : DUE_NOW), 0, false);
}

bool ond_sync_run_finished(const OndSync *sync, int64 run_id, bool failed, bool fatal, const char *reason) {
  Place place;
  const Transition *t;
  bool moved;
  TimestampTz next = 0;

  if (!read_place(sync->sync_id, &place)) {
    return false;
  }
  place.ever_ran = true;
  place.failures = failed ? place.failures + 1 : 0;
  t = find_transition(place.state, !failed                                                ? OND_EVENT_RUN_GOOD
                                   : fatal || place.failures >= sync->options.error_after ? OND_EVENT_RUN_STOP
                                                                                          : OND_EVENT_RUN_DONE);
  moved = t != NULL && t->to != place.state;
  if (moved) {
    move(&place, t, t->to == OND_SYNC_ERROR ? reason : NULL);
  }
  if (t != NULL) {
    next = next_due(&place, t->due);
  }
  write_place(sync->sync_id, &place, next, run_id, moved);
  return moved;
}
