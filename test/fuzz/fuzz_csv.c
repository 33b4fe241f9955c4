/*
 * fuzz_csv.c - CSV of both directions: any bytes read as records, and what was read written again; texts rendered as a request and read back.
 *
 * The reader ends, every record has just the names or is none, and its texts are UTF-8. Records that are written with every field in quotes read as the
 * same records.
 *
 * Input: first line a text, second line another one, the rest an answer.
 */
#include "connector/connector.h"
#include "connector/csv.h"
#include "connector/document.h"
#include "core/mem.h"
#include "fuzz.h"

#define RECORDS_MAX 64

static void check_record(const OndCsvReader *r, struct json_object *record) {
  for (int i = 0; i < r->n_names; i++) {
    struct json_object *value;

    MUST(json_object_object_get_ex(record, r->names[i], &value));
    MUST(!value || ond_utf8_valid(json_object_get_string(value), (size_t)json_object_get_string_len(value)));
  }
  MUST(json_object_object_length(record) <= r->n_names);
}

static void append_quoted(OndBuf *out, const char *text, size_t n) {
  ond_buf_append_char(out, '"');
  for (size_t i = 0; i < n; i++) {
    ond_buf_append(out, "\"\"", text[i] == '"' ? 2 : 0);
    ond_buf_append(out, text + i, text[i] == '"' ? 0 : 1);
  }
  ond_buf_append_char(out, '"');
}

static void append_record(OndBuf *out, const OndCsvReader *r, struct json_object *record) {
  for (int i = 0; i < r->n_names; i++) {
    struct json_object *value = NULL;

    ond_buf_append(out, ",", i > 0 ? 1 : 0);
    if (!record) {
      append_quoted(out, r->names[i], strlen(r->names[i]));
    } else if (json_object_object_get_ex(record, r->names[i], &value) && value) {
      append_quoted(out, json_object_get_string(value), (size_t)json_object_get_string_len(value));
    }
  }
  ond_buf_append_str(out, "\r\n");
}

static void check_again(const OndBuf *written, struct json_object *const *records, int n) {
  OndCsvReader r;
  struct json_object *record;

  MUST(ond_csv_open(&r, written->data, written->len));
  for (int i = 0; i < n; i++) {
    MUST(ond_csv_next(&r, &record) && record && json_object_equal(record, records[i]));
    json_object_put(record);
  }
  MUST(!ond_csv_next(&r, &record) && !record);
  ond_csv_close(&r);
}

static void check_answer(const char *text, size_t n) {
  struct json_object *records[RECORDS_MAX], *record;
  OndCsvReader r;
  OndBuf written;
  int kept = 0;
  size_t read = 0;

  ond_buf_init(&written, 1 << 20);
  if (ond_csv_open(&r, text, n)) {
    MUST(r.n_names > 0);
    append_record(&written, &r, NULL);
    while (ond_csv_next(&r, &record)) {
      MUST(++read <= n);
      if (record && kept < RECORDS_MAX) {
        check_record(&r, record);
        append_record(&written, &r, record);
        records[kept++] = record;
      } else {
        json_object_put(record);
      }
    }
    check_again(&written, records, kept);
  }
  ond_csv_close(&r);
  ond_buf_free(&written);
  for (int i = 0; i < kept; i++) {
    json_object_put(records[i]);
  }
}

/* A row of two texts: what is rendered reads as it was. */
static void check_request(OndConnector *c, const char *a, size_t a_n, const char *b, size_t b_n) {
  static const OndBytes KEY[] = {OND_BYTES_LIT("1")};
  struct json_object *fields = json_object_new_object(), *record;
  OndRow row = {.op = OND_OP_CREATE, .n_keys = 1, .keys = KEY, .idempotency_key = "k"};
  const OndRow *rows[] = {&row};
  const OndRenderContext context = {.run_id = 1, .idempotency_key = "k"};
  OndHttpRequest request;
  OndCsvReader r;
  OndError err;
  int bad;

  json_object_object_add(fields, "a", json_object_new_string_len(a, (int)a_n));
  json_object_object_add(fields, "b", b_n == 0 ? NULL : json_object_new_string_len(b, (int)b_n));
  row.fields.p = json_object_to_json_string_length(fields, JSON_C_TO_STRING_PLAIN, &row.fields.n);
  MUST(ond_connector_render(c, ond_connector_operation(c, OND_OP_CREATE), rows, 1, &context, &request, &bad, &err));
  MUST(ond_csv_open(&r, request.body.data, request.body.len) && r.n_names == 2);
  MUST(ond_csv_next(&r, &record) && record && json_object_equal(record, fields));
  json_object_put(record);
  MUST(!ond_csv_next(&r, &record));
  ond_csv_close(&r);
  ond_http_request_free(&request);
  json_object_put(fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char OPTIONS[] = "{\"object\":{\"upsert\":{\"method\":\"POST\",\"encoding\":\"csv\",\"batch\":{\"rows\":5}}}}";
  static const char *const KEYS[] = {"id"};
  static OndConnector *c;
  Fuzz f = {data, size};
  OndError err;
  size_t a_n, b_n, n;
  char *a = fuzz_line(&f, &a_n);
  char *b = fuzz_line(&f, &b_n);
  char *rest = fuzz_rest(&f, &n);

  if (!c) {
    c = ond_connector_parse(&(OndConnectorSource){.connector = "http", .base_url = "https://h", .options = {OPTIONS, sizeof(OPTIONS) - 1}}, &err);
    MUST(c && ond_connector_bind(c, OND_MODE_UPSERT, 1, KEYS, &err));
  }
  if (ond_utf8_valid(a, a_n) && ond_utf8_valid(b, b_n) && !memchr(a, '\0', a_n) && !memchr(b, '\0', b_n)) {
    check_request(c, a, a_n, b, b_n);
  }
  check_answer(rest, n);
  free(a);
  free(b);
  free(rest);
  return 0;
}
