/*
 * compile.h - the parts of a connector's compilation, in the order connector.c calls them.
 *
 * Two documents meet: the connector's own ("document", absent for `http`) and the destination's options. What both may set (limits, headers,
 * variables, check) is read from the document first and from the options over it. Whoever reads a part is also who refuses its unknown members.
 */
#ifndef OND_CONNECTOR_COMPILE_H
#define OND_CONNECTOR_COMPILE_H

#include "connector/internal.h"

/* ---- connector.c ---- */

/* ond_connector_parse() on parsed texts. lenient: a document is only checked, variables need no values and a base URL may be missing. */
extern OndConnector *ond_connector_compile(const OndConnectorSource *s, struct json_object *document, struct json_object *options, bool lenient,
                                           OndError *err);

/* ---- limits.c ---- */

/* Before anything is read. */
extern void ond_limits_default(OndConnector *c);
/* "rate_limit", "concurrency", "timeout_ms", "connect_timeout_ms", "retry", "gzip" of either document; what is not there keeps its value. */
extern bool ond_limits_parse(OndConnector *c, const OndNode *at, OndError *err);
/* "rate_headers": {"remaining": name, "reset": name, "unit": …} */
extern bool ond_rate_headers_parse(OndConnector *c, const OndNode *at, OndError *err);

/* ---- types.c ---- */

/* {"title": {"value": form, "null": form}} */
extern bool ond_types_parse(OndConnector *c, const OndNode *at, OndError *err);

/* ---- hosts.c ---- */

/* ["*.example.com", {"host": …, "credentials": true}] */
extern bool ond_hosts_parse(OndConnector *c, const OndNode *at, OndError *err);

/* ---- token_base.c ---- */

/* "base_url_from_token": a place in the answer to the token request. After the base URL. */
extern bool ond_token_base_parse(OndConnector *c, const OndNode *document, OndError *err);
/* Whether credentials can go with it. */
extern bool ond_token_base_check_auth(const OndConnector *c, const OndAuth *auth, OndError *err);

/* ---- variables.c ---- */

/* {"name": {"required": true, "default": …, "description": …}} of the document or of an object: which variables there are. */
extern bool ond_variables_declare(OndConnector *c, const OndNode *at, OndError *err);
/*
 * {"name": value} of the destination's options. objects: the document's, whose variables may be meant too; NULL (http): what is not declared yet
 * is declared by it.
 */
extern bool ond_variables_of_destination(OndConnector *c, const OndNode *at, const OndNode *objects, OndError *err);
/* {"name": value} of the sync, after the base URL. */
extern bool ond_variables_of_sync(OndConnector *c, OndBytes text, OndError *err);
/* The variable's number; -1: not declared. */
extern int ond_variable_find(const OndConnector *c, const char *name);
/* Every variable that is required or named has a value. */
extern bool ond_variables_check(const OndConnector *c, OndError *err);
/*
 * The base URL of the destination, else the document's with its variables (at->value NULL: it has none); err when neither gives one. Variables
 * that stand in it are the destination's: a sync cannot give them.
 */
extern bool ond_base_url_parse(OndConnector *c, const OndNode *at, const char *base_url, OndError *err);

/* ---- object.c ---- */

/* One object, but for its "variables". Of `http` (at->value may be NULL) no operation means POST to the base URL. */
extern bool ond_object_parse(OndConnector *c, const OndNode *at, OndError *err);
/* Finds the object of this name, or "*"; err names those there are. */
extern bool ond_object_choose(OndConnector *c, const OndNode *objects, const char *name, OndNode *out, OndError *err);

#endif
