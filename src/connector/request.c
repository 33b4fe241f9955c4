/*
 * request.c - everything of a request but its body: path, query and header templates, checked and cut.
 *
 * A path is cut into pieces at the slashes of its literal text, so that a slash in a value can never make a piece of its own and each
 * piece can be looked at as a whole. Names of headers and parameters are literal.
 */
#include "connector/request.h"

#include <string.h>
#include <strings.h>

#define HEADERS_MAX 64
#define QUERY_MAX   64

/* ---- base URL ---- */

bool ond_request_base(OndConnector *c, const char *base_url, OndError *err) {
  OndUrl url;
  size_t n;
  size_t trimmed;

  if (!base_url || !*base_url) {
    ond_error_set(err, "the destination has no base URL");
    ond_error_hint(err, "Give base_url, for example 'https://api.example.com/v1'.");
    return false;
  }
  if (!ond_url_parse(base_url, &url, err)) {
    return false;
  }
  n = strcspn(base_url, "?");
  if (base_url[n] == '?' && base_url[n + 1]) {
    c->base_query = ond_arena_strdup(c->arena, base_url + n + 1);
  }
  for (trimmed = n; trimmed > 0 && base_url[trimmed - 1] == '/'; trimmed--) {
  }
  c->base = ond_arena_strndup(c->arena, base_url, trimmed);
  c->base_slashes = ond_arena_strndup(c->arena, base_url + trimmed, n - trimmed);
  return true;
}

/* ---- path ---- */

static bool check_path_literal(const OndNode *at, OndBytes literal, OndError *err) {
  for (size_t i = 0; i < literal.n; i++) {
    unsigned char c = (unsigned char)literal.p[i];

    if (c <= 0x20 || c >= 0x7F || strchr("#\\\"<>^`{|}", c)) {
      ond_node_fail(at, err, "the path contains a character that cannot stand in a URL");
      ond_error_hint(err, "Write it percent-encoded: %%%02X.", c);
      return false;
    }
  }
  return true;
}

/* Where the parts of a path go while it is cut. */
typedef struct Cut {
  OndArena *arena;
  OndTemplatePart *parts; /* room for all; pieces are runs of it */
  int n;
  OndRequestTemplate *out;
  bool in_query;
} Cut;

static void cut_open(Cut *c) {
  OndTemplate *t = c->in_query ? &c->out->path_query : &c->out->pieces[c->out->n_pieces++];

  t->parts = &c->parts[c->n];
  t->n = 0;
}

static void cut_add(Cut *c, const OndTemplatePart *part) {
  OndTemplate *t = c->in_query ? &c->out->path_query : &c->out->pieces[c->out->n_pieces - 1];

  c->parts[c->n++] = *part;
  t->n++;
}

static void cut_literal(Cut *c, OndBytes literal) {
  size_t start = 0;

  for (size_t i = 0; i <= literal.n; i++) {
    bool border = i < literal.n && !c->in_query && (literal.p[i] == '/' || literal.p[i] == '?');

    if (i < literal.n && !border) {
      continue;
    }
    if (i > start) {
      OndTemplatePart part = {.literal = {ond_arena_strndup(c->arena, literal.p + start, i - start), i - start}, .slot = -1, .index = -1};

      cut_add(c, &part);
    }
    if (border) {
      c->in_query = literal.p[i] == '?';
      cut_open(c);
    }
    start = i + 1;
  }
}

/* A dot needs no encoding; with one, ".." would pass as a piece, or as what a value makes of it. */
static bool check_dots(const OndNode *at, const OndTemplate *piece, OndError *err) {
  for (int i = 0; i < piece->n; i++) {
    OndBytes text = piece->parts[i].literal;

    for (size_t k = 0; text.p && k + 3 <= text.n; k++) {
      if (strncasecmp(text.p + k, "%2e", 3) == 0) {
        ond_node_fail(at, err, "the path contains \"%.3s\"", text.p + k);
        ond_error_hint(err, "Write it as \".\".");
        return false;
      }
    }
  }
  return true;
}

static bool check_pieces(const OndNode *at, const OndRequestTemplate *r, OndError *err) {
  for (int i = 0; i < r->n_pieces; i++) {
    const OndTemplate *piece = &r->pieces[i];
    OndBytes text = piece->n == 1 ? piece->parts[0].literal : (OndBytes){"", 0};

    if (!check_dots(at, piece, err)) {
      return false;
    }
    if (piece->n > 1 || (piece->n == 1 && piece->parts[0].name.p)) {
      continue;
    }
    if (text.n == 0 && i + 1 < r->n_pieces) {
      return ond_node_fail(at, err, "the path contains an empty piece (\"//\")");
    }
    if (text.n > 0 && ond_url_piece_is_unsafe(text.p, text.n)) {
      return ond_node_fail(at, err, "the path contains the piece \"%.*s\"", (int)text.n, text.p);
    }
  }
  return true;
}

static bool parse_path(const OndScope *s, const OndNode *at, OndRequestTemplate *out, OndError *err) {
  OndTemplate whole;
  const char *text;
  size_t slashes = 0;
  Cut cut = {.arena = s->c->arena, .out = out};
  OndScope path_scope = *s;

  if (!ond_node_string(at, &text, err)) {
    return false;
  }
  if (*text && *text != '/') {
    ond_node_fail(at, err, "the path must be empty or start with \"/\"");
    ond_error_hint(err, "It is joined to the destination's base URL.");
    return false;
  }
  if (!ond_template_parse(s->c->arena, text, strlen(text), &whole, err)) {
    return ond_node_place(at, err);
  }
  for (const char *p = text; *p; p++) {
    slashes += *p == '/';
  }
  out->pieces = ond_arena_alloc(s->c->arena, (slashes + 1) * sizeof(*out->pieces));
  cut.parts = ond_arena_alloc(s->c->arena, ((size_t)whole.n + slashes + 2) * sizeof(*cut.parts));
  for (int i = 0; i < whole.n; i++) {
    if (whole.parts[i].name.p) {
      cut_add(&cut, &whole.parts[i]);
    } else if (check_path_literal(at, whole.parts[i].literal, err)) {
      cut_literal(&cut, whole.parts[i].literal);
    } else {
      return false;
    }
  }
  if (!check_pieces(at, out, err)) {
    return false;
  }
  path_scope.path = true;
  for (int i = 0; i < out->n_pieces; i++) {
    if (!ond_reference_resolve(&path_scope, at, &out->pieces[i], err)) {
      return false;
    }
  }
  return ond_reference_resolve(s, at, &out->path_query, err);
}

/* ---- query ---- */

static const char *encode(OndArena *arena, const char *text, const char *keep) {
  OndBuf encoded;
  const char *kept;

  ond_buf_init(&encoded, 3 * strlen(text) + 1);
  for (const char *p = text; *p; p++) {
    if (strchr(keep, *p)) {
      ond_buf_append_char(&encoded, *p);
    } else {
      ond_url_encode(&encoded, p, 1);
    }
  }
  kept = ond_arena_strndup(arena, encoded.data ? encoded.data : "", encoded.len);
  ond_buf_free(&encoded);
  return kept;
}

/* Something of every row: s with the row's scope. */
static bool parse_each_value(const OndScope *s, const OndNode *at, OndTemplate *out, OndError *err) {
  OndScope each = *s;
  const char *text;

  if (!s->o) {
    return ond_node_fail(at, err, "there are no rows to repeat here");
  }
  each.rows = true;
  each.each = true;
  return ond_node_string(at, &text, err) && ond_reference_parse(&each, at, text, out, err);
}

/* ["$each", "{{remote_id}}"] */
static bool parse_repeated(const OndScope *s, const OndNode *at, OndQuery *out, OndError *err) {
  OndNode first = ond_node_element(at, 0);
  OndNode second = ond_node_element(at, 1);
  bool each = json_object_is_type(first.value, json_type_string) && strcmp(json_object_get_string(first.value), "$each") == 0;

  if (json_object_array_length(at->value) != 2 || !each) {
    ond_node_fail(at, err, "a parameter that repeats is [\"$each\", \"{{…}}\"]");
    return false;
  }
  out->kind = OND_QUERY_REPEATED;
  return parse_each_value(s, &second, &out->value, err);
}

/* {"join": ",", "each": "{{remote_id}}"} */
static bool parse_joined(const OndScope *s, const OndNode *at, OndQuery *out, OndError *err) {
  static const char *const VALID[] = {"join", "each", NULL};
  const char *join = ",";
  OndNode each;

  if (!ond_node_object(at, VALID, err) || !ond_member_string(at, "join", &join, err)) {
    return false;
  }
  if (!ond_node_get(at, "each", &each)) {
    return ond_node_missing(at, "each", "what to join of every row: {\"join\": \",\", \"each\": \"{{key}}\"}", err);
  }
  out->kind = OND_QUERY_JOINED;
  out->join = encode(s->c->arena, join, ",;:");
  return parse_each_value(s, &each, &out->value, err);
}

static bool parse_parameter(const OndScope *s, const OndNode *at, OndQuery *out, OndError *err) {
  OndBuf text;
  const char *string;
  bool ok;

  if (strstr(at->member, "{{")) {
    return ond_node_fail(at, err, "names of parameters are literal");
  }
  out->name = encode(s->c->arena, at->member, "");
  switch (json_object_get_type(at->value)) {
  case json_type_array: return parse_repeated(s, at, out, err);
  case json_type_object: return parse_joined(s, at, out, err);
  case json_type_null: return ond_node_fail(at, err, "\"%s\" must be a string, a number or a boolean", at->member);
  case json_type_string: return ond_node_string(at, &string, err) && ond_reference_parse(s, at, string, &out->value, err);
  default:
    ond_buf_init(&text, 1024);
    ok = ond_document_text(at->value, &text);
    out->value = ond_request_literal(s->c->arena, ok ? text.data : "");
    ond_buf_free(&text);
    return ok || ond_node_fail(at, err, "\"%s\" is too long", at->member);
  }
}

static bool parse_query(const OndScope *s, const OndNode *at, OndRequestTemplate *out, OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;
  int n;

  if (!json_object_is_type(at->value, json_type_object)) {
    return ond_node_fail(at, err, "\"query\" must be an object");
  }
  n = json_object_object_length(at->value);
  if (n > QUERY_MAX) {
    return ond_node_fail(at, err, "\"query\" has more than %d parameters", QUERY_MAX);
  }
  out->query = ond_arena_alloc(s->c->arena, (size_t)n * sizeof(*out->query));
  it = json_object_iter_begin(at->value);
  end = json_object_iter_end(at->value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode parameter = {.parent = at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    if (!parse_parameter(s, &parameter, &out->query[out->n_query++], err)) {
      return false;
    }
  }
  return true;
}

bool ond_request_names_rows(const OndRequestTemplate *r) {
  for (int i = 0; i < r->n_query; i++) {
    if (r->query[i].kind != OND_QUERY_ONE) {
      return true;
    }
  }
  return false;
}

/* ---- headers ---- */

static bool is_one_of(const char *name, const char *const *names) {
  for (int i = 0; names[i]; i++) {
    if (strcasecmp(name, names[i]) == 0) {
      return true;
    }
  }
  return false;
}

bool ond_request_header_name(const OndNode *at, const char *name, OndError *err) {
  static const char *const RESERVED[] = {"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive",     "Proxy-Connection",
                                         "TE",   "Trailer",        "Upgrade",           "Expect",     "HTTP2-Settings", NULL};
  size_t n = strspn(name, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

  if (n == 0 || n > 128 || name[n]) {
    ond_node_fail(at, err, "\"%s\" is not a header name", name);
    ond_error_hint(err, "A header name has letters, digits and characters of !#$%%&'*+-.^_`|~.");
    return false;
  }
  if (is_one_of(name, RESERVED)) {
    ond_node_fail(at, err, "the header \"%s\" cannot be set", name);
    ond_error_hint(err, "The transport sets it; leave it out.");
    return false;
  }
  return true;
}

static bool contains(const char *text, const char *piece) {
  size_t n = strlen(piece);

  for (; *text; text++) {
    if (strncasecmp(text, piece, n) == 0) {
      return true;
    }
  }
  return false;
}

/* Whether a header usually carries a credential. */
static bool is_credential(const char *name) {
  static const char *const NAMES[] = {"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", NULL};
  static const char *const PIECES[] = {"api-key",      "apikey",     "api_key", "access-token", "auth-token",
                                       "access_token", "auth_token", "secret",  "password",     NULL};

  if (is_one_of(name, NAMES)) {
    return true;
  }
  for (int i = 0; PIECES[i]; i++) {
    if (contains(name, PIECES[i])) {
      return true;
    }
  }
  return false;
}

/* Whether a credential of the auth stands in it: then the value is no literal. */
static bool names_auth(const OndTemplate *t) {
  for (int i = 0; i < t->n; i++) {
    if (t->parts[i].slot == OND_SLOT_AUTH) {
      return true;
    }
  }
  return false;
}

static bool check_header_name(const OndScope *s, const OndNode *at, const OndTemplate *value, OndError *err) {
  if (!s->own && !s->literal && is_credential(at->member) && !names_auth(value)) {
    ond_node_fail(at, err, "the header \"%s\" carries a credential", at->member);
    ond_error_hint(
        err, "Store it with set_secret and name it in auth: {\"type\": \"header\", \"headers\": {\"%.100s\": {\"secret\": \"name\"}}}.",
        at->member);
    return false;
  }
  if (strcasecmp(at->member, "Content-Type") == 0) {
    ond_node_fail(at, err, "the header \"Content-Type\" is set by the operation's encoding");
    ond_error_hint(err, "Use \"content_type\" of the operation.");
    return false;
  }
  if (strcasecmp(at->member, "Content-Encoding") == 0) {
    ond_node_fail(at, err, "the header \"Content-Encoding\" cannot be set");
    ond_error_hint(err, "Use \"gzip\" of the destination's options.");
    return false;
  }
  return true;
}

static bool check_header_literals(const OndNode *at, const OndTemplate *t, OndError *err) {
  for (int i = 0; i < t->n; i++) {
    for (size_t k = 0; !t->parts[i].name.p && k < t->parts[i].literal.n; k++) {
      unsigned char c = (unsigned char)t->parts[i].literal.p[k];

      if ((c < 0x20 && c != '\t') || c == 0x7F) {
        return ond_node_fail(at, err, "the header \"%s\" contains a control character", at->member);
      }
    }
  }
  return true;
}

static void set_header(int *n, OndHeader *headers, const OndHeader *header) {
  for (int i = 0; i < *n; i++) {
    if (strcasecmp(headers[i].name, header->name) == 0) {
      headers[i] = *header;
      return;
    }
  }
  headers[(*n)++] = *header;
}

static bool parse_header(const OndScope *s, const OndNode *at, const char *text, OndTemplate *out, OndError *err) {
  if (s->literal) {
    *out = ond_request_literal(s->c->arena, text);
    return true;
  }
  return ond_reference_parse(s, at, text, out, err);
}

bool ond_request_headers(const OndScope *s, const OndNode *at, int *n, OndHeader **headers, OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;
  OndHeader *all;
  int more;

  if (!json_object_is_type(at->value, json_type_object)) {
    return ond_node_fail(at, err, "\"headers\" must be an object");
  }
  more = json_object_object_length(at->value);
  if (*n + more > HEADERS_MAX) {
    return ond_node_fail(at, err, "\"headers\" has more than %d headers", HEADERS_MAX);
  }
  all = ond_arena_alloc(s->c->arena, (size_t)(*n + more) * sizeof(*all));
  if (*n > 0) {
    memcpy(all, *headers, (size_t)*n * sizeof(*all));
  }
  it = json_object_iter_begin(at->value);
  end = json_object_iter_end(at->value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode node = {.parent = at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};
    OndHeader header = {.name = ond_arena_strdup(s->c->arena, node.member)};
    const char *text;

    if (!ond_request_header_name(&node, node.member, err) || !ond_node_string(&node, &text, err) ||
        !parse_header(s, &node, text, &header.value, err) || !check_header_name(s, &node, &header.value, err) ||
        !check_header_literals(&node, &header.value, err)) {
      return false;
    }
    set_header(n, all, &header);
  }
  *headers = all;
  return true;
}

OndTemplate ond_request_literal(OndArena *arena, const char *text) {
  OndTemplate t = {.n = 1, .parts = ond_arena_alloc(arena, sizeof(OndTemplatePart))};

  t.parts[0] = (OndTemplatePart){.literal = {ond_arena_strdup(arena, text), strlen(text)}, .slot = -1, .index = -1};
  return t;
}

void ond_request_default_header(OndArena *arena, OndRequestTemplate *r, const char *name, OndTemplate value) {
  OndHeader *all;

  for (int i = 0; i < r->n_headers; i++) {
    if (strcasecmp(r->headers[i].name, name) == 0) {
      return;
    }
  }
  all = ond_arena_alloc(arena, (size_t)(r->n_headers + 1) * sizeof(*all));
  if (r->n_headers > 0) {
    memcpy(all, r->headers, (size_t)r->n_headers * sizeof(*all));
  }
  all[r->n_headers++] = (OndHeader){.name = name, .value = value};
  r->headers = all;
}

/* Headers of the destination come last: its own values win over the connector's. */
static void add_overrides(OndConnector *c, OndRequestTemplate *r) {
  OndHeader *all;

  if (c->n_overrides == 0) {
    return;
  }
  all = ond_arena_alloc(c->arena, (size_t)(r->n_headers + c->n_overrides) * sizeof(*all));
  if (r->n_headers > 0) {
    memcpy(all, r->headers, (size_t)r->n_headers * sizeof(*all));
  }
  for (int i = 0; i < c->n_overrides; i++) {
    set_header(&r->n_headers, all, &c->overrides[i]);
  }
  r->headers = all;
}

/* "url" of a step: a URL that an earlier answer named, or one at a declared host. Whose it is shows when the request is rendered. */
static bool parse_url(const OndScope *s, const OndNode *operation, const OndNode *at, OndRequestTemplate *out, OndError *err) {
  OndScope path_scope = *s;
  OndNode path;
  OndBytes first;
  const char *text;

  path_scope.path = true;
  out->absolute = true;
  if (ond_node_get(operation, "path", &path)) {
    return ond_node_fail(operation, err, "a request has either \"path\" or \"url\"");
  }
  if (!ond_node_string(at, &text, err) || !ond_reference_parse(&path_scope, at, text, &out->url, err)) {
    return false;
  }
  first = out->url.n > 0 ? out->url.parts[0].literal : OND_BYTES_NONE;
  if (out->url.n == 0 || (first.p && strncmp(first.p, "https://", 8) != 0 && strncmp(first.p, "http://", 7) != 0)) {
    ond_node_fail(at, err, "\"url\" must be a whole URL");
    ond_error_hint(err, "For example \"{{job.upload_url}}\"; what is below the base URL is a \"path\".");
    return false;
  }
  for (int i = 0; i < out->url.n; i++) {
    if (!out->url.parts[i].name.p && !check_path_literal(at, out->url.parts[i].literal, err)) {
      return false;
    }
  }
  return true;
}

static bool parse_place(const OndScope *s, const OndNode *operation, OndRequestTemplate *out, OndError *err) {
  OndNode member;

  if (s->o && (s->o->is_step || s->o->kind == OND_KIND_LIST) && ond_node_get(operation, "url", &member)) {
    return parse_url(s, operation, &member, out, err);
  }
  return !ond_node_get(operation, "path", &member) || parse_path(s, &member, out, err);
}

/* What goes along to a host that gets no credentials: only what the step itself says. */
static bool parse_own_headers(const OndScope *s, const OndNode *operation, OndRequestTemplate *out, OndError *err) {
  OndNode member;

  if (!out->absolute || !ond_node_get(operation, "headers", &member)) {
    return true;
  }
  if (!ond_request_headers(s, &member, &out->n_own_headers, &out->own_headers, err)) {
    return false;
  }
  for (int i = 0; i < out->n_own_headers; i++) {
    if (names_auth(&out->own_headers[i].value)) {
      return ond_node_fail(&member, err, "credentials cannot stand in a step with a \"url\": an answer says where it goes");
    }
  }
  return true;
}

bool ond_request_parse(const OndScope *s, const OndNode *operation, OndRequestTemplate *out, OndError *err) {
  OndNode member;

  if (!parse_place(s, operation, out, err) || !parse_own_headers(s, operation, out, err)) {
    return false;
  }
  if (ond_node_get(operation, "query", &member) && !parse_query(s, &member, out, err)) {
    return false;
  }
  out->n_headers = s->c->n_headers;
  out->headers = s->c->headers;
  if (ond_node_get(operation, "headers", &member) && !ond_request_headers(s, &member, &out->n_headers, &out->headers, err)) {
    return false;
  }
  add_overrides(s->c, out);
  ond_request_default_header(s->c->arena, out, "Accept", ond_request_literal(s->c->arena, "application/json"));
  return true;
}
