/*
 * answer.c - see answer.h.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "core/text.h"
#include "engine/answer.h"
#include "engine/encode.h"

#define HEADERS_MAX 1000

typedef struct Header {
  char *name;                 /* lower case */
  List *values;
} Header;

static void add_header(Header *all, int *n, char *name, char *value) {
  for (int i = 0; i < *n; i++) {
    if (strcmp(all[i].name, name) == 0) {
      all[i].values = lappend(all[i].values, value);
      return;
    }
  }
  all[*n].name = name;
  all[(*n)++].values = list_make1(value);
}

static int parse_lines(const char *p, Header *all) {
  int n = 0;

  while (*p != '\0' && n < HEADERS_MAX) {
    size_t line = strcspn(p, "\r\n");
    const char *colon = memchr(p, ':', line);

    if (colon != NULL) {
      char *name = pnstrdup(p, colon - p);
      const char *value = colon + 1;

      while (value < p + line && (*value == ' ' || *value == '\t'))
        value++;
      for (char *c = name; *c != '\0'; c++)
        *c = pg_ascii_tolower((unsigned char)*c);
      add_header(all, &n, name, pnstrdup(value, p + line - value));
    }
    p += line;
    p += strspn(p, "\r\n");
  }
  return n;
}

/* What is not UTF-8 becomes '?'. */
static void append_text(StringInfo s, char *text) {
  ond_text_clean(text);
  ond_append_json_string(s, text, strlen(text));
}

char *ond_answer_headers(const OndHttpResponse *r) {
  Header *all = palloc0(sizeof(Header) * HEADERS_MAX);
  int n = parse_lines(r->headers.data == NULL ? "" : r->headers.data, all);
  StringInfoData s;

  initStringInfo(&s);
  appendStringInfoChar(&s, '{');
  for (int i = 0; i < n; i++) {
    bool many = list_length(all[i].values) > 1;
    ListCell *cell;

    appendStringInfoString(&s, i > 0 ? ", " : "");
    append_text(&s, all[i].name);
    appendStringInfoString(&s, many ? ": [" : ": ");
    foreach (cell, all[i].values) {
      appendStringInfoString(&s, foreach_current_index(cell) > 0 ? ", " : "");
      append_text(&s, lfirst(cell));
    }
    appendStringInfoString(&s, many ? "]" : "");
  }
  appendStringInfoChar(&s, '}');
  return s.data;
}
