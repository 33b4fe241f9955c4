/*
 * step.c - asynchronous jobs: an operation of several steps.
 *
 *   {"steps": [{"name": "create", "method": "POST", "path": "/jobs", "body": …, "capture": {"id": "/id", "location": {"header": "Location"}}},
 *              {"name": "upload", "method": "PUT", "url": "{{job.location}}", "encoding": "csv", "csv": {…}},
 *              {"name": "poll", "method": "GET", "path": "/jobs/{{job.id}}", "poll": {"every_ms": 2000, "max_ms": 30000, "done": CONDITION,
 *               "failed": CONDITION, "error": "/message"}},
 *              {"name": "results", "method": "GET", "path": "/jobs/{{job.id}}/results", "when": CONDITION, "result": {"format": "csv", …}}],
 *    "jobs": {"open": 5, "timeout_ms": 3600000}}
 *
 * The idempotency key travels with the first step, where that has the rows: a job that was made without them is another one each time, or a second try
 * would find it filled.
 *
 * Each step is an operation of its own that is rendered and read like any other; this file says in which order, what is carried from answer to
 * answer, and which steps can be done without the rows: after a crash a job goes on only where the rest needs none of them.
 */
#include "connector/step.h"

#include <stdio.h>
#include <string.h>

#include "connector/condition.h"
#include "connector/csv.h"
#include "connector/list.h"
#include "connector/members.h"
#include "connector/message.h"
#include "connector/operation.h"
#include "connector/request.h"
#include "core/text.h"

#define STEPS_MAX         20
#define CAPTURES_MAX      20
#define NAME_BYTES_MAX    60
#define OPEN_MAX          1000
#define TIMEOUT_MS        ((int64_t)3600000)
#define TIMEOUT_MS_MAX    ((int64_t)7 * 24 * 3600000)
#define EVERY_MS          2000
#define EVERY_MS_MAX      600000
#define LONGEST_MS        30000
#define PAGES_MAX         10000

static const char *const MEMBERS[] = {"name", "method", "path",  "url",   "query",  "headers", "encoding", "csv",  "content_type", "body", "rate",
                                      "fine", "refused", "retry", "ok",    "error",  "result",  "capture",  "poll", "when", "next", NULL};

/* Steps before the pages of a list carry no rows, and have no results of their own. */
static const char *const LIST_MEMBERS[] = {"name",  "method", "path", "url", "query", "headers", "encoding", "content_type", "body", "rate", "fine", "refused",
                                           "retry", "ok",     "error", "capture", "poll", "when", NULL};

/* ---- which steps need rows ---- */

static bool is_row_slot(int slot, bool by_key) {
  switch (slot) {
  case OND_SLOT_KEY: return !by_key; /* the keys of a job's rows are kept */
  case OND_SLOT_COLUMN:
  case OND_SLOT_REMOTE_ID:
  case OND_SLOT_REMOTE:
  case OND_SLOT_ROW_KEY: return true;
  default: return false;
  }
}

static bool names_row(const OndTemplate *t) {
  for (int i = 0; i < t->n; i++) {
    if (t->parts[i].name.p && is_row_slot(t->parts[i].slot, false)) {
      return true;
    }
  }
  return false;
}

static bool names_request_key(const OndTemplate *t) {
  for (int i = 0; i < t->n; i++) {
    if (t->parts[i].name.p && t->parts[i].slot == OND_SLOT_REQUEST_KEY) {
      return true;
    }
  }
  return false;
}

/* Whether some template of the request passes the test. */
static bool any_template(const OndOperation *o, bool (*test)(const OndTemplate *t)) {
  const OndRequestTemplate *r = &o->request;
  bool found = test(&r->path_query) || test(&r->url);

  for (int i = 0; i < r->n_pieces; i++) {
    found = found || test(&r->pieces[i]);
  }
  for (int i = 0; i < r->n_query; i++) {
    found = found || test(&r->query[i].value);
  }
  for (int i = 0; i < r->n_headers; i++) {
    found = found || test(&r->headers[i].value);
  }
  for (int i = 0; o->body && i < o->body->n; i++) {
    found = found || test(&o->body->steps[i].text);
  }
  return found;
}

static bool has_fields(const OndOperation *o) {
  for (int i = 0; o->body && i < o->body->n; i++) {
    if (o->body->steps[i].code == OND_BODY_FIELDS || o->body->steps[i].code == OND_BODY_EACH) {
      return true;
    }
  }
  return o->csv || ond_request_names_rows(&o->request);
}

static bool identity_needs_rows(const OndIdentity *identity) {
  for (int i = 0; i < identity->by.n; i++) {
    if (identity->by.parts[i].name.p && is_row_slot(identity->by.parts[i].slot, true)) {
      return true;
    }
  }
  return false;
}

static void note_needs(OndStep *step) {
  const OndResult *result = step->request->result;

  step->info.carries_rows = has_fields(step->request) || any_template(step->request, names_row);
  step->info.needs_rows = step->info.carries_rows || any_template(step->request, names_request_key) ||
                          (result && (identity_needs_rows(&result->identity) || identity_needs_rows(&result->error_identity)));
}

/* ---- compiling ---- */

static bool parse_capture(OndConnector *c, const OndNode *at, OndStepCapture *out, OndError *err) {
  static const char *const VALID[] = {"header", NULL};
  OndNode header;

  out->name = ond_arena_strdup(c->arena, at->member);
  if (!*out->name || strpbrk(out->name, "{}|")) {
    return ond_node_fail(at, err, "\"%.60s\" cannot be named in a template", at->member);
  }
  if (!json_object_is_type(at->value, json_type_object)) {
    return ond_node_json_pointer(at, c->arena, &out->pointer, err);
  }
  if (!ond_node_object(at, VALID, err)) {
    return false;
  }
  if (!ond_node_get(at, "header", &header)) {
    return ond_node_missing(at, "header", "{\"header\": \"Location\"}", err);
  }
  if (!ond_node_string(&header, &out->header, err) || !ond_request_header_name(&header, out->header, err)) {
    return false;
  }
  out->header = ond_arena_strdup(c->arena, out->header);
  return true;
}

static bool parse_captures(OndConnector *c, const OndNode *at, OndStep *step, OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;
  OndNode captures;

  if (!ond_node_get(at, "capture", &captures)) {
    return true;
  }
  if (!json_object_is_type(captures.value, json_type_object) || json_object_object_length(captures.value) > CAPTURES_MAX) {
    ond_node_fail(&captures, err, "\"capture\" must be an object of at most %d places", CAPTURES_MAX);
    ond_error_hint(err, "For example {\"id\": \"/id\", \"location\": {\"header\": \"Location\"}}.");
    return false;
  }
  step->captures = ond_arena_alloc(c->arena, CAPTURES_MAX * sizeof(*step->captures));
  it = json_object_iter_begin(captures.value);
  end = json_object_iter_end(captures.value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode one = {.parent = &captures, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    if (!parse_capture(c, &one, &step->captures[step->n_captures++], err)) {
      return false;
    }
  }
  return true;
}

static bool parse_condition(OndConnector *c, const OndNode *object, const char *member, const OndCondition **out, OndError *err) {
  OndNode at;

  if (ond_node_get(object, member, &at)) {
    *out = ond_condition_parse(c, &at, err);
    return *out != NULL;
  }
  return true;
}

static bool parse_poll(OndConnector *c, const OndNode *at, OndStep *step, OndError *err) {
  static const char *const VALID[] = {"every_ms", "max_ms", "done", "failed", "error", NULL};
  int64_t every = EVERY_MS, most = -1;
  OndNode poll;

  if (!ond_node_get(at, "poll", &poll)) {
    return true;
  }
  step->info.polls = true;
  if (!ond_node_object(&poll, VALID, err) || !ond_member_int(&poll, "every_ms", 1, EVERY_MS_MAX, &every, err) ||
      !ond_member_int(&poll, "max_ms", 1, EVERY_MS_MAX, &most, err) || !parse_condition(c, &poll, "done", &step->done, err) ||
      !parse_condition(c, &poll, "failed", &step->failed, err) || !ond_member_json_pointer(&poll, "error", c->arena, &step->error, err)) {
    return false;
  }
  if (!step->done) {
    return ond_node_missing(&poll, "done", "{\"path\": \"/status\", \"equals\": \"completed\"}", err);
  }
  step->info.every_ms = (int)every;
  step->info.max_ms = (int)(most < 0 ? (every > LONGEST_MS ? every : LONGEST_MS) : most);
  return step->info.max_ms >= every || ond_node_fail(&poll, err, "\"max_ms\" is less than \"every_ms\"");
}

/* Pages are read one by one: each tells of its own records. */
static bool parse_pages(OndConnector *c, const OndNode *at, OndStep *step, OndError *err) {
  const OndResult *result = step->request->result;
  OndList *pages;
  OndNode next;

  if (!ond_node_get(at, "next", &next)) {
    return !c->names_cursor || ond_node_fail(at, err, "the step names {{cursor}}, but nothing says where the next one is");
  }
  if (!result || step->info.polls || result->match == OND_MATCH_ORDER || result->match == OND_MATCH_COUNTS || result->match == OND_MATCH_SINGLE) {
    ond_node_fail(&next, err, "\"next\" is about results that name their rows, in a step that does not poll");
    ond_error_hint(err, "Read them in a step of its own, by \"key\", \"index\" or \"errors\".");
    return false;
  }
  pages = ond_arena_alloc(c->arena, sizeof(*pages));
  pages->request = step->request;
  pages->lines = result->lines;
  pages->rows = result->has_errors && !result->rows ? result->errors : result->rows;
  pages->pages_max = PAGES_MAX;
  step->request->paged = true;
  step->pages = pages;
  return ond_list_parse_next(c, pages, at, err);
}

static bool parse_name(OndConnector *c, const OndNode *at, OndOperation *o, OndStep *step, OndError *err) {
  OndNode name;
  const char *text;

  if (!ond_node_get(at, "name", &name)) {
    return ond_node_missing(at, "name", "\"upload\"", err);
  }
  if (!ond_node_string(&name, &text, err)) {
    return false;
  }
  if (!*text || strlen(text) > NAME_BYTES_MAX) {
    return ond_node_fail(&name, err, "the name of a step has 1 to %d bytes", NAME_BYTES_MAX);
  }
  if (ond_step_find(o, text) >= 0) {
    return ond_node_fail(&name, err, "there is another step \"%s\"", text);
  }
  step->info.name = ond_arena_strdup(c->arena, text);
  return true;
}

static bool parse_step(OndConnector *c, const OndNode *at, OndOperation *o, const char *key_header, OndError *err) {
  OndStep *step = &o->steps[o->n_steps];
  OndNode when;

  step->request = ond_arena_alloc(c->arena, sizeof(*step->request));
  step->request->kind = o->kind;
  step->request->info = o->info;
  step->request->is_step = true;
  c->job_uses = NULL;
  c->names_cursor = false;
  if (!ond_node_object(at, o->kind == OND_KIND_LIST ? LIST_MEMBERS : MEMBERS, err) || !parse_name(c, at, o, step, err) || !ond_operation_parse_step(c, step->request, at, err) ||
      !parse_captures(c, at, step, err) || !parse_poll(c, at, step, err) || !parse_pages(c, at, step, err) || !parse_condition(c, at, "when", &step->when, err)) {
    return false;
  }
  if (o->n_steps == 0 && ond_node_get(at, "when", &when)) {
    return ond_node_fail(&when, err, "the first step has no answer before it");
  }
  step->uses = c->job_uses;
  step->info.has_result = step->request->result != NULL;
  note_needs(step);
  if (o->n_steps == 0 && step->info.carries_rows && key_header) {
    OndScope scope = {.c = c, .o = step->request};

    ond_request_default_header(c->arena, &step->request->request, key_header, ond_reference_idempotency_key(&scope));
    step->info.needs_rows = true;
  }
  for (int i = 0; i < step->n_captures; i++) {
    OndName *name = ond_arena_alloc(c->arena, sizeof(*name));

    *name = (OndName){c->job_names, step->captures[i].name};
    c->job_names = name;
  }
  o->n_steps++;
  return true;
}

static bool parse_jobs(const OndNode *operation, OndOperation *o, OndError *err) {
  static const char *const VALID[] = {"open", "timeout_ms", NULL};
  static const char *const LIST_VALID[] = {"timeout_ms", NULL};
  int64_t open = 0;
  OndNode at;

  o->info.job_timeout_ms = TIMEOUT_MS;
  if (!ond_node_get(operation, "jobs", &at)) {
    return true;
  }
  if (!ond_node_object(&at, o->kind == OND_KIND_LIST ? LIST_VALID : VALID, err) || !ond_member_int(&at, "open", 1, OPEN_MAX, &open, err) ||
      !ond_member_int(&at, "timeout_ms", 1000, TIMEOUT_MS_MAX, &o->info.job_timeout_ms, err)) {
    return false;
  }
  o->info.open_max = (int)open;
  return true;
}

/* What an operation of one request says, a job says step by step. */
static bool check_members(const OndNode *operation, OndError *err) {
  static const char *const STEPS_OWN[] = {"method", "path", "query", "headers", "encoding", "content_type", "csv",      "body",   "fine",
                                          "refused", "retry", "ok",  "error",   "result",   "exists",       "missing", "conflict", NULL};
  OndNode at;

  for (int i = 0; STEPS_OWN[i]; i++) {
    if (ond_node_get(operation, STEPS_OWN[i], &at)) {
      ond_node_fail(&at, err, "\"%s\" has no place beside \"steps\"", STEPS_OWN[i]);
      ond_error_hint(err, i < 14 ? "It belongs to a step." : "A job has no second way.");
      return false;
    }
  }
  return true;
}

static bool sum_up(const OndNode *steps, OndOperation *o, OndError *err) {
  o->info.n_steps = o->n_steps;
  o->info.carries_at = o->info.resumes_at = o->n_steps;
  for (int i = o->n_steps - 1; i >= 0; i--) {
    const OndStepInfo *info = &o->steps[i].info;

    if (info->carries_rows) {
      o->info.carries_at = i;
    }
    if (!info->needs_rows && o->info.resumes_at == i + 1) {
      o->info.resumes_at = i;
    }
    if (info->has_result) {
      const OndResult *result = o->steps[i].request->result;

      o->info.unconfirmed = o->info.unconfirmed || result->match == OND_MATCH_COUNTS;
      o->info.reads_rows = o->info.reads_rows || result->match != OND_MATCH_COUNTS;
    }
  }
  if (o->info.carries_at < o->n_steps) {
    return true;
  }
  ond_node_fail(steps, err, "no step carries the rows");
  ond_error_hint(err, "Use [\"$each\", …] in the body of one of them, or the encoding csv.");
  return false;
}

static bool parse_steps(OndConnector *c, const OndNode *operation, const OndNode *steps, OndOperation *o, const char *key_header, OndError *err) {
  bool ok = true;
  size_t n;

  if (!parse_jobs(operation, o, err) || !ond_node_array(steps, &n, err)) {
    return false;
  }
  if (n == 0 || n > STEPS_MAX) {
    return ond_node_fail(steps, err, "\"steps\" has 1 to %d steps", STEPS_MAX);
  }
  o->steps = ond_arena_alloc(c->arena, n * sizeof(*o->steps));
  c->job_names = NULL;
  for (size_t i = 0; ok && i < n; i++) {
    OndNode step = ond_node_element(steps, i);

    ok = parse_step(c, &step, o, key_header, err);
  }
  c->job_uses = NULL;
  return ok;
}

bool ond_steps_parse(OndConnector *c, const OndNode *operation, const OndNode *steps, OndOperation *o, const char *key_header, OndError *err) {
  bool ok = check_members(operation, err) && parse_steps(c, operation, steps, o, key_header, err);

  c->job_names = NULL;
  return ok && sum_up(steps, o, err);
}

bool ond_steps_parse_list(OndConnector *c, const OndNode *list, OndOperation **out, OndError *err) {
  OndOperation *o;
  OndNode at;

  *out = NULL;
  c->job_names = NULL;
  if (!ond_node_get(list, "steps", &at)) {
    return !ond_node_get(list, "jobs", &at) || ond_node_fail(&at, err, "\"jobs\" says something about a list with \"steps\" only");
  }
  o = ond_arena_alloc(c->arena, sizeof(*o));
  o->kind = OND_KIND_LIST;
  o->info.name = "list";
  o->info.idempotent = true;
  *out = o;
  if (!parse_steps(c, list, &at, o, NULL, err)) {
    return false;
  }
  o->info.n_steps = o->n_steps;
  return true;
}

/* ---- looking ---- */

const OndStepInfo *ond_step_info(const OndOperation *o, int step) {
  return step >= 0 && step < o->n_steps ? &o->steps[step].info : NULL;
}

const OndOperation *ond_step_operation(const OndOperation *o, int step) {
  return step >= 0 && step < o->n_steps ? o->steps[step].request : NULL;
}

const OndList *ond_step_pages(const OndOperation *o, int step) {
  return step >= 0 && step < o->n_steps ? o->steps[step].pages : NULL;
}

int ond_step_find(const OndOperation *o, const char *name) {
  for (int i = 0; i < o->n_steps; i++) {
    if (strcmp(o->steps[i].info.name, name) == 0) {
      return i;
    }
  }
  return -1;
}

/* ---- reading answers ---- */

typedef struct StepReading {
  const OndStep *step;
  const OndHttpResponse *response;
  struct json_object *document;
  char *words;
  size_t n;
} StepReading;

static OndStepEnd ends(const StepReading *r, OndStepEnd end, const char *words) {
  snprintf(r->words, r->n, "%s", words);
  return end;
}

/* A value that can be kept: a text or another scalar that is valid in a database. */
static struct json_object *captured(const StepReading *r, const OndStepCapture *capture) {
  struct json_object *value;

  if (capture->header) {
    OndBytes text = ond_http_response_header(r->response, capture->header);

    return text.p && text.n > 0 && ond_utf8_valid(text.p, text.n) && !memchr(text.p, '\0', text.n) ? json_object_new_string_len(text.p, (int)text.n) : NULL;
  }
  if (!r->document || !ond_document_at(r->document, &capture->pointer, &value) || !value || json_object_is_type(value, json_type_array) ||
      json_object_is_type(value, json_type_object)) {
    return NULL;
  }
  if (json_object_is_type(value, json_type_string) &&
      (strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value) || json_object_get_string_len(value) == 0)) {
    return NULL;
  }
  return json_object_get(value);
}

static bool add_captures(const StepReading *r, OndBuf *job) {
  struct json_object *all = NULL;
  const char *problem;
  OndBuf text;
  bool ok;

  if (r->step->n_captures == 0) {
    return true;
  }
  if (job->len == 0 || !ond_document_parse(job->data, job->len, &all, &problem)) {
    all = json_object_new_object();
  }
  for (int i = 0; i < r->step->n_captures; i++) {
    struct json_object *value = captured(r, &r->step->captures[i]);

    if (value) {
      json_object_object_add(all, r->step->captures[i].name, value);
    }
  }
  ond_buf_init(&text, job->bytes_max);
  ok = ond_document_json(all, &text);
  if (ok) {
    ond_buf_reset(job);
    ok = ond_buf_append(job, text.data, text.len);
  }
  ond_buf_free(&text);
  json_object_put(all);
  return ok;
}

/* The first step after this one that is to be done. Where the answer does not tell, it is. */
static int next_step(const OndOperation *o, int step, struct json_object *document) {
  for (step++; step < o->n_steps; step++) {
    const OndCondition *when = o->steps[step].when;

    if (!when || !document || ond_condition_holds(when, document) != OND_FAILS) {
      break;
    }
  }
  return step;
}

const char *ond_step_missing(const OndName *uses, const OndBuf *job) {
  struct json_object *all = NULL;
  const char *problem;
  const char *missing = NULL;

  if (job->len > 0) {
    (void)ond_document_parse(job->data, job->len, &all, &problem);
  }
  for (const OndName *use = uses; use && !missing; use = use->next) {
    if (!all || !json_object_object_get_ex(all, use->name, NULL)) {
      missing = use->name;
    }
  }
  json_object_put(all);
  return missing;
}

static OndStepEnd read_poll(const StepReading *r) {
  const OndStep *step = r->step;
  struct json_object *value;

  if (step->failed && ond_condition_holds(step->failed, r->document) == OND_HOLDS) {
    if (step->error && ond_document_at(r->document, step->error, &value) && value && ond_message_words(value, r->words, r->n)) {
      return OND_STEP_FAILED;
    }
    ond_connector_message(step->request, r->response, r->words, r->n);
    return OND_STEP_FAILED;
  }
  return ond_condition_holds(step->done, r->document) == OND_HOLDS ? OND_STEP_DONE : OND_STEP_WAIT;
}

static OndStepEnd read_document(const OndOperation *o, const StepReading *r, OndBuf *job, int *next) {
  const OndStep *step = r->step;
  OndStepEnd end = OND_STEP_DONE;
  const char *missing;
  char words[160];

  if (step->request->ok && ond_condition_holds(step->request->ok, r->document) == OND_FAILS) {
    ond_connector_message(step->request, r->response, r->words, r->n);
    return OND_STEP_REFUSED;
  }
  if (step->info.polls && (end = read_poll(r)) != OND_STEP_DONE) {
    return end;
  }
  if (!add_captures(r, job)) {
    return ends(r, OND_STEP_UNREADABLE, "the answer has more to keep than there is room for");
  }
  *next = next_step(o, (int)(step - o->steps), r->document);
  missing = *next < o->n_steps ? ond_step_missing(o->steps[*next].uses, job) : NULL;
  if (missing) {
    snprintf(words, sizeof(words), "the answer does not tell \"%s\" of the job", missing);
    return ends(r, OND_STEP_UNREADABLE, words);
  }
  return end;
}

/* Whether anything of the body is wanted as JSON. */
static bool wants_document(const OndOperation *o, int i) {
  const OndStep *step = &o->steps[i];
  bool wants = step->info.polls || step->request->ok || (step->request->result && !step->request->result->lines);

  for (int k = 0; k < step->n_captures; k++) {
    wants = wants || !step->captures[k].header;
  }
  return wants;
}

OndStepEnd ond_step_read(const OndOperation *o, int step, const OndHttpResponse *response, OndBuf *job, int *next, char *words, size_t n) {
  StepReading r = {.step = &o->steps[step], .response = response, .words = words, .n = n};
  const char *problem = "";
  OndStepEnd end;

  words[0] = '\0';
  if (!ond_document_parse(response->body.data, response->body.len, &r.document, &problem)) {
    r.document = NULL;
    if (wants_document(o, step)) {
      snprintf(words, n, "the answer %s", problem);
      return OND_STEP_UNREADABLE;
    }
  }
  end = read_document(o, &r, job, next);
  json_object_put(r.document);
  return end;
}

void ond_step_label(OndBytes job, char *out, size_t n) {
  char words[OND_MESSAGE_BYTES_MAX + 1];
  OndMembers members;
  OndMember member;
  OndBytes text;

  snprintf(out, n, "the job");
  text = OND_BYTES_NONE;
  if (!job.p || !ond_members_begin(&members, job)) {
    return;
  }
  while (ond_members_next(&members, &member)) {
    if (!text.p || ond_member_is(&member, OND_BYTES_LIT("id"))) {
      text = ond_json_trim(member.value);
    }
  }
  if (!text.p) {
    return;
  }
  if (text.n > 2 && text.p[0] == '"') {
    text = (OndBytes){text.p + 1, text.n - 2};
  }
  ond_message_copy(text.p, text.n < 200 ? text.n : 200, words, sizeof(words));
  snprintf(out, n, "job %s", words);
}

bool ond_step_check(const OndConnector *c, const OndOperation *o, int step, const OndRow *row, OndBytes job, OndError *err) {
  OndRenderContext context = {.job = job, .idempotency_key = ""};
  OndOperation alone = *o->steps[step].request;
  OndHttpRequest request;
  bool ok;

  alone.body = NULL;
  alone.csv = NULL;
  ok = ond_connector_render(c, &alone, &row, 1, &context, &request, NULL, err);
  ond_http_request_free(&request);
  return ok;
}
