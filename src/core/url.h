/*
 * url.h - percent-encoding and URL checks; RFC 3986.
 */
#ifndef OND_CORE_URL_H
#define OND_CORE_URL_H

#include <stdbool.h>
#include "core/buf.h"
#include "core/error.h"

/* Appends n bytes percent-encoded: all but the unreserved characters (A-Z a-z 0-9 - . _ ~). Fit for a path piece or a query value. */
extern bool ond_url_encode(OndBuf *b, const char *s, size_t n);
/* application/x-www-form-urlencoded: like ond_url_encode, a blank is '+'. */
extern bool ond_form_encode(OndBuf *b, const char *s, size_t n);
/* True where a value may not stand alone as a path piece: empty, ".", "..". */
extern bool ond_url_piece_is_unsafe(const char *s, size_t n);

typedef struct OndUrl {
  bool https;
  char host[256];  /* lower case, brackets of an IPv6 literal removed */
  int port;        /* filled in from the scheme when absent */
  OndBytes path;   /* into the input: all after the authority, the query too; empty: "" */
} OndUrl;

/*
 * Splits and checks an absolute URL: http or https only, a host, no user:password@, no fragment, no control
 * characters or blanks, no backslash, ASCII only. Errors say which rule. The host of an IPv6 literal is in canonical form.
 */
extern bool ond_url_parse(const char *url, OndUrl *out, OndError *err);
/* Same scheme, host and port. */
extern bool ond_url_same_origin(const OndUrl *a, const OndUrl *b);

#endif
