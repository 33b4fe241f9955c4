/*
 * kept.h - _kept of a state row: the values of the columns that option `keep` names, as they were when the row was delivered. Templates of deletes name them.
 *
 *   {"list_id": "a"}                      where the record is
 *   [{"list_id": "a"}, {"list_id": "b"}]  where it may be: as it was accepted last (when something was), and as it was sent without a definite answer
 *   {}                                    in such a list: not known, since the row was delivered before its columns were kept
 *
 * So a doubt never makes a delete go to the wrong place: a value that is not the same in all places is not known. An acceptance leaves one place, a
 * definite no the accepted one.
 */
#ifndef OND_ENGINE_KEPT_H
#define OND_ENGINE_KEPT_H

#include "postgres.h"
#include "core/buf.h"
#include "core/change.h"

#define OND_KEPT_BYTES_MAX 8000 /* of a row's values */

/*
 * What becomes of _kept when a create or update that carries `kept` ends with `after`: JSON text in UTF-8, or NULL: nothing to write. was: _kept as it is
 * (absent: NULL); before: NULL: there is no row. Palloc'd in the current context.
 */
extern const char *ond_kept_after(OndBytes was, const OndKeyState *before, OndBytes kept, const OndKeyState *after, bool accepted);

typedef enum OndKeptKind { OND_KEPT_KNOWN, OND_KEPT_MISSING, OND_KEPT_IN_DOUBT } OndKeptKind;

/* The value of a column (a name in UTF-8) as JSON in UTF-8. */
extern OndKeptKind ond_kept_value(OndBytes was, const char *name, OndBytes *value);

/* The values that are known, as an object; "{}": none. */
extern char *ond_kept_known(OndBytes was);

/* Whether _kept is this object and nothing else. */
extern bool ond_kept_is(OndBytes was, OndBytes kept);

#endif
