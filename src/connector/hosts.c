/*
 * hosts.c - hosts that URLs in answers may name (next pages, files to read or write) beside the destination's own.
 *
 * An answer is hostile: it may name any URL. Credentials go to the destination's own scheme, host and port, and to hosts that the connector's
 * document declares for them; other declared hosts get the request without; all others none. Declared hosts are reached by https, or by http where
 * the destination itself is and no credentials go along. What a host resolves to is checked by the transport.
 */
#include <string.h>

#include "connector/compile.h"
#include "core/url.h"

#define HOSTS_MAX 64

static bool is_host(const char *text) {
  size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-");

  return n > 0 && n < 254 && text[n] == '\0' && text[0] != '.' && strchr(text, '.') != NULL;
}

static bool parse_one(OndConnector *c, const OndNode *at, OndDeclaredHost *out, OndError *err) {
  static const char *const VALID[] = {"host", "credentials", NULL};
  OndNode host = *at;

  if (json_object_is_type(at->value, json_type_object)) {
    if (!ond_node_object(at, VALID, err) || !ond_member_bool(at, "credentials", &out->credentials, err)) {
      return false;
    }
    if (!ond_node_get(at, "host", &host)) {
      return ond_node_missing(at, "host", "{\"host\": \"files.example.com\", \"credentials\": true}", err);
    }
  }
  if (!ond_node_string(&host, &out->host, err)) {
    return false;
  }
  if (!is_host(strncmp(out->host, "*.", 2) == 0 ? out->host + 2 : out->host)) {
    ond_node_fail(&host, err, "this is no name of a host");
    ond_error_hint(err, "Write it in lower case, without a scheme or a port: \"files.example.com\" or \"*.example.com\".");
    return false;
  }
  out->host = ond_arena_strdup(c->arena, out->host);
  return true;
}

bool ond_hosts_parse(OndConnector *c, const OndNode *at, OndError *err) {
  size_t n;

  if (!ond_node_array(at, &n, err)) {
    return false;
  }
  if (n > HOSTS_MAX) {
    return ond_node_fail(at, err, "\"hosts\" has more than %d hosts", HOSTS_MAX);
  }
  c->hosts = ond_arena_alloc(c->arena, (n + 1) * sizeof(*c->hosts));
  for (size_t i = 0; i < n; i++) {
    OndNode element = ond_node_element(at, i);

    if (!parse_one(c, &element, &c->hosts[c->n_hosts++], err)) {
      return false;
    }
  }
  return true;
}

static bool matches(const char *declared, const char *host) {
  size_t n = strlen(host);
  size_t suffix;

  if (declared[0] != '*') {
    return strcmp(declared, host) == 0;
  }
  suffix = strlen(declared + 1);
  return n > suffix && strcmp(host + n - suffix, declared + 1) == 0;
}

OndHost ond_connector_host(const OndConnector *c, const char *url, OndError *err) {
  OndUrl there, own;
  OndError ignored;
  bool has_own = c->base && ond_url_parse(c->base, &own, &ignored);

  if (!ond_url_parse(url, &there, err)) {
    return OND_HOST_FOREIGN;
  }
  if (has_own && ond_url_same_origin(&there, &own)) {
    return OND_HOST_OWN;
  }
  for (int i = 0; i < c->n_hosts; i++) {
    bool in_the_clear = has_own && !own.https && !c->hosts[i].credentials;

    if (matches(c->hosts[i].host, there.host) && (there.https || in_the_clear)) {
      return c->hosts[i].credentials ? OND_HOST_OWN : OND_HOST_BARE;
    }
  }
  ond_error_set(err, "%s%.200s", has_own && own.https && !there.https ? "http://" : "", there.host);
  return OND_HOST_FOREIGN;
}
