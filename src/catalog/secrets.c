/*
 * secrets.c - rows of all_secrets, and references resolved.
 *
 * A secret belongs to a role; a reference resolves to the secrets of the destination's owner and of nobody else. The value is encrypted
 * (crypt.c) before it becomes an argument of our SQL, so it reaches neither WAL nor a log line nor an error's context in the clear; it is
 * decrypted in workers and in test_destination only. Environment variables and files are read only as the superuser's lists
 * (ondatra.secret_env, ondatra.secret_dir) name them, entry by entry with role and host: "CRM_TOKEN=app@crm.example.com"; * stands for
 * any role or host, a directory for the files below it.
 */
#include "postgres.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "catalog/crypt.h"
#include "catalog/edit.h"
#include "catalog/rows.h"
#include "catalog/secrets.h"
#include "catalog/session.h"
#include "catalog/settings.h"
#include "core/mem.h"

#define FILE_BYTES_MAX 65536 /* a chain of certificates; what goes into a header is measured there */

/* --- rows ----------------------------------------------------------------------------------------------------- */

/* Runs a statement about (owner, name): $1, $2. Returns the number of rows. */
static uint64 run_for(int expect, const char *sql, Oid owner, const char *name) {
  Oid types[] = {OIDOID, TEXTOID};
  Datum values[] = {ObjectIdGetDatum(owner), CStringGetTextDatum(name)};

  return ond_spi(expect, sql, 2, types, values, NULL);
}

#define OF_OWNER "owner OPERATOR(pg_catalog.=) $1::oid "
#define OF_NAME  "AND name OPERATOR(pg_catalog.=) $2"

void ond_secret_set(Oid owner, const char *name, const char *value, size_t n) {
  const char *sql =
      "INSERT INTO ondatra.all_secrets (owner, name, value) VALUES ($1::oid::regrole, $2, $3) ON CONFLICT (owner, name) DO UPDATE "
      "SET value = excluded.value, updated_at = pg_catalog.now()";
  Oid types[] = {OIDOID, TEXTOID, BYTEAOID};
  Datum values[3];
  bool none_yet = ond_crypt_none_yet();

  values[0] = ObjectIdGetDatum(owner);
  values[1] = CStringGetTextDatum(name);
  values[2] = PointerGetDatum(ond_crypt_seal(owner, name, value, n, none_yet));
  ond_spi(SPI_OK_INSERT, sql, 3, types, values, NULL);
}

/* One value under the first key; NULL: it cannot be read, which a warning says. */
bytea *ond_secret_reseal(Oid owner, const char *name, const char *shown_as, const bytea *sealed) {
  OndError err;
  size_t n;
  char *value = ond_crypt_open(owner, name, sealed, &n, &err);
  bytea *fresh;

  if (value == NULL) {
    ereport(WARNING, (errmsg("%s stays as it is: %s", shown_as, err.message), err.detail[0] != '\0' ? errdetail("%s", err.detail) : 0, errhint("%s", err.hint)));
    return NULL;
  }
  fresh = ond_crypt_seal(owner, name, value, n, false);
  ond_wipe(value, n);
  return fresh;
}

static bool reseal_row(SPITupleTable *rows, uint64 i) {
  Oid types[] = {OIDOID, TEXTOID, BYTEAOID};
  Datum values[3];
  char *name;
  bytea *fresh;
  bool isnull;

  for (int c = 0; c < 3; c++) {
    values[c] = SPI_getbinval(rows->vals[i], rows->tupdesc, c + 1, &isnull);
  }
  name = TextDatumGetCString(values[1]);
  if (ond_crypt_is_current(DatumGetByteaPP(values[2]))) {
    return false;
  }
  fresh = ond_secret_reseal(DatumGetObjectId(values[0]), name, psprintf("secret \"%s\"", name), DatumGetByteaPP(values[2]));
  if (fresh == NULL) {
    return false;
  }
  values[2] = PointerGetDatum(fresh);
  ond_spi(SPI_OK_UPDATE, "UPDATE ondatra.all_secrets SET value = $3 WHERE " OF_OWNER OF_NAME, 3, types, values, NULL);
  return true;
}

int64 ond_secrets_reencrypt(void) {
  uint64 n = ond_spi(SPI_OK_SELECT, "SELECT owner::pg_catalog.oid, name, value FROM ondatra.all_secrets ORDER BY owner, name FOR UPDATE", 0, NULL, NULL, NULL);
  SPITupleTable *rows = SPI_tuptable;
  int64 done = 0;

  for (uint64 i = 0; i < n; i++) {
    done += reseal_row(rows, i) ? 1 : 0;
  }
  return done;
}

bool ond_secret_drop(Oid owner, const char *name) {
  return run_for(SPI_OK_DELETE, "DELETE FROM ondatra.all_secrets WHERE " OF_OWNER OF_NAME, owner, name) > 0;
}

bool ond_secret_exists(Oid owner, const char *name) {
  return run_for(SPI_OK_SELECT, "SELECT FROM ondatra.all_secrets WHERE " OF_OWNER OF_NAME, owner, name) > 0;
}

/* Destinations of $1 whose auth refers to secret $2, as d. */
#define REFERRING                                                                                                                          \
  "ondatra.all_destinations d WHERE d.owner OPERATOR(pg_catalog.=) $1::oid AND pg_catalog.jsonb_path_exists(d.auth::jsonb, "               \
  "'$.**.secret ? (@ == $name)', pg_catalog.jsonb_build_object('name', $2)) "

int ond_secret_release(Oid owner, const char *name) {
  const char *sql =
      "SELECT s.sync_id FROM ondatra.all_syncs s JOIN ondatra.all_runs r ON r.run_id OPERATOR(pg_catalog.=) s.last_run_id WHERE "
      "s.state OPERATOR(pg_catalog.=) 'error' AND pg_catalog.starts_with(r.error_code, '28') AND s.destination_id "
      "OPERATOR(pg_catalog.=) ANY (SELECT d.destination_id FROM " REFERRING ") ORDER BY s.sync_id";
  int n = (int)run_for(SPI_OK_SELECT, sql, owner, name);
  int64 *ids = ond_rows_int64(n, CurrentMemoryContext);
  int released = 0;

  for (int i = 0; i < n; i++) {
    released += ond_sync_event(ids[i], OND_EVENT_CREDENTIAL, NULL) ? 1 : 0;
  }
  return released;
}

char *ond_secret_users(Oid owner, const char *name) {
  run_for(SPI_OK_SELECT, "SELECT pg_catalog.string_agg(pg_catalog.quote_ident(d.name), ', ' ORDER BY d.name) FROM " REFERRING, owner, name);
  return ond_row_text(1, CurrentMemoryContext);
}

/* --- references ----------------------------------------------------------------------------------------------- */

static bool refuse(OndError *err, const char *hint, const char *fmt, ...) pg_attribute_printf(3, 4);
static bool refuse(OndError *err, const char *hint, const char *fmt, ...) {
  char text[sizeof(err->message)];
  va_list args;

  va_start(args, fmt);
  vsnprintf(text, sizeof(text), fmt, args);
  va_end(args);
  ond_error_set(err, "%s", text);
  strlcpy(err->sqlstate, "28000", sizeof(err->sqlstate));
  ond_error_hint(err, "%s", hint);
  return false;
}

static bool resolve_secret(OndCredential *item, Oid owner, OndError *err) {
  char *name = pg_any_to_server(item->ref, strlen(item->ref), PG_UTF8);
  bool found = run_for(SPI_OK_SELECT, "SELECT value FROM ondatra.all_secrets WHERE " OF_OWNER OF_NAME, owner, name) > 0;
  char *value = NULL;
  size_t n = 0;

  if (found) {
    bool isnull;

    value = ond_crypt_open(owner, name, DatumGetByteaPP(ond_row_datum(1, &isnull)), &n, err);
  } else {
    char *owner_name = GetUserNameFromId(owner, true);

    refuse(err, "Call ondatra.set_secret() as that role.", "secret \"%s\" of role \"%s\" does not exist", name,
           owner_name != NULL ? owner_name : "(dropped)");
  }
  if (value != NULL) {
    item->value = ond_strndup(value, n);
    ond_wipe(value, n);
  }
  return item->value != NULL;
}

static bool matches(const char *pattern, const char *text) {
  return strcmp(pattern, "*") == 0 || pg_strcasecmp(pattern, text) == 0;
}

static char *trim(char *s) {
  char *end;

  while (isspace((unsigned char)*s) || *s == '"') {
    s++;
  }
  end = s + strlen(s);
  while (end > s && (isspace((unsigned char)end[-1]) || end[-1] == '"')) {
    end--;
  }
  *end = '\0';
  return s;
}

/* An entry's left side says yes to what is asked for. */
typedef bool (*Names)(const char *entry, const char *asked);

/* Whether one of the entries what=role@host of a setting names this. */
static bool list_allows(const char *setting, Names names, const char *asked, Oid owner, const char *host) {
  char *owner_name = GetUserNameFromId(owner, true);
  char *list = pstrdup(setting);
  char *save = NULL;

  for (char *entry = strtok_r(list, ",", &save); entry != NULL && owner_name != NULL; entry = strtok_r(NULL, ",", &save)) {
    char *at = strrchr(entry, '@');
    char *equal = strrchr(entry, '=');

    if (at == NULL || equal == NULL || equal > at) {
      continue; /* no entry; it allows nothing */
    }
    *at = '\0';
    *equal = '\0';
    if (names(trim(entry), asked) && matches(trim(at + 1), host) &&
        (strcmp(trim(equal + 1), "*") == 0 || strcmp(trim(equal + 1), owner_name) == 0)) {
      return true;
    }
  }
  return false;
}

static bool same_name(const char *entry, const char *asked) {
  return strcmp(entry, asked) == 0;
}

/* Both without symbolic links: the file itself, or a directory above it. */
static bool names_path(const char *entry, const char *asked) {
  char *real = realpath(entry, NULL);
  size_t n = real == NULL ? 0 : strlen(real);
  bool yes = n > 1 && strncmp(real, asked, n) == 0 && (asked[n] == '\0' || asked[n] == '/');

  free(real);
  return yes;
}

static bool resolve_env(OndCredential *item, Oid owner, const char *host, OndError *err) {
  const char *value;

  if (!list_allows(ond_setting_secret_env, same_name, item->ref, owner, host)) {
    return refuse(err, "A superuser can allow it in ondatra.secret_env, or use ondatra.set_secret() instead.",
                  "environment variable \"%s\" may not be used by role \"%s\" for host \"%s\"", item->ref, GetUserNameFromId(owner, false),
                  host);
  }
  value = getenv(item->ref);
  if (value == NULL) {
    return refuse(err, "It must be in the environment that the server is started with.", "environment variable \"%s\" is not set",
                  item->ref);
  }
  item->value = ond_strdup(value);
  return true;
}

/* The file's text without one line end at its end; false with errno (0: too long or not text). */
static bool read_file(const char *path, OndCredential *item) {
  char *text = palloc(FILE_BYTES_MAX + 2);
  int fd = OpenTransientFile(path, O_RDONLY | PG_BINARY | O_NONBLOCK);
  ssize_t n;

  if (fd < 0) {
    return false;
  }
  errno = 0;
  n = read(fd, text, FILE_BYTES_MAX + 2);
  CloseTransientFile(fd);
  if (n < 0) {
    return false;
  }
  if (n > FILE_BYTES_MAX || memchr(text, '\0', n) != NULL) {
    ond_wipe(text, FILE_BYTES_MAX + 2);
    errno = 0;
    return false;
  }
  n -= n > 0 && text[n - 1] == '\n' ? 1 : 0;
  n -= n > 0 && text[n - 1] == '\r' ? 1 : 0;
  item->value = ond_strndup(text, n);
  ond_wipe(text, FILE_BYTES_MAX + 2);
  return true;
}

static bool resolve_file(OndCredential *item, Oid owner, const char *host, OndError *err) {
  /* What cannot be resolved is refused like what is not allowed: nobody learns which files there are. */
  char *real = is_absolute_path(item->ref) ? realpath(item->ref, NULL) : NULL;
  char *path = real == NULL ? NULL : pstrdup(real);

  free(real);
  if (path == NULL || !list_allows(ond_setting_secret_dir, names_path, path, owner, host)) {
    return refuse(err, "A superuser can allow it in ondatra.secret_dir, or use ondatra.set_secret() instead.",
                  "file \"%s\" may not be used by role \"%s\" for host \"%s\"", item->ref, GetUserNameFromId(owner, false), host);
  }
  if (!read_file(path, item)) {
    return refuse(err, "The server's user must be able to read it, and it must hold the secret alone.", "file \"%s\" cannot be used: %s",
                  item->ref, errno != 0 ? strerror(errno) : "it is too long or not text");
  }
  return true;
}

/* Where a credential goes: what is for the token endpoint is allowed by that host. */
static const char *host_of(const OndAuth *auth, const OndCredential *item, const char *host) {
  return auth->token != NULL && (item->use == OND_USE_TOKEN || item->use == OND_USE_TOKEN_PARAMETER) ? auth->token->host : host;
}

bool ond_secrets_resolve(OndAuth *auth, Oid owner, const char *destination_host, OndError *err) {
  for (int i = 0; i < auth->n; i++) {
    OndCredential *item = &auth->items[i];
    const char *host = host_of(auth, item, destination_host);
    bool ok = true;

    if (item->value != NULL) {
      continue;
    }
    switch (item->source) {
    case OND_CREDENTIAL_LITERAL: item->value = ond_strdup(item->ref); break;
    case OND_CREDENTIAL_SECRET: ok = resolve_secret(item, owner, err); break;
    case OND_CREDENTIAL_ENV: ok = resolve_env(item, owner, host, err); break;
    case OND_CREDENTIAL_FILE: ok = resolve_file(item, owner, host, err); break;
    }
    if (!ok) {
      return false;
    }
  }
  return true;
}
