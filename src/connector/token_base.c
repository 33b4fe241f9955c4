/*
 * token_base.c - a base URL whose host the answer to the token request names: "base_url_from_token": "/instance_url".
 *
 * Requests are rendered for the connector's base URL, whose path counts; right before one starts, scheme, host and port become those that came with
 * the token. A token endpoint may be hostile: only hosts that "hosts" declares with credentials (which asks for https) are taken, and what could be
 * meant for one host alone (values of the environment and of files, client certificates) does not go together with it.
 */
#include "connector/token_base.h"

#include <string.h>

#include "connector/compile.h"
#include "core/url.h"

bool ond_token_base_parse(OndConnector *c, const OndNode *document, OndError *err) {
  OndJsonPtr checked;
  OndNode at, base;

  if (!ond_node_get(document, "base_url_from_token", &at)) {
    return true;
  }
  if (!ond_node_json_pointer(&at, c->arena, &checked, err) || !ond_node_string(&at, &c->token_base, err)) {
    return false;
  }
  if (!ond_node_get(document, "base_url", &base)) {
    ond_node_fail(&at, err, "\"base_url_from_token\" needs \"base_url\" beside it");
    ond_error_hint(err, "Its path counts; its host is replaced: \"https://login.example.com/api/v2\".");
    return false;
  }
  c->token_base = c->base_url_given ? NULL : ond_arena_strdup(c->arena, c->token_base);
  return true;
}

bool ond_token_base_check_auth(const OndConnector *c, const OndAuth *auth, OndError *err) {
  if (!c->token_base) {
    return true;
  }
  if (!ond_auth_wants_token(auth)) {
    ond_error_set(err, "connector \"%s\" takes the base URL from the answer to a token request, but these credentials make none", c->name);
    ond_error_hint(err, "Give the destination a base_url.");
    return false;
  }
  for (int i = 0; i < auth->n; i++) {
    const OndCredential *one = &auth->items[i];
    bool here = one->use == OND_USE_REQUEST || one->use == OND_USE_VALUE || one->use == OND_USE_TLS;

    if (one->use == OND_USE_TLS || (here && (one->source == OND_CREDENTIAL_ENV || one->source == OND_CREDENTIAL_FILE))) {
      ond_error_set(err, "\"%.100s\" of auth is for one host, but connector \"%s\" takes the base URL from the answer to the token request", one->name, c->name);
      ond_error_hint(err, "Give the destination a base_url.");
      return false;
    }
  }
  return true;
}

static bool take(const OndConnector *c, const char *text, char **base, OndError *err) {
  OndError why;
  OndUrl url;

  if (!ond_url_parse(text, &url, &why)) {
    ond_error_set(err, "the token endpoint names a base URL that is none: %.200s", why.message);
    return false;
  }
  if (url.path.n > 1 || (url.path.n == 1 && url.path.p[0] != '/')) {
    ond_error_set(err, "the token endpoint names a base URL with a path");
    return false;
  }
  if (ond_connector_host(c, text, &why) != OND_HOST_OWN) {
    ond_error_set(err, "the token endpoint names a base URL that the credentials may not go to: %s://%.200s", url.https ? "https" : "http", url.host);
    ond_error_hint(err, "\"hosts\" of the connector lists where they may, over https: {\"host\": \"*.example.com\", \"credentials\": true}.");
    return false;
  }
  *base = ond_strndup(text, (size_t)(url.path.p - text));
  return true;
}

bool ond_token_base_read(const OndConnector *c, const OndToken *token, char **base, OndError *err) {
  char *text;
  bool ok;

  *base = NULL;
  if (!c->token_base) {
    return true;
  }
  text = ond_token_response_text(token, c->token_base);
  if (!text) {
    ond_error_set(err, "the answer of the token endpoint has no base URL at \"%.100s\"", c->token_base);
    ond_error_hint(err, "Give the destination a base_url.");
    return false;
  }
  ok = take(c, text, base, err);
  ond_free(text);
  return ok;
}

bool ond_connector_aim(const OndConnector *c, OndAuth *auth, OndHttpRequest *request, OndError *err) {
  OndUrl placeholder, url;
  size_t n;
  char *to;

  if (!c->token_base) {
    return true;
  }
  if (!auth->token_base) {
    ond_error_set(err, "no token has told the base URL yet");
    return false;
  }
  if (!ond_url_parse(c->base, &placeholder, err) || !ond_url_parse(request->url, &url, err)) {
    return false;
  }
  if (!ond_url_same_origin(&placeholder, &url)) {
    return true;
  }
  n = strlen(auth->token_base);
  to = ond_malloc(n + url.path.n + 1);
  memcpy(to, auth->token_base, n);
  memcpy(to + n, url.path.p, url.path.n);
  to[n + url.path.n] = '\0';
  ond_free(request->url);
  request->url = to;
  return ond_auth_trust(auth, auth->token_base, err);
}
