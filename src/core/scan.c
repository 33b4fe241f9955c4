/*
 * scan.c - reading small formats from text that need not end with a NUL.
 */
#include "core/scan.h"

#include <string.h>

static bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

OndScan ond_scan_trimmed(const char *s, size_t n) {
  OndScan scan = {s, s + n};

  while (scan.p < scan.end && is_space(*scan.p)) {
    scan.p++;
  }
  while (scan.p < scan.end && is_space(scan.end[-1])) {
    scan.end--;
  }
  return scan;
}

bool ond_scan_at_end(const OndScan *s) {
  return s->p == s->end;
}

bool ond_scan_is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool ond_scan_char(OndScan *s, char wanted) {
  if (s->p == s->end || *s->p != wanted) {
    return false;
  }
  s->p++;
  return true;
}

bool ond_scan_text(OndScan *s, const char *wanted) {
  size_t n = strlen(wanted);

  if ((size_t)(s->end - s->p) < n || memcmp(s->p, wanted, n) != 0) {
    return false;
  }
  s->p += n;
  return true;
}

bool ond_scan_number(OndScan *s, int digits, int *out) {
  int value = 0;

  if (s->end - s->p < digits) {
    return false;
  }
  for (int i = 0; i < digits; i++) {
    if (!ond_scan_is_digit(s->p[i])) {
      return false;
    }
    value = value * 10 + (s->p[i] - '0');
  }
  s->p += digits;
  *out = value;
  return true;
}

static int hex_digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int ond_scan_hex(const char *p, size_t left, int digits) {
  int value = 0;

  if (left < (size_t)digits) {
    return -1;
  }
  for (int i = 0; i < digits; i++) {
    if (hex_digit(p[i]) < 0) {
      return -1;
    }
    value = value * 16 + hex_digit(p[i]);
  }
  return value;
}
