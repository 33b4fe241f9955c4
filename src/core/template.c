/*
 * template.c - text with {{name|filter}} in it, cut into parts once.
 *
 * A reader walks the text once: literal, reference, literal, ... Quotes matter only at the start of a name. Values are never
 * looked at again after they were put in, so a value that contains "{{" is just text. Filters run left to
 * right; between two of them the value lives in a scratch buffer that has a cap of its own.
 *
 * Does not know what names mean: the owner of a template resolves them into slot and index.
 */
#include "core/template.h"

#include <stdint.h>
#include <string.h>
#include "core/filter.h"

#define PARTS_MAX 1000

typedef struct Reader {
  OndArena *arena;
  const char *start;
  const char *p;
  const char *end;
  OndError *err;
} Reader;

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(Reader *r) {
  while (r->p < r->end && is_blank(*r->p)) {
    r->p++;
  }
}

static bool looking_at(const Reader *r, const char *two) {
  return r->end - r->p >= 2 && memcmp(r->p, two, 2) == 0;
}

static OndBytes keep(Reader *r, const char *s, size_t n) {
  return (OndBytes){ond_arena_strndup(r->arena, s, n), n};
}

/* Text from `from` for messages. */
static void show_place(Reader *r, const char *from) {
  size_t n = (size_t)(r->end - from);

  ond_error_detail(r->err, "At byte %zu: \"%.*s\".", (size_t)(from - r->start) + 1, (int)(n < 60 ? n : 60), from);
}

static bool fail_unclosed(Reader *r, const char *open) {
  ond_error_set(r->err, "template has \"{{\" without \"}}\"");
  show_place(r, open);
  return false;
}

static bool fail_name(Reader *r, const char *open) {
  ond_error_set(r->err, "template has a reference without a name");
  show_place(r, open);
  ond_error_hint(r->err, "Write {{name}} or {{\"odd name\"}}.");
  return false;
}

/* Something stands where only "|" or "}}" may. */
static bool fail_unexpected(Reader *r, const char *open) {
  if (r->p >= r->end) {
    return fail_unclosed(r, open);
  }
  ond_error_set(r->err, "template has an unexpected character in a reference");
  show_place(r, r->p);
  ond_error_hint(r->err, "Write {{name}}, {{name|filter}} or, for a name with odd characters, {{\"odd name\"}}.");
  return false;
}

/* A run of characters other than { } |, blanks at its end taken off; may be empty. */
static OndBytes read_word(Reader *r) {
  const char *from = r->p;
  const char *to;

  while (r->p < r->end && *r->p != '{' && *r->p != '}' && *r->p != '|') {
    r->p++;
  }
  for (to = r->p; to > from && is_blank(to[-1]); to--) {
  }
  return (OndBytes){from, (size_t)(to - from)};
}

/* The reader stands on the opening quote; false when there is no closing one. "" inside means ". */
static bool read_quoted(Reader *r, OndBytes *out) {
  const char *from = ++r->p;
  char *copy;
  size_t n = 0;

  while (r->p < r->end && (*r->p != '"' || looking_at(r, "\"\""))) {
    r->p += *r->p == '"' ? 2 : 1;
  }
  if (r->p >= r->end) {
    return false;
  }
  copy = ond_arena_alloc(r->arena, (size_t)(r->p - from) + 1);
  for (const char *p = from; p < r->p; p++) {
    copy[n++] = *p;
    p += *p == '"'; /* the second of a pair */
  }
  *out = (OndBytes){copy, n};
  r->p++;
  return true;
}

static bool read_name(Reader *r, const char *open, OndTemplatePart *part) {
  skip_blanks(r);
  if (r->p < r->end && *r->p == '"') {
    part->quoted = true;
    if (!read_quoted(r, &part->name)) {
      return fail_unclosed(r, open);
    }
    skip_blanks(r);
  } else {
    OndBytes word = read_word(r);

    part->name = keep(r, word.p, word.n);
  }
  if (r->p == r->end) {
    return fail_unclosed(r, open);
  }
  return part->name.n > 0 || fail_name(r, open);
}

/* The reader stands behind a "|". */
static bool read_filter(Reader *r, const char *open, OndTemplatePart *part) {
  OndBytes word;
  OndFilter filter;

  skip_blanks(r);
  word = read_word(r);
  if (r->p == r->end) {
    return fail_unclosed(r, open);
  }
  if (!ond_filter_find(word.p, word.n, &filter)) {
    ond_error_set(r->err, "template names an unknown filter \"%.*s\"", (int)(word.n < 100 ? word.n : 100), word.p);
    ond_error_hint(r->err, "Filters are %s.", ond_filter_names());
    return false;
  }
  if (part->n_filters == OND_FILTERS_MAX) {
    ond_error_set(r->err, "template has more than %d filters on one name", OND_FILTERS_MAX);
    show_place(r, open);
    return false;
  }
  part->filters[part->n_filters++] = filter;
  return true;
}

/* The reader stands on "{{". */
static bool read_reference(Reader *r, OndTemplatePart *part) {
  const char *open = r->p;

  r->p += 2;
  if (!read_name(r, open, part)) {
    return false;
  }
  while (r->p < r->end && *r->p == '|') {
    r->p++;
    if (!read_filter(r, open, part)) {
      return false;
    }
  }
  if (!looking_at(r, "}}")) {
    return fail_unexpected(r, open);
  }
  r->p += 2;
  return true;
}

static void read_literal(Reader *r, OndTemplatePart *part) {
  const char *from = r->p;

  while (r->p < r->end && !looking_at(r, "{{")) {
    r->p++;
  }
  part->literal = keep(r, from, (size_t)(r->p - from));
}

/* No text has more parts than this: each "{{" is one, with a literal around it. */
static size_t parts_bound(const char *text, size_t n) {
  size_t count = 1;

  for (size_t i = 0; i + 1 < n && count < PARTS_MAX; i++) {
    count += text[i] == '{' && text[i + 1] == '{' ? 2 : 0;
  }
  return count < PARTS_MAX ? count : PARTS_MAX;
}

static bool read_parts(Reader *r, OndTemplate *out) {
  while (r->p < r->end) {
    OndTemplatePart *part = &out->parts[out->n];

    if (out->n == PARTS_MAX) {
      ond_error_set(r->err, "template has more than %d parts", PARTS_MAX);
      return false;
    }
    part->slot = -1;
    part->index = -1;
    if (!looking_at(r, "{{")) {
      read_literal(r, part);
    } else if (!read_reference(r, part)) {
      return false;
    }
    out->n++;
  }
  return true;
}

bool ond_template_parse(OndArena *arena, const char *text, size_t n, OndTemplate *out, OndError *err) {
  Reader r = {arena, text, text, text + n, err};

  *out = (OndTemplate){0};
  if (n == 0) {
    return true;
  }
  out->parts = ond_arena_alloc(arena, parts_bound(text, n) * sizeof(OndTemplatePart));
  if (!read_parts(&r, out)) {
    *out = (OndTemplate){0};
    return false;
  }
  return true;
}

bool ond_template_is_literal(const OndTemplate *t) {
  for (int i = 0; i < t->n; i++) {
    if (t->parts[i].name.p) {
      return false;
    }
  }
  return true;
}

static bool fail_full(const OndBuf *out, OndError *err) {
  ond_error_set(err, "value is too large");
  ond_error_detail(err, "At most %zu bytes fit.", out->bytes_max);
  return false;
}

/*
 * Cap of the value between two filters. It may be larger than what fits into out (a hash shrinks it), and chains like
 * json|json|json must not grow without end.
 */
static size_t scratch_max(const OndBuf *out, size_t n) {
  size_t room = n > out->bytes_max ? n : out->bytes_max;

  return room < SIZE_MAX / 16 ? room * 2 + 128 : room;
}

static bool apply_filters(const OndTemplatePart *part, const char *value, size_t n, OndBuf scratch[2], OndBuf *out, OndError *err) {
  for (int i = 0; i < part->n_filters; i++) {
    OndBuf *to = i + 1 == part->n_filters ? out : &scratch[i & 1];

    if (to != out) {
      ond_buf_reset(to);
    }
    if (!ond_filter_apply(part->filters[i], value, n, to, err)) {
      return to->overflow ? fail_full(to, err) : false;
    }
    value = to->data;
    n = to->len;
  }
  return true;
}

bool ond_template_filter(const OndTemplatePart *part, const char *value, size_t n, OndBuf *out, OndError *err) {
  OndBuf scratch[2];
  size_t before = out->len;
  bool ok;

  if (part->n_filters == 0) {
    return ond_buf_append(out, value, n) || fail_full(out, err);
  }
  ond_buf_init(&scratch[0], scratch_max(out, n));
  ond_buf_init(&scratch[1], scratch_max(out, n));
  ok = apply_filters(part, value, n, scratch, out, err);
  ond_buf_free(&scratch[0]);
  ond_buf_free(&scratch[1]);
  if (!ok && out->data) {
    out->len = before; /* no half of a value stays */
    out->data[before] = '\0';
  }
  return ok;
}
