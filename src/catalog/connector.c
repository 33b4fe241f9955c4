/*
 * connector.c - the catalog's side of connectors.
 *
 * Documents are kept in the database's encoding and compiled as UTF-8.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "catalog/connector.h"
#include "catalog/secrets.h"
#include "catalog/session.h"
#include "core/url.h"

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
