/*
 * connector.c - the catalog's side of connectors.
 *
 * Documents are kept in the database's encoding and compiled as UTF-8.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "catalog/connector.h"
#include "catalog/session.h"

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

bool ond_connector_bind_sync(OndConnector *c, const OndSync *s, OndError *err) {
  char **keys = palloc(sizeof(char *) * Max(s->n_keys, 1));

  for (int i = 0; i < s->n_keys; i++) {
    keys[i] = to_utf8(s->keys[i]);
  }
  return ond_connector_bind(c, s->mode, s->n_keys, (const char *const *)keys, err);
}
