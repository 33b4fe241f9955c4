/*
 * render.c - rows into a request.
 *
 * URL, headers, body, in this order; each reports which row is at fault. The URL is the base URL's text, then the path's pieces, each
 * looked at as a whole before it is encoded: what is empty, "." or ".." would name another resource than the one that was meant. The
 * request on out is complete or empty.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "connector/body.h"
#include "connector/csv.h"
#include "connector/document.h"
#include "connector/form.h"
#include "connector/request.h"
#include "core/url.h"

typedef struct Render {
  const OndConnector *c;
  const OndRequestTemplate *request;
  OndValues values;
  const OndRow *const *rows;
  int n;
  OndHttpRequest *out;
  OndBuf text; /* one URL or header */
  OndBuf piece;
  bool bare; /* it goes to a host that gets no credentials */
  int bad_row;
  OndError *err;
} Render;

/* ---- URL ---- */

/* More rows than fit: fewer might. */
static bool fail_url(Render *r) {
  if (r->text.overflow) {
    ond_error_set(r->err, "the URL is longer than %zu bytes", r->text.bytes_max);
    r->bad_row = r->n > 1 ? -1 : r->bad_row;
  }
  return false;
}

static bool append_piece(Render *r, const OndTemplate *piece) {
  bool dynamic = !ond_template_is_literal(piece);

  if (!ond_buf_append_char(&r->text, '/')) {
    return fail_url(r);
  }
  if (dynamic) {
    ond_buf_reset(&r->piece);
    if (!ond_reference_append(&r->values, piece, OND_PLACE_TEXT, &r->piece, r->err)) {
      if (r->piece.overflow) {
        ond_error_set(r->err, "the URL is longer than %zu bytes", r->piece.bytes_max);
      }
      return false;
    }
    if (ond_url_piece_is_unsafe(r->piece.data ? r->piece.data : "", r->piece.len)) {
      ond_error_set(r->err, "a piece of the path is %s", r->piece.len == 0 ? "empty" : r->piece.len == 1 ? "\".\"" : "\"..\"");
      ond_error_detail(r->err, "The request would go to another resource than the row's.");
      return false;
    }
  }
  return ond_reference_append(&r->values, piece, OND_PLACE_PATH, &r->text, r->err) || fail_url(r);
}

/* "?" or "&" before the next parameter. */
static bool append_separator(Render *r, bool *first) {
  bool ok = ond_buf_append_char(&r->text, *first ? '?' : '&');

  *first = false;
  return ok || fail_url(r);
}

static bool is_absent_text(struct json_object *value) {
  return json_object_is_type(value, json_type_string) && strcmp(json_object_get_string(value), OND_ABSENT_TEXT) == 0;
}

/* {"a": absent, "b": 1} -> {"b": 1}; the body of a list. */
static void drop_absent(struct json_object *value) {
  if (json_object_is_type(value, json_type_object)) {
    json_object_object_foreach(value, name, member) {
      if (is_absent_text(member)) {
        json_object_object_del(value, name);
      } else {
        drop_absent(member);
      }
    }
  }
  for (size_t i = json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0; i > 0; i--) {
    struct json_object *element = json_object_array_get_idx(value, i - 1);

    if (is_absent_text(element)) {
      json_object_array_del_idx(value, i - 1, 1);
    } else {
      drop_absent(element);
    }
  }
}

static bool append_query_value(Render *r, const OndQuery *q) {
  return ond_reference_append(&r->values, &q->value, OND_PLACE_QUERY, &r->text, r->err) || fail_url(r);
}

/* A parameter that repeats or joins something of every row. */
static bool append_rows(Render *r, const OndQuery *q, bool *first) {
  for (int i = 0; i < r->n; i++) {
    bool name = i == 0 || q->kind == OND_QUERY_REPEATED;

    r->values.row = r->rows[i];
    r->bad_row = i;
    if (name && (!append_separator(r, first) || !ond_buf_append_str(&r->text, q->name) || !ond_buf_append_char(&r->text, '='))) {
      return fail_url(r);
    }
    if ((!name && !ond_buf_append_str(&r->text, q->join)) || !append_query_value(r, q)) {
      return fail_url(r);
    }
  }
  r->values.row = r->rows[0];
  r->bad_row = 0;
  return true;
}

static bool append_query(Render *r) {
  bool first = !r->request->absolute || !strchr(r->text.data, '?');

  if (r->c->base_query && !r->request->absolute) {
    if (!append_separator(r, &first) || !ond_buf_append_str(&r->text, r->c->base_query)) {
      return fail_url(r);
    }
  }
  if (r->request->path_query.n > 0) {
    if (!append_separator(r, &first) || !ond_reference_append(&r->values, &r->request->path_query, OND_PLACE_PATH, &r->text, r->err)) {
      return fail_url(r);
    }
  }
  for (int i = 0; i < r->request->n_query; i++) {
    const OndQuery *q = &r->request->query[i];

    if (q->kind == OND_QUERY_ONE && ond_reference_is_absent(&r->values, &q->value)) {
      continue;
    }
    if (q->kind != OND_QUERY_ONE) {
      if (!append_rows(r, q, &first)) {
        return false;
      }
      continue;
    }
    if (!append_separator(r, &first) || !ond_buf_append_str(&r->text, q->name) || !ond_buf_append_char(&r->text, '=') ||
        !append_query_value(r, q)) {
      return fail_url(r);
    }
  }
  return true;
}

/* "/jobs/1": a path stands for the base URL's host. */
static bool append_origin(Render *r, OndBytes url) {
  OndError ignored;
  OndUrl base;

  if (url.n == 0 || url.p[0] != '/' || (url.n > 1 && url.p[1] == '/')) {
    return true;
  }
  return ond_url_parse(r->c->base, &base, &ignored) && ond_buf_append(&r->text, r->c->base, (size_t)(base.path.p - r->c->base));
}

/* A whole URL: what it begins with is taken as it is, values after that are encoded. */
static bool append_absolute(Render *r) {
  const OndTemplate *t = &r->request->url;
  OndTemplate rest = {.n = t->n - 1, .parts = t->parts + 1};
  OndBytes first = t->parts[0].literal;

  if (t->parts[0].name.p && !ond_reference_text(&r->values, &t->parts[0], &first, r->err)) {
    return false;
  }
  if (memchr(first.p, 0, first.n)) {
    ond_error_set(r->err, "the URL holds a NUL character");
    return false;
  }
  return (append_origin(r, first) && ond_buf_append_bytes(&r->text, first) && ond_reference_append(&r->values, &rest, OND_PLACE_PATH, &r->text, r->err)) || fail_url(r);
}

static bool render_absolute(Render *r) {
  OndError why = {0};
  OndHost host;

  if (!append_absolute(r) || !append_query(r)) {
    return false;
  }
  r->out->url = ond_strdup(r->text.data);
  if (r->values.context && r->values.context->job_unknown) {
    return true;
  }
  host = ond_connector_host(r->c, r->out->url, &why);
  if (host == OND_HOST_FOREIGN) {
    ond_error_set(r->err, "the URL is at another host: %s", why.message);
    ond_error_hint(r->err, "Hosts that URLs of answers may be at are listed in \"hosts\" of the connector.");
    return false;
  }
  r->bare = host == OND_HOST_BARE;
  return true;
}

static bool render_url(Render *r) {
  if (r->request->absolute) {
    return render_absolute(r);
  }
  if (!ond_buf_append_str(&r->text, r->c->base)) {
    return fail_url(r);
  }
  if (r->request->n_pieces == 0 && !ond_buf_append_str(&r->text, r->c->base_slashes)) {
    return fail_url(r);
  }
  for (int i = 0; i < r->request->n_pieces; i++) {
    if (!append_piece(r, &r->request->pieces[i])) {
      return false;
    }
  }
  if (!append_query(r)) {
    return false;
  }
  r->out->url = ond_strdup(r->text.data);
  return true;
}

/* ---- headers ---- */

static bool render_headers(Render *r, const char *content_type) {
  ond_buf_free(&r->text);
  ond_buf_init(&r->text, OND_HEADER_BYTES_MAX);
  for (int i = 0; i < (r->bare ? r->request->n_own_headers : r->request->n_headers); i++) {
    const OndHeader *header = r->bare ? &r->request->own_headers[i] : &r->request->headers[i];

    ond_buf_reset(&r->text);
    if (!ond_reference_append(&r->values, &header->value, OND_PLACE_TEXT, &r->text, r->err)) {
      if (r->text.overflow) {
        ond_error_set(r->err, "the header \"%s\" is longer than %zu bytes", header->name, r->text.bytes_max);
      }
      return false;
    }
    if (!ond_http_request_header(r->out, header->name, r->text.data ? r->text.data : "", r->text.len, r->err)) {
      return false;
    }
  }
  return !content_type || ond_http_request_header(r->out, "Content-Type", content_type, strlen(content_type), r->err);
}

/* ---- body ---- */

static bool run_body(Render *r, const OndOperation *o, OndBuf *out) {
  OndBodyInput input = {
      .values = &r->values,
      .rows = r->rows,
      .n = r->n,
      .row_bytes = o->info.row_bytes,
      .bytes = o->encoding == OND_ENCODING_FORM ? 0 : o->info.batch_bytes,
  };

  if (o->csv) {
    return ond_csv_append(o->csv, &input, out, &r->bad_row, r->err);
  }
  return ond_body_run(o->body, &input, out, &r->bad_row, r->err);
}

static bool render_form(Render *r, const OndOperation *o) {
  OndBuf json;
  bool ok;

  ond_buf_init(&json, OND_BODY_BYTES_MAX);
  ok = run_body(r, o, &json);
  if (ok) {
    ok = ond_form_append((OndBytes){json.data, json.len}, &r->out->body, r->err);
    if (r->out->body.overflow || (o->info.batch_bytes > 0 && r->out->body.len > (size_t)o->info.batch_bytes)) {
      ond_error_set(r->err, "the request body is larger than the operation allows");
      ok = false;
    }
  }
  ond_buf_free(&json);
  return ok;
}

/* Values that a list's body names and nobody gave leave with their members. */
static bool drop_absent_members(Render *r) {
  struct json_object *body;
  const char *problem;
  bool ok;

  if (!r->out->body.data || !ond_document_parse(r->out->body.data, r->out->body.len, &body, &problem)) {
    return true; /* a form, or nothing */
  }
  drop_absent(body);
  ond_buf_reset(&r->out->body);
  ok = ond_document_json(body, &r->out->body);
  json_object_put(body);
  if (!ok) {
    ond_error_set(r->err, "the request body is too large");
  }
  return ok;
}

static bool render_body(Render *r, const OndOperation *o) {
  ond_buf_init(&r->out->body, OND_BODY_BYTES_MAX);
  if (!o->body && !o->csv) {
    return true;
  }
  if (!(o->encoding == OND_ENCODING_FORM ? render_form(r, o) : run_body(r, o, &r->out->body))) {
    return false;
  }
  if ((o->kind == OND_KIND_LIST || o->paged) && !drop_absent_members(r)) {
    return false;
  }
  r->out->gzip = r->c->gzip && r->out->body.len >= r->c->gzip_bytes_min;
  return true;
}

/* ---- whole requests ---- */

static void render_begin(Render *r) {
  ond_http_request_init(r->out);
  memcpy(r->out->method, r->request->method, strlen(r->request->method) + 1);
  r->out->timeout_ms = r->c->limits.timeout_ms;
  r->out->connect_timeout_ms = r->c->limits.connect_timeout_ms;
  ond_buf_init(&r->text, OND_URL_BYTES_MAX);
  ond_buf_init(&r->piece, OND_URL_BYTES_MAX);
}

static bool render_end(Render *r, bool ok) {
  ond_buf_free(&r->text);
  ond_buf_free(&r->piece);
  ond_values_free(&r->values);
  if (!ok) {
    ond_http_request_free(r->out);
    ond_http_request_init(r->out);
  }
  return ok;
}

bool ond_connector_render(const OndConnector *c, const OndOperation *o, const OndRow *const *rows, int n, const OndRenderContext *context,
                          OndHttpRequest *out, int *bad_row, OndError *err) {
  Render r = {.c = c, .request = &o->request, .rows = rows, .n = n, .out = out, .err = err};
  bool ok;

  assert((n >= 1 || o->kind == OND_KIND_LIST) && (n <= o->info.batch_rows || o->is_step));
  ond_values_init(&r.values, c, o, context);
  r.values.row = n > 0 ? rows[0] : NULL;
  render_begin(&r);
  if (context && context->idempotency_key) {
    snprintf(out->id, sizeof(out->id), "%s", context->idempotency_key);
  }
  ok = render_url(&r) && render_headers(&r, o->body || o->csv ? o->content_type : NULL) && render_body(&r, o);
  if (!ok && bad_row) {
    *bad_row = r.bad_row;
  }
  return render_end(&r, ok);
}

bool ond_connector_render_check(const OndConnector *c, OndHttpRequest *out, OndError *err) {
  Render r = {.c = c, .request = &c->check, .out = out, .err = err};

  ond_values_init(&r.values, c, NULL, NULL);
  render_begin(&r);
  return render_end(&r, render_url(&r) && render_headers(&r, NULL));
}

bool ond_request_render(const OndConnector *c, const OndOperation *o, const OndRequestTemplate *t, const OndRow *const *rows, int n,
                        const OndRenderContext *context, const char *content_type, OndHttpRequest *out, OndError *err) {
  Render r = {.c = c, .request = t, .rows = rows, .n = n, .out = out, .err = err};

  ond_values_init(&r.values, c, o, context);
  r.values.row = n > 0 ? rows[0] : NULL;
  render_begin(&r);
  return render_end(&r, render_url(&r) && render_headers(&r, content_type));
}
