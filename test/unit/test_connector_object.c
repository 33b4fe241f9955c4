/*
 * Connectors with a document of their own: the account's part, one object out of many, variables, and what a destination overrides.
 */
#include "connector_case.h"

/* A document and options in single quotes. */
typedef struct Said {
  const char *document;
  const char *options;
  const char *variables;
  const char *base_url;
  const char *object;
  bool account_only;
} Said;

static OndConnector *open_document(Case *t, Said said) {
  OndConnectorSource source = {.connector = "acme",
                               .base_url = said.base_url,
                               .document = case_bytes(case_json(t, said.document)),
                               .options = case_bytes(said.options ? case_json(t, said.options) : NULL),
                               .variables = case_bytes(said.variables ? case_json(t, said.variables) : NULL),
                               .object = said.object,
                               .account_only = said.account_only};

  memset(&t->err, 0, sizeof(t->err));
  return ond_connector_parse(&source, &t->err);
}

/* The message when it cannot be opened, else "". */
static const char *said(Case *t, Said what) {
  OndConnector *c = open_document(t, what);

  ond_connector_free(c);
  return c ? "" : t->err.message;
}

static bool take_key(const OndRecord *record, void *arg) {
  snprintf(arg, 100, "%.*s", (int)record->keys[0].n, record->keys[0].p ? record->keys[0].p : "");
  return true;
}

/* The key of the record that this page of the list has. */
static const char *listed_key(Case *t, const char *page) {
  static char key[100];
  OndHttpResponse response = {.transfer = OND_TRANSFER_OK, .status = 200};
  OndPaging paging;

  snprintf(key, sizeof(key), "none");
  ond_buf_init(&response.body, 4096);
  ond_buf_init(&response.headers, 4096);
  ond_buf_append_str(&response.body, case_json(t, page));
  ond_paging_init(&paging, t->c, ond_connector_list(t->c));
  if (!ond_paging_read(&paging, &response, true, take_key, key, &t->err)) {
    snprintf(key, sizeof(key), "%.99s", t->err.message);
  }
  ond_paging_free(&paging);
  ond_buf_free(&response.headers);
  ond_buf_free(&response.body);
  return key;
}

#define OPS "'upsert': {'method': 'PUT', 'path': '/{{key}}'}"
#define DOC(more, object) \
  "{'title': 'Acme', 'base_url': 'https://api.acme.com/v1'" more ", 'objects': {'contacts': {" OPS object "}, 'deals': {" OPS "}}}"

TEST(an_object_is_chosen_by_its_name) {
  static const char ANY[] = "{'title': 'Acme', 'base_url': 'https://x', 'objects': {'contacts': {'create': {'method': 'POST', 'path': '/c'}},"
                            " '*': {'upsert': {'method': 'PUT', 'path': '/o/{{object}}/{{key}}', 'body': {'type': '{{object}}'}}}}}";
  Case t = {0};
  OndConnector *c;

  CHECK_STR(said(&t, (Said){.document = DOC("", ""), .object = "contacts"}), "");
  CHECK_STR(said(&t, (Said){.document = DOC("", ""), .object = "contact"}), "connector \"acme\" has no object \"contact\"");
  CHECK_STR(t.err.hint, "Its objects are contacts, deals.");
  CHECK_STR(t.err.sqlstate, "42704");
  CHECK_STR(said(&t, (Said){.document = DOC("", "")}), "connector \"acme\" needs an object");
  CHECK_STR(said(&t, (Said){.document = DOC("", ""), .account_only = true}), "");
  CHECK_STR(said(&t, (Said){.document = ANY, .object = "*"}), "connector \"acme\" has no object \"*\"");
  CHECK_STR(t.err.hint, "Its objects are contacts, or any other name.");
  CHECK_STR(said(&t, (Said){.document = "{'title': 'Acme', 'base_url': 'https://x', 'objects': {'*': {" OPS "}}}"}), "connector \"acme\" needs an object");
  CHECK_STR(t.err.hint, "It takes any name: that of a table, database or index of the destination.");
  c = open_document(&t, (Said){.document = ANY, .object = "contacts"});
  REQUIRE(c != NULL);
  CHECK(!ond_connector_can(c, OND_MODE_UPSERT) && ond_connector_can(c, OND_MODE_INSERT));
  ond_connector_free(c);
}

TEST(the_name_of_any_object_is_a_word) {
  static const char *const KEYS[] = {"id"};
  Case t = {0};

  ond_http_request_init(&t.request);
  t.c = open_document(&t, (Said){.document = "{'title': 'A', 'base_url': 'https://x', 'objects': {'*': {'upsert': {'method': 'PUT', "
                                 "'path': '/o/{{object}}', 'body': {'type': '{{object}}'}}}}}",
                                 .object = "a/b"});
  REQUIRE(t.c && ond_connector_bind(t.c, OND_MODE_UPSERT, 1, KEYS, &t.err));
  t.o = ond_connector_operation(t.c, OND_OP_CREATE);
  case_row(&t, 0, "1", "{}");
  REQUIRE(case_render(&t, 1));
  CHECK_STR(t.request.url, "https://x/o/a%2Fb");
  CHECK_STR(t.request.body.data, "{\"type\":\"a/b\"}");
  case_close(&t);
}

TEST(what_a_document_needs) {
  Case t = {0};

  CHECK_STR(said(&t, (Said){.document = "{'objects': {}}", .account_only = true}), "\"title\" is missing");
  CHECK_STR(said(&t, (Said){.document = "{'title': 'A'}", .account_only = true}), "\"objects\" is missing");
  CHECK_STR(said(&t, (Said){.document = "{'title': 'A', 'objects': {}}", .account_only = true}), "\"objects\" is empty");
  CHECK_STR(said(&t, (Said){.document = "{'title': 'A', 'objects': {'x': {}}}", .base_url = "https://x", .object = "x"}), "the object has no operation");
  CHECK_STR(t.err.pointer, "/objects/x");
  CHECK_STR(said(&t, (Said){.document = "{'title': 'A', 'objects': {'x': {" OPS "}}}", .object = "x"}), "the destination has no base URL");
  CHECK_STR(said(&t, (Said){.document = "{'title': 1, 'objects': {'x': {" OPS "}}}", .object = "x"}), "\"title\" must be a string");
  CHECK_STR(said(&t, (Said){.document = DOC(", 'colour': 1", ""), .object = "contacts"}), "unknown member \"colour\"");
  CHECK_STR(t.err.pointer, "/colour");
  CHECK(strstr(t.err.hint, "rate_headers") != NULL);
  CHECK_STR(said(&t, (Said){.document = DOC("", ", 'colour': 1"), .object = "contacts"}), "unknown member \"colour\"");
  CHECK_STR(t.err.pointer, "/objects/contacts/colour");
  CHECK_STR(said(&t, (Said){.document = DOC("", ""), "{'object': {}}", .object = "contacts"}), "unknown member \"object\"");
  CHECK_STR(said(&t, (Said){.document = "{", .account_only = true}), "the connector's text is not JSON");
}

TEST(columns_must_be_announced) {
  Case t = {0};

  CHECK_STR(said(&t, (Said){.document = DOC("", ", 'update': {'method': 'PUT', 'body': {'a': '{{emial}}'}}"), .object = "contacts"}), "{{emial}} names nothing");
  CHECK_STR(t.err.pointer, "/objects/contacts/update/body/a");
  CHECK_STR(said(&t, (Said){.document = DOC("", ", 'columns': ['list'], 'update': {'method': 'PUT', 'body': '{{list}}'}"), .object = "contacts"}), "");
  CHECK_STR(said(&t, (Said){.document = DOC("", ", 'columns': [1]"), .object = "contacts"}), "this element must be a string");
  CHECK_STR(said(&t, (Said){.document = DOC("", ", 'required': ['']"), .object = "contacts"}), "this name is empty");
}

#define VARS(spec) DOC(", 'variables': {'a': " spec "}", ", 'headers': {'X-A': '{{var.a}}'}")

static const char *header_a(Case *t, Said what) {
  static const char *const KEYS[] = {"id"};
  const char *value = "none";

  memset(&t->rows, 0, sizeof(t->rows));
  ond_http_request_init(&t->request);
  t->c = open_document(t, what);
  if (!t->c || !ond_connector_bind(t->c, OND_MODE_UPSERT, 1, KEYS, &t->err)) {
    return t->err.message;
  }
  t->o = ond_connector_operation(t->c, OND_OP_CREATE);
  case_row(t, 0, "1", "{}");
  if (!case_render(t, 1)) {
    return t->err.message;
  }
  value = case_header(t, "X-A");
  return value ? value : "absent";
}

TEST(variables_come_from_sync_destination_default) {
  Case t = {0};

  CHECK_STR(header_a(&t, (Said){.document = VARS("{'default': 'd'}"), .object = "contacts"}), "d");
  case_close(&t);
  CHECK_STR(header_a(&t, (Said){.document = VARS("{'default': 'd'}"), "{'variables': {'a': 'dest'}}", .object = "contacts"}), "dest");
  case_close(&t);
  CHECK_STR(header_a(&t, (Said){.document = VARS("{'default': 'd'}"), "{'variables': {'a': 'dest'}}", "{'a': 7}", .object = "contacts"}), "7");
  case_close(&t);
  CHECK_STR(said(&t, (Said){.document = VARS("{'description': 'The list.'}"), .object = "contacts"}), "the variable \"a\" is not given");
  CHECK_STR(t.err.detail, "The list.");
  CHECK(strstr(t.err.hint, "{\"variables\": {\"a\": …}}") != NULL);
  CHECK_STR(said(&t, (Said){.document = VARS("{}"), .account_only = true}), "");
  CHECK_STR(said(&t, (Said){.document = VARS("{}"), .object = "deals"}), "");                  /* nothing there names it */
  CHECK_STR(said(&t, (Said){.document = VARS("{'required': true}"), .object = "deals"}), "the variable \"a\" is not given");
  CHECK_STR(said(&t, (Said){.document = VARS("{}"), NULL, "{'b': 1}", .object = "contacts"}), "connector \"acme\" has no variable \"b\"");
  CHECK_STR(t.err.hint, "The variables are a.");
  CHECK_STR(said(&t, (Said){.document = VARS("{}"), "{'variables': {'b': 1}}", .object = "contacts"}), "connector \"acme\" has no variable \"b\"");
  CHECK_STR(said(&t, (Said){.document = VARS("{}"), NULL, "{'a': [1]}", .object = "contacts"}), "the variable \"a\" must be a string, a number or a boolean");
  CHECK_STR(said(&t, (Said){.document = VARS("{'required': true, 'default': 1}"), .object = "deals"}), "the variable \"a\" has a default, so it cannot be required");
}

TEST(variables_of_objects) {
  static const char SPEC[] = "{'title': 'A', 'base_url': 'https://x', 'variables': {'v': {}}, 'objects': {"
                             "'a': {'variables': {'list': {'required': true}}, 'upsert': {'method': 'PUT', 'path': '/{{var.list}}'}},"
                             "'b': {" OPS "}, 'c': {'variables': {'v': {}}, " OPS "}, 'd': {'upsert': {'method': 'PUT', 'path': '/{{var.list}}'}}}}";
  Case t = {0};

  CHECK_STR(said(&t, (Said){.document = SPEC, .object = "a"}), "the variable \"list\" is not given");
  CHECK_STR(said(&t, (Said){.document = SPEC, NULL, "{'list': 'l'}", .object = "a"}), "");
  CHECK_STR(said(&t, (Said){.document = SPEC, "{'variables': {'list': 'l'}}", .object = "a"}), "");
  CHECK_STR(said(&t, (Said){.document = SPEC, "{'variables': {'list': 'l'}}", .object = "b"}), ""); /* meant for another object */
  CHECK_STR(said(&t, (Said){.document = SPEC, NULL, "{'list': 'l'}", .object = "b"}), "connector \"acme\" has no variable \"list\"");
  CHECK_STR(said(&t, (Said){.document = SPEC, .object = "c"}), "the variable \"v\" is declared twice: by the connector and by the object");
  CHECK_STR(said(&t, (Said){.document = SPEC, .object = "d"}), "{{var.list}} names no variable");
}

TEST(variables_of_http) {
  static const char OPTIONS[] = "{'variables': {'a': 'x'}, 'object': {'variables': {'b': {'required': true}}, 'headers': {'X-A': '{{var.a}}{{var.b}}'}, " OPS "}}";
  Case t = {0};
  OndConnectorSource source = {.connector = "http", .base_url = CASE_URL, .options = case_bytes(case_json(&t, OPTIONS)), .account_only = true};

  t.c = ond_connector_parse(&source, &t.err);
  CHECK(t.c != NULL);
  ond_connector_free(t.c);
  source.account_only = false;
  t.c = ond_connector_parse(&source, &t.err);
  CHECK(t.c == NULL);
  CHECK_STR(t.err.message, "the variable \"b\" is not given");
  source.variables = OND_BYTES_LIT("{\"a\":\"y\",\"b\":\"z\"}");
  t.c = ond_connector_parse(&source, &t.err);
  CHECK(t.c != NULL);
  ond_connector_free(t.c);
  source.variables = OND_BYTES_LIT("{\"c\":1}");
  t.c = ond_connector_parse(&source, &t.err);
  CHECK(t.c == NULL);
  CHECK_STR(t.err.message, "there is no variable \"c\"");
}

static const char *base_of(Case *t, const char *base_url, const char *values, const char *given) {
  static char text[400];
  char document[600];
  OndConnector *c;

  snprintf(document, sizeof(document), "{'title': 'A', 'base_url': '%s', 'variables': {'s': {'description': 'Of your account.'}}, 'objects': {'o': {%s}}}", base_url, OPS);
  c = open_document(t, (Said){.document = document, values, NULL, given, NULL, true});
  snprintf(text, sizeof(text), "%s", c ? ond_connector_base_url(c) : t->err.message);
  ond_connector_free(c);
  return text;
}

TEST(base_urls_have_variables_of_the_destination) {
  static const char ZEN[] = "https://{{var.s}}.zen.com/api/";
  static const char SPEC[] = "{'title': 'A', 'base_url': 'https://{{var.s}}.zen.com', 'variables': {'s': {'required': true}}, 'objects': {'o': {" OPS "}}}";
  Case t = {0};

  CHECK_STR(base_of(&t, ZEN, "{'variables': {'s': 'acme'}}", NULL), "https://acme.zen.com/api");
  CHECK_STR(base_of(&t, ZEN, NULL, "https://proxy/zen"), "https://proxy/zen");
  CHECK_STR(base_of(&t, ZEN, NULL, NULL), "the base URL needs the variable \"s\"");
  CHECK_STR(t.err.detail, "Of your account.");
  for (const char *const *bad = (const char *const[]){"evil.com/", "a@b", "a:1", "", ".x", "x.", "a#", "a?", "ä", NULL}; *bad; bad++) {
    char options[100];

    snprintf(options, sizeof(options), "{'variables': {'s': '%s'}}", *bad);
    CHECK_STR(base_of(&t, ZEN, options, NULL), "the variable \"s\" cannot be a part of a host name");
  }
  CHECK_STR(base_of(&t, "https://zen.com/{{var.s}}", "{'variables': {'s': 'a/b'}}", NULL), "https://zen.com/a%2Fb");
  CHECK_STR(base_of(&t, "https://zen.com/{{var.s}}", "{'variables': {'s': '..'}}", NULL), "the variable \"s\" cannot be a piece of the base URL's path");
  CHECK_STR(base_of(&t, "{{var.s}}/x", "{'variables': {'s': 'https://a'}}", NULL), "\"base_url\" must start with https:// or http://");
  CHECK_STR(base_of(&t, "https://{{key}}", NULL, NULL), "{{key}} is not known here");
  CHECK_STR(said(&t, (Said){.document = SPEC, "{'variables': {'s': 'acme'}}", "{'s': 'evil'}", .object = "o"}),
            "the variable \"s\" is a part of the base URL, which belongs to the destination");
  CHECK_STR(said(&t, (Said){.document = SPEC, .base_url = "https://proxy", .object = "o"}), "");
}

TEST(a_destinations_values_win) {
  static const char SPEC[] =
      "{'title': 'A', 'base_url': 'https://x', 'rate_limit': {'default': '10/s', 'search': '1/s'}, 'concurrency': 2, 'timeout_ms': 5000,"
      " 'retry': {'attempts': 3, 'base_ms': 100, 'max_ms': 1000}, 'headers': {'X-A': 'connector', 'X-B': 'connector'},"
      " 'objects': {'o': {'headers': {'X-C': 'object'}, 'upsert': {'method': 'PUT', 'headers': {'X-A': 'operation'}, 'rate': 'search'}}}}";
  Case t = {0};
  const OndConnectorLimits *limits;

  CHECK_STR(header_a(&t, (Said){.document = SPEC, "{'rate_limit': '20/s', 'retry': {'attempts': 9}, 'headers': {'X-B': 'mine', 'X-A': 'mine'}}", .object = "o"}), "mine");
  CHECK_STR(case_header(&t, "X-B"), "mine");
  CHECK_STR(case_header(&t, "X-C"), "object");
  limits = ond_connector_limits(t.c);
  CHECK_INT(limits->rate.n_groups, 2);
  CHECK_INT(limits->rate.groups[0].limits[0].requests, 20);
  CHECK_STR(limits->rate.groups[1].name, "search");
  CHECK_INT(limits->concurrency, 2);
  CHECK_INT(limits->timeout_ms, 5000);
  CHECK_INT(limits->retry.attempts, 9);
  CHECK_INT(limits->retry.max_us, 1000000);
  CHECK_INT(ond_operation_info(t.o)->rate_group, 1);
  case_close(&t);
  CHECK_STR(header_a(&t, (Said){.document = SPEC, "{'rate_limit': {'search': '5/s'}}", .object = "o"}), "operation");
  CHECK_INT(ond_connector_limits(t.c)->rate.groups[0].limits[0].requests, 10);
  CHECK_INT(ond_connector_limits(t.c)->rate.groups[1].limits[0].requests, 5);
  case_close(&t);
}

TEST(accepted_credentials) {
  Case t = {0};

  t.c = open_document(&t, (Said){.document = DOC(", 'auth': ['bearer', 'basic']", ""), .account_only = true});
  REQUIRE(t.c != NULL);
  CHECK(ond_connector_takes_auth(t.c, "basic", &t.err));
  CHECK(!ond_connector_takes_auth(t.c, "none", &t.err));
  CHECK_STR(t.err.message, "connector \"acme\" does not take credentials of type \"none\"");
  CHECK_STR(t.err.hint, "\"type\" of auth can be bearer, basic.");
  ond_connector_free(t.c);
  t.c = open_document(&t, (Said){.document = DOC("", ""), .account_only = true});
  CHECK(t.c && ond_connector_takes_auth(t.c, "hmac", &t.err));
  ond_connector_free(t.c);
  CHECK_STR(said(&t, (Said){.document = DOC(", 'auth': ['token']", ""), .account_only = true}), "\"token\" is not valid here");
  CHECK_STR(t.err.pointer, "/auth/0");
  CHECK_STR(said(&t, (Said){.document = DOC(", 'auth': []", ""), .account_only = true}), "\"auth\" is empty");
}

TEST(one_key_field_needs_one_column) {
  static const char *const KEYS[] = {"tenant", "id"};
  Case t = {0};

  t.c = open_document(&t, (Said){.document = DOC(", 'variables': {'f': {}}", ", 'key': '{{var.f}}'"), NULL, "{'f': 'email'}", .object = "contacts"});
  REQUIRE(t.c != NULL);
  CHECK_STR(ond_connector_key_field(t.c), "email");
  CHECK(!ond_connector_bind(t.c, OND_MODE_UPSERT, 2, KEYS, &t.err));
  CHECK_STR(t.err.pointer, "/objects/contacts/key");
  CHECK(ond_connector_bind(t.c, OND_MODE_UPSERT, 1, KEYS, &t.err));
  CHECK(!ond_connector_bind(t.c, OND_MODE_MIRROR, 1, KEYS, &t.err));
  CHECK_STR(t.err.message, "mode \"mirror\" is not possible with object \"contacts\" of connector \"acme\"");
  CHECK_STR(t.err.hint, "Modes that are possible: upsert, insert, update, append, replace.");
  ond_connector_free(t.c);
}

TEST(variables_stand_in_names_and_places) {
  static const char SPEC[] = DOC(", 'variables': {'f': {}}", ", 'required': ['{{var.f}}', 'x'], 'null': '#N/A', 'list': {'method': 'GET', 'rows': '/r', 'key': '/p/{{var.f}}/0'}");
  Case t = {0};

  t.c = open_document(&t, (Said){.document = SPEC, .variables = "{'f': 'a/b~'}", .object = "contacts"});
  REQUIRE(t.c != NULL);
  CHECK_STR(ond_connector_required(t.c, 0), "a/b~");
  CHECK_STR(ond_connector_required(t.c, 1), "x");
  CHECK(ond_connector_required(t.c, 2) == NULL);
  CHECK(ond_connector_null(t.c).n == 6 && memcmp(ond_connector_null(t.c).p, "\"#N/A\"", 6) == 0);
  ond_connector_free(t.c);
  CHECK_STR(said(&t, (Said){.document = SPEC, .object = "contacts"}), "the variable \"f\" is not given");
  CHECK_STR(said(&t, (Said){.document = DOC("", ", 'required': ['{{key}}']"), .object = "contacts"}), "{{key}} is not known here");
  CHECK_STR(said(&t, (Said){.document = DOC("", ", 'required': ['{{auth.x}}']"), .object = "contacts"}), "{{auth.x}} is not known here");
  CHECK_STR(said(&t, (Said){.document = DOC("", ", 'null': {}"), .object = "contacts"}), "\"null\" must be a string, a number or a boolean");
  CHECK_STR(t.err.pointer, "/objects/contacts/null");
  CHECK_STR(said(&t, (Said){.document = DOC(", 'unverified': 'all'", ""), .object = "contacts"}), "\"unverified\" must be an array");
}

/* A place of the key is one piece, whatever the variable holds. */
TEST(a_variable_does_not_leave_its_piece) {
  static const char SPEC[] = DOC(", 'variables': {'f': {}}", ", 'list': {'method': 'GET', 'rows': '', 'key': '/p/{{var.f}}'}");
  static const char *const KEYS[] = {"id"};
  Case t = {0};

  t.c = open_document(&t, (Said){.document = SPEC, .variables = "{'f': 'a/b'}", .object = "contacts"});
  REQUIRE(t.c && ond_connector_bind(t.c, OND_MODE_UPSERT, 1, KEYS, &t.err));
  CHECK_STR(listed_key(&t, "[{'p': {'a': {'b': 1}, 'a/b': 2}}]"), "2");
  ond_connector_free(t.c);
}

static void add_header(OndHttpResponse *response, const char *line) {
  ond_buf_append_str(&response->headers, line);
}

static int64_t pause_ms(const char *document, const char *headers) {
  static Case t;
  OndHttpResponse response = {.transfer = OND_TRANSFER_OK, .status = 200};
  OndConnector *c = open_document(&t, (Said){.document = document, .account_only = true});
  int64_t us = -1;

  ond_buf_init(&response.headers, 4096);
  add_header(&response, headers);
  if (c) {
    us = ond_connector_rate_pause(c, &response, INT64_C(1700000000));
  }
  ond_buf_free(&response.headers);
  ond_connector_free(c);
  return us < 0 ? us : us / 1000;
}

/* What follows an answer at the moment 0, in milliseconds. */
static OndAfterAnswer after(OndAnswer answer, const char *headers) {
  static Case t;
  OndHttpResponse response = {.transfer = OND_TRANSFER_OK, .status = 200};
  OndConnector *c = open_document(&t, (Said){.document = DOC("", ""), .account_only = true});
  OndAfterAnswer result = {-1, -1};

  ond_buf_init(&response.headers, 4096);
  add_header(&response, headers);
  if (c) {
    result = ond_connector_after(c, &response, answer, 1, 0, INT64_C(1700000000), 0);
  }
  ond_buf_free(&response.headers);
  ond_connector_free(c);
  return (OndAfterAnswer){result.again_us / 1000, result.pause_until_us / 1000};
}

#define RATE(unit) DOC(", 'rate_headers': {'remaining': 'X-Left', 'reset': 'X-Next', 'unit': '" unit "'}", "")

TEST(headers_that_say_nothing_is_left) {
  CHECK_INT(pause_ms(DOC("", ""), "RateLimit-Remaining: 0\r\nRateLimit-Reset: 7\r\n"), 7000);
  CHECK_INT(pause_ms(DOC("", ""), "RateLimit-Remaining: 1\r\nRateLimit-Reset: 7\r\n"), 0);
  CHECK_INT(pause_ms(DOC("", ""), "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1700000003\r\n"), 3000);
  CHECK_INT(pause_ms(DOC("", ""), "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1699999999\r\n"), 0);
  CHECK_INT(pause_ms(DOC("", ""), "X-Left: 0\r\nX-Next: 5\r\n"), 0);
  CHECK_INT(pause_ms(RATE("seconds"), "X-Left: 0\r\nX-Next: 5\r\n"), 5000);
  CHECK_INT(pause_ms(RATE("seconds"), "RateLimit-Remaining: 0\r\nRateLimit-Reset: 7\r\n"), 0);
  CHECK_INT(pause_ms(RATE("ms"), "X-Left: 0\r\nX-Next: 250\r\n"), 250);
  CHECK_INT(pause_ms(RATE("seconds"), "X-Left: 0\r\nX-Next: 1700000002\r\n"), 2000);
  CHECK_INT(pause_ms(RATE("seconds"), "X-Left: 0\r\nX-Next: soon\r\n"), 0);
  CHECK_INT(pause_ms(RATE("seconds"), "X-Left: -0x\r\nX-Next: 5\r\n"), 0);
  CHECK_INT(pause_ms(RATE("hours"), ""), -1);
  CHECK_INT(pause_ms(DOC(", 'rate_headers': {'remaining': 'X-Left'}", ""), ""), -1);
}

TEST(an_answer_says_when_the_next_request_may_go) {
  CHECK_INT(after(OND_ANSWER_READ, "").pause_until_us, 0);
  CHECK_INT(after(OND_ANSWER_READ, "RateLimit-Remaining: 0\r\nRateLimit-Reset: 7\r\n").pause_until_us, 7000);
  CHECK_INT(after(OND_ANSWER_UNAVAILABLE, "Retry-After: 9\r\n").again_us, 9000);
  CHECK_INT(after(OND_ANSWER_UNAVAILABLE, "Retry-After: 9\r\n").pause_until_us, 0);
  CHECK_INT(after(OND_ANSWER_THROTTLED, "Retry-After: 9\r\n").pause_until_us, 9000);
  CHECK_INT(after(OND_ANSWER_THROTTLED, "Retry-After: 9\r\nRateLimit-Remaining: 0\r\nRateLimit-Reset: 7\r\n").pause_until_us, 9000);
  CHECK_INT(after(OND_ANSWER_THROTTLED, "Retry-After: 9\r\nRateLimit-Remaining: 0\r\nRateLimit-Reset: 17\r\n").pause_until_us, 17000);
  CHECK_INT(after(OND_ANSWER_READ, "RateLimit-Remaining: 0\r\nRateLimit-Reset: 86400\r\n").pause_until_us, OND_PAUSE_MAX_US / 1000);
}

static const char *formed(Case *t, const char *type, const char *value) {
  static OndBuf out;
  int number = ond_connector_type(t->c, type, &t->err);

  ond_buf_free(&out);
  ond_buf_init(&out, 1000);
  if (number < 0) {
    return t->err.hint;
  }
  return ond_connector_form(t->c, number, case_bytes(value), &out) ? out.data : "full";
}

TEST(types_give_values_a_form) {
  static const char SPEC[] = ", 'types': {'title': {'value': {'title': [{'text': {'content': '$text'}}], 'raw': '$value'}, 'null': {'title': []}}, 'n': {'value': ['$value']}}";
  Case t = {0};

  t.c = open_document(&t, (Said){.document = DOC("", ""), .account_only = true});
  REQUIRE(t.c != NULL);
  CHECK_STR(formed(&t, "title", "1"), "It has no \"types\": leave \"as\" out.");
  ond_connector_free(t.c);
  {
    char document[1000];

    snprintf(document, sizeof(document), "{'title': 'A', 'base_url': 'https://x'%s, 'objects': {'o': {%s}}}", SPEC, OPS);
    t.c = open_document(&t, (Said){.document = document, .account_only = true});
  }
  REQUIRE(t.c != NULL);
  CHECK_STR(formed(&t, "title", " 12.50 "), "{\"title\":[{\"text\":{\"content\":\"12.50\"}}],\"raw\":12.50}");
  CHECK_STR(formed(&t, "title", "\"a\\n\\\"b\""), "{\"title\":[{\"text\":{\"content\":\"a\\n\\\"b\"}}],\"raw\":\"a\\n\\\"b\"}");
  CHECK_STR(formed(&t, "title", "{\"a\": \"x\"}"), "{\"title\":[{\"text\":{\"content\":\"{\\\"a\\\":\\\"x\\\"}\"}}],\"raw\":{\"a\": \"x\"}}");
  CHECK_STR(formed(&t, "title", "null"), "{\"title\":[]}");
  CHECK_STR(formed(&t, "n", "null"), "null");
  CHECK_STR(formed(&t, "m", "1"), "Its types are title, n.");
  ond_connector_free(t.c);
#define TYPES(spec) DOC(", 'types': {'t': " spec "}", "")
  CHECK_STR(said(&t, (Said){.document = TYPES("{'value': {'a': 1}}"), .account_only = true}), "the type does not say where the value belongs");
  CHECK_STR(said(&t, (Said){.document = TYPES("{'null': 1}"), .account_only = true}), "\"value\" is missing");
  CHECK_STR(said(&t, (Said){.document = TYPES("{'value': '$value', 'null': '$value'}"), .account_only = true}), "\"$value\" of a null says nothing");
  CHECK_STR(said(&t, (Said){.document = TYPES("{'value': ['$value', '{{key}}']}"), .account_only = true}), "a type knows only \"$value\" and \"$text\"");
  CHECK_STR(t.err.pointer, "/types/t/value/1");
}

static const char *positional(Case *t, const char *body, const char *fields) {
  static const char *const KEYS[] = {"id"};
  static const char *const NAMES[] = {"id", "e\"mail", "tags"};
  char document[600];

  snprintf(document, sizeof(document), "{'title': 'A', 'base_url': 'https://x', 'objects': {'o': {'upsert': {'method': 'POST', 'batch': {'rows': 5}, 'body': %s}}}}", body);
  ond_http_request_free(&t->request);
  ond_http_request_init(&t->request);
  ond_connector_free(t->c);
  t->c = open_document(t, (Said){.document = document, .object = "o"});
  if (!t->c || !ond_connector_bind(t->c, OND_MODE_UPSERT, 1, KEYS, &t->err)) {
    return t->err.message;
  }
  ond_connector_set_fields(t->c, 3, NAMES);
  t->o = ond_connector_operation(t->c, OND_OP_CREATE);
  case_row(t, 0, "1", fields);
  case_row(t, 1, "2", "{}");
  return case_render(t, 2) ? t->request.body.data : t->err.message;
}

TEST(rows_as_arrays) {
  static const char ROW[] = "{\"id\": 1.0, \"e\\u0022mail\": null, \"tags\": [1, \"x\"]}";
  Case t = {0};

  CHECK_STR(positional(&t, "{'c': {'$names': true}, 'r': ['$each', {'$values': true}]}", ROW),
            "{\"c\":[\"id\",\"e\\\"mail\",\"tags\"],\"r\":[[1.0,null,[1, \"x\"]],[null,null,null]]}");
  CHECK_STR(positional(&t, "['$each', {'$values': ['tags', 'nix', 'id', 'id']}]", ROW), "[[[1, \"x\"],null,1.0,1.0],[null,null,null,null]]");
  CHECK_STR(positional(&t, "['$each', {'$values': false}]", ROW), "\"$values\" takes a list of fields, or true for all of them");
  CHECK_STR(positional(&t, "['$each', {'$values': true, 'a': 1}]", ROW), "\"$values\" must be the only member of its object");
  CHECK_STR(positional(&t, "{'a': {'$values': true}, 'b': ['$each', 1]}", ROW), "\"$values\" belongs to one row, but a request of \"upsert\" carries up to 5");
  CHECK_STR(positional(&t, "['$each', {'$names': 'id'}]", ROW), "\"$names\" must be true or false");
  ond_http_request_free(&t.request);
  ond_connector_free(t.c);
}
