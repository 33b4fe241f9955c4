/*
 * connectors.c - create_connector, replace_connector, drop_connector, check_connector.
 *
 * A document is checked completely before it is stored, so that what is wrong with it is told to who writes it and not to a run. Replacing it
 * changes what every sync that uses it sends: each must still find its object and what its mode needs, and no base URL may move under rows
 * that were delivered, nor under the credentials of somebody else. A run in progress ends with the document it began with, and what it has
 * delivered counts; the next one uses the new document. Rows are not sent again for that: resend_sync() does.
 */
#include "postgres.h"

#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "api/destinations.h"
#include "catalog/connector.h"
#include "catalog/edit.h"
#include "catalog/utf8.h"
#include "connector/mapping.h"


/* Calls `each` for every problem of a document (database's encoding); how many. */
static int for_each_problem(const char *document, void (*each)(void *arg, const OndError *problem), void *arg) {
  char *text = ond_to_utf8(document);
  OndArena *arena = ond_arena_create();
  volatile int n = 0;

  PG_TRY();
  {
    const OndError *problems;

    n = ond_connector_check(arena, (OndBytes){text, strlen(text)}, &problems);
    for (int i = 0; i < n; i++) {
      each(arg, &problems[i]);
    }
  }
  PG_FINALLY();
  { ond_arena_destroy(arena); }
  PG_END_TRY();
  return n;
}

static char *from_utf8(const char *text) {
  return pg_any_to_server(pstrdup(text), (int)strlen(text), PG_UTF8);
}

static void add_row(void *arg, const OndError *problem) {
  ReturnSetInfo *result = arg;
  Datum values[2];
  bool nulls[2] = {false};
  char *words = from_utf8(problem->message);

  if (problem->hint[0] != '\0') {
    words = psprintf("%s. %s", words, from_utf8(problem->hint));
  }
  values[0] = CStringGetTextDatum(from_utf8(problem->pointer));
  values[1] = CStringGetTextDatum(words);
  tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The document of argument n: required, and an object. */
static char *arg_document(FunctionCallInfo fcinfo, int n) {
  if (PG_ARGISNULL(n)) {
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument \"spec\" must not be NULL")));
  }
  return ond_arg_json(fcinfo, n);
}

PG_FUNCTION_INFO_V1(ond_sql_check_connector);
Datum ond_sql_check_connector(PG_FUNCTION_ARGS) {
  char *document = arg_document(fcinfo, 0);

  InitMaterializedSRF(fcinfo, 0);
  (void)for_each_problem(document, add_row, fcinfo->resultinfo);
  return (Datum)0;
}

static void keep_first(void *arg, const OndError *problem) {
  OndError *first = arg;

  if (first->message[0] == '\0') {
    *first = *problem;
  }
}

/* Raises the first problem, and says how many there are. */
static void check_document(const char *document) {
  OndError first = {0};
  int n = for_each_problem(document, keep_first, &first);

  if (n > 1) {
    ond_error_detail(&first, "%d more problem%s: ondatra.check_connector() lists all.", n - 1, n > 2 ? "s" : "");
  }
  if (n > 0) {
    ond_raise(&first);
  }
}

PG_FUNCTION_INFO_V1(ond_sql_create_connector);
Datum ond_sql_create_connector(PG_FUNCTION_ARGS) {
  OndConnectorRow c = {0};
  OndCall call;

  c.name = ond_arg_name(fcinfo, 0, "connector");
  c.document = arg_document(fcinfo, 1);
  check_document(c.document);
  ond_call_begin(&call);
  c.owner = call.user;
  ond_connector_insert(&c, ond_arg_text(fcinfo, 2));
  ond_call_end(&call);
  PG_RETURN_VOID();
}

/* ---- replacing ---- */

static void raise_unusable(const char *kind, const char *name, const char *connector, const char *message, const char *hint) {
  ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST), errmsg("%s \"%s\" could not use connector \"%s\" any more", kind, name, connector),
                  errdetail("%s", message), hint != NULL && hint[0] != '\0' ? errhint("%s", hint) : 0));
}

/* Compiles; an error says who could not use the connector any more. */
static OndConnector *compile_for(const OndDestination *d, const OndSync *s) {
  MemoryContext context = CurrentMemoryContext;
  OndConnector *volatile c = NULL;

  PG_TRY();
  { c = ond_destination_compile(d, s); }
  PG_CATCH();
  {
    ErrorData *error;

    MemoryContextSwitchTo(context);
    error = CopyErrorData();
    FlushErrorState();
    raise_unusable(s == NULL ? "destination" : "sync", s == NULL ? d->name : s->name, d->connector, error->message, error->hint);
  }
  PG_END_TRY();
  return c;
}

static char *base_url_of(const OndDestination *d) {
  OndConnector *c = ond_destination_compile(d, NULL);
  char *url = pstrdup(ond_connector_base_url(c));

  ond_connector_free(c);
  return url;
}

static bool has_delivered(const int64 *ids, int n) {
  for (int i = 0; i < n; i++) {
    if (ond_sync_has_delivered(ids[i])) {
      return true;
    }
  }
  return false;
}

/* old: the destination with the connector as it was. The URL that credentials and rows go to must not move unnoticed. */
static void check_base_url(const OndDestination *old, const OndConnector *new, const int64 *ids, int n, Oid user) {
  char *was = base_url_of(old);

  if (strcmp(was, ond_connector_base_url(new)) == 0) {
    return;
  }
  if (!has_privs_of_role(user, old->owner) || has_delivered(ids, n)) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("destination \"%s\" takes its base URL from connector \"%s\"", old->name, old->connector),
                    errdetail("It is %s now and would become %s.", was, pstrdup(ond_connector_base_url(new))),
                    errhint("Give the destination the base URL first: ondatra.update_destination(%s, base_url => ..., delivered => ...).",
                            quote_literal_cstr(old->name))));
  }
}

/* What the connector asks of the mapping, as far as it can be said without the model. */
static bool suits_mapping(const OndConnector *c, const OndSync *s, OndError *err) {
  char *text = s->mapping == NULL ? NULL : ond_to_utf8(s->mapping);
  OndMapping *m = text == NULL ? NULL : ond_mapping_parse(text, strlen(text), err);
  const char *name;
  bool ok = true;

  for (int i = 0; m != NULL && ok && i < ond_mapping_count(m); i++) {
    const OndField *f = ond_mapping_field(m, i);

    ok = f->as == NULL || ond_connector_type(c, f->as, err) >= 0;
  }
  for (int i = 0; m != NULL && ok && s->mode != OND_MODE_UPDATE && (name = ond_connector_required(c, i)) != NULL; i++) {
    ok = ond_mapping_fills(m, name);
    if (!ok) {
      ond_error_set(err, "the mapping does not fill the field \"%s\", which would be required", name);
    }
  }
  ond_mapping_free(m);
  return ok;
}

static void free_connector(void *connector) {
  ond_connector_free(connector);
}

static void check_destination(int64 destination_id, const OndConnectorRow *c, Oid user) {
  OndDestination *old = ond_destination_load(destination_id);
  OndDestination d;
  OndConnector *connector;
  OndAuth *auth;
  OndError err;
  int64 *ids;
  int n;

  if (old == NULL) {
    return;
  }
  d = *old;
  d.document = c->document;
  ids = ond_destination_syncs(destination_id, &n);
  connector = compile_for(&d, NULL);
  ond_api_adopt(free_connector, connector);
  auth = ond_destination_auth(&d);
  if (!ond_connector_takes_auth(connector, ond_auth_type_name(auth->type), &err)) {
    raise_unusable("destination", d.name, d.connector, err.message, err.hint);
    return;
  }
  check_base_url(old, connector, ids, n, user);
  for (int i = 0; i < n; i++) {
    OndSync *s = ond_sync_load(ids[i]);
    bool ok;

    connector = compile_for(&d, s);
    ok = ond_connector_bind_sync(connector, s, &err) && suits_mapping(connector, s, &err);
    ond_connector_free(connector);
    if (!ok) {
      raise_unusable("sync", s->name, d.connector, err.message, err.hint);
    }
  }
}

PG_FUNCTION_INFO_V1(ond_sql_replace_connector);
Datum ond_sql_replace_connector(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "connector");
  char *document = arg_document(fcinfo, 1);
  OndCall call;
  OndConnectorRow *c;
  int64 *ids;
  int n;

  ond_call_begin(&call);
  c = ond_connector_edit(name, call.user);
  check_document(document);
  c->document = document;
  ids = ond_connector_destinations(c, &n);
  for (int i = 0; i < n; i++) {
    check_destination(ids[i], c, call.user);
  }
  ond_connector_update(c, ond_arg_text(fcinfo, 2));
  ond_call_end(&call);
  PG_RETURN_VOID();
}

/* ---- dropping ---- */

static bool look_at_destination(int64 id, char **name, Oid *owner) {
  const OndDestination *d = ond_destination_load(id);

  if (d != NULL) {
    *name = d->name;
    *owner = d->owner;
  }
  return d != NULL;
}

PG_FUNCTION_INFO_V1(ond_sql_drop_connector);
Datum ond_sql_drop_connector(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "connector");
  OndCall call;
  OndConnectorRow *c;
  int64 *ids;
  int n;

  ond_call_begin(&call);
  c = ond_connector_edit(name, call.user);
  ids = ond_connector_destinations(c, &n);
  if (n > 0) {
    ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST), errmsg("connector \"%s\" is used by destinations", name),
                    errdetail("They are: %s.", ond_names_seen(ids, n, call.user, look_at_destination)),
                    errhint("Drop them with ondatra.drop_destination(), or give them another connector with ondatra.update_destination().")));
  }
  ond_connector_delete(c);
  ond_call_end(&call);
  PG_RETURN_VOID();
}
