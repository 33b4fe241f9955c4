/*
 * token.h - tokens as endpoints tell them and as they are kept: read, written, read again.
 */
#ifndef OND_CONNECTOR_TOKEN_H
#define OND_CONNECTOR_TOKEN_H

#include <stdbool.h>
#include <stdint.h>
#include "core/buf.h"
#include "core/error.h"
#include "http/http.h"
#include "http/token.h"

/* Everything malloc'd; wiped when freed. */
typedef struct OndToken {
  char *access_token;
  char *refresh_token;        /* NULL: none */
  int64_t life_s;             /* from the request on; -1: not told */
  char *response;             /* the other members of the answer: a JSON object */
  OndTokenFingerprints made_of; /* what it was asked for with */
} OndToken;

extern void ond_token_free(OndToken *t); /* NULL is fine */
/* Reads a 2xx answer of the endpoint. NULL and err: it holds no token that could be used. */
extern OndToken *ond_token_read(const OndHttpResponse *response, OndError *err);
/* As it is kept (to be encrypted), and back. False, NULL: no room; not what was written. */
extern bool ond_token_write(const OndToken *t, OndBuf *out);
extern OndToken *ond_token_parse(const char *text, size_t n);
/* A text, number or boolean of the answer at a JSON pointer, malloc'd; NULL: there is none. */
extern char *ond_token_response_text(const OndToken *t, const char *pointer);

/* What a refusal says: "error" (empty: nothing) and words, both cut, one line: of an answer that was scrubbed. */
typedef struct OndTokenRefusal {
  char code[64];
  char words[400];
} OndTokenRefusal;
extern void ond_token_refusal(const OndHttpResponse *response, OndTokenRefusal *out);

#endif
