/*
 * connector.h - an API described by data: check it, render a request, read a response.
 *
 * No postgres.h. json-c reads documents and responses; rows are never rendered with it: their bytes come from the engine
 * and are spliced in as they are. Everything is checked when the description is parsed; errors carry a JSON pointer.
 *
 * A connector's document (doc/connectors.md has every word):
 *
 *   {"title": …, "description": …, "docs": URL, "base_url": "https://{{var.subdomain}}.example.com", "auth": ["bearer"],
 *    "variables": {"subdomain": {"required": true} | {"default": …}, each with "description"},
 *    "hosts": ["*.example.com", {"host": "files.example.com", "credentials": true}],     -- that URLs in answers may name beside its own
 *    "base_url_from_token": "/instance_url",                                   -- place in the token's answer: scheme and host of the base URL (token_base.c)
 *    "unverified": [words for people],
 *    "rate_headers": {"remaining": name, "reset": name, "unit": "seconds" | "ms"},
 *    "types": {"title": {"value": {"title": [{"text": {"content": "$text"}}]}, "null": {"title": []}}},   -- forms that mappings name: {"column": "name", "as": "title"}
 *    LIMITS, "headers": {…}, "check": {…}, "objects": {"contacts": OBJECT, "*": OBJECT}}
 *   OBJECT = {"title", "description", "key": "email" | {"field": "email", "fold": "lower"}, "required": [fields], "columns": [columns], "null": what clears a field,
 *             "variables": {…}, "headers": {…}, "upsert": OP, "create": OP, "update": OP, "delete": OP, "lookup": LOOKUP}
 *   LIMITS = "rate_limit": …, "concurrency": 4, "timeout_ms": 30000, "connect_timeout_ms": 10000,
 *            "retry": {"attempts": 5, "base_ms": 500, "max_ms": 60000}, "gzip": true | {"min_bytes": 1024}
 *
 * A destination's options: {LIMITS, "headers": {…}, "variables": {"name": value}, "check": {"method": "GET", "path": "/"}}; what they say wins.
 * The `http` connector has no document: the options have one more member, "object": OBJECT.
 *
 *   OP = {"method": "PUT", "path": "/contacts/{{key}}", "query": {…}, "headers": {…},
 *         "encoding": "json" | "ndjson" | "form" | "csv", "csv": {"columns": […], "delimiter": ",", "line_ending": "\n"}, "content_type": "application/vnd.api+json",
 *         "body": …, "batch": {"rows": 100, "bytes": 1000000, "row_bytes": 100000, "group": "bulk"},   -- group: operations that share requests (group.c)
 *         "atomic": false,        -- a refused batch changed nothing
 *         "idempotent": true,     -- sending twice equals sending once; default true, for create false unless idempotency is set
 *         "idempotency": {"header": "Idempotency-Key"} | {"field": "/member"} | {"item": "member"} | null,   default: the header;
 *                                 -- field: a member of the body gets the request's key; item: a member of each "$each" item gets the row's
 *                                 -- beside it "replays_errors": true: the API repeats errors under a known key; the next try has a key of its own
 *         "exists": [409],        -- of create: the record is there already; the row goes on as an update (by the lookup, where there is one)
 *         "missing": [404],       -- of update: it is not there (any more); the row goes on as a create. Of delete: that is fine too
 *         "conflict": [412],      -- of any write: what was carried of the record is stale; it is looked up again
 *         "rate": "search",
 *         "fine": [404], "refused": [500], "retry": [409],
 *         "ok": CONDITION, "error": "/error",
 *         "result": {"rows": "/results", "match": "order" | "map" | {"key": "/properties/email"} | {"index": "/index"},
 *                    "ok": CONDITION, "id": "/id", "error": "/message", "code": "/code", "retry": ["RATE_LIMIT"],
 *                    "created": CONDITION, "remote": {"version": "/rev"},
 *                    "errors": {"rows": "/errors", "keys": "/context/id" | "index": "/index" | "key": "/id", "message": "/message", "code": "/category"}}
 *                 | {"format": "lines" | "csv", …}                            -- a record a line; "lines": true is the first of them
 *                   with "fate": "accepted" | "refused" | "retry"             -- what it means to be listed
 *                 | {"counts": {"accepted": "/ptr" | ["/a", "/b"], "failed": …}}   -- numbers only: accepted rows are unconfirmed
 *        }
 *
 *   or, of an asynchronous job, in place of the request and its result (step.c):
 *
 *         "steps": [{"name": …, "method", "path" | "url", …, "capture": {"id": "/id" | {"header": "Location"}}, "when": CONDITION,
 *                    "poll": {"every_ms": 2000, "max_ms": 30000, "done": CONDITION, "failed": CONDITION, "error": "/message"}}],
 *         "jobs": {"open": 5, "timeout_ms": 3600000}
 *
 *   LOOKUP = a request that reads, before a write: method, path, query, headers, encoding, content_type, body, batch, rate, retry, refused, ok, error;
 *            "missing": [404] (not there), "result" with "id" or "remote" (a row that it does not mention is not there), "when": "unknown" | "always" | "delete"
 *            -- unknown (default): when no remote id is stored for the key. Found: update with that id; not there: create; of a delete: done.
 *
 *   CONDITION = {"path": "/ok", "equals": true} | {"path": …, "in": [200, 201]} | {"path": …, "absent": true | false}
 *
 * match and errors compare texts with the row's key. With "by" beside key, keys or {"map": true} they are compared with what that template
 * makes of the row: {"key": "/id", "by": "{{remote_id}}"}. A composite key is an object of pointers: {"key": {"tenant": "/t", "id": "/i"}}.
 * A parameter of "query" is a template, ["$each", template] (it repeats for every row) or {"join": ",", "each": template}.
 * "key" of the object: "email", or {"field": "email", "fold": "lower"} where the API folds the case of keys. Bodies: see body.h.
 *
 * No operation given: POST <base_url>, one row's fields as the body.
 */
#ifndef OND_CONNECTOR_CONNECTOR_H
#define OND_CONNECTOR_CONNECTOR_H

#include <stdbool.h>
#include <stdint.h>
#include "core/backoff.h"
#include "core/buf.h"
#include "core/change.h"
#include "core/classify.h"
#include "core/deliver.h"
#include "core/error.h"
#include "core/mem.h"
#include "core/rate.h"
#include "http/auth.h"
#include "http/http.h"

typedef struct OndConnector OndConnector;
typedef struct OndOperation OndOperation;
typedef struct OndList OndList;

/* A row on its way, as the templates see it. Bytes belong to the engine. */
typedef struct OndRow {
  OndOp op;
  OndBytes fields;            /* the mapped fields: a JSON object; absent for deletes */
  int n_keys;
  const OndBytes *keys;       /* JSON values of the key columns, in the sync's key order */
  const OndBytes *columns;    /* JSON values parallel to ond_connector_column(); absent: not available; there but empty: in doubt */
  OndBytes remote_id;         /* text; absent: none */
  OndBytes remote;            /* JSON object; absent: none */
  const char *idempotency_key;/* of this row, hex */
} OndRow;

/* What a connector is compiled from. Texts are UTF-8. */
typedef struct OndConnectorSource {
  const char *connector; /* its name */
  OndBytes document;     /* its document; absent: it is "http", whose only object the options describe */
  const char *base_url;  /* of the destination; NULL: the document's */
  OndBytes options;      /* of the destination: a JSON object; absent: {} */
  OndBytes variables;    /* of the sync: a JSON object of scalars; absent: none */
  const char *object;    /* of the sync; NULL: not said */
  bool account_only;     /* a destination by itself: no object of a document is compiled, variables need no values but for the base URL */
} OndConnectorSource;

/*
 * Parses and checks the documents, and compiles one object. On error NULL and err with a pointer into options (or the document, which was
 * checked before it was stored) and, for unknown members, the valid ones in the hint.
 * An unknown member anywhere is an error, as are wrong types, bad pointers, unknown filters, a variable without a value, and a delete template
 * that names list words. An unknown object is an error 42704.
 */
extern OndConnector *ond_connector_parse(const OndConnectorSource *source, OndError *err);
/*
 * Every mistake of a connector's document: *problems gets them with pointer, message and hint, in the arena; returns how many (0: none, 100 at
 * most). What is only a consequence of another mistake is not told; some show only when others are mended.
 */
extern int ond_connector_check(OndArena *arena, OndBytes document, const OndError **problems);
extern void ond_connector_free(OndConnector *c); /* NULL is fine */

/*
 * Where {{auth.name}} comes from when requests are rendered: auth is only borrowed. Without it, and while it is not resolved, rendering such a template fails.
 */
extern void ond_connector_use_auth(OndConnector *c, const OndAuth *auth);
/* Whether the two fit: auth has every value that templates name, and nothing is compressed that cannot be. err says what is wrong. */
extern bool ond_connector_check_auth(const OndConnector *c, const OndAuth *auth, OndError *err);

/* What document and options set, with defaults. */
typedef struct OndConnectorLimits {
  OndRateSpec rate;
  int concurrency;            /* requests in flight, default 4, 1..1000 */
  int timeout_ms;             /* default 30000 */
  int connect_timeout_ms;     /* default 10000 */
  OndRetryPolicy retry;
} OndConnectorLimits;
extern const OndConnectorLimits *ond_connector_limits(const OndConnector *c);

/* The names of model columns that templates refer to, other than key columns by {{key}}: index -> name; NULL past the end. */
extern const char *ond_connector_column(const OndConnector *c, int index);
/* What names it, bits: a delete, which finds what was kept of it when the row was delivered; anything else, which finds it in the model. */
typedef enum OndColumnUse { OND_COLUMN_OF_ROW = 1, OND_COLUMN_OF_DELETE = 2 } OndColumnUse;
extern int ond_connector_column_uses(const OndConnector *c, int index);
/*
 * Checks the parts that need the sync: {{key}} with a composite key, {{key.x}} naming no key column, a composite key where the API has one field,
 * and that the object can do what the mode needs (mirror: a delete; insert, append: create or upsert; update: update or upsert; ...). Resolves key
 * references. key_names: n_keys names. Errors name the operation and say what is there.
 */
extern bool ond_connector_bind(OndConnector *c, OndMode mode, int n_keys, const char *const *key_names, OndError *err);
/* Whether the operations allow the mode. */
extern bool ond_connector_can(const OndConnector *c, OndMode mode);

/* Whose a URL is that an answer names. */
typedef enum OndHost {
  OND_HOST_OWN,               /* the destination's scheme, host and port, or a host declared with credentials: as any request */
  OND_HOST_BARE,              /* a host that "hosts" declares: without credentials; by https, unless the destination itself is at http */
  OND_HOST_FOREIGN            /* nobody declared it, or it is no URL: err says which */
} OndHost;
extern OndHost ond_connector_host(const OndConnector *c, const char *url, OndError *err);

/*
 * Where the token's answer names the base URL, points a request there, right before its credentials are put on it; else does nothing. False and err: no
 * token has told yet.
 */
extern bool ond_connector_aim(const OndConnector *c, OndAuth *auth, OndHttpRequest *request, OndError *err);
/* The URL that requests go to, without query and slashes at its end. */
extern const char *ond_connector_base_url(const OndConnector *c);
/* The target field that identifies a record; NULL: not said. */
extern const char *ond_connector_key_field(const OndConnector *c);
/* Target fields that a sync which creates must map; NULL past the end. */
extern const char *ond_connector_required(const OndConnector *c, int index);
/* The number of a type that mappings may name ("as"); -1 and err, whose hint lists them. */
extern int ond_connector_type(const OndConnector *c, const char *name, OndError *err);
/* Appends a value (JSON) in the form of the type. False when out is full. */
extern bool ond_connector_form(const OndConnector *c, int type, OndBytes value, OndBuf *out);
/* What a null of a field without a type is sent as, JSON; absent: as null. */
extern OndBytes ond_connector_null(const OndConnector *c);
/* The sync's top-level target fields in the order of the payload: what {"$values": true} and {"$names": true} are about. Copied. */
extern void ond_connector_set_fields(OndConnector *c, int n, const char *const *names);
/* Whether credentials of this type may be used; the hint of err lists those that may. */
extern bool ond_connector_takes_auth(const OndConnector *c, const char *kind, OndError *err);
/*
 * Microseconds that the answer's headers ask to pause because nothing is left of the limit; 0: none. Names are the connector's "rate_headers";
 * without them RateLimit-Remaining and -Reset, with X- before them or not. A reset is read by ond_rate_reset_us().
 */
extern int64_t ond_connector_rate_pause(const OndConnector *c, const OndHttpResponse *response, int64_t now_unix_s);

#define OND_PAUSE_MAX_US INT64_C(600000000) /* no answer keeps requests back for longer */

/* What an answer means for the next request; monotonic microseconds. */
typedef struct OndAfterAnswer {
  int64_t again_us;           /* when the same may go again, if it may */
  int64_t pause_until_us;     /* no request to the destination before; 0: it asks for no pause */
} OndAfterAnswer;

/* attempt: tries so far, from 1. now_us: monotonic; random: uniform in 64 bits. */
extern OndAfterAnswer ond_connector_after(const OndConnector *c, const OndHttpResponse *response, OndAnswer answer, int attempt, int64_t now_us,
                                          int64_t now_unix_s, uint64_t random);

/* The operation that carries a change; NULL: the object has none. Valid after bind. */
extern const OndOperation *ond_connector_operation(const OndConnector *c, OndOp op);
/* The same by the way that a task takes: its own operation, another one, or the lookup before it. */
extern const OndOperation *ond_connector_route(const OndConnector *c, OndRoute route);

typedef struct OndOperationInfo {
  const char *name;           /* "upsert", "create", … */
  const char *group;          /* of operations that share requests; NULL: none */
  int batch_rows;             /* 1: one row a request */
  int64_t batch_bytes;        /* body; 0: none */
  int64_t row_bytes;          /* one row's part; 0: none */
  bool atomic;
  bool idempotent;
  bool reads_rows;            /* the answer says something about single rows */
  bool unconfirmed;           /* success only by counts */
  int rate_group;             /* index into limits.rate.groups */
  OndStatusRules statuses;
  const int *exists;          /* statuses, ending with 0, that send a row another way; NULL: none */
  const int *missing;
  const int *conflict;
  bool always;                /* of a lookup: also where a remote id is known */
  bool deletes_only;          /* of a lookup: before deletes whose remote id is not known, nothing else */
  int n_steps;                /* 0: one request; else a job of so many */
  int resumes_at;             /* the first step from which on no step needs the rows; n_steps: none */
  int carries_at;             /* the first step that carries rows */
  bool replays_errors;        /* the API answers a known idempotency key as it did before, errors too */
  int open_max;               /* jobs of the destination at once, over all its syncs; 0: no limit */
  int64_t job_timeout_ms;     /* how long one may take */
} OndOperationInfo;
extern const OndOperationInfo *ond_operation_info(const OndOperation *o);

/* ---- jobs: operations of several steps, see step.c ---- */

typedef struct OndStepInfo {
  const char *name;
  bool carries_rows;
  bool needs_rows;            /* its request or the reading of its result cannot be done without them */
  bool polls;
  int every_ms, max_ms;       /* of a poll: the first wait, and the longest */
  bool has_result;
} OndStepInfo;
/* NULL past the end. */
extern const OndStepInfo *ond_step_info(const OndOperation *o, int step);
/* The request of a step and how its answer is read: an operation for ond_connector_render() and ond_connector_read(). */
extern const OndOperation *ond_step_operation(const OndOperation *o, int step);
/* How the step's results go on in further pages; NULL: there is one. */
extern const OndList *ond_step_pages(const OndOperation *o, int step);
/* The number of the step of this name; -1: none. */
extern int ond_step_find(const OndOperation *o, const char *name);

typedef enum OndStepEnd {
  OND_STEP_DONE,              /* it goes on with *next */
  OND_STEP_WAIT,              /* a poll: not yet */
  OND_STEP_FAILED,            /* a poll: the job has failed */
  OND_STEP_REFUSED,           /* "ok" does not hold */
  OND_STEP_UNREADABLE         /* it says nothing of use */
} OndStepEnd;
/*
 * Reads a step's answer (whose OndAnswer is READ) but for its result: adds what it captures to `job` (a JSON object; empty: none yet), and says with which step the
 * job goes on (n_steps: it is done). words: n bytes for what is wrong. Rows are read by ond_connector_read() where the step has a result.
 */
extern OndStepEnd ond_step_read(const OndOperation *o, int step, const OndHttpResponse *response, OndBuf *job, int *next, char *words, size_t n);
/* Words for a job: "job 750R0000000zlh9" after what was captured as "id", or first, or "the job". */
extern void ond_step_label(OndBytes job, char *out, size_t n);
/* Whether the step's URL can be made of what was captured: err says what is missing, or whose it is. */
extern bool ond_step_check(const OndConnector *c, const OndOperation *o, int step, const OndRow *row, OndBytes job, OndError *err);

/* What a request of "list" is about. */
typedef struct OndListInput {
  OndBytes cursor;            /* JSON; absent: the first page */
  OndBytes args;              /* a JSON object; absent: {} */
  OndBytes fields;            /* the target fields wanted, a JSON array of texts; absent: not known */
  OndBytes fields_text;       /* the same, joined with commas */
} OndListInput;

typedef struct OndRenderContext {
  int64_t run_id;
  const char *idempotency_key;  /* of the request, hex */
  const OndListInput *list;   /* NULL but for lists */
  OndBytes job;               /* of steps: what {{job.x}} names, a JSON object; absent: none */
  bool job_unknown;           /* only to be looked at: {{job.x}} is "{job.x}" */
} OndRenderContext;

/*
 * Renders the request for n rows (1..batch_rows) of one operation: URL (joined with the base URL, values encoded), headers, body,
 * timeouts, gzip. Credentials are not on it: ond_auth_apply() adds them. On failure false, err, and *bad_row = the row that cannot be
 * sent (missing value, unsafe path piece, a header value with control characters, a body that is larger than row_bytes), or -1 when the
 * body passes batch_bytes (or the URL its cap) with n > 1: the caller halves the batch. out is initialised here and empty on failure.
 */
extern bool ond_connector_render(const OndConnector *c, const OndOperation *o, const OndRow *const *rows, int n,
                                 const OndRenderContext *context, OndHttpRequest *out, int *bad_row, OndError *err);
/* ---- lists: see page.c ---- */

/* "list" of the object; NULL: it has none. */
extern const OndList *ond_connector_list(const OndConnector *c);
/* The names that {{arg.x}} of the list may have: index -> name; NULL past the end. */
extern const char *ond_connector_arg(const OndConnector *c, int index);

/* Where a reader stands in a list: in the steps before its pages, or at a page. */
typedef struct OndPaging {
  const OndConnector *c;
  const OndList *list;
  int64_t pages;              /* read so far */
  int64_t records;
  bool more;                  /* there is another page to ask for */
  bool foreign;               /* it is at a host that gets no credentials */
  /* its own */
  int step;                   /* of those before the pages; past them: the pages */
  OndBuf job;                 /* what they have captured, a JSON object */
  int64_t wait_ms;            /* before the next time that the step polls; 0: its first */
  int64_t until_us;           /* when the steps must be done; 0: not begun */
  OndBuf cursor;              /* JSON; empty: the first page */
  OndBuf url;                 /* of the next page, absolute; empty: by the cursor */
  OndBuf seen;                /* an earlier cursor or URL: whoever meets it again goes in circles */
  int64_t until;              /* and how long it is kept */
} OndPaging;

extern void ond_paging_init(OndPaging *p, const OndConnector *c, const OndList *list);
extern void ond_paging_free(OndPaging *p);
/* The operation of the next request: its limits and the meaning of its statuses. */
extern const OndOperation *ond_paging_operation(const OndPaging *p);
/* What the next request is about, in words: "page 3 of the list", "step \"poll\" of the list". */
extern void ond_paging_label(const OndPaging *p, char *out, size_t n);
/* Microseconds to wait before the next request; -1 and err: the steps take longer than they may. now_us: a monotonic clock. */
extern int64_t ond_paging_wait_us(OndPaging *p, int64_t now_us, OndError *err);
/* The next request: a step's, or the next page's. input->cursor is set here. */
extern bool ond_paging_render(OndPaging *p, OndListInput *input, OndHttpRequest *out, OndError *err);

/* In parts, for pages that somebody else renders and reads: where to ask (before and after the request is rendered), and what comes next. */
extern void ond_paging_place(const OndPaging *p, OndListInput *input);
extern void ond_paging_aim(const OndPaging *p, OndHttpRequest *request);
extern bool ond_paging_follow(OndPaging *p, const OndHttpResponse *response, OndError *err);

/* A record of a page. Everything is valid during the call only. */
typedef struct OndRecord {
  OndBytes json;              /* the whole record */
  int n_keys;                 /* as the sync's key, bound; 0: the list does not say */
  OndBytes keys[8];           /* texts; p == NULL: the record has none */
  OndBytes id;                /* text; absent: none */
  OndBytes remote;            /* captures, a JSON object; absent: none */
  OndBytes fields;            /* JSON; absent: the record has none */
} OndRecord;
/* false: stop. */
typedef bool (*OndRecordTaker)(const OndRecord *record, void *arg);

/*
 * Reads an answer (whose OndAnswer is READ). Of a step: finds the next one. Of a page: hands over its records and finds the next page (p->more). False and err: it cannot be read, says that it
 * failed, goes in circles, has more pages than it may, or names a page at a host that the connector does not declare. want: what of OndRecord beside json is filled in.
 */
extern bool ond_paging_read(OndPaging *p, const OndHttpResponse *response, bool want_parts, OndRecordTaker take, void *arg, OndError *err);

/* The request of test_destination: "check", or GET of the base URL. */
extern bool ond_connector_render_check(const OndConnector *c, OndHttpRequest *out, OndError *err);

/*
 * A request of a caller's own: path (with its query) is joined with the base URL; headers: a JSON object of texts; body: JSON, or with a Content-Type that is not JSON the text of
 * a JSON string. Absent: none. False and err, and out is empty.
 */
extern bool ond_connector_render_free(OndConnector *c, const char *method, const char *path, OndBytes headers, OndBytes body, OndHttpRequest *out, OndError *err);

/*
 * A request for n rows as a function of the sync's owner describes it, in place of what the operation's templates make:
 *
 *   {"path": "/contacts/1" | ["contacts", "a/b"], "method": "PUT", "query": {"name": scalar | [scalar, …]}, "headers": {"name": "text"}, "body": any JSON}
 *
 * Every member may be absent: the base URL itself, the operation's method, no query, no body. A path is literal text below the base URL, or a list of pieces that are encoded; it
 * cannot leave the host. Headers are literal; those of the operation go along where they are not given, its idempotency key's too. A text as body goes out as it is unless the content
 * type is JSON. False and err, with a pointer into the description, and out is empty. c is only borrowed for the call, not changed.
 */
extern bool ond_connector_render_script(OndConnector *c, const OndOperation *o, const OndRow *const *rows, int n, const OndRenderContext *context, OndBytes description,
                                        OndHttpRequest *out, OndError *err);

#define OND_REMOTE_ID_BYTES_MAX 2000
#define OND_REMOTE_BYTES_MAX    16384

/* One row's fate as the answer tells it. Strings live in the arena given. */
typedef struct OndRowResult {
  OndOutcome outcome;         /* ACCEPTED, REJECTED, THROTTLED (retryable no) or UNKNOWN (not mentioned, unreadable) */
  bool unconfirmed;           /* accepted only as part of a count */
  int created;                /* 1 created, 0 updated, -1 not told */
  const char *message;        /* cut to 1000 bytes, valid UTF-8; NULL */
  const char *remote_id;      /* NULL: none */
  const char *remote;         /* JSON object text; NULL: none */
  bool absent;                /* of a lookup, with UNKNOWN: the answer says that there is no such record */
  bool silent;                /* with UNKNOWN: the answer could be read, and does not mention the row */
} OndRowResult;

/*
 * Reads the answer to a request of n rows whose OndAnswer is READ, row by row: fills results[n]. Answers that lie are caught: a row that is not mentioned is
 * UNKNOWN; a list of the wrong length is not read by position (all UNKNOWN); a body that should be JSON and is not: all UNKNOWN; an id that
 * belongs to no row is ignored and counted in *strangers (may be NULL).
 */
extern void ond_connector_read(const OndConnector *c, const OndOperation *o, const OndHttpResponse *response, const OndRow *const *rows, int n,
                               OndArena *arena, OndRowResult *results, int *strangers);
/*
 * Words for a refusal or failure as a whole: the body's "error" pointer, else a message found in usual places of a JSON body (message, error, error.message,
 * detail, title, errors[0]…), else the first line of text (tags removed), else the status. At most n - 1 bytes, valid UTF-8, no control characters.
 */
extern void ond_connector_message(const OndOperation *o, const OndHttpResponse *response, char *out, size_t n);

/*
 * Parses destinations.auth: {"type": "bearer", "token": {"secret": "name"}} and so on for none, bearer (token, prefix), basic (username, password),
 * header (headers: name -> reference), query (parameters: name -> reference). A reference is {"secret": …}, {"env": …} or {"file": …}.
 * A literal credential is refused with a hint that names set_secret. NULL text: type none. NULL and err on error.
 */
extern OndAuth *ond_auth_parse(const char *text, size_t n, OndError *err);
/* "bearer" and so on: the document's "type". */
extern const char *ond_auth_type_name(OndAuthType type);

#endif
