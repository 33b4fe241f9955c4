/*
 * message.c - words out of answers: what went wrong, as a person wants to read it.
 *
 * APIs put their words in a few usual places; the table USUAL lists them, best first. Whatever is found is cut, cleaned and never
 * trusted. When a body is no JSON its first line of text counts, without tags: the error page of a proxy has its title there.
 */
#include "connector/message.h"

#include <stdio.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include "connector/internal.h"
#include "core/text.h"

#define DEPTH_MAX    5
#define LIST_MAX     3 /* messages of a list that are shown */
#define TEXT_SCANNED 65536

/* "reason" before "error": CouchDB's error is a word, its reason the sentence. */
static const char *const USUAL[] = {"message", "error_message", "errorMessage", "error_description", "detail", "reason",
                                    "error",   "title",         "msg",          "description",       "errors", "errorMessages",
                                    "details", "Message",       "fault",        "faultstring"};

void ond_message_copy(const char *text, size_t text_n, char *out, size_t n) {
  char clean[OND_MESSAGE_BYTES_MAX + 1];
  size_t length = 0;
  size_t cut = ond_utf8_cut(text, text_n, sizeof(clean) - 1);

  for (size_t i = 0; i < cut; i++) {
    clean[i] = text[i] ? text[i] : ' ';
  }
  clean[cut] = '\0';
  ond_text_clean(clean);
  for (const char *p = clean; *p; p++) {
    if (*p != ' ' || (length > 0 && clean[length - 1] != ' ')) {
      clean[length++] = *p;
    }
  }
  while (length > 0 && clean[length - 1] == ' ') {
    length--;
  }
  length = ond_utf8_cut(clean, length, n - 1);
  memcpy(out, clean, length);
  out[length] = '\0';
}

static bool words(struct json_object *value, int depth, char *out, size_t n);

/* The first few of a list, with "; " between. */
static bool list_words(struct json_object *list, int depth, char *out, size_t n) {
  size_t count = json_object_array_length(list);
  size_t length = 0;
  int shown = 0;

  for (size_t i = 0; i < count && i < 20 && shown < LIST_MAX; i++) {
    size_t at = length > 0 ? length + 2 : 0;

    if (at + 8 >= n || !words(json_object_array_get_idx(list, i), depth + 1, out + at, n - at)) {
      continue;
    }
    if (length > 0) {
      memcpy(out + length, "; ", 2);
    }
    length = strlen(out);
    shown++;
  }
  out[length] = '\0';
  return length > 0;
}

static bool object_words(struct json_object *object, int depth, char *out, size_t n) {
  struct json_object *member;

  for (size_t i = 0; i < sizeof(USUAL) / sizeof(USUAL[0]); i++) {
    if (json_object_object_get_ex(object, USUAL[i], &member) && words(member, depth + 1, out, n)) {
      return true;
    }
  }
  return false;
}

/* Compact JSON, for objects that hold their words in places of their own. */
static bool json_words(struct json_object *value, char *out, size_t n) {
  OndBuf json;

  ond_buf_init(&json, TEXT_SCANNED);
  ond_document_json(value, &json);
  ond_message_copy(json.data ? json.data : "", json.len, out, n);
  ond_buf_free(&json);
  return strlen(out) > 2;
}

static bool words(struct json_object *value, int depth, char *out, size_t n) {
  OndBuf text;

  out[0] = '\0';
  if (depth > DEPTH_MAX || !value) {
    return false;
  }
  switch (json_object_get_type(value)) {
  case json_type_array: return list_words(value, depth, out, n);
  case json_type_object: return object_words(value, depth, out, n) || (depth > 0 && json_words(value, out, n));
  case json_type_boolean: return false;
  default:
    ond_buf_init(&text, OND_DOCUMENT_BYTES_MAX);
    ond_document_text(value, &text);
    ond_message_copy(text.data ? text.data : "", text.len, out, n);
    ond_buf_free(&text);
    return out[0] != '\0';
  }
}

bool ond_message_words(struct json_object *value, char *out, size_t n) {
  return words(value, 0, out, n);
}

/* Where "</name" starts, at or behind p; end when it does not. */
static const char *find_end_tag(const char *p, const char *end, const char *name) {
  size_t n = strlen(name);

  for (; (size_t)(end - p) > n + 2; p++) {
    if (p[0] == '<' && p[1] == '/' && strncasecmp(p + 2, name, n) == 0) {
      return p;
    }
  }
  return end;
}

/* p stands on '<': where the tag ends, with what it hides when it is a script or a style. */
static const char *skip_tag(const char *p, const char *end) {
  static const char *const HIDDEN[] = {"script", "style"};
  const char *close;

  for (size_t i = 0; i < sizeof(HIDDEN) / sizeof(HIDDEN[0]); i++) {
    if ((size_t)(end - p) > strlen(HIDDEN[i]) + 1 && strncasecmp(p + 1, HIDDEN[i], strlen(HIDDEN[i])) == 0) {
      p = find_end_tag(p + 1, end, HIDDEN[i]);
      break;
    }
  }
  close = p < end ? memchr(p, '>', (size_t)(end - p)) : NULL;
  return close ? close + 1 : end;
}

/* The first line that is not blank, tags removed. */
static bool first_line(const char *text, size_t text_n, char *out, size_t n) {
  char line[OND_MESSAGE_BYTES_MAX + 1];
  const char *end = text + (text_n < TEXT_SCANNED ? text_n : TEXT_SCANNED);
  size_t length = 0;

  for (const char *p = text; p < end && length < sizeof(line) - 1;) {
    bool breaks = *p == '\n' || *p == '\r' || *p == '<';

    if (breaks && length > 0 && line[length - 1] != ' ') {
      break;
    }
    if (*p == '<') {
      p = skip_tag(p, end);
      continue;
    }
    /* Leading blanks are not kept, so that length > 0 means that there is text. */
    if (length > 0 || (unsigned char)*p > ' ') {
      line[length++] = *p;
    }
    p++;
  }
  ond_message_copy(line, length, out, n);
  return out[0] != '\0';
}

/* From a body of JSON. */
static bool json_message(const OndOperation *o, const OndHttpResponse *response, char *out, size_t n) {
  struct json_object *document;
  struct json_object *value;
  const char *problem;
  bool found = false;

  if (response->body.len == 0 || !ond_document_parse(response->body.data, response->body.len, &document, &problem)) {
    return false;
  }
  if (o && o->error && ond_document_at(document, o->error, &value)) {
    found = words(value, 1, out, n);
  }
  found = found || ond_message_words(document, out, n);
  json_object_put(document);
  return found;
}

/* A letter or a digit: "{}" says nothing. */
static bool says_something(const char *text) {
  for (; *text; text++) {
    if (isalnum((unsigned char)*text) || (unsigned char)*text >= 0x80) {
      return true;
    }
  }
  return false;
}

void ond_connector_message(const OndOperation *o, const OndHttpResponse *response, char *out, size_t n) {
  if (n == 0) {
    return;
  }
  out[0] = '\0';
  if (response->transfer != OND_TRANSFER_OK && response->error[0]) {
    ond_message_copy(response->error, strlen(response->error), out, n);
    return;
  }
  if (json_message(o, response, out, n)) {
    return;
  }
  if (response->body.len > 0 && first_line(response->body.data, response->body.len, out, n) && says_something(out)) {
    return;
  }
  snprintf(out, n, response->status > 0 ? "HTTP status %d without a message" : "no answer", response->status);
}
