/*
 * link.h - the Link header (RFC 8288): <https://api.example.com/items?page=2>; rel="next", <…>; rel="last"
 */
#ifndef OND_CORE_LINK_H
#define OND_CORE_LINK_H

#include <stdbool.h>
#include "core/buf.h"

/* The target of the first link with this relation (case does not count; one of several in a rel list will do). False: there is none. */
extern bool ond_link_find(OndBytes header, const char *relation, OndBytes *target);

#endif
