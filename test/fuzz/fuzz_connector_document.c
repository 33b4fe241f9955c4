/*
 * fuzz_connector_document.c - any description, and requests from what it accepts.
 *
 * Beyond not crashing: a request stays on the base URL, no header holds a line break, a JSON body is JSON and every NDJSON line too, a
 * refusal has words.
 */
#include <json-c/json.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "connector/connector.h"
#include "connector/document.h"

#define BASE "https://api.example.com/v1"
#define ROWS 3

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
  if (!ok) {
    abort();
  }
}

static bool is_json(const char *text, size_t n) {
  struct json_object *value;
  const char *problem;
  bool ok = ond_document_parse(text, n, &value, &problem);

  if (ok) {
    json_object_put(value);
  }
  return ok || strcmp(problem, "is not JSON") != 0;
}

static const char *header(const OndHttpRequest *r, const char *name) {
  for (int i = 0; i < r->n_headers; i++) {
    if (strcmp(r->headers[i].name, name) == 0) {
      return r->headers[i].value;
    }
  }
  return "";
}

static void check_lines(const char *p, const char *end) {
  while (p < end) {
    const char *newline = memchr(p, '\n', (size_t)(end - p));

    must(newline && is_json(p, (size_t)(newline - p)));
    p = newline + 1;
  }
}

/* No piece leads elsewhere. */
static void check_path(const char *path, size_t n) {
  for (size_t i = 0; i < n; i++) {
    size_t piece = strcspn(path + i + 1, "/?");

    if (path[i] == '/') {
      must(!(piece == 1 && path[i + 1] == '.') && !(piece == 2 && path[i + 1] == '.' && path[i + 2] == '.'));
    }
  }
}

static void check_request(const OndHttpRequest *r) {
  static const char AFTER[] = "/?";
  const char *type = header(r, "Content-Type");

  must(strncmp(r->url, BASE, strlen(BASE)) == 0);
  must(r->url[strlen(BASE)] == '\0' || strchr(AFTER, r->url[strlen(BASE)]));
  check_path(r->url + strlen(BASE), strcspn(r->url + strlen(BASE), "?"));
  for (const char *p = r->url; *p; p++) {
    must(*p > 0x20 && *p < 0x7F && *p != '#');
  }
  for (int i = 0; i < r->n_headers; i++) {
    must(!strpbrk(r->headers[i].value, "\r\n"));
  }
  if (strcmp(type, "application/json") == 0) {
    must(is_json(r->body.data, r->body.len));
  } else if (strcmp(type, "application/x-ndjson") == 0) {
    check_lines(r->body.data, r->body.data + r->body.len);
  }
}

static void render(const OndConnector *c, OndOp op, const OndRow *const *rows) {
  static const OndRenderContext context = {.run_id = 7, .idempotency_key = "request"};
  const OndOperation *o = ond_connector_operation(c, op);
  OndHttpRequest request;
  OndError err = {0};
  int bad_row = -2;
  int n;

  if (!o) {
    return;
  }
  n = ond_operation_info(o)->batch_rows < ROWS ? ond_operation_info(o)->batch_rows : ROWS;
  if (ond_connector_render(c, o, rows, n, &context, &request, &bad_row, &err)) {
    check_request(&request);
    ond_http_request_free(&request);
  } else {
    must(err.message[0] && bad_row >= -1 && bad_row < n);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const KEYS[] = {"id", "tenant"};
  static const OndBytes KEY_VALUES[ROWS][2] = {
      {OND_BYTES_LIT("1"), OND_BYTES_LIT("\"a/..\"")},
      {OND_BYTES_LIT("\"..\""), OND_BYTES_LIT("true")},
      {OND_BYTES_LIT("\"\\r\\n\\u00e9\\\"\""), OND_BYTES_LIT(" [1, {\"a\": null}] ")},
  };
  OndBytes columns[256];
  OndRow rows[ROWS];
  const OndRow *list[ROWS];
  OndError err = {0};
  OndConnector *c = ond_connector_parse(&(OndConnectorSource){.connector = "http", .base_url = BASE, .options = {(const char *)data, size}}, &err);
  int n_columns = 0;

  if (!c) {
    must(err.message[0] != '\0');
    return 0;
  }
  for (; n_columns < 256 && ond_connector_column(c, n_columns); n_columns++) {
    columns[n_columns] = KEY_VALUES[n_columns % ROWS][n_columns % 2];
  }
  for (int i = 0; i < ROWS && n_columns < 256; i++) {
    rows[i] = (OndRow){.op = OND_OP_CREATE,
                       .fields = i == 1 ? OND_BYTES_LIT("{\"a\":1.0, \"caf\\u00e9\":\n[{}],\"\":null}") : OND_BYTES_LIT("{}"),
                       .n_keys = 2,
                       .keys = KEY_VALUES[i],
                       .columns = columns,
                       .remote_id = OND_BYTES_LIT("r\"1"),
                       .remote = OND_BYTES_LIT("{\"version\":7}"),
                       .idempotency_key = "row"};
    list[i] = &rows[i];
  }
  for (int n_keys = 1; n_keys <= 2 && n_columns < 256; n_keys++) {
    if (ond_connector_bind(c, OND_MODE_UPSERT, n_keys, KEYS, &err) ||
        ond_connector_bind(c, OND_MODE_MIRROR, n_keys, KEYS, &err)) {
      render(c, OND_OP_CREATE, list);
      render(c, OND_OP_UPDATE, list);
      render(c, OND_OP_DELETE, list);
    }
  }
  ond_connector_free(c);
  return 0;
}
