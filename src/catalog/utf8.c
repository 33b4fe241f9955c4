/*
 * utf8.c - see utf8.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "catalog/utf8.h"
#include "core/text.h"

#define CHARACTER_MAX 16

char *ond_to_utf8(const char *text) {
  return pg_server_to_any(unconstify(char *, text), (int)strlen(text), PG_UTF8);
}

char *ond_from_utf8(const char *text, size_t n) {
  char *copy = pnstrdup(text, n);

  return pg_any_to_server(copy, (int)strlen(copy), PG_UTF8);
}

static bool is_ascii(const char *s) {
  while (*s != '\0' && !IS_HIGHBIT_SET(*s))
    s++;
  return *s == '\0';
}

/* One character; '?' where it has none. */
static void append_character(StringInfo out, Oid proc, const char *s, int n) {
  unsigned char own[CHARACTER_MAX + 1];

  if (n == 1)
    appendStringInfoChar(out, *s);
  else if (OidIsValid(proc) && pg_do_encoding_conversion_buf(proc, PG_UTF8, GetDatabaseEncoding(), (unsigned char *)unconstify(char *, s), n, own, sizeof(own), true) == n)
    appendStringInfoString(out, (char *)own);
  else
    appendStringInfoChar(out, '?');
}

char *ond_words_from_utf8(const char *words) {
  int encoding = GetDatabaseEncoding();
  StringInfoData out;
  Oid proc;

  if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII || is_ascii(words) || !ond_utf8_valid(words, strlen(words)))
    return pstrdup(words);
  proc = IsTransactionState() ? FindDefaultConversionProc(PG_UTF8, encoding) : InvalidOid;
  initStringInfo(&out);
  for (int n; *words != '\0'; words += n) {
    n = pg_utf_mblen((const unsigned char *)words);
    append_character(&out, proc, words, n);
  }
  return out.data;
}
