/*
 * body.c - runs a compiled body template over the rows of one request.
 *
 * One loop over steps, and the loop again for what an EACH or MERGE contains (the compiler bounds the nesting). Row bytes are appended as
 * they are. A merge writes its parts one behind the other at the end of the output, then replaces them by their members; offsets
 * are kept, never pointers, because the output moves when it grows. Nothing is allocated per row.
 *
 * Invariants: names that repeat per row are checked to differ within the request (a map would lose rows silently); a line of NDJSON
 * holds no raw line break (the only ones JSON text can hold are blanks between tokens, so they become blanks).
 */
#include "connector/body.h"
#include "connector/operation.h"

#include <stdlib.h>
#include <string.h>
#include "connector/members.h"

#define MERGE_MEMBERS_MAX 4000 /* all parts of one row: they are compared with each other */

/* A member name in the output that must not occur twice. */
typedef struct NamePlace {
  const OndBuf *out; /* for sorting: offsets are relative to it */
  size_t offset;
  size_t n;
  int row;
} NamePlace;

/* A member of one part of a merge. */
typedef struct MergeMember {
  OndMember member;
  uint32_t hash;
} MergeMember;

typedef struct Run {
  const OndBody *body;
  const OndBodyInput *in;
  OndBuf *out;
  OndError *err;
  int row; /* -1: outside of a repetition, the first row counts */
  int bad_row;
  size_t line_start;
  NamePlace *names;
  size_t n_names;
  size_t names_max;
  MergeMember *members;
  size_t n_members;
  size_t members_max;
  OndBuf merged;
} Run;

static bool run(Run *r, int from, int to);

static bool fail_row(Run *r) {
  r->bad_row = r->row < 0 ? 0 : r->row;
  return false;
}

/* The output is full or larger than the operation's limit. */
static bool fail_size(Run *r, size_t limit) {
  ond_error_set(r->err, "the request body is larger than %zu bytes", limit);
  r->bad_row = r->in->n > 1 ? -1 : 0;
  return false;
}

static bool append(Run *r, const char *p, size_t n) {
  return ond_buf_append(r->out, p, n) || fail_size(r, r->out->bytes_max);
}

/* A step of values failed: for want of room or because of the row? */
static bool fail_value(Run *r) {
  return r->out->overflow ? fail_size(r, r->out->bytes_max) : fail_row(r);
}

/* ---- fields ---- */

static bool is_named(const OndBodyStep *step, const OndMember *member) {
  for (int i = 0; i < step->n_names; i++) {
    if (ond_member_is(member, step->names[i])) {
      return true;
    }
  }
  return false;
}

static bool append_member(OndBuf *out, const OndMember *member, bool *first) {
  bool ok = (*first || ond_buf_append_char(out, ',')) && ond_buf_append_char(out, '"') && ond_buf_append_bytes(out, member->name) &&
            ond_buf_append(out, "\":", 2) && ond_buf_append_bytes(out, member->value);

  *first = false;
  return ok;
}

static bool run_fields(Run *r, const OndBodyStep *step) {
  OndBytes fields = r->in->values->row->fields;
  OndMembers members;
  OndMember member;
  bool first = true;

  if (!fields.p || !ond_members_begin(&members, fields) || !members.object) {
    ond_error_set(r->err, "the row has no mapped fields");
    return fail_row(r);
  }
  if (step->n_names == 0 && !step->only) {
    return append(r, fields.p, fields.n);
  }
  if (!append(r, "{", 1)) {
    return false;
  }
  while (ond_members_next(&members, &member)) {
    if (is_named(step, &member) == step->only && !append_member(r->out, &member, &first)) {
      return fail_size(r, r->out->bytes_max);
    }
  }
  if (members.bad) {
    ond_error_set(r->err, "the row's mapped fields are not well-formed JSON");
    return fail_row(r);
  }
  return append(r, "}", 1);
}

/* The next member of this name, looked for from where the reader stands and then from the start. */
static bool find_member(OndMembers *at, OndBytes fields, OndBytes name, OndMember *out) {
  OndMembers start;

  while (ond_members_next(at, out)) {
    if (ond_member_is(out, name)) {
      return true;
    }
  }
  if (!ond_members_begin(&start, fields)) {
    return false;
  }
  *at = start;
  while (ond_members_next(at, out)) {
    if (ond_member_is(out, name)) {
      return true;
    }
  }
  *at = start;
  return false;
}

/* Positional: a field that the row leaves out is null. */
static bool run_values(Run *r, const OndBodyStep *step) {
  const OndConnector *c = r->in->values->c;
  OndBytes fields = r->in->values->row->fields;
  const OndBytes *names = step->n_names < 0 ? c->fields : step->names;
  int n = step->n_names < 0 ? c->n_fields : step->n_names;
  OndMembers members;
  OndMember member;

  if (!fields.p || !ond_members_begin(&members, fields) || !members.object) {
    ond_error_set(r->err, "the row has no mapped fields");
    return fail_row(r);
  }
  if (!append(r, "[", 1)) {
    return false;
  }
  for (int i = 0; i < n; i++) {
    OndBytes value = find_member(&members, fields, names[i], &member) ? member.value : OND_BYTES_LIT("null");

    if ((i > 0 && !append(r, ",", 1)) || !append(r, value.p, value.n)) {
      return false;
    }
  }
  return append(r, "]", 1);
}

static bool run_field_names(Run *r) {
  const OndConnector *c = r->in->values->c;

  for (int i = 0; i < c->n_fields; i++) {
    if (!append(r, i > 0 ? "," : "[", 1) || !ond_buf_append_json_string(r->out, c->fields[i].p, c->fields[i].n)) {
      return fail_size(r, r->out->bytes_max);
    }
  }
  return append(r, c->n_fields > 0 ? "]" : "[]", c->n_fields > 0 ? 1 : 2);
}

/* ---- merge ---- */

static uint32_t hash_name(const OndMember *member) {
  uint32_t hash = 2166136261u;

  /* Names with escapes share one hash: they are compared by their text. */
  for (size_t i = 0; !member->escaped && i < member->name.n; i++) {
    hash = (hash ^ (unsigned char)member->name.p[i]) * 16777619u;
  }
  return member->escaped ? 0 : hash;
}

static bool fail_merge(Run *r, const char *why) {
  ond_error_set(r->err, "%s", why);
  return fail_row(r);
}

/* Adds the members of the rendered part at *offset to r->members and steps over it. */
static bool collect_members(Run *r, size_t *offset) {
  OndMembers members;
  OndMember member;

  if (!ond_members_begin(&members, (OndBytes){r->out->data + *offset, r->out->len - *offset}) || !members.object) {
    return fail_merge(r, "something to merge is not an object in this row");
  }
  while (ond_members_next(&members, &member)) {
    if (r->n_members == MERGE_MEMBERS_MAX) {
      return fail_merge(r, "objects to merge have too many members");
    }
    if (r->n_members == r->members_max) {
      r->members_max = r->members_max ? 2 * r->members_max : 64;
      r->members = ond_realloc(r->members, r->members_max * sizeof(*r->members));
    }
    r->members[r->n_members++] = (MergeMember){member, hash_name(&member)};
  }
  *offset = (size_t)(members.p - r->out->data) + 1;
  return !members.bad || fail_merge(r, "something to merge is not well-formed JSON in this row");
}

/* Whether a later member has the same name. */
static bool is_overridden(const Run *r, size_t i) {
  const MergeMember *one = &r->members[i];

  for (size_t j = i + 1; j < r->n_members; j++) {
    const MergeMember *other = &r->members[j];

    if ((one->hash == other->hash || one->member.escaped || other->member.escaped) && ond_member_same_name(&one->member, &other->member)) {
      return true;
    }
  }
  return false;
}

static bool write_merged(Run *r) {
  bool first = true;

  ond_buf_reset(&r->merged);
  ond_buf_append_char(&r->merged, '{');
  for (size_t i = 0; i < r->n_members; i++) {
    if (!is_overridden(r, i)) {
      append_member(&r->merged, &r->members[i].member, &first);
    }
  }
  return ond_buf_append_char(&r->merged, '}') || fail_size(r, r->merged.bytes_max);
}

static bool run_merge(Run *r, int merge) {
  const OndBodyStep *steps = r->body->steps;
  size_t start = r->out->len;
  size_t offset = start;
  int parts = 0;

  for (int part = merge + 1; part < steps[merge].end; part = steps[part].end) {
    /* The blank keeps parts apart that are not objects, so that they cannot run together into one. */
    if (!run(r, part + 1, steps[part].end) || !append(r, " ", 1)) {
      return false;
    }
    parts++;
  }
  r->n_members = 0;
  while (parts-- > 0) {
    if (!collect_members(r, &offset)) {
      return false;
    }
  }
  if (!write_merged(r)) {
    return false;
  }
  r->out->len = start;
  return append(r, r->merged.data, r->merged.len);
}

/* ---- repetition ---- */

static void note_name(Run *r, size_t offset) {
  if (r->n_names == r->names_max) {
    r->names_max = r->names_max ? 2 * r->names_max : 256;
    r->names = ond_realloc(r->names, r->names_max * sizeof(*r->names));
  }
  r->names[r->n_names++] = (NamePlace){r->out, offset, r->out->len - offset, r->row};
}

static int compare_names(const void *a, const void *b) {
  const NamePlace *one = a;
  const NamePlace *other = b;
  size_t n = one->n < other->n ? one->n : other->n;
  int order = memcmp(one->out->data + one->offset, other->out->data + other->offset, n);

  if (order == 0 && one->n != other->n) {
    order = one->n < other->n ? -1 : 1;
  }
  return order ? order : (one->row > other->row) - (one->row < other->row);
}

/* Two rows under one name: the receiver would keep only one of them. */
static bool check_names(Run *r) {
  qsort(r->names, r->n_names, sizeof(*r->names), compare_names);
  for (size_t i = 1; i < r->n_names; i++) {
    const NamePlace *one = &r->names[i - 1];
    const NamePlace *other = &r->names[i];

    if (one->n == other->n && memcmp(r->out->data + one->offset, r->out->data + other->offset, one->n) == 0) {
      ond_error_set(r->err, "two rows of one request have the same member name %.*s", (int)(one->n < 200 ? one->n : 200),
                    r->out->data + one->offset);
      r->row = other->row;
      return fail_row(r);
    }
  }
  return true;
}

static bool check_row(Run *r, size_t start) {
  size_t n = r->out->len - start;

  if (r->in->row_bytes > 0 && n > (size_t)r->in->row_bytes) {
    ond_error_set(r->err, "the row takes %zu bytes, the operation allows %lld", n, (long long)r->in->row_bytes);
    return fail_row(r);
  }
  if (r->in->bytes > 0 && r->in->n > 1 && r->out->len > (size_t)r->in->bytes) {
    return fail_size(r, (size_t)r->in->bytes);
  }
  return true;
}

/* What a row of another operation of the group sends: its own $each. */
static bool run_item(Run *r, int each, int end) {
  const OndOperation *shared = r->in->values->o;
  const OndOperation *own = shared && r->in->n > 0 ? ond_group_member(r->in->values->c, shared, r->in->values->row) : shared;
  const OndBody *body = r->body;
  bool ok;

  if (own == shared) {
    return run(r, each + 1, end);
  }
  r->body = own->body;
  r->in->values->o = own;
  for (each = 0; r->body->steps[each].code != OND_BODY_EACH; each++) {
  }
  ok = run(r, each + 1, r->body->steps[each].end);
  r->body = body;
  r->in->values->o = shared;
  return ok;
}

static bool run_each(Run *r, int each) {
  const OndBodyStep *step = &r->body->steps[each];
  const OndRow *outer = r->in->values->row;

  r->n_names = 0;
  for (int i = 0; i < r->in->n; i++) {
    size_t start = r->out->len;

    r->row = i;
    r->line_start = start;
    r->in->values->row = r->in->rows[i];
    if ((i > 0 && step->comma && !append(r, ",", 1)) || !run_item(r, each, step->end) || !check_row(r, start)) {
      return false;
    }
  }
  r->row = -1;
  r->in->values->row = outer;
  return r->n_names == 0 || check_names(r);
}

static bool run_line(Run *r) {
  char *p = r->out->data + r->line_start;
  size_t n = r->out->len - r->line_start;

  for (size_t i = 0; i < n; i++) {
    if (p[i] == '\n' || p[i] == '\r') {
      p[i] = ' ';
    }
  }
  if (!append(r, "\n", 1)) {
    return false;
  }
  r->line_start = r->out->len;
  return true;
}

static bool run_text(Run *r, const OndBodyStep *step) {
  size_t start = r->out->len;

  if (!append(r, "\"", 1)) {
    return false;
  }
  if (!ond_reference_append(r->in->values, &step->text, OND_PLACE_JSON, r->out, r->err)) {
    return fail_value(r);
  }
  if (!append(r, "\"", 1)) {
    return false;
  }
  if (step->code == OND_BODY_NAME) {
    note_name(r, start);
  }
  return true;
}

static bool run_step(Run *r, int i) {
  const OndBodyStep *step = &r->body->steps[i];

  switch (step->code) {
  case OND_BODY_LITERAL: return append(r, step->literal.p, step->literal.n);
  case OND_BODY_FIELDS: return run_fields(r, step);
  case OND_BODY_VALUES: return run_values(r, step);
  case OND_BODY_FIELD_NAMES: return run_field_names(r);
  case OND_BODY_VALUE: return ond_reference_json(r->in->values, &step->text.parts[0], r->out, r->err) || fail_value(r);
  case OND_BODY_TEXT:
  case OND_BODY_NAME: return run_text(r, step);
  case OND_BODY_EACH: return run_each(r, i);
  case OND_BODY_MERGE: return run_merge(r, i);
  case OND_BODY_PART: break;
  case OND_BODY_LINE: return run_line(r);
  }
  return true;
}

static bool run(Run *r, int from, int to) {
  while (from < to) {
    const OndBodyStep *step = &r->body->steps[from];

    if (!run_step(r, from)) {
      return false;
    }
    from = step->code == OND_BODY_EACH || step->code == OND_BODY_MERGE ? step->end : from + 1;
  }
  return true;
}

/* What can only be said about the whole body. */
static bool check_whole(Run *r, size_t start) {
  size_t n = r->out->len - start;

  if (r->in->bytes > 0 && n > (size_t)r->in->bytes) {
    return fail_size(r, (size_t)r->in->bytes);
  }
  if (r->in->n == 1 && r->in->row_bytes > 0 && n > (size_t)r->in->row_bytes && !ond_body_has_each(r->body)) {
    return check_row(r, start);
  }
  return true;
}

bool ond_body_run(const OndBody *body, const OndBodyInput *input, OndBuf *out, int *bad_row, OndError *err) {
  Run r = {.body = body, .in = input, .out = out, .err = err, .row = -1};
  size_t start = out->len;
  bool ok;

  ond_buf_init(&r.merged, OND_BODY_BYTES_MAX);
  input->values->row = input->n > 0 ? input->rows[0] : NULL; /* a list has no rows */
  ok = run(&r, 0, body->n) && check_whole(&r, start);
  *bad_row = r.bad_row;
  ond_buf_free(&r.merged);
  ond_free(r.names);
  ond_free(r.members);
  return ok;
}
