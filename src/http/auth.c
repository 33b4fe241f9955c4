/*
 * auth.c - puts credentials on requests, and takes them out of text that is stored or shown.
 *
 * Applying replaces: a header or query parameter of the same name that is on the request already goes away, so that applying
 * again (a refreshed token, a retry) never sends two, and neither data nor a constant header of a connector wins over the auth.
 *
 * Scrubbing looks for each secret in three spellings (as it is, percent-encoded, JSON-escaped; the text is decoded while it is
 * compared, so every encoder's choice of what to escape is covered), and for its base64 forms likewise. Longer needles go first: a
 * secret that begins another one must not leave the other's tail behind.
 *
 * Owns nothing beyond a call; every temporary copy of a value is wiped. Messages name credentials, never show them.
 * Does not read documents or resolve references: connector/auth_document.c, catalog/secrets.c.
 */
#include "http/auth.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "core/mem.h"
#include "core/url.h"

#define VALUE_BYTES_MAX 12288 /* fits a header as base64 */
#define URL_BYTES_MAX   (1 << 20)
#define SCRUB_BYTES_MIN 4
#define MARK            "***"
#define MARK_BYTES      (sizeof(MARK) - 1)

static void free_wiped(char *s) {
  if (s) {
    ond_wipe(s, strlen(s));
    ond_free(s);
  }
}

static void buf_free_wiped(OndBuf *b) {
  ond_wipe(b->data, b->len);
  ond_buf_free(b);
}

void ond_auth_free(OndAuth *a) {
  if (!a) {
    return;
  }
  for (int i = 0; i < a->n; i++) {
    ond_free(a->items[i].name);
    ond_free(a->items[i].ref);
    free_wiped(a->items[i].value);
  }
  ond_free(a->items);
  ond_free(a->prefix);
  ond_free(a);
}

/* The value to send; a literal may stand in ref alone. NULL: not resolved. */
static const char *value_of(const OndCredential *c) {
  return c->value || c->source != OND_CREDENTIAL_LITERAL ? c->value : c->ref;
}

static bool refuse_credential(const char *name, const char *problem, OndError *err) {
  ond_error_set(err, "credential \"%s\" of the destination %s", name, problem);
  ond_error_hint(err, "Nothing is sent without it: set the secret, variable or file that the destination's auth names.");
  return false;
}

/* may_be_empty: APIs that take a key as user name want no password. */
static bool check_credential(const OndCredential *c, bool may_be_empty, OndError *err) {
  const char *value = value_of(c);

  if (!value) {
    return refuse_credential(c->name, "is not resolved", err);
  }
  if (value[0] == '\0' && !may_be_empty) {
    return refuse_credential(c->name, "is empty", err);
  }
  if (strlen(value) > VALUE_BYTES_MAX) {
    return refuse_credential(c->name, "is too long", err);
  }
  return true;
}

static const OndCredential *find_credential(const OndAuth *a, const char *name, bool may_be_empty, OndError *err) {
  for (int i = 0; i < a->n; i++) {
    if (strcmp(a->items[i].name, name) == 0) {
      return check_credential(&a->items[i], may_be_empty, err) ? &a->items[i] : NULL;
    }
  }
  refuse_credential(name, "is missing", err);
  return NULL;
}

static void remove_header(OndHttpRequest *r, const char *name) {
  int kept = 0;

  for (int i = 0; i < r->n_headers; i++) {
    if (strcasecmp(r->headers[i].name, name) == 0) {
      ond_free(r->headers[i].name);
      free_wiped(r->headers[i].value);
    } else {
      r->headers[kept++] = r->headers[i];
    }
  }
  r->n_headers = kept;
}

static bool replace_header(OndHttpRequest *r, const char *name, const char *value, OndError *err) {
  remove_header(r, name);
  return ond_http_request_header(r, name, value, strlen(value), err);
}

static void append_base64(OndBuf *b, const char *bytes, size_t n) {
  size_t size = (n + 2) / 3 * 4 + 1;
  char *text = ond_malloc(size);

  EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)bytes, (int)n);
  ond_buf_append_str(b, text);
  ond_wipe(text, size);
  ond_free(text);
}

/* "user:password" in base64. */
static void append_basic(OndBuf *b, const char *username, const char *password) {
  OndBuf pair;

  ond_buf_init(&pair, 2 * VALUE_BYTES_MAX + 1);
  ond_buf_append_str(&pair, username);
  ond_buf_append_char(&pair, ':');
  ond_buf_append_str(&pair, password);
  append_base64(b, pair.data, pair.len);
  buf_free_wiped(&pair);
}

static bool apply_bearer(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  const OndCredential *token = find_credential(a, "token", false, err);
  const char *prefix = a->prefix ? a->prefix : "Bearer";
  OndBuf value;
  bool ok;

  if (!token) {
    return false;
  }
  ond_buf_init(&value, 2 * VALUE_BYTES_MAX);
  ok = ond_buf_append_str(&value, prefix) && (prefix[0] == '\0' || ond_buf_append_char(&value, ' ')) &&
       ond_buf_append_str(&value, value_of(token));
  if (!ok) {
    ond_error_set(err, "prefix of the destination's auth is too long");
  }
  ok = ok && replace_header(r, "Authorization", value.data, err);
  buf_free_wiped(&value);
  return ok;
}

static bool apply_basic(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  const OndCredential *username = find_credential(a, "username", true, err);
  const OndCredential *password = username ? find_credential(a, "password", true, err) : NULL;
  OndBuf value;
  bool ok;

  if (!password) {
    return false;
  }
  if (value_of(username)[0] == '\0' && value_of(password)[0] == '\0') {
    return refuse_credential(password->name, "is empty", err);
  }
  if (strchr(value_of(username), ':')) {
    ond_error_set(err, "user name of the destination's basic auth contains a colon");
    return false;
  }
  ond_buf_init(&value, 4 * VALUE_BYTES_MAX);
  ond_buf_append_str(&value, "Basic ");
  append_basic(&value, value_of(username), value_of(password));
  ok = replace_header(r, "Authorization", value.data, err);
  buf_free_wiped(&value);
  return ok;
}

static bool apply_headers(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  for (int i = 0; i < a->n; i++) {
    if (!check_credential(&a->items[i], false, err) || !replace_header(r, a->items[i].name, value_of(&a->items[i]), err)) {
      return false;
    }
  }
  return true;
}

static bool is_parameter_of(const OndAuth *a, const char *parameter, size_t n) {
  bool found = false;
  size_t name_n = 0;

  while (name_n < n && parameter[name_n] != '=') {
    name_n++;
  }
  for (int i = 0; i < a->n && !found; i++) {
    OndBuf name;

    ond_buf_init(&name, 3 * VALUE_BYTES_MAX);
    ond_url_encode(&name, a->items[i].name, strlen(a->items[i].name));
    found = name.len == name_n && memcmp(name.data, parameter, name_n) == 0;
    ond_buf_free(&name);
  }
  return found;
}

/* Copies the URL without the parameters that the auth is about to set; true when some query stays. */
static bool append_url_without(const OndAuth *a, const char *url, OndBuf *out) {
  const char *query = strchr(url, '?');
  bool any = false;

  ond_buf_append(out, url, query ? (size_t)(query - url) : strlen(url));
  for (const char *p = query ? query + 1 : NULL; p;) {
    size_t n = strcspn(p, "&");

    if (n > 0 && !is_parameter_of(a, p, n)) {
      ond_buf_append_char(out, any ? '&' : '?');
      ond_buf_append(out, p, n);
      any = true;
    }
    p = p[n] == '&' ? p + n + 1 : NULL;
  }
  return any;
}

static bool apply_query(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  OndBuf url;
  bool any;

  for (int i = 0; i < a->n; i++) {
    if (!check_credential(&a->items[i], false, err)) {
      return false;
    }
  }
  ond_buf_init(&url, URL_BYTES_MAX);
  any = append_url_without(a, r->url, &url);
  for (int i = 0; i < a->n; i++, any = true) {
    const char *name = a->items[i].name, *value = value_of(&a->items[i]);

    ond_buf_append_char(&url, any ? '&' : '?');
    ond_url_encode(&url, name, strlen(name));
    ond_buf_append_char(&url, '=');
    ond_url_encode(&url, value, strlen(value));
  }
  if (url.overflow) {
    buf_free_wiped(&url);
    ond_error_set(err, "URL is too long with the credentials of the destination");
    return false;
  }
  free_wiped(r->url);
  r->url = ond_strdup(url.data);
  buf_free_wiped(&url);
  return true;
}

bool ond_auth_apply(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  if (!a) {
    return true;
  }
  if (a->n == 0 && (a->type == OND_AUTH_HEADER || a->type == OND_AUTH_QUERY)) {
    ond_error_set(err, "auth of the destination names no %s", a->type == OND_AUTH_HEADER ? "header" : "query parameter");
    return false;
  }
  switch (a->type) {
  case OND_AUTH_NONE: return true;
  case OND_AUTH_BEARER: return apply_bearer(a, r, err);
  case OND_AUTH_BASIC: return apply_basic(a, r, err);
  case OND_AUTH_HEADER: return apply_headers(a, r, err);
  case OND_AUTH_QUERY: return apply_query(a, r, err);
  }
  ond_error_set(err, "auth of the destination has an unknown type");
  return false;
}

typedef enum Spelling { SPELLING_RAW, SPELLING_URL, SPELLING_JSON } Spelling;

/* Value of n hexadecimal digits, or -1. */
static int hex_value(const char *p, size_t left, size_t n) {
  int value = 0;

  if (left < n) {
    return -1;
  }
  for (size_t i = 0; i < n; i++) {
    char c = p[i];
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

    if (digit < 0) {
      return -1;
    }
    value = value * 16 + digit;
  }
  return value;
}

static size_t put_utf8(unsigned int c, char *out) {
  if (c < 0x80) {
    out[0] = (char)c;
    return 1;
  }
  if (c < 0x800) {
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = (char)(0xe0 | c >> 12);
    out[1] = (char)(0x80 | (c >> 6 & 0x3f));
    out[2] = (char)(0x80 | (c & 0x3f));
    return 3;
  }
  out[0] = (char)(0xf0 | c >> 18);
  out[1] = (char)(0x80 | (c >> 12 & 0x3f));
  out[2] = (char)(0x80 | (c >> 6 & 0x3f));
  out[3] = (char)(0x80 | (c & 0x3f));
  return 4;
}

/* Decodes what follows a backslash (p stands on it); returns the characters read, 0 when it is no escape. */
static size_t decode_json_escape(const char *p, size_t left, char *out, size_t *out_n) {
  static const char NAMES[] = "\"\\/bfnrt", MEANT[] = "\"\\/\b\f\n\r\t";
  const char *name = left >= 2 && p[1] != '\0' ? strchr(NAMES, p[1]) : NULL;
  int high, low;

  if (name) {
    out[0] = MEANT[name - NAMES];
    *out_n = 1;
    return 2;
  }
  if (left < 6 || p[1] != 'u' || (high = hex_value(p + 2, left - 2, 4)) < 0) {
    return 0;
  }
  if (high >= 0xd800 && high < 0xdc00 && left >= 12 && p[6] == '\\' && p[7] == 'u' && (low = hex_value(p + 8, left - 8, 4)) >= 0xdc00 &&
      low < 0xe000) {
    *out_n = put_utf8(0x10000u + (((unsigned int)high - 0xd800u) << 10) + ((unsigned int)low - 0xdc00u), out);
    return 12;
  }
  *out_n = put_utf8((unsigned int)high, out);
  return 6;
}

/* Reads one unit of the text: returns the characters it takes; out gets the one to four bytes it stands for. */
static size_t decode_unit(Spelling spelling, const char *p, size_t left, char *out, size_t *out_n) {
  *out_n = 1;
  out[0] = *p;
  if (spelling == SPELLING_JSON && *p == '\\') {
    size_t n = decode_json_escape(p, left, out, out_n);

    return n > 0 ? n : 1;
  }
  if (spelling == SPELLING_URL && *p == '%') {
    int value = hex_value(p + 1, left - 1, 2);

    if (value >= 0) {
      out[0] = (char)value;
      return 3;
    }
  }
  if (spelling == SPELLING_URL && *p == '+') {
    out[0] = ' ';
  }
  return 1;
}

/* Characters of the text that spell the secret from p on, or 0. */
static size_t match_at(Spelling spelling, const char *p, size_t left, const OndBuf *secret) {
  size_t used = 0;

  for (size_t at = 0; at < secret->len;) {
    char bytes[4];
    size_t n, step;

    if (used >= left) {
      return 0;
    }
    step = decode_unit(spelling, p + used, left - used, bytes, &n);
    if (n > secret->len - at || memcmp(bytes, secret->data + at, n) != 0) {
      return 0;
    }
    used += step;
    at += n;
  }
  return used;
}

/* A text without the spelling's escapes can only hold what the raw pass has found. */
static bool has_escapes(Spelling spelling, const OndBuf *text) {
  switch (spelling) {
  case SPELLING_RAW: return true;
  case SPELLING_URL: return memchr(text->data, '%', text->len) || memchr(text->data, '+', text->len);
  case SPELLING_JSON: return memchr(text->data, '\\', text->len) != NULL;
  }
  return true;
}

/* In place: a match is never shorter than the secret, so at least as long as the mark. */
static void scrub_spelling(Spelling spelling, const OndBuf *secret, OndBuf *text) {
  size_t to = 0;

  if (!has_escapes(spelling, text)) {
    return;
  }

  for (size_t from = 0; from < text->len;) {
    size_t n = match_at(spelling, text->data + from, text->len - from, secret);

    if (n > 0) {
      memcpy(text->data + to, MARK, MARK_BYTES);
      to += MARK_BYTES;
      from += n;
    } else {
      text->data[to++] = text->data[from++];
    }
  }
  text->len = to;
  text->data[to] = '\0';
}

/* What is searched for: the value, its base64 (a needle without the padding finds both forms) and base64url. */
typedef struct Needles {
  int n;
  OndBuf *items;
} Needles;

static OndBuf *add_needle(Needles *needles) {
  OndBuf *b = &needles->items[needles->n++];

  ond_buf_init(b, 4 * VALUE_BYTES_MAX);
  return b;
}

static void add_base64_needles(Needles *needles, const OndBuf *base64) {
  OndBuf *plain, *url;
  size_t n = base64->len;

  while (n > 0 && base64->data[n - 1] == '=') {
    n--;
  }
  if (n < SCRUB_BYTES_MIN) {
    return;
  }
  plain = add_needle(needles);
  url = add_needle(needles);
  ond_buf_append(plain, base64->data, n);
  for (size_t i = 0; i < n; i++) {
    char c = base64->data[i];

    ond_buf_append_char(url, c == '+' ? '-' : c == '/' ? '_' : c);
  }
}

static void add_needles(Needles *needles, const char *value) {
  OndBuf base64;

  if (!value || strlen(value) < SCRUB_BYTES_MIN || strlen(value) > VALUE_BYTES_MAX) {
    return;
  }
  ond_buf_append_str(add_needle(needles), value);
  ond_buf_init(&base64, 4 * VALUE_BYTES_MAX);
  append_base64(&base64, value, strlen(value));
  add_base64_needles(needles, &base64);
  buf_free_wiped(&base64);
}

/* The pair of basic auth as it goes over the wire. */
static void add_basic_needles(Needles *needles, const OndAuth *a) {
  OndError ignored;
  const OndCredential *username = find_credential(a, "username", true, &ignored);
  const OndCredential *password = find_credential(a, "password", true, &ignored);
  OndBuf base64;

  if (!username || !password) {
    return;
  }
  ond_buf_init(&base64, 4 * VALUE_BYTES_MAX);
  append_basic(&base64, value_of(username), value_of(password));
  add_base64_needles(needles, &base64);
  buf_free_wiped(&base64);
}

static int longer_first(const void *a, const void *b) {
  size_t left = ((const OndBuf *)a)->len, right = ((const OndBuf *)b)->len;

  return left < right ? 1 : left > right ? -1 : 0;
}

void ond_auth_scrub(const OndAuth *a, OndBuf *text) {
  Needles needles = {0};

  if (!a || a->type == OND_AUTH_NONE || text->len == 0) {
    return;
  }
  needles.items = ond_calloc(((size_t)a->n * 3 + 2) * sizeof(*needles.items));
  for (int i = 0; i < a->n; i++) {
    if (a->items[i].source != OND_CREDENTIAL_LITERAL) {
      add_needles(&needles, a->items[i].value);
    }
  }
  if (a->type == OND_AUTH_BASIC) {
    add_basic_needles(&needles, a);
  }
  qsort(needles.items, (size_t)needles.n, sizeof(*needles.items), longer_first);
  for (int i = 0; i < needles.n; i++) {
    for (Spelling spelling = SPELLING_RAW; spelling <= SPELLING_JSON; spelling++) {
      scrub_spelling(spelling, &needles.items[i], text);
    }
    buf_free_wiped(&needles.items[i]);
  }
  ond_free(needles.items);
}

bool ond_auth_is_credential_header(const OndAuth *a, const char *name) {
  static const char *const ALWAYS[] = {"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie"};

  for (size_t i = 0; i < sizeof(ALWAYS) / sizeof(ALWAYS[0]); i++) {
    if (strcasecmp(name, ALWAYS[i]) == 0) {
      return true;
    }
  }
  for (int i = 0; a && a->type == OND_AUTH_HEADER && i < a->n; i++) {
    if (strcasecmp(name, a->items[i].name) == 0) {
      return true;
    }
  }
  return false;
}
