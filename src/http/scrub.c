/*
 * scrub.c - takes secret values out of text that is stored or shown.
 *
 * Looks for each secret in three spellings (as it is, percent-encoded, JSON-escaped; the text is decoded while it is
 * compared, so every encoder's choice of what to escape is covered), and for its base64 forms likewise. Longer needles go first: a
 * secret that begins another one must not leave the other's tail behind.
 */
#include "http/auth_kinds.h"

#include <stdlib.h>
#include <string.h>
#include "core/mem.h"
#include "core/scan.h"
#include "core/text.h"

#define SCRUB_BYTES_MIN 4
#define VALUE_BYTES_MAX 131072 /* of what is looked for; larger secrets are PEM bundles */
#define MARK_BYTES      (sizeof(OND_AUTH_MARK) - 1)

typedef enum Spelling { SPELLING_RAW, SPELLING_URL, SPELLING_JSON } Spelling;

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
  if (left < 6 || p[1] != 'u' || (high = ond_scan_hex(p + 2, left - 2, 4)) < 0) {
    return 0;
  }
  if (high >= 0xd800 && high < 0xdc00 && left >= 12 && p[6] == '\\' && p[7] == 'u' && (low = ond_scan_hex(p + 8, left - 8, 4)) >= 0xdc00 &&
      low < 0xe000) {
    *out_n = ond_utf8_put(0x10000u + (((unsigned int)high - 0xd800u) << 10) + ((unsigned int)low - 0xdc00u), out);
    return 12;
  }
  *out_n = ond_utf8_put((unsigned int)high, out);
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
    int value = ond_scan_hex(p + 1, left - 1, 2);

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
      memcpy(text->data + to, OND_AUTH_MARK, MARK_BYTES);
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

  ond_buf_init(b, 2 * VALUE_BYTES_MAX);
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

/* PEM texts and the like are looked for whole: nobody answers with half a key. */
static void add_needles(Needles *needles, const char *value, size_t n) {
  OndBuf base64;

  if (n < SCRUB_BYTES_MIN || n > VALUE_BYTES_MAX) {
    return;
  }
  ond_buf_append(add_needle(needles), value, n);
  ond_buf_init(&base64, 2 * VALUE_BYTES_MAX);
  ond_base64(&base64, value, n);
  add_base64_needles(needles, &base64);
  ond_buf_free_wiped(&base64);
}

/* The pair of basic auth as it goes over the wire. */
static void add_basic_needles(Needles *needles, const OndAuth *a, OndCredentialUse use, const char *user, const char *secret) {
  const OndCredential *username = ond_auth_find(a, use, user);
  const OndCredential *password = ond_auth_find(a, use, secret);
  OndBuf pair, base64;

  if (!username || !password || !ond_credential_value(username) || !ond_credential_value(password)) {
    return;
  }
  ond_buf_init(&pair, VALUE_BYTES_MAX);
  ond_buf_init(&base64, 2 * VALUE_BYTES_MAX);
  ond_buf_append_str(&pair, ond_credential_value(username));
  ond_buf_append_char(&pair, ':');
  ond_buf_append_str(&pair, ond_credential_value(password));
  ond_base64(&base64, pair.data, pair.len);
  add_base64_needles(needles, &base64);
  ond_buf_free_wiped(&pair);
  ond_buf_free_wiped(&base64);
}

static int longer_first(const void *a, const void *b) {
  size_t left = ((const OndBuf *)a)->len, right = ((const OndBuf *)b)->len;

  return left < right ? 1 : left > right ? -1 : 0;
}

static size_t count_lines(const char *text) {
  size_t n = 0;

  for (; text && *text; text++) {
    n += *text == '\n';
  }
  return n;
}

static void add_all_needles(Needles *needles, const OndAuth *a) {
  for (int i = 0; i < a->n; i++) {
    const OndCredential *c = &a->items[i];

    if (c->source != OND_CREDENTIAL_LITERAL && c->value) {
      add_needles(needles, c->value, strlen(c->value));
    }
  }
  if (a->access_token) {
    add_needles(needles, a->access_token, strlen(a->access_token));
  }
  for (const char *line = a->scrub_also; line && *line; line += strcspn(line, "\n") + 1) {
    add_needles(needles, line, strcspn(line, "\n"));
  }
  add_basic_needles(needles, a, OND_USE_REQUEST, "username", "password");
  add_basic_needles(needles, a, OND_USE_TOKEN, "client_id", "client_secret");
}

void ond_auth_scrub(const OndAuth *a, OndBuf *text) {
  Needles needles = {0};

  if (!a || a->redacted || text->len == 0 || (a->n == 0 && !a->access_token && !a->scrub_also)) {
    return;
  }
  needles.items = ond_calloc((((size_t)a->n + 1 + count_lines(a->scrub_also)) * 3 + 4) * sizeof(*needles.items));
  add_all_needles(&needles, a);
  qsort(needles.items, (size_t)needles.n, sizeof(*needles.items), longer_first);
  for (int i = 0; i < needles.n; i++) {
    for (Spelling spelling = SPELLING_RAW; spelling <= SPELLING_JSON; spelling++) {
      scrub_spelling(spelling, &needles.items[i], text);
    }
    ond_buf_free_wiped(&needles.items[i]);
  }
  ond_free(needles.items);
}

void ond_auth_scrub_response(const OndAuth *a, OndHttpResponse *response) {
  ond_auth_scrub(a, &response->body);
  ond_auth_scrub(a, &response->headers);
}
