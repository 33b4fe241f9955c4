/*
 * mapping.c - see mapping.h. The tree of targets is built once; rendering walks it.
 *
 * Invariants: no two fields have the same place; a place is a value, an object or an array, never two of them; an array has no gaps.
 */
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connector/document.h"
#include "connector/mapping.h"
#include "core/mem.h"

#define FIELDS_MAX 1600
#define DEPTH_MAX 16
#define BY_MAX 8

typedef enum NodeKind { NODE_OBJECT, NODE_ARRAY, NODE_FIELD } NodeKind;

typedef struct Node {
  NodeKind kind;
  int field;                 /* NODE_FIELD */
  const char *label;         /* as a member: "name": with quotes and colon */
  const char *name;
  struct Node *child, *last, *next;
  int n;
} Node;

struct OndMapping {
  OndArena *arena;
  int n;
  OndField *fields;
  int *sorted;
  Node *root;
  bool ordered;              /* the list form: its order counts */
};

int ond_mapping_count(const OndMapping *m) {
  return m->n;
}

const OndField *ond_mapping_field(const OndMapping *m, int i) {
  return &m->fields[i];
}

const int *ond_mapping_sorted(const OndMapping *m) {
  return m->sorted;
}

const char *ond_mapping_member(const OndMapping *m, int i) {
  const Node *child = m->root->child;

  while (child != NULL && i-- > 0)
    child = child->next;
  return child == NULL ? NULL : child->name;
}

bool ond_mapping_fills(const OndMapping *m, const char *field) {
  size_t n = strlen(field);

  for (int i = 0; i < m->n; i++) {
    const char *target = m->fields[i].target;

    if (strncmp(target, field, n) == 0 && (target[n] == '\0' || target[n] == '.' || target[n] == '['))
      return true;
  }
  return false;
}

void ond_mapping_free(OndMapping *m) {
  if (m == NULL)
    return;
  ond_arena_destroy(m->arena);
  ond_free(m);
}

/* --- the tree of targets ---------------------------------------------------------------------------------- */

static Node *node_create(OndMapping *m, NodeKind kind) {
  Node *node = ond_arena_alloc(m->arena, sizeof(Node));

  node->kind = kind;
  return node;
}

static const char *member_label(OndMapping *m, const char *name) {
  OndBuf b;
  const char *label;

  ond_buf_init(&b, strlen(name) * 6 + 16);
  ond_buf_append_json_string(&b, name, strlen(name));
  ond_buf_append_char(&b, ':');
  label = ond_arena_strndup(m->arena, b.data, b.len);
  ond_buf_free(&b);
  return label;
}

static Node *add_child(Node *parent, Node *child) {
  if (parent->last != NULL)
    parent->last->next = child;
  else
    parent->child = child;
  parent->last = child;
  parent->n++;
  return child;
}

static Node *find_member(Node *parent, const char *name) {
  for (Node *c = parent->child; c != NULL; c = c->next)
    if (strcmp(c->name, name) == 0)
      return c;
  return NULL;
}

/* One step of a target: a member's name, or an array index (name NULL). */
typedef struct Step {
  const char *name;
  int index;
} Step;

static bool bad_target(OndError *err, const char *target, const char *why) {
  ond_error_set(err, "target \"%.100s\" of the mapping is not a valid path: %s", target, why);
  ond_error_hint(err, "Write names with dots between them and indexes in brackets, as in properties.plan or tags[0]; put a name with dots in double quotes.");
  return false;
}

static bool parse_index(const char **at, Step *step) {
  char *end;
  long index;

  if ((*at)[1] < '0' || (*at)[1] > '9')
    return false;
  index = strtol(*at + 1, &end, 10);
  if (*end != ']' || index > 999)
    return false;
  step->name = NULL;
  step->index = (int)index;
  *at = end + 1;
  return true;
}

static int parse_target(OndMapping *m, const char *target, Step *steps, OndError *err) {
  const char *at = target;
  int n = 0;

  while (*at != '\0' || n == 0) {
    const char *start;
    size_t len;

    if (n == DEPTH_MAX)
      return bad_target(err, target, "it is too deep");
    if (*at == '[' && n > 0) {
      if (!parse_index(&at, &steps[n]))
        return bad_target(err, target, "an index is a number from 0 to 999 in brackets");
      n++;
      continue;
    }
    if (n > 0 && *at++ != '.')
      return bad_target(err, target, "a dot is missing");
    if (*at == '"') {
      start = at + 1;
      len = strcspn(start, "\"");
      if (start[len] != '"')
        return bad_target(err, target, "a double quote is not closed");
      at = start + len + 1;
    } else {
      start = at;
      len = strcspn(at, ".[");
      at += len;
    }
    if (len == 0)
      return bad_target(err, target, "a name is empty");
    steps[n].name = ond_arena_strndup(m->arena, start, len);
    n++;
  }
  return n;
}

static bool clash(OndError *err, const char *target) {
  ond_error_set(err, "target \"%.100s\" of the mapping collides with another one", target);
  ond_error_detail(err, "Two fields would stand at the same place, or one inside the other, or an array would have gaps.");
  ond_error_hint(err, "Give each target its own place; list the indexes of an array in order, from 0.");
  return false;
}

static bool add_target(OndMapping *m, int field, OndError *err) {
  const char *target = m->fields[field].target;
  Step steps[DEPTH_MAX];
  int n = parse_target(m, target, steps, err);
  Node *at = m->root;

  for (int i = 0; i < n; i++) {
    NodeKind kind = i + 1 == n ? NODE_FIELD : steps[i + 1].name != NULL ? NODE_OBJECT : NODE_ARRAY;
    Node *next = NULL;

    if (steps[i].name != NULL)
      next = find_member(at, steps[i].name);
    else if (steps[i].index < at->n)
      for (int k = 0; k <= steps[i].index; k++)
        next = k == 0 ? at->child : next->next;
    else if (steps[i].index > at->n)
      return clash(err, target);
    if (next != NULL && (next->kind != kind || kind == NODE_FIELD))
      return clash(err, target);
    if (next == NULL) {
      next = add_child(at, node_create(m, kind));
      next->field = field;
      if (steps[i].name != NULL) {
        next->name = steps[i].name;
        next->label = member_label(m, steps[i].name);
      }
    }
    at = next;
  }
  return n > 0;
}

/* --- parsing ---------------------------------------------------------------------------------------------- */

static const char *copy_string(OndMapping *m, json_object *value) {
  return ond_arena_strndup(m->arena, json_object_get_string(value), (size_t)json_object_get_string_len(value));
}

static bool wrong(OndError *err, const char *target, const char *what) {
  ond_error_set(err, "source of \"%.100s\" in the mapping %s", target, what);
  ond_error_pointer(err, "/%.100s", target);
  ond_error_hint(err, "A source is \"column\", {\"column\": …}, {\"const\": …}, {\"template\": …}, {\"sql\": …} or {\"lookup\": …}, with \"null\": \"send\" | \"omit\", \"detect\": false and \"as\": \"type\" if wanted.");
  return false;
}

static bool is_option(const char *name) {
  return strcmp(name, "null") == 0 || strcmp(name, "detect") == 0 || strcmp(name, "as") == 0;
}

static bool parse_option(OndMapping *m, OndField *f, const char *name, json_object *value, OndError *err) {
  if (strcmp(name, "as") == 0) {
    if (!json_object_is_type(value, json_type_string) || json_object_get_string_len(value) == 0)
      return wrong(err, f->target, "has an \"as\" that is not the name of a type");
    f->as = copy_string(m, value);
    return true;
  }
  if (strcmp(name, "detect") == 0) {
    if (!json_object_is_type(value, json_type_boolean))
      return wrong(err, f->target, "has a \"detect\" that is not true or false");
    f->detect = json_object_get_boolean(value);
    return true;
  }
  if (!json_object_is_type(value, json_type_string))
    return wrong(err, f->target, "has a \"null\" that is not \"send\" or \"omit\"");
  f->null_given = true;
  f->null_omit = strcmp(json_object_get_string(value), "omit") == 0;
  if (!f->null_omit && strcmp(json_object_get_string(value), "send") != 0)
    return wrong(err, f->target, "has a \"null\" that is not \"send\" or \"omit\"");
  return true;
}

static bool wrong_lookup(OndError *err, const char *target, const char *what) {
  ond_error_set(err, "lookup of \"%.100s\" in the mapping %s", target, what);
  ond_error_pointer(err, "/%.100s/lookup", target);
  ond_error_hint(err, "Write {\"lookup\": {\"sync\": \"companies\", \"by\": [\"company_id\"], \"missing\": \"wait\" | \"null\" | \"invalid\"}}.");
  return false;
}

static bool parse_by(OndMapping *m, OndField *f, json_object *by, OndError *err) {
  bool one = json_object_is_type(by, json_type_string);
  size_t n = one ? 1 : json_object_is_type(by, json_type_array) ? json_object_array_length(by) : 0;

  if (n == 0 || n > BY_MAX)
    return wrong_lookup(err, f->target, "has a \"by\" that is not a list of columns");
  f->by = ond_arena_alloc(m->arena, sizeof(char *) * n);
  for (size_t i = 0; i < n; i++) {
    json_object *column = one ? by : json_object_array_get_idx(by, i);

    if (!json_object_is_type(column, json_type_string) || json_object_get_string_len(column) == 0)
      return wrong_lookup(err, f->target, "has a \"by\" that is not a list of columns");
    f->by[i] = copy_string(m, column);
  }
  f->n_by = (int)n;
  return true;
}

static bool parse_lookup(OndMapping *m, OndField *f, json_object *lookup, OndError *err) {
  static const char *const words[] = {[OND_MISSING_WAIT] = "wait", [OND_MISSING_NULL] = "null", [OND_MISSING_INVALID] = "invalid"};

  f->kind = OND_SOURCE_LOOKUP;
  if (!json_object_is_type(lookup, json_type_object))
    return wrong_lookup(err, f->target, "is not an object");
  json_object_object_foreach(lookup, name, value) {
    const char *text = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
    int word = 0;

    if (strcmp(name, "by") == 0) {
      if (!parse_by(m, f, value, err))
        return false;
    } else if (strcmp(name, "sync") == 0 && text[0] != '\0') {
      f->text = copy_string(m, value);
    } else if (strcmp(name, "missing") == 0) {
      while (word <= OND_MISSING_INVALID && strcmp(words[word], text) != 0)
        word++;
      if (word > OND_MISSING_INVALID)
        return wrong_lookup(err, f->target, "has a \"missing\" that is not \"wait\", \"null\" or \"invalid\"");
      f->missing = (OndMissing)word;
    } else
      return wrong_lookup(err, f->target, strcmp(name, "sync") == 0 ? "has a \"sync\" that is not a name" : "has an unknown member");
  }
  return f->text != NULL && f->n_by > 0 ? true : wrong_lookup(err, f->target, "lacks \"sync\" or \"by\"");
}

static bool parse_kind(OndMapping *m, OndField *f, const char *name, json_object *value, OndError *err) {
  if (strcmp(name, "lookup") == 0)
    return parse_lookup(m, f, value, err);
  if (strcmp(name, "const") == 0) {
    OndBuf text;
    bool ok;

    ond_buf_init(&text, OND_DOCUMENT_BYTES_MAX);
    ok = ond_document_json(value, &text);
    f->kind = OND_SOURCE_CONST;
    f->text = ok ? ond_arena_strndup(m->arena, text.data, text.len) : NULL;
    ond_buf_free(&text);
    return ok || wrong(err, f->target, "is a constant that is too large");
  }
  if (!json_object_is_type(value, json_type_string) || json_object_get_string_len(value) == 0)
    return wrong(err, f->target, "is not a text");
  f->text = copy_string(m, value);
  if (strcmp(name, "column") == 0)
    f->kind = OND_SOURCE_COLUMN;
  else if (strcmp(name, "sql") == 0)
    f->kind = OND_SOURCE_SQL;
  else {
    f->kind = OND_SOURCE_TEMPLATE;
    return ond_template_parse(m->arena, f->text, strlen(f->text), &f->template, err);
  }
  return true;
}

static bool parse_source(OndMapping *m, OndField *f, json_object *source, OndError *err) {
  int kinds = 0;

  f->detect = true;
  if (json_object_is_type(source, json_type_string)) {
    if (json_object_get_string_len(source) == 0)
      return wrong(err, f->target, "is an empty text");
    f->kind = OND_SOURCE_COLUMN;
    f->text = copy_string(m, source);
    return true;
  }
  if (!json_object_is_type(source, json_type_object))
    return wrong(err, f->target, "is neither a text nor an object");
  json_object_object_foreach(source, name, value) {
    if (is_option(name)) {
      if (!parse_option(m, f, name, value, err))
        return false;
    } else if (strcmp(name, "column") == 0 || strcmp(name, "const") == 0 || strcmp(name, "template") == 0 || strcmp(name, "sql") == 0 ||
               strcmp(name, "lookup") == 0) {
      kinds++;
      if (!parse_kind(m, f, name, value, err))
        return false;
    } else {
      char what[160];

      snprintf(what, sizeof(what), "has an unknown member \"%.100s\"", name);
      return wrong(err, f->target, what);
    }
  }
  if (kinds != 1)
    return wrong(err, f->target, "must have exactly one of column, const, template, sql and lookup");
  return true;
}

static bool parse_list_item(OndMapping *m, OndField *f, json_object *item, int i, OndError *err) {
  json_object *source, *destination;

  if (!json_object_is_type(item, json_type_object) || !json_object_object_get_ex(item, "source", &source) ||
      !json_object_object_get_ex(item, "destination", &destination) || !json_object_is_type(destination, json_type_string)) {
    ond_error_set(err, "item %d of the mapping has no \"source\" and \"destination\"", i);
    ond_error_pointer(err, "/%d", i);
    ond_error_hint(err, "Write [{\"source\": \"email\", \"destination\": \"Email\"}].");
    return false;
  }
  f->target = copy_string(m, destination);
  if (!parse_source(m, f, source, err))
    return false;
  json_object_object_foreach(item, name, value) {
    if (strcmp(name, "source") == 0 || strcmp(name, "destination") == 0)
      continue;
    if (!is_option(name)) {
      char what[160];

      snprintf(what, sizeof(what), "has an unknown member \"%.100s\"", name);
      return wrong(err, f->target, what);
    }
    if (!parse_option(m, f, name, value, err))
      return false;
  }
  return true;
}

/* Whether some text of the document has a NUL in it, which no name of a column and no SQL can have. */
static bool holds_nul(json_object *value) {
  if (json_object_is_type(value, json_type_string))
    return strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value);
  if (json_object_is_type(value, json_type_array))
    for (size_t i = 0; i < json_object_array_length(value); i++)
      if (holds_nul(json_object_array_get_idx(value, i)))
        return true;
  if (json_object_is_type(value, json_type_object)) {
    json_object_object_foreach(value, name, member) {
      (void)name;
      if (holds_nul(member))
        return true;
    }
  }
  return false;
}

static bool parse_document(OndMapping *m, json_object *doc, OndError *err) {
  bool is_object = json_object_is_type(doc, json_type_object);
  bool is_list = json_object_is_type(doc, json_type_array);
  int n = is_object ? json_object_object_length(doc) : is_list ? (int)json_object_array_length(doc) : 0;
  int i = 0;

  if (n == 0 || n > FIELDS_MAX) {
    ond_error_set(err, !is_object && !is_list ? "mapping is neither an object nor a list" : n == 0 ? "mapping has no fields" : "mapping has more than 1600 fields");
    ond_error_hint(err, "Write {\"target\": \"column\", …} or [{\"source\": \"column\", \"destination\": \"target\"}, …]; 'null' sends every column under its own name.");
    return false;
  }
  m->fields = ond_arena_alloc(m->arena, sizeof(OndField) * (size_t)n);
  m->ordered = is_list;
  if (is_list) {
    for (i = 0; i < n; i++)
      if (!parse_list_item(m, &m->fields[i], json_object_array_get_idx(doc, (size_t)i), i, err))
        return false;
  } else {
    json_object_object_foreach(doc, name, value) {
      m->fields[i].target = ond_arena_strdup(m->arena, name);
      if (!parse_source(m, &m->fields[i], value, err))
        return false;
      i++;
    }
  }
  m->n = n;
  return true;
}

/* --- construction ----------------------------------------------------------------------------------------- */

static OndMapping *mapping_create(void) {
  OndMapping *m = ond_calloc(sizeof(OndMapping));

  m->arena = ond_arena_create();
  m->root = node_create(m, NODE_OBJECT);
  return m;
}

static int compare_targets(const void *a, const void *b, void *fields) {
  return strcmp(((OndField *)fields)[*(const int *)a].target, ((OndField *)fields)[*(const int *)b].target);
}

static void sort_fields(OndMapping *m) {
  m->sorted = ond_arena_alloc(m->arena, sizeof(int) * (size_t)m->n);
  for (int i = 0; i < m->n; i++)
    m->sorted[i] = i;
  qsort_r(m->sorted, (size_t)m->n, sizeof(int), compare_targets, m->fields);
}

OndMapping *ond_mapping_parse(const char *json, size_t n, OndError *err) {
  OndMapping *m = mapping_create();
  json_object *doc;
  const char *problem;
  bool ok = ond_document_parse(json, n, &doc, &problem);

  if (!ok)
    ond_error_set(err, "mapping %s", problem);
  else if (holds_nul(doc)) {
    ond_error_set(err, "mapping has a text with a NUL character");
    ok = false;
  } else
    ok = parse_document(m, doc, err);
  json_object_put(doc);
  for (int i = 0; ok && i < m->n; i++)
    ok = add_target(m, i, err);
  if (!ok) {
    ond_mapping_free(m);
    return NULL;
  }
  sort_fields(m);
  return m;
}

OndMapping *ond_mapping_identity(int n, const char *const *columns) {
  OndMapping *m = mapping_create();

  m->n = n;
  m->fields = ond_arena_alloc(m->arena, sizeof(OndField) * (size_t)(n > 0 ? n : 1));
  for (int i = 0; i < n; i++) {
    Node *node = add_child(m->root, node_create(m, NODE_FIELD));

    m->fields[i].target = m->fields[i].text = node->name = ond_arena_strdup(m->arena, columns[i]);
    m->fields[i].kind = OND_SOURCE_COLUMN;
    m->fields[i].detect = true;
    node->field = i;
    node->label = member_label(m, columns[i]);
  }
  sort_fields(m);
  return m;
}

/* --- order ------------------------------------------------------------------------------------------------ */

static int rank_of(const Node *node, const int *ranks) {
  int rank = INT_MAX;

  if (node->kind == NODE_FIELD)
    return ranks[node->field];
  for (const Node *c = node->child; c != NULL; c = c->next)
    if (rank_of(c, ranks) < rank)
      rank = rank_of(c, ranks);
  return rank;
}

/* Insertion sort of the children of objects; an array's stay where their indexes put them. */
static void order_children(Node *node, const int *ranks) {
  Node *sorted = NULL;

  for (Node *c = node->child; c != NULL; c = c->next)
    order_children(c, ranks);
  if (node->kind != NODE_OBJECT)
    return;
  while (node->child != NULL) {
    Node *c = node->child;
    Node **at = &sorted;

    node->child = c->next;
    while (*at != NULL && rank_of(*at, ranks) <= rank_of(c, ranks))
      at = &(*at)->next;
    c->next = *at;
    *at = c;
  }
  node->child = sorted;
}

void ond_mapping_order(OndMapping *m, const int *ranks) {
  if (!m->ordered)
    order_children(m->root, ranks);
}

/* --- rendering -------------------------------------------------------------------------------------------- */

static bool is_absent(const Node *node, const OndBytes *values) {
  return node->kind == NODE_FIELD && values[node->field].p == NULL;
}

static bool render_node(const Node *node, const OndBytes *values, OndBuf *out) {
  bool array = node->kind == NODE_ARRAY;
  bool first = true;
  bool ok = ond_buf_append_char(out, array ? '[' : '{');

  for (const Node *c = node->child; ok && c != NULL; c = c->next) {
    if (is_absent(c, values) && !array)
      continue;
    if (!first)
      ok = ond_buf_append_char(out, ',');
    first = false;
    if (ok && c->label != NULL && !array)
      ok = ond_buf_append_str(out, c->label);
    if (!ok)
      break;
    if (c->kind != NODE_FIELD)
      ok = render_node(c, values, out);
    else if (is_absent(c, values))
      ok = ond_buf_append_str(out, "null");
    else
      ok = ond_buf_append_bytes(out, values[c->field]);
  }
  return ok && ond_buf_append_char(out, array ? ']' : '}');
}

bool ond_mapping_render(const OndMapping *m, const OndBytes *values, OndBuf *out) {
  return render_node(m->root, values, out);
}
