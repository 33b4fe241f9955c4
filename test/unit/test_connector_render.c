/*
 * test_connector_render.c - rows into requests: URL, headers, bodies, and rows that cannot be sent.
 */
#include "connector_case.h"

/* One row with this key and fields through an object: the URL and the body it gives. */
static void renders(const char *options, const char *key, const char *fields, const char *url, const char *body) {
  Case t;

  REQUIRE(case_open(&t, options, OND_OP_CREATE));
  case_row(&t, 0, key, fields);
  if (!CHECK(case_render(&t, 1))) {
    unit_note("%s: %s", options, t.err.message);
  } else {
    if (url) {
      CHECK_STR(t.request.url, url);
    }
    CHECK_STR(t.request.body.data, body);
  }
  case_close(&t);
}

/* The same, refused with these words. */
static void refuses(const char *options, const char *key, const char *fields, const char *words) {
  Case t;

  REQUIRE(case_open(&t, options, OND_OP_CREATE));
  case_row(&t, 0, key, fields);
  CHECK(!case_render(&t, 1));
  CHECK_INT(t.bad_row, 0);
  if (!CHECK(strstr(t.err.message, words) != NULL)) {
    unit_note("%s", t.err.message);
  }
  CHECK(t.request.url == NULL && t.request.n_headers == 0 && t.request.body.data == NULL);
  case_close(&t);
}

#define UPSERT(rest) "{'variables': {'v': 'a b', 'n': 12.50}, 'object': {'upsert': {'method': 'PUT'" rest "}}}"

TEST(the_default_is_a_post_of_the_fields) {
  Case t;

  REQUIRE(case_open(&t, "{'headers': {'X-Source': 'db'}}", OND_OP_CREATE));
  case_row(&t, 0, "1", "{\"a\": 1.10,\"b\":12345678901234567890.123}");
  REQUIRE(case_render(&t, 1));
  CHECK_STR(t.request.method, "POST");
  CHECK_STR(t.request.url, CASE_URL);
  CHECK_STR(t.request.body.data, "{\"a\": 1.10,\"b\":12345678901234567890.123}");
  CHECK_STR(case_header(&t, "Content-Type"), "application/json");
  CHECK_STR(case_header(&t, "Accept"), "application/json");
  CHECK_STR(case_header(&t, "Idempotency-Key"), "reqkey");
  CHECK_STR(case_header(&t, "X-Source"), "db");
  CHECK_INT(t.request.n_headers, 4);
  CHECK_INT(t.request.timeout_ms, 30000);
  CHECK_INT(t.request.connect_timeout_ms, 10000);
  CHECK(!t.request.gzip);
  case_close(&t);
}

static const char *base_url(const char *base, const char *path) {
  static char url[200];
  static const OndRenderContext context = {.run_id = 1, .idempotency_key = "k"};
  OndConnector *c;
  OndHttpRequest request;
  static OndError err;
  OndRow row = {.fields = OND_BYTES_LIT("{}")};
  const OndRow *rows[] = {&row};
  char options[200];
  int bad;

  snprintf(options, sizeof(options), "{\"object\": {\"upsert\": {\"method\": \"POST\", \"path\": \"%s\"}}}", path);
  c = case_http(base, options, &err);
  if (!c) {
    return err.message;
  }
  if (!ond_connector_render(c, ond_connector_operation(c, OND_OP_CREATE), rows, 1, &context, &request, &bad, &err)) {
    ond_connector_free(c);
    return err.message;
  }
  snprintf(url, sizeof(url), "%s", request.url);
  ond_http_request_free(&request);
  ond_connector_free(c);
  return url;
}

TEST(paths_join_the_base_url) {
  CHECK_STR(base_url("https://h", ""), "https://h");
  CHECK_STR(base_url("https://h/", ""), "https://h/");
  CHECK_STR(base_url("https://h", "/a"), "https://h/a");
  CHECK_STR(base_url("https://h/", "/a"), "https://h/a");
  CHECK_STR(base_url("https://h/v1//", "/a/"), "https://h/v1/a/");
  CHECK_STR(base_url("https://h:8443/v1", "/"), "https://h:8443/v1/");
  CHECK_STR(base_url("https://h/hook?token=x", ""), "https://h/hook?token=x");
  CHECK_STR(base_url("https://h/hook/?a=1", "/b?c=2&d=3"), "https://h/hook/b?a=1&c=2&d=3");
  CHECK_STR(base_url("https://h/hook?", "/b"), "https://h/hook/b");
}

TEST(path_values_are_encoded) {
  static const char PATH[] = UPSERT(", 'path': '/c/{{key}}/x'");

  renders(PATH, "12", "{}", CASE_URL "/c/12/x", "{}");
  renders(PATH, "\"a/b\"", "{}", CASE_URL "/c/a%2Fb/x", "{}");
  renders(PATH, "\"a?b#c&d=e%\"", "{}", CASE_URL "/c/a%3Fb%23c%26d%3De%25/x", "{}");
  renders(PATH, "\"\\u00e9 \\\"\"", "{}", CASE_URL "/c/%C3%A9%20%22/x", "{}");
  renders(PATH, "\"..a\"", "{}", CASE_URL "/c/..a/x", "{}");
  renders(PATH, "\"../..\"", "{}", CASE_URL "/c/..%2F../x", "{}");
  renders(PATH, "\"@evil.example\"", "{}", CASE_URL "/c/%40evil.example/x", "{}");
  renders(PATH, "\"a\\r\\nHost: b\"", "{}", CASE_URL "/c/a%0D%0AHost%3A%20b/x", "{}");
  renders(UPSERT(", 'path': '/{{key|upper}}.json'"), "\"a\"", "{}", CASE_URL "/A.json", "{}");
  renders(UPSERT(", 'path': '/{{key|lower|trim|md5}}'"), "\" Ann@Example.com \"", "{}", CASE_URL "/257c57037d384ae37ea27a07e8a01665", "{}");
}

TEST(path_pieces_that_lead_elsewhere_are_refused) {
  static const char PATH[] = UPSERT(", 'path': '/c/{{key}}'");

  refuses(PATH, "\"\"", "{}", "a piece of the path is empty");
  refuses(PATH, "\".\"", "{}", "a piece of the path is \".\"");
  refuses(PATH, "\"..\"", "{}", "a piece of the path is \"..\"");
  refuses(PATH, "\"\\u002e.\"", "{}", "a piece of the path is \"..\"");
  refuses(UPSERT(", 'path': '/c/.{{key}}'"), "\".\"", "{}", "a piece of the path is \"..\"");
  refuses(UPSERT(", 'path': '/c/{{key|trim}}/y'"), "\"  \"", "{}", "a piece of the path is empty");
  refuses(PATH, "\"a\\u0000b\"", "{}", "NUL");
  refuses(PATH, "\"\\ud800\"", "{}", "not Unicode");
}

TEST(missing_values_are_errors) {
  refuses(UPSERT(", 'path': '/c/{{key}}'"), NULL, "{}", "{{key}} has no value");
  refuses(UPSERT(", 'path': '/c/{{key}}'"), "null", "{}", "{{key}} is null");
  refuses(UPSERT(", 'body': {'a': '{{email}}'}"), "1", "{}", "{{email}} has no value");
  refuses(UPSERT(", 'body': {'a': 'x{{email}}'}"), "1", "{}", "{{email}} has no value");
  refuses(UPSERT(", 'headers': {'A': '{{remote_id}}'}"), "1", "{}", "{{remote_id}} has no value");
  refuses(UPSERT(", 'query': {'a': '{{remote.v}}'}"), "1", "{}", "{{remote.v}} has no value");
  refuses(UPSERT(""), "1", NULL, "no mapped fields");
  refuses(UPSERT(", 'body': {'a': '{{key|epoch}}'}"), "\"soon\"", "{}", "");
}

TEST(values_keep_their_json_type) {
  Case t;
  OndRow *row;

  REQUIRE(case_open(&t,
                    UPSERT(", 'body': {'k': '{{key}}', 'n': '{{num}}', 'o': '{{obj}}', 's': 'n={{num}} o={{obj}} t={{txt}}', 'r': "
                           "'{{remote_id}}', 'v': '{{remote.ver}}',"
                           " 'x': '{{var.v}}{{var.n}}', 'y': '{{var.n}}', 'run': '{{run_id}}', 'op': '{{operation}}', 'i': "
                           "'{{idempotency_key}}', 'f': '{{txt|json}}'}"),
                    OND_OP_CREATE));
  row = case_row(&t, 0, "\"k\\\"1\"", "{}");
  t.columns[0][0] = case_bytes("1.50");
  t.columns[0][1] = case_bytes(" { \"a\" : [ 1 ] } ");
  t.columns[0][2] = case_bytes("\"q\\\" \\u00e9\"");
  row->remote_id = case_bytes("r\"1");
  row->remote = case_bytes("{\"ver\": 7, \"etag\": \"x\"}");
  REQUIRE(case_render(&t, 1));
  CHECK_STR(
      t.request.body.data,
      "{\"k\":\"k\\\"1\",\"n\":1.50,\"o\":{ \"a\" : [ 1 ] },\"s\":\"n=1.50 o={\\\"a\\\":[1]} t=q\\\" \\u00e9\",\"r\":\"r\\\"1\",\"v\":7,"
      "\"x\":\"a b12.50\",\"y\":12.50,\"run\":77,\"op\":\"upsert\",\"i\":\"reqkey\",\"f\":\"\\\"q\\\\\\\" \xC3\xA9\\\"\"}");
  case_close(&t);
}

TEST(fields_are_spliced_or_split) {
  static const char FIELDS[] = "{\"a\": 1.0, \"b\":\"x\",\"c\":{\"d\":[1,2]}, \"e\":null}";

  renders(UPSERT(""), "1", FIELDS, NULL, FIELDS);
  renders(UPSERT(", 'body': {'data': {'attributes': '$fields'}}"), "1", FIELDS, NULL,
          "{\"data\":{\"attributes\":{\"a\": 1.0, \"b\":\"x\",\"c\":{\"d\":[1,2]}, \"e\":null}}}");
  renders(UPSERT(", 'body': {'$fields': {'omit': ['a', 'c', 'zz']}}"), "1", FIELDS, NULL, "{\"b\":\"x\",\"e\":null}");
  renders(UPSERT(", 'body': {'$fields': {'only': ['c', 'a', 'zz']}}"), "1", FIELDS, NULL, "{\"a\":1.0,\"c\":{\"d\":[1,2]}}");
  renders(UPSERT(", 'body': {'$fields': {'only': []}}"), "1", FIELDS, NULL, "{}");
  renders(UPSERT(", 'body': {'$fields': {'omit': []}}"), "1", "{\"a\":1}", NULL, "{\"a\":1}");
  renders(UPSERT(", 'body': {'$merge': ['$fields', {'b': '{{key}}', 'z': true}]}"), "1", FIELDS, NULL,
          "{\"a\":1.0,\"c\":{\"d\":[1,2]},\"e\":null,\"b\":1,\"z\":true}");
  renders(UPSERT(", 'body': {'$merge': [{'b': 0, 'y': 1}, '$fields']}"), "1", FIELDS, NULL,
          "{\"y\":1,\"a\":1.0,\"b\":\"x\",\"c\":{\"d\":[1,2]},\"e\":null}");
  renders(UPSERT(", 'body': {'x': {'$merge': [{'$merge': [{'a': 1}, {'a': 2, 'b': 1}]}, {'$fields': {'only': ['b']}}]}, 'y': 1}"), "1",
          FIELDS, NULL, "{\"x\":{\"a\":2,\"b\":\"x\"},\"y\":1}");
  renders(UPSERT(", 'body': {'$merge': ['$fields', '$fields']}"), "1", "{\"caf\\u00e9\":1,\"caf\xC3\xA9\":2}", NULL, "{\"caf\xC3\xA9\":2}");
  renders(UPSERT(", 'body': {'$merge': ['$fields']}"), "1", "{}", NULL, "{}");
  refuses(UPSERT(", 'body': {'$merge': ['$fields', '{{key}}']}"), "1", "{}", "not an object");
  renders(UPSERT(", 'body': {'$merge': ['$fields', '{{key}}']}"), "{\"k\":[1]}", "{\"a\":2}", NULL, "{\"a\":2,\"k\":[1]}");
  refuses(UPSERT(", 'body': {'$fields': {'only': ['x']}}"), "1", "{\"a\":1", "not well-formed");
}

TEST(literals_stay_as_they_are) {
  renders(UPSERT(", 'body': {'$set': {'$token': '$x', 'n': 1.10, 'big': 123456789012345678901234567890, 'l': [true, null, [], {}], 'q': "
                 "'a\\nb/\\u00e9'}}"),
          "1", "{}", NULL,
          "{\"$set\":{\"$token\":\"$x\",\"n\":1.10,\"big\":123456789012345678901234567890,\"l\":[true,null,[],{}],\"q\":\"a\\u000ab/"
          "\xC3\xA9\"}}");
  renders(UPSERT(", 'body': ['{{key}}', 'n{{key}}']"), "5", "{}", NULL, "[5,\"n5\"]");
  renders(UPSERT(", 'body': {'p{{key}}': 1}"), "\"\\\"\"", "{}", NULL, "{\"p\\\"\":1}");
  renders(UPSERT(", 'body': 5"), "1", "{}", NULL, "5");
  renders(UPSERT(", 'body': null"), "1", "{}", NULL, NULL);
  /* A value is never expanded again. */
  renders(UPSERT(", 'body': {'a': '{{key}} {{key}}'}"), "\"{{run_id}}\"", "{}", NULL, "{\"a\":\"{{run_id}} {{run_id}}\"}");
}

/* ---- batches ---- */

static const char HUBSPOT[] =
    "{'rate_limit': ['100/10s'], 'concurrency': 4, 'check': {'method': 'GET', 'path': '/crm/v3/objects/contacts?limit=1'},"
    " 'object': {"
    "   'key': 'email',"
    "   'upsert': {'method': 'POST', 'path': '/crm/v3/objects/contacts/batch/upsert', 'batch': {'rows': 100},"
    "     'body': {'inputs': ['$each', {'id': '{{key}}', 'idProperty': 'email', 'properties': '$fields'}]},"
    "     'result': {'rows': '/results', 'match': {'key': '/properties/email'}, 'id': '/id',"
    "                'errors': {'rows': '/errors', 'keys': '/context/id', 'message': '/message', 'code': '/category'}}},"
    "   'delete': {'method': 'POST', 'path': '/crm/v3/objects/contacts/batch/archive', 'batch': {'rows': 100},"
    "     'body': {'inputs': ['$each', {'id': '{{remote_id}}'}]}}}}";

TEST(the_hubspot_example_works) {
  Case t;

  REQUIRE(case_open(&t, HUBSPOT, OND_OP_CREATE));
  case_row(&t, 0, "\"a@x\"", "{\"plan\":\"pro\"}");
  case_row(&t, 1, "\"b@x\"", "{\"plan\":null}");
  REQUIRE(case_render(&t, 2));
  CHECK_STR(t.request.url, CASE_URL "/crm/v3/objects/contacts/batch/upsert");
  CHECK_STR(t.request.body.data, "{\"inputs\":[{\"id\":\"a@x\",\"idProperty\":\"email\",\"properties\":{\"plan\":\"pro\"}},"
                                 "{\"id\":\"b@x\",\"idProperty\":\"email\",\"properties\":{\"plan\":null}}]}");
  CHECK(ond_operation_info(t.o)->reads_rows);
  CHECK_INT(ond_operation_info(t.o)->batch_rows, 100);

  case_read(&t, 200,
            "{'status': 'COMPLETE', 'results': [{'id': '51', 'properties': {'email': 'b@x'}}], 'numErrors': 1,"
            " 'errors': [{'category': 'VALIDATION_ERROR', 'message': 'plan is not valid', 'context': {'id': ['a@x']}}]}",
            2);
  CHECK_STR(case_fates(&t, 2), "RA");
  CHECK_STR(t.results[0].message, "plan is not valid");
  CHECK_STR(t.results[1].remote_id, "51");
  CHECK_STR(t.results[1].message, NULL);

  t.o = ond_connector_operation(t.c, OND_OP_DELETE);
  t.rows[0].remote_id = case_bytes("50");
  t.rows[1].remote_id = case_bytes("51");
  REQUIRE(case_render(&t, 2));
  CHECK_STR(t.request.body.data, "{\"inputs\":[{\"id\":\"50\"},{\"id\":\"51\"}]}");
  CHECK(!ond_operation_info(t.o)->reads_rows);
  case_read(&t, 204, "", 2);
  CHECK_STR(case_fates(&t, 2), "AA");

  ond_http_request_free(&t.request);
  CHECK(ond_connector_render_check(t.c, &t.request, &t.err));
  CHECK_STR(t.request.url, CASE_URL "/crm/v3/objects/contacts?limit=1");
  CHECK_STR(t.request.method, "GET");
  CHECK(t.request.body.data == NULL && !case_header(&t, "Content-Type") && !case_header(&t, "Idempotency-Key"));
  case_close(&t);
}

/* The body of three rows with keys 1, 2, 3 and fields {"a":1}, … */
static const char *batch_body(const char *options) {
  static char out[1000];
  static const char *const KEYS[] = {"1", "2", "3"};
  static const char *const FIELDS[] = {"{\"a\":1}", "{\"a\":\n2}", "{\"a\":3}"};
  Case t;

  if (!case_open(&t, options, OND_OP_CREATE)) {
    return NULL;
  }
  for (int i = 0; i < 3; i++) {
    case_row(&t, i, KEYS[i], FIELDS[i]);
  }
  snprintf(out, sizeof(out), "%s", case_render(&t, 3) ? t.request.body.data : t.err.message);
  case_close(&t);
  return out;
}

#define BATCH(rest) "{'object': {'upsert': {'method': 'POST', 'batch': {'rows': 10}" rest "}}}"

TEST(batches_repeat) {
  CHECK_STR(batch_body(BATCH("")), "[{\"a\":1},{\"a\":\n2},{\"a\":3}]");
  CHECK_STR(batch_body(BATCH(", 'body': ['$each', {'action': 'add'}, {'$fields': {'only': ['a']}}]")),
            "[{\"action\":\"add\"},{\"a\":1},{\"action\":\"add\"},{\"a\":2},{\"action\":\"add\"},{\"a\":3}]");
  CHECK_STR(batch_body(BATCH(", 'body': {'documents': {'$each': {'{{key}}': {'$fields': {'omit': []}}}}, 'n': 1}")),
            "{\"documents\":{\"1\":{\"a\":1},\"2\":{\"a\":\n2},\"3\":{\"a\":3}},\"n\":1}");
  CHECK_STR(batch_body(BATCH(", 'body': {'keys': ['$each', '{{key}}'], 'rows': ['$each', ['{{key}}', 'x']], 'r': '{{run_id}}'}")),
            "{\"keys\":[1,2,3],\"rows\":[[1,\"x\"],[2,\"x\"],[3,\"x\"]],\"r\":77}");
  CHECK_STR(batch_body(BATCH(", 'body': {'$each': {'x': {'$each': 1}}}")), NULL);
}

TEST(names_of_a_map_must_differ) {
  Case t;

  REQUIRE(case_open(&t, BATCH(", 'body': {'$each': {'{{key|lower}}': 1}}"), OND_OP_CREATE));
  case_row(&t, 0, "\"A\"", "{}");
  case_row(&t, 1, "\"b\"", "{}");
  case_row(&t, 2, "\"a\"", "{}");
  CHECK(!case_render(&t, 3));
  CHECK_INT(t.bad_row, 2);
  CHECK_STR(t.err.message, "two rows of one request have the same member name \"a\"");
  CHECK(case_render(&t, 2));
  CHECK_STR(t.request.body.data, "{\"a\":1,\"b\":1}");
  case_close(&t);
}

TEST(lines_hold_no_line_breaks) {
  CHECK_STR(batch_body(BATCH(", 'encoding': 'ndjson'")), "{\"a\":1}\n{\"a\": 2}\n{\"a\":3}\n");
  CHECK_STR(batch_body(BATCH(", 'encoding': 'ndjson', 'body': {'k': '{{key}}', 'f': '$fields'}")),
            "{\"k\":1,\"f\":{\"a\":1}}\n{\"k\":2,\"f\":{\"a\": 2}}\n{\"k\":3,\"f\":{\"a\":3}}\n");
  CHECK_STR(batch_body(BATCH(", 'encoding': 'ndjson', 'body': ['$each', {'index': {'_id': 'x{{key}}'}}, '$fields']")),
            "{\"index\":{\"_id\":\"x1\"}}\n{\"a\":1}\n{\"index\":{\"_id\":\"x2\"}}\n{\"a\": 2}\n{\"index\":{\"_id\":\"x3\"}}\n{\"a\":3}\n");
}

TEST(idempotency_keys_travel_as_told) {
  Case t;

  CHECK_STR(batch_body(BATCH(", 'idempotency': {'item': 'messageId'}")),
            "[{\"a\":1,\"messageId\":\"aaaa\"},{\"a\":2,\"messageId\":\"bbbb\"},{\"a\":3,\"messageId\":\"cccc\"}]");
  CHECK_STR(batch_body(BATCH(", 'idempotency': {'item': 'i'}, 'body': {'b': ['$each', {'i': 'old', 'k': '{{key}}'}]}")),
            "{\"b\":[{\"k\":1,\"i\":\"aaaa\"},{\"k\":2,\"i\":\"bbbb\"},{\"k\":3,\"i\":\"cccc\"}]}");
  CHECK_STR(batch_body(BATCH(", 'idempotency': {'field': '/batch_id'}, 'body': {'b': ['$each', '{{key}}']}")),
            "{\"b\":[1,2,3],\"batch_id\":\"reqkey\"}");
  CHECK_STR(batch_body(BATCH(", 'body': {'b': ['$each', '{{idempotency_key}}'], 'all': '{{idempotency_key}}'}")),
            "{\"b\":[\"aaaa\",\"bbbb\",\"cccc\"],\"all\":\"reqkey\"}");
  renders(UPSERT(", 'idempotency': {'field': '/id'}"), "1", "{\"id\":5,\"a\":1}", NULL, "{\"a\":1,\"id\":\"reqkey\"}");
  REQUIRE(case_open(&t, UPSERT(", 'idempotency': false"), OND_OP_CREATE));
  case_row(&t, 0, "1", "{}");
  REQUIRE(case_render(&t, 1));
  CHECK_STR(case_header(&t, "Idempotency-Key"), NULL);
  case_close(&t);
  REQUIRE(case_open(&t, UPSERT(", 'idempotency': {'header': 'X-Request-Id'}"), OND_OP_CREATE));
  case_row(&t, 0, "1", "{}");
  REQUIRE(case_render(&t, 1));
  CHECK_STR(case_header(&t, "Idempotency-Key"), NULL);
  CHECK_STR(case_header(&t, "X-Request-Id"), "reqkey");
  case_close(&t);
}

/* ---- query, headers, forms ---- */

TEST(queries_are_encoded) {
  Case t;

  renders(UPSERT(", 'path': '/x?limit=1&k={{key}}', 'query': {'a[b]': '{{key}}&{{var.v}}', 'n': 10, 't': true}"), "\"x=y z\"", "{}",
          CASE_URL "/x?limit=1&k=x%3Dy%20z&a%5Bb%5D=x%3Dy%20z%26a%20b&n=10&t=true", "{}");
  REQUIRE(case_open(&t,
                    "{'object': {'upsert': {'method': 'POST'}, 'delete': {'method': 'DELETE', 'path': '/x', 'batch': {'rows': 3},"
                    " 'query': {'records[]': ['$each', '{{remote_id}}'], 'ids': {'join': ',', 'each': '{{key}}'}, 'all': 'false'}}}}",
                    OND_OP_DELETE));
  for (int i = 0; i < 3; i++) {
    case_row(&t, i, i == 0 ? "\"a,b\"" : "7", NULL)->remote_id = case_bytes(i == 1 ? "r&1" : "r0");
  }
  REQUIRE(case_render(&t, 3));
  CHECK_STR(t.request.url, CASE_URL "/x?records%5B%5D=r0&records%5B%5D=r%261&records%5B%5D=r0&ids=a%2Cb,7,7&all=false");
  CHECK(t.request.body.data == NULL && !case_header(&t, "Content-Type"));
  CHECK_STR(case_header(&t, "Idempotency-Key"), "reqkey");
  t.rows[1].remote_id = OND_BYTES_NONE;
  CHECK(!case_render(&t, 3));
  CHECK_INT(t.bad_row, 1);
  case_close(&t);
}

TEST(long_urls_ask_for_smaller_batches) {
  static char id[50000];
  Case t;

  memset(id, 'x', sizeof(id) - 1);
  REQUIRE(case_open(&t,
                    "{'object': {'upsert': {'method': 'POST'}, 'delete': {'method': 'DELETE', 'batch': {'rows': 3}, 'query': {'ids': "
                    "{'each': '{{remote_id}}'}}}}}",
                    OND_OP_DELETE));
  case_row(&t, 0, "1", NULL)->remote_id = case_bytes(id);
  case_row(&t, 1, "2", NULL)->remote_id = case_bytes(id);
  CHECK(!case_render(&t, 2));
  CHECK_INT(t.bad_row, -1);
  CHECK(case_render(&t, 1));
  case_close(&t);
}

TEST(header_values_are_checked) {
  Case t;

  REQUIRE(case_open(&t,
                    "{'headers': {'X-A': 'one', 'X-V': '{{var.v}}'}, 'variables': {'v': 'vv'}, 'object': {'upsert': {'method': 'PUT', "
                    "'headers': {'x-a': '{{key}}', 'Accept': 'text/plain'},"
                    " 'content_type': 'application/vnd.api+json'}}}",
                    OND_OP_CREATE));
  case_row(&t, 0, "\"two\"", "{}");
  REQUIRE(case_render(&t, 1));
  CHECK_STR(case_header(&t, "x-a"), "two");
  CHECK_STR(case_header(&t, "X-A"), NULL);
  CHECK_STR(case_header(&t, "X-V"), "vv");
  CHECK_STR(case_header(&t, "Accept"), "text/plain");
  CHECK_STR(case_header(&t, "Content-Type"), "application/vnd.api+json");
  case_row(&t, 0, "\"two\\r\\nX-Evil: 1\"", "{}");
  CHECK(!case_render(&t, 1));
  CHECK_INT(t.bad_row, 0);
  case_row(&t, 0, "\"two\\u0000\"", "{}");
  CHECK(!case_render(&t, 1));
  case_row(&t, 0, "\"two\\u0007\"", "{}");
  CHECK(!case_render(&t, 1));
  case_close(&t);
}

TEST(forms_are_rendered) {
  Case t;

  renders(UPSERT(", 'encoding': 'form'"), "1", "{\"email\":\"a b@x\",\"metadata\":{\"ext\":1.50},\"l\":[1,\"&\"],\"n\":null}", NULL,
          "email=a+b%40x&metadata%5Bext%5D=1.50&l%5B0%5D=1&l%5B1%5D=%26&n=");
  renders(UPSERT(", 'encoding': 'form', 'body': {'$merge': ['$fields', {'k': '{{key|json}}'}]}"), "\"x\"", "{\"a\":1}", NULL,
          "a=1&k=%22x%22");
  REQUIRE(case_open(&t, UPSERT(", 'encoding': 'form'"), OND_OP_CREATE));
  case_row(&t, 0, "1", "{\"a\":1}");
  REQUIRE(case_render(&t, 1));
  CHECK_STR(case_header(&t, "Content-Type"), "application/x-www-form-urlencoded");
  case_close(&t);
}

/* ---- limits ---- */

TEST(bodies_have_limits) {
  Case t;

  REQUIRE(case_open(
      &t, "{'gzip': {'min_bytes': 20}, 'object': {'upsert': {'method': 'POST', 'batch': {'rows': 5, 'bytes': 30, 'row_bytes': 20}}}}",
      OND_OP_CREATE));
  for (int i = 0; i < 4; i++) {
    case_row(&t, i, "1", "{\"a\":12345}"); /* 11 bytes */
  }
  CHECK(case_render(&t, 2)); /* [11,11] is 25 */
  CHECK(t.request.gzip);
  CHECK(!case_render(&t, 3));
  CHECK_INT(t.bad_row, -1);
  CHECK(case_render(&t, 1));
  CHECK(!t.request.gzip);
  case_row(&t, 1, "1", "{\"a\":12345678901234567890}");
  CHECK(!case_render(&t, 2));
  CHECK_INT(t.bad_row, 1);
  CHECK(strstr(t.err.message, "the row takes") != NULL);
  case_row(&t, 0, "1", "{\"a\":1,             \"b\":1234567890}");
  CHECK(!case_render(&t, 1));
  CHECK_INT(t.bad_row, 0);
  case_close(&t);

  REQUIRE(case_open(&t, "{'object': {'upsert': {'method': 'POST', 'batch': {'rows': 1, 'row_bytes': 5}}}}", OND_OP_CREATE));
  case_row(&t, 0, "1", "{\"a\":12345}");
  CHECK(!case_render(&t, 1));
  CHECK_INT(t.bad_row, 0);
  case_close(&t);

  /* What a merge writes on the way does not count. */
  REQUIRE(case_open(
      &t, "{'object': {'upsert': {'method': 'POST', 'batch': {'rows': 1, 'bytes': 12}, 'body': {'$merge': ['$fields', {'a': 1}]}}}}",
      OND_OP_CREATE));
  case_row(&t, 0, "1", "{\"a\":12345}");
  CHECK(case_render(&t, 1));
  CHECK_STR(t.request.body.data, "{\"a\":1}");
  case_close(&t);
}

TEST(composite_keys_are_named_by_column) {
  static const char *const KEYS[] = {"tenant", "id"};
  Case t;

  memset(&t, 0, sizeof(t));
  REQUIRE(case_parse(&t, "{'object': {'upsert': {'method': 'PUT', 'path': '/{{key.tenant}}/{{key.id}}', 'body': {'i': '{{key.id}}'}}}}"));
  REQUIRE(ond_connector_bind(t.c, OND_MODE_UPSERT, 2, KEYS, &t.err));
  t.o = ond_connector_operation(t.c, OND_OP_UPDATE);
  case_row(&t, 0, "\"t/1\"", "{}");
  t.keys[0][1] = case_bytes("5");
  t.rows[0].n_keys = 2;
  REQUIRE(case_render(&t, 1));
  CHECK_STR(t.request.url, CASE_URL "/t%2F1/5");
  CHECK_STR(t.request.body.data, "{\"i\":5}");
  case_close(&t);
}

static OndConnector *auth_connector(const char *operation, OndError *err) {
  char options[512];

  snprintf(options, sizeof(options), "{\"object\": {\"upsert\": %s}}", operation);
  return ond_connector_parse(&(OndConnectorSource){.connector = "http", .base_url = "https://api.test", .options = {options, strlen(options)}}, err);
}

/* {{auth.name}} is looked up when a request is rendered, in body, headers and query. */
TEST(render_puts_auth_values_in_place) {
  static const char AUTH[] = "{\"type\": \"none\", \"values\": {\"api_key\": {\"secret\": \"x\"}}}";
  OndError err = {0};
  OndConnector *c = auth_connector("{\"method\": \"POST\", \"path\": \"/x\", \"query\": {\"k\": \"{{auth.api_key}}\"}, \"headers\": {\"X-K\": \"K {{auth.api_key}}\"}, "
                                   "\"body\": {\"key\": \"{{auth.api_key}}\", \"text\": \"a{{auth.api_key}}\"}}", &err);
  OndAuth *auth = ond_auth_parse(AUTH, sizeof(AUTH) - 1, &err);
  OndBytes key = OND_BYTES_LIT("1");
  OndRow row = {.op = OND_OP_CREATE, .fields = OND_BYTES_LIT("{}"), .n_keys = 1, .keys = &key, .idempotency_key = "k"};
  const OndRow *rows = &row;
  const char *names[] = {"id"};
  OndRenderContext context = {.run_id = 1, .idempotency_key = "0123456789abcdef0123456789abcdef"};
  OndHttpRequest r;
  int bad = -1;

  REQUIRE(c && auth);
  CHECK(ond_connector_check_auth(c, auth, &err));
  CHECK(!ond_connector_check_auth(c, NULL, &err));
  CHECK(strstr(err.message, "{{auth.api_key}}") != NULL && strstr(err.hint, "values") != NULL);
  REQUIRE(ond_connector_bind(c, OND_MODE_UPSERT, 1, names, &err));
  CHECK(!ond_connector_render(c, ond_connector_operation(c, OND_OP_CREATE), &rows, 1, &context, &r, &bad, &err));
  CHECK(strstr(err.message, "is not resolved") != NULL);
  ond_connector_use_auth(c, auth);
  CHECK(!ond_connector_render(c, ond_connector_operation(c, OND_OP_CREATE), &rows, 1, &context, &r, &bad, &err));
  auth->items[0].value = ond_strdup("p\"w");
  CHECK(ond_connector_render(c, ond_connector_operation(c, OND_OP_CREATE), &rows, 1, &context, &r, &bad, &err));
  CHECK_STR(r.url, "https://api.test/x?k=p%22w");
  CHECK_STR(r.body.data, "{\"key\":\"p\\\"w\",\"text\":\"ap\\\"w\"}");
  CHECK_STR(r.id, context.idempotency_key);
  ond_http_request_free(&r);
  ond_connector_free(c);
  ond_auth_free(auth);
}

TEST(parse_keeps_auth_values_out_of_paths) {
  OndError err = {0};

  CHECK(!auth_connector("{\"method\": \"POST\", \"path\": \"/x/{{auth.api_key}}\"}", &err));
  CHECK(strstr(err.message, "cannot stand in a path") != NULL);
}
