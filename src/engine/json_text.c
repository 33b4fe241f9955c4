/*
 * json_text.c - the text of a JSON scalar that ond_encode() has written; see encode.h.
 */
#include "postgres.h"

#include "engine/encode.h"

static void append_unescaped(StringInfo out, const char *s, const char *end) {
  for (; s < end; s++) {
    if (*s != '\\') {
      appendStringInfoCharMacro(out, *s);
      continue;
    }
    s++;
    switch (*s) {
      case 'n': appendStringInfoCharMacro(out, '\n'); break;
      case 'r': appendStringInfoCharMacro(out, '\r'); break;
      case 't': appendStringInfoCharMacro(out, '\t'); break;
      case 'u': { /* we only write \u00XX */
        char digits[3] = {s[3], s[4], '\0'};

        appendStringInfoCharMacro(out, (char)strtol(digits, NULL, 16));
        s += 4;
        break;
      }
      default: appendStringInfoCharMacro(out, *s);
    }
  }
}

bool ond_json_text(OndBytes json, StringInfo out) {
  if (json.p == NULL || (json.n == 4 && memcmp(json.p, "null", 4) == 0))
    return false;
  if (json.p[0] == '"')
    append_unescaped(out, json.p + 1, json.p + json.n - 1);
  else
    appendBinaryStringInfo(out, json.p, (int)json.n);
  return true;
}
