/*
 * fuzz_response.c - any answer, read in every shape.
 *
 * The first byte chooses the description, the rest is the body. Beyond not crashing: every row gets an outcome, refusals and unknowns
 * have words, and what is kept is valid: UTF-8 without control characters, remote captures are JSON, ids are text.
 */
#include <json-c/json.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "connector/connector.h"
#include "connector/document.h"
#include "core/text.h"

#define ROWS  3
#define BATCH "{\"object\":{\"upsert\":{\"method\":\"POST\",\"batch\":{\"rows\":9},\"ok\":{\"path\":\"/o\",\"equals\":true},\"result\":"
#define RECORD                                                                                                                             \
  "\"ok\":{\"path\":\"/ok\",\"in\":[true,1]},\"id\":\"/id\",\"error\":\"/e\",\"code\":\"/c\",\"retry\":[\"x\"],\"remote\":{\"v\":\"/v\"}"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const OPTIONS[] = {
    "{\"object\":{\"upsert\":{\"method\":\"PUT\",\"result\":{" RECORD "}}}}",
    BATCH "{\"rows\":\"/r\"," RECORD "}}}}",
    BATCH "{\"rows\":\"/r\",\"match\":{\"key\":\"/k\"}," RECORD ",\"errors\":{\"rows\":\"/errors\",\"keys\":\"/k\",\"message\":\"/m\"}}}}}",
    BATCH "{\"rows\":\"/r\",\"match\":\"map\"," RECORD "}}}}",
    BATCH "{\"rows\":\"\",\"match\":{\"index\":\"/i\"}," RECORD "}}}}",
    BATCH "{\"errors\":{\"rows\":\"/errors\",\"index\":\"/i\",\"code\":\"/c\"}}}}}",
    BATCH "{\"counts\":{\"accepted\":[\"/a\",\"/b\"],\"failed\":\"/f\"}}}}}",
    "{\"object\":{\"upsert\":{\"method\":\"POST\",\"batch\":{\"rows\":9},\"result\":{\"lines\":true," RECORD "}}}}",
    "{\"object\":{\"upsert\":{\"method\":\"POST\",\"batch\":{\"rows\":9},\"result\":{\"lines\":true,\"match\":{\"key\":\"/k\"}," RECORD
    "}}}}",
};

#define N_OPTIONS (sizeof(OPTIONS) / sizeof(OPTIONS[0]))

static void must(bool ok) {
  if (!ok) {
    abort();
  }
}

static void check_words(const char *text, size_t max) {
  size_t n = strlen(text);

  must(n <= max && ond_utf8_valid(text, n));
  for (size_t i = 0; i < n; i++) {
    must((unsigned char)text[i] >= 0x20 && text[i] != 0x7F);
  }
}

static void check_result(const OndRowResult *result) {
  struct json_object *value;
  const char *problem;

  must(result->outcome == OND_OUT_ACCEPTED || result->outcome == OND_OUT_REJECTED || result->outcome == OND_OUT_THROTTLED ||
       result->outcome == OND_OUT_UNKNOWN);
  must((result->outcome == OND_OUT_ACCEPTED) == (result->message == NULL));
  must(result->outcome == OND_OUT_ACCEPTED || (!result->remote_id && !result->remote));
  if (result->message) {
    check_words(result->message, 1000);
  }
  if (result->remote_id) {
    must(result->remote_id[0] && ond_utf8_valid(result->remote_id, strlen(result->remote_id)));
  }
  if (result->remote) {
    must(ond_document_parse(result->remote, strlen(result->remote), &value, &problem));
    json_object_put(value);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static OndConnector *connectors[N_OPTIONS];
  static const char *const KEYS[] = {"id"};
  static const OndBytes VALUES[ROWS] = {OND_BYTES_LIT("1"), OND_BYTES_LIT("\"a\""), OND_BYTES_LIT("\"\\u00e9\"")};
  OndRow rows[ROWS];
  const OndRow *list[ROWS];
  OndRowResult results[ROWS];
  OndHttpResponse response = {.transfer = OND_TRANSFER_OK, .status = 200};
  const OndOperation *o;
  OndArena *arena;
  OndError err;
  size_t which = size > 0 ? data[0] % N_OPTIONS : 0;
  char message[300];
  int strangers;
  int n;

  if (!connectors[which]) {
    connectors[which] = ond_connector_parse(&(OndConnectorSource){.connector = "http", .base_url = "https://h", .options = {OPTIONS[which], strlen(OPTIONS[which])}}, &err);
    must(connectors[which] && ond_connector_bind(connectors[which], OND_MODE_UPSERT, 1, KEYS, &err));
  }
  for (int i = 0; i < ROWS; i++) {
    rows[i] = (OndRow){.op = OND_OP_CREATE, .fields = OND_BYTES_LIT("{}"), .n_keys = 1, .keys = &VALUES[i], .idempotency_key = "k"};
    list[i] = &rows[i];
  }
  o = ond_connector_operation(connectors[which], OND_OP_CREATE);
  n = ond_operation_info(o)->batch_rows < ROWS ? 1 : ROWS;
  ond_buf_init(&response.body, 1 << 24);
  if (size > 1) {
    ond_buf_append(&response.body, data + 1, size - 1);
  }
  arena = ond_arena_create();
  ond_connector_read(connectors[which], o, &response, list, n, arena, results, &strangers);
  for (int i = 0; i < n; i++) {
    check_result(&results[i]);
  }
  ond_connector_message(o, &response, message, sizeof(message));
  must(message[0]);
  check_words(message, sizeof(message) - 1);
  ond_arena_destroy(arena);
  ond_buf_free(&response.body);
  return 0;
}
