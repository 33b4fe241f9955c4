/*
 * scan.h - reading small formats (dates, numbers) from text that need not end with a NUL.
 *
 * Each ond_scan_* function moves past what it read and returns true, or returns false; where it stands then does not matter.
 */
#ifndef OND_CORE_SCAN_H
#define OND_CORE_SCAN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct OndScan {
  const char *p;
  const char *end;
} OndScan;

/* A scan over the text without the ASCII white space at both ends. */
extern OndScan ond_scan_trimmed(const char *s, size_t n);
extern bool ond_scan_at_end(const OndScan *s);
extern bool ond_scan_is_digit(char c);
extern bool ond_scan_char(OndScan *s, char wanted);
extern bool ond_scan_text(OndScan *s, const char *wanted);
/* Exactly `digits` digits (at most 9). */
extern bool ond_scan_number(OndScan *s, int digits, int *out);

/* The value of `digits` hexadecimal digits (at most 7) at p, where `left` bytes are; -1: they are not there. */
extern int ond_scan_hex(const char *p, size_t left, int digits);

#endif
