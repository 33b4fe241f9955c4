/*
 * reference.c - the names in templates: what they mean where they stand, and their values row by row.
 *
 * Names are resolved when a description is parsed (slot and index of a part); {{key}} and {{key.x}} wait for bind, which knows
 * the sync's key. At run time a reference is an array access: no name is looked up but a remote capture's.
 */
#include "connector/reference.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "connector/compile.h"
#include "connector/members.h"

static bool name_is(const OndTemplatePart *part, const char *word) {
  return part->name.n == strlen(word) && memcmp(part->name.p, word, part->name.n) == 0;
}

/* What follows prefix; NULL when the name does not start with it. */
static const char *name_after(const OndTemplatePart *part, const char *prefix) {
  size_t n = strlen(prefix);

  return part->name.n > n && memcmp(part->name.p, prefix, n) == 0 ? part->name.p + n : NULL;
}

static bool fail(const OndNode *at, OndError *err, const OndTemplatePart *part, const char *why) {
  return ond_node_fail(at, err, "{{%.*s}} %s", (int)(part->name.n < 100 ? part->name.n : 100), part->name.p, why);
}

static bool resolve_variable(const OndScope *s, const OndNode *at, OndTemplatePart *part, const char *name, OndError *err) {
  char names[200] = "";
  size_t length = 0;

  part->index = ond_variable_find(s->c, name);
  if (part->index >= 0) {
    part->slot = OND_SLOT_VARIABLE;
    s->c->variables[part->index].named = true;
    return true;
  }
  for (int i = 0; i < s->c->n_variables && length < sizeof(names); i++) {
    int wrote = snprintf(names + length, sizeof(names) - length, "%s%s", length ? ", " : "", s->c->variables[i].name);

    length += wrote > 0 ? (size_t)wrote : 0;
  }
  fail(at, err, part, "names no variable");
  if (s->c->n_variables > 0) {
    ond_error_hint(err, "\"variables\" has %s.", names);
  } else {
    ond_error_hint(err, "Add it to \"variables\"%s.", s->c->document ? " of the connector or of the object" : " of the destination's options");
  }
  return false;
}

/* The number of a column in what ond_connector_column() lists; appended when it is new. */
static int column_index(OndConnector *c, OndBytes name, OndColumnUse use) {
  for (int i = 0; i < c->n_columns; i++) {
    if (strlen(c->columns[i]) == name.n && memcmp(c->columns[i], name.p, name.n) == 0) {
      c->column_uses[i] |= (int)use;
      return i;
    }
  }
  if (c->n_columns == c->columns_max) {
    const char **old = c->columns;
    int *old_uses = c->column_uses;

    c->columns_max = c->columns_max ? 2 * c->columns_max : 16;
    c->columns = ond_arena_alloc(c->arena, (size_t)c->columns_max * sizeof(*c->columns));
    c->column_uses = ond_arena_alloc(c->arena, (size_t)c->columns_max * sizeof(*c->column_uses));
    if (old) {
      memcpy(c->columns, old, (size_t)c->n_columns * sizeof(*c->columns));
      memcpy(c->column_uses, old_uses, (size_t)c->n_columns * sizeof(*c->column_uses));
    }
  }
  c->columns[c->n_columns] = ond_arena_strndup(c->arena, name.p, name.n);
  c->column_uses[c->n_columns] = (int)use;
  return c->n_columns++;
}

void ond_reference_note_key(const OndScope *s, const OndNode *at, OndTemplatePart *part, OndIdentity *identity) {
  OndKeyUse *use = ond_arena_alloc(s->c->arena, sizeof(*use));
  char pointer[sizeof(((OndError *)0)->pointer)];

  ond_node_pointer(at, pointer, sizeof(pointer));
  use->part = part;
  use->identity = identity;
  use->pointer = ond_arena_strdup(s->c->arena, pointer);
  use->kind = s->o->kind;
  use->next = s->c->key_uses;
  s->c->key_uses = use;
}

/* Adds a name unless it is there. */
static void note_name(OndConnector *c, OndName **list, const char *name) {
  OndName *one;

  for (one = *list; one; one = one->next) {
    if (strcmp(one->name, name) == 0) {
      return;
    }
  }
  one = ond_arena_alloc(c->arena, sizeof(*one));
  one->name = name;
  one->next = *list;
  *list = one;
}

/* {{auth.name}}: a credential of the destination. Paths are shown and logged. */
static bool resolve_auth(const OndScope *s, const OndNode *at, OndTemplatePart *part, const char *name, OndError *err) {
  if (s->path) {
    fail(at, err, part, "is a credential and cannot stand in a path");
    ond_error_hint(err, "Paths are shown and logged; use a header, a query parameter or the body.");
    return false;
  }
  part->slot = OND_SLOT_AUTH;
  note_name(s->c, &s->c->auth_values, ond_arena_strndup(s->c->arena, name, part->name.n - (size_t)(name - part->name.p)));
  return true;
}

static void note_remote(const OndScope *s, const OndNode *at, const char *name) {
  OndRemoteUse *use = ond_arena_alloc(s->c->arena, sizeof(*use));
  char pointer[sizeof(((OndError *)0)->pointer)];

  ond_node_pointer(at, pointer, sizeof(pointer));
  use->name = name;
  use->pointer = ond_arena_strdup(s->c->arena, pointer);
  use->next = s->c->remote_uses;
  s->c->remote_uses = use;
}

/* Words that stand for the request; false: the name is none of them. */
static bool resolve_word(const OndScope *s, OndTemplatePart *part) {
  if (name_is(part, "operation")) {
    part->slot = OND_SLOT_OPERATION;
  } else if (name_is(part, "run_id")) {
    part->slot = OND_SLOT_RUN_ID;
  } else if (s->c->object && name_is(part, "object")) {
    part->slot = OND_SLOT_OBJECT;
  } else if (name_is(part, "idempotency_key")) {
    part->slot = s->each ? OND_SLOT_ROW_KEY : OND_SLOT_REQUEST_KEY;
  } else {
    return false;
  }
  return true;
}

/* Key and remote values; false: the name is none of them. */
static bool resolve_record(const OndScope *s, const OndNode *at, OndTemplatePart *part) {
  if (name_is(part, "key") || name_after(part, "key.")) {
    part->slot = OND_SLOT_KEY;
    ond_reference_note_key(s, at, part, NULL);
  } else if (name_is(part, "remote_id")) {
    part->slot = OND_SLOT_REMOTE_ID;
    note_remote(s, at, NULL);
  } else if (name_after(part, "remote.")) {
    part->slot = OND_SLOT_REMOTE;
    note_remote(s, at, name_after(part, "remote."));
  } else {
    return false;
  }
  return true;
}

/* A name that the list's arguments may have. */
static void note_arg(OndConnector *c, const char *name) {
  const char **more;

  for (int i = 0; i < c->n_args; i++) {
    if (strcmp(c->args[i], name) == 0) {
      return;
    }
  }
  more = ond_arena_alloc(c->arena, (size_t)(c->n_args + 1) * sizeof(*more));
  if (c->n_args > 0) {
    memcpy(more, c->args, (size_t)c->n_args * sizeof(*more));
  }
  more[c->n_args++] = name;
  c->args = more;
}

/* {{cursor}}, {{fields}}, {{arg.x}}; nothing of rows. */
static bool resolve_list(const OndScope *s, const OndNode *at, OndTemplatePart *part, OndError *err) {
  const char *arg = name_after(part, "arg.");

  if (name_is(part, "cursor")) {
    part->slot = OND_SLOT_CURSOR;
    s->c->names_cursor = true;
    return true;
  }
  if (name_is(part, "fields")) {
    part->slot = OND_SLOT_FIELDS;
    return true;
  }
  if (arg) {
    part->slot = OND_SLOT_ARG;
    note_arg(s->c, ond_arena_strndup(s->c->arena, arg, part->name.n - (size_t)(arg - part->name.p)));
    return true;
  }
  fail(at, err, part, "is not known in a list");
  ond_error_hint(err, "A list can name cursor, fields, arg.x, job.x, var.x and object.");
  return false;
}

static bool fail_outside(const OndScope *s, const OndNode *at, const OndTemplatePart *part, OndError *err) {
  char why[120];

  snprintf(why, sizeof(why), "belongs to one row, but a request of \"%s\" carries up to %d", s->o->info.name, s->o->info.batch_rows);
  fail(at, err, part, why);
  ond_error_hint(err, "Put it behind \"$each\", or leave \"batch\" out to send one row a request.");
  return false;
}

/* A connector's document says which columns it counts on: a name that is not among them is a slip of the pen. */
static bool check_column(const OndScope *s, const OndNode *at, const OndTemplatePart *part, OndError *err) {
  if (!s->c->document) {
    return true;
  }
  for (int i = 0; i < s->c->n_known_columns; i++) {
    if (name_is(part, s->c->known_columns[i])) {
      return true;
    }
  }
  fail(at, err, part, "names nothing");
  ond_error_hint(err, "A template can name key, key.x, remote_id, remote.x, var.x, auth.x, object, operation, run_id and idempotency_key, and the columns "
                      "of the model that \"columns\" of the object lists.");
  return false;
}

/* {{job.x}}: what an earlier step has captured. */
static bool resolve_job(const OndScope *s, const OndNode *at, OndTemplatePart *part, const char *name, OndError *err) {
  const char *names[33] = {NULL};
  char joined[200];
  int n = 0;

  part->slot = OND_SLOT_JOB;
  for (const OndName *one = s->c->job_names; one; one = one->next) {
    if (strlen(one->name) == part->name.n - strlen("job.") && memcmp(one->name, name, strlen(one->name)) == 0) {
      note_name(s->c, &s->c->job_uses, one->name);
      return true;
    }
    if (n < 32) {
      names[n++] = one->name;
    }
  }
  fail(at, err, part, "is captured by no earlier step");
  ond_names_join(names, joined, sizeof(joined));
  if (n > 0) {
    ond_error_hint(err, "Earlier steps capture %s.", joined);
  } else {
    ond_error_hint(err, "Write {\"capture\": {\"id\": \"/id\"}} in the step whose answer has it.");
  }
  return false;
}

static bool resolve(const OndScope *s, const OndNode *at, OndTemplatePart *part, OndError *err) {
  const char *variable = part->quoted ? NULL : name_after(part, "var.");

  if (variable) {
    return resolve_variable(s, at, part, variable, err);
  }
  if (!part->quoted && name_after(part, "auth.")) {
    return resolve_auth(s, at, part, name_after(part, "auth."), err);
  }
  if (!s->o) {
    fail(at, err, part, "is not known here");
    ond_error_hint(err, "Outside of operations only variables are known: {{var.name}}.");
    return false;
  }
  if (s->o->kind == OND_KIND_LIST && !part->quoted && name_after(part, "job.")) {
    return resolve_job(s, at, part, name_after(part, "job."), err);
  }
  if (s->o->kind == OND_KIND_LIST && !s->each && !(s->c->object && name_is(part, "object"))) {
    return resolve_list(s, at, part, err);
  }
  if (s->o->is_step && !part->quoted && name_is(part, "cursor")) {
    part->slot = OND_SLOT_CURSOR;
    s->c->names_cursor = true;
    return true;
  }
  if (s->o->is_step && !part->quoted && name_after(part, "job.")) {
    return resolve_job(s, at, part, name_after(part, "job."), err);
  }
  if (!part->quoted && resolve_word(s, part)) {
    return true;
  }
  if (!part->quoted && (name_is(part, "cursor") || name_is(part, "fields") || name_after(part, "arg."))) {
    fail(at, err, part, "has no meaning in an operation that writes");
    ond_error_hint(err, "The row's mapped object is \"$fields\"; a column of that name is written in quotes: {{\"fields\"}}.");
    return false;
  }
  if (!s->rows) {
    return fail_outside(s, at, part, err);
  }
  if (!part->quoted && resolve_record(s, at, part)) {
    return true;
  }
  if (!check_column(s, at, part, err)) {
    return false;
  }
  part->slot = OND_SLOT_COLUMN;
  part->index = column_index(s->c, part->name, s->o->kind == OND_KIND_DELETE ? OND_COLUMN_OF_DELETE : OND_COLUMN_OF_ROW);
  return true;
}

bool ond_reference_resolve(const OndScope *s, const OndNode *at, OndTemplate *t, OndError *err) {
  for (int i = 0; i < t->n; i++) {
    if (t->parts[i].name.p && !resolve(s, at, &t->parts[i], err)) {
      return false;
    }
  }
  return true;
}

bool ond_reference_parse(const OndScope *s, const OndNode *at, const char *text, OndTemplate *out, OndError *err) {
  if (!ond_template_parse(s->c->arena, text, strlen(text), out, err)) {
    return ond_node_place(at, err);
  }
  return ond_reference_resolve(s, at, out, err);
}

OndTemplate ond_reference_idempotency_key(const OndScope *s) {
  OndTemplate t = {.n = 1, .parts = ond_arena_alloc(s->c->arena, sizeof(OndTemplatePart))};

  t.parts[0].name = OND_BYTES_LIT("idempotency_key");
  t.parts[0].slot = s->each ? OND_SLOT_ROW_KEY : OND_SLOT_REQUEST_KEY;
  return t;
}

/* ---- values ---- */

void ond_values_init(OndValues *v, const OndConnector *c, const OndOperation *o, const OndRenderContext *context) {
  *v = (OndValues){.c = c, .o = o, .context = context};
  ond_buf_init(&v->text, OND_VALUE_BYTES_MAX);
  ond_buf_init(&v->filtered, OND_VALUE_BYTES_MAX);
  ond_buf_init(&v->name, 1000);
}

void ond_values_free(OndValues *v) {
  ond_buf_free(&v->text);
  ond_buf_free(&v->filtered);
  ond_buf_free(&v->name);
}

/* The member of an object that a name is about, behind its prefix. */
static OndBytes member_value(OndBytes object, const OndTemplatePart *part, size_t prefix) {
  OndBytes name = {part->name.p + prefix, part->name.n - prefix};
  OndMembers members;
  OndMember member;

  if (object.p && ond_members_begin(&members, object) && members.object) {
    while (ond_members_next(&members, &member)) {
      if (ond_member_is(&member, name)) {
        return member.value;
      }
    }
  }
  return OND_BYTES_NONE;
}

/* The value of an argument. */
static OndBytes arg_value(const OndListInput *list, const OndTemplatePart *part) {
  return member_value(list->args, part, strlen("arg."));
}

/* What a step has captured, or where only the form of the request is wanted its name. */
static OndBytes job_value(OndValues *v, const OndTemplatePart *part) {
  if (!v->context || !v->context->job_unknown) {
    return v->context ? member_value(v->context->job, part, strlen("job.")) : OND_BYTES_NONE;
  }
  ond_buf_reset(&v->name);
  ond_buf_appendf(&v->name, "\"{%.*s}\"", (int)part->name.n, part->name.p);
  return (OndBytes){v->name.data, v->name.len};
}

static OndBytes c_text(const char *s) {
  return s ? (OndBytes){s, strlen(s)} : OND_BYTES_NONE;
}

/* The raw value; *json tells whether the bytes are JSON or text. */
static OndBytes raw_value(OndValues *v, const OndTemplatePart *part, bool *json) {
  *json = part->slot == OND_SLOT_COLUMN || part->slot == OND_SLOT_KEY || part->slot == OND_SLOT_REMOTE || part->slot == OND_SLOT_VARIABLE ||
          part->slot == OND_SLOT_RUN_ID || part->slot == OND_SLOT_CURSOR || part->slot == OND_SLOT_ARG || part->slot == OND_SLOT_JOB;
  switch ((OndSlot)part->slot) {
  case OND_SLOT_COLUMN: return v->row && v->row->columns ? v->row->columns[part->index] : OND_BYTES_NONE;
  case OND_SLOT_KEY: return v->row && part->index >= 0 && part->index < v->row->n_keys ? v->row->keys[part->index] : OND_BYTES_NONE;
  case OND_SLOT_REMOTE_ID: return v->row ? v->row->remote_id : OND_BYTES_NONE;
  case OND_SLOT_REMOTE: return v->row ? member_value(v->row->remote, part, strlen("remote.")) : OND_BYTES_NONE;
  case OND_SLOT_VARIABLE: return v->c->variables[part->index].json;
  case OND_SLOT_OBJECT: return c_text(v->c->object);
  case OND_SLOT_OPERATION: return v->o ? c_text(v->o->info.name) : OND_BYTES_NONE;
  case OND_SLOT_RUN_ID:
    if (!v->context) {
      return OND_BYTES_NONE;
    }
    snprintf(v->number, sizeof(v->number), "%" PRId64, v->context->run_id);
    return c_text(v->number);
  case OND_SLOT_REQUEST_KEY: return v->context ? c_text(v->context->idempotency_key) : OND_BYTES_NONE;
  case OND_SLOT_ROW_KEY: return v->row ? c_text(v->row->idempotency_key) : OND_BYTES_NONE;
  case OND_SLOT_AUTH: return c_text(ond_auth_named_value(v->c->values, part->name.p + 5, part->name.n - 5));
  case OND_SLOT_CURSOR: return v->context && v->context->list ? v->context->list->cursor : OND_BYTES_NONE;
  case OND_SLOT_FIELDS: return v->context && v->context->list ? v->context->list->fields_text : OND_BYTES_NONE;
  case OND_SLOT_JOB: return job_value(v, part);
  case OND_SLOT_ARG: return v->context && v->context->list ? arg_value(v->context->list, part) : OND_BYTES_NONE;
  }
  return OND_BYTES_NONE;
}

bool ond_reference_is_absent(OndValues *v, const OndTemplate *t) {
  bool json;
  OndJsonKind kind;

  if (t->n != 1 || !t->parts[0].name.p || (t->parts[0].slot != OND_SLOT_CURSOR && t->parts[0].slot != OND_SLOT_ARG && t->parts[0].slot != OND_SLOT_FIELDS)) {
    return false;
  }
  if (t->parts[0].slot == OND_SLOT_FIELDS) {
    return !v->context || !v->context->list || !v->context->list->fields_text.p;
  }
  kind = ond_json_kind(raw_value(v, &t->parts[0], &json));
  return kind == OND_JSON_NONE || kind == OND_JSON_NULL;
}

static bool fail_value(const OndTemplatePart *part, const char *why, OndError *err) {
  ond_error_set(err, "{{%.*s}} %s", (int)(part->name.n < 100 ? part->name.n : 100), part->name.p, why);
  return false;
}

/* A column in a delete is what was kept of it. */
static bool fail_kept(const OndTemplatePart *part, OndBytes value, OndError *err) {
  if (value.p) {
    return fail_value(part, "is in doubt: the row was last sent with another value and there was no answer; where the record is must be looked up there", err);
  }
  return fail_value(part, "is not known: it was not kept when this row was delivered; of rows that are in the model resend_sync() and rebase_sync() keep it", err);
}

static bool present_value(OndValues *v, const OndTemplatePart *part, OndBytes *out, bool *json, OndError *err) {
  OndJsonKind kind;

  *out = raw_value(v, part, json);
  if (!*json) {
    if (!out->p && part->slot == OND_SLOT_AUTH) {
      return fail_value(part, "is not resolved", err);
    }
    return out->p || fail_value(part, "has no value in this row", err);
  }
  kind = ond_json_kind(*out);
  if (kind == OND_JSON_NONE && part->slot == OND_SLOT_COLUMN && v->row && v->row->op == OND_OP_DELETE) {
    return fail_kept(part, *out, err);
  }
  if (kind == OND_JSON_NONE || kind == OND_JSON_NULL) {
    return fail_value(part, kind == OND_JSON_NULL ? "is null in this row" : "has no value in this row", err);
  }
  *out = ond_json_trim(*out);
  return true;
}

/* JSON bytes -> text, without a copy where the bytes are the text. */
static bool json_text(OndValues *v, const OndTemplatePart *part, OndBytes *value, OndError *err) {
  OndJsonKind kind = ond_json_kind(*value);

  if (kind == OND_JSON_SCALAR) {
    return true;
  }
  ond_buf_reset(&v->text);
  if (kind == OND_JSON_STRING) {
    OndBytes inside = {value->p + 1, value->n < 2 ? 0 : value->n - 2};

    if (!memchr(inside.p, '\\', inside.n)) {
      *value = inside;
      return true;
    }
    if (!ond_json_unescape(inside, &v->text)) {
      return fail_value(part, "holds text that is not Unicode", err);
    }
  } else if (!ond_json_compact(*value, &v->text)) {
    return fail_value(part, "is too large", err);
  }
  *value = (OndBytes){v->text.data ? v->text.data : "", v->text.len};
  return true;
}

bool ond_reference_text(OndValues *v, const OndTemplatePart *part, OndBytes *out, OndError *err) {
  bool json;

  if (!present_value(v, part, out, &json, err) || (json && !json_text(v, part, out, err))) {
    return false;
  }
  if (part->n_filters == 0) {
    return true;
  }
  ond_buf_reset(&v->filtered);
  if (!ond_template_filter(part, out->p, out->n, &v->filtered, err)) {
    return false;
  }
  *out = (OndBytes){v->filtered.data ? v->filtered.data : "", v->filtered.len};
  return true;
}

bool ond_reference_json(OndValues *v, const OndTemplatePart *part, OndBuf *out, OndError *err) {
  OndBytes value;
  OndTemplate alone = {.n = 1, .parts = (OndTemplatePart *)part};
  bool json;

  if (ond_reference_is_absent(v, &alone)) {
    return ond_buf_append_json_string(out, OND_ABSENT_TEXT, strlen(OND_ABSENT_TEXT));
  }
  if (part->slot == OND_SLOT_FIELDS) {
    return ond_buf_append_bytes(out, v->context->list->fields);
  }
  if (!present_value(v, part, &value, &json, err)) {
    return false;
  }
  return json ? ond_buf_append_bytes(out, value) : ond_buf_append_json_string(out, value.p, value.n);
}

/* Appends text as the inside of a JSON string. */
static bool append_escaped(OndBuf *out, OndBytes text) {
  size_t start = out->len;

  if (!ond_buf_append_json_string(out, text.p, text.n)) {
    return false;
  }
  out->len -= 2;
  memmove(out->data + start, out->data + start + 1, out->len - start);
  out->data[out->len] = '\0';
  return true;
}

/* A reference inside of a JSON string: the bytes of a JSON string fit as they are. */
static bool append_in_string(OndValues *v, const OndTemplatePart *part, OndBuf *out, OndError *err) {
  OndBytes value;
  bool json;

  if (part->n_filters == 0) {
    if (!present_value(v, part, &value, &json, err)) {
      return false;
    }
    if (json && value.n >= 2 && value.p[0] == '"') {
      return ond_buf_append(out, value.p + 1, value.n - 2);
    }
  }
  return ond_reference_text(v, part, &value, err) && append_escaped(out, value);
}

static bool append_part(OndValues *v, const OndTemplatePart *part, OndPlace place, OndBuf *out, OndError *err) {
  OndBytes value = part->literal;

  if (part->name.p) {
    if (place == OND_PLACE_JSON) {
      return append_in_string(v, part, out, err);
    }
    if (!ond_reference_text(v, part, &value, err)) {
      return false;
    }
    if (memchr(value.p, 0, value.n)) {
      return fail_value(part, "holds a NUL character", err);
    }
  }
  if (part->slot == OND_SLOT_JOB && v->context && v->context->job_unknown) {
    return ond_buf_append_bytes(out, value); /* for people */
  }
  if (place == OND_PLACE_QUERY || (place == OND_PLACE_PATH && part->name.p)) {
    return ond_url_encode(out, value.p, value.n);
  }
  return ond_buf_append_bytes(out, value);
}

bool ond_reference_append(OndValues *v, const OndTemplate *t, OndPlace place, OndBuf *out, OndError *err) {
  for (int i = 0; i < t->n; i++) {
    if (!append_part(v, &t->parts[i], place, out, err)) {
      return false;
    }
  }
  return true;
}

/* ---- texts that are the same for all rows ---- */

bool ond_reference_constant(OndConnector *c, const OndNode *at, const char *text, const char **out, OndError *err) {
  OndScope scope = {.c = c};
  OndTemplate t;
  OndValues values;
  OndBuf whole;
  bool ok;

  *out = NULL;
  if (!ond_reference_parse(&scope, at, text, &t, err)) {
    return false;
  }
  for (int i = 0; i < t.n; i++) {
    if (t.parts[i].name.p && t.parts[i].slot != OND_SLOT_VARIABLE) {
      return fail(at, err, &t.parts[i], "is not known here");
    }
    if (t.parts[i].name.p && !c->variables[t.parts[i].index].json.p) {
      return true;
    }
  }
  ond_values_init(&values, c, NULL, NULL);
  ond_buf_init(&whole, 1000);
  ok = ond_reference_append(&values, &t, OND_PLACE_TEXT, &whole, err) || ond_node_place(at, err);
  if (ok) {
    *out = ond_arena_strndup(c->arena, whole.data ? whole.data : "", whole.len);
  }
  ond_buf_free(&whole);
  ond_values_free(&values);
  return ok;
}

bool ond_reference_pointer(OndConnector *c, const OndNode *at, OndJsonPtr *out, OndError *err) {
  const char *text;

  if (!ond_node_json_pointer(at, c->arena, out, err)) {
    return false;
  }
  for (int i = 0; i < out->n; i++) {
    if (!ond_reference_constant(c, at, out->tokens[i].p, &text, err)) {
      return false;
    }
    if (text) {
      out->tokens[i] = (OndBytes){text, strlen(text)};
    }
  }
  return true;
}
