/*
 * free.c - requests that no template describes: those of ondatra.request(), and those that a function of the sync's owner makes of rows (render).
 *
 * Its path is joined with the base URL like any other, so it cannot leave the host; constant headers of the connector and the destination go along. The
 * caller's own headers win over them.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "connector/members.h"
#include "connector/operation.h"
#include "connector/request.h"

#define BODY_BYTES_MAX OND_BODY_BYTES_MAX

/* Operations have "content_type"; here it is a header like others. Taken out of the object; NULL: not given. */
static char *take_content_type(struct json_object *headers) {
  char *type = NULL;

  json_object_object_foreach(headers, name, value) {
    if (strcasecmp(name, "Content-Type") == 0 && json_object_is_type(value, json_type_string)) {
      type = ond_strdup(json_object_get_string(value));
      json_object_object_del(headers, name);
      break;
    }
  }
  return type;
}

static bool parse_headers(OndBytes headers, struct json_object *request, char **content_type, OndError *err) {
  struct json_object *object = NULL;
  const char *problem;

  if (!headers.p) {
    return true;
  }
  if (!ond_document_parse(headers.p, headers.n, &object, &problem) || !json_object_is_type(object, json_type_object)) {
    json_object_put(object);
    ond_error_set(err, "headers must be a JSON object of texts");
    ond_error_hint(err, "Use a form such as {\"X-Request-Source\": \"postgres\"}.");
    return false;
  }
  *content_type = take_content_type(object);
  json_object_object_add(request, "headers", object);
  return true;
}

/* Dot segments would name another resource than the path seems to. */
static bool check_path(const char *path, OndError *err) {
  const char *p = path;

  if (*path && *path != '/') {
    ond_error_set(err, "the path must start with a slash");
    ond_error_hint(err, "It is joined with the destination's base URL: '/contacts/1?fields=email'.");
    return false;
  }
  while (*p && *p != '?') {
    size_t n;

    p++;
    n = strcspn(p, "/?");
    if ((n == 1 && p[0] == '.') || (n == 2 && strncmp(p, "..", 2) == 0)) {
      ond_error_set(err, "the path contains a \"%.*s\" piece", (int)n, p);
      return false;
    }
    p += n;
  }
  return true;
}

/* A JSON body; a text under another media type goes as it is. */
static bool add_body(OndHttpRequest *out, OndBytes body, const char *given, OndError *err) {
  const char *type = given ? given : "application/json";
  struct json_object *value;
  const char *problem;
  bool ok = true;

  if (!body.p) {
    return true;
  }
  ond_buf_init(&out->body, BODY_BYTES_MAX);
  if (!ond_http_request_header(out, "Content-Type", type, strlen(type), err)) {
    return false;
  }
  if (strstr(type, "json") || body.p[0] != '"') {
    ok = ond_buf_append_bytes(&out->body, body);
  } else if (ond_document_parse(body.p, body.n, &value, &problem)) {
    ok = ond_document_text(value, &out->body);
    json_object_put(value);
  }
  if (!ok) {
    ond_error_set(err, "the body is too large");
  }
  return ok;
}

bool ond_connector_render_free(OndConnector *c, const char *method, const char *path, OndBytes headers, OndBytes body, OndHttpRequest *out, OndError *err) {
  static const char *const METHODS[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", NULL};
  struct json_object *request = json_object_new_object();
  OndRequestTemplate saved = c->check;
  OndScope scope = {.c = c, .own = true};
  OndNode at = ond_node_root(request);
  char *content_type = NULL;
  bool ok;

  memset(&c->check, 0, sizeof(c->check));
  for (int i = 0; METHODS[i]; i++) {
    if (strcasecmp(METHODS[i], method) == 0) {
      c->check.method = METHODS[i];
    }
  }
  json_object_object_add(request, "path", json_object_new_string(path));
  if (!c->check.method) {
    char names[80];

    ond_error_set(err, "unknown method \"%.40s\"", method);
    ond_names_join(METHODS, names, sizeof(names));
    ond_error_hint(err, "Valid methods are %s.", names);
    ok = false;
  } else {
    ok = check_path(path, err) && parse_headers(headers, request, &content_type, err) && ond_request_parse(&scope, &at, &c->check, err) &&
         ond_connector_render_check(c, out, err);
  }
  if (ok && !add_body(out, body, content_type, err)) {
    ond_http_request_free(out);
    ond_http_request_init(out);
    ok = false;
  }
  c->check = saved;
  ond_free(content_type);
  json_object_put(request);
  return ok;
}

/* ---- render ---- */

/* A name or value of a path or query, encoded. */
static bool append_encoded(const OndNode *at, OndBuf *out, OndError *err) {
  OndBuf text;
  bool ok;

  ond_buf_init(&text, OND_URL_BYTES_MAX);
  ok = ond_document_text(at->value, &text);
  if (!ok) {
    ond_node_fail(at, err, text.overflow ? "it is too long for a URL" : "it must be a text, a number or a boolean");
  } else if (!ond_url_encode(out, text.data ? text.data : "", text.len)) {
    ok = ond_node_fail(at, err, "the URL is longer than %zu bytes", out->bytes_max);
  }
  ond_buf_free(&text);
  return ok;
}

/* ["contacts", "a/b"] -> /contacts/a%2Fb */
static bool append_pieces(const OndNode *at, OndBuf *out, OndError *err) {
  size_t n;

  if (!ond_node_array(at, &n, err)) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    OndNode piece = ond_node_element(at, i);
    size_t start = out->len + 1;

    if (!ond_buf_append_char(out, '/') || !append_encoded(&piece, out, err)) {
      return false;
    }
    if (ond_url_piece_is_unsafe(out->data + start, out->len - start)) {
      return ond_node_fail(&piece, err, "a piece of the path is %s", out->len == start ? "empty" : out->len == start + 1 ? "\".\"" : "\"..\"");
    }
  }
  return true;
}

/* As it is; braces are not those of a template. */
static bool append_path(const OndNode *at, OndBuf *out, OndError *err) {
  const char *text;

  if (json_object_is_type(at->value, json_type_array)) {
    return append_pieces(at, out, err);
  }
  if (!json_object_is_type(at->value, json_type_string)) {
    return ond_node_fail(at, err, "the path must be a text, or a list of its pieces");
  }
  if (!ond_node_string(at, &text, err)) {
    return false;
  }
  if (*text && *text != '/') {
    ond_node_fail(at, err, "the path must start with a slash");
    ond_error_hint(err, "It is joined with the destination's base URL; a host cannot be given.");
    return false;
  }
  for (; *text; text++) {
    if (!((*text == '{' || *text == '}') ? ond_url_encode(out, text, 1) : ond_buf_append_char(out, *text))) {
      return ond_node_fail(at, err, "the URL is longer than %zu bytes", out->bytes_max);
    }
  }
  return true;
}

static bool append_parameter(const OndNode *at, OndBuf *out, OndError *err) {
  char separator = out->data && memchr(out->data, '?', out->len) ? '&' : '?';

  return ond_buf_append_char(out, separator) && ond_url_encode(out, at->member ? at->member : at->parent->member, strlen(at->member ? at->member : at->parent->member)) &&
         ond_buf_append_char(out, '=') && append_encoded(at, out, err);
}

static bool append_script_query(const OndNode *at, OndBuf *out, OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;

  if (!json_object_is_type(at->value, json_type_object)) {
    return ond_node_fail(at, err, "\"query\" must be an object");
  }
  it = json_object_iter_begin(at->value);
  end = json_object_iter_end(at->value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode node = {.parent = at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};
    size_t n = json_object_is_type(node.value, json_type_array) ? json_object_array_length(node.value) : 0;

    for (size_t i = 0; i < n; i++) {
      OndNode element = ond_node_element(&node, i);

      if (!append_parameter(&element, out, err)) {
        return false;
      }
    }
    if (!json_object_is_type(node.value, json_type_array) && !append_parameter(&node, out, err)) {
      return false;
    }
  }
  return true;
}

static bool read_method(const OndNode *at, const OndOperation *o, const char **method, OndError *err) {
  static const char *const METHODS[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", NULL};
  OndNode node;
  int number;

  *method = o->request.method;
  if (!ond_node_get(at, "method", &node)) {
    return true;
  }
  if (!ond_node_word(&node, METHODS, &number, err)) {
    return false;
  }
  *method = METHODS[number];
  return true;
}

/* Path and query, as the template of a request that has nothing to be filled in. */
static bool read_place(OndScope *scope, const OndNode *at, OndRequestTemplate *t, OndError *err) {
  struct json_object *place = json_object_new_object();
  OndNode root = ond_node_root(place);
  OndNode node;
  OndBuf path;
  bool ok;

  ond_buf_init(&path, OND_URL_BYTES_MAX);
  ok = (!ond_node_get(at, "path", &node) || append_path(&node, &path, err)) && (!ond_node_get(at, "query", &node) || append_script_query(&node, &path, err));
  if (ok && path.len > 0 && path.data[0] == '/') {
    json_object_object_add(place, "path", json_object_new_string_len(path.data, (int)path.len));
    ok = check_path(path.data, err);
  }
  ok = ok && ond_request_parse(scope, &root, t, err);
  if (ok && path.len > 1 && path.data[0] == '?') {
    t->path_query = ond_request_literal(scope->c->arena, path.data + 1); /* of the base URL itself */
  }
  ond_buf_free(&path);
  json_object_put(place);
  return ok;
}

static bool read_headers(OndScope *scope, const OndNode *at, const OndOperation *o, OndRequestTemplate *t, char **content_type, OndError *err) {
  OndNode node;

  t->n_headers = o->request.n_headers;
  t->headers = o->request.headers;
  if (!ond_node_get(at, "headers", &node)) {
    return true;
  }
  if (json_object_is_type(node.value, json_type_object)) {
    *content_type = take_content_type(node.value);
  }
  return ond_request_headers(scope, &node, &t->n_headers, &t->headers, err);
}

/* application/json, application/vnd.api+json; charset=utf-8 */
static bool is_json_type(const char *type) {
  size_t n = strcspn(type, "; ");

  return (n == 16 && strncasecmp(type, "application/json", n) == 0) || (n > 5 && strncasecmp(type + n - 5, "+json", 5) == 0);
}

/* The member's bytes as they are: numbers stay digit for digit. */
static bool add_script_body(const OndNode *at, OndBytes description, const char *type, OndHttpRequest *out, OndError *err) {
  OndMembers members;
  OndMember member;
  OndNode node;
  bool ok = true;

  if (!ond_node_get(at, "body", &node)) {
    return true;
  }
  ond_buf_init(&out->body, OND_BODY_BYTES_MAX);
  if (json_object_is_type(node.value, json_type_string) && !is_json_type(type)) {
    ok = ond_document_text(node.value, &out->body);
    return ok || ond_node_fail(&node, err, "the body is too large");
  }
  ond_members_begin(&members, description);
  while (ok && ond_members_next(&members, &member)) {
    if (ond_member_is(&member, OND_BYTES_LIT("body"))) {
      ok = ond_json_compact(member.value, &out->body);
    }
  }
  return ok || ond_node_fail(&node, err, "the body is too large");
}

static bool has_body(const OndNode *at) {
  OndNode node;

  return ond_node_get(at, "body", &node);
}

static bool render_described(OndConnector *c, const OndOperation *o, const OndRow *const *rows, int n, const OndRenderContext *context, const OndNode *at,
                             OndBytes description, OndHttpRequest *out, OndError *err) {
  static const char *const MEMBERS[] = {"method", "path", "query", "headers", "body", NULL};
  OndScope scope = {.c = c, .literal = true};
  OndRequestTemplate t = {0};
  char *given = NULL;
  const char *type;
  bool ok = ond_node_object(at, MEMBERS, err) && read_method(at, o, &t.method, err) && read_place(&scope, at, &t, err) && read_headers(&scope, at, o, &t, &given, err);

  type = given ? given : o->content_type ? o->content_type : "application/json";
  ok = ok && ond_request_render(c, o, &t, rows, n, context, has_body(at) ? type : NULL, out, err);
  if (ok && !add_script_body(at, description, type, out, err)) {
    ond_http_request_free(out);
    ond_http_request_init(out);
    ok = false;
  }
  if (ok && o->info.batch_bytes > 0 && out->body.len > (size_t)o->info.batch_bytes) {
    ok = ond_node_fail(at, err, "the request body is larger than the operation allows");
  }
  if (ok) {
    out->gzip = c->gzip && out->body.data && out->body.len >= c->gzip_bytes_min;
    snprintf(out->id, sizeof(out->id), "%s", context->idempotency_key);
  }
  ond_free(given);
  return ok;
}

bool ond_connector_render_script(OndConnector *c, const OndOperation *o, const OndRow *const *rows, int n, const OndRenderContext *context, OndBytes description,
                                 OndHttpRequest *out, OndError *err) {
  OndArena *arena = c->arena;
  struct json_object *document;
  const char *problem;
  OndNode root;
  bool ok;

  ond_http_request_init(out);
  if (!ond_document_parse(description.p, description.n, &document, &problem)) {
    ond_error_set(err, "the request %s", problem);
    return false;
  }
  c->arena = ond_arena_create(); /* what is compiled here is for one request */
  root = ond_node_root(document);
  ok = render_described(c, o, rows, n, context, &root, description, out, err);
  ond_arena_destroy(c->arena);
  c->arena = arena;
  json_object_put(document);
  return ok;
}
