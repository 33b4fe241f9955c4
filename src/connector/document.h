/*
 * document.h - a small checked reader of JSON documents over json-c.
 *
 * Two uses. Answers of servers: ond_document_parse(), then JSON pointers into the values. Descriptions written by people: an
 * OndNode is a value and the way to it, so that every error carries the JSON pointer of the place; members are read by
 * name and type, and members that nobody knows are errors whose hint lists the names that are valid.
 *
 * json-c only parses. What it accepts beyond JSON (NaN, single quotes, "1.") is refused before it sees the text, and an integer
 * with more digits than 64 bits hold is kept digit for digit instead of being clamped.
 */
#ifndef OND_CONNECTOR_DOCUMENT_H
#define OND_CONNECTOR_DOCUMENT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/buf.h"
#include "core/error.h"
#include "core/jsonptr.h"
#include "core/mem.h"

#define OND_DOCUMENT_DEPTH_MAX  64
#define OND_DOCUMENT_BYTES_MAX  ((size_t)32 * 1024 * 1024)
#define OND_DOCUMENT_VALUES_MAX 2000000

/*
 * Parses one JSON text. False and *problem (static words) when it is empty, not JSON, not UTF-8, too deep, or too large.
 * JSON null is a NULL object: look at the result, not at the pointer. The caller puts *out.
 */
extern bool ond_document_parse(const char *text, size_t n, struct json_object **out, const char **problem);
/* Follows a pointer; false when the place does not exist. JSON null exists and is NULL. */
extern bool ond_document_at(struct json_object *root, const OndJsonPtr *pointer, struct json_object **out);
/* Appends the text of a string, number or boolean; false for everything else. */
extern bool ond_document_text(struct json_object *value, OndBuf *out);
/* Appends a value as compact JSON, numbers as they were written. False: no room, or text with a NUL in it. */
extern bool ond_document_json(struct json_object *value, OndBuf *out);

typedef struct OndNode {
  const struct OndNode *parent; /* NULL: the root */
  const char *member;           /* NULL: an element */
  size_t index;
  struct json_object *value; /* NULL: JSON null */
} OndNode;

extern OndNode ond_node_root(struct json_object *value);
/* An error at this place: always false. */
extern bool ond_node_fail(const OndNode *at, OndError *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A member that must be there and is not: always false. example: how to write it, for the hint; NULL: none. */
extern bool ond_node_missing(const OndNode *at, const char *member, const char *example, OndError *err);
/* Of an error: the name of the member that is missing at its place (cut to n - 1 bytes); false: that is not what it is about. */
extern bool ond_error_missing(const OndError *err, char *member, size_t n);
/* Whether an error is about a member that nobody knows. */
extern bool ond_error_unknown(const OndError *err);
/* Adds the place to an error that something else has set: always false. */
extern bool ond_node_place(const OndNode *at, OndError *err);
/* The place as a JSON pointer, cut to n - 1 bytes. */
extern void ond_node_pointer(const OndNode *at, char *out, size_t n);

/* An object with no members other than these (NULL-terminated). */
extern bool ond_node_object(const OndNode *at, const char *const *valid, OndError *err);
/* A member; false when the object has none of this name. */
extern bool ond_node_get(const OndNode *object, const char *member, OndNode *out);
extern bool ond_node_array(const OndNode *at, size_t *n, OndError *err);
extern OndNode ond_node_element(const OndNode *array, size_t i);

/* A string without NUL; lives as long as the document. */
extern bool ond_node_string(const OndNode *at, const char **out, OndError *err);
extern bool ond_node_int(const OndNode *at, int64_t min, int64_t max, int64_t *out, OndError *err);
extern bool ond_node_bool(const OndNode *at, bool *out, OndError *err);
/* One of the words (NULL-terminated); *out is its number. */
extern bool ond_node_word(const OndNode *at, const char *const *words, int *out, OndError *err);
extern bool ond_node_json_pointer(const OndNode *at, OndArena *arena, OndJsonPtr *out, OndError *err);

/* The same for a member that may be absent: then true, and *out keeps its default. */
extern bool ond_member_string(const OndNode *object, const char *member, const char **out, OndError *err);
extern bool ond_member_int(const OndNode *object, const char *member, int64_t min, int64_t max, int64_t *out, OndError *err);
extern bool ond_member_bool(const OndNode *object, const char *member, bool *out, OndError *err);
extern bool ond_member_json_pointer(const OndNode *object, const char *member, OndArena *arena, const OndJsonPtr **out, OndError *err);

/* "a, b, c" of NULL-terminated names, cut to n - 1 bytes. */
extern void ond_names_join(const char *const *names, char *out, size_t n);

#endif
