/*
 * link.c - see link.h. A reader of what servers send: it steps over parameters it does not know and stops at the first thing that is no link.
 */
#include <string.h>
#include <strings.h>

#include "core/link.h"

typedef struct Reader {
  const char *p;
  const char *end;
} Reader;

static void blanks(Reader *r) {
  while (r->p < r->end && (*r->p == ' ' || *r->p == '\t'))
    r->p++;
}

static bool take(Reader *r, char c) {
  blanks(r);
  if (r->p >= r->end || *r->p != c)
    return false;
  r->p++;
  return true;
}

/* Up to one of the characters. */
static OndBytes until(Reader *r, const char *stops) {
  const char *start = r->p;

  while (r->p < r->end && strchr(stops, *r->p) == NULL)
    r->p++;
  return (OndBytes){start, (size_t)(r->p - start)};
}

/* A token or a quoted text, without its quotes. */
static OndBytes value(Reader *r) {
  OndBytes v;

  blanks(r);
  if (!take(r, '"'))
    return until(r, "; ,\t");
  v.p = r->p;
  while (r->p < r->end && *r->p != '"')
    r->p += *r->p == '\\' && r->p + 1 < r->end ? 2 : 1;
  v.n = (size_t)(r->p - v.p);
  if (r->p < r->end)
    r->p++;
  return v;
}

static bool same(OndBytes a, const char *b) {
  return a.n == strlen(b) && strncasecmp(a.p, b, a.n) == 0;
}

/* Whether a list of relations, separated by blanks, has this one. */
static bool has_relation(OndBytes list, const char *relation) {
  Reader r = {list.p, list.p + list.n};

  for (;;) {
    OndBytes one;

    blanks(&r);
    one = until(&r, " \t");
    if (one.n == 0 || same(one, relation))
      return one.n > 0;
  }
}

bool ond_link_find(OndBytes header, const char *relation, OndBytes *target) {
  Reader r = {header.p, header.p + header.n};

  while (header.p != NULL && take(&r, '<')) {
    bool found = false;
    OndBytes url = until(&r, ">");

    if (!take(&r, '>'))
      return false;
    while (take(&r, ';')) {
      OndBytes name;

      blanks(&r);
      name = until(&r, "=; ,\t");
      if (take(&r, '=')) {
        OndBytes v = value(&r);

        found = found || (same(name, "rel") && has_relation(v, relation));
      }
    }
    if (found) {
      *target = url;
      return true;
    }
    if (!take(&r, ','))
      return false;
  }
  return false;
}
