/*
 * check.c - every mistake of a connector's document, not only the first.
 *
 * The compiler stops at the first error and says where it is. So: compile; note the error; repair the place, that is, put something harmless
 * there or take it out; compile again, until it compiles. First what is about the account, then object by object. What the compiler says
 * about a place that was repaired, or about what such a place is a part of, is a consequence and not reported; a member that nobody knows
 * has no consequences.
 *
 * Then what compiles but makes no sense: operations that no mode can use, what no answer gives, names that are declared and never used. These
 * are looked for where nothing was repaired: a template that was taken out may have been the one that named them.
 *
 * Ends: each repair shrinks the document or makes a place right, and both repairs and problems are counted.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "connector/compile.h"
#include "connector/list.h"
#include "connector/operation.h"

#define PROBLEMS_MAX       100
#define REPAIRS_MAX        1000
#define CHECKED_BYTES_MAX  ((size_t)1024 * 1024)
#define OBJECTS_MAX        200

typedef struct Repair {
  struct Repair *next;
  const char *pointer;
} Repair;

typedef struct Check {
  OndArena *arena;
  struct json_object *document;
  OndError *problems;
  int n;
  Repair *repairs;
  int n_repairs;
  OndError last;
  bool named[100]; /* of the connector's variables: by what was compiled so far */
  const char **variables;
  int n_variables;
} Check;

/* ---- noting ---- */

static void note(Check *k, const OndError *problem) {
  if (k->n < PROBLEMS_MAX) {
    k->problems[k->n++] = *problem;
  }
}

static void __attribute__((format(printf, 4, 5))) note_at(Check *k, const char *pointer, const char *hint, const char *fmt, ...) {
  OndError problem = {0};
  char text[sizeof(problem.message)];
  va_list args;

  va_start(args, fmt);
  vsnprintf(text, sizeof(text), fmt, args);
  va_end(args);
  ond_error_set(&problem, "%s", text);
  ond_error_pointer(&problem, "%s", pointer);
  if (hint) {
    ond_error_hint(&problem, "%s", hint);
  }
  note(k, &problem);
}

static bool is_within(const char *pointer, const char *of) {
  size_t n = strlen(of);

  return strncmp(pointer, of, n) == 0 && (pointer[n] == '\0' || pointer[n] == '/');
}

/* Whether what was repaired declared the name that the error does not find. */
static bool is_declaration(const char *pointer, const char *message) {
  static const struct {
    const char *member;
    const char *words;
  } DECLARATIONS[] = {
      {"/variables", "names no variable"}, {"/columns", "names nothing"}, {"/rate_limit", "has no group"}, {"/code", "no \"code\" says"}};
  size_t n = strlen(pointer);

  for (size_t i = 0; i < sizeof(DECLARATIONS) / sizeof(DECLARATIONS[0]); i++) {
    size_t m = strlen(DECLARATIONS[i].member);

    if (n >= m && strcmp(pointer + n - m, DECLARATIONS[i].member) == 0 && strstr(message, DECLARATIONS[i].words)) {
      return true;
    }
  }
  return false;
}

/* Whether an error is a consequence of a repair: at the place, around it, or about a name that was declared there. */
static bool is_consequence(const Check *k, const OndError *err) {
  for (const Repair *r = k->repairs; r; r = r->next) {
    if (is_within(r->pointer, err->pointer) || is_declaration(r->pointer, err->message)) {
      return true;
    }
  }
  return false;
}

static bool is_repaired(const Check *k, const char *pointer) {
  for (const Repair *r = k->repairs; r; r = r->next) {
    if (strcmp(r->pointer, pointer) == 0) {
      return true;
    }
  }
  return false;
}

static void remember(Check *k, const char *pointer) {
  Repair *r = ond_arena_alloc(k->arena, sizeof(*r));

  r->pointer = ond_arena_strdup(k->arena, pointer);
  r->next = k->repairs;
  k->repairs = r;
}

/* ---- repairing ---- */

/* Something that is right where a member of this name stands in a member `parent`; NULL: nothing is. */
static struct json_object *harmless(const char *parent, const char *name) {
  static const struct {
    const char *name;
    const char *value;
  } WORDS[] = {{"method", "POST"}, {"title", "x"}, {"path", "/x"}, {"each", "x"},
               {"host", "a.example"}, {"remaining", "X-Remaining"}, {"reset", "X-Reset"}};

  if (strcmp(name, "objects") == 0) {
    return json_tokener_parse("{\"x\": {\"upsert\": {\"method\": \"POST\"}}}");
  }
  if (parent && strcmp(parent, "variables") == 0) {
    return json_object_new_object();
  }
  if (parent && strcmp(parent, "rate_limit") == 0) {
    return json_object_new_string("1/s");
  }
  for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++) {
    if (strcmp(name, WORDS[i].name) == 0) {
      return json_object_new_string(WORDS[i].value);
    }
  }
  return NULL;
}

/* A step that is right, whatever the others are; name: its number. */
static struct json_object *harmless_step(const char *name, bool of_list) {
  struct json_object *step = json_tokener_parse(of_list ? "{\"method\": \"POST\"}" : "{\"method\": \"POST\", \"body\": [\"$each\", \"{{key}}\"]}");

  json_object_object_add(step, "name", json_object_new_string(name));
  return step;
}

/* The value at the first n tokens of a pointer. */
static bool value_at(Check *k, const OndJsonPtr *pointer, int n, struct json_object **out) {
  OndJsonPtr part = *pointer;

  part.n = n;
  return ond_document_at(k->document, &part, out);
}

/* Makes the place right or, out, takes it out; false: that cannot be done. Elements of arrays keep their numbers. */
static bool repair(Check *k, const char *pointer, bool out) {
  struct json_object *parent;
  OndError ignored;
  OndJsonPtr p;
  struct json_object *value;
  const char *name;

  if (!ond_jsonptr_parse(k->arena, pointer, &p, &ignored) || p.n == 0 || !value_at(k, &p, p.n - 1, &parent)) {
    return false;
  }
  name = p.tokens[p.n - 1].p;
  if (json_object_is_type(parent, json_type_array)) {
    bool step = p.n > 1 && strcmp(p.tokens[p.n - 2].p, "steps") == 0;
    bool of_list = p.n > 2 && strcmp(p.tokens[p.n - 3].p, "list") == 0;

    return p.indexes[p.n - 1] >= 0 &&
           json_object_array_put_idx(parent, (size_t)p.indexes[p.n - 1], step ? harmless_step(name, of_list) : json_object_new_string("x")) == 0;
  }
  if (!json_object_is_type(parent, json_type_object)) {
    return false;
  }
  value = out ? NULL : harmless(p.n > 1 ? p.tokens[p.n - 2].p : NULL, name);
  if (value) {
    return json_object_object_add(parent, name, value) == 0;
  }
  json_object_object_del(parent, name);
  return true;
}

static bool add_missing(Check *k, const OndError *err, const char *name) {
  struct json_object *parent;
  struct json_object *value = harmless(NULL, name);
  OndError ignored;
  OndJsonPtr p;

  if (value && ond_jsonptr_parse(k->arena, err->pointer, &p, &ignored) && value_at(k, &p, p.n, &parent) &&
      json_object_is_type(parent, json_type_object)) {
    return json_object_object_add(parent, name, value) == 0;
  }
  json_object_put(value);
  return false;
}

/* The place around a place. */
static void go_up(char *pointer) {
  char *slash = strrchr(pointer, '/');

  *(slash ? slash : pointer) = '\0';
}

/* Notes an error unless it is a consequence, and makes its place right. False: there is no way on. */
static bool handle(Check *k, const OndError *err) {
  bool again = strcmp(err->pointer, k->last.pointer) == 0 && strcmp(err->message, k->last.message) == 0;
  bool unknown = ond_error_unknown(err) && !again;
  char place[sizeof(err->pointer)];
  char member[64];

  if (!again && !is_consequence(k, err)) {
    note(k, err);
  }
  k->last = *err;
  if (k->n == PROBLEMS_MAX || ++k->n_repairs > REPAIRS_MAX) {
    return false;
  }
  if (!again && ond_error_missing(err, member, sizeof(member)) && add_missing(k, err, member)) {
    return true;
  }
  memcpy(place, err->pointer, sizeof(place));
  if (again) {
    go_up(place);
  }
  /* what cannot be found (a pointer is cut, and shows no control characters) or did not help goes with what is around it */
  while (*place && (is_repaired(k, place) || !repair(k, place, unknown))) {
    go_up(place);
  }
  if (*place && !unknown) {
    remember(k, place);
  }
  return *place != '\0';
}

/* ---- what compiles but makes no sense ---- */

static void check_operations(Check *k, const OndConnector *c) {
  const OndOperation *const *o = (const OndOperation *const *)c->operations;
  bool all = o[OND_KIND_UPSERT] || (o[OND_KIND_CREATE] && o[OND_KIND_UPDATE]);
  char pointer[sizeof(((OndError *)0)->pointer)];

  if (o[OND_KIND_UPSERT] && o[OND_KIND_CREATE] && o[OND_KIND_UPDATE]) {
    snprintf(pointer, sizeof(pointer), "%s/upsert", c->object_pointer);
    note_at(k, pointer, "Leave it out, or one of the other two.", "\"upsert\" is never used: \"create\" and \"update\" go before it");
  }
  if (o[OND_KIND_DELETE] && !all) {
    snprintf(pointer, sizeof(pointer), "%s/delete", c->object_pointer);
    note_at(k, pointer, "Add \"upsert\", or both \"create\" and \"update\".",
            "\"delete\" is never used: only mode mirror deletes, and it writes too");
  }
}

/* Whether one of these is called so. */
static bool has_capture(int n, const OndCapture *captures, const char *name) {
  for (int i = 0; i < n; i++) {
    if (strcmp(captures[i].name, name) == 0) {
      return true;
    }
  }
  return false;
}

/* Whether a result gives the record's id (name NULL) or this capture. */
static bool gives(const OndResult *result, const char *name) {
  return result && (name ? has_capture(result->n_captures, result->captures, name) : result->id != NULL);
}

/* The same of some answer about the object. */
static bool is_captured(const OndConnector *c, const char *name) {
  bool found = c->list && (name ? has_capture(c->list->n_captures, c->list->captures, name) : c->list->id != NULL);

  for (int kind = 0; kind < OND_KINDS; kind++) {
    const OndOperation *o = c->operations[kind];

    found = found || (o && gives(o->result, name));
    for (int i = 0; o && i < o->n_steps; i++) {
      found = found || gives(o->steps[i].request->result, name);
    }
  }
  return found;
}

static void check_remote(Check *k, const OndConnector *c) {
  for (const OndRemoteUse *use = c->remote_uses; use; use = use->next) {
    if (is_captured(c, use->name)) {
      continue;
    }
    if (use->name) {
      note_at(k, use->pointer, "Add it to \"remote\" of a \"result\" of the object: {\"remote\": {\"name\": \"/pointer\"}}.",
              "{{remote.%.100s}} is kept from no answer", use->name);
    } else {
      note_at(k, use->pointer, "Say in a \"result\" of the object where the record's id is: {\"id\": \"/id\"}.",
              "{{remote_id}} is kept from no answer");
    }
  }
}

/* Columns and variables of the object that no template names. */
static void check_unused(Check *k, const OndConnector *c) {
  char pointer[sizeof(((OndError *)0)->pointer)];

  for (int i = 0; i < c->n_known_columns; i++) {
    bool used = false;

    for (int j = 0; j < c->n_columns; j++) {
      used = used || strcmp(c->columns[j], c->known_columns[i]) == 0;
    }
    if (!used) {
      snprintf(pointer, sizeof(pointer), "%s/columns/%d", c->object_pointer, i);
      note_at(k, pointer, "Leave it out: only columns that a template names stand here.", "no template names {{%.100s}}", c->known_columns[i]);
    }
  }
  for (int i = c->n_account_variables; i < c->n_variables; i++) {
    if (!c->variables[i].named) {
      snprintf(pointer, sizeof(pointer), "%s/variables/%.100s", c->object_pointer, c->variables[i].name);
      note_at(k, pointer, "Leave it out, or name it where it belongs.", "nothing names {{var.%.100s}}", c->variables[i].name);
    }
  }
}

/* What of the connector's variables was named by what was compiled. */
static void take_named(Check *k, const OndConnector *c) {
  if (!k->variables) {
    k->n_variables = c->n_account_variables;
    k->variables = ond_arena_alloc(k->arena, (size_t)(k->n_variables + 1) * sizeof(*k->variables));
    for (int i = 0; i < k->n_variables; i++) {
      k->variables[i] = ond_arena_strdup(k->arena, c->variables[i].name);
    }
  }
  for (int i = 0; i < k->n_variables && i < c->n_variables; i++) {
    k->named[i] = k->named[i] || c->variables[i].named || c->variables[i].in_base_url;
  }
}

static void check_named(Check *k) {
  char pointer[sizeof(((OndError *)0)->pointer)];

  for (int i = 0; i < k->n_variables; i++) {
    if (!k->named[i]) {
      snprintf(pointer, sizeof(pointer), "/variables/%.100s", k->variables[i]);
      note_at(k, pointer, "Leave it out, or name it where it belongs.", "nothing names {{var.%.100s}}", k->variables[i]);
    }
  }
}

/* ---- the rounds ---- */

static bool compiles(Check *k, const char *object, bool account_only) {
  OndConnectorSource source = {.connector = "it", .object = object, .account_only = account_only};
  struct json_object *options = json_object_new_object();
  OndConnector *c = NULL;
  int problems = k->n;
  int repairs = k->n_repairs;
  OndError err = {0};

  do {
    if (object && !account_only) {
      struct json_object *objects;

      if (!json_object_object_get_ex(k->document, "objects", &objects) ||
          (!json_object_object_get_ex(objects, object, NULL) && !json_object_object_get_ex(objects, "*", NULL))) {
        break; /* taken out as a whole */
      }
    }
    c = ond_connector_compile(&source, k->document, options, true, &err);
  } while (!c && handle(k, &err));
  json_object_put(options);
  if (!c) {
    return account_only ? false : k->n < PROBLEMS_MAX;
  }
  take_named(k, c);
  if (!account_only && k->n == problems && k->n_repairs == repairs) {
    check_operations(k, c);
    check_remote(k, c);
    check_unused(k, c);
  }
  ond_connector_free(c);
  return true;
}

/* A name that "*" is chosen for. */
static const char *any_name(Check *k, struct json_object *objects) {
  char name[32];

  for (int i = 0;; i++) {
    snprintf(name, sizeof(name), "any%d", i);
    if (!json_object_object_get_ex(objects, name, NULL)) {
      return ond_arena_strdup(k->arena, name);
    }
  }
}

static void check_objects(Check *k) {
  struct json_object_iterator it;
  struct json_object_iterator end;
  struct json_object *objects;
  const char *names[OBJECTS_MAX];
  int n = 0;

  json_object_object_get_ex(k->document, "objects", &objects);
  it = json_object_iter_begin(objects);
  end = json_object_iter_end(objects);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    if (n == OBJECTS_MAX) {
      note_at(k, "/objects", "Describe alike objects once, as \"*\".", "there are more than %d objects", OBJECTS_MAX);
      return;
    }
    if (!*json_object_iter_peek_name(&it)) {
      note_at(k, "/objects/", NULL, "the name of an object is empty");
      return;
    }
    names[n++] = ond_arena_strdup(k->arena, json_object_iter_peek_name(&it));
  }
  for (int i = 0; i < n; i++) {
    if (!compiles(k, strcmp(names[i], "*") == 0 ? any_name(k, objects) : names[i], false)) {
      return;
    }
  }
}

int ond_connector_check(OndArena *arena, OndBytes document, const OndError **problems) {
  Check k = {.arena = arena, .problems = ond_arena_alloc(arena, PROBLEMS_MAX * sizeof(OndError))};
  const char *problem = "";

  *problems = k.problems;
  if (document.n > CHECKED_BYTES_MAX) {
    note_at(&k, "", NULL, "the document is larger than %zu bytes", CHECKED_BYTES_MAX);
  } else if (!ond_document_parse(document.p, document.n, &k.document, &problem)) {
    note_at(&k, "", NULL, "the document %s", problem);
  } else if (!json_object_is_type(k.document, json_type_object)) {
    note_at(&k, "", NULL, "the document must be an object");
  } else if (compiles(&k, NULL, true)) {
    check_objects(&k);
    if (k.n == 0) {
      check_named(&k);
    }
  }
  json_object_put(k.document);
  return k.n;
}
