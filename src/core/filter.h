/*
 * filter.h - the pure functions behind {{name|filter}}.
 */
#ifndef OND_CORE_FILTER_H
#define OND_CORE_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include "core/buf.h"
#include "core/error.h"
#include "core/template.h"

/* The filter of this name; false when there is none. */
extern bool ond_filter_find(const char *name, size_t n, OndFilter *out);
extern const char *ond_filter_name(OndFilter filter);
/* "lower, upper, trim, ...": for hints. */
extern const char *ond_filter_names(void);
/* Appends filter(value) to out. False and err when it cannot take the value; false when out is full (out->overflow). */
extern bool ond_filter_apply(OndFilter filter, const char *value, size_t n, OndBuf *out, OndError *err);

#endif
