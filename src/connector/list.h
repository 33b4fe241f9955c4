/*
 * list.h - "list" of an object, compiled: a request for a page of records, how they are read, and how the next page is found.
 */
#ifndef OND_CONNECTOR_LIST_H
#define OND_CONNECTOR_LIST_H

#include "connector/internal.h"

typedef enum OndNext { OND_NEXT_NONE, OND_NEXT_CURSOR, OND_NEXT_URL, OND_NEXT_LINK, OND_NEXT_PAGE, OND_NEXT_OFFSET, OND_NEXT_LAST } OndNext;

struct OndList {
  OndOperation *request;      /* method, URL, headers, body; ok, error, statuses and rate as of any operation */
  OndOperation *report;       /* its steps come before the first page; NULL: none do */
  const OndName *uses;        /* names of what they capture that the pages' request needs */
  bool lines;                 /* a record a line; else a JSON answer */
  bool csv;                   /* records by the names in the first line */
  const OndJsonPtr *rows;     /* NULL: the whole answer */
  OndIdentity key;            /* n == 0: not said */
  const OndJsonPtr *id;       /* NULL: not said */
  const OndJsonPtr *fields;   /* NULL: the record itself */
  int n_captures;
  const OndCapture *captures;
  bool compare_text;          /* the API gives all values as texts */
  const OndCondition *skip;   /* records that do not count */
  OndNext next;
  OndJsonPtr next_at;         /* CURSOR, URL: in the answer; LAST: in the last record */
  const char *header;         /* CURSOR: where it is, in place of next_at; NULL: in the body */
  const char *link;           /* LINK: the relation */
  int64_t first, step;        /* PAGE, OFFSET; step 0: as many as the page had */
  const OndCondition *has_more, *end;
  const OndJsonPtr *total, *total_pages;
  int64_t pages_max;
};

/* Whether the next request is a step before the pages; and its answer: report.c. */
extern bool ond_paging_in_report(const OndPaging *p);
extern bool ond_paging_read_step(OndPaging *p, const OndHttpResponse *response, OndError *err);

/* Compiles "list"; NULL and err on error. */
extern OndList *ond_list_parse(OndConnector *c, const OndNode *at, OndError *err);
/* "next" of a list or of a step's results; c->names_cursor tells whether the request names {{cursor}}. */
extern bool ond_list_parse_next(OndConnector *c, OndList *l, const OndNode *list, OndError *err);

#endif
