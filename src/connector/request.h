/*
 * request.h - everything of a request but its body: path, query and header templates, checked and cut.
 *
 * A path cannot leave the base URL: it is empty or starts with "/", it is joined as text, its literal pieces are checked here and
 * what values make of the others is checked when a request is rendered.
 */
#ifndef OND_CONNECTOR_REQUEST_H
#define OND_CONNECTOR_REQUEST_H

#include "connector/reference.h"

/* Takes the base URL apart; err when it is none. */
extern bool ond_request_base(OndConnector *c, const char *base_url, OndError *err);
/* A "headers" object. Those of the destination come first in *headers and are replaced by what has the same name. */
extern bool ond_request_headers(const OndScope *s, const OndNode *at, int *n, OndHeader **headers, OndError *err);
/*
 * Reads "path", "query" and "headers" of an operation (method is set by the caller). s->rows tells whether rows may be named; a
 * query can always repeat or join something of every row, then s->o must be given.
 */
extern bool ond_request_parse(const OndScope *s, const OndNode *operation, OndRequestTemplate *out, OndError *err);
/* Adds a header unless one of its name is there. */
extern void ond_request_default_header(OndArena *arena, OndRequestTemplate *r, const char *name, OndTemplate value);
/* A template that is only this text. */
extern OndTemplate ond_request_literal(OndArena *arena, const char *text);
/* Whether the query repeats or joins something of every row. */
extern bool ond_request_names_rows(const OndRequestTemplate *r);
/* Renders URL and headers by a template of the caller's making for the operation and its rows (n may be 0, o NULL); the body is the caller's. As ond_connector_render(). */
extern bool ond_request_render(const OndConnector *c, const OndOperation *o, const OndRequestTemplate *t, const OndRow *const *rows, int n,
                               const OndRenderContext *context, const char *content_type, OndHttpRequest *out, OndError *err);
/* A header name that is a token and not one the transport or the connector sets; err says which rule it breaks. */
extern bool ond_request_header_name(const OndNode *at, const char *name, OndError *err);

#endif
