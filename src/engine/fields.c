/*
 * fields.c - values, fields and version of a model row; see fields.h.
 *
 * The version is made of the values' canonical forms (canonical.h), which costs no text; an unchanged row needs nothing else. JSON and the fields are
 * made only when somebody asks for them, from the values that were read, or at once where a field can have a problem of its own (templates, lookups) or a
 * kept column may be too long. Constants and templates are hashed as the JSON they are.
 *
 * Does not: decide what an invalid or changed row means (diff.c), put the payload together (connector/mapping.c).
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "engine/canonical.h"
#include "engine/encode.h"
#include "engine/fields.h"
#include "engine/kept.h"
#include "engine/version.h"

/* A value's turn, or that of a field that is made of none. */
typedef struct Step {
  int value;                  /* -1: the field's JSON */
  int field;                  /* -1: is not hashed, only looked at: can it be sent? */
  bool null_omit;
  OndForm form;               /* of the value */
} Step;

struct OndFields {
  const OndSpec *spec;
  OndHasher *hasher;
  bool eager;                 /* fields are made at once */
  int n_steps;
  Step *steps;                /* what is hashed comes first */
  OndEncoder **encoders;      /* by value */
  StringInfoData canonical, bytes;
  const Datum *row;           /* that was read last */
  const bool *nulls;
  int *starts;                /* by value, in bytes */
  OndBytes *values;           /* by value, as JSON; n == 0: NULL */
  bool made;                  /* values and fields are there */
  int n_fields;
  const OndField **mapped;
  OndBytes *fields;           /* by mapping field */
  OndBytes *columns;          /* by template column */
};

static const OndBytes JSON_NULL = {"null", 4};

/* --- what to do for each row ------------------------------------------------------------------------------ */

static void plan_steps(OndFields *f) {
  bool *taken = palloc0(sizeof(bool) * Max(f->spec->n_values, 1));

  f->eager = f->spec->n_kept > 0;
  for (int i = 0; i < f->n_fields; i++)
    f->eager = f->eager || f->mapped[i]->kind == OND_SOURCE_LOOKUP || (f->spec->field_value[i] < 0 && f->mapped[i]->kind != OND_SOURCE_CONST);
  f->steps = palloc0(sizeof(Step) * Max(f->hasher->n + f->spec->n_values, 1));
  for (int i = 0; i < f->hasher->n; i++) {
    int field = f->hasher->fields[i];
    int value = f->spec->field_value[field];
    OndForm form = value >= 0 ? ond_canonical_form(f->encoders[value]) : OND_FORM_OTHER;

    f->steps[f->n_steps++] = (Step){value, field, f->mapped[field]->null_omit, form};
    if (value >= 0)
      taken[value] = true;
  }
  for (int value = 0; value < f->spec->n_values; value++)
    if (!taken[value])
      f->steps[f->n_steps++] = (Step){value, -1, false, ond_canonical_form(f->encoders[value])};
}

static OndBytes const_field(const OndField *field) {
  return (OndBytes){field->text, strlen(field->text)};
}

OndFields *ond_fields_create(const OndSpec *spec, uint64 seed) {
  OndFields *f = palloc0(sizeof(OndFields));

  f->spec = spec;
  f->hasher = ond_hasher_create(spec->mapping, seed);
  f->n_fields = ond_mapping_count(spec->mapping);
  f->mapped = palloc(sizeof(OndField *) * Max(f->n_fields, 1));
  for (int i = 0; i < f->n_fields; i++)
    f->mapped[i] = ond_mapping_field(spec->mapping, i);
  f->encoders = palloc(sizeof(OndEncoder *) * Max(spec->n_values, 1));
  for (int i = 0; i < spec->n_values; i++)
    f->encoders[i] = ond_encoder_create(spec->values[i].type, spec->values[i].name);
  plan_steps(f);
  initStringInfo(&f->canonical);
  initStringInfo(&f->bytes);
  f->starts = palloc0(sizeof(int) * Max(spec->n_values, 1));
  f->values = palloc0(sizeof(OndBytes) * Max(spec->n_values, 1));
  f->fields = palloc0(sizeof(OndBytes) * Max(f->n_fields, 1));
  f->columns = palloc0(sizeof(OndBytes) * Max(spec->n_template_columns, 1));
  for (int i = 0; i < f->n_fields; i++)
    if (f->mapped[i]->kind == OND_SOURCE_CONST)
      f->fields[i] = const_field(f->mapped[i]);
  return f;
}

/* --- encoding --------------------------------------------------------------------------------------------- */

static void note_problem(OndFields *f, int value, const char *problem, OndFieldsRow *out) {
  if (unlikely(problem != NULL) && out->problem == NULL)
    out->problem = psprintf("%s %s", f->spec->values[value].name, problem);
}

static void hash_json(OndFields *f, const Step *step) {
  if (f->fields[step->field].p == NULL)
    ond_canonical_tag(&f->canonical, OND_TAG_MISSING);
  else
    ond_canonical_sized(&f->canonical, 'j', f->fields[step->field].p, f->fields[step->field].n);
}

static void append_canonical(OndFields *f, const Step *step, const Step *end, OndFieldsRow *out) {
  const Datum *row = f->row;
  const bool *nulls = f->nulls;

  for (; step < end; step++) {
    int value = step->value;

    if (value < 0)
      hash_json(f, step);
    else if (nulls[value])
      ond_canonical_tag(&f->canonical, step->null_omit ? OND_TAG_MISSING : OND_TAG_NULL);
    else if (!ond_canonical_quick(step->form, row[value], &f->canonical))
      note_problem(f, value, ond_encode_canonical(f->encoders[value], row[value], &f->canonical), out);
  }
}

/* The canonical form of the row: how many of its bytes make the version. */
static Size canonical(OndFields *f, OndFieldsRow *out) {
  const Step *unhashed = f->steps + f->hasher->n;
  Size hashed;

  resetStringInfo(&f->canonical);
  ond_put(&f->canonical, f->hasher->targets.b, sizeof(f->hasher->targets.b));
  append_canonical(f, f->steps, unhashed, out);
  hashed = (Size)f->canonical.len;
  append_canonical(f, unhashed, f->steps + f->n_steps, out);
  return hashed;
}

/* Values as JSON. */
static void encode(OndFields *f, OndFieldsRow *out) {
  resetStringInfo(&f->bytes);
  for (int i = 0; i < f->spec->n_values; i++) {
    f->starts[i] = f->bytes.len;
    if (!f->nulls[i])
      note_problem(f, i, ond_encode(f->encoders[i], f->row[i], &f->bytes), out);
    f->values[i].n = (size_t)(f->bytes.len - f->starts[i]);
  }
  for (int i = 0; i < f->spec->n_values; i++)
    f->values[i].p = f->bytes.data + f->starts[i];
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
  encode(f, out);
  for (int i = 0; i < f->n_fields; i++) {
    const OndField *field = f->mapped[i];
    int value = f->spec->field_value[i];

    if (field->kind == OND_SOURCE_LOOKUP && value_is_null(&f->values[value]))
      note_missing(f, i, out);
    if (value >= 0)
      f->fields[i] = !value_is_null(&f->values[value]) ? f->values[value] : field->null_omit ? OND_BYTES_NONE : JSON_NULL;
    else if (field->kind != OND_SOURCE_CONST)
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
  f->row = values;
  f->nulls = nulls;
  f->made = false;
  if (f->eager)
    make(f, out);
  if (unlikely(f->eager && kept_bytes(f) > OND_KEPT_BYTES_MAX) && out->problem == NULL)
    out->problem = psprintf("the columns of option keep have more than %d bytes", OND_KEPT_BYTES_MAX);
  hashed = canonical(f, out);
  if (out->problem == NULL)
    out->version = ond_hasher_digest(f->hasher, f->canonical.data, hashed);
}

const OndBytes *ond_fields_of_mapping(OndFields *f) {
  OndFieldsRow none = {0}; /* what has problems of its own was made when the row was read */

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
