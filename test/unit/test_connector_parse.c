/*
 * test_connector_parse.c - descriptions: what is valid, and what an invalid one is told, with the place.
 */
#include "connector_case.h"

/* Parses; checks that it fails there, with these words in message and hint (NULL: any). */
static void fails(const char *options, const char *pointer, const char *message, const char *hint) {
  Case t = {0};

  if (case_parse(&t, options)) {
    CHECK(!"parsed");
    unit_note("parsed: %s", options);
  } else {
    CHECK_STR(t.err.pointer, pointer);
    if (!CHECK(strstr(t.err.message, message) != NULL)) {
      unit_note("message: %s", t.err.message);
    }
    if (hint && !CHECK(strstr(t.err.hint, hint) != NULL)) {
      unit_note("hint: %s", t.err.hint);
    }
  }
  ond_connector_free(t.c);
}

static void parses(const char *options) {
  Case t = {0};

  if (!CHECK(case_parse(&t, options))) {
    unit_note("%s: %s: %s", t.err.pointer, t.err.message, options);
  }
  ond_connector_free(t.c);
}

#define UPSERT(rest) "{'object': {'upsert': {'method': 'PUT', 'path': '/x/{{key}}'" rest "}}}"
#define BATCH(rest)  "{'object': {'upsert': {'method': 'POST', 'path': '/x', 'batch': {'rows': 10}" rest "}}}"
#define DELETE(rest) "{'object': {'delete': {'method': 'DELETE'" rest "}}}"

TEST(connector_and_base_url_are_checked) {
  OndError err = {0};

  CHECK(!ond_connector_parse(&(OndConnectorSource){.connector = "hubspot", .base_url = CASE_URL}, &err));
  CHECK_STR(err.message, "connector \"hubspot\" does not exist");
  CHECK_STR(err.sqlstate, "42704");
  CHECK(!case_http(NULL, "{}", &err));
  CHECK(strstr(err.hint, "base_url") != NULL);
  CHECK(!case_http("ftp://x", "{}", &err));
  CHECK(!case_http("https://user:secret@x/", "{}", &err));
  CHECK(!case_http(CASE_URL, "{", &err));
  CHECK_STR(err.message, "the destination's options text is not JSON");
  CHECK(!case_http(CASE_URL, "[]", &err));
}

TEST(defaults_of_a_destination) {
  Case t = {0};
  const OndConnectorLimits *limits;
  const OndOperationInfo *info;

  REQUIRE(case_parse(&t, "{}"));
  limits = ond_connector_limits(t.c);
  CHECK_INT(limits->concurrency, 4);
  CHECK_INT(limits->timeout_ms, 30000);
  CHECK_INT(limits->connect_timeout_ms, 10000);
  CHECK_INT(limits->retry.attempts, 5);
  CHECK_INT(limits->rate.n_groups, 1);
  CHECK_INT(limits->rate.groups[0].n, 0);
  CHECK_STR(limits->rate.groups[0].name, "default");
  CHECK(!ond_connector_operation(t.c, OND_OP_DELETE));
  CHECK(ond_connector_operation(t.c, OND_OP_CREATE) == ond_connector_operation(t.c, OND_OP_UPDATE));
  info = ond_operation_info(ond_connector_operation(t.c, OND_OP_CREATE));
  CHECK_STR(info->name, "upsert");
  CHECK_INT(info->batch_rows, 1);
  CHECK(info->idempotent && !info->atomic && !info->reads_rows && !info->unconfirmed);
  CHECK(!ond_connector_column(t.c, 0));
  ond_connector_free(t.c);
}

TEST(limits_of_a_destination) {
  Case t = {0};
  const OndConnectorLimits *limits;

  REQUIRE(case_parse(
      &t,
      "{'rate_limit': {'search': '5/s', 'default': ['100/10s', '1000/h']}, 'concurrency': 9, 'timeout_ms': 5000, 'connect_timeout_ms': 700,"
      " 'retry': {'attempts': 3, 'base_ms': 100, 'max_ms': 2000}, 'gzip': {'min_bytes': 10},"
      " 'object': {'create': {'method': 'POST', 'rate': 'search'}}}"));
  limits = ond_connector_limits(t.c);
  CHECK_INT(limits->rate.n_groups, 2);
  CHECK_INT(limits->rate.groups[0].n, 2);
  CHECK_INT(limits->rate.groups[0].limits[1].requests, 1000);
  CHECK_STR(limits->rate.groups[1].name, "search");
  CHECK_INT(limits->rate.groups[1].limits[0].requests, 5);
  CHECK_INT(limits->concurrency, 9);
  CHECK_INT(limits->timeout_ms, 5000);
  CHECK_INT(limits->connect_timeout_ms, 700);
  CHECK_INT(limits->retry.attempts, 3);
  CHECK_INT(limits->retry.base_us, 100000);
  CHECK_INT(limits->retry.max_us, 2000000);
  CHECK_INT(ond_operation_info(ond_connector_operation(t.c, OND_OP_CREATE))->rate_group, 1);
  ond_connector_free(t.c);
  fails("{'rate_limit': 'fast'}", "/rate_limit", "", NULL);
  fails("{'rate_limit': ['1/s', 5]}", "/rate_limit/1", "must be a string", NULL);
  fails("{'rate_limit': ['1/s','1/s','1/s','1/s','1/s']}", "/rate_limit", "at most 4 windows", NULL);
  fails("{'rate_limit': {'a':'1/s','b':'1/s','c':'1/s','d':'1/s'}}", "/rate_limit/d", "at most 4 rate groups", NULL);
  fails("{'concurrency': 0}", "/concurrency", "a whole number from 1 to 1000", NULL);
  fails("{'concurrency': 99999999999999999999999}", "/concurrency", "a whole number from 1 to 1000", NULL);
  fails("{'timeout_ms': '5'}", "/timeout_ms", "a whole number", NULL);
  fails("{'retry': {'base_ms': 100, 'max_ms': 50}}", "/retry", "less than", NULL);
  fails("{'retry': {'tries': 1}}", "/retry/tries", "unknown member", "attempts, base_ms, max_ms");
  fails("{'gzip': 'yes'}", "/gzip", "true or false", NULL);
}

TEST(unknown_members_are_errors) {
  fails("{'objects': {}}", "/objects", "unknown member \"objects\"", "object, rate_limit");
  fails("{'object': {'lists': {}}}", "/object/lists", "unknown member \"lists\"", "upsert, create, update, delete");
  fails("{'object': {'upsert': {'methud': 'PUT'}}}", "/object/upsert/methud", "unknown member", "method, path");
  fails("{'a/b~c': 1}", "/a~1b~0c", "unknown member", NULL);
  fails(UPSERT(", 'batch': {'size': 3}"), "/object/upsert/batch/size", "unknown member", "rows, bytes, row_bytes");
  fails(UPSERT(", 'result': {'row': '/x'}"), "/object/upsert/result/row", "unknown member", "rows, match");
  fails(UPSERT(", 'ok': {'path': '/ok', 'equal': true}"), "/object/upsert/ok/equal", "unknown member", "equals");
  fails(UPSERT(", 'result': {'errors': {'row': '/x'}}"), "/object/upsert/result/errors/row", "unknown member", "rows");
}

TEST(operations_are_checked) {
  fails("{'object': []}", "/object", "must be an object", NULL);
  fails("{'object': {'upsert': 'PUT'}}", "/object/upsert", "must be an object", NULL);
  fails("{'object': {'upsert': {}}}", "/object/upsert", "\"method\" is missing", "POST, PUT, PATCH, DELETE");
  fails("{'object': {'upsert': {'method': 'GET'}}}", "/object/upsert/method", "cannot be \"GET\"", "POST");
  fails("{'object': {'upsert': {'method': 'put'}}}", "/object/upsert/method", "cannot be \"put\"", NULL);
  fails(UPSERT(", 'encoding': 'xml'"), "/object/upsert/encoding", "cannot be \"xml\"", "json, ndjson, form");
  fails(UPSERT(", 'content_type': 'json'"), "/object/upsert/content_type", "media type", NULL);
  fails(UPSERT(", 'content_type': 'a/b\\nX: y'"), "/object/upsert/content_type", "cannot stand in a header", NULL);
  fails(UPSERT(", 'fine': [404], 'retry': [409, 404]"), "/object/upsert", "one of", NULL);
  fails(UPSERT(", 'fine': [99]"), "/object/upsert/fine/0", "100 to 599", NULL);
  fails(UPSERT(", 'fine': 404"), "/object/upsert/fine", "an array", NULL);
  fails(UPSERT(", 'rate': 'search'"), "/object/upsert/rate", "no group \"search\"", "default");
  fails(UPSERT(", 'error': 'error'"), "/object/upsert/error", "does not start with", NULL);
  fails(UPSERT(", 'batch': {'rows': 0}"), "/object/upsert/batch/rows", "1 to 100000", NULL);
  fails(UPSERT(", 'atomic': 1"), "/object/upsert/atomic", "true or false", NULL);
  parses(UPSERT(", 'fine': [404], 'refused': [500], 'retry': [409], 'atomic': true, 'idempotent': false"));
}

TEST(paths_are_checked) {
  fails("{'object': {'upsert': {'method': 'PUT', 'path': 'x'}}}", "/object/upsert/path", "start with", "base URL");
  fails("{'object': {'upsert': {'method': 'PUT', 'path': 'https://evil.example/x'}}}", "/object/upsert/path", "start with", NULL);
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '{{key}}/x'}}}", "/object/upsert/path", "start with", NULL);
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '@evil.example/'}}}", "/object/upsert/path", "start with", NULL);
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '//evil.example/'}}}", "/object/upsert/path", "empty piece", NULL);
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '/a/../b'}}}", "/object/upsert/path", "the piece \"..\"", NULL);
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '/a/%2e%2E/b'}}}", "/object/upsert/path", "contains \"%2e\"", "as \".\"");
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '/a/%2E{{key}}'}}}", "/object/upsert/path", "contains \"%2E\"", NULL);
  parses("{'object': {'upsert': {'method': 'PUT', 'path': '/a/%2F{{key}}?x=%2e'}}}");
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '/a/.'}}}", "/object/upsert/path", "the piece \".\"", NULL);
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '/a b'}}}", "/object/upsert/path", "cannot stand in a URL", "%20");
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '/a#b'}}}", "/object/upsert/path", "cannot stand in a URL", "%23");
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '/a\\\\b'}}}", "/object/upsert/path", "cannot stand in a URL", NULL);
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '/a\\r\\nHost: x'}}}", "/object/upsert/path", "cannot stand in a URL", NULL);
  fails("{'object': {'upsert': {'method': 'PUT', 'path': '/{{key'}}}", "/object/upsert/path", "without", NULL);
  parses("{'object': {'upsert': {'method': 'PUT', 'path': '/a/{{key}}/?x={{name}}&y=1'}}}");
}

TEST(names_in_templates_are_checked) {
  fails(UPSERT(", 'body': {'a': ['{{var.x}}']}"), "/object/upsert/body/a/0", "{{var.x}} names no variable", "Add it");
  fails("{'variables': {'y': 1}, 'object': {'upsert': {'method': 'PUT', 'path': '/{{var.x}}'}}}", "/object/upsert/path",
        "names no variable", "y");
  fails(UPSERT(", 'body': '{{name|shout}}'"), "/object/upsert/body", "filter", "lower");
  fails(UPSERT(", 'body': '{{cursor}}'"), "/object/upsert/body", "no meaning", "in quotes");
  fails(UPSERT(", 'body': '{{arg.x}}'"), "/object/upsert/body", "no meaning", NULL);
  fails("{'headers': {'X-A': '{{name}}'}}", "/headers/X-A", "is not known here", "{{var.name}}");
  fails("{'headers': {'X-A': '{{run_id}}'}}", "/headers/X-A", "is not known here", NULL);
  fails("{'variables': {'x': {}}}", "/variables/x", "a string, a number or a boolean", NULL);
  fails("{'variables': {'x': null}}", "/variables/x", "a string, a number or a boolean", NULL);
  fails("{'check': {'path': '/{{key}}'}}", "/check/path", "is not known here", NULL);
}

TEST(deletes_know_only_what_is_left) {
  fails(DELETE(", 'body': '$fields'"), "/object/delete/body", "is not known in a delete", NULL);
  fails(DELETE(", 'body': {'$fields': {'only': ['a']}}"), "/object/delete/body", "is not known in a delete", NULL);
  parses("{'variables': {'v': 1}, 'object': {'delete': {'method': 'DELETE', 'path': "
         "'/{{key}}/{{remote_id}}/{{remote.rev}}/{{var.v}}/{{operation}}',"
         " 'headers': {'A': '{{run_id}} {{idempotency_key}}'}}}}");
}

TEST(columns_tell_who_names_them) {
  static const char *const WHERE[] = {"'path': '/{{email}}'", "'query': {'a': '{{email}}'}", "'headers': {'A': '{{email}}'}",
                                      "'result': {'rows': '', 'match': {'key': '/id', 'by': '{{email}}'}}"};

  for (size_t i = 0; i < sizeof(WHERE) / sizeof(WHERE[0]); i++) {
    Case t = {0};
    char options[300];

    snprintf(options, sizeof(options), "{'object': {'delete': {'method': 'DELETE', %s}, 'upsert': {'method': 'PUT', 'path': '/{{both}}'}}}", WHERE[i]);
    REQUIRE(case_parse(&t, options));
    CHECK(ond_connector_column(t.c, 2) == NULL);
    for (int k = 0; k < 2; k++) {
      bool kept = strcmp(ond_connector_column(t.c, k), "email") == 0;

      CHECK_INT(ond_connector_column_uses(t.c, k), kept ? OND_COLUMN_OF_DELETE : OND_COLUMN_OF_ROW);
    }
    CHECK_INT(ond_connector_column_uses(t.c, 2), 0);
    ond_connector_free(t.c);
  }
  {
    Case t = {0};

    REQUIRE(case_parse(&t, "{'object': {'delete': {'method': 'DELETE', 'path': '/{{list}}'}, 'upsert': {'method': 'PUT', 'path': '/{{list}}'}}}"));
    CHECK_INT(ond_connector_column_uses(t.c, 0), OND_COLUMN_OF_DELETE | OND_COLUMN_OF_ROW);
    ond_connector_free(t.c);
  }
}

TEST(a_batch_names_rows_only_where_it_repeats) {
  fails(BATCH(", 'body': {'id': '{{key}}'}"), "/object/upsert/body/id", "belongs to one row, but a request of \"upsert\" carries up to 10",
        "$each");
  fails(BATCH(", 'body': {'a': '$fields'}"), "/object/upsert/body/a", "belongs to one row", "$each");
  fails(BATCH(", 'headers': {'A': '{{key}}'}"), "/object/upsert/headers/A", "belongs to one row", NULL);
  fails(BATCH(", 'query': {'A': '{{remote_id}}'}"), "/object/upsert/query/A", "belongs to one row", NULL);
  fails("{'object': {'upsert': {'method': 'POST', 'path': '/{{id}}', 'batch': {'rows': 2}}}}", "/object/upsert/path", "belongs to one row",
        NULL);
  fails(BATCH(", 'body': {'a': 1}"), "/object/upsert", "nothing repeats", "$each");
  fails(BATCH(", 'body': null"), "/object/upsert", "nothing repeats", NULL);
  fails(BATCH(", 'encoding': 'form'"), "/object/upsert/encoding", "one row a request", NULL);
  fails("{'object': {'delete': {'method': 'DELETE', 'batch': {'rows': 5}}}}", "/object/delete", "nothing repeats", NULL);
  parses(BATCH(", 'headers': {'A': '{{operation}} {{run_id}} {{idempotency_key}}'}"));
  parses("{'object': {'delete': {'method': 'DELETE', 'path': '/x', 'batch': {'rows': 5}, 'query': {'ids': ['$each', '{{remote_id}}']}}}}");
  parses("{'object': {'delete': {'method': 'DELETE', 'path': '/x', 'batch': {'rows': 5}, 'query': {'ids': {'each': '{{remote_id}}'}}}}}");
}

TEST(body_words_are_checked) {
  fails(UPSERT(", 'body': {'a': '$each'}"), "/object/upsert/body/a", "first element", NULL);
  fails(UPSERT(", 'body': ['a', '$each']"), "/object/upsert/body/1", "first element", NULL);
  fails(UPSERT(", 'body': ['$each']"), "/object/upsert/body", "nothing to repeat", NULL);
  fails(UPSERT(", 'body': ['$each', ['$each', 1]]"), "/object/upsert/body/1", "inside of another", NULL);
  fails(UPSERT(", 'body': {'$each': {'a': 1}}"), "/object/upsert/body/$each/a", "the same for every row", "{{key}}");
  fails(UPSERT(", 'body': {'$each': {}}"), "/object/upsert/body/$each", "an object of what to repeat", NULL);
  fails(UPSERT(", 'body': {'$each': {'{{key}}': 1}, 'x': 1}"), "/object/upsert/body", "the only member", "$merge");
  fails(UPSERT(", 'body': {'$fields': {'omit': ['a']}, 'x': 1}"), "/object/upsert/body", "the only member", "$merge");
  fails(UPSERT(", 'body': {'$fields': {'omit': ['a'], 'only': ['b']}}"), "/object/upsert/body/$fields", "either", NULL);
  fails(UPSERT(", 'body': {'$fields': {'omit': [1]}}"), "/object/upsert/body/$fields/omit/0", "a string", NULL);
  fails(UPSERT(", 'body': {'$fields': {'keep': []}}"), "/object/upsert/body/$fields/keep", "unknown member", "omit, only");
  fails(UPSERT(", 'body': {'$merge': []}"), "/object/upsert/body/$merge", "nothing to join", NULL);
  fails(UPSERT(", 'body': {'$merge': '$fields'}"), "/object/upsert/body/$merge", "an array", NULL);
  fails(UPSERT(", 'body': {'$merge': ['$fields', 1]}"), "/object/upsert/body/$merge/1", "only objects", NULL);
  fails(UPSERT(", 'encoding': 'form', 'body': ['a']"), "/object/upsert/body", "must be an object", NULL);
  parses(UPSERT(", 'body': {'$set': {'$token': '$x'}, 'a': '$fieldset'}"));
}

TEST(headers_are_checked) {
  fails("{'headers': {'Host': 'x'}}", "/headers/Host", "cannot be set", NULL);
  fails("{'headers': {'content-length': '1'}}", "/headers/content-length", "cannot be set", NULL);
  fails("{'headers': {'Transfer-Encoding': 'chunked'}}", "/headers/Transfer-Encoding", "cannot be set", NULL);
  fails("{'headers': {'Connection': 'close'}}", "/headers/Connection", "cannot be set", NULL);
  fails("{'headers': {'Authorization': 'Bearer x'}}", "/headers/Authorization", "carries a credential", "auth");
  fails("{'headers': {'cookie': 'x'}}", "/headers/cookie", "carries a credential", "auth");
  fails("{'headers': {'X-Api-Key': 'x'}}", "/headers/X-Api-Key", "carries a credential", "set_secret");
  fails("{'headers': {'X-Shopify-Access-Token': 'x'}}", "/headers/X-Shopify-Access-Token", "carries a credential", NULL);
  fails("{'headers': {'Content-Type': 'x'}}", "/headers/Content-Type", "encoding", "content_type");
  fails("{'headers': {'Content-Encoding': 'gzip'}}", "/headers/Content-Encoding", "cannot be set", "gzip");
  fails("{'headers': {'A B': 'x'}}", "/headers/A B", "is not a header name", NULL);
  fails("{'headers': {'': 'x'}}", "/headers/", "is not a header name", NULL);
  fails("{'headers': {'A': 'x\\r\\nB: y'}}", "/headers/A", "control character", NULL);
  fails("{'headers': {'A': 1}}", "/headers/A", "a string", NULL);
  parses("{'headers': {'revision': '2024-10-15', 'User-Agent': 'x'}}");
}

TEST(idempotency_is_checked) {
  fails(UPSERT(", 'idempotency': true"), "/object/upsert/idempotency", "null or false", NULL);
  fails(UPSERT(", 'idempotency': {}"), "/object/upsert/idempotency", "needs one of", NULL);
  fails(UPSERT(", 'idempotency': {'replays_errors': true}"), "/object/upsert/idempotency", "needs one of", NULL);
  fails(UPSERT(", 'idempotency': {'header': 'X-Key', 'replays_errors': 1}"), "/object/upsert/idempotency/replays_errors", "true or false", NULL);
  parses(UPSERT(", 'idempotency': {'header': 'X-Key', 'replays_errors': true}"));
  fails(UPSERT(", 'idempotency': {'header': 'Host'}"), "/object/upsert/idempotency/header", "cannot be set", NULL);
  fails(UPSERT(", 'idempotency': {'field': '/a/b'}"), "/object/upsert/idempotency/field", "at the top", "{{idempotency_key}}");
  fails(BATCH(", 'idempotency': {'field': '/a'}"), "/object/upsert/body", "needs an object", NULL);
  fails(BATCH(", 'encoding': 'ndjson', 'idempotency': {'field': '/a'}"), "/object/upsert/body", "no member", "item");
  fails(UPSERT(", 'idempotency': {'item': 'a'}"), "/object/upsert/body", "no \"$each\"", NULL);
  fails(BATCH(", 'body': ['$each', 1, 2], 'idempotency': {'item': 'a'}"), "/object/upsert/body/1", "one thing", NULL);
  fails(DELETE(", 'path': '/{{key}}', 'idempotency': {'field': '/a'}"), "/object/delete", "no body", NULL);
}

TEST(create_is_idempotent_only_when_told) {
  static const struct {
    const char *more;
    bool idempotent;
  } CASES[] = {{"", false},
               {", 'idempotency': {'header': 'X-Id'}", true},
               {", 'idempotency': null", false},
               {", 'idempotent': true", true},
               {", 'idempotency': {'header': 'X-Id'}, 'idempotent': false", false}};

  for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
    Case t = {0};
    char options[300];

    snprintf(options, sizeof(options), "{'object': {'create': {'method': 'POST'%s}}}", CASES[i].more);
    REQUIRE(case_parse(&t, options));
    CHECK_INT(ond_operation_info(ond_connector_operation(t.c, OND_OP_CREATE))->idempotent, CASES[i].idempotent);
    ond_connector_free(t.c);
  }
}

TEST(results_are_checked) {
  fails(UPSERT(", 'ok': true"), "/object/upsert/ok", "an object", NULL);
  fails(UPSERT(", 'ok': {'equals': true}"), "/object/upsert/ok", "\"path\" is missing", NULL);
  fails(UPSERT(", 'ok': {'path': '/ok'}"), "/object/upsert/ok", "one of", NULL);
  fails(UPSERT(", 'ok': {'path': '/ok', 'equals': [1]}"), "/object/upsert/ok/equals", "a string, a number", NULL);
  fails(UPSERT(", 'ok': {'path': '/ok', 'absent': 1}"), "/object/upsert/ok/absent", "true or false", NULL);
  fails(BATCH(", 'result': {'id': '/id'}"), "/object/upsert/result", "of a batch needs", NULL);
  fails(BATCH(", 'result': {'rows': '/r', 'match': 'name'}"), "/object/upsert/result/match", "must be", "order");
  fails(BATCH(", 'result': {'rows': '/r', 'match': {'key': '/a', 'index': '/b'}}"), "/object/upsert/result/match", "must be", NULL);
  fails(BATCH(", 'result': {'rows': '/r', 'match': {'key': 'a'}}"), "/object/upsert/result/match/key", "does not start", NULL);
  fails(BATCH(", 'result': {'rows': '/r', 'match': {'id': '/a'}}"), "/object/upsert/result/match/id", "unknown member", "key, index");
  fails(BATCH(", 'result': {'errors': {'rows': '/e'}}"), "/object/upsert/result/errors", "one of", NULL);
  fails(BATCH(", 'result': {'errors': {'rows': '/e', 'key': '/a', 'keys': '/b'}}"), "/object/upsert/result/errors", "one of", NULL);
  fails(BATCH(", 'result': {'errors': {'rows': '/e', 'key': '/a'}, 'id': '/id'}"), "/object/upsert/result", "no records", NULL);
  fails(BATCH(", 'result': {'counts': {}}"), "/object/upsert/result/counts", "needs", NULL);
  fails(BATCH(", 'result': {'counts': {'failed': '/f'}, 'rows': '/r'}"), "/object/upsert/result", "stands alone", NULL);
  fails(BATCH(", 'result': {'lines': true, 'rows': '/r'}"), "/object/upsert/result", "every line", NULL);
  fails(BATCH(", 'result': {'rows': '/r', 'retry': ['x']}"), "/object/upsert/result/retry", "no \"code\"", NULL);
  fails(BATCH(", 'result': {'rows': '/r', 'match': {'key': '/a', 'by': '{{var.x}}'}}"), "/object/upsert/result/match/by", "no variable",
        NULL);
}

TEST(columns_are_collected_once) {
  static const char OPTIONS[] =
      "{\"object\": {\"upsert\": {\"method\": \"PUT\", \"body\": {\"a\": \"{{email}}\", \"b\": \"{{ name | lower }} {{email}}\","
      " \"c\": \"{{\\\"key\\\"}}\", \"d\": \"{{key}}{{remote_id}}{{remote.x}}{{run_id}}\"}}}}";
  OndError err;
  OndConnector *c = case_http(CASE_URL, OPTIONS, &err);

  REQUIRE(c);
  CHECK_STR(ond_connector_column(c, 0), "email");
  CHECK_STR(ond_connector_column(c, 1), "name");
  CHECK_STR(ond_connector_column(c, 2), "key");
  CHECK_STR(ond_connector_column(c, 3), NULL);
  CHECK_STR(ond_connector_column(c, -1), NULL);
  ond_connector_free(c);
}

/* ---- bind ---- */

static const char *bound(const char *options, OndMode mode, int n_keys) {
  static const char *const KEYS[] = {"tenant", "id"};
  static Case t;

  t = (Case){0};
  if (!case_parse(&t, options)) {
    return t.err.message;
  }
  if (ond_connector_bind(t.c, mode, n_keys, n_keys == 1 ? KEYS + 1 : KEYS, &t.err)) {
    t.err.message[0] = '\0';
  } else {
    CHECK(t.err.hint[0] != '\0');
  }
  ond_connector_free(t.c);
  return t.err.message;
}

TEST(bind_checks_the_mode) {
  static const char CREATE[] = "{'object': {'create': {'method': 'POST'}}}";
  static const char UPDATE[] = "{'object': {'update': {'method': 'POST'}}}";
  static const char BOTH[] = "{'object': {'create': {'method': 'POST'}, 'update': {'method': 'PATCH'}}}";
  static const char ALL[] = "{'object': {'upsert': {'method': 'POST'}, 'delete': {'method': 'DELETE', 'path': '/{{key}}'}}}";

  CHECK_STR(bound("{}", OND_MODE_UPSERT, 1), "");
  CHECK_STR(bound("{}", OND_MODE_APPEND, 1), "");
  CHECK(strstr(bound("{}", OND_MODE_MIRROR, 1), "mode \"mirror\" is not possible"));
  CHECK_STR(bound(ALL, OND_MODE_MIRROR, 1), "");
  CHECK_STR(bound(CREATE, OND_MODE_INSERT, 1), "");
  CHECK_STR(bound(CREATE, OND_MODE_APPEND, 1), "");
  CHECK(strstr(bound(CREATE, OND_MODE_UPSERT, 1), "mode \"upsert\""));
  CHECK(strstr(bound(CREATE, OND_MODE_UPDATE, 1), "mode \"update\""));
  CHECK_STR(bound(UPDATE, OND_MODE_UPDATE, 1), "");
  CHECK(strstr(bound(UPDATE, OND_MODE_INSERT, 1), "mode \"insert\""));
  CHECK_STR(bound(BOTH, OND_MODE_UPSERT, 1), "");
  CHECK_STR(bound(BOTH, OND_MODE_REPLACE, 1), "");
}

TEST(bind_resolves_keys) {
  static const char PLAIN[] = "{'object': {'upsert': {'method': 'PUT', 'path': '/{{key}}'}}}";
  static const char DOTTED[] = "{'object': {'upsert': {'method': 'PUT', 'path': '/{{key.tenant}}/{{key.id}}'}}}";
  static const char MATCH[] =
      "{'object': {'upsert': {'method': 'PUT', 'result': {'rows': '', 'match': {'key': {'tenant': '/t', 'id': '/i'}}}}}}";
  static const char LEFT[] = "{'object': {'upsert': {'method': 'PUT'}, 'delete': {'method': 'DELETE', 'path': '/{{key}}'}}}";

  CHECK_STR(bound(PLAIN, OND_MODE_UPSERT, 1), "");
  CHECK_STR(bound(PLAIN, OND_MODE_UPSERT, 2), "operation \"upsert\" names {{key}}, but the key has 2 columns");
  CHECK_STR(bound(DOTTED, OND_MODE_UPSERT, 2), "");
  CHECK_STR(bound(DOTTED, OND_MODE_UPSERT, 1), "operation \"upsert\" names {{key.tenant}}, but the key has no such column");
  CHECK_STR(bound(MATCH, OND_MODE_UPSERT, 2), "");
  CHECK(strstr(bound(MATCH, OND_MODE_UPSERT, 1), "no such column"));
  CHECK(strstr(
      bound("{'object': {'upsert': {'method': 'PUT', 'result': {'rows': '', 'match': {'key': {'id': '/i'}}}}}}", OND_MODE_UPSERT, 2),
      "the key has 2"));
  CHECK_STR(bound(LEFT, OND_MODE_UPSERT, 2), "");
  CHECK(strstr(bound(LEFT, OND_MODE_MIRROR, 2), "operation \"delete\""));
}

TEST(bind_points_at_the_place) {
  static const char *const KEYS[] = {"a", "b"};
  Case t = {0};

  REQUIRE(case_parse(&t, "{'object': {'upsert': {'method': 'PUT', 'body': {'x': ['{{key}}']}}}}"));
  CHECK(!ond_connector_bind(t.c, OND_MODE_UPSERT, 2, KEYS, &t.err));
  CHECK_STR(t.err.pointer, "/object/upsert/body/x/0");
  CHECK_STR(t.err.hint, "The sync's key is {{key.a}}, {{key.b}}.");
  /* Bound again with a key that fits. */
  CHECK(ond_connector_bind(t.c, OND_MODE_UPSERT, 1, KEYS, &t.err));
  ond_connector_free(t.c);
}
