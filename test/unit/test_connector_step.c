/*
 * test_connector_step.c - asynchronous jobs: steps compiled, rendered, read; CSV written and read.
 */
#include "connector_case.h"

#define JOB(steps)  "{'object': {'upsert': {'batch': {'rows': 5}, 'steps': [" steps "]}}}"
#define CREATE      "{'name': 'create', 'method': 'POST', 'path': '/jobs', 'body': ['$each', '$fields'], 'capture': {'id': '/id'}}"
#define POLL        "{'name': 'poll', 'method': 'GET', 'path': '/jobs/{{job.id}}', 'poll': {'done': {'path': '/s', 'equals': 'ok'}, 'failed': {'path': '/s', 'equals': 'bad'}}}"
#define CSV(csv)    "{'object': {'upsert': {'method': 'POST', 'encoding': 'csv', 'batch': {'rows': 5}" csv "}}}"

/* Renders a step of the case's operation; the job's captures are given in single quotes. */
static bool render_step(Case *t, int step, int n, const char *job) {
  const OndRenderContext context = {.run_id = 7, .idempotency_key = "k", .job = case_bytes(job ? case_json(t, job) : NULL)};

  ond_http_request_free(&t->request);
  t->bad_row = -99;
  memset(&t->err, 0, sizeof(t->err));
  return ond_connector_render(t->c, ond_step_operation(t->o, step), t->row_list, n, &context, &t->request, &t->bad_row, &t->err);
}

typedef struct StepAnswer {
  OndStepEnd end;
  int next;
  char words[200];
  OndBuf job;
} StepAnswer;

static StepAnswer read_step(Case *t, int step, const char *headers, const char *body) {
  OndHttpResponse response = {.transfer = OND_TRANSFER_OK, .status = 200};
  StepAnswer a = {.next = -1};

  ond_buf_init(&a.job, 1000);
  ond_buf_init(&response.body, 1 << 16);
  ond_buf_init(&response.headers, 1 << 16);
  ond_buf_append_str(&response.body, case_json(t, body));
  ond_buf_append_str(&response.headers, headers);
  a.end = ond_step_read(t->o, step, &response, &a.job, &a.next, a.words, sizeof(a.words));
  ond_buf_free(&response.body);
  ond_buf_free(&response.headers);
  return a;
}

static void refused(const char *options, const char *pointer, const char *words) {
  Case t = {0};

  if (CHECK(!case_parse(&t, options))) {
    CHECK_STR(t.err.pointer, pointer);
    CHECK(strstr(t.err.message, words) != NULL);
    if (!strstr(t.err.message, words)) {
      unit_note("%s", t.err.message);
    }
  } else {
    unit_note("parsed: %s", options);
    ond_connector_free(t.c);
  }
}

TEST(steps_are_checked) {
  refused(JOB(""), "/object/upsert/steps", "1 to 20 steps");
  refused(JOB("{'method': 'POST'}"), "/object/upsert/steps/0", "\"name\" is missing");
  refused(JOB(CREATE "," CREATE), "/object/upsert/steps/1/name", "another step \"create\"");
  refused(JOB(POLL "," CREATE), "/object/upsert/steps/0/path", "captured by no earlier step");
  refused(JOB("{'name': 'a', 'method': 'POST', 'path': '/x', 'body': {'a': 1}}"), "/object/upsert/steps", "no step carries the rows");
  refused(JOB(CREATE ",{'name': 'p', 'method': 'GET', 'poll': {'every_ms': 5}}"), "/object/upsert/steps/1/poll", "\"done\" is missing");
  refused(JOB(CREATE ",{'name': 'p', 'method': 'GET', 'path': '/x', 'url': '{{job.id}}'}"), "/object/upsert/steps/1", "either \"path\" or \"url\"");
  refused(JOB(CREATE ",{'name': 'p', 'method': 'GET', 'url': '/x'}"), "/object/upsert/steps/1/url", "must be a whole URL");
  refused(JOB(CREATE ",{'name': 'p', 'method': 'GET', 'url': '{{job.id}}', 'headers': {'X-Api-Key': '{{auth.k}}'}}"), "/object/upsert/steps/1/headers",
          "credentials cannot stand in a step with a \"url\"");
  refused(JOB("{'name': 'a', 'method': 'POST', 'body': ['$each', '$fields'], 'when': {'path': '/x', 'absent': true}}"), "/object/upsert/steps/0/when",
          "no answer before it");
  refused(JOB(CREATE ",{'name': 'r', 'method': 'GET', 'path': '/{{cursor}}'}"), "/object/upsert/steps/1", "names {{cursor}}");
  refused(JOB(CREATE ",{'name': 'r', 'method': 'GET', 'next': {'link': 'next'}, 'result': {'rows': '/r', 'match': 'order'}}"), "/object/upsert/steps/1/next",
          "results that name their rows");
  refused(JOB(CREATE ",{'name': 'r', 'method': 'GET', 'next': {'cursor': '/c'}, 'result': {'errors': {'index': '/i'}}}"), "/object/upsert/steps/1/next",
          "every page would be the first");
  refused("{'object': {'upsert': {'method': 'POST', 'steps': [" CREATE "]}}}", "/object/upsert/method", "no place beside \"steps\"");
  refused("{'object': {'upsert': {'method': 'POST', 'jobs': {'open': 5}}}}", "/object/upsert/jobs", "of \"steps\" only");
  refused("{'object': {'upsert': {'jobs': {'timeout_ms': 5}, 'batch': {'rows': 5}, 'steps': [" CREATE "]}}}", "/object/upsert/jobs/timeout_ms", "");
}

TEST(a_job_knows_where_it_can_be_resumed) {
  Case t;
  const OndOperationInfo *info;

  if (CHECK(case_open(&t, JOB(CREATE "," POLL ",{'name': 'results', 'method': 'GET', 'path': '/r', 'result': {'rows': '/r', 'match': {'key': '/k'}}}"), OND_OP_CREATE))) {
    info = ond_operation_info(t.o);
    CHECK_INT(info->n_steps, 3);
    CHECK_INT(info->carries_at, 0);
    CHECK_INT(info->resumes_at, 1);
    CHECK_INT(info->job_timeout_ms, 3600000);
    CHECK_INT(ond_step_info(t.o, 1)->every_ms, 2000);
    CHECK_INT(ond_step_info(t.o, 1)->max_ms, 30000);
    CHECK(ond_step_info(t.o, 0)->carries_rows && !ond_step_info(t.o, 1)->carries_rows && ond_step_info(t.o, 3) == NULL);
    CHECK_INT(ond_step_find(t.o, "results"), 2);
    case_close(&t);
  }
  /* results that are matched by a column cannot be read without the rows */
  if (CHECK(case_open(&t, JOB(CREATE "," POLL ",{'name': 'results', 'method': 'GET', 'path': '/r', 'result': {'rows': '/r', 'match': {'key': '/k', 'by': '{{email}}'}}}"),
                           OND_OP_CREATE))) {
    CHECK_INT(ond_operation_info(t.o)->resumes_at, 3);
    case_close(&t);
  }
}

TEST(steps_go_on_by_their_answers) {
  char long_answer[2100];
  Case t;
  StepAnswer a;

  if (!CHECK(case_open(&t,
                            JOB("{'name': 'create', 'method': 'POST', 'path': '/jobs', 'body': ['$each', '$fields'], 'ok': {'path': '/ok', 'equals': true},"
                                " 'capture': {'id': '/id', 'at': {'header': 'Location'}}}," POLL
                                ",{'name': 'errors', 'method': 'GET', 'url': '{{job.at}}', 'when': {'path': '/errors', 'absent': false}, 'result': {'errors': {'rows': '/e', 'index': '/i'}}}"),
                            OND_OP_CREATE))) {
    return;
  }
  a = read_step(&t, 0, "Location: /jobs/7\r\n", "{'ok': true, 'id': 7}");
  CHECK_INT(a.end, OND_STEP_DONE);
  CHECK_INT(a.next, 1);
  CHECK_STR(a.job.data, "{\"id\":7,\"at\":\"/jobs/7\"}");
  ond_buf_free(&a.job);
  a = read_step(&t, 0, "", "{'ok': false, 'message': 'no more'}");
  CHECK_INT(a.end, OND_STEP_REFUSED);
  CHECK_STR(a.words, "no more");
  ond_buf_free(&a.job);
  a = read_step(&t, 0, "", "{'ok': true}");
  CHECK_INT(a.end, OND_STEP_UNREADABLE);
  CHECK_STR(a.words, "the answer does not tell \"id\" of the job");
  ond_buf_free(&a.job);
  a = read_step(&t, 0, "", "<html>");
  CHECK_INT(a.end, OND_STEP_UNREADABLE);
  ond_buf_free(&a.job);
  /* more than there is room for: what is kept stays what it was */
  snprintf(long_answer, sizeof(long_answer), "{'ok': true, 'id': '%0*d'}", 2000, 7);
  a = read_step(&t, 0, "Location: /jobs/7\r\n", long_answer);
  CHECK_INT(a.end, OND_STEP_UNREADABLE);
  CHECK_STR(a.words, "the answer has more to keep than there is room for");
  CHECK_INT(a.job.len, 0);
  ond_buf_free(&a.job);
  a = read_step(&t, 1, "", "{'s': 'going'}");
  CHECK_INT(a.end, OND_STEP_WAIT);
  ond_buf_free(&a.job);
  a = read_step(&t, 1, "", "{}");
  CHECK_INT(a.end, OND_STEP_WAIT);
  ond_buf_free(&a.job);
  a = read_step(&t, 1, "", "{'s': 'bad', 'error': 'broken'}");
  CHECK_INT(a.end, OND_STEP_FAILED);
  CHECK_STR(a.words, "broken");
  ond_buf_free(&a.job);
  a = read_step(&t, 1, "", "{'s': 'ok'}"); /* no errors: the step is left out, and needs nothing */
  CHECK_INT(a.end, OND_STEP_DONE);
  CHECK_INT(a.next, 3);
  ond_buf_free(&a.job);
  case_close(&t);
}

typedef struct CapturedUrl {
  const char *captured, *url, *headers;
} CapturedUrl;

static void check_captured_urls(const char *scheme, const CapturedUrl *cases, size_t n) {
  Case t = {0};
  char object[1000];
  OndConnectorSource source = {.connector = "x", .object = "o"};
  static const char *const KEYS[] = {"id"};

  snprintf(object, sizeof(object),
           "{'title': 'x', 'base_url': '%s://api.example.com/v1', 'hosts': ['*.files.example.com'], 'headers': {'X-Version': '3'}, 'objects': {'o': {'upsert': {"
           "'batch': {'rows': 5}, 'steps': [" CREATE ",{'name': 'up', 'method': 'PUT', 'url': '{{job.id}}', 'headers': {'X-Part': '1'}, 'encoding': 'csv'}]}}}}",
           scheme);
  source.document = case_bytes(case_json(&t, object));
  t.c = ond_connector_parse(&source, &t.err);
  if (!CHECK(t.c != NULL) || !CHECK(ond_connector_bind(t.c, OND_MODE_UPSERT, 1, KEYS, &t.err))) {
    unit_note("%s %s", t.err.pointer, t.err.message);
    return;
  }
  t.o = ond_connector_operation(t.c, OND_OP_CREATE);
  t.arena = ond_arena_create();
  case_row(&t, 0, "1", "{\"a\":1}");
  for (size_t i = 0; i < n; i++) {
    bool ok = render_step(&t, 1, 1, cases[i].captured);

    if (!CHECK_INT(ok, cases[i].url != NULL)) {
      unit_note("%s from %s", cases[i].captured, scheme);
    }
    if (ok && cases[i].url) {
      CHECK_STR(t.request.url, cases[i].url);
      CHECK_INT(case_header(&t, "X-Version") != NULL, strstr(cases[i].headers, "X-Version") != NULL);
      CHECK_STR(case_header(&t, "X-Part"), "1");
    }
  }
  case_close(&t);
}

TEST(captured_urls_stay_at_their_hosts) {
  static const CapturedUrl CASES[] = {
      {"{'id': '/v1/jobs/7?a=b'}", "https://api.example.com/v1/jobs/7?a=b", "X-Version X-Part"},
      {"{'id': 'https://api.example.com/other'}", "https://api.example.com/other", "X-Version X-Part"},
      {"{'id': 'https://a.files.example.com/x?sig=1'}", "https://a.files.example.com/x?sig=1", "X-Part"},
      {"{'id': 'https://files.example.com.evil.org/x'}", NULL, NULL},
      {"{'id': '//evil.org/x'}", NULL, NULL},
      {"{'id': 'http://api.example.com/x'}", NULL, NULL},
      {"{'id': 'https://api.example.com@evil.org/'}", NULL, NULL},
      {"{'id': 7}", NULL, NULL},
  };

  check_captured_urls("https", CASES, sizeof(CASES) / sizeof(CASES[0]));
}

/* What goes to a destination by https does not go on in the clear because an answer says so. */
TEST(captured_urls_do_not_leave_https) {
  static const CapturedUrl CASES[] = {
      {"{'id': 'http://a.files.example.com/x?sig=1'}", NULL, NULL},
      {"{'id': 'Http://a.files.example.com/x?sig=1'}", NULL, NULL},
      {"{'id': 'HTTPS://a.files.example.com/x'}", "HTTPS://a.files.example.com/x", "X-Part"},
  };
  static const CapturedUrl PLAIN[] = {
      {"{'id': 'http://a.files.example.com/x'}", "http://a.files.example.com/x", "X-Part"},
      {"{'id': 'https://a.files.example.com/x'}", "https://a.files.example.com/x", "X-Part"},
  };

  check_captured_urls("https", CASES, sizeof(CASES) / sizeof(CASES[0]));
  check_captured_urls("http", PLAIN, sizeof(PLAIN) / sizeof(PLAIN[0]));
}

TEST(a_path_takes_what_was_captured_as_one_piece) {
  Case t;

  if (!CHECK(case_open(&t, JOB(CREATE "," POLL), OND_OP_CREATE))) {
    return;
  }
  case_row(&t, 0, "1", "{\"a\":1}");
  CHECK(render_step(&t, 1, 1, "{'id': 'a/../b'}"));
  CHECK_STR(t.request.url, CASE_URL "/jobs/a%2F..%2Fb");
  CHECK(!render_step(&t, 1, 1, "{'id': '..'}"));
  CHECK(!render_step(&t, 1, 1, "{}"));
  CHECK(render_step(&t, 0, 1, NULL));
  CHECK_STR(case_header(&t, "Idempotency-Key"), "k");
  CHECK(render_step(&t, 1, 1, "{'id': 1}"));
  CHECK(case_header(&t, "Idempotency-Key") == NULL);
  case_close(&t);
}

/* ---- CSV ---- */

static const char *csv_of(Case *t, int n) {
  static char text[4096];

  if (!case_render(t, n)) {
    snprintf(text, sizeof(text), "bad row %d: %s", t->bad_row, t->err.message);
    return text;
  }
  snprintf(text, sizeof(text), "%s", t->request.body.data);
  return text;
}

TEST(rows_become_csv) {
  Case t;

  if (CHECK(case_open(&t, CSV(""), OND_OP_CREATE))) {
    case_row(&t, 0, "1", "{\"id\": 1, \"name\": \"a,b\", \"note\": null, \"on\": true}");
    case_row(&t, 1, "2", "{\"id\": 2.50, \"name\": \"\", \"on\": false, \"more\": {\"x\": [1, 2], \"y\": \"z\"}}");
    case_row(&t, 2, "3", "{\"id\": \"3\", \"name\": \"say \\\"hi\\\"\\r\\nthere \\u00e9\", \"note\": \" blank\"}");
    CHECK_STR(csv_of(&t, 3), "id,name,note,on,more.x,more.y\n"
                "1,\"a,b\",,true,,\n"
                "2.50,\"\",,false,\"[1,2]\",z\n"
                "3,\"say \"\"hi\"\"\r\nthere \xC3\xA9\",\" blank\",,,\n");
    CHECK_STR(case_header(&t, "Content-Type"), "text/csv");
    case_row(&t, 1, "2", "{\"id\": \"\\u0000\"}");
    CHECK_STR(csv_of(&t, 2), "bad row 1: the row has a NUL character");
    case_close(&t);
  }
  if (CHECK(case_open(&t, CSV(", 'csv': {'columns': ['name', {'name': 'Id', 'value': '{{key}}'}, 'more.y'], 'delimiter': ';', 'line_ending': '\\r\\n'}"), OND_OP_CREATE))) {
    case_row(&t, 0, "\"k;1\"", "{\"name\": \"a,b\", \"more\": {\"y\": 5}}");
    case_row(&t, 1, "2", "{}");
    CHECK_STR(csv_of(&t, 2), "name;Id;more.y\r\na,b;\"k;1\";5\r\n;2;\r\n");
    case_close(&t);
  }
}

TEST(csv_keeps_limits) {
  Case t;

  if (CHECK(case_open(&t, "{'object': {'upsert': {'method': 'POST', 'encoding': 'csv', 'batch': {'rows': 5, 'bytes': 24, 'row_bytes': 12}}}}", OND_OP_CREATE))) {
    case_row(&t, 0, "1", "{\"name\":\"12345\"}");
    case_row(&t, 1, "2", "{\"name\":\"123456789\"}");
    CHECK_STR(csv_of(&t, 2), "name\n12345\n123456789\n");
    case_row(&t, 2, "3", "{\"name\":\"12345\"}");
    CHECK_STR(csv_of(&t, 3), "bad row -1: the request body is larger than 24 bytes");
    case_row(&t, 1, "2", "{\"name\":\"123456789012\"}");
    CHECK_STR(csv_of(&t, 2), "bad row 1: the row takes 13 bytes, the operation allows 12");
    case_row(&t, 0, "1", "{\"name\":null}");
    CHECK_STR(csv_of(&t, 1), "bad row 0: the row has no value for the only column of a csv");
    case_close(&t);
  }
}

TEST(csv_is_checked) {
  refused(CSV(", 'csv': {'delimiter': '\\n'}"), "/object/upsert/csv/delimiter", "one character");
  refused(CSV(", 'csv': {'line_ending': 'x'}"), "/object/upsert/csv/line_ending", "must be");
  refused(CSV(", 'csv': {'columns': []}"), "/object/upsert/csv/columns", "1 to 2000");
  refused(CSV(", 'csv': {'columns': [{'name': 'x'}]}"), "/object/upsert/csv/columns/0", "\"value\" is missing");
  refused(CSV(", 'body': '$fields'"), "/object/upsert/body", "the rows are the body");
  refused("{'object': {'upsert': {'method': 'PUT'}, 'delete': {'method': 'POST', 'encoding': 'csv', 'batch': {'rows': 5}}}}", "/object/delete", "\"csv\" is missing");
  refused("{'object': {'upsert': {'method': 'PUT', 'csv': {}}}}", "/object/upsert/csv", "encoding csv only");
}

/* Fates by a result in CSV; \x27 stays a quote because bodies turn single ones. */
static const char *csv_fates(const char *result, const char *body, int n) {
  static char fates[CASE_ROWS + 1];
  char options[600];
  Case t;

  snprintf(options, sizeof(options), "{'object': {'upsert': {'method': 'POST', 'batch': {'rows': 5}, 'body': ['$each', '$fields'], 'result': %s}}}", result);
  if (!case_open(&t, options, OND_OP_CREATE)) {
    return "not opened";
  }
  for (int i = 0; i < n; i++) {
    static char keys[CASE_ROWS][16];

    snprintf(keys[i], sizeof(keys[i]), "\"k%d\"", i);
    case_row(&t, i, keys[i], "{}");
  }
  case_read(&t, 200, body, n);
  snprintf(fates, sizeof(fates), "%s", case_fates(&t, n));
  for (int i = 0; i < n; i++) {
    fates[i] = t.results[i].silent ? '-' : fates[i];
  }
  case_close(&t);
  return fates;
}

TEST(results_in_csv) {
  static const char BY_KEY[] = "{'format': 'csv', 'match': {'key': '/Key'}, 'ok': {'path': '/Error', 'absent': true}, 'error': '/Error'}";
  static const char FAILED[] = "{'format': 'csv', 'match': {'key': '/Key'}, 'fate': 'refused', 'error': '/Error'}";
  static const char RETRY[] = "{'format': 'csv', 'match': {'key': '/Key'}, 'fate': 'retry'}";

  CHECK_STR(csv_fates(BY_KEY, "'Key','Error'\n'k0',\n'k1','no, ''never'''\n", 3), "AR-");
  CHECK_STR(csv_fates(BY_KEY, "\xEF\xBB\xBF" "Error,Key\r\n,k0\r\nno,k1", 3), "AR-");
  CHECK_STR(csv_fates(BY_KEY, "Key,Error\nk0,\nk1,no,more\nk2\n", 3), "A--");
  CHECK_STR(csv_fates(BY_KEY, "Key,Error\nk0,\n'k1,no\nk2,\n", 3), "A--");
  CHECK_STR(csv_fates(BY_KEY, "", 3), "---");
  CHECK_STR(csv_fates(BY_KEY, "Key,Error\nstranger,\n", 3), "---");
  CHECK_STR(csv_fates(FAILED, "Key,Error\nk0,\n", 3), "R--");
  CHECK_STR(csv_fates(RETRY, "Key\nk1\n", 3), "-T-");
  CHECK_STR(csv_fates("{'format': 'csv'}", "a\n1\n2\n3\n", 3), "AAA");
  CHECK_STR(csv_fates("{'format': 'csv'}", "a\n1\n2\n", 3), "???");
  CHECK_STR(csv_fates("{'format': 'lines', 'match': {'key': '/k'}, 'error': '/e', 'ok': {'path': '/e', 'absent': true}}", "{'k': 'k0'}\n{'k': 'k1', 'e': 'x'}\n", 3), "AR-");
}
