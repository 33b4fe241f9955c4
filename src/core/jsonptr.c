/*
 * jsonptr.c - JSON pointers (RFC 6901), parsed once.
 *
 * Owns nothing: tokens live in the caller's arena. Walking a document is the business of whoever has one.
 */
#include "core/jsonptr.h"

#include <string.h>

#define TOKENS_MAX 32

static const char HINT[] = "Write \"/a/b/0\", with \"~1\" for \"/\" and \"~0\" for \"~\" inside a name; \"\" is the whole document.";

/* "0" or digits without a leading zero that fit; -1 otherwise ("-" too: there is nothing after the last element to read). */
static int64_t token_index(OndBytes token) {
  int64_t index = 0;

  if (token.n == 0 || (token.p[0] == '0' && token.n > 1)) {
    return -1;
  }
  for (size_t i = 0; i < token.n; i++) {
    int digit = token.p[i] - '0';

    if (digit < 0 || digit > 9 || index > (INT64_MAX - digit) / 10) {
      return -1;
    }
    index = index * 10 + digit;
  }
  return index;
}

/* Unescapes one token of n bytes; false for a '~' that is neither ~0 nor ~1. */
static bool token_unescape(OndArena *arena, const char *s, size_t n, OndBytes *out) {
  char *copy = ond_arena_alloc(arena, n + 1);
  size_t to = 0;

  for (size_t i = 0; i < n; i++) {
    if (s[i] != '~') {
      copy[to++] = s[i];
    } else if (i + 1 < n && (s[i + 1] == '0' || s[i + 1] == '1')) {
      copy[to++] = s[++i] == '0' ? '~' : '/';
    } else {
      return false;
    }
  }
  *out = (OndBytes){copy, to};
  return true;
}

static int count_tokens(const char *text) {
  int n = 0;

  for (const char *p = text; *p && n <= TOKENS_MAX; p++) {
    n += *p == '/';
  }
  return n;
}

bool ond_jsonptr_parse(OndArena *arena, const char *text, OndJsonPtr *out, OndError *err) {
  const char *p = text;
  int n = count_tokens(text);

  *out = (OndJsonPtr){0};
  if (*p && *p != '/') {
    ond_error_set(err, "JSON pointer \"%s\" does not start with \"/\"", text);
    ond_error_hint(err, "%s", HINT);
    return false;
  }
  if (n > TOKENS_MAX) {
    ond_error_set(err, "JSON pointer has more than %d steps", TOKENS_MAX);
    return false;
  }
  out->tokens = ond_arena_alloc(arena, (size_t)n * sizeof(OndBytes));
  out->indexes = ond_arena_alloc(arena, (size_t)n * sizeof(int64_t));
  for (int i = 0; i < n; i++) {
    size_t length = strcspn(++p, "/");

    if (!token_unescape(arena, p, length, &out->tokens[i])) {
      ond_error_set(err, "JSON pointer \"%s\" has a \"~\" that is neither \"~0\" nor \"~1\"", text);
      ond_error_hint(err, "%s", HINT);
      return false;
    }
    out->indexes[i] = token_index(out->tokens[i]);
    p += length;
  }
  out->n = n;
  return true;
}
