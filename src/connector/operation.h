/*
 * operation.h - one operation of an object: its description compiled, and what it says about results.
 */
#ifndef OND_CONNECTOR_OPERATION_H
#define OND_CONNECTOR_OPERATION_H

#include "connector/internal.h"

extern const char *ond_kind_name(OndKind kind); /* "upsert", "create", "update", "delete" */

/* Compiles {"method": …, …}. NULL and err on error. */
extern OndOperation *ond_operation_parse(OndConnector *c, OndKind kind, const OndNode *at, OndError *err);
/* What a destination without operations does: POST of one row's fields to the base URL. */
extern OndOperation *ond_operation_default(OndConnector *c, OndError *err);
/* {"method": "GET", "path": …, "query": …, "headers": …} of "check"; at NULL: GET of the base URL. */
extern bool ond_operation_parse_check(OndConnector *c, const OndNode *at, OndError *err);

/*
 * Whether operations with one name in "group" of "batch" can share requests: group.c. object: the one that describes them.
 */
extern bool ond_groups_check(const OndConnector *c, const OndNode *object, OndError *err);
/* The operation of a row in a request of o: another one of its group, or o. */
extern const OndOperation *ond_group_member(const OndConnector *c, const OndOperation *o, const OndRow *row);

/* What "list" has of a request; members: all that it may have. Only this and ond_list_parse() know the kind LIST. */
extern OndOperation *ond_operation_parse_list(OndConnector *c, const OndNode *at, const char *const *members, OndError *err);
/* "key" (or "keys") and "by", or "index", of an object: how a record names rows. */
extern bool ond_identity_parse(OndConnector *c, OndOperation *o, const OndNode *object, OndIdentity *out, OndError *err);
/* {"name": pointer}: what is kept of a record. */
extern bool ond_captures_parse(OndConnector *c, const OndNode *at, int *n, const OndCapture **out, OndError *err);

/* What a step has of a request and its answer. o has what it takes from its operation, and is a step. */
extern bool ond_operation_parse_step(OndConnector *c, OndOperation *o, const OndNode *at, OndError *err);

/* Compiles "result". info of the operation is set before. NULL and err on error. */
extern const OndResult *ond_result_parse(OndConnector *c, OndOperation *o, const OndNode *at, OndError *err);
/* {"path": "/ok", "equals": true} | {"path": …, "in": […]} | {"path": …, "absent": true | false} */
extern const OndCondition *ond_condition_parse(OndConnector *c, const OndNode *at, OndError *err);

#endif
