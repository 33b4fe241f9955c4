/*
 * compare.h - a row of the model against the record that an API lists for it: is it the same record, and are its fields the same?
 */
#ifndef OND_CONNECTOR_COMPARE_H
#define OND_CONNECTOR_COMPARE_H

#include "connector/connector.h"
#include "core/buf.h"

/* Whether the list tells a record's key: by its "key", or because its fields have the object's. */
extern bool ond_list_tells_key(const OndConnector *c, int n_keys);
/* Whether it tells the record's id. */
extern bool ond_list_tells_id(const OndConnector *c);
/* Whether the API gives all values as texts ("compare": "text"). */
extern bool ond_list_gives_texts(const OndConnector *c);

/* The field that is the record's key with its case folded, so that it need not look the same; NULL: none. */
extern const char *ond_list_folded_field(const OndConnector *c);

/* Appends the text of a JSON string, number or boolean. False for everything else. */
extern bool ond_json_scalar_text(OndBytes json, OndBuf *out);
/*
 * Appends what identifies a record at the destination: the texts of its key's n parts, with the case folded where the API does; numeric[i]: numbers, however
 * they are written. False: out is full.
 */
extern bool ond_natural_key(const OndConnector *c, int n, const OndBytes *texts, const bool *numeric, OndBuf *out);

/*
 * Compares the fields of a row (a JSON object, as it is sent) with those of a record (JSON; absent: it has none): every member of ours, members of members too; what else the
 * record has does not count. Numbers are equal by value, times as exactly as the API keeps them, null is as good as not there. texts: the API gives all values as
 * texts, so 1.5 is "1.50", and null is "". null: what a null is sent as (ond_connector_null()): it and "" are as good as null then. skip: top-level members that do not count, NULL at its end; may be NULL.
 * Appends {"plan": {"model": "gold", "destination": null}} with what differs, values cut. Returns how many fields differ; -1: one of the two could not be read.
 */
extern int ond_compare_fields(OndBytes ours, OndBytes theirs, bool texts, OndBytes null, const char *const *skip, OndBuf *out);

#endif
