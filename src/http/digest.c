/*
 * digest.c - HTTP Digest (RFC 7616), and its ancestor without qop (RFC 2069).
 *
 * libcurl has digest of its own, but it writes a request as often as it sees fit within one transfer; here a request is written once a start
 * (http.h). So the first request goes out bare, its 401 brings the challenge (a definite no: nothing happened), and the same request is
 * started again with the answer. From then on requests carry an answer at once, with a nonce count that grows, until the server calls the
 * nonce stale.
 *
 * State (OndDigest): the last challenge and the count. It belongs to the OndAuth, so to one process and one destination.
 */
#include "http/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "core/mem.h"
#include "http/auth_kinds.h"

#define CNONCE_BYTES     16
#define HEADER_BYTES_MAX 8192
#define TEXT_BYTES_MAX   (1 << 20)
#define CHALLENGES_MAX   8

struct OndDigest {
  OndDigestChallenge challenge;
  uint32_t nc;
  char cnonce[2 * CNONCE_BYTES + 1]; /* for -sess one per nonce; new with each challenge */
};

void ond_digest_free(OndDigest *d) {
  ond_free(d);
}

/* --- challenges ----------------------------------------------------------------------------------------------- */

typedef struct Cursor {
  const char *p, *end;
} Cursor;

static void skip_blanks(Cursor *c) {
  while (c->p < c->end && strchr(" \t,", *c->p)) {
    c->p++;
  }
}

static size_t token_length(const Cursor *c) {
  size_t n = 0;

  while (c->p + n < c->end && !strchr(" \t,=\"", c->p[n])) {
    n++;
  }
  return n;
}

/* A token or a quoted string into out; false when it does not fit or does not end. */
static bool read_value(Cursor *c, char *out, size_t out_n) {
  size_t n = 0;

  if (c->p < c->end && *c->p == '"') {
    for (c->p++; c->p < c->end && *c->p != '"'; c->p++) {
      if (*c->p == '\\' && c->p + 1 < c->end) {
        c->p++;
      }
      if (n + 1 >= out_n) {
        return false;
      }
      out[n++] = *c->p;
    }
    out[n] = '\0';
    return c->p++ < c->end;
  }
  n = token_length(c);
  if (n >= out_n) {
    return false;
  }
  memcpy(out, c->p, n);
  out[n] = '\0';
  c->p += n;
  return true;
}

/* MD5, SHA-256, SHA-512-256, each also with -sess. */
static bool read_algorithm(const char *name, OndDigestChallenge *out) {
  static const struct {
    const char *name;
    OndHashKind hash;
  } KNOWN[] = {{"MD5", OND_HASH_MD5}, {"SHA-256", OND_HASH_SHA256}, {"SHA-512-256", OND_HASH_SHA512_256}};

  for (size_t i = 0; i < sizeof(KNOWN) / sizeof(KNOWN[0]); i++) {
    size_t n = strlen(KNOWN[i].name);

    if (strncasecmp(name, KNOWN[i].name, n) == 0 && (name[n] == '\0' || strcasecmp(name + n, "-sess") == 0)) {
      out->hash = KNOWN[i].hash;
      out->session = name[n] != '\0';
      return true;
    }
  }
  return false;
}

static bool list_has(const char *list, const char *word) {
  size_t n = strlen(word);

  for (const char *p = list; *p;) {
    size_t length = strcspn(p, ", \t");

    if (length == n && strncasecmp(p, word, n) == 0) {
      return true;
    }
    p += length;
    p += strspn(p, ", \t");
  }
  return false;
}

typedef struct Parameter {
  char name[32], value[512];
} Parameter;

/* name=value; false: what stands there is none (the next challenge's scheme, or nonsense). */
static bool read_parameter(Cursor *c, Parameter *out) {
  Cursor at = *c;
  size_t n;

  skip_blanks(&at);
  n = token_length(&at);
  if (n == 0 || n >= sizeof(out->name)) {
    return false;
  }
  memcpy(out->name, at.p, n);
  out->name[n] = '\0';
  for (at.p += n; at.p < at.end && (*at.p == ' ' || *at.p == '\t'); at.p++) {
  }
  if (at.p >= at.end || *at.p != '=') {
    return false;
  }
  for (at.p++; at.p < at.end && (*at.p == ' ' || *at.p == '\t'); at.p++) {
  }
  if (!read_value(&at, out->value, sizeof(out->value))) {
    return false;
  }
  *c = at;
  return true;
}

static bool refuse(OndError *err, const char *what, const char *value) {
  ond_error_set(err, "the destination asks for digest authentication with %s that is not supported", what);
  ond_error_detail(err, "It asks for \"%.100s\".", value);
  ond_error_hint(err, "MD5, SHA-256 and SHA-512-256 are, with and without -sess, and the quality of protection \"auth\".");
  return false;
}

static bool take_parameter(const Parameter *p, OndDigestChallenge *out, OndError *err) {
  if (strcasecmp(p->name, "realm") == 0) {
    strcpy(out->realm, p->value);
  } else if (strcasecmp(p->name, "nonce") == 0) {
    strcpy(out->nonce, p->value);
  } else if (strcasecmp(p->name, "opaque") == 0) {
    strcpy(out->opaque, p->value);
    out->has_opaque = true;
  } else if (strcasecmp(p->name, "stale") == 0) {
    out->stale = strcasecmp(p->value, "true") == 0;
  } else if (strcasecmp(p->name, "userhash") == 0) {
    out->userhash = strcasecmp(p->value, "true") == 0;
  } else if (strcasecmp(p->name, "algorithm") == 0) {
    return read_algorithm(p->value, out) || refuse(err, "an algorithm", p->value);
  } else if (strcasecmp(p->name, "qop") == 0) {
    out->qop_auth = list_has(p->value, "auth");
    return out->qop_auth || refuse(err, "a quality of protection", p->value);
  }
  return true;
}

/* The parameters behind "Digest"; the cursor ends behind them. */
static bool read_challenge(Cursor *c, OndDigestChallenge *out, OndError *err) {
  Parameter p;
  bool ok = true;

  memset(out, 0, sizeof(*out));
  out->hash = OND_HASH_MD5;
  while (read_parameter(c, &p)) {
    ok = take_parameter(&p, out, err) && ok;
  }
  return ok && out->nonce[0] != '\0';
}

static int strength(const OndDigestChallenge *c) {
  return c->hash == OND_HASH_SHA512_256 ? 3 : c->hash == OND_HASH_SHA256 ? 2 : 1;
}

/* A header may hold several challenges, of several schemes: the strongest digest counts. */
bool ond_digest_parse(const char *value, size_t n, OndDigestChallenge *out, OndError *err) {
  Cursor c = {value, value + n};
  bool found = false;

  for (int i = 0; i < CHALLENGES_MAX && c.p < c.end; i++) {
    OndDigestChallenge one;
    Parameter ignored;
    size_t length;
    bool digest;

    skip_blanks(&c);
    length = token_length(&c);
    digest = length == 6 && strncasecmp(c.p, "Digest", 6) == 0;
    if (length == 0) {
      break;
    }
    c.p += length;
    if (digest && read_challenge(&c, &one, err) && (!found || strength(&one) > strength(out))) {
      *out = one;
      found = true;
    }
    while (!digest && read_parameter(&c, &ignored)) {
    }
  }
  return found;
}

/* --- answers -------------------------------------------------------------------------------------------------- */

/* hex(H(text)); the text is wiped. */
static bool hash_text(OndHashKind hash, OndBuf *text, char out[2 * OND_HASH_BYTES_MAX + 1]) {
  unsigned char bytes[OND_HASH_BYTES_MAX];
  size_t n = text->overflow ? 0 : ond_hash(hash, text->data, text->len, bytes);
  OndBuf hex;

  ond_buf_init(&hex, 2 * OND_HASH_BYTES_MAX);
  ond_hex(&hex, bytes, n);
  memcpy(out, hex.data ? hex.data : "", hex.len);
  out[hex.len] = '\0';
  ond_buf_free(&hex);
  ond_buf_free_wiped(text);
  return n > 0;
}

static bool hash_format(OndHashKind hash, char out[2 * OND_HASH_BYTES_MAX + 1], const char *a, const char *b, const char *c) {
  OndBuf text;

  ond_buf_init(&text, TEXT_BYTES_MAX);
  ond_buf_append_str(&text, a);
  ond_buf_append_char(&text, ':');
  ond_buf_append_str(&text, b);
  if (c) {
    ond_buf_append_char(&text, ':');
    ond_buf_append_str(&text, c);
  }
  return hash_text(hash, &text, out);
}

static bool compute(const OndDigestChallenge *c, const char *username, const char *password, const char *method, const char *uri,
                    const char *cnonce, const char *nc, char response[2 * OND_HASH_BYTES_MAX + 1]) {
  char a1[2 * OND_HASH_BYTES_MAX + 1], a2[2 * OND_HASH_BYTES_MAX + 1], middle[1024];
  bool ok = hash_format(c->hash, a1, username, c->realm, password) && (!c->session || hash_format(c->hash, a1, a1, c->nonce, cnonce)) &&
            hash_format(c->hash, a2, method, uri, NULL);

  if (c->qop_auth) {
    snprintf(middle, sizeof(middle), "%s:%s:%s:auth", c->nonce, nc, cnonce);
  } else {
    snprintf(middle, sizeof(middle), "%s", c->nonce);
  }
  ok = ok && hash_format(c->hash, response, a1, middle, a2);
  ond_wipe(a1, sizeof(a1));
  return ok;
}

static void append_quoted(OndBuf *out, const char *name, const char *value) {
  ond_buf_appendf(out, "%s=\"", name);
  for (; *value; value++) {
    if (*value == '"' || *value == '\\') {
      ond_buf_append_char(out, '\\');
    }
    ond_buf_append_char(out, *value);
  }
  ond_buf_append_str(out, "\", ");
}

static const char *algorithm_name(const OndDigestChallenge *c) {
  switch (c->hash) {
  case OND_HASH_SHA256: return c->session ? "SHA-256-sess" : "SHA-256";
  case OND_HASH_SHA512_256: return c->session ? "SHA-512-256-sess" : "SHA-512-256";
  default: return c->session ? "MD5-sess" : "MD5";
  }
}

bool ond_digest_answer(const OndDigestChallenge *c, const char *username, const char *password, const char *method, OndBytes uri,
                       const char *cnonce, uint32_t nc, OndBuf *out) {
  char response[2 * OND_HASH_BYTES_MAX + 1], shown[2 * OND_HASH_BYTES_MAX + 1], count[16];
  char *path = ond_strndup(uri.p, uri.n);
  bool ok;

  snprintf(count, sizeof(count), "%08x", (unsigned)nc);
  ok = compute(c, username, password, method, path, cnonce, count, response) &&
       (!c->userhash || hash_format(c->hash, shown, username, c->realm, NULL));
  ond_buf_append_str(out, "Digest ");
  append_quoted(out, "username", c->userhash ? shown : username);
  append_quoted(out, "realm", c->realm);
  append_quoted(out, "uri", path);
  ond_buf_appendf(out, "algorithm=%s, ", algorithm_name(c));
  append_quoted(out, "nonce", c->nonce);
  if (c->qop_auth || c->session) {
    append_quoted(out, "cnonce", cnonce);
  }
  if (c->qop_auth) {
    ond_buf_appendf(out, "nc=%s, qop=auth, ", count);
  }
  if (c->has_opaque) {
    append_quoted(out, "opaque", c->opaque);
  }
  if (c->userhash) {
    ond_buf_append_str(out, "userhash=true, ");
  }
  ond_buf_appendf(out, "response=\"%s\"", response);
  ond_free(path);
  return ok && !out->overflow;
}

/* --- a request ------------------------------------------------------------------------------------------------ */

bool ond_digest_apply(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  const char *username = ond_auth_need(a, OND_USE_REQUEST, "username", false, err);
  const char *password = username ? ond_auth_need(a, OND_USE_REQUEST, "password", true, err) : NULL;
  OndUrl url;
  OndBuf value;
  bool ok;

  if (!password) {
    return false;
  }
  if (a->redacted) {
    return ond_auth_replace_header(r, "Authorization", OND_AUTH_MARK, err);
  }
  if (!a->digest) {
    return true; /* not challenged yet */
  }
  if (strchr(username, ':')) {
    ond_error_set(err, "user name of the destination's digest auth contains a colon");
    return false;
  }
  if (!ond_url_parse(r->url, &url, err)) {
    return false;
  }
  ond_buf_init(&value, HEADER_BYTES_MAX);
  ok = ond_digest_answer(&a->digest->challenge, username, password, r->method, url.path.n > 0 ? url.path : OND_BYTES_LIT("/"), a->digest->cnonce,
                         ++a->digest->nc, &value);
  if (!ok) {
    ond_error_set(err, "the answer to the destination's digest challenge could not be computed");
  }
  ok = ok && ond_auth_replace_header(r, "Authorization", value.data, err);
  ond_buf_free_wiped(&value);
  return ok;
}

/* The strongest challenge of all WWW-Authenticate headers. */
static bool find_challenge(const OndHttpResponse *response, OndDigestChallenge *out, OndError *err) {
  bool found = false;

  for (int i = 0; i < CHALLENGES_MAX; i++) {
    OndBytes value = ond_http_response_header_at(response, "WWW-Authenticate", i);
    OndDigestChallenge one;

    if (!value.p) {
      break;
    }
    if (ond_digest_parse(value.p, value.n, &one, err) && (!found || strength(&one) > strength(out))) {
      *out = one;
      found = true;
    }
  }
  return found;
}

static bool answered(const OndHttpRequest *r, const char *nonce) {
  for (int i = 0; i < r->n_headers; i++) {
    if (strcasecmp(r->headers[i].name, "Authorization") == 0) {
      return !nonce || strstr(r->headers[i].value, nonce) != NULL;
    }
  }
  return false;
}

/*
 * The same nonce again for a request that answered it without "stale" means: the answer is wrong. Another nonce for one that had answered means
 * the same, unless the server says stale, or the state has moved on meanwhile (another request's challenge).
 */
bool ond_digest_challenged(OndAuth *a, const OndHttpRequest *r, const OndHttpResponse *response, OndError *err) {
  OndDigestChallenge challenge;
  OndBuf cnonce;

  if (a->digest && !answered(r, a->digest->challenge.nonce)) {
    return true; /* it went out before the challenge in use came */
  }
  if (!find_challenge(response, &challenge, err) || (answered(r, NULL) && !challenge.stale)) {
    return false;
  }
  if (!a->digest) {
    a->digest = ond_calloc(sizeof(*a->digest));
  }
  a->digest->challenge = challenge;
  a->digest->nc = 0;
  ond_buf_init(&cnonce, sizeof(a->digest->cnonce));
  if (!ond_random_hex(&cnonce, CNONCE_BYTES)) {
    ond_buf_free(&cnonce);
    return false;
  }
  memcpy(a->digest->cnonce, cnonce.data, cnonce.len + 1);
  ond_buf_free(&cnonce);
  return true;
}
