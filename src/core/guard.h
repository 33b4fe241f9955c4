/*
 * guard.h - limits on what one run may change: a number of rows, a part of them, or the larger of both.
 *
 *   5                                  most 5 rows
 *   "5%"                               most 5 % of the rows
 *   {"percent": 10, "floor": 20}       most 10 %, but 20 rows are always allowed
 */
#ifndef OND_CORE_GUARD_H
#define OND_CORE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct OndLimit {
  bool given;
  double percent; /* of the rows; < 0: no part of them */
  int64_t rows;   /* absolute; with percent: the floor */
} OndLimit;

/* The most rows that the limit lets pass, of `total`; INT64_MAX when none is given. A part is rounded down. */
extern int64_t ond_limit_most(const OndLimit *limit, int64_t total);
/* "5%", "0.5%": a part from 0 to 100. False: no such text. */
extern bool ond_limit_percent(const char *text, double *percent);
/* "10 %, at least 20", "5 %" or "20 rows", at most n - 1 bytes. */
extern void ond_limit_words(const OndLimit *limit, char *out, size_t n);

#endif
