/*
 * Connector documents: looking for every mistake ends, tells each once and where, and a document without one compiles; with what a destination
 * and a sync say of it, it is refused or makes a connector, never anything else.
 *
 * Input: the document, and behind NULs the destination's options and the sync's variables.
 */
#include <string.h>
#include "connector/connector.h"
#include "fuzz.h"

#define PROBLEMS_MAX 100

static OndBytes next_text(const uint8_t **p, const uint8_t *end) {
  const uint8_t *nul = *p < end ? memchr(*p, 0, (size_t)(end - *p)) : NULL;
  OndBytes text = {*p < end ? (const char *)*p : NULL, (size_t)((nul ? nul : end) - *p)};

  *p = nul ? nul + 1 : end;
  return text;
}

static int check(OndBytes document) {
  OndArena *arena = ond_arena_create();
  const OndError *problems;
  int n = ond_connector_check(arena, document, &problems);

  MUST(n >= 0 && n <= PROBLEMS_MAX);
  for (int i = 0; i < n; i++) {
    MUST(problems[i].message[0] && (!problems[i].pointer[0] || problems[i].pointer[0] == '/'));
    for (int j = 0; j < i; j++) {
      MUST(strcmp(problems[i].pointer, problems[j].pointer) != 0 || strcmp(problems[i].message, problems[j].message) != 0);
    }
  }
  ond_arena_destroy(arena);
  return n;
}

static void use(const OndConnectorSource *source, OndMode mode) {
  static const char *const KEYS[] = {"id", "tenant"};
  OndError err = {0};
  OndConnector *c = ond_connector_parse(source, &err);

  if (!c) {
    fuzz_check_error(&err);
    return;
  }
  MUST(strncmp(ond_connector_base_url(c), "http", 4) == 0);
  for (int n = 1; n <= 2; n++) {
    if (!ond_connector_bind(c, mode, n, KEYS, &err)) {
      fuzz_check_error(&err);
    }
  }
  ond_connector_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *p = data;
  const uint8_t *end = data + size;
  OndBytes document = next_text(&p, end);
  OndBytes options = next_text(&p, end);
  OndBytes variables = next_text(&p, end);
  static const char *const OBJECTS[] = {"contacts", "o", "*", NULL};
  OndConnectorSource source = {.connector = "it", .document = document, .options = options, .variables = variables, .base_url = "https://h/v1"};
  OndError err = {0};
  OndConnector *c;

  if (!document.p) {
    return 0;
  }
  if (check(document) == 0) {
    OndConnectorSource plain = {.connector = "it", .document = document, .base_url = "https://h", .account_only = true};

    c = ond_connector_parse(&plain, &err);
    MUST(c != NULL);
    ond_connector_free(c);
  }
  for (int i = 0; i < 4; i++) {
    source.object = OBJECTS[i];
    source.account_only = i == 3;
    use(&source, i % 2 ? OND_MODE_MIRROR : OND_MODE_UPSERT);
  }
  source.base_url = NULL;
  use(&source, OND_MODE_UPSERT);
  return 0;
}
