/*
 * error.h - what went wrong, from rooms that cannot raise.
 *
 * Functions of core, http and connector that can fail return false (or NULL)
 * and fill an OndError; the Postgres side turns it into an ereport with
 * ond_raise() (catalog/session.h).
 */
#ifndef OND_CORE_ERROR_H
#define OND_CORE_ERROR_H

typedef struct OndError {
  char sqlstate[6];   /* "22023" and the like; empty: 22023 invalid_parameter_value */
  char pointer[320];  /* JSON pointer to the place in the document, or empty */
  char message[320];  /* primary: lower case, one line, no full stop */
  char detail[640];   /* facts, or empty */
  char hint[320];     /* names the way out, or empty */
} OndError;

/* Fills message; clears the rest. */
extern void ond_error_set(OndError *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
extern void ond_error_detail(OndError *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
extern void ond_error_hint(OndError *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
extern void ond_error_pointer(OndError *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
