/*
 * csv.c - see csv.h.
 *
 * Writing: the rows' objects are cut into (name, value) pairs by the member reader, never parsed. The columns are either given or the union over the
 * request's rows, found in a pass of its own. Reading: a state machine over bytes; what is quoted may hold everything.
 */
#include "connector/csv.h"

#include <string.h>

#include "connector/members.h"
#include "core/text.h"

#define COLUMNS_MAX      2000
#define NAME_BYTES_MAX   ((size_t)4096)
#define DEPTH_MAX        8
#define RECORD_BYTES_MAX ((size_t)16 * 1024 * 1024)

/* ---- compiling ---- */

static bool parse_column(const OndScope *s, const OndNode *at, OndCsvColumn *out, OndError *err) {
  static const char *const VALID[] = {"name", "value", NULL};
  OndNode name = *at, value;
  const char *text;

  if (json_object_is_type(at->value, json_type_object)) {
    if (!ond_node_object(at, VALID, err)) {
      return false;
    }
    if (!ond_node_get(at, "name", &name)) {
      return ond_node_missing(at, "name", NULL, err);
    }
    if (!ond_node_get(at, "value", &value)) {
      return ond_node_missing(at, "value", "{\"name\": \"Id\", \"value\": \"{{remote_id}}\"}", err);
    }
    out->is_template = true;
    if (!ond_node_string(&value, &text, err) || !ond_reference_parse(s, &value, text, &out->value, err)) {
      return false;
    }
  } else if (s->o->kind == OND_KIND_DELETE) {
    ond_node_fail(at, err, "a field is not known in a delete: the row has left the model");
    ond_error_hint(err, "Say what stands in the column: {\"name\": \"Id\", \"value\": \"{{remote_id}}\"}.");
    return false;
  }
  if (!ond_node_string(&name, &text, err)) {
    return false;
  }
  if (!*text || strlen(text) > NAME_BYTES_MAX) {
    return ond_node_fail(&name, err, "the name of a column has 1 to %zu bytes", NAME_BYTES_MAX);
  }
  out->name = (OndBytes){ond_arena_strdup(s->c->arena, text), strlen(text)};
  return true;
}

static bool parse_columns(const OndScope *s, const OndNode *at, OndCsv *csv, OndError *err) {
  size_t n;

  if (!ond_node_array(at, &n, err)) {
    return false;
  }
  if (n == 0 || n > COLUMNS_MAX) {
    return ond_node_fail(at, err, "\"columns\" has 1 to %d columns", COLUMNS_MAX);
  }
  csv->columns = ond_arena_alloc(s->c->arena, n * sizeof(*csv->columns));
  for (size_t i = 0; i < n; i++) {
    OndNode element = ond_node_element(at, i);

    if (!parse_column(s, &element, &csv->columns[csv->n++], err)) {
      return false;
    }
  }
  return true;
}

static bool parse_delimiter(const OndNode *csv_node, OndCsv *csv, OndError *err) {
  const char *text = ",";
  OndNode at;

  if (!ond_node_get(csv_node, "delimiter", &at)) {
    return true;
  }
  if (!ond_node_string(&at, &text, err)) {
    return false;
  }
  if (strlen(text) != 1 || !strchr(",;\t|^~:", *text)) {
    ond_node_fail(&at, err, "\"delimiter\" must be one character");
    ond_error_hint(err, "It can be one of , ; | ^ ~ : and tab.");
    return false;
  }
  csv->delimiter = *text;
  return true;
}

static bool parse_line_ending(const OndNode *csv_node, OndCsv *csv, OndError *err) {
  const char *text;
  OndNode at;

  if (!ond_node_get(csv_node, "line_ending", &at)) {
    return true;
  }
  if (!ond_node_string(&at, &text, err)) {
    return false;
  }
  if (strcmp(text, "\n") != 0 && strcmp(text, "\r\n") != 0) {
    return ond_node_fail(&at, err, "\"line_ending\" must be \"\\n\" or \"\\r\\n\"");
  }
  csv->line_ending = text[0] == '\r' ? "\r\n" : "\n";
  return true;
}

const OndCsv *ond_csv_parse(const OndScope *s, const OndNode *operation, OndError *err) {
  static const char *const VALID[] = {"columns", "delimiter", "line_ending", NULL};
  OndCsv *csv = ond_arena_alloc(s->c->arena, sizeof(*csv));
  OndScope each = *s;
  OndNode at, member;

  csv->delimiter = ',';
  csv->line_ending = "\n";
  each.rows = true;
  each.each = true;
  if (!ond_node_get(operation, "csv", &at)) {
    return s->o->kind != OND_KIND_DELETE || ond_node_missing(operation, "csv", "{\"columns\": [{\"name\": \"Id\", \"value\": \"{{remote_id}}\"}]}", err) ? csv : NULL;
  }
  if (!ond_node_object(&at, VALID, err) || !parse_delimiter(&at, csv, err) || !parse_line_ending(&at, csv, err) ||
      (ond_node_get(&at, "columns", &member) && !parse_columns(&each, &member, csv, err))) {
    return NULL;
  }
  if (csv->n == 0 && s->o->kind == OND_KIND_DELETE) {
    ond_node_missing(&at, "columns", "[{\"name\": \"Id\", \"value\": \"{{remote_id}}\"}]", err);
    return NULL;
  }
  return csv;
}

/* ---- writing ---- */

/* The fields of one row, cut. Names are in `text`, at offsets: it moves when it grows. */
typedef struct Pair {
  size_t name, name_n;
  OndBytes value;
} Pair;

typedef struct Writer {
  const OndCsv *csv;
  const OndBodyInput *in;
  OndBuf *out;
  OndError *err;
  int bad_row;
  Pair pairs[COLUMNS_MAX];
  int n_pairs;
  OndBuf text;    /* their names */
  OndBuf path;    /* of the place in the row */
  OndBuf value;
  OndBuf header;  /* names of the columns, where they are not given; each ends with NUL */
  size_t columns[COLUMNS_MAX]; /* their offsets in it */
  int n_columns;
} Writer;

static bool fail_size(Writer *w) {
  ond_error_set(w->err, "the request body is larger than %zu bytes", w->in->bytes > 0 ? (size_t)w->in->bytes : w->out->bytes_max);
  w->bad_row = w->in->n > 1 ? -1 : 0;
  return false;
}

static bool fail_row(Writer *w, int row, const char *why) {
  if (why) {
    ond_error_set(w->err, "the row %s", why);
  }
  w->bad_row = row;
  return false;
}

static bool cut(Writer *w, OndBytes object, int depth, int row);

static bool cut_member(Writer *w, const OndMember *member, int depth, int row) {
  size_t before = w->path.len;
  bool ok;

  if ((before > 0 && !ond_buf_append_char(&w->path, '.')) || !ond_json_unescape(member->name, &w->path)) {
    return fail_row(w, row, "has a field whose name is too long or no Unicode");
  }
  if (ond_json_kind(member->value) == OND_JSON_OBJECT && depth < DEPTH_MAX) {
    ok = cut(w, member->value, depth + 1, row);
  } else if (w->n_pairs == COLUMNS_MAX) {
    return fail_row(w, row, "has too many fields for a csv");
  } else {
    w->pairs[w->n_pairs++] = (Pair){w->text.len, w->path.len, member->value};
    ok = ond_buf_append(&w->text, w->path.data ? w->path.data : "", w->path.len) || fail_row(w, row, "has too many fields for a csv");
  }
  w->path.len = before;
  return ok;
}

static bool cut(Writer *w, OndBytes object, int depth, int row) {
  OndMembers members;
  OndMember member;

  if (!ond_members_begin(&members, object) || !members.object) {
    return fail_row(w, row, "has no mapped fields");
  }
  while (ond_members_next(&members, &member)) {
    if (!cut_member(w, &member, depth, row)) {
      return false;
    }
  }
  return !members.bad || fail_row(w, row, "has fields that are not well-formed JSON");
}

static bool cut_row(Writer *w, int row) {
  w->n_pairs = 0;
  ond_buf_reset(&w->text);
  ond_buf_reset(&w->path);
  return cut(w, w->in->rows[row]->fields, 0, row);
}

static const char *pair_name(const Writer *w, int i) {
  return w->text.data + w->pairs[i].name;
}

/* Adds the row's names that are new. Rows are mostly alike: the next name is mostly the next column. */
static bool note_names(Writer *w, int row) {
  int guess = 0;

  for (int i = 0; i < w->n_pairs; i++) {
    size_t n = w->pairs[i].name_n;
    int at = -1;

    for (int k = 0; k < w->n_columns && at < 0; k++) {
      int column = (guess + k) % w->n_columns;
      const char *name = w->header.data + w->columns[column];

      if (strlen(name) == n && memcmp(name, pair_name(w, i), n) == 0) {
        at = column;
      }
    }
    if (at < 0) {
      if (n == 0 || memchr(pair_name(w, i), 0, n) || w->n_columns == COLUMNS_MAX) {
        return fail_row(w, row, n == 0 ? "has a field without a name" : "has a field that cannot be a column");
      }
      w->columns[at = w->n_columns++] = w->header.len;
      if (!ond_buf_append(&w->header, pair_name(w, i), n) || !ond_buf_append_char(&w->header, '\0')) {
        return fail_row(w, row, "has too many fields for a csv");
      }
    }
    guess = at + 1;
  }
  return true;
}

static bool find_columns(Writer *w) {
  for (int i = 0; w->csv->n == 0 && i < w->in->n; i++) {
    if (!cut_row(w, i) || !note_names(w, i)) {
      return false;
    }
  }
  return w->csv->n > 0 || w->n_columns > 0 || fail_row(w, 0, "has no mapped fields");
}

static int count_columns(const Writer *w) {
  return w->csv->n > 0 ? w->csv->n : w->n_columns;
}

static OndBytes column_name(const Writer *w, int i) {
  const char *name;

  if (w->csv->n > 0) {
    return w->csv->columns[i].name;
  }
  name = w->header.data + w->columns[i];
  return (OndBytes){name, strlen(name)};
}

static bool append_text(Writer *w, OndBytes text) {
  bool quote = text.n == 0 || text.p[0] == ' ' || text.p[text.n - 1] == ' ';

  for (size_t i = 0; i < text.n && !quote; i++) {
    quote = text.p[i] == w->csv->delimiter || text.p[i] == '"' || text.p[i] == '\n' || text.p[i] == '\r';
  }
  if (!quote) {
    return ond_buf_append_bytes(w->out, text);
  }
  ond_buf_append_char(w->out, '"');
  for (size_t i = 0; i < text.n; i++) {
    if (text.p[i] == '"') {
      ond_buf_append_char(w->out, '"');
    }
    ond_buf_append_char(w->out, text.p[i]);
  }
  return ond_buf_append_char(w->out, '"');
}

static bool append_json(Writer *w, OndBytes json, int row) {
  OndJsonKind kind = ond_json_kind(json);

  if (kind == OND_JSON_NONE || kind == OND_JSON_NULL) {
    return count_columns(w) > 1 || fail_row(w, row, "has no value for the only column of a csv");
  }
  if (kind == OND_JSON_SCALAR) {
    return append_text(w, ond_json_trim(json)) || fail_size(w);
  }
  json = ond_json_trim(json);
  ond_buf_reset(&w->value);
  if (kind == OND_JSON_STRING ? json.n < 2 || !ond_json_unescape((OndBytes){json.p + 1, json.n - 2}, &w->value) : !ond_json_compact(json, &w->value)) {
    return fail_row(w, row, "has a text that is no Unicode or too long");
  }
  if (w->value.data && memchr(w->value.data, 0, w->value.len)) {
    return fail_row(w, row, "has a NUL character");
  }
  return append_text(w, (OndBytes){w->value.data ? w->value.data : "", w->value.len}) || fail_size(w);
}

static OndBytes pair_value(const Writer *w, OndBytes name, int *guess) {
  for (int k = 0; k < w->n_pairs; k++) {
    int i = (*guess + k) % w->n_pairs;

    if (w->pairs[i].name_n == name.n && memcmp(pair_name(w, i), name.p, name.n) == 0) {
      *guess = i + 1;
      return w->pairs[i].value;
    }
  }
  return OND_BYTES_NONE;
}

static bool append_template(Writer *w, const OndCsvColumn *column, int row) {
  ond_buf_reset(&w->value);
  if (!ond_reference_append(w->in->values, &column->value, OND_PLACE_TEXT, &w->value, w->err)) {
    return fail_row(w, row, w->value.overflow ? "has a text that is too long" : NULL);
  }
  return append_text(w, (OndBytes){w->value.data ? w->value.data : "", w->value.len}) || fail_size(w);
}

static bool append_row(Writer *w, int row) {
  size_t start = w->out->len;
  int guess = 0;

  w->in->values->row = w->in->rows[row];
  w->n_pairs = 0;
  if (w->in->rows[row]->fields.p && !cut_row(w, row)) {
    return false;
  }
  for (int i = 0; i < count_columns(w); i++) {
    const OndCsvColumn *column = w->csv->n > 0 ? &w->csv->columns[i] : NULL;

    if (i > 0 && !ond_buf_append_char(w->out, w->csv->delimiter)) {
      return fail_size(w);
    }
    if (!(column && column->is_template ? append_template(w, column, row) : append_json(w, pair_value(w, column_name(w, i), &guess), row))) {
      return false;
    }
  }
  if (!ond_buf_append_str(w->out, w->csv->line_ending)) {
    return fail_size(w);
  }
  if (w->in->row_bytes > 0 && w->out->len - start > (size_t)w->in->row_bytes) {
    ond_error_set(w->err, "the row takes %zu bytes, the operation allows %lld", w->out->len - start, (long long)w->in->row_bytes);
    return fail_row(w, row, NULL);
  }
  return w->in->bytes == 0 || w->out->len <= (size_t)w->in->bytes || fail_size(w);
}

static bool append_names(Writer *w) {
  for (int i = 0; i < count_columns(w); i++) {
    if ((i > 0 && !ond_buf_append_char(w->out, w->csv->delimiter)) || !append_text(w, column_name(w, i))) {
      return fail_size(w);
    }
  }
  return ond_buf_append_str(w->out, w->csv->line_ending) || fail_size(w);
}

bool ond_csv_append(const OndCsv *csv, const OndBodyInput *input, OndBuf *out, int *bad_row, OndError *err) {
  Writer *w = ond_calloc(sizeof(*w));
  bool ok;

  *w = (Writer){.csv = csv, .in = input, .out = out, .err = err};
  ond_buf_init(&w->text, COLUMNS_MAX * NAME_BYTES_MAX);
  ond_buf_init(&w->path, NAME_BYTES_MAX);
  ond_buf_init(&w->value, OND_VALUE_BYTES_MAX);
  ond_buf_init(&w->header, COLUMNS_MAX * NAME_BYTES_MAX);
  ok = find_columns(w) && append_names(w);
  for (int i = 0; ok && i < input->n; i++) {
    ok = append_row(w, i);
  }
  *bad_row = w->bad_row;
  ond_buf_free(&w->text);
  ond_buf_free(&w->path);
  ond_buf_free(&w->value);
  ond_buf_free(&w->header);
  ond_free(w);
  return ok;
}

/* ---- reading ---- */

/* One field into r->field; *quoted; false: an open quote at the end, or too long. Stops at the delimiter or at the line's end. */
static bool read_field(OndCsvReader *r, bool *quoted) {
  ond_buf_reset(&r->field);
  *quoted = r->p < r->end && *r->p == '"';
  if (!*quoted) {
    const char *start = r->p;

    while (r->p < r->end && *r->p != ',' && *r->p != '\n' && *r->p != '\r') {
      r->p++;
    }
    return ond_buf_append(&r->field, start, (size_t)(r->p - start));
  }
  for (r->p++; r->p < r->end; r->p++) {
    if (*r->p == '"') {
      if (r->p + 1 >= r->end || r->p[1] != '"') {
        r->p++;
        return true;
      }
      r->p++;
    }
    if (!ond_buf_append_char(&r->field, *r->p)) {
      return false;
    }
  }
  return false;
}

/* After a field: true and past the delimiter when another one follows; else past the line's end. */
static bool next_field(OndCsvReader *r) {
  while (r->p < r->end && *r->p != ',' && *r->p != '\n' && *r->p != '\r') {
    r->p++; /* something between a closing quote and the delimiter */
  }
  if (r->p < r->end && *r->p == ',') {
    r->p++;
    return true;
  }
  if (r->p < r->end && *r->p == '\r') {
    r->p++;
  }
  if (r->p < r->end && *r->p == '\n') {
    r->p++;
  }
  return false;
}

static bool skip_blank_lines(OndCsvReader *r) {
  while (r->p < r->end && (*r->p == '\n' || *r->p == '\r')) {
    r->p++;
  }
  return r->p < r->end;
}

bool ond_csv_open(OndCsvReader *r, const char *text, size_t n) {
  bool more = true;
  bool quoted;

  *r = (OndCsvReader){.p = text, .end = text + n};
  ond_buf_init(&r->field, RECORD_BYTES_MAX);
  if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
    r->p += 3;
  }
  if (!skip_blank_lines(r)) {
    return false;
  }
  while (more) {
    if (r->n_names == COLUMNS_MAX || !read_field(r, &quoted) || !ond_utf8_valid(r->field.data ? r->field.data : "", r->field.len)) {
      return false;
    }
    r->names = ond_realloc(r->names, (size_t)(r->n_names + 1) * sizeof(*r->names));
    r->names[r->n_names++] = ond_strndup(r->field.data ? r->field.data : "", r->field.len);
    more = next_field(r);
  }
  return true;
}

bool ond_csv_next(OndCsvReader *r, struct json_object **record) {
  struct json_object *object;
  bool more = true;
  bool quoted;
  bool fits = true;
  int n = 0;

  *record = NULL;
  if (!skip_blank_lines(r)) {
    return false;
  }
  object = json_object_new_object();
  for (; more; n++) {
    if (!read_field(r, &quoted)) {
      r->p = r->end;
      fits = false;
      break;
    }
    fits = fits && n < r->n_names && ond_utf8_valid(r->field.data ? r->field.data : "", r->field.len);
    if (fits) {
      const char *text = r->field.data ? r->field.data : "";

      json_object_object_add(object, r->names[n], r->field.len == 0 && !quoted ? NULL : json_object_new_string_len(text, (int)r->field.len));
    }
    more = next_field(r);
  }
  if (fits && n == r->n_names) {
    *record = object;
  } else {
    json_object_put(object);
  }
  return true;
}

void ond_csv_close(OndCsvReader *r) {
  for (int i = 0; i < r->n_names; i++) {
    ond_free(r->names[i]);
  }
  ond_free(r->names);
  ond_buf_free(&r->field);
}
