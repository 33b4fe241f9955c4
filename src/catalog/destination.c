/*
 * destination.c - rows of all_destinations: loading and writing.
 *
 * Locks: whoever makes a sync use a destination holds its row FOR KEY SHARE till commit, edits and drops hold it FOR UPDATE. So a
 * destination that is dropped has no user, though there are no foreign keys. Does not: look into auth and options (connector/ parses
 * them). A destination carries its connector's document, looked up by name with the rights of the destination's owner.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"

#include "catalog/arming.h"
#include "catalog/connector.h"
#include "catalog/edit.h"
#include "catalog/rows.h"
#include "catalog/session.h"
#include "catalog/tokens.h"
#include "catalog/sync.h"

/* Roles that it was granted to at one level. */
#define GRANTED(level)                                                                                                                     \
  "ARRAY(SELECT g.role::pg_catalog.oid FROM ondatra.all_grants g WHERE g.destination_id OPERATOR(pg_catalog.=) d.destination_id AND "      \
  "g.level OPERATOR(pg_catalog.=) '" level "')"

#define DESTINATION_SELECT                                                                                                                 \
  "SELECT d.destination_id, d.name, d.owner, d.connector, d.base_url, d.auth::text, d.options::text, d.version, " GRANTED("sync") ", "       \
  GRANTED("request") " FROM ondatra.all_destinations d WHERE "

/* An array of OIDs, as a list in `context`. */
static List *oid_list(int column, MemoryContext context) {
  bool isnull;
  ArrayType *array = DatumGetArrayTypeP(ond_row_datum(column, &isnull));
  int n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
  MemoryContext saved = MemoryContextSwitchTo(context);
  List *list = NIL;

  for (int i = 0; i < n; i++) {
    list = lappend_oid(list, ((Oid *)ARR_DATA_PTR(array))[i]);
  }
  MemoryContextSwitchTo(saved);
  return list;
}

static OndDestination *load_where(const char *sql, Oid type, Datum value) {
  MemoryContext caller = CurrentMemoryContext;
  OndDestination *d = NULL;

  if (ond_spi(SPI_OK_SELECT, sql, 1, &type, &value, NULL) > 0) {
    d = MemoryContextAllocZero(caller, sizeof(*d));
    d->destination_id = ond_row_int64(1);
    d->name = ond_row_text(2, caller);
    d->owner = ond_row_oid(3);
    d->connector = ond_row_text(4, caller);
    d->base_url = ond_row_text(5, caller);
    d->auth = ond_row_text(6, caller);
    d->options = ond_row_text(7, caller);
    d->version = ond_row_int64(8);
    d->sync_roles = oid_list(9, caller);
    d->request_roles = oid_list(10, caller);
  }
  if (d != NULL) {
    ond_destination_read_document(d);
  }
  return d;
}

void ond_destination_read_document(OndDestination *d) {
  OndConnectorRow *connector = strcmp(d->connector, "http") == 0 ? NULL : ond_connector_find(d->connector, d->owner);

  d->document = connector == NULL ? NULL : connector->document;
}

OndDestination *ond_destination_load(int64 destination_id) {
  return load_where(DESTINATION_SELECT "d.destination_id OPERATOR(pg_catalog.=) $1", INT8OID, Int64GetDatum(destination_id));
}

static bool is_member_of_any(Oid role, const List *roles) {
  ListCell *cell;

  foreach (cell, roles) {
    if (has_privs_of_role(role, lfirst_oid(cell))) {
      return true;
    }
  }
  return false;
}

bool ond_destination_allows(const OndDestination *d, Oid role, OndAccess access) {
  return has_privs_of_role(role, d->owner) || (access <= OND_ACCESS_REQUEST && is_member_of_any(role, d->request_roles)) ||
         (access <= OND_ACCESS_SYNC && is_member_of_any(role, d->sync_roles));
}

OndDestination *ond_destination_get(const char *name, Oid role, OndAccess access) {
  OndDestination *d = load_where(DESTINATION_SELECT "d.name OPERATOR(pg_catalog.=) $1", TEXTOID, CStringGetTextDatum(name));
  char *role_name = GetUserNameFromId(role, false);

  if (d == NULL || !ond_destination_allows(d, role, OND_ACCESS_SYNC)) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("destination \"%s\" does not exist", name),
                    errhint("The view ondatra.destinations lists those that role \"%s\" may use; ondatra.create_destination() makes one.", role_name)));
  }
  if (!ond_destination_allows(d, role, access)) {
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                    access == OND_ACCESS_OWNER ? errmsg("role \"%s\" may use destination \"%s\", but not change it", role_name, name)
                                               : errmsg("role \"%s\" may use destination \"%s\" for syncs only", role_name, name),
                    access == OND_ACCESS_OWNER ? errhint("Members of its owner may.")
                                               : errhint("Its owner can call ondatra.grant_destination(%s, %s, 'request').", quote_literal_cstr(name),
                                                         quote_literal_cstr(role_name))));
  }
  return d;
}

bool ond_destination_allows_sync(const OndDestination *d, const OndSync *s) {
  return ond_destination_allows(d, s->owner, s->options.render != NULL ? OND_ACCESS_REQUEST : OND_ACCESS_SYNC);
}

/* The sync's owner may send there, and no more. */
static _Noreturn void refuse_more(const OndSync *s, const OndDestination *d, const char *why) {
  char *owner = GetUserNameFromId(s->owner, false);

  ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                  errmsg("role \"%s\", the owner of sync \"%s\", may use destination \"%s\" only to send what its connector makes of rows", owner, s->name, d->name),
                  errdetail("%s", why),
                  errhint("The destination's owner can call ondatra.grant_destination(%s, %s, 'request').", quote_literal_cstr(d->name), quote_literal_cstr(owner))));
}

void ond_destination_check_read(const OndSync *s, const OndDestination *d) {
  if (!ond_destination_allows(d, s->owner, OND_ACCESS_REQUEST)) {
    refuse_more(s, d, "reconcile_sync() reads all records, as fetch() does.");
  }
}

void ond_destination_check_use(const OndSync *s, const OndDestination *d) {
  char *owner = GetUserNameFromId(s->owner, true);
  char *other = GetUserNameFromId(d->owner, true);

  if (ond_destination_allows_sync(d, s)) {
    return;
  }
  if (ond_destination_allows(d, s->owner, OND_ACCESS_SYNC)) {
    refuse_more(s, d, "A render function makes requests to any path.");
  }
  ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                  errmsg("role \"%s\", the owner of sync \"%s\", may not use destination \"%s\"", owner == NULL ? "(dropped)" : owner, s->name, d->name),
                  errhint("A destination may be used by its owner, role \"%s\", by that role's members, and by those whom they name with ondatra.grant_destination().",
                          other == NULL ? "(dropped)" : other)));
}

int64 ond_destination_count(Oid owner) {
  Oid types[] = {OIDOID};
  Datum values[] = {ObjectIdGetDatum(owner)};

  ond_spi(SPI_OK_SELECT, "SELECT pg_catalog.count(*) FROM ondatra.all_destinations WHERE owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
  return ond_row_int64(1);
}

int64 ond_destination_insert(const OndDestination *d) {
  const char *sql =
      "INSERT INTO ondatra.all_destinations (name, owner, connector, base_url, auth, options) VALUES ($1, $2::oid::regrole, $3, $4, "
      "$5::json, $6::json) ON CONFLICT (name) DO NOTHING RETURNING destination_id";
  Oid types[] = {TEXTOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
  char nulls[7] = "      ";
  Datum values[6];

  values[0] = CStringGetTextDatum(d->name);
  values[1] = ObjectIdGetDatum(d->owner);
  values[2] = CStringGetTextDatum(d->connector);
  values[3] = ond_text_datum(d->base_url, &nulls[3]);
  values[4] = ond_text_datum(d->auth, &nulls[4]);
  values[5] = CStringGetTextDatum(d->options);
  ond_arm_first();
  if (ond_spi(SPI_OK_INSERT_RETURNING, sql, 6, types, values, nulls) == 0) {
    ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("destination \"%s\" already exists", d->name),
                    errhint("Use ondatra.update_destination() if it is yours, or another name.")));
  }
  return ond_row_int64(1);
}

void ond_destination_update(const OndDestination *d) {
  const char *sql =
      "UPDATE ondatra.all_destinations SET connector = $2, base_url = $3, auth = $4::json, options = $5::json, version = version "
      "OPERATOR(pg_catalog.+) 1, updated_at = pg_catalog.now() WHERE destination_id OPERATOR(pg_catalog.=) $1";
  Oid types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
  char nulls[6] = "     ";
  Datum values[5];

  values[0] = Int64GetDatum(d->destination_id);
  values[1] = CStringGetTextDatum(d->connector);
  values[2] = ond_text_datum(d->base_url, &nulls[2]);
  values[3] = ond_text_datum(d->auth, &nulls[3]);
  values[4] = CStringGetTextDatum(d->options);
  ond_spi(SPI_OK_UPDATE, sql, 5, types, values, nulls);
}

void ond_destination_delete(int64 destination_id) {
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(destination_id)};

  ond_token_forget(destination_id);
  ond_spi(SPI_OK_DELETE, "DELETE FROM ondatra.all_grants WHERE destination_id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
  ond_spi(SPI_OK_DELETE, "DELETE FROM ondatra.all_destinations WHERE destination_id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
}

bool ond_destination_lock(int64 destination_id, bool exclusive) {
  const char *sql = exclusive ? "SELECT 1 FROM ondatra.all_destinations WHERE destination_id OPERATOR(pg_catalog.=) $1 FOR UPDATE"
                              : "SELECT 1 FROM ondatra.all_destinations WHERE destination_id OPERATOR(pg_catalog.=) $1 FOR KEY SHARE";
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(destination_id)};

  return ond_spi(SPI_OK_SELECT, sql, 1, types, values, NULL) > 0;
}

void ond_destination_grant(int64 destination_id, Oid role, const char *level) {
  Oid types[] = {INT8OID, OIDOID, TEXTOID};
  Datum values[] = {Int64GetDatum(destination_id), ObjectIdGetDatum(role), CStringGetTextDatum(level)};

  ond_spi(SPI_OK_INSERT,
          "INSERT INTO ondatra.all_grants (destination_id, role, level) VALUES ($1, $2::oid::regrole, $3) ON CONFLICT (destination_id, role) "
          "DO UPDATE SET level = excluded.level, granted_at = excluded.granted_at",
          3, types, values, NULL);
}

bool ond_destination_revoke(int64 destination_id, Oid role) {
  Oid types[] = {INT8OID, OIDOID};
  Datum values[] = {Int64GetDatum(destination_id), ObjectIdGetDatum(role)};

  return ond_spi(SPI_OK_DELETE, "DELETE FROM ondatra.all_grants WHERE destination_id OPERATOR(pg_catalog.=) $1 AND role OPERATOR(pg_catalog.=) $2", 2,
                 types, values, NULL) > 0;
}

static int64 *sync_ids(const char *sql, Oid type, Datum value, int *n) {
  MemoryContext caller = CurrentMemoryContext;
  int64 *ids;

  *n = (int)ond_spi(SPI_OK_SELECT, sql, 1, &type, &value, NULL);
  ids = ond_rows_int64(*n, caller);
  return ids;
}

int64 *ond_destination_syncs(int64 destination_id, int *n) {
  return sync_ids("SELECT sync_id FROM ondatra.all_syncs WHERE destination_id OPERATOR(pg_catalog.=) $1 ORDER BY sync_id", INT8OID,
                  Int64GetDatum(destination_id), n);
}

int64 *ond_destination_alerts(const char *name, int *n) {
  return sync_ids("SELECT sync_id FROM ondatra.all_syncs WHERE (options OPERATOR(pg_catalog.#>>) '{alert,destination}') OPERATOR(pg_catalog.=) $1 ORDER BY sync_id",
                  TEXTOID, CStringGetTextDatum(name), n);
}
