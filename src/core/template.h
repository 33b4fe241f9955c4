/*
 * template.h - text with {{name|filter}} in it, cut into parts once.
 *
 * Grammar: anything but "{{" is literal; "{{" name ( "|" filter )* "}}" is a reference. Blanks around
 * names and filters are ignored. A name is one or more characters other than { } | and may contain dots;
 * names with odd characters can be written in double quotes: {{"first name"}} (a quote inside is doubled). Expanded once: a value
 * that contains "{{" stays as it is. "{{" without "}}" is an error, as is an unknown filter.
 */
#ifndef OND_CORE_TEMPLATE_H
#define OND_CORE_TEMPLATE_H

#include <stdbool.h>
#include "core/buf.h"
#include "core/error.h"
#include "core/mem.h"

typedef enum OndFilter {
  OND_FILTER_LOWER,  /* ASCII and UTF-8 Latin/Greek/Cyrillic left alone: ASCII only */
  OND_FILTER_UPPER,
  OND_FILTER_TRIM,   /* ASCII white space at both ends */
  OND_FILTER_MD5,    /* lower-case hex */
  OND_FILTER_SHA256, /* lower-case hex */
  OND_FILTER_BASE64, /* standard alphabet, padded */
  OND_FILTER_JSON,   /* the text as a JSON string, with quotes */
  OND_FILTER_EPOCH,  /* ISO 8601 timestamp -> seconds since 1970 (fraction kept only when not zero) */
  OND_FILTER_ISO,    /* seconds since 1970 -> ISO 8601 UTC */
  OND_FILTER_TEXT    /* the value as it is: where a lone reference would keep its JSON type, a number becomes a string */
} OndFilter;

#define OND_FILTERS_MAX 6

typedef struct OndTemplatePart {
  OndBytes literal;            /* when name.p == NULL */
  OndBytes name;               /* the reference, quotes removed */
  bool quoted;                 /* it was written in quotes: {{"key"}} is a column of that name, never a word of the connector */
  int n_filters;
  OndFilter filters[OND_FILTERS_MAX];
  int slot;                    /* for the owner of the template: what the name was resolved to; -1 at first */
  int index;                   /* likewise */
} OndTemplatePart;

typedef struct OndTemplate {
  int n;
  OndTemplatePart *parts;      /* in the arena; bytes are copies in the arena */
} OndTemplate;

/* Parses text into the arena. False and err for an unclosed reference, an empty name or an unknown filter (the hint lists them). */
extern bool ond_template_parse(OndArena *arena, const char *text, size_t n, OndTemplate *out, OndError *err);
/* True when the template has no reference. */
extern bool ond_template_is_literal(const OndTemplate *t);
/*
 * Applies the filters of a part to a value; the result is appended to out. False when a filter cannot take the
 * value (epoch of something that is no timestamp) or out is full; err says why.
 */
extern bool ond_template_filter(const OndTemplatePart *part, const char *value, size_t n, OndBuf *out, OndError *err);

#endif
