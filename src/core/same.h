/*
 * same.h - whether two texts say the same number or the same point of time, however each is written. No floating point, no time zone, no locale.
 */
#ifndef OND_CORE_SAME_H
#define OND_CORE_SAME_H

#include <stdbool.h>
#include "core/buf.h"

/*
 * Appends a number (as in JSON, also with "+", and zeros in front) in its one form: sign, digits without zeros at either end, exponent. "1.50", "15e-1" and "+1.5" are all
 * "15E-1"; every zero is "0". False: it is no number, or out is full.
 */
extern bool ond_number_canonical(OndBytes text, OndBuf *out);
/* Both are numbers, and equal, digit for digit. */
extern bool ond_same_number(OndBytes a, OndBytes b);
/*
 * Both are times of ISO 8601 ("2026-01-31", "2026-01-31T09:30:00.5+02:00", "2026-01-31 09:30:00"; without a zone: UTC), and equal as exactly as `theirs`
 * is written: an API that keeps milliseconds gives back .123 for .123456. A day is its midnight.
 */
extern bool ond_same_time(OndBytes ours, OndBytes theirs);

#endif
