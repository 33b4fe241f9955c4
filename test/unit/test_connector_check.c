/*
 * Finding every mistake of a connector's document, and only the mistakes.
 */
#include "connector_case.h"

#define TEXT_BYTES 8192

/* "pointer: message" a line. */
static const char *problems_of(const char *quoted) {
  static char text[TEXT_BYTES];
  static Case t;
  const char *document = case_json(&t, quoted);
  OndArena *arena = ond_arena_create();
  const OndError *problems;
  int n = ond_connector_check(arena, (OndBytes){document, strlen(document)}, &problems);
  size_t length = 0;

  text[0] = '\0';
  for (int i = 0; i < n && length < sizeof(text); i++) {
    length += (size_t)snprintf(text + length, sizeof(text) - length, "%s: %s\n", problems[i].pointer, problems[i].message);
  }
  ond_arena_destroy(arena);
  return text;
}

#define GOOD_UPSERT "'upsert': {'method': 'PUT', 'path': '/{{key}}'}"
#define DOC(object) "{'title': 'A', 'base_url': 'https://x', 'objects': {'o': {" object "}}}"

TEST(good_documents_have_no_problems) {
  CHECK_STR(problems_of(DOC(GOOD_UPSERT)), "");
  CHECK_STR(problems_of("{'title': 'A', 'base_url': 'https://{{var.s}}.x', 'variables': {'s': {'required': true}, 'k': {}},"
                        " 'rate_limit': {'default': '1/s', 'bulk': '1/m'}, 'headers': {'X-K': '{{var.k}}'},"
                        " 'objects': {'*': {'columns': ['c'], 'variables': {'v': {'default': 1}}, 'create': {'method': 'POST', 'path': '/{{object}}',"
                        " 'rate': 'bulk', 'body': ['{{c}}', '{{var.v}}'], 'result': {'id': '/id', 'remote': {'v': '/v'}}},"
                        " 'update': {'method': 'PUT', 'path': '/{{remote_id}}/{{remote.v}}'}}}}"),
            "");
}

TEST(what_is_no_document) {
  CHECK_STR(problems_of(""), ": the document is empty\n");
  CHECK_STR(problems_of("{"), ": the document is not JSON\n");
  CHECK_STR(problems_of("[]"), ": the document must be an object\n");
  CHECK_STR(problems_of("{}"), ": \"title\" is missing\n: \"objects\" is missing\n");
  CHECK_STR(problems_of("{'objects': {}, 'title': 'A', 'check': {'a': 1}}"), "/objects: \"objects\" is empty\n/check/a: unknown member \"a\"\n");
}

TEST(every_mistake_is_told) {
  CHECK_STR(problems_of("{'titel': 'A', 'timeout_ms': 'x', 'auth': ['bearer', 'magic'], 'headers': {'Host': 'x', 'X-A': '{{var.nix}}'}, 'retry': {'tries': 3},"
                        " 'objects': {'a': {'upsert': {'method': 'GET', 'path': 'x', 'colour': 1, 'fine': [1, 404, 'x'], 'body': {'a': '{{nix}}', 'b': '{{key|no}}'}}},"
                        " 'b': {'delete': {'method': 'DELETE', 'body': '$fields'}, " GOOD_UPSERT "}}}"),
            "/titel: unknown member \"titel\"\n"
            ": \"title\" is missing\n"
            "/retry/tries: unknown member \"tries\"\n"
            "/timeout_ms: \"timeout_ms\" must be a whole number from 1 to 3600000\n"
            "/auth/1: \"magic\" is not valid here\n"
            "/headers/Host: the header \"Host\" cannot be set\n"
            "/headers/X-A: {{var.nix}} names no variable\n"
            "/objects/a/upsert/colour: unknown member \"colour\"\n"
            "/objects/a/upsert/method: \"method\" cannot be \"GET\"\n"
            "/objects/a/upsert/fine/0: this element must be a whole number from 100 to 599\n"
            "/objects/a/upsert/path: the path must be empty or start with \"/\"\n"
            "/objects/a/upsert/body/a: {{nix}} names nothing\n"
            "/objects/a/upsert/body/b: template names an unknown filter \"no\"\n"
            "/objects/b/delete/body: \"$fields\" is not known in a delete: the row has left the model\n");
}

TEST(consequences_are_not_told) {
  /* the declaration is wrong, what it declares is not */
  CHECK_STR(problems_of("{'title': 'A', 'variables': {'v': 1}, 'rate_limit': {'bulk': 5}, 'objects': {'o': {'columns': 'c', 'variables': [],"
                        " 'upsert': {'method': 'PUT', 'rate': 'bulk', 'body': ['{{c}}', '{{var.v}}', '{{var.w}}']}}}}"),
            "/rate_limit/bulk: \"bulk\" must be a string\n"
            "/variables/v: \"v\" must be an object\n"
            "/objects/o/variables: \"variables\" must be an object\n"
            "/objects/o/columns: \"columns\" must be an array\n");
  /* a batch whose body was wrong */
  CHECK_STR(problems_of(DOC("'upsert': {'method': 'PUT', 'batch': {'rows': 5}, 'body': {'a': ['$each', '{{oops}}', 1], 'b': '$each'},"
                            " 'result': {'rows': 'x', 'code': 7, 'retry': ['A']}}")),
            "/objects/o/upsert/body/a/1: {{oops}} names nothing\n"
            "/objects/o/upsert/body/b: \"$each\" must be the first element of an array\n"
            "/objects/o/upsert/result/rows: JSON pointer \"x\" does not start with \"/\"\n"
            "/objects/o/upsert/result/code: \"code\" must be a string\n");
  /* the only operation */
  CHECK_STR(problems_of(DOC("'upsert': 5")), "/objects/o/upsert: \"upsert\" must be an object\n");
  CHECK_STR(problems_of(DOC("'upsert': {'method': 7}")), "/objects/o/upsert/method: \"method\" must be a string\n");
  CHECK_STR(problems_of(DOC("'upsert': {'method': 'PUT', 'batch': {'path': 1}}")), "/objects/o/upsert/batch/path: unknown member \"path\"\n");
}

TEST(what_makes_no_sense) {
  CHECK_STR(problems_of(DOC("")), "/objects/o: the object has no operation\n");
  CHECK_STR(problems_of(DOC("'delete': {'method': 'DELETE', 'path': '/{{key}}'}")),
            "/objects/o/delete: \"delete\" is never used: only mode mirror deletes, and it writes too\n");
  CHECK_STR(problems_of(DOC(GOOD_UPSERT ", 'create': {'method': 'POST'}, 'update': {'method': 'PUT', 'path': '/{{key}}'}")),
            "/objects/o/upsert: \"upsert\" is never used: \"create\" and \"update\" go before it\n");
  CHECK_STR(problems_of(DOC("'create': {'method': 'POST'}, 'update': {'method': 'PUT', 'path': '/{{remote_id}}/{{remote.v}}'}")),
            "/objects/o/update/path: {{remote.v}} is kept from no answer\n/objects/o/update/path: {{remote_id}} is kept from no answer\n");
  CHECK_STR(problems_of(DOC("'columns': ['c'], 'variables': {'v': {}}, " GOOD_UPSERT)),
            "/objects/o/columns/0: no template names {{c}}\n/objects/o/variables/v: nothing names {{var.v}}\n");
  CHECK_STR(problems_of("{'title': 'A', 'variables': {'v': {}}, 'objects': {'o': {" GOOD_UPSERT "}}}"), "/variables/v: nothing names {{var.v}}\n");
  CHECK_STR(problems_of("{'title': 'A', 'objects': {'': {" GOOD_UPSERT "}}}"), "/objects/: the name of an object is empty\n");
}

TEST(ways_that_lead_nowhere) {
  CHECK_STR(problems_of(DOC("'create': {'method': 'POST', 'exists': [409], 'fine': [409], 'colour': 1}, 'delete': {'method': 'DELETE', 'path': '/{{key}}', 'conflict': [412]}")),
            "/objects/o/create/colour: unknown member \"colour\"\n"
            "/objects/o/create/exists: a status of \"exists\" has another meaning too\n"
            "/objects/o/delete/conflict: \"conflict\" of \"delete\" needs a \"lookup\" that reads the record again\n");
  CHECK_STR(problems_of(DOC("'lookup': {'method': 'GET', 'path': '/{{key}}', 'result': {'id': '/id'}}, 'create': {'method': 'POST', 'exists': [409]}")),
            "/objects/o/create/exists: \"exists\" of \"create\" needs an \"update\" to go on with\n");
}

TEST(places_are_found_again) {
  /* names that a pointer must escape, and elements of arrays */
  CHECK_STR(problems_of("{'title': 'A', 'objects': {'a/b~c': {'upsert': {'method': 'PUT', 'body': {'x/y': [{'~': '{{no}}'}, '{{no}}', ['{{no}}']]}}}}}"),
            "/objects/a~1b~0c/upsert/body/x~1y/0/~0: {{no}} names nothing\n"
            "/objects/a~1b~0c/upsert/body/x~1y/1: {{no}} names nothing\n"
            "/objects/a~1b~0c/upsert/body/x~1y/2/0: {{no}} names nothing\n");
}

TEST(places_that_cannot_be_shown) {
  char name[500] = "";

  CHECK_STR(problems_of("{'title': 'A', 'objects': {'o': {" GOOD_UPSERT ", 'a\\nb': 1, 'key': 5}}}"),
            "/objects/o/a b: unknown member \"a b\"\n");
  memset(name, 'x', sizeof(name) - 1);
  {
    char document[2000];

    snprintf(document, sizeof(document), "{'title': 'A', 'objects': {'o': {'upsert': {'method': 'PUT', 'body': {'%s': ['{{no}}']}}}}}", name);
    CHECK(strstr(problems_of(document), ": {{no}} names nothing\n") != NULL);
  }
}

TEST(checking_ends) {
  char document[12000] = "{'title': 'A', 'objects': {'o': {'upsert': {'method': 'PUT', 'body': [";
  int lines = 0;

  for (int i = 0; i < 300; i++) {
    strcat(document, "'{{no}}', ");
  }
  strcat(document, "1]}}}}");
  for (const char *p = problems_of(document); *p; p++) {
    lines += *p == '\n';
  }
  CHECK_INT(lines, 100);
}
