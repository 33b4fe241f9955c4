/*
 * test_connector_list.c - lists: the requests for their pages, the ways to the next one, how the end shows, and what must not be followed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "connector_case.h"

typedef struct Walk {
  Case t;
  OndPaging paging;
  OndListInput input;
  char seen[4000]; /* the records' ids */
  OndError err;
} Walk;

static bool note(const OndRecord *record, void *arg) {
  Walk *w = arg;

  snprintf(w->seen + strlen(w->seen), sizeof(w->seen) - strlen(w->seen), "%.*s ", (int)(record->id.p ? record->id.n : 1), record->id.p ? record->id.p : "?");
  return true;
}

/* list: in single quotes. */
static bool walk_open(Walk *w, const char *list) {
  static const char *const KEYS[] = {"id"};
  char options[4000];

  memset(w, 0, sizeof(*w));
  snprintf(options, sizeof(options), "{'object': {'upsert': {'method': 'PUT', 'path': '/x/{{key}}'}, 'list': %s}}", list);
  ond_http_request_init(&w->t.request);
  if (!case_parse(&w->t, options) || !ond_connector_bind(w->t.c, OND_MODE_UPSERT, 1, KEYS, &w->t.err)) {
    unit_note("%s: %s", w->t.err.pointer, w->t.err.message);
    return false;
  }
  ond_paging_init(&w->paging, w->t.c, ond_connector_list(w->t.c));
  return true;
}

static void walk_close(Walk *w) {
  ond_paging_free(&w->paging);
  ond_http_request_free(&w->t.request);
  ond_connector_free(w->t.c);
}

/* The next request as "METHOD URL body". */
static const char *request(Walk *w) {
  static char out[2000];

  ond_http_request_free(&w->t.request);
  if (!ond_paging_render(&w->paging, &w->input, &w->t.request, &w->err))
    return w->err.message;
  snprintf(out, sizeof(out), "%s %s %s", w->t.request.method, w->t.request.url + strlen(CASE_URL), w->t.request.body.len > 0 ? w->t.request.body.data : "");
  return out;
}

/* Reads an answer (single quotes); link: a Link header or NULL. */
static bool answer(Walk *w, const char *body, const char *link) {
  OndHttpResponse *r = ond_calloc(sizeof(*r));
  const char *json = case_json(&w->t, body);
  bool ok;

  r->status = 200;
  ond_buf_init(&r->body, 1 << 20);
  ond_buf_init(&r->headers, 1 << 16);
  ond_buf_append_str(&r->body, json);
  if (link) {
    ond_buf_append_str(&r->headers, "Link: ");
    ond_buf_append_str(&r->headers, link);
    ond_buf_append_str(&r->headers, "\r\n");
  }
  memset(&w->err, 0, sizeof(w->err));
  ok = ond_paging_read(&w->paging, r, true, note, w, &w->err);
  ond_http_response_free(r);
  return ok;
}

TEST(list_by_a_cursor_in_the_query) {
  Walk w;

  CHECK(walk_open(&w, "{'method': 'GET', 'path': '/c', 'query': {'limit': '2', 'after': '{{cursor}}', 'properties': '{{fields}}', 'since': '{{arg.since}}'},"
                      " 'rows': '/results', 'id': '/id', 'key': '/p/email', 'fields': '/p', 'next': {'cursor': '/paging/next/after'}}"));
  w.input.fields_text = OND_BYTES_LIT("email,name");
  CHECK_STR(request(&w), "GET /c?limit=2&properties=email%2Cname ");
  CHECK(answer(&w, "{'results': [{'id': 1, 'p': {'email': 'a'}}, {'id': '2'}], 'paging': {'next': {'after': 'a b&c'}}}", NULL));
  CHECK(w.paging.more);
  w.input.args = OND_BYTES_LIT("{\"since\": \"2026-01-01\"}");
  CHECK_STR(request(&w), "GET /c?limit=2&after=a%20b%26c&properties=email%2Cname&since=2026-01-01 ");
  CHECK(answer(&w, "{'results': [{'id': 3}], 'paging': null}", NULL));
  CHECK(!w.paging.more);
  CHECK_STR(w.seen, "1 2 3 ");
  CHECK_INT(w.paging.records, 3);
  CHECK_STR(ond_connector_arg(w.t.c, 0), "since");
  CHECK(ond_connector_arg(w.t.c, 1) == NULL);
  walk_close(&w);
}

TEST(list_by_a_cursor_in_the_body_keeps_its_type) {
  Walk w;

  CHECK(walk_open(&w, "{'method': 'POST', 'path': '/s', 'body': {'size': 2, 'page': {'after': '{{cursor}}', 'n': 1}, 'want': '{{fields}}', 'q': ['{{arg.q}}', 'x']},"
                      " 'rows': '/hits', 'id': '/id', 'next': {'cursor': '/next'}}"));
  w.input.fields = OND_BYTES_LIT("[\"a\",\"b\"]");
  w.input.fields_text = OND_BYTES_LIT("a,b");
  CHECK_STR(request(&w), "POST /s {\"size\":2,\"page\":{\"n\":1},\"want\":[\"a\",\"b\"],\"q\":[\"x\"]}");
  CHECK(answer(&w, "{'hits': [{'id': 1}], 'next': [12345678901234567890, 'k']}", NULL));
  CHECK_STR(request(&w), "POST /s {\"size\":2,\"page\":{\"after\":[12345678901234567890,\"k\"],\"n\":1},\"want\":[\"a\",\"b\"],\"q\":[\"x\"]}");
  CHECK(answer(&w, "{'hits': [], 'next': ''}", NULL));
  CHECK(!w.paging.more);
  walk_close(&w);
}

#define REPORT "'steps': [{'name': 'create', 'method': 'POST', 'path': '/reports', 'body': {'since': '{{arg.since}}', 'fields': '{{fields}}'}, 'capture': {'id': '/id'}}," \
  "{'name': 'poll', 'method': 'GET', 'path': '/reports/{{job.id}}', 'poll': {'every_ms': 100, 'max_ms': 200, 'done': {'path': '/state', 'equals': 'done'}," \
  " 'failed': {'path': '/state', 'equals': 'failed'}, 'error': '/why'}, 'capture': {'file': '/file'}}], 'jobs': {'timeout_ms': 10000},"

TEST(list_after_the_steps_of_a_report) {
  Walk w;
  char label[100];

  CHECK(walk_open(&w, "{" REPORT "'method': 'GET', 'url': '{{job.file}}', 'query': {'part': '{{cursor}}'}, 'format': 'csv', 'id': '/id', 'next': {'cursor': {'header': 'Link'}}}"));
  w.input.args = OND_BYTES_LIT("{\"since\": 7}");
  CHECK_INT(ond_paging_wait_us(&w.paging, 1000000, &w.err), 0);
  CHECK_STR(request(&w), "POST /reports {\"since\":7}");
  CHECK(answer(&w, "{'id': 'r 1'}", NULL));
  ond_paging_label(&w.paging, label, sizeof(label));
  CHECK_STR(label, "step \"poll\" of the list");
  CHECK_INT(ond_paging_wait_us(&w.paging, 1000000, &w.err), 100000);
  CHECK_STR(request(&w), "GET /reports/r%201 ");
  CHECK(answer(&w, "{'state': 'working'}", NULL));
  CHECK_INT(ond_paging_wait_us(&w.paging, 1100000, &w.err), 150000);
  CHECK(answer(&w, "{'state': 'working'}", NULL));
  CHECK_INT(ond_paging_wait_us(&w.paging, 10900000, &w.err), 100000);
  CHECK_INT(ond_paging_wait_us(&w.paging, 11000000, &w.err), -1);
  CHECK_STR(w.err.message, "job r 1 of the list did not end within 10 seconds");
  CHECK(answer(&w, "{'state': 'done', 'file': '/files/1?k=2'}", NULL));
  CHECK_INT(ond_paging_wait_us(&w.paging, 99000000, &w.err), 0);
  ond_http_request_free(&w.t.request);
  CHECK(ond_paging_render(&w.paging, &w.input, &w.t.request, &w.err));
  CHECK_STR(w.t.request.url, "https://api.example.com/files/1?k=2");
  CHECK(answer(&w, "id,name\n1,a\n2,'b\n'\n", "p2"));
  CHECK(w.paging.more);
  ond_http_request_free(&w.t.request);
  CHECK(ond_paging_render(&w.paging, &w.input, &w.t.request, &w.err));
  CHECK_STR(w.t.request.url, "https://api.example.com/files/1?k=2&part=p2");
  CHECK(answer(&w, "id,name\n3,c\n", "null"));
  CHECK(!w.paging.more);
  CHECK_STR(w.seen, "1 2 3 ");
  walk_close(&w);
}

TEST(reports_that_fail) {
  static const struct { const char *created, *polled, *message; } CASES[] = {
    {"{'oops': 1}", NULL, "step \"create\" of the list could not be read: the answer does not tell \"id\" of the job"},
    {"{'id': 5}", "{'state': 'failed', 'why': 'out of paper'}", "job 5 of the list has failed: out of paper"},
    {"{'id': 5}", "no", "step \"poll\" of the list could not be read: the answer is not JSON"},
    {"{'id': 5}", "{'state': 'done'}", "step \"poll\" of the list could not be read: the answer does not tell \"file\" of the job"},
  };
  Walk w;

  for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
    CHECK(walk_open(&w, "{" REPORT "'method': 'GET', 'url': '{{job.file}}', 'id': '/id'}"));
    CHECK(answer(&w, CASES[i].created, NULL) == (CASES[i].polled != NULL));
    CHECK(!CASES[i].polled || !answer(&w, CASES[i].polled, NULL));
    CHECK_STR(w.err.message, CASES[i].message);
    walk_close(&w);
  }
  CHECK(walk_open(&w, "{" REPORT "'method': 'GET', 'url': '{{job.file}}', 'id': '/id'}"));
  CHECK(answer(&w, "{'id': 5}", NULL) && answer(&w, "{'state': 'done', 'file': 'https://evil.example.com/x'}", NULL));
  CHECK_STR(request(&w), "the URL is at another host: evil.example.com");
  walk_close(&w);
}

TEST(list_by_urls) {
  Walk w;

  CHECK(walk_open(&w, "{'method': 'GET', 'path': '/q', 'rows': '/r', 'id': '/id', 'next': {'url': '/next'}}"));
  CHECK_STR(request(&w), "GET /q ");
  CHECK(answer(&w, "{'r': [], 'next': '/v2/q/01-2000?x=1'}", NULL));
  CHECK(w.paging.more);
  ond_http_request_free(&w.t.request);
  CHECK(ond_paging_render(&w.paging, &w.input, &w.t.request, &w.err));
  CHECK_STR(w.t.request.url, "https://api.example.com/v2/q/01-2000?x=1");
  CHECK(answer(&w, "{'r': [{'id': 1}], 'next': 'https://api.example.com/v3'}", NULL));
  CHECK(!answer(&w, "{'r': [], 'next': 'https://evil.example.com/v3'}", NULL));
  CHECK(strstr(w.err.message, "at another host: evil.example.com") != NULL);
  CHECK(!answer(&w, "{'r': [], 'next': 'http://api.example.com/v3'}", NULL));
  CHECK(!answer(&w, "{'r': [], 'next': 'https://api.example.com:444/v3'}", NULL));
  CHECK(!answer(&w, "{'r': [], 'next': 'file:///etc/passwd'}", NULL));
  CHECK(!answer(&w, "{'r': [], 'next': '//evil.example.com/v3'}", NULL));
  walk_close(&w);
  CHECK(walk_open(&w, "{'method': 'GET', 'path': '/q', 'id': '/id', 'next': {'link': 'next'}}"));
  CHECK(answer(&w, "[{'id': 1}]", "<https://api.example.com/q?p=2>; rel=\"next\""));
  CHECK(w.paging.more);
  CHECK(answer(&w, "[{'id': 2}]", "<https://api.example.com/q?p=1>; rel=\"prev\""));
  CHECK(!w.paging.more);
  CHECK_STR(w.seen, "1 2 ");
  walk_close(&w);
}

TEST(list_by_numbers) {
  Walk w;

  CHECK(walk_open(&w, "{'method': 'GET', 'query': {'page': '{{cursor}}'}, 'rows': '/r', 'id': '/id', 'next': {'page': {'first': 1}, 'total_pages': '/pages'}}"));
  CHECK_STR(request(&w), "GET ?page=1 ");
  CHECK(answer(&w, "{'r': [{'id': 1}], 'pages': 2}", NULL));
  CHECK_STR(request(&w), "GET ?page=2 ");
  CHECK(answer(&w, "{'r': [{'id': 2}], 'pages': 2}", NULL));
  CHECK(!w.paging.more);
  walk_close(&w);
  CHECK(walk_open(&w, "{'method': 'GET', 'query': {'o': '{{cursor}}'}, 'rows': '/r', 'id': '/id', 'next': {'offset': {}, 'total': '/total'}}"));
  CHECK_STR(request(&w), "GET ?o=0 ");
  CHECK(answer(&w, "{'r': [{'id': 1}, {'id': 2}], 'total': 3}", NULL));
  CHECK_STR(request(&w), "GET ?o=2 ");
  CHECK(answer(&w, "{'r': [{'id': 3}], 'total': 3}", NULL));
  CHECK(!w.paging.more);
  walk_close(&w);
  CHECK(walk_open(&w, "{'method': 'GET', 'query': {'o': '{{cursor}}'}, 'rows': '/r', 'id': '/id', 'next': {'offset': {'step': 100}}}"));
  CHECK(answer(&w, "{'r': [{'id': 1}]}", NULL));
  CHECK_STR(request(&w), "GET ?o=100 ");
  CHECK(answer(&w, "{'r': []}", NULL));
  CHECK(!w.paging.more);
  walk_close(&w);
  CHECK(walk_open(&w, "{'method': 'GET', 'query': {'starting_after': '{{cursor}}'}, 'rows': '/data', 'id': '/id', 'next': {'last': '/id', 'has_more': {'path': '/has_more', 'equals': true}}}"));
  CHECK_STR(request(&w), "GET  ");
  CHECK(answer(&w, "{'data': [{'id': 'a'}, {'id': 'b'}], 'has_more': true}", NULL));
  CHECK_STR(request(&w), "GET ?starting_after=b ");
  CHECK(answer(&w, "{'data': [{'id': 'c'}], 'has_more': false}", NULL));
  CHECK(!w.paging.more);
  CHECK_STR(w.seen, "a b c ");
  walk_close(&w);
}

TEST(list_of_lines_and_records_that_do_not_count) {
  Walk w;

  CHECK(walk_open(&w, "{'method': 'GET', 'format': 'lines', 'id': '/id', 'skip': {'path': '/archived', 'equals': true}}"));
  CHECK(answer(&w, "{'id': 1}\n\n{'id': 2, 'archived': true}\r\n{'id': 3}", NULL));
  CHECK_STR(w.seen, "1 3 ");
  CHECK(!answer(&w, "{'id': 1}\n{'id': ", NULL));
  CHECK(strstr(w.err.message, "line 5 of the list") != NULL);
  walk_close(&w);
}

TEST(list_that_goes_in_circles_is_an_error) {
  for (int length = 1; length <= 9; length++) {
    Walk w;
    bool ok = true;
    int pages = 0;

    CHECK(walk_open(&w, "{'method': 'GET', 'query': {'c': '{{cursor}}'}, 'rows': '/r', 'id': '/id', 'next': {'cursor': '/n'}}"));
    while (ok && pages < 100) {
      char body[100];

      snprintf(body, sizeof(body), "{'r': [], 'n': %d}", pages < 3 ? pages + 100 : pages % length);
      ok = answer(&w, body, NULL);
      pages++;
    }
    CHECK(!ok && strstr(w.err.message, "goes in circles") != NULL);
    walk_close(&w);
  }
}

TEST(list_answers_that_lie_are_errors) {
  static const char *const BAD[] = {"", "[", "{'r': {}}", "{'x': []}", "{'r': 1}", "<html>", "{'r': [], 'ok': false, 'error': 'no'}", "{'r': []}"};
  Walk w;

  CHECK(walk_open(&w, "{'method': 'GET', 'rows': '/r', 'id': '/id', 'ok': {'path': '/ok', 'equals': true}}"));
  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
    CHECK(!answer(&w, BAD[i], NULL));
  CHECK(answer(&w, "{'r': null, 'ok': true}", NULL));
  walk_close(&w);
  CHECK(walk_open(&w, "{'method': 'GET', 'query': {'c': '{{cursor}}'}, 'rows': '/r', 'next': {'page': {}}, 'pages_max': 2}"));
  CHECK(answer(&w, "{'r': [{}]}", NULL));
  CHECK(!answer(&w, "{'r': [{}]}", NULL));
  CHECK(strstr(w.err.message, "more than 2 pages") != NULL);
  walk_close(&w);
}

TEST(list_words_are_checked) {
  static const char *const BAD[][2] = {
      {"{'method': 'PUT'}", "/object/list/method"},
      {"{'method': 'GET', 'batch': {'rows': 2}}", "batch"},
      {"{'method': 'GET', 'next': {'cursor': '/n'}}", "does not name {{cursor}}"},
      {"{'method': 'GET', 'query': {'c': '{{cursor}}'}}", "nothing says where the next one is"},
      {"{'method': 'GET', 'next': {}}", "needs one of"},
      {"{'method': 'GET', 'next': {'url': '/n', 'link': 'next'}}", "needs one of"},
      {"{'method': 'GET', 'query': {'c': '{{cursor}}'}, 'next': {'page': {'step': 2}}}", "step"},
      {"{'method': 'GET', 'next': {'url': '/n', 'total': '/a', 'total_pages': '/b'}}", "only"},
      {"{'method': 'GET', 'format': 'lines', 'rows': '/r'}", "each line is a record"},
      {"{'method': 'GET', 'path': '/{{key}}'}", "not known in a list"},
      {"{'method': 'GET', 'path': '/{{email}}'}", "not known in a list"},
      {"{'method': 'GET', 'compare': 'loose'}", "compare"},
  };

  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    Case t = {.next_quoted = 0};
    char options[1000];

    snprintf(options, sizeof(options), "{'object': {'upsert': {'method': 'PUT'}, 'list': %s}}", BAD[i][0]);
    if (case_parse(&t, options) || (!strstr(t.err.message, BAD[i][1]) && !strstr(t.err.pointer, BAD[i][1]))) {
      unit_note("%s: %s %s", BAD[i][0], t.err.pointer, t.err.message);
      CHECK(t.c == NULL && false);
    }
    CHECK(t.c == NULL);
    ond_connector_free(t.c);
  }
}
