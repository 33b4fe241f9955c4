/*
 * sigv4.c - AWS Signature Version 4: canonical request, string to sign, signature; and what of a request is signed.
 *
 * Signed are host, content-type and every x-amz-* header: what nothing on the way may change. The path is the one on the wire: its dot segments and
 * double slashes are resolved and it is encoded once more, except for S3, whose keys may hold anything: there it is signed as it is,
 * and the body's hash travels in x-amz-content-sha256.
 */
#include "http/sigv4.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <stdio.h>
#include <time.h>
#include "core/mem.h"
#include "core/scan.h"
#include "http/auth_kinds.h"

#define SIGNED_BYTES_MAX  (256 * 1024)
#define PARAMETERS_MAX    1024
#define SIGNED_HEADERS    34
#define PAYLOAD_HEADER    "x-amz-content-sha256"

/* --- path ----------------------------------------------------------------------------------------------------- */

/* Appends the path's pieces without empty, "." and ".." ones, as it stands on the wire. */
static void append_normal_path(OndBytes path, OndBuf *out) {
  bool slash_at_end = path.n > 0 && path.p[path.n - 1] == '/';

  for (size_t i = 0; i < path.n;) {
    size_t end = i;

    while (end < path.n && path.p[end] != '/') {
      end++;
    }
    slash_at_end = end < path.n;
    if (end - i == 2 && memcmp(path.p + i, "..", 2) == 0) {
      while (out->len > 0 && out->data[--out->len] != '/') {
      }
      slash_at_end = true;
    } else if (end - i == 1 && path.p[i] == '.') {
      slash_at_end = true;
    } else if (end > i) {
      ond_buf_append_char(out, '/');
      ond_buf_append(out, path.p + i, end - i);
    }
    i = end + 1;
  }
  if (out->len == 0 || slash_at_end) {
    ond_buf_append_char(out, '/');
  }
}

static bool append_encoded_but_slash(OndBuf *out, const char *p, size_t n) {
  bool ok = true;

  for (size_t i = 0; i < n; i++) {
    ok = (p[i] == '/' ? ond_buf_append_char(out, '/') : ond_url_encode(out, p + i, 1)) && ok;
  }
  return ok;
}

static void append_decoded(OndBuf *out, const char *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    int value = p[i] == '%' ? ond_scan_hex(p + i + 1, n - i - 1, 2) : -1;

    if (value >= 0) {
      ond_buf_append_char(out, (char)value);
      i += 2;
    } else {
      ond_buf_append_char(out, p[i]);
    }
  }
}

static bool append_path(const OndSigv4Input *in, OndBuf *out) {
  OndBuf path;
  bool ok;

  ond_buf_init(&path, SIGNED_BYTES_MAX);
  if (in->s3) {
    append_decoded(&path, in->path.p, in->path.n);
  } else {
    append_normal_path(in->path, &path);
  }
  if (path.len == 0) {
    ond_buf_append_char(&path, '/');
  }
  ok = !path.overflow && append_encoded_but_slash(out, path.data, path.len);
  ond_buf_free(&path);
  return ok;
}

/* --- query ---------------------------------------------------------------------------------------------------- */

typedef struct Parameter {
  size_t name, name_n, value, value_n; /* in text, encoded */
} Parameter;

typedef struct Parameters {
  OndBuf text;
  int n;
  Parameter items[PARAMETERS_MAX];
} Parameters;

/* One spelling for each character, however the wire has it. */
static void add_recoded(OndBuf *text, const char *p, size_t n) {
  OndBuf plain;

  ond_buf_init(&plain, SIGNED_BYTES_MAX);
  append_decoded(&plain, p, n);
  ond_url_encode(text, plain.data ? plain.data : "", plain.len);
  text->overflow |= plain.overflow;
  ond_buf_free(&plain);
}

static bool read_parameters(OndBytes query, Parameters *all) {
  for (size_t i = 0; i < query.n;) {
    const char *p = query.p + i;
    const char *end = memchr(p, '&', query.n - i);
    size_t n = end ? (size_t)(end - p) : query.n - i;
    const char *equal = memchr(p, '=', n);
    size_t name_n = equal ? (size_t)(equal - p) : n;
    Parameter *one = &all->items[all->n];

    i += n + 1;
    if (n == 0) {
      continue;
    }
    if (all->n == PARAMETERS_MAX) {
      return false;
    }
    one->name = all->text.len;
    add_recoded(&all->text, p, name_n);
    one->name_n = all->text.len - one->name;
    one->value = all->text.len;
    add_recoded(&all->text, equal ? equal + 1 : "", equal ? n - name_n - 1 : 0);
    one->value_n = all->text.len - one->value;
    all->n++;
  }
  return !all->text.overflow;
}

static int compare_bytes(const char *a, size_t a_n, const char *b, size_t b_n) {
  int order = memcmp(a, b, a_n < b_n ? a_n : b_n);

  return order != 0 ? order : a_n < b_n ? -1 : a_n > b_n ? 1 : 0;
}

static int compare_parameters(const char *text, const Parameter *a, const Parameter *b) {
  int order = compare_bytes(text + a->name, a->name_n, text + b->name, b->name_n);

  return order != 0 ? order : compare_bytes(text + a->value, a->value_n, text + b->value, b->value_n);
}

/* Few and mostly in order: insertion. */
static void sort_parameters(Parameters *all) {
  for (int i = 1; i < all->n; i++) {
    Parameter one = all->items[i];
    int at = i;

    for (; at > 0 && compare_parameters(all->text.data, &one, &all->items[at - 1]) < 0; at--) {
      all->items[at] = all->items[at - 1];
    }
    all->items[at] = one;
  }
}

static bool append_query(const OndSigv4Input *in, OndBuf *out) {
  Parameters *all = ond_calloc(sizeof(*all));
  bool ok;

  ond_buf_init(&all->text, SIGNED_BYTES_MAX);
  ok = read_parameters(in->query, all);
  if (ok) {
    sort_parameters(all);
  }
  for (int i = 0; ok && i < all->n; i++) {
    const Parameter *one = &all->items[i];

    ok = (i == 0 || ond_buf_append_char(out, '&')) && ond_buf_append(out, all->text.data + one->name, one->name_n) &&
         ond_buf_append_char(out, '=') && ond_buf_append(out, all->text.data + one->value, one->value_n);
  }
  ond_buf_free(&all->text);
  ond_free(all);
  return ok;
}

/* --- headers -------------------------------------------------------------------------------------------------- */

/* Indexes of the headers by name; those of one name in the order they came. */
static void sort_headers(const OndSigv4Input *in, int order[SIGNED_HEADERS]) {
  for (int i = 0; i < in->n_headers; i++) {
    int at = i;

    for (; at > 0 && strcasecmp(in->headers[i].name, in->headers[order[at - 1]].name) < 0; at--) {
      order[at] = order[at - 1];
    }
    order[at] = i;
  }
}

static bool append_lower(OndBuf *out, const char *s) {
  bool ok = true;

  for (; *s; s++) {
    ok = ond_buf_append_char(out, *s >= 'A' && *s <= 'Z' ? (char)(*s - 'A' + 'a') : *s) && ok;
  }
  return ok;
}

/* Trimmed, runs of blanks as one. */
static bool append_header_value(OndBuf *out, const char *value) {
  bool ok = true, blank = false, any = false;

  for (; *value; value++) {
    if (strchr(" \t\r\n", *value)) {
      blank = any;
      continue;
    }
    ok = (!blank || ond_buf_append_char(out, ' ')) && ond_buf_append_char(out, *value) && ok;
    blank = false;
    any = true;
  }
  return ok;
}

static bool same_name(const OndSigv4Input *in, const int *order, int i) {
  return i > 0 && strcasecmp(in->headers[order[i]].name, in->headers[order[i - 1]].name) == 0;
}

static bool append_headers(const OndSigv4Input *in, const int *order, OndBuf *out) {
  bool ok = true;

  for (int i = 0; i < in->n_headers; i++) {
    const OndSigv4Header *h = &in->headers[order[i]];

    if (same_name(in, order, i)) {
      ok = ond_buf_append_char(out, ',') && ok;
    } else {
      ok = (i == 0 || ond_buf_append_char(out, '\n')) && append_lower(out, h->name) && ond_buf_append_char(out, ':') && ok;
    }
    ok = append_header_value(out, h->value) && ok;
  }
  return ond_buf_append_char(out, '\n') && ok;
}

static bool append_signed_names(const OndSigv4Input *in, const int *order, OndBuf *out) {
  bool ok = true;

  for (int i = 0; i < in->n_headers; i++) {
    if (!same_name(in, order, i)) {
      ok = (i == 0 || ond_buf_append_char(out, ';')) && append_lower(out, in->headers[order[i]].name) && ok;
    }
  }
  return ok;
}

/* --- signature ------------------------------------------------------------------------------------------------ */

bool ond_sigv4_canonical(const OndSigv4Input *in, OndBuf *out) {
  int order[SIGNED_HEADERS];

  if (in->n_headers > SIGNED_HEADERS) {
    return false;
  }
  sort_headers(in, order);
  return ond_buf_append_str(out, in->method) && ond_buf_append_char(out, '\n') && append_path(in, out) && ond_buf_append_char(out, '\n') &&
         append_query(in, out) && ond_buf_append_char(out, '\n') && append_headers(in, order, out) && ond_buf_append_char(out, '\n') &&
         append_signed_names(in, order, out) && ond_buf_append_char(out, '\n') && ond_buf_append_str(out, in->payload_hash);
}

/* 20150830/us-east-1/service/aws4_request */
static bool append_scope(const OndSigv4Input *in, OndBuf *out) {
  return ond_buf_append(out, in->date, 8) && ond_buf_appendf(out, "/%s/%s/aws4_request", in->region, in->service);
}

static bool append_hash(OndBytes bytes, OndBuf *out) {
  unsigned char hash[OND_HASH_BYTES_MAX];
  size_t n = ond_hash(OND_HASH_SHA256, bytes.p, bytes.n, hash);

  return n > 0 && ond_hex(out, hash, n);
}

bool ond_sigv4_string_to_sign(const OndSigv4Input *in, OndBuf *out) {
  OndBuf canonical;
  bool ok;

  ond_buf_init(&canonical, 2 * SIGNED_BYTES_MAX);
  ok = ond_sigv4_canonical(in, &canonical) && ond_buf_appendf(out, "AWS4-HMAC-SHA256\n%s\n", in->date) && append_scope(in, out) &&
       ond_buf_append_char(out, '\n') && append_hash((OndBytes){canonical.data, canonical.len}, out);
  ond_buf_free_wiped(&canonical);
  return ok;
}

/* kSecret -> kDate -> kRegion -> kService -> kSigning, one HMAC each. */
static bool signing_key(const OndSigv4Input *in, unsigned char key[OND_HASH_BYTES_MAX]) {
  char date[9] = "";
  const char *steps[] = {date, in->region, in->service, "aws4_request"};
  OndBuf first;
  size_t n = 0;

  memcpy(date, in->date, 8);
  ond_buf_init(&first, 2 * OND_CREDENTIAL_BYTES_MAX);
  ond_buf_append_str(&first, "AWS4");
  ond_buf_append_str(&first, in->secret_key);
  for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
    unsigned char next[OND_HASH_BYTES_MAX];

    n = ond_hmac(OND_HASH_SHA256, i == 0 ? (void *)first.data : key, i == 0 ? first.len : n, steps[i], strlen(steps[i]), next);
    memcpy(key, next, sizeof(next));
    ond_wipe(next, sizeof(next));
    if (n == 0) {
      break;
    }
  }
  ond_buf_free_wiped(&first);
  return n > 0;
}

bool ond_sigv4_authorization(const OndSigv4Input *in, OndBuf *out) {
  unsigned char key[OND_HASH_BYTES_MAX] = {0}, signature[OND_HASH_BYTES_MAX];
  int order[SIGNED_HEADERS];
  OndBuf text;
  size_t n = 0;
  bool ok;

  ond_buf_init(&text, SIGNED_BYTES_MAX);
  ok = ond_sigv4_string_to_sign(in, &text) && signing_key(in, key) &&
       (n = ond_hmac(OND_HASH_SHA256, key, 32, text.data, text.len, signature)) > 0;
  if (ok) {
    sort_headers(in, order);
    ok = ond_buf_appendf(out, "AWS4-HMAC-SHA256 Credential=%s/", in->access_key) && append_scope(in, out) &&
         ond_buf_append_str(out, ", SignedHeaders=") && append_signed_names(in, order, out) && ond_buf_append_str(out, ", Signature=") &&
         ond_hex(out, signature, n);
  }
  ond_wipe(key, sizeof(key));
  ond_buf_free(&text);
  return ok;
}

/* --- a request ------------------------------------------------------------------------------------------------ */

/* The value of Host as libcurl sends it: the port only where it is not the scheme's own. */
static void host_of(const char *url, const OndUrl *parsed, OndBuf *out) {
  const char *start = strstr(url, "://") + 3;
  size_t n = strcspn(start, "/?");
  const char *colon = start[0] == '[' ? strchr(start, ']') + 1 : memchr(start, ':', n);

  if (colon && colon < start + n && *colon == ':' && parsed->port == (parsed->https ? 443 : 80)) {
    n = (size_t)(colon - start);
  }
  ond_buf_append(out, start, n);
}

static bool is_signed(const char *name) {
  return strncasecmp(name, "x-amz-", 6) == 0 || strcasecmp(name, "Content-Type") == 0;
}

static bool put_headers(const OndAuth *a, OndHttpRequest *r, const char *date, const char *payload, OndError *err) {
  const OndCredential *session = ond_auth_find(a, OND_USE_REQUEST, "session_token");

  if (session) {
    const char *token = ond_auth_need(a, OND_USE_REQUEST, "session_token", false, err);

    if (!token || !ond_auth_replace_header(r, "x-amz-security-token", token, err)) {
      return false;
    }
  }
  return ond_auth_replace_header(r, "x-amz-date", date, err) &&
         (!a->sigv4->s3 || ond_auth_replace_header(r, PAYLOAD_HEADER, payload, err));
}

/* Collects what is signed; false when it is too much. */
static bool collect(const OndHttpRequest *r, const char *host, OndSigv4Header headers[SIGNED_HEADERS], int *n) {
  headers[0] = (OndSigv4Header){"host", host};
  *n = 1;
  for (int i = 0; i < r->n_headers; i++) {
    if (is_signed(r->headers[i].name)) {
      if (*n == SIGNED_HEADERS) {
        return false;
      }
      headers[(*n)++] = (OndSigv4Header){r->headers[i].name, r->headers[i].value};
    }
  }
  return true;
}

static bool sign(const OndAuth *a, OndHttpRequest *r, OndSigv4Input *in, OndError *err) {
  OndSigv4Header headers[SIGNED_HEADERS];
  OndBuf host, value;
  OndUrl url;
  bool ok;

  if (!ond_url_parse(r->url, &url, err)) {
    return false;
  }
  ond_buf_init(&host, 512);
  ond_buf_init(&value, 16384);
  host_of(r->url, &url, &host);
  in->query.p = memchr(url.path.p, '?', url.path.n);
  in->path = (OndBytes){url.path.p, in->query.p ? (size_t)(in->query.p - url.path.p) : url.path.n};
  in->query = in->query.p ? (OndBytes){in->query.p + 1, url.path.n - in->path.n - 1} : (OndBytes){"", 0};
  in->headers = headers;
  ok = collect(r, host.data, headers, &in->n_headers) &&
       (a->redacted ? ond_buf_append_str(&value, OND_AUTH_MARK) : ond_sigv4_authorization(in, &value));
  if (!ok) {
    ond_error_set(err, "the request could not be signed");
    ond_error_detail(err, "It has more headers or query parameters than can be signed.");
  }
  ok = ok && ond_auth_replace_header(r, "Authorization", value.data, err);
  ond_buf_free(&host);
  ond_buf_free_wiped(&value);
  return ok;
}

bool ond_sigv4_apply(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  OndSigv4Input in = {.method = r->method, .s3 = a->sigv4->s3, .region = a->sigv4->region, .service = a->sigv4->service};
  time_t now = (time_t)ond_auth_now_s(a);
  char date[20];
  struct tm tm;
  OndBuf payload;
  bool ok;

  in.access_key = ond_auth_need(a, OND_USE_REQUEST, "access_key", false, err);
  in.secret_key = in.access_key ? ond_auth_need(a, OND_USE_REQUEST, "secret_key", false, err) : NULL;
  if (!in.secret_key || (!a->redacted && !ond_http_request_compress(r, err))) {
    return false;
  }
  gmtime_r(&now, &tm);
  strftime(date, sizeof(date), "%Y%m%dT%H%M%SZ", &tm);
  in.date = date;
  ond_buf_init(&payload, 2 * OND_HASH_BYTES_MAX);
  append_hash((OndBytes){r->body.data, r->body.data ? r->body.len : 0}, &payload);
  in.payload_hash = payload.data ? payload.data : "";
  ok = put_headers(a, r, date, in.payload_hash, err) && sign(a, r, &in, err);
  ond_buf_free(&payload);
  return ok;
}
