/*
 * fields.c - values, fields and version of a model row; see fields.h.
 *
 * A row's values are encoded one after the other into one buffer. Where every field is a column of its own (`direct`, the usual mapping), they stand in
 * it in the order and with the heads that the version is made of, so that it is the hash of the buffer's first part as it is; an unchanged row
 * needs nothing else, and the fields are made only when somebody asks for them. Constants, templates and lookups: fields first, then the hash of
 * their copy.
 *
 * Does not: decide what an invalid or changed row means (diff.c), put the payload together (connector/mapping.c).
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "engine/encode.h"
#include "engine/fields.h"
#include "engine/kept.h"
#include "engine/version.h"

/* A value's turn in the buffer. */
typedef struct Step {
  int value;
  OndEncoder *encoder;
  const OndHashedField *hashed; /* NULL: no head; those that have one come first */
  bool null_omit;
} Step;

struct OndFields {
  const OndSpec *spec;
  OndHasher *hasher;
  bool direct;
  int n_steps;
  Step *steps;
  StringInfoData bytes;
  int *starts;                /* by value, in bytes */
  OndBytes *values;           /* by value; n is set at once, p when they are located; n == 0: NULL */
  bool made;                  /* located, and fields are made of them */
  int n_fields;
  const OndField **mapped;
  OndBytes *fields;           /* by mapping field */
  OndBytes *columns;          /* by template column */
};

static const OndBytes JSON_NULL = {"null", 4};

/* --- what to do for each row ------------------------------------------------------------------------------ */

static void add_step(OndFields *f, int value, const OndHashedField *hashed) {
  Step *step = &f->steps[f->n_steps++];

  step->value = value;
  step->encoder = ond_encoder_create(f->spec->values[value].type, f->spec->values[value].name);
  step->hashed = hashed;
  step->null_omit = hashed != NULL && f->mapped[hashed->field]->null_omit;
}

/* Is each field a column, and each hashed one a column of its own? */
static bool is_direct(const OndFields *f) {
  bool *taken = palloc0(sizeof(bool) * Max(f->spec->n_values, 1));

  for (int i = 0; i < f->n_fields; i++)
    if (f->spec->field_value[i] < 0 || f->mapped[i]->kind == OND_SOURCE_LOOKUP)
      return false;
  for (int i = 0; i < f->hasher->n; i++) {
    int value = f->spec->field_value[f->hasher->fields[i].field];

    if (taken[value])
      return false;
    taken[value] = true;
  }
  return true;
}

static void plan_steps(OndFields *f) {
  bool *taken = palloc0(sizeof(bool) * Max(f->spec->n_values, 1));

  f->direct = is_direct(f);
  f->steps = palloc0(sizeof(Step) * Max(f->spec->n_values, 1));
  for (int i = 0; f->direct && i < f->hasher->n; i++) {
    int value = f->spec->field_value[f->hasher->fields[i].field];

    add_step(f, value, &f->hasher->fields[i]);
    taken[value] = true;
  }
  for (int value = 0; value < f->spec->n_values; value++)
    if (!taken[value])
      add_step(f, value, NULL);
}

OndFields *ond_fields_create(const OndSpec *spec, uint64 seed) {
  OndFields *f = palloc0(sizeof(OndFields));

  f->spec = spec;
  f->hasher = ond_hasher_create(spec->mapping, seed);
  f->n_fields = ond_mapping_count(spec->mapping);
  f->mapped = palloc(sizeof(OndField *) * Max(f->n_fields, 1));
  for (int i = 0; i < f->n_fields; i++)
    f->mapped[i] = ond_mapping_field(spec->mapping, i);
  plan_steps(f);
  initStringInfo(&f->bytes);
  f->starts = palloc0(sizeof(int) * Max(spec->n_values, 1));
  f->values = palloc0(sizeof(OndBytes) * Max(spec->n_values, 1));
  f->fields = palloc0(sizeof(OndBytes) * Max(f->n_fields, 1));
  f->columns = palloc0(sizeof(OndBytes) * Max(spec->n_template_columns, 1));
  return f;
}

/* --- encoding --------------------------------------------------------------------------------------------- */

static void encode_null(OndFields *f, const Step *step) {
  f->values[step->value].n = 0;
  if (step->hashed == NULL || step->null_omit)
    return;
  ond_hashed_begin(&f->bytes, step->hashed, (uint32)JSON_NULL.n);
  ond_put(&f->bytes, JSON_NULL.p, JSON_NULL.n);
}

static void encode_value(OndFields *f, const Step *step, Datum value, OndFieldsRow *out) {
  const char *problem;
  uint32 length;
  int start;

  if (step->hashed != NULL)
    ond_hashed_begin(&f->bytes, step->hashed, 0);
  start = f->bytes.len;
  problem = ond_encode(step->encoder, value, &f->bytes);
  if (unlikely(problem != NULL) && out->problem == NULL)
    out->problem = psprintf("%s %s", f->spec->values[step->value].name, problem);
  length = (uint32)(f->bytes.len - start);
  if (step->hashed != NULL)
    memcpy(f->bytes.data + start - sizeof(length), &length, sizeof(length));
  f->starts[step->value] = start;
  f->values[step->value].n = length;
}

/* How many bytes count for a direct version. */
static Size encode(OndFields *f, const Datum *values, const bool *nulls, OndFieldsRow *out) {
  Size hashed = 0;

  resetStringInfo(&f->bytes);
  for (int i = 0; i < f->n_steps; i++) {
    const Step *step = &f->steps[i];

    if (nulls[step->value])
      encode_null(f, step);
    else
      encode_value(f, step, values[step->value], out);
    if (step->hashed != NULL)
      hashed = (Size)f->bytes.len;
  }
  return hashed;
}

/* --- fields ----------------------------------------------------------------------------------------------- */

static bool value_is_null(const OndBytes *value) {
  return value->n == 0;
}

static OndBytes template_field(OndFields *f, int number, OndFieldsRow *out) {
  const OndField *field = f->mapped[number];
  StringInfoData text, json;

  initStringInfo(&text);
  for (int i = 0; i < field->template.n; i++) {
    const OndTemplatePart *part = &field->template.parts[i];
    int value = f->spec->field_parts[number][i];
    StringInfoData one;
    OndBuf filtered;
    OndError err = {0};

    if (value < 0) {
      appendBinaryStringInfo(&text, part->literal.p, (int)part->literal.n);
      continue;
    }
    initStringInfo(&one);
    if (value_is_null(&f->values[value]) || !ond_json_text(f->values[value], &one)) {
      if (!field->null_given && out->problem == NULL)
        out->problem = psprintf("field \"%s\" needs column \"%s\", which is NULL", field->target, f->spec->values[value].name);
      return field->null_omit ? OND_BYTES_NONE : JSON_NULL;
    }
    ond_buf_init(&filtered, one.len * 6 + 1024);
    if (!ond_template_filter(part, one.data, (size_t)one.len, &filtered, &err) && out->problem == NULL)
      out->problem = psprintf("field \"%s\": %s", field->target, err.message);
    appendBinaryStringInfo(&text, filtered.len > 0 ? filtered.data : "", (int)filtered.len);
    ond_buf_free(&filtered);
  }
  initStringInfo(&json);
  ond_append_json_string(&json, text.data, (Size)text.len);
  return (OndBytes){json.data, (size_t)json.len};
}

/* No remote id: because the row names no counterpart, or because that has none (yet). */
static void note_missing(const OndFields *f, int number, OndFieldsRow *out) {
  const OndField *field = f->mapped[number];
  const OndJoin *join = &f->spec->joins[f->spec->field_join[number]];
  StringInfoData s;

  for (int i = 0; i < join->n_by; i++)
    if (value_is_null(&f->values[join->by[i]]))
      return;
  if (field->missing == OND_MISSING_NULL)
    return;
  initStringInfo(&s);
  appendStringInfo(&s, "field \"%s\": sync \"%s\" has no remote id for (", field->target, field->text);
  for (int i = 0; i < join->n_by; i++)
    appendStringInfo(&s, "%s%.*s", i > 0 ? ", " : "", (int)Min(f->values[join->by[i]].n, 200), f->values[join->by[i]].p);
  appendStringInfoChar(&s, ')');
  if (field->missing == OND_MISSING_WAIT)
    out->waits = s.data;
  else if (out->problem == NULL)
    out->problem = s.data;
}

static void make(OndFields *f, OndFieldsRow *out) {
  for (int i = 0; i < f->spec->n_values; i++)
    f->values[i].p = f->bytes.data + f->starts[i];
  for (int i = 0; i < f->n_fields; i++) {
    const OndField *field = f->mapped[i];
    int value = f->spec->field_value[i];

    if (field->kind == OND_SOURCE_LOOKUP && value_is_null(&f->values[value]))
      note_missing(f, i, out);
    if (value >= 0)
      f->fields[i] = !value_is_null(&f->values[value]) ? f->values[value] : field->null_omit ? OND_BYTES_NONE : JSON_NULL;
    else if (field->kind == OND_SOURCE_CONST)
      f->fields[i] = (OndBytes){field->text, strlen(field->text)};
    else
      f->fields[i] = template_field(f, i, out);
  }
  f->made = true;
}

/* --- kept columns ----------------------------------------------------------------------------------------- */

static Size kept_bytes(const OndFields *f) {
  Size n = 0;

  for (int i = 0; i < f->spec->n_kept; i++)
    n += f->values[f->spec->kept_value[i]].n;
  return n;
}

OndBytes ond_fields_kept(OndFields *f) {
  const OndSpec *spec = f->spec;
  StringInfoData s;

  if (spec->n_kept == 0)
    return OND_BYTES_NONE;
  (void)ond_fields_of_mapping(f);
  initStringInfo(&s);
  for (int i = 0; i < spec->n_kept; i++) {
    const OndBytes *value = &f->values[spec->kept_value[i]];

    appendStringInfoChar(&s, i == 0 ? '{' : ',');
    ond_append_json_string(&s, spec->kept_name[i], strlen(spec->kept_name[i]));
    appendStringInfoChar(&s, ':');
    ond_put(&s, value_is_null(value) ? JSON_NULL.p : value->p, value_is_null(value) ? JSON_NULL.n : value->n);
  }
  appendStringInfoChar(&s, '}');
  return (OndBytes){s.data, (size_t)s.len};
}

/* --- a row ------------------------------------------------------------------------------------------------ */

void ond_fields_read(OndFields *f, const Datum *values, const bool *nulls, OndFieldsRow *out) {
  Size hashed;

  out->problem = out->waits = NULL;
  f->made = false;
  hashed = encode(f, values, nulls, out);
  if (unlikely(kept_bytes(f) > OND_KEPT_BYTES_MAX) && out->problem == NULL)
    out->problem = psprintf("the columns of option keep have more than %d bytes", OND_KEPT_BYTES_MAX);
  if (!f->direct)
    make(f, out);
  if (out->problem == NULL)
    out->version = f->direct ? ond_hasher_digest(f->hasher, f->bytes.data, hashed) : ond_hasher_hash(f->hasher, f->fields);
}

const OndBytes *ond_fields_of_mapping(OndFields *f) {
  OndFieldsRow none; /* direct fields have no problems of their own */

  if (!f->made)
    make(f, &none);
  return f->fields;
}

const OndBytes *ond_fields_of_templates(OndFields *f) {
  (void)ond_fields_of_mapping(f);
  for (int i = 0; i < f->spec->n_template_columns; i++) {
    int number = f->spec->template_value[i];
    const OndBytes *value = number < 0 ? &OND_BYTES_NONE : &f->values[number];

    f->columns[i] = number >= 0 && value_is_null(value) ? JSON_NULL : *value;
  }
  return f->columns;
}
