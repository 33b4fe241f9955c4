/*
 * connector.c - rows of all_connectors, and a destination's connector compiled.
 *
 * Locks: whoever makes a destination or a sync use a connector holds its row FOR KEY SHARE till commit, edits and drops hold it FOR UPDATE:
 * always after the row of the destination. Documents are kept in the database's encoding and compiled as UTF-8.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"

#include "catalog/connector.h"
#include "catalog/rows.h"
#include "catalog/secrets.h"
#include "catalog/session.h"
#include "core/url.h"

/* ---- rows ---- */

static Oid row_owner(uint64 i) {
  bool isnull;
  Datum owner = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

  return isnull ? InvalidOid : DatumGetObjectId(owner);
}

OndConnectorRow *ond_connector_find(const char *name, Oid role) {
  const char *sql = "SELECT owner, spec::text FROM ondatra.all_connectors WHERE name OPERATOR(pg_catalog.=) $1 ORDER BY builtin";
  Oid types[] = {TEXTOID};
  Datum values[] = {CStringGetTextDatum(name)};
  MemoryContext caller = CurrentMemoryContext;
  OndConnectorRow *c = NULL;
  uint64 n = ond_spi(SPI_OK_SELECT, sql, 1, types, values, NULL);

  for (uint64 i = 0; i < n && c == NULL; i++) {
    Oid owner = row_owner(i);

    if (!OidIsValid(owner) || has_privs_of_role(role, owner)) {
      c = MemoryContextAllocZero(caller, sizeof(*c));
      c->owner = owner;
      c->name = MemoryContextStrdup(caller, name);
      c->document = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
    }
  }
  return c;
}

static bool is_builtin(const char *name) {
  Oid types[] = {TEXTOID};
  Datum values[] = {CStringGetTextDatum(name)};

  return strcmp(name, "http") == 0 ||
         ond_spi(SPI_OK_SELECT, "SELECT 1 FROM ondatra.all_connectors WHERE name OPERATOR(pg_catalog.=) $1 AND builtin", 1, types, values, NULL) > 0;
}

OndConnectorRow *ond_connector_edit(const char *name, Oid role) {
  const char *sql =
      "SELECT owner, spec::text FROM ondatra.all_connectors WHERE name OPERATOR(pg_catalog.=) $1 AND NOT builtin FOR UPDATE";
  Oid types[] = {TEXTOID};
  Datum values[] = {CStringGetTextDatum(name)};
  MemoryContext caller = CurrentMemoryContext;
  OndConnectorRow *c = NULL;

  if (ond_spi(SPI_OK_SELECT, sql, 1, types, values, NULL) > 0 && has_privs_of_role(role, row_owner(0))) {
    c = MemoryContextAllocZero(caller, sizeof(*c));
    c->owner = row_owner(0);
    c->name = MemoryContextStrdup(caller, name);
    c->document = ond_row_text(2, caller);
  }
  if (c != NULL) {
    return c;
  }
  if (is_builtin(name)) {
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("connector \"%s\" is a builtin one", name),
                    errhint("Make one of your own with ondatra.create_connector(); the column spec of ondatra.connectors is what to start from.")));
  }
  ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("connector \"%s\" does not exist", name),
                  errhint("The view ondatra.connectors lists those that role \"%s\" may use.", GetUserNameFromId(role, false))));
}

void ond_connector_keep(const char *name) {
  Oid types[] = {TEXTOID};
  Datum values[] = {CStringGetTextDatum(name)};

  (void)ond_spi(SPI_OK_SELECT, "SELECT 1 FROM ondatra.all_connectors WHERE name OPERATOR(pg_catalog.=) $1 AND NOT builtin FOR KEY SHARE", 1,
                types, values, NULL);
}

void ond_connector_insert(const OndConnectorRow *c, const char *description) {
  const char *sql = "INSERT INTO ondatra.all_connectors (name, owner, spec, description) VALUES ($1, $2::oid::regrole, $3::json, $4) "
                    "ON CONFLICT (name, builtin) DO NOTHING";
  Oid types[] = {TEXTOID, OIDOID, TEXTOID, TEXTOID};
  char nulls[5] = "    ";
  Datum values[4];
  bool builtin = is_builtin(c->name);

  values[0] = CStringGetTextDatum(c->name);
  values[1] = ObjectIdGetDatum(c->owner);
  values[2] = CStringGetTextDatum(c->document);
  values[3] = ond_text_datum(description, &nulls[3]);
  if (builtin || ond_spi(SPI_OK_INSERT, sql, 4, types, values, nulls) == 0) {
    ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("connector \"%s\" already exists", c->name),
                    builtin ? errhint("It is a builtin one: choose another name.") : errhint("Use ondatra.replace_connector() if it is yours, or another name.")));
  }
}

void ond_connector_update(const OndConnectorRow *c, const char *description) {
  const char *sql = "UPDATE ondatra.all_connectors SET spec = $2::json, description = coalesce($3, description), version = version "
                    "OPERATOR(pg_catalog.+) 1, updated_at = pg_catalog.now() WHERE name OPERATOR(pg_catalog.=) $1 AND NOT builtin";
  Oid types[] = {TEXTOID, TEXTOID, TEXTOID};
  char nulls[4] = "   ";
  Datum values[3];

  values[0] = CStringGetTextDatum(c->name);
  values[1] = CStringGetTextDatum(c->document);
  values[2] = ond_text_datum(description, &nulls[2]);
  ond_spi(SPI_OK_UPDATE, sql, 3, types, values, nulls);
}

void ond_connector_delete(const OndConnectorRow *c) {
  Oid types[] = {TEXTOID};
  Datum values[] = {CStringGetTextDatum(c->name)};

  ond_spi(SPI_OK_DELETE, "DELETE FROM ondatra.all_connectors WHERE name OPERATOR(pg_catalog.=) $1 AND NOT builtin", 1, types, values, NULL);
}

int64 *ond_connector_destinations(const OndConnectorRow *c, int *n) {
  const char *sql = "SELECT owner, destination_id FROM ondatra.all_destinations WHERE connector OPERATOR(pg_catalog.=) $1 ORDER BY destination_id";
  Oid types[] = {TEXTOID};
  Datum values[] = {CStringGetTextDatum(c->name)};
  MemoryContext caller = CurrentMemoryContext;
  uint64 rows = ond_spi(SPI_OK_SELECT, sql, 1, types, values, NULL);
  int64 *ids = MemoryContextAlloc(caller, sizeof(int64) * Max(rows, 1));
  bool isnull;

  *n = 0;
  for (uint64 i = 0; i < rows; i++) {
    if (has_privs_of_role(row_owner(i), c->owner)) {
      ids[(*n)++] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
    }
  }
  return ids;
}

/* ---- compiled ---- */

static char *to_utf8(const char *text) {
  return text == NULL ? NULL : pg_server_to_any(text, (int)strlen(text), PG_UTF8);
}

static OndBytes bytes(const char *text) {
  return text == NULL ? OND_BYTES_NONE : (OndBytes){text, strlen(text)};
}

OndConnector *ond_destination_compile(const OndDestination *d, const OndSync *s) {
  OndError err = {0};
  OndConnectorSource source = {.connector = to_utf8(d->connector),
                               .document = bytes(to_utf8(d->document)),
                               .base_url = to_utf8(d->base_url),
                               .options = bytes(to_utf8(d->options)),
                               .variables = bytes(s == NULL ? NULL : to_utf8(s->options.variables)),
                               .object = s == NULL ? NULL : to_utf8(s->object),
                               .account_only = s == NULL};
  OndConnector *connector = ond_connector_parse(&source, &err);

  if (connector == NULL) {
    ond_raise(&err);
  }
  return connector;
}

static bool resolve(OndAuth *auth, const OndDestination *d, OndConnector *connector, OndError *err) {
  const char *base_url = ond_connector_base_url(connector);
  OndUrl url;

  return ond_connector_check_auth(connector, auth, err) && ond_url_parse(base_url, &url, err) && ond_auth_trust(auth, base_url, err) &&
         ond_secrets_resolve(auth, d->owner, url.host, err);
}

OndAuth *ond_destination_credentials(const OndDestination *d, OndConnector *connector, OndError *err) {
  char *text = to_utf8(d->auth);
  OndAuth *auth = ond_auth_parse(text, text == NULL ? 0 : strlen(text), err);

  if (auth != NULL && !resolve(auth, d, connector, err)) {
    ond_auth_free(auth);
    auth = NULL;
  }
  ond_connector_use_auth(connector, auth);
  return auth;
}

bool ond_destination_check_auth(const OndDestination *d, const OndConnector *connector, OndError *err) {
  char *text = to_utf8(d->auth);
  OndAuth *auth = ond_auth_parse(text, text == NULL ? 0 : strlen(text), err);
  bool ok = auth != NULL && ond_connector_check_auth(connector, auth, err);

  ond_auth_free(auth);
  return ok;
}

bool ond_connector_bind_sync(OndConnector *c, const OndSync *s, OndError *err) {
  char **keys = palloc(sizeof(char *) * Max(s->n_keys, 1));

  for (int i = 0; i < s->n_keys; i++) {
    keys[i] = to_utf8(s->keys[i]);
  }
  return ond_connector_bind(c, s->mode, s->n_keys, (const char *const *)keys, err);
}
