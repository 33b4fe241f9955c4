/*
 * fuzz_render.c - hostile rows through known descriptions: paths, queries, headers, JSON, NDJSON, forms.
 *
 * The values of a row decide only what they stand for: the URL stays on its base with as many pieces as the template has, none of them empty
 * or leading elsewhere, and each decodes to the value; no header holds a line break; a body is JSON with the value in it, equal to
 * what went in. What cannot be sent so is the row's fault, with words.
 *
 * Input: a byte (which description, and whether a value is text or number), then lines: two values, the key, the remote id.
 */
#include <curl/curl.h>
#include "connector/connector.h"
#include "connector/document.h"
#include "fuzz.h"

#define BASE "https://api.example.com:8443/v1"
#define ROWS 2

typedef struct Description {
  const char *options;
  int pieces; /* of the path behind the base */
  bool batch;
} Description;

static const Description DESCRIPTIONS[] = {
    {"{\"object\":{\"upsert\":{\"method\":\"PUT\",\"path\":\"/c/{{key}}/{{a}}-{{b}}\",\"query\":{\"q\":\"{{a}}\",\"r\":\"x{{b|trim}}\"},"
     "\"headers\":{\"X-A\":\"{{a}}\",\"X-B\":\"b {{b}}\"},\"body\":{\"v\":\"{{a}}\",\"t\":\"<{{a}}|{{b}}>\",\"f\":\"$fields\"}}}}",
     3, false},
    {"{\"object\":{\"upsert\":{\"method\":\"POST\",\"path\":\"/c\",\"batch\":{\"rows\":9},\"query\":{\"id\":[\"$each\",\"{{key}}\"],"
     "\"j\":{\"join\":\",\",\"each\":\"{{a}}\"}},\"body\":[\"$each\",{\"v\":\"{{a}}\",\"t\":\"<{{a}}|{{b}}>\",\"f\":\"$fields\"}]}}}",
     1, true},
    {"{\"object\":{\"upsert\":{\"method\":\"POST\",\"path\":\"/c\",\"batch\":{\"rows\":9},\"encoding\":\"ndjson\","
     "\"body\":{\"v\":\"{{a}}\",\"t\":\"<{{a}}|{{b}}>\",\"f\":\"$fields\"}}}}",
     1, true},
    {"{\"object\":{\"upsert\":{\"method\":\"POST\",\"path\":\"/c/{{remote_id}}?x={{a}}\",\"encoding\":\"form\","
     "\"body\":{\"v\":\"{{a}}\",\"t\":\"<{{a}}|{{b}}>\",\"f\":\"$fields\"}}}}",
     2, false},
    {"{\"object\":{\"upsert\":{\"method\":\"POST\",\"path\":\"/c\",\"batch\":{\"rows\":9},\"body\":{\"m\":{\"$each\":{\"{{key}}\":"
     "{\"$merge\":[\"$fields\",{\"v\":\"{{a}}\",\"t\":\"<{{a}}|{{b}}>\"}]}}}}}}}",
     1, true},
};

#define DESCRIPTIONS_N (sizeof(DESCRIPTIONS) / sizeof(DESCRIPTIONS[0]))

/* Bytes as a JSON value, as PostgreSQL would give them: text that is no UTF-8 cannot come from there, a NUL can, in type json. */
static OndBytes as_json(const char *text, size_t n, bool number, OndBuf *out) {
  ond_buf_init(out, 6 * n + 16);
  if (number) {
    ond_buf_appendf(out, "%zu.%03zu", n * 1000003, n % 1000);
  } else if (ond_utf8_valid(text, n)) {
    ond_buf_append_json_string(out, text, n);
  } else {
    ond_buf_append_str(out, "\"\\r\\n/..\"");
  }
  return (OndBytes){out->data, out->len};
}

/* Percent-decoded, malloc'd. libcurl takes a length of 0 for "up to the NUL". */
static char *decode(const char *p, size_t n, size_t *text_n) {
  int length = 0;
  char *decoded = n > 0 ? curl_easy_unescape(NULL, p, (int)n, &length) : NULL;
  char *text = malloc((size_t)length + 1);

  MUST(n == 0 || decoded);
  if (length > 0) {
    memcpy(text, decoded, (size_t)length);
  }
  text[length] = '\0';
  *text_n = (size_t)length;
  curl_free(decoded);
  return text;
}

/* --- the URL ---------------------------------------------------------------------------------------------- */

static void check_url(const char *url, int pieces) {
  const char *p = url + strlen(BASE);
  int n = 0;

  MUST(strncmp(url, BASE, strlen(BASE)) == 0 && *p == '/');
  for (const char *c = url; *c; c++) {
    MUST(*c > 0x20 && *c < 0x7F && !strchr("#\\\"<>^`{|}", *c));
  }
  while (*p == '/') {
    size_t length = strcspn(++p, "/?");
    size_t text_n;
    char *text = decode(p, length, &text_n);

    MUST(text_n > 0 && !memchr(text, 0, text_n) && !(text_n == 1 && text[0] == '.') && !(text_n == 2 && text[0] == '.' && text[1] == '.'));
    free(text);
    p += length;
    n++;
  }
  MUST(n == pieces && (*p == '\0' || *p == '?') && !strchr(*p ? p + 1 : p, '?'));
}

/* The parameter decodes to the text: nothing of it became a parameter of its own. */
static void check_parameter(const char *url, const char *name, const char *text, size_t n) {
  const char *p = strstr(url, name);
  size_t back_n;
  char *back;

  MUST(p);
  p += strlen(name);
  back = decode(p, strcspn(p, "&"), &back_n);
  MUST(back_n == n && memcmp(back, text, n) == 0);
  free(back);
}

/* --- the body --------------------------------------------------------------------------------------------- */

/* The text of a value, with its length: a string may hold a NUL. */
static OndBytes text_of(struct json_object *value) {
  const char *text = json_object_get_string(value);

  return (OndBytes){text, json_object_is_type(value, json_type_string) ? (size_t)json_object_get_string_len(value) : strlen(text)};
}

/* One row's item: the value with its type, the values inside of a text, the fields as they were. */
static void check_item(struct json_object *item, const OndRow *row) {
  struct json_object *v;
  struct json_object *t;
  struct json_object *a;
  struct json_object *b;
  OndBuf text;

  MUST(json_object_object_get_ex(item, "v", &v) && json_object_object_get_ex(item, "t", &t));
  MUST(fuzz_json(row->columns[0].p, row->columns[0].n, &a) && fuzz_json(row->columns[1].p, row->columns[1].n, &b));
  MUST(json_object_equal(v, a));
  ond_buf_init(&text, 1 << 20);
  ond_buf_append_char(&text, '<');
  ond_buf_append_bytes(&text, text_of(a));
  ond_buf_append_char(&text, '|');
  ond_buf_append_bytes(&text, text_of(b));
  ond_buf_append_char(&text, '>');
  MUST(text_of(t).n == text.len && memcmp(text_of(t).p, text.data, text.len) == 0);
  ond_buf_free(&text);
  json_object_put(a);
  json_object_put(b);
}

static void check_json_body(struct json_object *body, const OndRow *const *rows, int n) {
  struct json_object *m;

  if (json_object_is_type(body, json_type_array)) {
    MUST(json_object_array_length(body) == (size_t)n);
    for (int i = 0; i < n; i++) {
      check_item(json_object_array_get_idx(body, (size_t)i), rows[i]);
    }
  } else if (json_object_object_get_ex(body, "m", &m)) {
    MUST(json_object_object_length(m) == n);
  } else {
    check_item(body, rows[0]);
  }
}

static void check_lines(const OndBuf *body, const OndRow *const *rows, int n) {
  const char *p = body->data;

  for (int i = 0; i < n; i++) {
    const char *end = memchr(p, '\n', (size_t)(body->data + body->len - p));
    struct json_object *item;

    MUST(end && fuzz_json(p, (size_t)(end - p), &item));
    check_item(item, rows[i]);
    json_object_put(item);
    p = end + 1;
  }
  MUST(p == body->data + body->len);
}

static void check_body(const OndHttpRequest *r, const OndRow *const *rows, int n) {
  const char *type = "";
  struct json_object *body;

  for (int i = 0; i < r->n_headers; i++) {
    type = strcmp(r->headers[i].name, "Content-Type") == 0 ? r->headers[i].value : type;
  }
  if (strcmp(type, "application/json") == 0) {
    MUST(fuzz_json(r->body.data, r->body.len, &body));
    check_json_body(body, rows, n);
    json_object_put(body);
  } else if (strcmp(type, "application/x-ndjson") == 0) {
    check_lines(&r->body, rows, n);
  } else {
    MUST(strcmp(type, "application/x-www-form-urlencoded") == 0 && strncmp(r->body.data, "v=", 2) == 0);
    for (size_t i = 0; i < r->body.len; i++) {
      MUST((unsigned char)r->body.data[i] > 0x20 && (unsigned char)r->body.data[i] < 0x7F);
    }
  }
}

/* --- a request -------------------------------------------------------------------------------------------- */

static void check_request(const OndHttpRequest *r, const Description *d, const OndRow *const *rows, int n) {
  check_url(r->url, d->pieces);
  for (int i = 0; i < r->n_headers; i++) {
    for (const unsigned char *p = (const unsigned char *)r->headers[i].value; *p; p++) {
      MUST((*p >= 0x20 || *p == '\t') && *p != 0x7F);
    }
  }
  check_body(r, rows, n);
  if (d == &DESCRIPTIONS[0]) {
    struct json_object *a;

    MUST(fuzz_json(rows[0]->columns[0].p, rows[0]->columns[0].n, &a));
    check_parameter(r->url, "?q=", text_of(a).p, text_of(a).n);
    json_object_put(a);
  }
}

static OndConnector *connector(size_t which) {
  static OndConnector *made[DESCRIPTIONS_N];
  static const char *const KEYS[] = {"id"};
  OndError err = {0};

  if (!made[which]) {
    made[which] = ond_connector_parse(&(OndConnectorSource){.connector = "http", .base_url = BASE,
                                                             .options = {DESCRIPTIONS[which].options, strlen(DESCRIPTIONS[which].options)}}, &err);
    if (!made[which] || !ond_connector_bind(made[which], OND_MODE_UPSERT, 1, KEYS, &err)) {
      fprintf(stderr, "%s %s\n", err.message, err.pointer);
      abort();
    }
  }
  return made[which];
}

static void render(size_t which, const OndRow *const *rows) {
  static const OndRenderContext context = {.run_id = 7, .idempotency_key = "request"};
  OndConnector *c = connector(which);
  const OndOperation *o = ond_connector_operation(c, OND_OP_UPDATE);
  OndHttpRequest request;
  OndError err = {0};
  int bad_row = -2;
  int n = DESCRIPTIONS[which].batch ? ROWS : 1;

  if (ond_connector_render(c, o, rows, n, &context, &request, &bad_row, &err)) {
    check_request(&request, &DESCRIPTIONS[which], rows, n);
    ond_http_request_free(&request);
  } else {
    fuzz_check_error(&err);
    MUST(bad_row >= (n > 1 ? -1 : 0) && bad_row < n);
    MUST(!request.url && request.n_headers == 0 && !request.body.data);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  uint8_t first = fuzz_byte(&f);
  size_t which = first % DESCRIPTIONS_N;
  OndBuf bufs[3];
  OndBytes values[3];
  OndBytes columns[3];
  OndBytes other_key = OND_BYTES_LIT("\"other\"");
  OndRow rows[ROWS];
  const OndRow *list[ROWS] = {&rows[0], &rows[1]};
  char *remote_id;
  size_t n;

  for (int i = 0; i < 3; i++) {
    char *text = fuzz_line(&f, &n);

    values[i] = as_json(text, n, (first >> (4 + i)) & 1, &bufs[i]);
    free(text);
  }
  for (int i = 0; i < 3; i++) {
    const char *name = ond_connector_column(connector(which), i);

    columns[i] = name ? values[strcmp(name, "b") == 0] : OND_BYTES_NONE;
  }
  remote_id = fuzz_line(&f, &n);
  for (int i = 0; i < ROWS; i++) {
    rows[i] = (OndRow){.op = OND_OP_UPDATE,
                       .fields = i == 0 ? OND_BYTES_LIT("{\"n\":1.10,\"s\":\"\\u00e9\"}") : OND_BYTES_LIT("{}"),
                       .n_keys = 1,
                       .keys = i == 0 ? &values[2] : &other_key,
                       .columns = columns,
                       .remote_id = {remote_id, strlen(remote_id)},
                       .idempotency_key = "row"};
  }
  /* A remote id was read from an answer, so it is UTF-8 and not empty. */
  if (!remote_id[0] || !ond_utf8_valid(remote_id, strlen(remote_id))) {
    rows[0].remote_id = rows[1].remote_id = OND_BYTES_NONE;
  }
  render(which, list);
  for (int i = 0; i < 3; i++) {
    ond_buf_free(&bufs[i]);
  }
  free(remote_id);
  return 0;
}
