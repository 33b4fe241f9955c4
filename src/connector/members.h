/*
 * members.h - the outer structure of JSON bytes, without parsing what is inside.
 *
 * Rows arrive as JSON text that PostgreSQL rendered and leave as the same bytes: numbers stay digit for digit. Where a part of
 * an object is wanted (omit, only, merge, form encoding) this reader finds the borders of its members and elements and hands
 * out pieces of the original bytes. It is tolerant: what it does not need to understand it steps over. It never reads past the
 * end and never recurses.
 */
#ifndef OND_CONNECTOR_MEMBERS_H
#define OND_CONNECTOR_MEMBERS_H

#include <stdbool.h>
#include "core/buf.h"

typedef struct OndMember {
  OndBytes name;  /* between the quotes, escapes as they stand; absent for an element of an array */
  bool escaped;   /* name holds a backslash */
  OndBytes value; /* the member's bytes, blanks around them left out */
} OndMember;

typedef struct OndMembers {
  const char *p;
  const char *end;
  bool object; /* else an array */
  bool first;
  bool bad; /* ended because the text is not well-formed */
} OndMembers;

typedef enum OndJsonKind { OND_JSON_NONE, OND_JSON_NULL, OND_JSON_STRING, OND_JSON_OBJECT, OND_JSON_ARRAY, OND_JSON_SCALAR } OndJsonKind;

/* What the bytes look like from their first character; NONE: absent or blank. SCALAR: number, true, false. */
extern OndJsonKind ond_json_kind(OndBytes json);
/* Without the JSON blanks at both ends. */
extern OndBytes ond_json_trim(OndBytes json);

/* Starts on an object or an array; false: the bytes are neither. */
extern bool ond_members_begin(OndMembers *m, OndBytes json);
/* The next member or element; false: no more, or m->bad. */
extern bool ond_members_next(OndMembers *m, OndMember *out);

/* Appends the text of a string's inside (between the quotes). False: an escape that is none, or a lone surrogate. */
extern bool ond_json_unescape(OndBytes raw, OndBuf *out);
/* Whether a member's name is this text. */
extern bool ond_member_is(const OndMember *m, OndBytes name);
/* Whether two members have the same name. */
extern bool ond_member_same_name(const OndMember *a, const OndMember *b);
/* Whether it is one JSON text, within the limits of documents (document.h). */
extern bool ond_json_is_valid(OndBytes json);
/* Appends JSON without the blanks between its tokens. */
extern bool ond_json_compact(OndBytes json, OndBuf *out);

#endif
