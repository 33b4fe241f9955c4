/*
 * fuzz_auth.c - any auth document, with any secret, on a request.
 *
 * A document never holds a credential. What is applied leaves the origin as it is, puts no line break into a header and sends one credential
 * of a name. After scrubbing the secret is nowhere in the text, however it was spelt there.
 *
 * Input: first line a secret, second line text to scrub, the rest a document.
 */
#include <openssl/evp.h>
#include <strings.h>
#include "connector/connector.h"
#include "core/url.h"
#include "fuzz.h"

#define URL "https://api.example.com:8443/v1/x?api_key=old&b=1"

static void check_document(const OndAuth *a) {
  MUST(a->n >= 0 && a->n <= 80);
  for (int i = 0; i < a->n; i++) {
    const OndCredential *c = &a->items[i];

    MUST(c->name && c->name[0] && c->ref && !c->value);
    MUST(c->source != OND_CREDENTIAL_LITERAL || c->use != OND_USE_VALUE);
    MUST(c->source != OND_CREDENTIAL_LITERAL || c->ref[0] == '\0' || !strstr("password token client_secret client_key refresh_token secret_key secret", c->name));
  }
}

static int count_headers(const OndHttpRequest *r, const char *name) {
  int n = 0;

  for (int i = 0; i < r->n_headers; i++) {
    n += strcasecmp(r->headers[i].name, name) == 0;
  }
  return n;
}

static void check_request(const OndAuth *a, const OndHttpRequest *r) {
  OndUrl before;
  OndUrl after;
  OndError err;

  MUST(ond_url_parse(URL, &before, &err) && ond_url_parse(r->url, &after, &err) && ond_url_same_origin(&before, &after));
  MUST(a->type == OND_AUTH_QUERY || strcmp(r->url, URL) == 0);
  MUST(strncmp(r->url, URL, strlen("https://api.example.com:8443/v1/x?")) == 0 || a->type == OND_AUTH_QUERY);
  MUST(count_headers(r, "Authorization") <= 1);
  for (int i = 0; i < r->n_headers; i++) {
    MUST(count_headers(r, r->headers[i].name) == 1 && !strpbrk(r->headers[i].value, "\r\n"));
  }
  for (int i = 0; i < a->n && a->type == OND_AUTH_HEADER; i++) {
    MUST(a->items[i].use != OND_USE_REQUEST || count_headers(r, a->items[i].name) == 1 && ond_auth_is_credential_header(a, a->items[i].name));
  }
}

/* The secret stands in the text as it is, percent-encoded, as JSON and as base64; then none of it must be left. */
static void check_scrubbed(const OndAuth *a, const char *secret, const char *text, size_t text_n) {
  size_t n = strlen(secret);
  char *base64 = malloc(n * 2 + 8);
  OndBuf all;
  OndBuf json;

  ond_buf_init(&all, 1 << 22);
  ond_buf_init(&json, 1 << 22);
  EVP_EncodeBlock((unsigned char *)base64, (const unsigned char *)secret, (int)n);
  ond_buf_append_json_string(&json, secret, n);
  ond_buf_append(&all, text, text_n);
  ond_buf_append_str(&all, " [");
  ond_buf_append_str(&all, secret);
  ond_buf_append_str(&all, "] ");
  ond_url_encode(&all, secret, n);
  ond_buf_append_char(&all, ' ');
  ond_buf_append_bytes(&all, (OndBytes){json.data, json.len});
  ond_buf_append_str(&all, base64);
  ond_auth_scrub(a, &all);
  MUST(all.data[all.len] == '\0');
  if (a->n > 0 && a->items[0].source != OND_CREDENTIAL_LITERAL && n >= 4 && !strchr(secret, '*')) {
    MUST(!memmem(all.data, all.len, secret, n));
    MUST(strpbrk(secret, "[] ") || strstr(all.data, "[***]") || memchr(all.data, 0, all.len)); /* and no end of it */
    while (base64[strlen(base64) - 1] == '=') {
      base64[strlen(base64) - 1] = '\0';
    }
    MUST(!memmem(all.data, all.len, base64, strlen(base64)));
  }
  free(base64);
  ond_buf_free(&all);
  ond_buf_free(&json);
}

static void use(OndAuth *a, const char *secret, const char *text, size_t text_n) {
  OndHttpRequest r;
  OndError err = {0};

  ond_http_request_init(&r);
  r.url = strdup(URL);
  MUST(ond_http_request_header(&r, "authorization", "old", 3, &err) && ond_http_request_header(&r, "X-Api-Key", "old", 3, &err));
  if (a->n > 0) {
    bool literal = true; /* of what goes onto the request */

    for (int i = 0; i < a->n; i++) {
      literal = literal && (a->items[i].source == OND_CREDENTIAL_LITERAL || a->items[i].use != OND_USE_REQUEST);
    }
    MUST(literal || !ond_auth_apply(a, &r, &err)); /* nothing is resolved: never a bare request */
    for (int i = 0; i < a->n; i++) {
      /* the second is the beginning of the first, and so on */
      a->items[i].value = a->items[i].source == OND_CREDENTIAL_LITERAL ? NULL : strndup(secret, strlen(secret) - (strlen(secret) > (size_t)i ? (size_t)i : 0));
    }
  }
  for (int times = 0; times < 2; times++) {
    if (ond_auth_apply(a, &r, &err)) {
      check_request(a, &r);
    } else {
      fuzz_check_error(&err);
      MUST(strlen(secret) < 4 || (!strstr(err.message, secret) && !strstr(err.detail, secret)) || strlen(secret) < 8);
    }
  }
  check_scrubbed(a, secret, text, text_n);
  ond_http_request_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  size_t secret_n;
  size_t text_n;
  size_t n;
  char *secret = fuzz_line(&f, &secret_n);
  char *text = fuzz_line(&f, &text_n);
  char *document = fuzz_rest(&f, &n);
  OndError err = {0};
  OndAuth *a = ond_auth_parse(document, n, &err);

  if (a) {
    check_document(a);
    use(a, secret, text, text_n);
    ond_auth_free(a);
  } else {
    fuzz_check_error(&err);
  }
  free(secret);
  free(text);
  free(document);
  return 0;
}
