/*
 * node.c - reading a description: typed members, unknown members refused, errors with the place.
 *
 * Nodes live on the stack of the functions that read a document and point to their parents; the JSON pointer is only
 * built when there is an error to report.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "connector/document.h"

#define LEVELS_MAX (OND_DOCUMENT_DEPTH_MAX + 2)

OndNode ond_node_root(struct json_object *value) {
  return (OndNode){.value = value};
}

/* One step of a pointer, escaped; returns the new length, at most n - 1. */
static size_t append_step(char *out, size_t n, size_t length, const OndNode *at) {
  char number[24];
  const char *p = at->member;

  if (!p) {
    snprintf(number, sizeof(number), "%zu", at->index);
    p = number;
  }
  for (bool slash = true; length + 3 < n && (slash || *p); slash = false) {
    if (slash) {
      out[length++] = '/';
    } else if (*p == '~' || *p == '/') {
      out[length++] = '~';
      out[length++] = *p++ == '~' ? '0' : '1';
    } else {
      out[length++] = *p++;
    }
  }
  out[length] = '\0';
  return length;
}

void ond_node_pointer(const OndNode *at, char *out, size_t n) {
  const OndNode *way[LEVELS_MAX];
  size_t length = 0;
  int levels = 0;

  for (; at->parent && levels < LEVELS_MAX; at = at->parent) {
    way[levels++] = at;
  }
  out[0] = '\0';
  while (levels > 0) {
    length = append_step(out, n, length, way[--levels]);
  }
}

bool ond_node_place(const OndNode *at, OndError *err) {
  char pointer[sizeof(err->pointer)];

  ond_node_pointer(at, pointer, sizeof(pointer));
  ond_error_pointer(err, "%s", pointer);
  return false;
}

bool ond_node_fail(const OndNode *at, OndError *err, const char *fmt, ...) {
  char text[sizeof(err->message)];
  va_list args;

  va_start(args, fmt);
  vsnprintf(text, sizeof(text), fmt, args);
  va_end(args);
  ond_error_set(err, "%s", text);
  return ond_node_place(at, err);
}

static const char MISSING[] = " is missing";
static const char UNKNOWN[] = "unknown member ";

bool ond_node_missing(const OndNode *at, const char *member, const char *example, OndError *err) {
  ond_node_fail(at, err, "\"%s\"%s", member, MISSING);
  if (example) {
    ond_error_hint(err, "Write %s.", example);
  }
  return false;
}

bool ond_error_missing(const OndError *err, char *member, size_t n) {
  const char *end = err->message[0] == '"' ? strchr(err->message + 1, '"') : NULL;

  if (!end || strcmp(end + 1, MISSING) != 0 || (size_t)(end - err->message) > n) {
    return false;
  }
  memcpy(member, err->message + 1, (size_t)(end - err->message) - 1);
  member[end - err->message - 1] = '\0';
  return true;
}

bool ond_error_unknown(const OndError *err) {
  return strncmp(err->message, UNKNOWN, sizeof(UNKNOWN) - 1) == 0;
}

/* "must be …", with the member's name before it. */
static bool fail_type(const OndNode *at, OndError *err, const char *must) {
  if (at->member) {
    return ond_node_fail(at, err, "\"%s\" must be %s", at->member, must);
  }
  return ond_node_fail(at, err, at->parent ? "this element must be %s" : "the document must be %s", must);
}

void ond_names_join(const char *const *names, char *out, size_t n) {
  size_t length = 0;

  out[0] = '\0';
  for (int i = 0; names[i] && length < n; i++) {
    int wrote = snprintf(out + length, n - length, "%s%s", i > 0 ? ", " : "", names[i]);

    length += wrote > 0 ? (size_t)wrote : 0;
  }
}

static bool is_one_of(const char *name, const char *const *names) {
  for (int i = 0; names[i]; i++) {
    if (strcmp(name, names[i]) == 0) {
      return true;
    }
  }
  return false;
}

bool ond_node_object(const OndNode *at, const char *const *valid, OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;
  char names[sizeof(err->hint) - 32];

  if (!json_object_is_type(at->value, json_type_object)) {
    return fail_type(at, err, "an object");
  }
  it = json_object_iter_begin(at->value);
  end = json_object_iter_end(at->value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode member = {.parent = at, .member = json_object_iter_peek_name(&it)};

    if (!is_one_of(member.member, valid)) {
      ond_node_fail(&member, err, "%s\"%s\"", UNKNOWN, member.member);
      ond_names_join(valid, names, sizeof(names));
      ond_error_hint(err, "Valid members are %s.", names);
      return false;
    }
  }
  return true;
}

bool ond_node_get(const OndNode *object, const char *member, OndNode *out) {
  *out = (OndNode){.parent = object, .member = member};
  return json_object_is_type(object->value, json_type_object) && json_object_object_get_ex(object->value, member, &out->value);
}

bool ond_node_array(const OndNode *at, size_t *n, OndError *err) {
  if (!json_object_is_type(at->value, json_type_array)) {
    return fail_type(at, err, "an array");
  }
  *n = json_object_array_length(at->value);
  return true;
}

OndNode ond_node_element(const OndNode *array, size_t i) {
  return (OndNode){.parent = array, .index = i, .value = json_object_array_get_idx(array->value, i)};
}

bool ond_node_string(const OndNode *at, const char **out, OndError *err) {
  if (!json_object_is_type(at->value, json_type_string)) {
    return fail_type(at, err, "a string");
  }
  *out = json_object_get_string(at->value);
  if (strlen(*out) != (size_t)json_object_get_string_len(at->value)) {
    return fail_type(at, err, "a string without NUL characters");
  }
  return true;
}

bool ond_node_int(const OndNode *at, int64_t min, int64_t max, int64_t *out, OndError *err) {
  int64_t value = json_object_is_type(at->value, json_type_int) ? json_object_get_int64(at->value) : 0;
  char must[80];

  if (!json_object_is_type(at->value, json_type_int) || value < min || value > max) {
    snprintf(must, sizeof(must), "a whole number from %lld to %lld", (long long)min, (long long)max);
    return fail_type(at, err, must);
  }
  *out = value;
  return true;
}

bool ond_node_bool(const OndNode *at, bool *out, OndError *err) {
  if (!json_object_is_type(at->value, json_type_boolean)) {
    return fail_type(at, err, "true or false");
  }
  *out = json_object_get_boolean(at->value);
  return true;
}

bool ond_node_word(const OndNode *at, const char *const *words, int *out, OndError *err) {
  const char *text;
  char names[160];

  if (!ond_node_string(at, &text, err)) {
    return false;
  }
  for (int i = 0; words[i]; i++) {
    if (strcmp(text, words[i]) == 0) {
      *out = i;
      return true;
    }
  }
  if (at->member) {
    ond_node_fail(at, err, "\"%s\" cannot be \"%s\"", at->member, text);
  } else {
    ond_node_fail(at, err, "\"%s\" is not valid here", text);
  }
  ond_names_join(words, names, sizeof(names));
  ond_error_hint(err, "It can be %s.", names);
  return false;
}

bool ond_node_json_pointer(const OndNode *at, OndArena *arena, OndJsonPtr *out, OndError *err) {
  const char *text;

  return ond_node_string(at, &text, err) && (ond_jsonptr_parse(arena, text, out, err) || ond_node_place(at, err));
}

bool ond_member_string(const OndNode *object, const char *member, const char **out, OndError *err) {
  OndNode node;

  return !ond_node_get(object, member, &node) || ond_node_string(&node, out, err);
}

bool ond_member_int(const OndNode *object, const char *member, int64_t min, int64_t max, int64_t *out, OndError *err) {
  OndNode node;

  return !ond_node_get(object, member, &node) || ond_node_int(&node, min, max, out, err);
}

bool ond_member_bool(const OndNode *object, const char *member, bool *out, OndError *err) {
  OndNode node;

  return !ond_node_get(object, member, &node) || ond_node_bool(&node, out, err);
}

bool ond_member_json_pointer(const OndNode *object, const char *member, OndArena *arena, const OndJsonPtr **out, OndError *err) {
  OndNode node;
  OndJsonPtr *pointer;

  if (!ond_node_get(object, member, &node)) {
    return true;
  }
  pointer = ond_arena_alloc(arena, sizeof(*pointer));
  if (!ond_node_json_pointer(&node, arena, pointer, err)) {
    return false;
  }
  *out = pointer;
  return true;
}
