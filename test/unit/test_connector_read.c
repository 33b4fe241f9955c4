/*
 * test_connector_read.c - answers into the fate of rows: what is told, what is not, and what lies.
 */
#include "connector_case.h"

/* Rows with the keys 1, 2, 3, …; ids r0, r1, … */
static void rows(Case *t, int n) {
  static const char *const KEYS[] = {"1", "2", "3", "4", "5", "6", "7", "8"};
  static const char *const IDS[] = {"r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"};

  for (int i = 0; i < n; i++) {
    case_row(t, i, KEYS[i], "{}")->remote_id = case_bytes(IDS[i]);
  }
}

typedef struct Answer {
  const char *body;
  const char *fates;
  int strangers;
} Answer;

/* Each answer (status 200) to as many rows as it has fates. */
static void reads(const char *options, const Answer *answers, size_t n) {
  Case t;

  REQUIRE(case_open(&t, options, OND_OP_CREATE));
  for (size_t i = 0; i < n; i++) {
    int n_rows = (int)strlen(answers[i].fates);

    rows(&t, n_rows);
    case_read(&t, 200, answers[i].body, n_rows);
    CHECK_STR(case_fates(&t, n_rows), answers[i].fates);
    CHECK_INT(t.strangers, answers[i].strangers);
    if (strcmp(case_fates(&t, n_rows), answers[i].fates) != 0) {
      unit_note("%s", answers[i].body);
    }
    for (int row = 0; row < n_rows; row++) {
      CHECK((t.results[row].message == NULL) == (t.results[row].outcome == OND_OUT_ACCEPTED));
    }
  }
  case_close(&t);
}

#define READS(options, ...)                                                                                                                \
  do {                                                                                                                                     \
    static const Answer answers[] = {__VA_ARGS__};                                                                                         \
    reads(options, answers, sizeof(answers) / sizeof(answers[0]));                                                                         \
  } while (0)

#define ONE(rest)   "{'object': {'upsert': {'method': 'PUT'" rest "}}}"
#define BATCH(rest) "{'object': {'upsert': {'method': 'POST', 'batch': {'rows': 10}" rest "}}}"

TEST(the_status_says_it_all_by_default) {
  READS(ONE(""), {"", "A", 0}, {"<html>", "A", 0}, {"{'error': 'x'}", "A", 0});
  READS(BATCH(""), {"", "AAA", 0}, {"not json", "A", 0});
}

TEST(ok_in_the_body) {
  READS(BATCH(", 'ok': {'path': '/ok', 'equals': true}, 'error': '/error'"), {"{'ok': true}", "AA", 0},
        {"{'ok': false, 'error': 'channel_not_found'}", "RR", 0}, {"{'ok': null}", "RR", 0}, {"{'ok': {}}", "RR", 0},
        {"{'error': 'x'}", "RR", 0}, {"{}", "??", 0}, {"{'error': null}", "??", 0}, {"[]", "??", 0}, {"", "??", 0}, {"<html>", "??", 0},
        {"{'ok': true", "??", 0});
  READS(ONE(", 'ok': {'path': '/code', 'in': ['Success', 0]}"), {"{'code': 'Success'}", "A", 0}, {"{'code': 0}", "A", 0},
        {"{'code': '0'}", "A", 0}, {"{'code': 'BadParams'}", "R", 0});
  READS(ONE(", 'ok': {'path': '/error', 'absent': true}"), {"{}", "A", 0}, {"{'error': null}", "A", 0}, {"{'error': 'x'}", "R", 0});
  READS(ONE(", 'ok': {'path': '/error', 'equals': null}"), {"{'error': null}", "A", 0}, {"{}", "?", 0}, {"{'error': 1}", "R", 0});
}

TEST(one_row_is_its_own_record) {
  static const char OPTIONS[] =
      ONE(", 'result': {'id': '/data/id', 'ok': {'path': '/success', 'equals': true}, 'code': '/code', 'retry': ['BUSY', 429],"
          " 'created': {'path': '/new', 'equals': true}, 'remote': {'rev': '/data/rev', 'etag': '/etag'}}");
  Case t;

  READS(OPTIONS, {"{'success': true}", "A", 0}, {"{'success': false}", "R", 0}, {"{'success': false, 'code': 'BUSY'}", "T", 0},
        {"{'success': false, 'code': '429'}", "T", 0}, {"{'code': 429}", "T", 0}, {"{'success': true, 'code': 'BUSY'}", "A", 0},
        {"{}", "?", 0}, {"", "?", 0}, {"[]", "?", 0}, {"null", "?", 0}, {"5", "?", 0});
  REQUIRE(case_open(&t, OPTIONS, OND_OP_CREATE));
  CHECK(ond_operation_info(t.o)->reads_rows);
  rows(&t, 1);
  case_read(&t, 201, "{'success': true, 'new': true, 'data': {'id': 12345678901234567890123, 'rev': 1.50}, 'etag': {'a': ['\\u00e9']}}", 1);
  CHECK_STR(t.results[0].remote_id, "12345678901234567890123");
  CHECK_STR(t.results[0].remote, "{\"rev\":1.50,\"etag\":{\"a\":[\"\xC3\xA9\"]}}");
  CHECK_INT(t.results[0].created, 1);
  case_read(&t, 200, "{'success': true, 'new': false, 'data': {'id': {}, 'rev': null}}", 1);
  CHECK_STR(t.results[0].remote_id, NULL);
  CHECK_STR(t.results[0].remote, NULL);
  CHECK_INT(t.results[0].created, 0);
  case_read(&t, 200, "{'success': true, 'data': {'id': 'a\\u0000b', 'rev': 'a\\u0000b'}, 'etag': 'x'}", 1);
  CHECK_STR(t.results[0].remote_id, NULL);
  CHECK_STR(t.results[0].remote, "{\"etag\":\"x\"}");
  CHECK_INT(t.results[0].created, -1);
  case_read(&t, 204, "", 1);
  CHECK_STR(case_fates(&t, 1), "A");
  CHECK_STR(t.results[0].remote_id, NULL);
  case_close(&t);
}

TEST(results_by_order) {
  static const char OPTIONS[] = BATCH(", 'result': {'rows': '/results', 'id': '/id', 'ok': {'path': '/success', 'equals': true}, 'error': "
                                      "'/errors', 'code': '/errors/0/code', 'retry': ['LOCK']}");
  Case t;

  READS(OPTIONS, {"{'results': [{'success': true}, {'success': false}, {'success': false, 'errors': [{'code': 'LOCK'}]}]}", "ART", 0},
        {"{'results': [{'success': true}]}", "??", 0}, {"{'results': [{'success': true}, {'success': true}, {'success': true}]}", "??", 0},
        {"{'results': {}}", "??", 0}, {"{}", "??", 0}, {"[{'success': true}]", "?", 0}, {"{'results': [{}, {'success': true}]}", "?A", 0},
        {"{'results': [null, {'success': true}]}", "?A", 0}, {"{'results': [{'errors': 'x'}, 7]}", "R?", 0});
  REQUIRE(case_open(&t, OPTIONS, OND_OP_CREATE));
  rows(&t, 2);
  case_read(&t, 200,
            "{'results': [{'success': true, 'id': 7}, {'success': false, 'errors': [{'message': 'too  long\\n', 'code': 'X'}, {'message': "
            "'also'}]}]}",
            2);
  CHECK_STR(t.results[0].remote_id, "7");
  CHECK_STR(t.results[1].message, "too long; also");
  CHECK_STR(t.results[1].remote_id, NULL);
  case_read(&t, 200, "{'results': [{'success': true}]}", 2);
  CHECK_STR(t.results[1].message, "the answer has 1 results for 2 rows");
  case_close(&t);
  READS(BATCH(", 'result': {'rows': ''}"), {"[1, 2]", "AA", 0}, {"[]", "?", 0}, {"{}", "?", 0});
}

TEST(results_by_key) {
  static const char OPTIONS[] =
      BATCH(", 'result': {'rows': '/results', 'match': {'key': '/k'}, 'id': '/id', 'ok': {'path': '/ok', 'equals': true}}");
  Case t;

  READS(OPTIONS, {"{'results': [{'k': 1, 'ok': true}, {'k': 2, 'ok': false}]}", "AR", 0},                 /* in order */
        {"{'results': [{'k': 3, 'ok': true}, {'k': 1, 'ok': true}, {'k': 2, 'ok': true}]}", "AAA", 0},    /* in another */
        {"{'results': [{'k': '2', 'ok': true}]}", "?A", 0},                                               /* as text, and one is missing */
        {"{'results': [{'k': 2, 'ok': true}, {'k': 9, 'ok': true}, {'k': 1.0, 'ok': true}]}", "?A", 2},   /* strangers */
        {"{'results': [{'ok': true}, {'k': null, 'ok': true}, {'k': {}, 'ok': true}, 5, null]}", "?", 4}, /* no key */
        {"{'results': [{'k': 1, 'ok': true}, {'k': 1, 'ok': false}]}", "R?", 0},                          /* two that disagree */
        {"{'results': [{'k': 1, 'ok': false}, {'k': 1, 'ok': true}]}", "R", 0}, {"{'results': [{'k': 1, 'ok': true}, {'k': 1}]}", "?", 0},
        {"{'results': [{'k': 1, 'ok': true}, {'k': 1, 'ok': true}]}", "A", 0}, {"{'results': []}", "??", 0}, {"{'results': null}", "?", 0},
        {"{}", "?", 0}, {"[]", "?", 0});
  REQUIRE(case_open(&t, OPTIONS, OND_OP_CREATE));
  rows(&t, 2);
  case_read(&t, 200, "{'results': [{'k': 2, 'ok': true, 'id': 'b'}, {'k': 1, 'ok': true, 'id': 'a'}, {'k': 1, 'ok': true, 'id': 'c'}]}", 2);
  CHECK_STR(t.results[0].remote_id, "a");
  CHECK_STR(t.results[1].remote_id, "b");
  case_close(&t);
}

TEST(keys_are_compared_as_text) {
  static const char OPTIONS[] = "{'object': {'key': {'field': 'email', 'fold': 'lower'}, 'upsert': {'method': 'POST', 'batch': {'rows': "
                                "10}, 'result': {'rows': '', 'match': {'key': '/email'}}}}}";
  Case t;

  REQUIRE(case_open(&t, OPTIONS, OND_OP_CREATE));
  case_row(&t, 0, "\"Ann\\u0040X\"", "{}");
  case_row(&t, 1, "12345678901234567890", "{}");
  case_row(&t, 2, "null", "{}");
  case_read(&t, 200, "[{'email': 'aNN@x'}, {'email': '12345678901234567890'}, {'email': ''}, {'email': null}]", 3);
  CHECK_STR(case_fates(&t, 3), "AA?");
  CHECK_INT(t.strangers, 2);
  case_read(&t, 200, "[{'email': 12345678901234567890}, {'email': 12345678901234567891}]", 3);
  CHECK_STR(case_fates(&t, 3), "?A?");
  CHECK_INT(t.strangers, 1);
  /* Two rows that the destination holds for one. */
  case_row(&t, 1, "\"ann@x\"", "{}");
  case_read(&t, 200, "[{'email': 'ann@x'}]", 2);
  CHECK_STR(case_fates(&t, 2), "AA");
  case_close(&t);
}

TEST(records_may_name_something_else_than_the_key) {
  READS(BATCH(", 'result': {'rows': '/r', 'match': {'key': '/id', 'by': '{{remote_id}}'}}"), {"{'r': [{'id': 'r1'}]}", "?A", 0});
  READS(BATCH(", 'result': {'rows': '/r', 'match': {'key': '', 'by': 'x-{{key}}'}}"), {"{'r': ['x-2', 'x-7']}", "?A", 1});
  READS(BATCH(", 'result': {'rows': '/r', 'match': {'map': true, 'by': '{{idempotency_key}}'}, 'error': '/errors', 'ok': {'path': "
              "'/errors', 'absent': true}}"),
        {"{'r': {'bbbb': {'errors': ['x']}, 'aaaa': {'customer': {}}, 'zzzz': {}}}", "AR?", 1});
}

TEST(results_by_map) {
  READS(BATCH(", 'result': {'rows': '/d', 'match': 'map', 'ok': {'path': '/status', 'in': [200, 201]}}"),
        {"{'d': {'2': {'status': 200}, '1': {'status': 400}, '9': {'status': 200}}}", "RA?", 1}, {"{'d': {'1': null}}", "?", 0},
        {"{'d': []}", "?", 0}, {"{}", "?", 0});
}

TEST(results_by_index) {
  READS(BATCH(", 'result': {'rows': '/r', 'match': {'index': '/i'}, 'ok': {'path': '/ok', 'equals': true}}"),
        {"{'r': [{'i': 1, 'ok': true}, {'i': '0', 'ok': false}]}", "RA", 0},
        {"{'r': [{'i': 2, 'ok': true}, {'i': -1, 'ok': true}, {'i': 1.0, 'ok': true}, {'i': '', 'ok': true}, {'i': 99999999999, 'ok': "
         "true}, {'ok': true}]}",
         "??", 6});
}

TEST(only_errors_are_listed) {
  static const char INDEX[] = BATCH(
      ", 'result': {'errors': {'rows': '/errors', 'index': '/batch_index', 'message': '/reason', 'code': '/field'}, 'retry': ['busy']}");

  READS(INDEX, {"{}", "AAA", 0}, {"{'errors': []}", "AA", 0}, {"{'errors': null}", "A", 0},
        {"{'errors': [{'batch_index': 1, 'reason': 'bad'}]}", "ARA", 0},
        {"{'errors': [{'batch_index': 0, 'field': 'busy'}, {'batch_index': 2}]}", "TAR", 0},
        {"{'errors': [{'batch_index': 0, 'field': 'busy'}, {'batch_index': 0}]}", "RA", 0}, {"{'errors': [{'batch_index': 7}]}", "??", 1},
        {"{'errors': [{'batch_index': 0}, {'reason': 'something'}]}", "R?", 0}, {"{'errors': [null]}", "?", 0},
        {"{'errors': ['x']}", "?", 0}, {"{'errors': 'x'}", "??", 0}, {"", "?", 0}, {"<html>", "?", 0}, {"[]", "A", 0});
}

TEST(errors_name_lists_of_keys) {
  READS(BATCH(", 'result': {'errors': {'rows': '', 'keys': '/failedUpdates'}}"),
        {"{'failedUpdates': {'invalidEmails': [2, '1'], 'notFound': []}, 'failCount': 2}", "RRA", 0},
        {"{'failedUpdates': {'one': 3}}", "AAR", 0}, {"{'failedUpdates': {}}", "A", 0}, {"{}", "A", 0}, {"{'failedUpdates': [2]}", "AR", 0},
        {"{'failedUpdates': {'x': [9]}}", "??", 1}, {"{'failedUpdates': {'x': [{}]}}", "??", 1});
  READS(BATCH(", 'result': {'errors': {'rows': '/errors', 'index': '', 'message': '/m'}}"),
        {"{'errors': {'email': [0, 2], 'name': [2]}}", "RAR", 0});
}

TEST(reasons_become_messages) {
  Case t;

  REQUIRE(case_open(&t, BATCH(", 'result': {'errors': {'rows': '/failed', 'keys': ''}}"), OND_OP_CREATE));
  rows(&t, 2);
  case_read(&t, 200, "{'failed': {'invalidEmails': [2]}}", 2);
  CHECK_STR(case_fates(&t, 2), "AR");
  CHECK_STR(t.results[1].message, "invalidEmails");
  case_close(&t);
}

TEST(errors_beside_results) {
  static const char OPTIONS[] =
      BATCH(", 'result': {'rows': '/results', 'match': {'key': '/k'}, 'errors': {'rows': '/errors', 'keys': '/ids', 'message': '/m'}}");

  READS(OPTIONS, {"{'results': [{'k': 1}], 'errors': [{'ids': [2, 3], 'm': 'x'}]}", "ARR?", 0},
        {"{'results': [{'k': 1}], 'errors': [{'ids': [1]}]}", "R", 0}, {"{'errors': [{'ids': ['1']}]}", "R?", 0},
        {"{'results': [{'k': 1}], 'errors': [{'ids': [8]}, {}]}", "A?", 1});
  READS(BATCH(", 'result': {'rows': '/results', 'errors': {'rows': '/errors', 'index': '/i'}}"),
        {"{'results': [1], 'errors': [{'i': 1}]}", "?R", 0}, {"{'results': [1, 2], 'errors': [{'i': 1}]}", "AR", 0});
}

TEST(composite_keys_match_by_column) {
  static const char *const KEYS[] = {"tenant", "id"};
  Case t;

  memset(&t, 0, sizeof(t));
  REQUIRE(case_parse(&t, BATCH(", 'result': {'rows': '', 'match': {'key': {'id': '/id', 'tenant': '/t/name'}}, 'errors': {'rows': '/none', "
                               "'key': {'id': '/id', 'tenant': '/t'}}}")));
  REQUIRE(ond_connector_bind(t.c, OND_MODE_UPSERT, 2, KEYS, &t.err));
  t.o = ond_connector_operation(t.c, OND_OP_CREATE);
  t.arena = ond_arena_create();
  for (int i = 0; i < 3; i++) {
    case_row(&t, i, i == 0 ? "\"a\"" : "\"1a\"", "{}");
    t.keys[i][1] = case_bytes(i == 0 ? "11" : "1");
    t.rows[i].n_keys = 2;
  }
  t.keys[2][1] = case_bytes("2");
  case_read(&t, 200, "[{'id': '1', 't': {'name': '1a'}}, {'id': 11, 't': {'name': 'a'}}, {'id': 2}, {'id': 2, 't': {'name': 'zz'}}]", 3);
  CHECK_STR(case_fates(&t, 3), "AA?");
  CHECK_INT(t.strangers, 2);
  /* (a, 11) and (1a, 1) are two keys. */
  case_read(&t, 200, "[{'id': '1', 't': {'name': '1a'}}]", 3);
  CHECK_STR(case_fates(&t, 3), "?A?");
  case_close(&t);
}

TEST(counts_confirm_all_or_nothing) {
  static const char BOTH[] = BATCH(", 'result': {'counts': {'accepted': ['/created', '/updated'], 'failed': '/failed'}}");
  Case t;

  READS(BOTH, {"{'created': 1, 'updated': 2, 'failed': 0}", "AAA", 0}, {"{'created': [5], 'updated': 1, 'failed': []}", "AA", 0},
        {"{'created': 1, 'updated': 1, 'failed': 1}", "???", 0}, {"{'created': 1, 'updated': 1, 'failed': 0}", "???", 0},
        {"{'created': 3, 'failed': 0}", "???", 0}, {"{'created': '3', 'updated': 0, 'failed': 0}", "???", 0},
        {"{'created': -1, 'updated': 4, 'failed': 0}", "???", 0}, {"", "?", 0}, {"[]", "?", 0});
  READS(BATCH(", 'result': {'counts': {'failed': '/failed'}}"), {"{'failed': 0}", "AA", 0}, {"{'failed': 1}", "??", 0});
  REQUIRE(case_open(&t, BOTH, OND_OP_CREATE));
  CHECK(ond_operation_info(t.o)->unconfirmed && !ond_operation_info(t.o)->reads_rows);
  rows(&t, 1);
  case_read(&t, 200, "{'created': 1, 'updated': 0, 'failed': 0}", 1);
  CHECK(t.results[0].unconfirmed);
  case_close(&t);
}

TEST(lines_are_records) {
  static const char ORDER[] =
      BATCH(", 'encoding': 'ndjson', 'result': {'lines': true, 'ok': {'path': '/success', 'equals': true}, 'error': '/error'}");

  READS(ORDER, {"{'success': true}\n{'success': false, 'error': 'bad'}\n", "AR", 0},
        {"{'success': true}\r\n\r\n{'success': true}", "AA", 0}, {"{'success': true}\n", "??", 0},
        {"{'success': true}\n{'success': true}\n{'success': true}\n", "??", 0}, {"{'success': true}\nrubbish\n", "A?", 0}, {"", "?", 0});
  READS(BATCH(", 'encoding': 'ndjson', 'result': {'lines': true, 'match': {'key': '/k'}}"), {"{'k': 2}\n{'k': 9}\nx\n{}\n", "?A", 2});
}

TEST(statuses_called_fine_need_no_body) {
  Case t;

  REQUIRE(case_open(
      &t,
      "{'object': {'upsert': {'method': 'PUT', 'fine': [404, 409], 'ok': {'path': '/success', 'equals': true}, 'result': {'id': '/id'}}}}",
      OND_OP_CREATE));
  rows(&t, 1);
  case_read(&t, 404, "{'success': false, 'error': 'not found'}", 1);
  CHECK_STR(case_fates(&t, 1), "A");
  case_read(&t, 404, "gone", 1);
  CHECK_STR(case_fates(&t, 1), "A");
  case_read(&t, 409, "{'id': 'there'}", 1);
  CHECK_STR(t.results[0].remote_id, "there");
  case_read(&t, 200, "{'success': false}", 1);
  CHECK_STR(case_fates(&t, 1), "R");
  case_close(&t);
  REQUIRE(case_open(&t,
                    BATCH(", 'fine': [400], 'result': {'errors': {'rows': '/failed_records', 'index': '/index', 'message': '/message'}}"),
                    OND_OP_CREATE));
  rows(&t, 2);
  case_read(&t, 400, "{'failed_records': [{'index': 1, 'message': 'too old'}]}", 2);
  CHECK_STR(case_fates(&t, 2), "AR");
  case_read(&t, 400, "oops", 2);
  CHECK_STR(case_fates(&t, 2), "??");
  case_read(&t, 204, "", 2);
  CHECK_STR(case_fates(&t, 2), "AA");
  case_close(&t);
}

/* ---- hostile answers ---- */

static void read_raw(Case *t, const char *body, size_t body_n, int n) {
  OndHttpResponse response = {.transfer = OND_TRANSFER_OK, .status = 200};

  ond_buf_init(&response.body, 1 << 24);
  ond_buf_append(&response.body, body, body_n);
  ond_connector_read(t->c, t->o, &response, t->row_list, n, t->arena, t->results, NULL);
  ond_buf_free(&response.body);
}

TEST(answers_that_are_no_text_say_nothing) {
  static char deep[200000];
  Case t;

  REQUIRE(case_open(&t, BATCH(", 'result': {'rows': ''}"), OND_OP_CREATE));
  rows(&t, 1);
  memset(deep, '[', sizeof(deep));
  read_raw(&t, deep, sizeof(deep), 1);
  CHECK_STR(case_fates(&t, 1), "?");
  CHECK_STR(t.results[0].message, "the answer is nested too deeply");
  read_raw(&t, "[\"\xFF\"]", 5, 1);
  CHECK_STR(case_fates(&t, 1), "?");
  read_raw(&t, "[1]\0", 4, 1);
  CHECK_STR(case_fates(&t, 1), "?");
  read_raw(&t, "[1]", 3, 1);
  CHECK_STR(case_fates(&t, 1), "A");
  case_close(&t);
}

TEST(what_is_kept_of_an_answer_is_bounded) {
  static char body[60000];
  Case t;
  size_t n;

  REQUIRE(case_open(&t,
                    BATCH(", 'result': {'rows': '', 'ok': {'path': '/ok', 'equals': true}, 'error': '/error', 'id': '/id', 'remote': {'a': "
                          "'/id', 'b': '/ok'}}"),
                    OND_OP_CREATE));
  rows(&t, 2);
  n = (size_t)snprintf(body, sizeof(body), "[{\"ok\":true,\"id\":\"");
  memset(body + n, 'x', 20000);
  n += 20000;
  n += (size_t)snprintf(body + n, sizeof(body) - n, "\"},{\"ok\":false,\"error\":\"");
  for (int i = 0; i < 5000; i++) {
    memcpy(body + n, "\xC3\xA9", 2);
    n += 2;
  }
  n += (size_t)snprintf(body + n, sizeof(body) - n, "\\u0000\\u001b[31m\"}]");
  read_raw(&t, body, n, 2);
  CHECK_STR(case_fates(&t, 2), "AR");
  CHECK_STR(t.results[0].remote_id, NULL);
  CHECK_STR(t.results[0].remote, "{\"b\":true}");
  CHECK_INT(strlen(t.results[1].message), 1000);
  case_close(&t);
}
