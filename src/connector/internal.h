/*
 * internal.h - a compiled connector, as the files of this room see it.
 *
 * The way of a description: connector.c reads what is about the account (limits.c, variables.c) and hands one object to object.c and
 * each of its operations to operation.c, which compiles URL and headers (request.c), body (body.c) and result (result.c). Every template
 * is cut and its names resolved once (reference.c). All of it lives in one arena and is read-only afterwards, but for what
 * ond_connector_bind() resolves.
 */
#ifndef OND_CONNECTOR_INTERNAL_H
#define OND_CONNECTOR_INTERNAL_H

#include "connector/connector.h"
#include "connector/document.h"
#include "core/jsonptr.h"
#include "core/template.h"
#include "core/url.h"

#define OND_BODY_BYTES_MAX   ((size_t)64 * 1024 * 1024)
#define OND_URL_BYTES_MAX    ((size_t)64 * 1024)
#define OND_HEADER_BYTES_MAX ((size_t)16 * 1024)
#define OND_VALUE_BYTES_MAX  OND_BODY_BYTES_MAX

typedef enum OndEncoding { OND_ENCODING_JSON, OND_ENCODING_NDJSON, OND_ENCODING_FORM, OND_ENCODING_CSV } OndEncoding;
typedef struct OndCsv OndCsv;

/* ---- request ---- */

typedef enum OndQueryKind { OND_QUERY_ONE, OND_QUERY_REPEATED, OND_QUERY_JOINED } OndQueryKind;

typedef struct OndQuery {
  const char *name; /* encoded */
  OndTemplate value;
  OndQueryKind kind;
  const char *join; /* JOINED: encoded */
} OndQuery;

typedef struct OndHeader {
  const char *name;
  OndTemplate value;
} OndHeader;

/* Everything of a request but its body. */
typedef struct OndRequestTemplate {
  const char *method;
  int n_pieces;
  OndTemplate *pieces;    /* of the path, between slashes; 0: the base URL as it is */
  OndTemplate path_query; /* what stood behind "?" in the path */
  int n_query;
  OndQuery *query;
  int n_headers;
  OndHeader *headers;
  bool absolute;          /* of a step: `url` in place of the path */
  OndTemplate url;
  int n_own_headers;      /* absolute: those of the step alone, for a host that gets no credentials */
  OndHeader *own_headers;
} OndRequestTemplate;

/* ---- body ---- */

typedef enum OndBodyCode {
  OND_BODY_LITERAL, /* bytes */
  OND_BODY_FIELDS,  /* the row's object, or a part of it */
  OND_BODY_VALUES,  /* an array of some fields of the row, or of all */
  OND_BODY_FIELD_NAMES, /* an array of the names of all fields */
  OND_BODY_VALUE,   /* one value with its JSON type */
  OND_BODY_TEXT,    /* a JSON string with references in it */
  OND_BODY_NAME,    /* the same as the name of a member that must differ from row to row */
  OND_BODY_EACH,    /* what follows up to `end`, for every row */
  OND_BODY_MERGE,   /* the parts up to `end`, joined into one object */
  OND_BODY_PART,    /* one of them, up to `end` */
  OND_BODY_LINE     /* ends a line of NDJSON */
} OndBodyCode;

typedef struct OndBodyStep {
  OndBodyCode code;
  OndBytes literal; /* LITERAL */
  OndTemplate text; /* VALUE (its only part), TEXT, NAME; literals are JSON-escaped */
  int n_names;      /* FIELDS; VALUES: -1 means all */
  const OndBytes *names;
  bool only;  /* FIELDS: the names are the ones kept, not the ones left out */
  bool comma; /* EACH: between rows */
  int end;    /* EACH, MERGE, PART: the step behind the last one */
} OndBodyStep;

typedef struct OndBody {
  int n;
  const OndBodyStep *steps;
} OndBody;

/* ---- result ---- */

/* Something a place in the answer must fulfil. */
typedef struct OndCondition {
  OndJsonPtr path;
  bool absent;  /* holds when the place does not exist or is null */
  bool present; /* the contrary */
  int n;
  const char **values; /* texts, one of which it must be; NULL: JSON null */
} OndCondition;

/* How a record of the answer names rows. */
typedef struct OndIdentity {
  bool index; /* by their number in the request */
  int n;
  OndJsonPtr *pointers; /* more than one: a composite key, column by column */
  const char **columns; /* of the key; NULL: `by` */
  int *keys;            /* for each pointer the number of its key column, after bind */
  OndTemplate by;       /* the row's side */
} OndIdentity;

typedef enum OndMatch {
  OND_MATCH_SINGLE,
  OND_MATCH_ORDER,
  OND_MATCH_KEY,
  OND_MATCH_INDEX,
  OND_MATCH_MAP,
  OND_MATCH_ERRORS,
  OND_MATCH_COUNTS
} OndMatch;

/* What it means that a record is in the result. */
typedef enum OndFate { OND_FATE_TOLD, OND_FATE_ACCEPTED, OND_FATE_REFUSED, OND_FATE_RETRY } OndFate;

typedef struct OndCapture {
  const char *name;
  OndJsonPtr pointer;
} OndCapture;

typedef struct OndResult {
  OndMatch match;
  bool lines;             /* a record a line */
  bool csv;               /* likewise, in CSV */
  OndFate fate;
  const OndJsonPtr *rows; /* NULL: the whole answer */
  OndIdentity identity;   /* KEY, INDEX, MAP */
  const OndCondition *ok; /* all pointers below may be NULL */
  const OndCondition *created;
  const OndJsonPtr *id;
  const OndJsonPtr *error;
  const OndJsonPtr *code;
  int n_retry;
  const char **retry;
  int n_captures;
  const OndCapture *captures;
  bool has_errors;
  const OndJsonPtr *errors;
  OndIdentity error_identity;
  const OndJsonPtr *error_message;
  const OndJsonPtr *error_code;
  int n_accepted;
  const OndJsonPtr *accepted;
  int n_failed;
  const OndJsonPtr *failed;
} OndResult;

/* ---- operation and connector ---- */

typedef enum OndKind { OND_KIND_UPSERT, OND_KIND_CREATE, OND_KIND_UPDATE, OND_KIND_DELETE, OND_KIND_LOOKUP, OND_KIND_LIST } OndKind;
#define OND_KINDS (OND_KIND_LOOKUP + 1) /* LIST stands beside them: OndConnector.list */

typedef struct OndName {
  struct OndName *next;
  const char *name;
} OndName;

/* Something kept of a step's answer for later ones. */
typedef struct OndStepCapture {
  const char *name;
  const char *header; /* NULL: of the body */
  OndJsonPtr pointer;
} OndStepCapture;

/* A step of an asynchronous job: a request, and what comes of it. */
typedef struct OndStep {
  OndStepInfo info;
  OndOperation *request;
  int n_captures;
  OndStepCapture *captures;
  const OndName *uses;       /* names of captures */
  const OndList *pages;      /* of its results; NULL: one */
  const OndCondition *when;  /* on the answer before; NULL: always */
  const OndCondition *done;  /* of a poll */
  const OndCondition *failed;
  const OndJsonPtr *error;
} OndStep;

struct OndOperation {
  OndOperationInfo info;
  OndKind kind;
  bool is_step;
  bool paged;             /* {{cursor}} may be absent */
  int n_steps;            /* 0: one request, which follows */
  OndStep *steps;
  OndRequestTemplate request;
  OndEncoding encoding;
  const char *content_type;
  const OndBody *body;    /* NULL: none */
  const OndCsv *csv;      /* CSV: in place of it */
  const OndCondition *ok; /* NULL: the status says it all */
  const OndJsonPtr *error;
  const OndResult *result; /* NULL: the rows share one fate */
};

typedef struct OndVariable {
  const char *name;
  OndBytes json;           /* absent: nobody gave it */
  const char *description; /* NULL: none */
  bool required;
  bool named;       /* by a template of what was compiled, the base URL aside */
  bool in_base_url; /* the destination's alone */
} OndVariable;

/* ---- types ---- */

#define OND_FORM_PIECES_MAX 16

/* What follows a literal piece of a form. */
typedef enum OndFormKind { OND_FORM_END, OND_FORM_VALUE, OND_FORM_TEXT } OndFormKind;

typedef struct OndFormPiece {
  OndFormKind kind;
  OndBytes literal;
} OndFormPiece;

typedef struct OndForm {
  int n;
  OndFormPiece *pieces;
} OndForm;

typedef struct OndType {
  const char *name;
  OndForm value;
  OndForm null; /* n == 0: a null stays null */
} OndType;

/* Names of the headers that tell what is left; remaining NULL: the usual ones. */
typedef struct OndRateHeaders {
  const char *remaining;
  const char *reset;
  bool ms; /* the reset is a number of milliseconds from now; else of seconds, or a moment */
} OndRateHeaders;

/* A place that needs what an earlier answer said: {{remote_id}}, {{remote.x}}. */
typedef struct OndRemoteUse {
  struct OndRemoteUse *next;
  const char *name; /* of the capture; NULL: the record's id */
  const char *pointer;
} OndRemoteUse;

/* A place that needs the sync's key columns. */
typedef struct OndKeyUse {
  struct OndKeyUse *next;
  OndTemplatePart *part; /* {{key}}, {{key.x}}, or NULL and: */
  OndIdentity *identity; /* pointers by key column */
  const char *pointer;   /* where it stands in the options */
  OndKind kind;          /* of the operation */
} OndKeyUse;

/* A host that URLs of answers may name beside the destination's own. */
typedef struct OndDeclaredHost {
  const char *host; /* lower case; "*.example.com": any below it */
  bool credentials; /* requests to it carry the destination's */
} OndDeclaredHost;

struct OndConnector {
  OndArena *arena;
  int n_hosts;
  OndDeclaredHost *hosts;
  const char *name;
  bool document;  /* it has a document of its own; false: `http` */
  bool lenient;   /* only checked: variables need no values */
  const OndAuth *values; /* of ond_connector_use_auth(); values of {{auth.name}} */
  OndName *auth_values;  /* the names that templates use */
  OndName *job_names;    /* while steps are compiled: what earlier ones have captured */
  OndName *job_uses;     /* and what this one names */
  OndConnectorLimits limits;
  OndRateHeaders rate_headers;
  int n_auth; /* kinds of credentials that it takes; 0: any */
  const char **auth;
  bool base_url_given;      /* by the destination */
  const char *base;         /* URL without query and without slashes at its end */
  const char *base_slashes; /* what was cut off, for requests without a path */
  const char *base_query;   /* NULL: none */
  const char *token_base;   /* pointer into the token's answer, where scheme, host and port of the base URL are; NULL: base has them */
  int n_variables;
  int n_account_variables; /* the first ones: of the connector, not of the object */
  OndVariable *variables;
  int n_types;
  OndType *types;
  int n_fields; /* top-level target fields of the sync, in the payload's order */
  OndBytes *fields;
  int n_headers; /* of every request */
  OndHeader *headers;
  int n_overrides; /* of the destination, over those of a connector's document */
  OndHeader *overrides;
  int n_columns;
  int columns_max;
  const char **columns;
  int *column_uses;           /* parallel: OndColumnUse */
  const char *object;         /* NULL: it has no name */
  const char *object_pointer; /* where it is described */
  const char *key_field;      /* NULL: not said */
  int n_required;             /* target fields that must be mapped */
  const char **required;
  int n_known_columns; /* with a document: the columns that templates may name */
  const char **known_columns;
  OndOperation *operations[OND_KINDS];
  OndList *list;      /* NULL: none */
  bool names_cursor;  /* while the list is compiled: it names {{cursor}} */
  int n_args;         /* that the list names: {{arg.x}} */
  const char **args;
  OndKeyUse *key_uses;
  OndRemoteUse *remote_uses;
  OndBytes null_form; /* what a null of a field without a type becomes, JSON; absent: null */
  bool fold; /* the API folds the case of keys */
  bool gzip;
  size_t gzip_bytes_min;
  OndRequestTemplate check;
};

#endif
