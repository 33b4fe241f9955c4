/*
 * fuzz_script.c - what a function of a sync's owner returns as a request, whatever it is.
 *
 * A request that is made goes to the destination's origin and below its path, its URL is printable ASCII without dot segments, no header holds a line
 * break, none is the transport's. What is refused has words. The compiled connector is as it was: the same description gives the same request twice.
 *
 * Input: the description, JSON.
 */
#include <strings.h>
#include "connector/connector.h"
#include "core/url.h"
#include "fuzz.h"

#define BASE "https://api.example.com:8443/v1"

static OndConnector *connector(void) {
  static const char OPTIONS[] = "{\"headers\":{\"X-Constant\":\"c\"},\"object\":{\"upsert\":{\"method\":\"PUT\",\"path\":\"/c/{{key}}\",\"headers\":{\"X-Mode\":\"m\"}}}}";
  static const char *const KEYS[] = {"id"};
  static OndConnector *made;
  OndError err = {0};

  if (!made) {
    made = ond_connector_parse(&(OndConnectorSource){.connector = "http", .base_url = BASE, .options = {OPTIONS, strlen(OPTIONS)}}, &err);
    MUST(made && ond_connector_bind(made, OND_MODE_UPSERT, 1, KEYS, &err));
  }
  return made;
}

static bool render(OndBytes description, OndHttpRequest *out, OndError *err) {
  OndBytes key = OND_BYTES_LIT("7");
  OndRow row = {.op = OND_OP_CREATE, .fields = OND_BYTES_LIT("{}"), .n_keys = 1, .keys = &key, .idempotency_key = "abc"};
  const OndRow *rows[] = {&row};
  OndRenderContext context = {.run_id = 1, .idempotency_key = "abc"};

  memset(err, 0, sizeof(*err));
  return ond_connector_render_script(connector(), ond_connector_operation(connector(), OND_OP_CREATE), rows, 1, &context, description, out, err);
}

static void check_url(const char *url) {
  OndUrl base, made;
  OndError err;
  const char *p;

  MUST(ond_url_parse(BASE, &base, &err) && ond_url_parse(url, &made, &err) && ond_url_same_origin(&base, &made));
  MUST(strncmp(url, BASE, strlen(BASE)) == 0);
  p = url + strlen(BASE);
  MUST(*p == '\0' || *p == '/' || *p == '?');
  while (*p == '/') {
    size_t n = strcspn(++p, "/?");

    MUST(!(n == 1 && p[0] == '.') && !(n == 2 && p[0] == '.' && p[1] == '.') && (n > 0 || p[0] != '/'));
    p += n;
  }
}

static void check_request(const OndHttpRequest *r) {
  check_url(r->url);
  for (int i = 0; i < r->n_headers; i++) {
    MUST(strcasecmp(r->headers[i].name, "Host") != 0 && strcasecmp(r->headers[i].name, "Content-Length") != 0 && strcasecmp(r->headers[i].name, "Transfer-Encoding") != 0);
    for (const unsigned char *p = (const unsigned char *)r->headers[i].value; *p; p++) {
      MUST((*p >= 0x20 || *p == '\t') && *p != 0x7F);
    }
  }
}

static void check_same(const OndHttpRequest *a, const OndHttpRequest *b) {
  MUST(strcmp(a->url, b->url) == 0 && strcmp(a->method, b->method) == 0 && a->n_headers == b->n_headers && a->body.len == b->body.len);
  MUST(a->body.len == 0 || memcmp(a->body.data, b->body.data, a->body.len) == 0);
  for (int i = 0; i < a->n_headers; i++) {
    MUST(strcmp(a->headers[i].name, b->headers[i].name) == 0 && strcmp(a->headers[i].value, b->headers[i].value) == 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  OndHttpRequest first, second;
  OndError err;
  size_t n;
  char *text = fuzz_rest(&f, &n);
  bool ok = render((OndBytes){text, n}, &first, &err);

  if (!ok) {
    fuzz_check_error(&err);
    MUST(!first.url && first.n_headers == 0);
  } else {
    check_request(&first);
  }
  MUST(render((OndBytes){text, n}, &second, &err) == ok);
  if (ok) {
    check_same(&first, &second);
  }
  ond_http_request_free(&first);
  ond_http_request_free(&second);
  free(text);
  return 0;
}
