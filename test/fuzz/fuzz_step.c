/*
 * fuzz_step.c - asynchronous jobs: any answers to their steps, one after the other.
 *
 * A job goes through its steps by what the answers say. Whatever they are: the next step is one that there is, what is captured is a JSON object, what is
 * wrong has words, a URL that is made of captures stays at the hosts that are allowed, and every row of a result gets an outcome.
 *
 * Input: first byte the kind of job; then for each answer a line of headers and a line of body.
 */
#include "connector/connector.h"
#include "connector/document.h"
#include "core/mem.h"
#include "fuzz.h"

#define ROWS        2
#define ANSWERS_MAX 8
#define JOB(steps)  "{\"title\":\"x\",\"base_url\":\"https://h/v1\",\"hosts\":[\"*.files.example.com\"],\"objects\":{\"o\":{\"upsert\":{\"batch\":{\"rows\":5},\"steps\":[" steps "]}}}}"
#define CREATE                                                                                                                             \
  "{\"name\":\"create\",\"method\":\"POST\",\"path\":\"/jobs\",\"body\":[\"$each\",\"$fields\"],\"ok\":{\"path\":\"/ok\",\"equals\":true},"  \
  "\"capture\":{\"id\":\"/id\",\"at\":{\"header\":\"Location\"}}},"
#define POLL                                                                                                                               \
  "{\"name\":\"poll\",\"method\":\"GET\",\"path\":\"/jobs/{{job.id}}\",\"poll\":{\"done\":{\"path\":\"/s\",\"equals\":\"ok\"},"              \
  "\"failed\":{\"path\":\"/s\",\"equals\":\"bad\"}}},"

static const char *const DOCUMENTS[] = {
    JOB(CREATE POLL "{\"name\":\"errors\",\"method\":\"GET\",\"url\":\"{{job.at}}\",\"when\":{\"path\":\"/errors\",\"absent\":false},"
                    "\"result\":{\"errors\":{\"rows\":\"/e\",\"index\":\"/i\"}}}"),
    JOB(CREATE POLL "{\"name\":\"results\",\"method\":\"GET\",\"path\":\"/r/{{job.id}}\",\"next\":{\"cursor\":\"/c\"},\"query\":{\"c\":\"{{cursor}}\"},"
                    "\"result\":{\"rows\":\"/r\",\"match\":{\"key\":\"/k\"},\"ok\":{\"path\":\"/ok\",\"equals\":true},\"id\":\"/id\"}}"),
    JOB(CREATE POLL "{\"name\":\"results\",\"method\":\"GET\",\"path\":\"/r/{{job.id}}\",\"result\":{\"format\":\"csv\",\"match\":{\"key\":\"/k\"},"
                    "\"ok\":{\"path\":\"/ok\",\"equals\":\"true\"},\"error\":\"/e\"}}"),
};

#define N_DOCUMENTS (sizeof(DOCUMENTS) / sizeof(DOCUMENTS[0]))

static void check_captures(const OndBuf *job) {
  struct json_object *value;
  const char *problem;
  char label[200];

  if (job->len > 0) {
    MUST(ond_document_parse(job->data, job->len, &value, &problem) && json_object_is_type(value, json_type_object));
    json_object_put(value);
  }
  ond_step_label((OndBytes){job->data, job->len}, label, sizeof(label));
  MUST(label[0] != '\0');
  fuzz_check_words(label, sizeof(label) - 1);
}

/* The hosts that the document allows. Schemes and hosts have no case. */
static bool is_allowed(const char *url) {
  const char *host = url + strlen("https://");
  size_t n = strcspn(host, "/?#");

  if (strncasecmp(url, "https://", strlen("https://")) != 0) {
    return false;
  }
  return (n == 1 && strncasecmp(host, "h", 1) == 0) || (n == 5 && strncasecmp(host, "h:443", 5) == 0) ||
         (n > 18 && strncasecmp(host + n - 18, ".files.example.com", 18) == 0) || (n > 22 && strncasecmp(host + n - 22, ".files.example.com:443", 22) == 0);
}

static void check_request(OndConnector *c, const OndOperation *o, int step, const OndRow *const *rows, const OndBuf *job) {
  const OndRenderContext context = {.run_id = 7, .idempotency_key = "k", .job = {job->data, job->len}};
  OndHttpRequest request;
  OndError err = {0};
  int bad;

  if (!ond_step_check(c, o, step, rows[0], (OndBytes){job->data, job->len}, &err)) {
    fuzz_check_error(&err);
    return;
  }
  if (ond_connector_render(c, ond_step_operation(o, step), rows, ROWS, &context, &request, &bad, &err)) {
    MUST(is_allowed(request.url));
  } else {
    fuzz_check_error(&err);
  }
  ond_http_request_free(&request);
}

static void check_rows(OndConnector *c, const OndOperation *o, int step, const OndHttpResponse *response, const OndRow *const *rows) {
  OndRowResult results[ROWS];
  OndArena *arena;

  if (!ond_step_info(o, step)->has_result) {
    return;
  }
  arena = ond_arena_create();
  ond_connector_read(c, ond_step_operation(o, step), response, (const OndRow **)rows, ROWS, arena, results, NULL);
  for (int i = 0; i < ROWS; i++) {
    MUST((results[i].outcome == OND_OUT_ACCEPTED) == (results[i].message == NULL));
    if (results[i].message) {
      fuzz_check_words(results[i].message, 1000);
    }
  }
  ond_arena_destroy(arena);
}

/* One answer; the step that the job goes on with. */
static int answer(OndConnector *c, const OndOperation *o, int step, Fuzz *f, const OndRow *const *rows, OndBuf *job) {
  OndHttpResponse response = {.transfer = OND_TRANSFER_OK, .status = 200};
  char words[200] = "";
  int next = -1;
  size_t headers_n, body_n;
  char *headers = fuzz_line(f, &headers_n);
  char *body = fuzz_line(f, &body_n);
  OndStepEnd end;

  for (char *p = body; *p != '\0'; p++) {
    *p = *p == '\x01' ? '\n' : *p; /* lines in a body */
  }
  ond_buf_init(&response.headers, 1 << 16);
  ond_buf_init(&response.body, 1 << 16);
  ond_buf_append(&response.headers, headers, headers_n);
  ond_buf_append_str(&response.headers, "\r\n");
  ond_buf_append(&response.body, body, body_n);
  end = ond_step_read(o, step, &response, job, &next, words, sizeof(words));
  check_captures(job);
  if (end == OND_STEP_DONE) {
    MUST(next > step && next <= ond_operation_info(o)->n_steps);
    check_rows(c, o, step, &response, rows);
  } else if (end == OND_STEP_WAIT) {
    MUST(ond_step_info(o, step)->polls);
  } else {
    MUST(words[0] != '\0');
    fuzz_check_words(words, sizeof(words) - 1);
  }
  ond_buf_free(&response.headers);
  ond_buf_free(&response.body);
  free(headers);
  free(body);
  return end == OND_STEP_DONE ? next : end == OND_STEP_WAIT ? step : ond_operation_info(o)->n_steps;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static OndConnector *connectors[N_DOCUMENTS];
  static const char *const KEYS[] = {"id"};
  static const OndBytes VALUES[ROWS] = {OND_BYTES_LIT("1"), OND_BYTES_LIT("\"a\"")};
  OndRow rows[ROWS];
  const OndRow *list[ROWS];
  const OndOperation *o;
  Fuzz f = {data, size};
  size_t which = fuzz_byte(&f) % N_DOCUMENTS;
  OndError err = {0};
  OndBuf job;
  int step = 0;

  if (!connectors[which]) {
    connectors[which] = ond_connector_parse(&(OndConnectorSource){.connector = "x", .document = {DOCUMENTS[which], strlen(DOCUMENTS[which])}, .object = "o"}, &err);
    if (!connectors[which]) {
      fprintf(stderr, "%s %s\n", err.pointer, err.message);
    }
    MUST(connectors[which] && ond_connector_bind(connectors[which], OND_MODE_UPSERT, 1, KEYS, &err));
  }
  for (int i = 0; i < ROWS; i++) {
    rows[i] = (OndRow){.op = OND_OP_CREATE, .fields = OND_BYTES_LIT("{\"a\":1}"), .n_keys = 1, .keys = &VALUES[i], .idempotency_key = "k"};
    list[i] = &rows[i];
  }
  o = ond_connector_operation(connectors[which], OND_OP_CREATE);
  ond_buf_init(&job, 10000);
  for (int i = 0; i < ANSWERS_MAX && step < ond_operation_info(o)->n_steps; i++) {
    step = answer(connectors[which], o, step, &f, list, &job);
    if (step < ond_operation_info(o)->n_steps) {
      check_request(connectors[which], o, step, list, &job);
    }
  }
  ond_buf_free(&job);
  return 0;
}
