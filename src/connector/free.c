/*
 * free.c - a request that no operation describes: ondatra.request().
 *
 * Its path is joined with the base URL like any other, so it cannot leave the host; constant headers of the connector and the destination go along. The
 * caller's own headers win over them.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

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
  OndScope scope = {.c = c};
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
