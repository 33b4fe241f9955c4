/*
 * rows_named.c - which rows of a request a record of the answer means.
 *
 * Rows are named by their number or by a text: the key, or what "by" makes of a row. Texts are compared, not JSON values: 1 and "1"
 * name the same row, because APIs turn ids into strings and back as they please. The rows' texts are collected and sorted at first use,
 * so that every look-up is a binary search, whatever the texts are. A composite key is its columns' texts, each with its length before it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "connector/read.h"

#define NAME_BYTES_MAX 65536

static int compare_text(const char *a, size_t a_n, const char *b, size_t b_n) {
  int order = memcmp(a, b, a_n < b_n ? a_n : b_n);

  return order ? order : (a_n > b_n) - (a_n < b_n);
}

static int compare_names(const void *a, const void *b) {
  const OndRowName *one = a;
  const OndRowName *other = b;
  int order = compare_text(one->text, one->n, other->text, other->n);

  return order ? order : (one->row > other->row) - (one->row < other->row);
}

static void fold(const OndReading *r, OndBuf *text) {
  for (size_t i = 0; r->c->fold && i < text->len; i++) {
    if (text->data[i] >= 'A' && text->data[i] <= 'Z') {
      text->data[i] = (char)(text->data[i] - 'A' + 'a');
    }
  }
}

static bool append_column(OndBuf *out, const char *text, size_t n) {
  return ond_buf_appendf(out, "%zu:", n) && ond_buf_append(out, text, n);
}

/* The row's text in r->text; false: it has none (a value is missing), no record can mean it. */
static bool row_text(OndReading *r, const OndIdentity *identity, const OndRow *row) {
  OndError ignored;
  OndBytes value;

  ond_buf_reset(&r->text);
  r->values.row = row;
  if (!identity->columns) {
    if (!ond_reference_append(&r->values, &identity->by, OND_PLACE_TEXT, &r->text, &ignored)) {
      return false;
    }
    fold(r, &r->text);
    return true;
  }
  for (int i = 0; i < identity->n; i++) {
    OndTemplatePart key = {.name = OND_BYTES_LIT("key"), .slot = OND_SLOT_KEY, .index = identity->keys[i]};

    if (!ond_reference_text(&r->values, &key, &value, &ignored) || !append_column(&r->text, value.p, value.n)) {
      return false;
    }
  }
  fold(r, &r->text);
  return true;
}

static void build_names(OndReading *r, const OndIdentity *identity, OndRowNames *names) {
  names->built = true;
  names->names = ond_arena_alloc(r->arena, (size_t)r->n * sizeof(*names->names));
  for (int i = 0; i < r->n; i++) {
    if (row_text(r, identity, r->rows[i])) {
      names->names[names->n++] = (OndRowName){ond_arena_strndup(r->arena, r->text.data ? r->text.data : "", r->text.len), r->text.len, i};
    }
  }
  qsort(names->names, names->n, sizeof(*names->names), compare_names);
}

/* The rows whose text is in r->text. */
static void named_by_text(OndReading *r, const OndIdentity *identity, OndRowNames *names, const char *text, size_t n,
                          struct json_object *record, const char *reason, OndNamed named) {
  size_t low = 0;
  size_t high;

  if (!names->built) {
    build_names(r, identity, names);
  }
  high = names->n;
  while (low < high) {
    size_t middle = low + (high - low) / 2;

    if (compare_text(names->names[middle].text, names->names[middle].n, text, n) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == names->n || compare_text(names->names[low].text, names->names[low].n, text, n) != 0) {
    r->strangers++;
    return;
  }
  for (; low < names->n && compare_text(names->names[low].text, names->names[low].n, text, n) == 0; low++) {
    named(r, names->names[low].row, record, reason);
  }
}

/* The number of a row: an integer, or one written as text. */
static void named_by_index(OndReading *r, const char *text, struct json_object *record, const char *reason, OndNamed named) {
  size_t digits = strspn(text, "0123456789");
  int index = digits > 0 && digits < 9 && text[digits] == '\0' ? atoi(text) : -1;

  if (index < 0 || index >= r->n) {
    r->strangers++;
    return;
  }
  named(r, index, record, reason);
}

/* One scalar that names a row. */
static void named_by_scalar(OndReading *r, const OndIdentity *identity, OndRowNames *names, struct json_object *value,
                            struct json_object *record, const char *reason, OndNamed named) {
  OndBuf text;

  ond_buf_init(&text, NAME_BYTES_MAX);
  if (!ond_document_text(value, &text)) {
    r->strangers++;
  } else if (identity->index) {
    named_by_index(r, text.data, record, reason, named);
  } else {
    fold(r, &text);
    named_by_text(r, identity, names, text.data ? text.data : "", text.len, record, reason, named);
  }
  ond_buf_free(&text);
}

static void named_by_list(OndReading *r, const OndIdentity *identity, OndRowNames *names, struct json_object *list,
                          struct json_object *record, const char *reason, OndNamed named) {
  size_t n = json_object_array_length(list);

  for (size_t i = 0; i < n; i++) {
    named_by_scalar(r, identity, names, json_object_array_get_idx(list, i), record, reason, named);
  }
}

/* Lists (or single names) under reasons. */
static void named_by_reasons(OndReading *r, const OndIdentity *identity, OndRowNames *names, struct json_object *reasons,
                             struct json_object *record, OndNamed named) {
  struct json_object_iterator it = json_object_iter_begin(reasons);
  struct json_object_iterator end = json_object_iter_end(reasons);

  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    struct json_object *value = json_object_iter_peek_value(&it);

    if (json_object_is_type(value, json_type_array)) {
      named_by_list(r, identity, names, value, record, json_object_iter_peek_name(&it), named);
    } else if (value) {
      named_by_scalar(r, identity, names, value, record, json_object_iter_peek_name(&it), named);
    }
  }
}

/* A composite key: all columns together name one row. */
static bool named_by_columns(OndReading *r, const OndIdentity *identity, OndRowNames *names, struct json_object *record, OndNamed named) {
  struct json_object *value;
  OndBuf all;
  OndBuf text;
  bool found = true;

  ond_buf_init(&all, NAME_BYTES_MAX);
  ond_buf_init(&text, NAME_BYTES_MAX);
  for (int i = 0; found && i < identity->n; i++) {
    ond_buf_reset(&text);
    found = ond_document_at(record, &identity->pointers[i], &value) && ond_document_text(value, &text) &&
            append_column(&all, text.data ? text.data : "", text.len);
  }
  if (found) {
    fold(r, &all);
    named_by_text(r, identity, names, all.data, all.len, record, NULL, named);
  }
  ond_buf_free(&all);
  ond_buf_free(&text);
  return found;
}

bool ond_rows_named(OndReading *r, const OndIdentity *identity, OndRowNames *names, struct json_object *record, OndNamed named) {
  struct json_object *value;

  if (identity->columns) {
    return named_by_columns(r, identity, names, record, named);
  }
  if (!ond_document_at(record, identity->pointers, &value) || !value) {
    return false;
  }
  switch (json_object_get_type(value)) {
  case json_type_array: named_by_list(r, identity, names, value, record, NULL, named); break;
  case json_type_object: named_by_reasons(r, identity, names, value, record, named); break;
  default: named_by_scalar(r, identity, names, value, record, NULL, named); break;
  }
  return true;
}

void ond_rows_by_text(OndReading *r, const OndIdentity *identity, OndRowNames *names, const char *text, struct json_object *record,
                      OndNamed named) {
  OndBuf folded;

  ond_buf_init(&folded, NAME_BYTES_MAX);
  if (!ond_buf_append_str(&folded, text)) {
    r->strangers++;
  } else {
    fold(r, &folded);
    named_by_text(r, identity, names, folded.data, folded.len, record, NULL, named);
  }
  ond_buf_free(&folded);
}
