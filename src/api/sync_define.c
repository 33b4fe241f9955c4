/*
 * sync_define.c - create_sync, update_sync, rename_sync: a sync as the caller describes it, checked completely before anything is written.
 *
 * Order: words and documents, then rights (destination, owner), then the model as the owner (engine/ analyses it and checks key, mapping
 * and connector against it), then the row and the state table. Everything is in the caller's transaction, so nothing half-created stays.
 *
 * An update changes a copy of the sync and goes the same way. What the state table says about is the identity: key, destination and
 * object. Changing it when rows were delivered needs `delivered`: what is known of one place must not be believed of another by accident.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "api/api.h"
#include "catalog/connector.h"
#include "catalog/edit.h"
#include "engine/alert.h"
#include "engine/model.h"
#include "engine/refresh.h"
#include "engine/spec.h"
#include "engine/state_table.h"
#include "worker/cron.h"
#include "worker/shared.h"

/* Arguments, in both functions. */
enum {
  ARG_NAME,
  ARG_MODEL,
  ARG_DESTINATION,
  ARG_OBJECT,
  ARG_KEY,
  ARG_MODE,
  ARG_MAPPING,
  ARG_SCHEDULE,
  ARG_OPTIONS,
  ARG_PAUSED,
  ARG_DELIVERED
};

static void read_model(FunctionCallInfo fcinfo, OndSync *s) {
  s->model = ond_arg_required(fcinfo, ARG_MODEL, "model");
  s->model_search_path = pstrdup(namespace_search_path);
}

static void read_key(FunctionCallInfo fcinfo, OndSync *s) {
  ArrayType *array = PG_GETARG_ARRAYTYPE_P(ARG_KEY);
  Datum *elements;
  bool *nulls;

  if (ARR_NDIM(array) > 1) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the key must be a list of column names"),
                    errhint("Use a form such as key => '{id}' or key => '{country,id}'.")));
  }
  deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &s->n_keys);
  if (s->n_keys == 0) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the key must not be empty"),
                    errhint("Use a form such as key => '{id}'; without the argument it is the primary key of the model's table.")));
  }
  s->keys = palloc(sizeof(char *) * s->n_keys);
  for (int i = 0; i < s->n_keys; i++) {
    if (nulls[i]) {
      ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the key must not hold NULL"), errhint("Use a form such as key => '{id}' or key => '{country,id}'.")));
    }
    s->keys[i] = TextDatumGetCString(elements[i]);
    for (int j = 0; j < i; j++) {
      if (strcmp(s->keys[i], s->keys[j]) == 0) {
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN), errmsg("column \"%s\" is twice in the key", s->keys[i]), errhint("Name each column once.")));
      }
    }
  }
}

static void read_schedule(FunctionCallInfo fcinfo, OndSync *s) {
  char *text = ond_arg_text(fcinfo, ARG_SCHEDULE);
  OndSchedule schedule;
  OndError err;

  if (!ond_schedule_parse(text, &schedule, &err)) {
    ond_raise(&err);
  }
  if (schedule.kind == OND_SCHEDULE_CRON) {
    ond_cron_require();
  }
  s->schedule = schedule.kind == OND_SCHEDULE_MANUAL ? NULL : text;
}

static void read_options(FunctionCallInfo fcinfo, OndSync *s) {
  s->options_json = ond_arg_options(fcinfo, ARG_OPTIONS, s->options_json);
  ond_sync_options_parse(s->options_json, s->mode, &s->options);
}

/* Arguments that are not NULL replace what s has. */
static void read_arguments(FunctionCallInfo fcinfo, OndSync *s) {
  if (!PG_ARGISNULL(ARG_MODEL)) {
    read_model(fcinfo, s);
  }
  if (!PG_ARGISNULL(ARG_OBJECT)) {
    s->object = ond_arg_text(fcinfo, ARG_OBJECT);
  }
  if (!PG_ARGISNULL(ARG_KEY)) {
    read_key(fcinfo, s);
  }
  if (!PG_ARGISNULL(ARG_MODE)) {
    s->mode = ond_mode_parse(ond_arg_text(fcinfo, ARG_MODE));
  }
  if (!PG_ARGISNULL(ARG_MAPPING)) {
    s->mapping = ond_arg_is_json_null(fcinfo, ARG_MAPPING) ? NULL : ond_arg_json(fcinfo, ARG_MAPPING);
  }
  if (!PG_ARGISNULL(ARG_SCHEDULE)) {
    read_schedule(fcinfo, s);
  }
  read_options(fcinfo, s);
}

/* The destination a sync of `owner` is to use, kept from being dropped till the end of the transaction. */
static OndDestination *use_destination(OndSync *s, const char *name, Oid user) {
  OndDestination *d = ond_destination_get(name, user, OND_ACCESS_SYNC);

  if (!ond_destination_lock(d->destination_id, false)) {
    d = ond_destination_get(name, user, OND_ACCESS_SYNC); /* dropped meanwhile: says so */
  }
  ond_connector_keep(d->connector);
  ond_destination_read_document(d); /* it may have been replaced meanwhile */
  s->destination_id = d->destination_id;
  return d;
}

/* A position in the model's text would be shown in the text of the caller's statement, where it points at something else. */
static void model_error(void *name) {
  if (geterrposition() > 0) {
    errposition(0);
    errcontext("model of sync \"%s\"", (const char *)name);
  }
}

/* Analyses and checks as the owner; fills in a key that was not given, and the columns. */
static OndModel *check_model(OndSync *s, const OndDestination *d) {
  MemoryContext caller = CurrentMemoryContext;
  ErrorContextCallback context = {error_context_stack, model_error, s->name};
  OndScope scope;
  OndModel *model;

  error_context_stack = &context;
  ond_owner_begin(&scope, s->owner, s->model_search_path, false);
  model = ond_model_analyze(s->model);
  if (s->n_keys == 0) {
    s->keys = ond_model_primary_key(model, &s->n_keys);
  }
  s->columns = ond_sync_check(s, model, d);
  s->key_unique = ond_model_key_is_unique(model, s->n_keys, s->keys);
  if (s->options.refresh) {
    ond_refresh_check(s);
  }
  ond_owner_end(&scope);
  error_context_stack = context.previous;
  MemoryContextSwitchTo(caller);
  return model;
}

static void warn_mirror_without_deletes(const OndSync *s) {
  if (s->mode == OND_MODE_MIRROR && s->options.cursor_column != NULL && s->options.full_every_us < 0) {
    ereport(WARNING, (errmsg("sync \"%s\" will never delete", s->name),
                      errdetail("A run that reads from a cursor cannot tell what has left the model; only full passes delete."),
                      errhint("Set the option full_every, such as {\"full_every\": \"1 day\"}.")));
  }
}

/* Whom to tell of problems must be somebody who can be told. Keeps that destination till commit. */
static void check_alert(const OndSync *s) {
  if (s->options.alert.destination != NULL) {
    (void)ond_destination_lock(ond_destination_get(s->options.alert.destination, s->owner, OND_ACCESS_SYNC)->destination_id, false);
    ond_alert_check(s);
  }
}

PG_FUNCTION_INFO_V1(ond_sql_create_sync);
Datum ond_sql_create_sync(PG_FUNCTION_ARGS) {
  OndSync s = {.mode = OND_MODE_UPSERT, .options_json = "{}"};
  bool paused = ond_arg_bool(fcinfo, ARG_PAUSED, false);
  OndCall call;
  char *destination;
  OndDestination *d;
  OndModel *model;

  ond_call_refuse_in_run();
  s.name = ond_arg_name(fcinfo, ARG_NAME, "sync");
  (void)ond_arg_required(fcinfo, ARG_MODEL, "model");
  destination = ond_arg_required(fcinfo, ARG_DESTINATION, "destination");
  s.owner = GetUserId();
  read_arguments(fcinfo, &s);
  if (!pg_strong_random(s.hash_seed, sizeof(s.hash_seed))) {
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not get random bytes")));
  }
  ond_call_begin(&call);
  d = use_destination(&s, destination, call.user);
  ond_destination_check_use(&s, d);
  check_alert(&s);
  ond_call_end(&call);
  model = check_model(&s, d);
  ond_owner_check(s.owner);
  warn_mirror_without_deletes(&s);
  ond_call_begin(&call);
  ond_after_check(&s);
  ond_sync_insert(&s, paused);
  ond_state_table_create(&s, model);
  if (ond_sync_has_cron(&s)) {
    ond_cron_follow(s.sync_id, s.owner);
  }
  ond_call_end(&call);
  if ((s.schedule != NULL && !paused) || s.options.alert.destination != NULL) {
    ond_wake_at_commit();
  }
  PG_RETURN_INT64(s.sync_id);
}

static bool same_text(const char *a, const char *b) {
  return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_key_columns(const OndSync *old, const OndSync *new) {
  for (int i = 0; i < old->n_keys && old->n_keys == new->n_keys; i++) {
    if (strcmp(old->keys[i], new->keys[i]) != 0) {
      return false;
    }
  }
  return old->n_keys == new->n_keys;
}

/* The state table has the types that the key has in the model. */
static bool same_key_types(const OndSync *s, const OndModel *model) {
  Oid table = get_relname_relid(psprintf("state_" INT64_FORMAT, s->sync_id), ond_extension(false)->schema);

  for (int i = 0; i < s->n_keys; i++) {
    AttrNumber attno = OidIsValid(table) ? get_attnum(table, psprintf("k%d", i + 1)) : InvalidAttrNumber;
    OndKeyColumn column;

    ond_key_column(model, s->keys[i], &column);
    if (attno == InvalidAttrNumber || get_atttype(table, attno) != column.type) {
      return false;
    }
  }
  return true;
}

/* A part of the identity, in words for messages. */
typedef struct Part {
  const char *present, *another;
  bool may_keep;
} Part;

static const Part part_key = {"its present key", "another key", false};
static const Part part_key_types = {"the present types of its key", "other types of the key", false};
static const Part part_destination = {"its present destination", "another destination", true};
static const Part part_object = {"its present object", "another object", true};
static const Part part_variables = {"its present variables", "other variables", true};

/* What of the identity differs; NULL: nothing. */
static const Part *changed_part(const OndSync *old, const OndSync *new, const OndModel *model) {
  if (!same_key_columns(old, new)) {
    return &part_key;
  }
  if (!same_key_types(new, model)) {
    return &part_key_types;
  }
  if (old->destination_id != new->destination_id) {
    return &part_destination;
  }
  if (!same_text(old->object, new->object)) {
    return &part_object;
  }
  return same_text(old->options.variables, new->options.variables) ? NULL : &part_variables;
}

static _Noreturn void refuse_undecided(const OndSync *s, const Part *part);
static void refuse_undecided(const OndSync *s, const Part *part) {
  ereport(ERROR,
          (errcode(ERRCODE_OBJECT_IN_USE), errmsg("sync \"%s\" has delivered rows under %s", s->name, part->present),
           errdetail("It knows which rows the destination has; under %s that may not be true.", part->another),
           part->may_keep ? errhint("Say delivered => 'keep' when the rows are there too, or delivered => 'forget' to send all rows again.")
                          : errhint("Say delivered => 'forget' to forget that and send all rows again.")));
}

/* Decides over the state table, which is made anew for another key. Inside "ours". */
static void apply_identity(const OndSync *old, const OndSync *new, const OndModel *model, OndDelivered delivered) {
  const Part *part = changed_part(old, new, model);
  bool had = part != NULL && ond_sync_has_delivered(new->sync_id);

  if (part == NULL && delivered == OND_DELIVERED_FORGET) {
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("delivered => 'forget' is only for another key, destination, object or variable"),
             errhint("Call ondatra.resend_sync() to send all rows again.")));
  }
  if (had && delivered == OND_DELIVERED_UNSAID) {
    refuse_undecided(new, part);
  }
  if (had && !part->may_keep && delivered == OND_DELIVERED_KEEP) {
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("what was delivered cannot be kept under %s", part->another),
             errdetail("Delivered rows are remembered by their key."), errhint("Say delivered => 'forget', or create another sync.")));
  }
  if (had && delivered == OND_DELIVERED_FORGET) {
    ond_sync_forget(new->sync_id);
  }
  if (part != NULL && !part->may_keep) {
    ond_state_table_drop(new->sync_id);
    ond_state_table_create(new, model);
  }
}

static bool keeps(const OndSync *s, const char *column) {
  for (int i = 0; i < s->options.n_keep; i++) {
    if (strcmp(s->options.keep[i], column) == 0) {
      return true;
    }
  }
  return false;
}

/* What is not kept any more would grow old: it goes. Inside "ours". */
static void apply_keep(const OndSync *old, const OndSync *new) {
  char **gone = palloc(sizeof(char *) * Max(old->options.n_keep, 1));
  int n = 0;

  for (int i = 0; i < old->options.n_keep; i++) {
    if (!keeps(new, old->options.keep[i])) {
      gone[n++] = old->options.keep[i];
    }
  }
  if (n > 0) {
    ond_state_unkeep(new->sync_id, n, gone);
  }
}

/* Rows behind the cursor may be other ones now. */
static bool moves_cursor(const OndSync *old, const OndSync *new) {
  return !same_text(old->model, new->model) || !same_text(old->model_search_path, new->model_search_path) || !same_text(old->columns, new->columns) ||
         !same_text(old->mapping, new->mapping) || !same_text(old->options.cursor_column, new->options.cursor_column);
}

/* Pauses or resumes as the argument says; also another schedule. Inside "ours". */
static void apply_liveness(FunctionCallInfo fcinfo, const OndSync *old, const OndSync *new, Oid user) {
  bool wake = false;

  if (!same_text(old->schedule, new->schedule)) {
    ond_sync_reschedule(new->sync_id);
    wake = true;
  }
  if (!PG_ARGISNULL(ARG_PAUSED)) {
    bool paused = PG_GETARG_BOOL(ARG_PAUSED);

    wake |= ond_sync_event(new->sync_id, paused ? OND_EVENT_PAUSE : OND_EVENT_RESUME,
                           paused ? psprintf("paused by \"%s\"", GetUserNameFromId(user, false)) : NULL);
  }
  if (wake) {
    ond_wake_at_commit();
  }
}

PG_FUNCTION_INFO_V1(ond_sql_update_sync);
Datum ond_sql_update_sync(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, ARG_NAME, "sync");
  OndDelivered delivered = ond_arg_delivered(fcinfo, ARG_DELIVERED);
  OndCall call;
  OndSync *old, s;
  OndDestination *d;
  OndModel *model;

  ond_call_begin(&call);
  old = ond_call_edit(&call, name);
  ond_state_table_require(old);
  ond_call_end(&call);
  s = *old;
  read_arguments(fcinfo, &s);
  ond_call_begin(&call);
  if (PG_ARGISNULL(ARG_DESTINATION)) {
    d = ond_destination_load(s.destination_id);
    ond_connector_keep(d->connector);
    ond_destination_read_document(d);
  } else {
    d = use_destination(&s, ond_arg_text(fcinfo, ARG_DESTINATION), call.user);
  }
  ond_destination_check_use(&s, d);
  check_alert(&s);
  ond_call_end(&call);
  model = check_model(&s, d);
  warn_mirror_without_deletes(&s);
  ond_call_begin(&call);
  apply_identity(old, &s, model, delivered);
  apply_keep(old, &s);
  ond_after_check(&s);
  ond_sync_update(&s);
  if (moves_cursor(old, &s)) {
    ond_sync_rewind(s.sync_id);
  }
  apply_liveness(fcinfo, old, &s, call.user);
  if (ond_sync_has_cron(old) || ond_sync_has_cron(&s)) {
    ond_cron_follow(s.sync_id, s.owner);
  }
  if (old->options.alert.destination != NULL || s.options.alert.destination != NULL) {
    ond_wake_at_commit(); /* other things may be a problem now */
  }
  ond_call_end(&call);
  PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(ond_sql_rename_sync);
Datum ond_sql_rename_sync(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "sync");
  char *new_name = ond_arg_required(fcinfo, 1, "new_name");
  OndCall call;
  OndSync *sync;

  ond_name_check("sync", new_name);
  ond_call_begin(&call);
  sync = ond_call_edit(&call, name);
  ond_sync_rename(sync, new_name);
  if (ond_sync_has_cron(sync)) {
    ond_cron_follow(sync->sync_id, sync->owner); /* its job calls it by name */
  }
  ond_call_end(&call);
  PG_RETURN_VOID();
}
