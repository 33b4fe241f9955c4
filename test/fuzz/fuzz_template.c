/*
 * fuzz_template.c - any template, and any value through every filter.
 *
 * A template's parts written out again mean the same; nothing of the text is lost. What a filter makes is checked by its inverse or by
 * OpenSSL; a full buffer is never passed and keeps what it had.
 *
 * Input: first line the template, the rest the value.
 */
#include <openssl/evp.h>
#include "core/filter.h"
#include "core/template.h"
#include "fuzz.h"

/* The template as text: every name in quotes, so that it needs no other rule. */
static void write_out(const OndTemplate *t, OndBuf *out) {
  for (int i = 0; i < t->n; i++) {
    const OndTemplatePart *part = &t->parts[i];

    if (!part->name.p) {
      MUST(part->literal.p && part->literal.n > 0);
      ond_buf_append_bytes(out, part->literal);
      continue;
    }
    MUST(part->name.n > 0 && part->n_filters >= 0 && part->n_filters <= OND_FILTERS_MAX);
    ond_buf_append_str(out, "{{\"");
    for (size_t k = 0; k < part->name.n; k++) {
      ond_buf_append_str(out, part->name.p[k] == '"' ? "\"" : "");
      ond_buf_append_char(out, part->name.p[k]);
    }
    ond_buf_append_char(out, '"');
    for (int k = 0; k < part->n_filters; k++) {
      ond_buf_appendf(out, " | %s", ond_filter_name(part->filters[k]));
    }
    ond_buf_append_str(out, "}}");
  }
}

static void check_same(const OndTemplate *a, const OndTemplate *b) {
  MUST(a->n == b->n);
  for (int i = 0; i < a->n; i++) {
    const OndTemplatePart *p = &a->parts[i];
    const OndTemplatePart *q = &b->parts[i];

    MUST(p->literal.n == q->literal.n && p->name.n == q->name.n && p->n_filters == q->n_filters);
    MUST(p->literal.n == 0 || memcmp(p->literal.p, q->literal.p, p->literal.n) == 0);
    MUST(p->name.n == 0 || memcmp(p->name.p, q->name.p, p->name.n) == 0);
    MUST(memcmp(p->filters, q->filters, sizeof(p->filters[0]) * (size_t)p->n_filters) == 0);
  }
}

static void check_template(const char *text, size_t n) {
  OndArena *arena = ond_arena_create();
  OndError err = {0};
  OndTemplate first;
  OndTemplate second;
  OndBuf out;
  bool literal = n < 2;

  ond_buf_init(&out, 1 << 22);
  for (size_t i = 0; i + 1 < n && !literal; i++) {
    if (text[i] == '{' && text[i + 1] == '{') {
      break;
    }
    literal = i + 2 == n;
  }
  if (ond_template_parse(arena, text, n, &first, &err)) {
    MUST(ond_template_is_literal(&first) == literal);
    write_out(&first, &out);
    MUST(!literal || (out.len == n && (n == 0 || memcmp(out.data, text, n) == 0)));
    /* A literal that ends in "{" would join what follows when it is written out. */
    if (ond_template_parse(arena, out.data ? out.data : "", out.len, &second, &err) && second.n == first.n) {
      check_same(&first, &second);
    }
  } else {
    MUST(!literal);
    fuzz_check_error(&err);
  }
  ond_buf_free(&out);
  ond_arena_destroy(arena);
}

/* --- filters ---------------------------------------------------------------------------------------------- */

static void check_digest(const EVP_MD *kind, const char *value, size_t n, const OndBuf *out) {
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int hash_n;
  char hex[3];

  MUST(EVP_Digest(value, n, hash, &hash_n, kind, NULL) && out->len == 2 * hash_n);
  for (unsigned int i = 0; i < hash_n; i++) {
    snprintf(hex, sizeof(hex), "%02x", hash[i]);
    MUST(memcmp(out->data + 2 * i, hex, 2) == 0);
  }
}

static void check_base64(const char *value, size_t n, const OndBuf *out) {
  unsigned char *back = malloc(out->len + 1);

  MUST(out->len == (n + 2) / 3 * 4);
  MUST(out->len == 0 || EVP_DecodeBlock(back, (const unsigned char *)out->data, (int)out->len) >= (int)n);
  MUST(n == 0 || memcmp(back, value, n) == 0);
  free(back);
}

static void check_json(const char *value, size_t n, const OndBuf *out) {
  struct json_object *parsed;

  MUST(fuzz_json(out->data, out->len, &parsed) && json_object_is_type(parsed, json_type_string));
  MUST((size_t)json_object_get_string_len(parsed) == n && memcmp(json_object_get_string(parsed), value, n) == 0);
  json_object_put(parsed);
}

/* What one filter made, another one turns back. */
static void check_time(OndFilter back, const OndBuf *out) {
  OndBuf there;
  OndBuf again;
  OndError err = {0};
  bool ok;

  ond_buf_init(&there, 1000);
  ond_buf_init(&again, 1000);
  ok = ond_filter_apply(back, out->data, out->len, &there, &err);
  MUST(ok || back == OND_FILTER_ISO); /* a zone can push an epoch out of the years that iso knows */
  if (ok) {
    MUST(ond_filter_apply(back == OND_FILTER_ISO ? OND_FILTER_EPOCH : OND_FILTER_ISO, there.data, there.len, &again, &err));
    MUST(again.len == out->len && memcmp(again.data, out->data, out->len) == 0);
  }
  ond_buf_free(&there);
  ond_buf_free(&again);
}

static void check_case(const char *value, size_t n, const OndBuf *out, char first, char last, int shift) {
  MUST(out->len == n);
  for (size_t i = 0; i < n; i++) {
    MUST(out->data[i] == (value[i] >= first && value[i] <= last ? (char)(value[i] + shift) : value[i]));
  }
}

static void check_filtered(OndFilter filter, const char *value, size_t n, const OndBuf *out) {
  switch (filter) {
  case OND_FILTER_LOWER: check_case(value, n, out, 'A', 'Z', 32); break;
  case OND_FILTER_UPPER: check_case(value, n, out, 'a', 'z', -32); break;
  case OND_FILTER_TRIM:
    MUST(out->len <= n && (out->len == 0 || memmem(value, n, out->data, out->len)));
    MUST(out->len == 0 || (!strchr(" \t\n\v\f\r", out->data[0]) && !strchr(" \t\n\v\f\r", out->data[out->len - 1])) || !out->data[0] ||
         !out->data[out->len - 1]);
    break;
  case OND_FILTER_MD5: check_digest(EVP_md5(), value, n, out); break;
  case OND_FILTER_SHA256: check_digest(EVP_sha256(), value, n, out); break;
  case OND_FILTER_BASE64: check_base64(value, n, out); break;
  case OND_FILTER_JSON: check_json(value, n, out); break;
  case OND_FILTER_EPOCH: check_time(OND_FILTER_ISO, out); break;
  case OND_FILTER_ISO: check_time(OND_FILTER_EPOCH, out); break;
  case OND_FILTER_TEXT: MUST(out->len == n && (n == 0 || memcmp(out->data, value, n) == 0)); break;
  }
}

/* The same through a template part, into a buffer that is as large as the result or one byte less. */
static void check_room(OndFilter filter, const char *value, size_t n, size_t result_n) {
  OndTemplatePart part = {.n_filters = 1, .filters = {filter}};

  for (size_t less = 0; less <= 1 && less <= result_n; less++) {
    OndError err = {0};
    OndBuf out;

    ond_buf_init(&out, 2 + result_n - less);
    ond_buf_append_str(&out, "ab");
    MUST(ond_template_filter(&part, value, n, &out, &err) == (less == 0));
    MUST(out.len == (less == 0 ? 2 + result_n : 2) && memcmp(out.data, "ab", 2) == 0 && out.data[out.len] == '\0');
    if (less > 0) {
      fuzz_check_error(&err);
    }
    ond_buf_free(&out);
  }
}

static void check_filter(OndFilter filter, const char *value, size_t n) {
  OndError err = {0};
  OndBuf out;
  OndFilter found;

  MUST(ond_filter_find(ond_filter_name(filter), strlen(ond_filter_name(filter)), &found) && found == filter);
  ond_buf_init(&out, 1 << 22);
  if (ond_filter_apply(filter, value, n, &out, &err)) {
    MUST(out.data && out.data[out.len] == '\0');
    check_filtered(filter, value, n, &out);
    check_room(filter, value, n, out.len);
  } else {
    MUST(filter == OND_FILTER_JSON ? !ond_utf8_valid(value, n) : filter == OND_FILTER_EPOCH || filter == OND_FILTER_ISO);
    fuzz_check_error(&err);
  }
  ond_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  size_t text_n;
  size_t value_n;
  char *text = fuzz_line(&f, &text_n);
  char *value = fuzz_rest(&f, &value_n);

  check_template(text, text_n);
  for (int filter = OND_FILTER_LOWER; filter <= OND_FILTER_TEXT; filter++) {
    check_filter((OndFilter)filter, value, value_n);
  }
  free(text);
  free(value);
  return 0;
}
