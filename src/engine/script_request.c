/*
 * script_request.c - see script_request.h. The forms are in doc/scripting.md.
 *
 * A row is known by its key alone: what is said of a key that is not in the batch, or twice of one, makes the whole list worthless, since nobody knows what else in it is wrong.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "connector/members.h"
#include "core/text.h"
#include "compat.h"
#include "engine/answer.h"
#include "engine/encode.h"
#include "engine/job_rows.h"
#include "engine/kept.h"
#include "engine/script_request.h"

#define MESSAGE_BYTES_MAX 1000

/* --- arguments -------------------------------------------------------------------------------------------- */

static void member(StringInfo s, const char *name) {
  if (s->len > 0 && s->data[s->len - 1] != '{')
    appendStringInfoChar(s, ',');
  ond_append_json_string(s, name, strlen(name));
  appendStringInfoChar(s, ':');
}

static void member_text(StringInfo s, const char *name, const char *text) {
  member(s, name);
  if (text == NULL)
    appendStringInfoString(s, "null");
  else
    ond_append_json_string(s, text, strlen(text));
}

static void member_json(StringInfo s, const char *name, OndBytes json) {
  member(s, name);
  if (json.p == NULL)
    appendStringInfoString(s, "null");
  else
    appendBinaryStringInfo(s, json.p, (int)json.n);
}

static const char *to_utf8(const char *text) {
  return text == NULL ? NULL : pg_server_to_any(pstrdup(text), (int)strlen(text), PG_UTF8);
}

static void append_head(StringInfo s, const OndScriptBatch *batch) {
  const OndSync *sync = batch->spec->sync;

  appendStringInfoChar(s, '{');
  member_text(s, "sync", to_utf8(sync->name));
  member_text(s, "object", to_utf8(sync->object));
  member(s, "run_id");
  if (batch->run_id > 0)
    appendStringInfo(s, INT64_FORMAT, batch->run_id);
  else
    appendStringInfoString(s, "null");
  member_text(s, "operation", ond_job_route_name(batch->route));
}

static void append_row(StringInfo s, const OndChangeRow *row) {
  appendStringInfoChar(s, '{');
  member_json(s, "key", row->key_json);
  member_json(s, "fields", row->row.fields);
  member_text(s, "remote_id", row->row.remote_id.p == NULL ? NULL : pnstrdup(row->row.remote_id.p, row->row.remote_id.n));
  member_json(s, "remote", row->row.remote);
  member(s, "kept");
  appendStringInfoString(s, ond_kept_known(row->kept_before));
  member_text(s, "idempotency_key", row->idempotency_key);
  appendStringInfoChar(s, '}');
}

static void append_keys(StringInfo s, const OndScriptBatch *batch) {
  member(s, "keys");
  appendStringInfoChar(s, '[');
  for (int i = 0; i < batch->n; i++)
    appendStringInfo(s, "%s%.*s", i > 0 ? "," : "", (int)batch->rows[i]->key_json.n, batch->rows[i]->key_json.p);
  appendStringInfoChar(s, ']');
}

/* JSON that jsonb takes: no NUL in its texts. */
static bool is_json(const OndBuf *body) {
  return body->data != NULL && strstr(body->data, "\\u0000") == NULL && ond_json_is_valid((OndBytes){body->data, body->len});
}

static void append_answer(StringInfo s, const OndHttpResponse *response) {
  const OndBuf *body = &response->body;
  char *headers = ond_answer_headers(response);
  bool json = is_json(body);

  member(s, "status");
  appendStringInfo(s, "%d", response->status);
  member_json(s, "headers", (OndBytes){headers, strlen(headers)});
  member_json(s, "body", json ? (OndBytes){body->data, body->len} : OND_BYTES_NONE);
  if (json || body->data == NULL || memchr(body->data, 0, body->len) != NULL || !ond_utf8_valid(body->data, body->len))
    member_text(s, "text", NULL);
  else {
    member(s, "text");
    ond_append_json_string(s, body->data, body->len);
  }
}

/* --- render ----------------------------------------------------------------------------------------------- */

/* What it returned cannot be used. */
static OndScriptEnd wrong(const OndScriptUse *use, const char *what, OndError *err) {
  OndError why = *err;

  ond_error_set(err, "%s function %s: %s", use->option, use->function, what);
  if (why.pointer[0] != '\0')
    ond_error_pointer(err, "%s", why.pointer);
  if (why.detail[0] != '\0')
    ond_error_detail(err, "%s", why.detail);
  if (why.hint[0] != '\0')
    ond_error_hint(err, "%s", why.hint);
  return OND_SCRIPT_FAILED;
}

/* A call of render, and what it returned in UTF-8. */
typedef struct Render {
  const OndScriptBatch *batch;
  char *request;              /* NULL: NULL */
} Render;

static void ask_render(StringInfo s, void *arg) {
  const OndScriptBatch *batch = ((Render *)arg)->batch;

  append_head(s, batch);
  member_text(s, "idempotency_key", batch->key);
  member(s, "rows");
  for (int i = 0; i < batch->n; i++) {
    appendStringInfoChar(s, i == 0 ? '[' : ',');
    append_row(s, batch->rows[i]);
  }
  appendStringInfoString(s, "]}");
}

static void take_render(Jsonb *result, void *arg) {
  Render *r = arg;
  char *text;

  if (result == NULL)
    return;
  text = JsonbToCString(NULL, &result->root, VARSIZE(result));
  r->request = pg_server_to_any(text, (int)strlen(text), PG_UTF8);
}

OndScriptEnd ond_script_render(const OndScriptHost *host, const OndScriptBatch *batch, OndHttpRequest *out, OndError *err) {
  const OndOperation *operation = ond_connector_route(batch->spec->connector, batch->route);
  OndRenderContext context = {.run_id = batch->run_id, .idempotency_key = batch->key};
  const OndRow **rows = palloc(sizeof(OndRow *) * batch->n);
  Render render = {.batch = batch};
  OndScriptUse use = {"render", batch->spec->render, ask_render, take_render, &render};
  OndScriptEnd end = ond_script_call(host, &use, err);

  ond_http_request_init(out);
  if (end != OND_SCRIPT_DONE)
    return end;
  memset(err, 0, sizeof(*err));
  if (render.request == NULL)
    return wrong(&use, "it returned NULL, not a request", err);
  for (int i = 0; i < batch->n; i++)
    rows[i] = &batch->rows[i]->row;
  if (!ond_connector_render_script(batch->spec->connector, operation, rows, batch->n, &context, (OndBytes){render.request, strlen(render.request)}, out, err))
    return wrong(&use, err->pointer[0] == '\0' ? pstrdup(err->message) : psprintf("%s (at %s)", err->message, err->pointer), err);
  return OND_SCRIPT_DONE;
}

/* --- parse ------------------------------------------------------------------------------------------------ */

/* A batch's keys, to be found again. */
typedef struct Key {
  uint64 hash;
  int index;
  Jsonb *json;
} Key;

typedef struct Fates {
  int n;
  Key *keys;                  /* sorted by hash */
  bool *named;
  OndRowResult *results;
  OndError *err;
} Fates;

static uint64 hash_key(Jsonb *json) {
  return DatumGetUInt64(DirectFunctionCall2(jsonb_hash_extended, JsonbPGetDatum(json), Int64GetDatum(0)));
}

static int compare_keys(const void *a, const void *b) {
  uint64 x = ((const Key *)a)->hash, y = ((const Key *)b)->hash;

  return x < y ? -1 : x > y;
}

static void read_keys(const OndScriptBatch *batch, Fates *f) {
  f->keys = palloc(sizeof(Key) * batch->n);
  for (int i = 0; i < batch->n; i++) {
    OndBytes json = batch->rows[i]->key_json;
    char *text = pg_any_to_server(pnstrdup(json.p, json.n), (int)json.n, PG_UTF8);

    f->keys[i].json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
    f->keys[i].hash = hash_key(f->keys[i].json);
    f->keys[i].index = i;
  }
  qsort(f->keys, batch->n, sizeof(Key), compare_keys);
}

/* The number of a row; -1: there is none of this key. */
static int find_row(const Fates *f, Jsonb *key) {
  Key wanted = {hash_key(key), 0, key};
  int low = 0, high = f->n;

  while (low < high) {
    int middle = (low + high) / 2;

    if (f->keys[middle].hash < wanted.hash)
      low = middle + 1;
    else
      high = middle;
  }
  for (; low < f->n && f->keys[low].hash == wanted.hash; low++)
    if (compareJsonbContainers(&f->keys[low].json->root, &key->root) == 0)
      return f->keys[low].index;
  return -1;
}

static char *utf8_of(const JsonbValue *v) {
  char *text;

  switch (v->type) {
    case jbvString: text = pnstrdup(v->val.string.val, v->val.string.len); break;
    case jbvNumeric: text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v->val.numeric))); break;
    case jbvBinary: text = JsonbToCString(NULL, v->val.binary.data, v->val.binary.len); break;
    default: return NULL;
  }
  return pg_server_to_any(text, (int)strlen(text), PG_UTF8);
}

static bool is_word(const JsonbValue *v, const char *word) {
  return v->type == jbvString && v->val.string.len == (int)strlen(word) && memcmp(v->val.string.val, word, v->val.string.len) == 0;
}

static bool read_outcome(const JsonbValue *v, OndRowResult *r) {
  if (is_word(v, "delivered"))
    r->outcome = OND_OUT_ACCEPTED;
  else if (is_word(v, "rejected"))
    r->outcome = OND_OUT_REJECTED;
  else if (is_word(v, "retry"))
    r->outcome = OND_OUT_THROTTLED;
  else
    return is_word(v, "unknown");
  return true;
}

static bool is_short(const char *text, Size most) {
  return text != NULL && text[0] != '\0' && strlen(text) <= most;
}

/* One member of a fate; false: it is none, or of another type. */
static bool read_member(const char *name, const JsonbValue *v, OndRowResult *r, Jsonb **key) {
  if (strcmp(name, "key") == 0) {
    *key = v->type == jbvBinary ? JsonbValueToJsonb(unconstify(JsonbValue *, v)) : NULL;
    return *key != NULL && JB_ROOT_IS_OBJECT(*key);
  }
  if (strcmp(name, "outcome") == 0)
    return read_outcome(v, r);
  if (v->type == jbvNull)
    return strcmp(name, "message") == 0 || strcmp(name, "id") == 0 || strcmp(name, "created") == 0 || strcmp(name, "remote") == 0;
  if (strcmp(name, "message") == 0 && v->type == jbvString) {
    char *message = utf8_of(v);

    ond_text_clean(message);
    message[ond_utf8_cut(message, strlen(message), MESSAGE_BYTES_MAX)] = '\0';
    r->message = message;
    return true;
  }
  if (strcmp(name, "id") == 0 && (v->type == jbvString || v->type == jbvNumeric))
    return is_short(r->remote_id = utf8_of(v), OND_REMOTE_ID_BYTES_MAX);
  if (strcmp(name, "created") == 0 && v->type == jbvBool) {
    r->created = v->val.boolean ? 1 : 0;
    return true;
  }
  if (strcmp(name, "remote") == 0 && v->type == jbvBinary && JsonContainerIsObject(v->val.binary.data))
    return is_short(r->remote = utf8_of(v), OND_REMOTE_BYTES_MAX);
  return false;
}

static const OndRowResult unknown = {.outcome = OND_OUT_UNKNOWN, .created = -1, .silent = true};

static bool read_fate(Fates *f, const JsonbContainer *fate, int number) {
  OndRowResult r = unknown;
  JsonbIterator *it = JsonbIteratorInit(unconstify(JsonbContainer *, fate));
  JsonbIteratorToken token;
  JsonbValue v;
  Jsonb *key = NULL;
  bool has_outcome = false;
  char *name = NULL;
  int row;

  while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE) {
    if (token == WJB_KEY)
      name = pnstrdup(v.val.string.val, v.val.string.len);
    else if (token == WJB_VALUE && !read_member(name, &v, &r, &key)) {
      ond_error_set(f->err, "element %d of its list: member \"%.50s\" is unknown, of another type, or too long", number, name);
      ond_error_hint(f->err, "Members are key (an object), outcome (delivered, rejected, retry or unknown), message, id, created and remote.");
      return false;
    } else if (token == WJB_VALUE)
      has_outcome |= strcmp(name, "outcome") == 0;
  }
  if (key == NULL || !has_outcome) {
    ond_error_set(f->err, "element %d of its list has no \"%s\"", number, key == NULL ? "key" : "outcome");
    return false;
  }
  row = find_row(f, key);
  if (row < 0 || f->named[row]) {
    ond_error_set(f->err, row < 0 ? "element %d of its list names a key that is not in the batch: %.150s" : "element %d of its list names a key for the second time: %.150s", number,
                  JsonbToCString(NULL, &key->root, VARSIZE(key)));
    return false;
  }
  f->named[row] = true;
  f->results[row] = r;
  return true;
}

static bool read_fates(Fates *f, Jsonb *list) {
  if (!JB_ROOT_IS_ARRAY(list) || JB_ROOT_IS_SCALAR(list)) {
    ond_error_set(f->err, "it did not return a list");
    ond_error_hint(f->err, "It returns [{\"key\": …, \"outcome\": \"delivered\"}, …], an element for each row.");
    return false;
  }
  for (uint32 i = 0; i < JB_ROOT_COUNT(list); i++) {
    JsonbValue *fate = getIthJsonbValueFromContainer(&list->root, i);

    if (fate->type != jbvBinary || !JsonContainerIsObject(fate->val.binary.data)) {
      ond_error_set(f->err, "element %d of its list is not an object", (int)i);
      return false;
    }
    if (!read_fate(f, fate->val.binary.data, (int)i))
      return false;
  }
  return true;
}

/* A call of parse. */
typedef struct Parse {
  const OndScriptBatch *batch;
  const OndHttpResponse *response;
  Fates fates;
  bool told;
  bool good;
} Parse;

static void ask_parse(StringInfo s, void *arg) {
  const Parse *p = arg;

  append_head(s, p->batch);
  append_answer(s, p->response);
  append_keys(s, p->batch);
  appendStringInfoChar(s, '}');
}

static void take_parse(Jsonb *result, void *arg) {
  Parse *p = arg;

  p->told = result != NULL;
  if (!p->told)
    return;
  read_keys(p->batch, &p->fates);
  p->good = read_fates(&p->fates, result);
}

OndScriptEnd ond_script_parse(const OndScriptHost *host, const OndScriptBatch *batch, const OndHttpResponse *response, OndRowResult *results, bool *told, OndError *err) {
  Parse parse = {.batch = batch, .response = response, .told = true};
  OndScriptUse use = {"parse", batch->spec->parse, ask_parse, take_parse, &parse};
  OndScriptEnd end;

  memset(err, 0, sizeof(*err));
  parse.fates = (Fates){.n = batch->n, .named = palloc0(sizeof(bool) * batch->n), .results = results, .err = err};
  for (int i = 0; i < batch->n; i++)
    results[i] = unknown;
  end = ond_script_call(host, &use, err);
  *told = parse.told;
  if (end == OND_SCRIPT_DONE && (!parse.told || parse.good))
    return OND_SCRIPT_DONE;
  for (int i = 0; i < batch->n; i++)
    results[i] = unknown;
  return end == OND_SCRIPT_DONE ? wrong(&use, pstrdup(err->message), err) : end;
}
