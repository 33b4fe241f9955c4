/*
 * sigv4.h - AWS Signature Version 4, in pieces that the published test suite can check one by one.
 */
#ifndef OND_HTTP_SIGV4_H
#define OND_HTTP_SIGV4_H

#include <stdbool.h>
#include "core/buf.h"

typedef struct OndSigv4Header {
  const char *name;           /* any case */
  const char *value;
} OndSigv4Header;

typedef struct OndSigv4Input {
  const char *method;
  OndBytes path, query;       /* as they are on the wire; query without '?' */
  int n_headers;
  const OndSigv4Header *headers; /* all that are signed */
  const char *payload_hash;   /* lower-case hex of the body's SHA-256 */
  bool s3;                    /* the path is neither normalised nor encoded twice */
  const char *region, *service, *access_key, *secret_key;
  const char *date;           /* 20150830T123600Z */
} OndSigv4Input;

/* Each appends; false when out is full. */
extern bool ond_sigv4_canonical(const OndSigv4Input *in, OndBuf *out);
extern bool ond_sigv4_string_to_sign(const OndSigv4Input *in, OndBuf *out);
/* The value of Authorization. */
extern bool ond_sigv4_authorization(const OndSigv4Input *in, OndBuf *out);

#endif
