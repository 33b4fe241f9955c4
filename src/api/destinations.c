/*
 * destinations.c - create_destination, update_destination, drop_destination.
 *
 * connector/ checks the documents; here are names, owners, and what a change means for the syncs that use the destination.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "api/api.h"
#include "api/destinations.h"
#include "catalog/connector.h"
#include "catalog/edit.h"
#include "catalog/settings.h"
#include "catalog/utf8.h"


static void free_auth(void *auth) {
  ond_auth_free(auth);
}

OndAuth *ond_destination_auth(const OndDestination *d) {
  char *text = d->auth == NULL ? NULL : ond_to_utf8(d->auth);
  OndError err;
  OndAuth *auth = ond_auth_parse(text, text == NULL ? 0 : strlen(text), &err);

  if (auth == NULL) {
    ond_raise(&err);
  }
  ond_api_adopt(free_auth, auth);
  return auth;
}

/* What the connector says about the destination by itself. */
static bool check_account(const OndDestination *d, const OndAuth *auth, OndError *err) {
  OndConnector *connector = ond_destination_compile(d, NULL);
  bool ok = ond_connector_takes_auth(connector, ond_auth_type_name(auth->type), err) && ond_connector_check_auth(connector, auth, err);

  ond_connector_free(connector);
  return ok;
}

/* Checks the documents, the connector's document kept as it is till commit; returns the names of the secrets that auth refers to, in the database's encoding. */
static List *check_documents(OndDestination *d) {
  List *secrets = NIL;
  OndAuth *auth;
  OndError err;

  ond_connector_keep(d->connector);
  ond_destination_read_document(d);
  auth = ond_destination_auth(d);
  if (!check_account(d, auth, &err)) {
    ond_raise(&err);
  }
  for (int i = 0; i < auth->n; i++) {
    if (auth->items[i].source == OND_CREDENTIAL_SECRET) {
      secrets = lappend(secrets, pstrdup(auth->items[i].ref));
    }
  }
  for (int i = 0; i < list_length(secrets); i++) {
    char *name = list_nth(secrets, i);

    lfirst(list_nth_cell(secrets, i)) = pg_any_to_server(name, (int)strlen(name), PG_UTF8);
  }
  return secrets;
}

/* A secret may come later; until then nothing is sent. */
static void notice_missing(Oid owner, List *secrets) {
  ListCell *cell;

  foreach (cell, secrets) {
    char *name = lfirst(cell);

    if (!ond_secret_exists(owner, name)) {
      ereport(NOTICE, (errmsg("secret \"%s\" of role \"%s\" does not exist yet", name, GetUserNameFromId(owner, false)),
                       errhint("Call ondatra.set_secret() before the first run.")));
    }
  }
}

static void check_cap(Oid owner) {
  int cap = ond_setting_max_destinations_per_role;

  if (cap > 0 && ond_destination_count(owner) >= cap)
    ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                    errmsg("role \"%s\" owns %d destinations or more, as many as a role may", GetUserNameFromId(owner, false), cap),
                    errhint("Drop one that is not used any more with ondatra.drop_destination(), or have ondatra.max_destinations_per_role raised.")));
}

PG_FUNCTION_INFO_V1(ond_sql_create_destination);
Datum ond_sql_create_destination(PG_FUNCTION_ARGS) {
  OndDestination d = {0};
  OndCall call;
  List *secrets;
  int64 id;

  d.name = ond_arg_name(fcinfo, 0, "destination");
  d.connector = ond_arg_required(fcinfo, 1, "connector");
  d.base_url = ond_arg_text(fcinfo, 2);
  d.auth = ond_arg_is_json_null(fcinfo, 3) ? NULL : ond_arg_json(fcinfo, 3);
  d.options = ond_arg_options(fcinfo, 4, NULL);
  ond_call_begin(&call);
  d.owner = call.user;
  check_cap(d.owner);
  secrets = check_documents(&d);
  id = ond_destination_insert(&d);
  notice_missing(d.owner, secrets);
  ond_call_end(&call);
  PG_RETURN_INT64(id);
}

/* Every sync that uses it must still find what its mode needs. */
static void check_syncs(const OndDestination *d, const int64 *ids, int n) {
  for (int i = 0; i < n; i++) {
    OndSync *s = ond_sync_load(ids[i]);
    OndConnector *connector;
    OndError err;
    bool ok;

    if (s == NULL) {
      continue; /* dropped since they were listed */
    }
    connector = ond_destination_compile(d, s);
    ok = ond_connector_bind_sync(connector, s, &err) && ond_destination_check_auth(d, connector, &err);
    ond_connector_free(connector);
    if (!ok) {
      ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
                      errmsg("sync \"%s\" could not use destination \"%s\" any more", s->name, d->name), errdetail("%s", err.message),
                      err.hint[0] != '\0' ? errhint("%s", err.hint) : 0));
    }
  }
}

/* Another base URL, connector or variable under syncs that have delivered: what is known of the old place may not be true of the new one. */
static void apply_delivered(const OndDestination *d, const int64 *ids, int n, OndDelivered delivered) {
  for (int i = 0; i < n; i++) {
    OndSync *s = ond_sync_load(ids[i]);

    if (s == NULL) {
      continue;
    }
    ond_run_lock_edit(s);
    if (ond_sync_load(ids[i]) == NULL || !ond_sync_has_delivered(ids[i])) {
      continue; /* while the lock was waited for it may have been dropped */
    }
    if (delivered == OND_DELIVERED_UNSAID) {
      ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("destination \"%s\" has received rows where it is now", d->name),
                      errdetail("Sync \"%s\" knows which rows the destination has; of another place that may not be true.", s->name),
                      errhint("Say delivered => 'keep' when the rows are there too (the API has moved), or delivered => 'forget' to send "
                              "all rows again.")));
    }
    if (delivered == OND_DELIVERED_FORGET) {
      ond_sync_forget(ids[i]);
    }
  }
}

static bool same_text(const char *a, const char *b) {
  return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What the destination's values of variables are, as text. */
static char *variables_of(const OndDestination *d) {
  Jsonb *options = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(d->options)));
  JsonbValue *v = getKeyJsonValueFromContainer(&options->root, "variables", strlen("variables"), NULL);

  return v == NULL || v->type != jbvBinary ? NULL : JsonbToCString(NULL, v->val.binary.data, v->val.binary.len);
}

/* Whether the rows that were delivered are still where requests go. */
static bool same_place(const OndDestination *a, const OndDestination *b) {
  return same_text(a->base_url, b->base_url) && same_text(a->connector, b->connector) && same_text(variables_of(a), variables_of(b));
}

PG_FUNCTION_INFO_V1(ond_sql_update_destination);
Datum ond_sql_update_destination(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "destination");
  OndDelivered delivered = ond_arg_delivered(fcinfo, 5);
  OndCall call;
  OndDestination *old, d;
  List *secrets;
  int64 *ids;
  int n;

  ond_call_begin(&call);
  old = ond_destination_get(name, call.user, OND_ACCESS_OWNER);
  if (ond_destination_lock(old->destination_id, true)) {
    old = ond_destination_get(name, call.user, OND_ACCESS_OWNER); /* an edit may have come between */
  }
  d = *old;
  d.connector = PG_ARGISNULL(1) ? old->connector : ond_arg_text(fcinfo, 1);
  d.base_url = PG_ARGISNULL(2) ? old->base_url : ond_arg_text(fcinfo, 2);
  d.auth = PG_ARGISNULL(3) ? old->auth : ond_arg_is_json_null(fcinfo, 3) ? NULL : ond_arg_json(fcinfo, 3);
  d.options = ond_arg_options(fcinfo, 4, old->options);
  secrets = check_documents(&d);
  ids = ond_destination_syncs(d.destination_id, &n);
  check_syncs(&d, ids, n);
  if (!same_place(&d, old)) {
    apply_delivered(&d, ids, n, delivered);
  } else if (delivered == OND_DELIVERED_FORGET) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("delivered => 'forget' is only for another base URL, connector or variable"),
                    errhint("Call ondatra.resend_sync() to send all rows of a sync again.")));
  }
  ond_destination_update(&d);
  for (int i = 0; i < n; i++) {
    (void)ond_held_runs_end(ids[i], 0, "The destination was edited: what was held is void.");
  }
  notice_missing(d.owner, secrets);
  ond_call_end(&call);
  PG_RETURN_VOID();
}

static bool look_at_sync(int64 id, char **name, Oid *owner) {
  const OndSync *s = ond_sync_load(id);

  if (s != NULL) {
    *name = s->name;
    *owner = s->owner;
  }
  return s != NULL;
}

PG_FUNCTION_INFO_V1(ond_sql_drop_destination);
Datum ond_sql_drop_destination(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "destination");
  OndCall call;
  OndDestination *d;
  int64 *ids;
  int n;

  ond_call_begin(&call);
  d = ond_destination_get(name, call.user, OND_ACCESS_OWNER);
  (void)ond_destination_lock(d->destination_id, true);
  ids = ond_destination_syncs(d->destination_id, &n);
  if (n > 0) {
    ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST), errmsg("destination \"%s\" is used by syncs", name),
                    errdetail("They are: %s.", ond_names_seen(ids, n, call.user, look_at_sync)),
                    errhint("Drop them with ondatra.drop_sync(), or give them another destination with ondatra.update_sync().")));
  }
  ids = ond_destination_alerts(name, &n);
  if (n > 0) {
    ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST), errmsg("destination \"%s\" takes the alerts of syncs", name),
                    errdetail("They are: %s.", ond_names_seen(ids, n, call.user, look_at_sync)),
                    errhint("Give them another one in the option alert, or remove it: ondatra.update_sync(..., options => '{\"alert\": null}').")));
  }
  ond_destination_delete(d->destination_id);
  ond_call_end(&call);
  PG_RETURN_VOID();
}
