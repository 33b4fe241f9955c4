/*
 * connector_case.h - what the tests of src/connector share: descriptions in single quotes, rows, a request or an answer in a line.
 */
#ifndef OND_TEST_CONNECTOR_CASE_H
#define OND_TEST_CONNECTOR_CASE_H

#include <stdio.h>
#include <string.h>
#include "connector/connector.h"
#include "unit.h"

#define CASE_ROWS 8
#define CASE_URL  "https://api.example.com/v1"

typedef struct Case {
  OndConnector *c;
  const OndOperation *o;
  OndError err;
  OndRow rows[CASE_ROWS];
  const OndRow *row_list[CASE_ROWS];
  OndBytes keys[CASE_ROWS][2];
  OndBytes columns[CASE_ROWS][4];
  OndHttpRequest request;
  int bad_row;
  OndArena *arena;
  OndRowResult results[CASE_ROWS];
  int strangers;
  char quoted[8][16384]; /* texts with their quotes turned, in turn */
  int next_quoted;
} Case;

/* 'a' -> "a": JSON that can be read in C. */
static inline const char *case_json(Case *t, const char *text) {
  char *out = t->quoted[t->next_quoted++ % 8];
  size_t n = strlen(text);

  for (size_t i = 0; i <= n; i++) {
    out[i] = text[i] == '\'' ? '"' : text[i];
  }
  return out;
}

static inline OndBytes case_bytes(const char *text) {
  return text ? (OndBytes){text, strlen(text)} : OND_BYTES_NONE;
}

/* The http connector of these options. */
static inline OndConnector *case_http(const char *base_url, const char *options, OndError *err) {
  OndConnectorSource source = {.connector = "http", .base_url = base_url, .options = case_bytes(options)};

  return ond_connector_parse(&source, err);
}

static inline bool case_parse(Case *t, const char *options) {
  const char *json = case_json(t, options);

  memset(&t->err, 0, sizeof(t->err));
  t->c = case_http(CASE_URL, json, &t->err);
  return t->c != NULL;
}

/* Parses an object, binds it with the key column "id", takes its operation. */
static inline bool case_open(Case *t, const char *options, OndOp op) {
  static const char *const KEYS[] = {"id"};
  OndMode mode = op == OND_OP_DELETE ? OND_MODE_MIRROR : op == OND_OP_UPDATE ? OND_MODE_UPDATE : OND_MODE_INSERT;

  memset(t, 0, sizeof(*t));
  ond_http_request_init(&t->request);
  if (!case_parse(t, options)) {
    unit_note("%s: %s", t->err.pointer, t->err.message);
    return false;
  }
  if (mode == OND_MODE_MIRROR && !ond_connector_operation(t->c, OND_OP_CREATE)) {
    mode = OND_MODE_UPDATE; /* only the delete is of interest */
    t->o = ond_connector_operation(t->c, op);
  }
  if (t->o == NULL && !ond_connector_bind(t->c, mode, 1, KEYS, &t->err)) {
    unit_note("bind: %s", t->err.message);
    return false;
  }
  t->o = ond_connector_operation(t->c, op);
  t->arena = ond_arena_create();
  return t->o != NULL;
}

static inline void case_close(Case *t) {
  ond_http_request_free(&t->request);
  ond_connector_free(t->c);
  ond_arena_destroy(t->arena);
}

/* Row i with a key (JSON) and fields (JSON, single quotes); everything else absent. */
static inline OndRow *case_row(Case *t, int i, const char *key, const char *fields) {
  OndRow *row = &t->rows[i];

  t->keys[i][0] = case_bytes(key);
  *row = (OndRow){.op = OND_OP_CREATE,
                  .fields = case_bytes(fields),
                  .n_keys = 1,
                  .keys = t->keys[i],
                  .columns = t->columns[i],
                  .idempotency_key = i == 0   ? "aaaa"
                                     : i == 1 ? "bbbb"
                                              : "cccc"};
  t->row_list[i] = row;
  return row;
}

static inline bool case_render(Case *t, int n) {
  static const OndRenderContext context = {.run_id = 77, .idempotency_key = "reqkey"};

  ond_http_request_free(&t->request);
  t->bad_row = -99;
  memset(&t->err, 0, sizeof(t->err));
  return ond_connector_render(t->c, t->o, t->row_list, n, &context, &t->request, &t->bad_row, &t->err);
}

static inline const char *case_header(const Case *t, const char *name) {
  for (int i = 0; i < t->request.n_headers; i++) {
    if (strcmp(t->request.headers[i].name, name) == 0) {
      return t->request.headers[i].value;
    }
  }
  return NULL;
}

/* Reads an answer (single quotes) to n rows. */
static inline void case_read(Case *t, int status, const char *body, int n) {
  OndHttpResponse response = {.transfer = OND_TRANSFER_OK, .status = status};
  const char *json = case_json(t, body);

  ond_buf_init(&response.body, 1 << 20);
  ond_buf_append_str(&response.body, json);
  memset(t->results, 0x55, sizeof(t->results));
  ond_connector_read(t->c, t->o, &response, t->row_list, n, t->arena, t->results, &t->strangers);
  ond_buf_free(&response.body);
}

/* "AR?T": one letter a row. */
static inline const char *case_fates(Case *t, int n) {
  static char fates[CASE_ROWS + 1];

  for (int i = 0; i < n; i++) {
    OndOutcome o = t->results[i].outcome;

    fates[i] = o == OND_OUT_ACCEPTED ? 'A' : o == OND_OUT_REJECTED ? 'R' : o == OND_OUT_THROTTLED ? 'T' : o == OND_OUT_UNKNOWN ? '?' : '!';
  }
  fates[n] = '\0';
  return fates;
}

#endif
