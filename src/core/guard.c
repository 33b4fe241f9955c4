/*
 * guard.c - see guard.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/guard.h"

int64_t ond_limit_most(const OndLimit *limit, int64_t total) {
  int64_t part;

  if (!limit->given)
    return INT64_MAX;
  if (limit->percent < 0)
    return limit->rows;
  part = (int64_t)((double)total * limit->percent / 100.0);
  return part > limit->rows ? part : limit->rows;
}

/* Digits and one dot alone: strtod would take signs, exponents, hexadecimals and names as well. */
bool ond_limit_percent(const char *text, double *percent) {
  size_t n = strspn(text, "0123456789.");
  const char *dot = strchr(text, '.');

  if (n == 0 || n > 10 || text[0] == '.' || strcmp(text + n, "%") != 0 || (dot != NULL && strchr(dot + 1, '.') != NULL))
    return false;
  *percent = strtod(text, NULL);
  return *percent <= 100;
}

void ond_limit_words(const OndLimit *limit, char *out, size_t n) {
  if (limit->percent < 0)
    snprintf(out, n, "%lld row%s", (long long)limit->rows, limit->rows == 1 ? "" : "s");
  else if (limit->rows > 0)
    snprintf(out, n, "%g %%, at least %lld", limit->percent, (long long)limit->rows);
  else
    snprintf(out, n, "%g %%", limit->percent);
}
