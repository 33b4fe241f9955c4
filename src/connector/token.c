/*
 * token.c - see token.h. An endpoint is believed in little: types, lengths and numbers are checked before anything is kept.
 */
#include "connector/token.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "connector/connector.h"
#include "connector/document.h"
#include "core/mem.h"
#include "core/text.h"

#define TOKEN_BYTES_MAX    12288 /* fits a header */
#define REFRESH_BYTES_MAX  65536
#define RESPONSE_BYTES_MAX 65536
#define LIFE_S_MAX         ((int64_t)10 * 366 * 86400)

static void free_wiped(char *s) {
  if (s) {
    ond_wipe(s, strlen(s));
    ond_free(s);
  }
}

void ond_token_free(OndToken *t) {
  if (t) {
    free_wiped(t->access_token);
    free_wiped(t->refresh_token);
    free_wiped(t->response);
    ond_free(t);
  }
}

/* A member that is a string of 1 to `most` bytes, copied; NULL: absent, null or of another form (*bad). */
static char *text_member(struct json_object *object, const char *name, size_t most, bool *bad) {
  struct json_object *value;

  if (!json_object_object_get_ex(object, name, &value) || !value) {
    return NULL;
  }
  if (!json_object_is_type(value, json_type_string) || json_object_get_string_len(value) == 0 ||
      (size_t)json_object_get_string_len(value) > most || strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value)) {
    *bad = true;
    return NULL;
  }
  return ond_strdup(json_object_get_string(value));
}

/* expires_in: a number of seconds, or text with one. */
static int64_t life_of(struct json_object *object) {
  struct json_object *value;
  OndBuf text;
  double seconds = -1;
  char *end;

  if (!json_object_object_get_ex(object, "expires_in", &value) || !value) {
    return -1;
  }
  ond_buf_init(&text, 32);
  if (!json_object_is_type(value, json_type_boolean) && ond_document_text(value, &text) && text.data) {
    seconds = strtod(text.data, &end);
    seconds = *end ? -1 : seconds;
  }
  ond_buf_free(&text);
  if (!(seconds > 0)) {
    return -1;
  }
  return seconds > (double)LIFE_S_MAX ? LIFE_S_MAX : seconds < 1 ? 1 : (int64_t)seconds;
}

static bool is_secret_member(const char *name) {
  static const char *const NAMES[] = {"access_token", "refresh_token", "id_token", NULL};

  for (int i = 0; NAMES[i]; i++) {
    if (strcmp(name, NAMES[i]) == 0) {
      return true;
    }
  }
  return false;
}

/* What else the answer says, where it is not too much. */
static char *rest_of(struct json_object *object) {
  struct json_object_iterator it = json_object_iter_begin(object);
  struct json_object_iterator end = json_object_iter_end(object);
  OndBuf out;
  char *text;

  ond_buf_init(&out, RESPONSE_BYTES_MAX);
  ond_buf_append_char(&out, '{');
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    const char *name = json_object_iter_peek_name(&it);

    if (is_secret_member(name)) {
      continue;
    }
    ond_buf_append_str(&out, out.len > 1 ? "," : "");
    ond_buf_append_json_string(&out, name, strlen(name));
    ond_buf_append_char(&out, ':');
    if (!ond_document_json(json_object_iter_peek_value(&it), &out)) {
      break;
    }
  }
  text = ond_buf_append_char(&out, '}') ? ond_strndup(out.data, out.len) : ond_strdup("{}");
  ond_wipe(out.data, out.len);
  ond_buf_free(&out);
  return text;
}

static bool fail(OndError *err, const char *problem) {
  ond_error_set(err, "the answer of the token endpoint %s", problem);
  ond_error_hint(err, "Check \"token_url\" of the destination's auth.");
  return false;
}

/* Tokens bound to a key of the client's would need a proof with every request. */
static bool check_type(struct json_object *object, OndError *err) {
  struct json_object *value;
  const char *type = json_object_object_get_ex(object, "token_type", &value) && json_object_is_type(value, json_type_string)
                         ? json_object_get_string(value)
                         : "bearer";

  if (strcasecmp(type, "dpop") == 0 || strcasecmp(type, "mac") == 0) {
    ond_error_set(err, "the token endpoint gives tokens of type \"%.40s\", which are not supported", type);
    ond_error_hint(err, "Register the client for bearer tokens.");
    return false;
  }
  return true;
}

static bool read_token(struct json_object *object, OndToken *t, OndError *err) {
  bool bad = false;

  if (!json_object_is_type(object, json_type_object)) {
    return fail(err, "is not a JSON object");
  }
  t->access_token = text_member(object, "access_token", TOKEN_BYTES_MAX, &bad);
  t->refresh_token = text_member(object, "refresh_token", REFRESH_BYTES_MAX, &bad);
  if (bad) {
    return fail(err, "has a token that is no text or too long");
  }
  if (!t->access_token) {
    return fail(err, "has no \"access_token\"");
  }
  for (const char *p = t->access_token; *p; p++) {
    if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7F) {
      return fail(err, "has an access token with characters that cannot stand in a header");
    }
  }
  t->life_s = life_of(object);
  t->response = rest_of(object);
  return check_type(object, err);
}

OndToken *ond_token_read(const OndHttpResponse *response, OndError *err) {
  OndToken *t = ond_calloc(sizeof(*t));
  struct json_object *object;
  const char *problem;
  bool ok;

  if (!ond_document_parse(response->body.data ? response->body.data : "", response->body.len, &object, &problem)) {
    fail(err, problem);
    ond_token_free(t);
    return NULL;
  }
  ok = read_token(object, t, err);
  json_object_put(object);
  if (!ok) {
    ond_token_free(t);
    return NULL;
  }
  return t;
}

/* --- as it is kept -------------------------------------------------------------------------------------------- */

static void append_member(OndBuf *out, const char *name, const char *value) {
  if (value) {
    ond_buf_appendf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
    ond_buf_append_json_string(out, value, strlen(value));
  }
}

bool ond_token_write(const OndToken *t, OndBuf *out) {
  ond_buf_append_char(out, '{');
  append_member(out, "access_token", t->access_token);
  append_member(out, "refresh_token", t->refresh_token);
  append_member(out, "chain", t->made_of.chain);
  append_member(out, "all", t->made_of.all);
  ond_buf_append_str(out, ",\"response\":");
  ond_buf_append_str(out, t->response ? t->response : "{}");
  return ond_buf_append_char(out, '}');
}

static void copy_fingerprint(struct json_object *object, const char *name, char out[OND_FINGERPRINT_BYTES]) {
  bool bad = false;
  char *text = text_member(object, name, OND_FINGERPRINT_BYTES - 1, &bad);

  snprintf(out, OND_FINGERPRINT_BYTES, "%s", text ? text : "");
  ond_free(text);
}

OndToken *ond_token_parse(const char *text, size_t n) {
  OndToken *t = ond_calloc(sizeof(*t));
  struct json_object *object, *response;
  const char *problem;
  bool bad = false;
  OndBuf rest;

  if (!ond_document_parse(text, n, &object, &problem)) {
    ond_token_free(t);
    return NULL;
  }
  t->access_token = text_member(object, "access_token", TOKEN_BYTES_MAX, &bad);
  t->refresh_token = text_member(object, "refresh_token", REFRESH_BYTES_MAX, &bad);
  t->life_s = -1;
  copy_fingerprint(object, "chain", t->made_of.chain);
  copy_fingerprint(object, "all", t->made_of.all);
  ond_buf_init(&rest, 2 * RESPONSE_BYTES_MAX);
  if (json_object_object_get_ex(object, "response", &response) && ond_document_json(response, &rest)) {
    t->response = ond_strndup(rest.data, rest.len);
  }
  ond_buf_free(&rest);
  json_object_put(object);
  if (bad || !t->access_token) {
    ond_token_free(t);
    return NULL;
  }
  return t;
}

char *ond_token_response_text(const OndToken *t, const char *pointer) {
  OndArena *arena = ond_arena_create();
  struct json_object *object, *value;
  const char *problem;
  OndJsonPtr path;
  OndError ignored;
  char *found = NULL;
  OndBuf text;

  ond_buf_init(&text, RESPONSE_BYTES_MAX);
  if (t->response && ond_jsonptr_parse(arena, pointer, &path, &ignored) && ond_document_parse(t->response, strlen(t->response), &object, &problem)) {
    if (ond_document_at(object, &path, &value) && value && ond_document_text(value, &text) && text.data) {
      found = ond_strdup(text.data);
    }
    json_object_put(object);
  }
  ond_buf_free(&text);
  ond_arena_destroy(arena);
  return found;
}

/* --- refusals ------------------------------------------------------------------------------------------------- */

void ond_token_refusal(const OndHttpResponse *response, OndTokenRefusal *out) {
  struct json_object *object = NULL, *value;
  const char *problem;

  memset(out, 0, sizeof(*out));
  if (ond_document_parse(response->body.data ? response->body.data : "", response->body.len, &object, &problem)) {
    if (json_object_is_type(object, json_type_object) && json_object_object_get_ex(object, "error", &value) &&
        json_object_is_type(value, json_type_string)) {
      snprintf(out->code, sizeof(out->code), "%s", json_object_get_string(value));
      ond_text_clean(out->code);
    }
    if (json_object_is_type(object, json_type_object) && json_object_object_get_ex(object, "error_description", &value) &&
        json_object_is_type(value, json_type_string)) {
      const char *words = json_object_get_string(value);
      size_t n = ond_utf8_cut(words, strlen(words), sizeof(out->words) - 1);

      memcpy(out->words, words, n);
      ond_text_clean(out->words);
    }
    json_object_put(object);
  }
  if (!out->words[0] && !out->code[0]) {
    ond_connector_message(NULL, response, out->words, sizeof(out->words));
  }
}
