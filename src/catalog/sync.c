/*
 * sync.c - syncs as the catalog has them: loading, and the words of modes and states.
 *
 * A sync whose owner the asking role is not a member of is as missing: no message says that it is there.
 * Writing is in sync_edit.c, states are in lifecycle.c.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"

#include "catalog/edit.h"
#include "catalog/rows.h"
#include "catalog/session.h"
#include "catalog/sync.h"

#define NAME_CHARACTERS_MAX 63

/* In the order of OndMode and OndSyncState. */
static const char *const mode_names[] = {"upsert", "insert", "update", "mirror", "append", "replace"};
static const char *const state_names[] = {"created", "active", "paused", "error", "archived"};

OndMode ond_mode_parse(const char *text) {
  for (int i = 0; i < lengthof(mode_names); i++) {
    if (strcmp(mode_names[i], text) == 0) {
      return (OndMode)i;
    }
  }
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown mode \"%s\"", text),
                  errhint("Valid modes are upsert, insert, update, mirror, append and replace.")));
}

const char *ond_mode_name(OndMode mode) {
  return mode_names[mode];
}

const char *ond_sync_state_name(OndSyncState s) {
  return state_names[s];
}

OndSyncState ond_sync_state_parse(const char *text) {
  for (int i = 0; i < lengthof(state_names); i++) {
    if (strcmp(state_names[i], text) == 0) {
      return (OndSyncState)i;
    }
  }
  elog(ERROR, "unknown state \"%s\" of a sync", text);
}

/* A C0 or C1 control character or DEL at p; C1 only where the encoding is UTF-8. */
static bool is_control(const char *p) {
  unsigned char c = (unsigned char)p[0];

  return c < 0x20 || c == 0x7F || (GetDatabaseEncoding() == PG_UTF8 && c == 0xC2 && (unsigned char)p[1] < 0xA0);
}

void ond_name_check(const char *kind, const char *name) {
  int characters = pg_mbstrlen(name);

  if (characters < 1 || characters > NAME_CHARACTERS_MAX) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("the name of a %s must have 1 to %d characters", kind, NAME_CHARACTERS_MAX),
                    errdetail("The name given has %d.", characters)));
  }
  for (const char *p = name; *p != '\0'; p += pg_mblen(p)) {
    if (is_control(p)) {
      ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("the name of a %s must not hold control characters", kind)));
    }
  }
}

/* Columns in the order of fill_*(). */
#define SYNC_SELECT                                                                                                                        \
  "SELECT sync_id, name, owner, model, model_search_path, destination_id, object, key, mode, mapping::text, schedule, options::text, "     \
  "version, columns::text, hash_seed, hash_format, state, state_reason, anchor, failures, resend, cursor_value, cursor_seen, "             \
  "cursor_seen_at, full_pass_at, sent_model, sent_mapping, sent_definition, state_rows, key_unique FROM ondatra.all_syncs WHERE "

static void fill_key(OndSync *s, int column, MemoryContext context) {
  bool isnull;
  ArrayType *array = DatumGetArrayTypeP(ond_row_datum(column, &isnull));
  Datum *elements;
  bool *nulls;

  deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &s->n_keys);
  s->keys = MemoryContextAlloc(context, sizeof(char *) * Max(s->n_keys, 1));
  for (int i = 0; i < s->n_keys; i++) {
    MemoryContext old = MemoryContextSwitchTo(context);

    s->keys[i] = TextDatumGetCString(elements[i]);
    MemoryContextSwitchTo(old);
  }
}

static void fill_seed(OndSync *s, int column) {
  bool isnull;
  bytea *seed = DatumGetByteaPP(ond_row_datum(column, &isnull));

  if (VARSIZE_ANY_EXHDR(seed) != sizeof(s->hash_seed)) {
    elog(ERROR, "sync %lld has a hash seed of a wrong length", (long long)s->sync_id);
  }
  memcpy(s->hash_seed, VARDATA_ANY(seed), sizeof(s->hash_seed));
}

static void fill(OndSync *s, MemoryContext context) {
  s->sync_id = ond_row_int64(1);
  s->name = ond_row_text(2, context);
  s->owner = ond_row_oid(3);
  s->model = ond_row_text(4, context);
  s->model_search_path = ond_row_text(5, context);
  s->destination_id = ond_row_int64(6);
  s->object = ond_row_text(7, context);
  fill_key(s, 8, context);
  s->mode = ond_mode_parse(ond_row_text(9, context));
  s->mapping = ond_row_text(10, context);
  s->schedule = ond_row_text(11, context);
  s->options_json = ond_row_text(12, context);
  s->version = ond_row_int64(13);
  s->columns = ond_row_text(14, context);
  fill_seed(s, 15);
  s->hash_format = ond_row_int32(16);
  s->state = ond_sync_state_parse(ond_row_text(17, context));
  s->state_reason = ond_row_text(18, context);
  s->anchor = ond_row_time(19);
  s->failures = ond_row_int32(20);
  s->resend = ond_row_bool(21);
  s->cursor_value = ond_row_text(22, context);
  s->cursor_seen = ond_row_text(23, context);
  s->cursor_seen_at = ond_row_time(24);
  s->full_pass_at = ond_row_time(25);
  s->sent_model = ond_row_text(26, context);
  s->sent_mapping = ond_row_text(27, context);
  s->sent_definition = ond_row_text(28, context);
  s->state_rows = ond_row_int64(29);
  s->key_unique = ond_row_bool(30);
}

static OndSync *load_where(const char *sql, Oid type, Datum value) {
  MemoryContext caller = CurrentMemoryContext;
  OndSync *s = NULL;

  if (ond_spi(SPI_OK_SELECT, sql, 1, &type, &value, NULL) > 0) {
    s = MemoryContextAllocZero(caller, sizeof(*s));
    fill(s, caller);
  }
  if (s != NULL) {
    ond_sync_options_parse(s->options_json, s->mode, &s->options);
  }
  return s;
}

OndSync *ond_sync_load(int64 sync_id) {
  return load_where(SYNC_SELECT "sync_id OPERATOR(pg_catalog.=) $1", INT8OID, Int64GetDatum(sync_id));
}

OndSync *ond_sync_by_name(const char *name, Oid role) {
  OndSync *s = load_where(SYNC_SELECT "name OPERATOR(pg_catalog.=) $1", TEXTOID, CStringGetTextDatum(name));

  return s != NULL && has_privs_of_role(role, s->owner) ? s : NULL;
}

OndSync *ond_sync_get(const char *name, Oid role) {
  OndSync *s = ond_sync_by_name(name, role);

  if (s == NULL) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("sync \"%s\" does not exist", name),
                    errhint("The view ondatra.syncs lists those of role \"%s\"; ondatra.create_sync() makes one.",
                            GetUserNameFromId(role, false))));
  }
  return s;
}
