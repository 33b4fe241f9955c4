/*
 * jsonptr.h - JSON pointers (RFC 6901), parsed once.
 */
#ifndef OND_CORE_JSONPTR_H
#define OND_CORE_JSONPTR_H

#include <stdbool.h>
#include <stdint.h>
#include "core/buf.h"
#include "core/error.h"
#include "core/mem.h"

typedef struct OndJsonPtr {
  int n;              /* 0: the whole document */
  OndBytes *tokens;   /* unescaped, NUL-terminated copies in the arena */
  int64_t *indexes;   /* the token as an array index, or -1 */
} OndJsonPtr;

/* Errors: not empty and not starting with '/', a bad '~' escape, more than 32 tokens. */
extern bool ond_jsonptr_parse(OndArena *arena, const char *text, OndJsonPtr *out, OndError *err);

#endif
