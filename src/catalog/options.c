/*
 * options.c - `options` of a sync: one table of what there is, with kinds and ranges.
 *
 * An unknown member, a wrong type and a value out of range are errors 22023 whose hint says what is valid. What depends on the model
 * (does the cursor column exist?) is checked by the engine.
 *
 * Durations are texts ('30 seconds', '500ms'); the two time-outs may also be numbers, milliseconds like the server's settings of that kind.
 */
#include "postgres.h"

#include <limits.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "catalog/session.h"
#include "catalog/sync.h"

#define MAX_ATTEMPTS_DEFAULT 10
#define ERROR_AFTER_DEFAULT  5
#define MAX_DELETES_PERCENT  10
#define MAX_DELETES_FLOOR    20
#define ALERT_EVERY_US       (INT64CONST(5) * 60 * 1000000)

typedef enum Kind {
  KIND_INT,
  KIND_WAIT,    /* duration, microseconds, 0 allowed */
  KIND_EVERY,   /* duration, microseconds, more than 0 */
  KIND_TIMEOUT, /* duration or milliseconds; 0: none */
  KIND_TEXT,
  KIND_TEXT_NUMBER, /* text or number, kept as text */
  KIND_RATE,
  KIND_VARIABLES,
  KIND_ON_LEAVE,
  KIND_ON_UNKNOWN,
  KIND_LIMIT,
  KIND_ON_EMPTY,
  KIND_ON_CONFIG_CHANGE,
  KIND_KEEP,
  KIND_SYNC_LOG,
  KIND_BOOL,
  KIND_AFTER,
  KIND_CHECKS,
  KIND_ALERT,
  KIND_FIELDS,
  KIND_PERCENT
} Kind;

typedef struct Option {
  const char *name;
  Kind kind;
  size_t offset;
  int min, max; /* KIND_INT */
} Option;

#define FIELD(f) offsetof(OndSyncOptions, f)

static const Option options_table[] = {
    {"batch_size", KIND_INT, FIELD(batch_size), 1, 100000},
    {"concurrency", KIND_INT, FIELD(concurrency), 1, 1000},
    {"rate_limit", KIND_RATE, FIELD(rate_limit), 0, 0},
    {"variables", KIND_VARIABLES, FIELD(variables), 0, 0},
    {"keep", KIND_KEEP, 0, 0, 0},
    {"render", KIND_TEXT, FIELD(render), 0, 0},
    {"parse", KIND_TEXT, FIELD(parse), 0, 0},
    {"finalize", KIND_TEXT, FIELD(finalize), 0, 0},
    {"on_leave", KIND_ON_LEAVE, FIELD(on_leave), 0, 0},
    {"on_unknown", KIND_ON_UNKNOWN, 0, 0, 0},
    {"in_doubt_wait", KIND_WAIT, FIELD(in_doubt_wait_us), 0, 0},
    {"max_attempts", KIND_INT, FIELD(max_attempts), 1, 1000},
    {"error_after", KIND_INT, FIELD(error_after), 1, 10000},
    {"cursor_column", KIND_TEXT, FIELD(cursor_column), 0, 0},
    {"cursor_overlap", KIND_TEXT_NUMBER, FIELD(cursor_overlap), 0, 0},
    {"full_every", KIND_EVERY, FIELD(full_every_us), 0, 0},
    {"statement_timeout", KIND_TIMEOUT, FIELD(statement_timeout_ms), 0, 0},
    {"run_timeout", KIND_TIMEOUT, FIELD(run_timeout_ms), 0, 0},
    {"max_deletes", KIND_LIMIT, FIELD(max_deletes), 0, 0},
    {"max_changes", KIND_LIMIT, FIELD(max_changes), 0, 0},
    {"on_empty", KIND_ON_EMPTY, FIELD(empty_runs), 0, 0},
    {"on_config_change", KIND_ON_CONFIG_CHANGE, FIELD(on_config_change), 0, 0},
    {"sync_log", KIND_SYNC_LOG, FIELD(sync_log), 0, 0},
    {"jitter", KIND_WAIT, FIELD(jitter_us), 0, 0},
    {"after", KIND_AFTER, 0, 0, 0},
    {"refresh", KIND_BOOL, FIELD(refresh), 0, 0},
    {"checks", KIND_CHECKS, 0, 0, 0},
    {"alert", KIND_ALERT, 0, 0, 0},
};

/* Members of "alert". */
static const Option alert_table[] = {
    {"destination", KIND_TEXT, FIELD(alert.destination), 0, 0},
    {"object", KIND_TEXT, FIELD(alert.object), 0, 0},
    {"variables", KIND_VARIABLES, FIELD(alert.variables), 0, 0},
    {"fields", KIND_FIELDS, FIELD(alert.fields), 0, 0},
    {"failed", KIND_INT, FIELD(alert.rules.failed), 0, 1000},
    {"partial", KIND_PERCENT, FIELD(alert.rules.partial_percent), 0, 0},
    {"held", KIND_BOOL, FIELD(alert.rules.held), 0, 0},
    {"error", KIND_BOOL, FIELD(alert.rules.error), 0, 0},
    {"slower_than", KIND_EVERY, FIELD(alert.rules.slower_than_us), 0, 0},
    {"no_run_since", KIND_EVERY, FIELD(alert.rules.no_run_us), 0, 0},
    {"at_most_every", KIND_WAIT, FIELD(alert.every_us), 0, 0},
};

static const Option *find_option(const Option *table, int n, const char *name) {
  for (int i = 0; i < n; i++) {
    if (strcmp(table[i].name, name) == 0) {
      return &table[i];
    }
  }
  return NULL;
}

static _Noreturn void refuse_unknown(const char *of, const Option *table, int n, const char *name);
static void refuse_unknown(const char *of, const Option *table, int n, const char *name) {
  StringInfoData names;

  initStringInfo(&names);
  for (int i = 0; i < n; i++) {
    appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", table[i].name);
  }
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown option \"%s\" of %s", name, of),
                  errhint("Valid options are %s.", names.data)));
}

/* A scalar as its text; an array or object as its JSON. */
static char *value_text(const JsonbValue *v) {
  switch (v->type) {
  case jbvString: return pnstrdup(v->val.string.val, v->val.string.len);
  case jbvNumeric: return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v->val.numeric)));
  case jbvBool: return pstrdup(v->val.boolean ? "true" : "false");
  case jbvBinary: return JsonbToCString(NULL, v->val.binary.data, v->val.binary.len);
  default: return pstrdup("null");
  }
}

static _Noreturn void refuse_value(const Option *o, const JsonbValue *v, const char *hint);
static void refuse_value(const Option *o, const JsonbValue *v, const char *hint) {
  const char *quote = v->type == jbvString ? "\"" : "";

  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                  errmsg("invalid value for option \"%s\": %s%s%s", o->name, quote, value_text(v), quote), errhint("%s", hint)));
}

static int read_int(const Option *o, const JsonbValue *v) {
  char *end = NULL;
  long n = 0;

  if (v->type == jbvNumeric) {
    char *text = value_text(v);

    errno = 0;
    n = strtol(text, &end, 10);
    if (errno != 0) {
      end = NULL;
    }
  }
  if (end == NULL || *end != '\0' || n < o->min || n > o->max) {
    refuse_value(o, v, psprintf("Use a whole number from %d to %d.", o->min, o->max));
  }
  return (int)n;
}

/* Microseconds, or -1. Words first ('15 minutes'), then the form of the server's settings ('500ms'). */
static int64 read_duration(const JsonbValue *v, bool number_is_ms) {
  OndSchedule s;
  OndError ignored;
  int ms;

  if (v->type != jbvString && !(number_is_ms && v->type == jbvNumeric)) {
    return -1;
  }
  if (v->type == jbvString && ond_schedule_parse(value_text(v), &s, &ignored) && s.kind == OND_SCHEDULE_INTERVAL) {
    return s.months == 0 ? s.us : -1;
  }
  if (!parse_int(value_text(v), &ms, GUC_UNIT_MS, NULL) || ms < 0) {
    return -1;
  }
  return (int64)ms * 1000;
}

static int64 read_wait(const Option *o, const JsonbValue *v) {
  int64 us = read_duration(v, false);

  if (us < 0 || (us == 0 && o->kind == KIND_EVERY)) {
    refuse_value(o, v, "Use a duration such as '30 seconds', '15 minutes' or '1 day'.");
  }
  return us;
}

static int read_timeout_ms(const Option *o, const JsonbValue *v) {
  int64 us = read_duration(v, true);

  if (us < 0 || us / 1000 > INT_MAX) {
    refuse_value(o, v, "Use a duration such as '30 seconds' or '15 minutes', or a number of milliseconds; 0 means no limit.");
  }
  return (int)(us / 1000);
}

static char *read_text(const Option *o, const JsonbValue *v) {
  if (v->type != jbvString && !(o->kind == KIND_TEXT_NUMBER && v->type == jbvNumeric)) {
    refuse_value(o, v, o->kind == KIND_TEXT ? "Use a text." : "Use a text such as '5 minutes', or a number.");
  }
  if (v->type == jbvString && v->val.string.len == 0) {
    refuse_value(o, v, "It must not be empty; null removes the option.");
  }
  return value_text(v);
}

static void add_rate(const Option *o, const JsonbValue *v, OndRateGroup *group) {
  OndError err;

  if (v->type != jbvString || group->n == OND_RATE_WINDOWS_MAX) {
    refuse_value(o, v, psprintf("Use a text such as \"100/10s\", or a list of up to %d of them.", OND_RATE_WINDOWS_MAX));
  }
  if (!ond_rate_limit_parse(value_text(v), &group->limits[group->n], &err)) {
    ond_raise(&err);
  }
  group->n++;
}

static void read_rate(const Option *o, const JsonbValue *v, OndRateGroup *group) {
  strlcpy(group->name, "default", sizeof(group->name));
  if (v->type == jbvBinary && JsonContainerIsArray(v->val.binary.data)) {
    JsonbIterator *it = JsonbIteratorInit(v->val.binary.data);
    JsonbValue item;
    JsonbIteratorToken token;

    while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE) {
      if (token == WJB_ELEM) {
        add_rate(o, &item, group);
      }
    }
  } else {
    add_rate(o, v, group);
  }
}

/* An object of scalars, as its text; which names there are is the connector's. */
static char *read_variables(const Option *o, const JsonbValue *v) {
  static const char *const hint = "Use an object of texts, numbers and booleans, such as {\"list_id\": \"a1b2\"}.";
  JsonbIterator *it;
  JsonbValue item;
  JsonbIteratorToken token;

  if (v->type != jbvBinary || !JsonContainerIsObject(v->val.binary.data)) {
    refuse_value(o, v, hint);
  }
  it = JsonbIteratorInit(v->val.binary.data);
  while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE) {
    if (token == WJB_VALUE && item.type != jbvString && item.type != jbvNumeric && item.type != jbvBool) {
      refuse_value(o, v, hint);
    }
  }
  return value_text(v);
}

static bool is_word(const JsonbValue *v, const char *word) {
  return v->type == jbvString && v->val.string.len == (int)strlen(word) && memcmp(v->val.string.val, word, v->val.string.len) == 0;
}

static void read_on_leave(const Option *o, const JsonbValue *v, OndMode mode, OndSyncOptions *out) {
  if (mode == OND_MODE_MIRROR) {
    if (!is_word(v, "delete")) {
      refuse_value(o, v, "Mode mirror deletes what leaves the model; use mode upsert to keep it there.");
    }
  } else if (is_word(v, "keep")) {
    out->on_leave = OND_LEAVE_KEEP;
  } else if (is_word(v, "forget")) {
    out->on_leave = OND_LEAVE_FORGET;
  } else if (is_word(v, "delete")) {
    refuse_value(o, v, "Only mode mirror deletes; the other modes take keep or forget.");
  } else {
    refuse_value(o, v, "Use keep or forget; in mode mirror it is delete.");
  }
}

static const char limit_hint[] = "Use a number of rows, a part such as \"5%\", or both: {\"percent\": 10, \"floor\": 20}.";

/* A whole number of rows, or a part in percent (whole: false); -1: neither. */
static double limit_number(const JsonbValue *v, bool whole) {
  double n = v->type == jbvNumeric ? DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(v->val.numeric))) : -1;

  return n < 0 || n > (whole ? 1e15 : 100) || (whole && n != (double)(int64)n) ? -1 : n;
}

static bool read_limit_object(const JsonbValue *v, OndLimit *limit) {
  JsonbIterator *it = JsonbIteratorInit(v->val.binary.data);
  JsonbValue item;
  JsonbIteratorToken token;
  char *name = NULL;

  while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE) {
    double n;

    if (token == WJB_KEY) {
      name = value_text(&item);
    }
    if (token != WJB_VALUE) {
      continue;
    }
    n = limit_number(&item, strcmp(name, "floor") == 0);
    if (n < 0 || (strcmp(name, "percent") != 0 && strcmp(name, "floor") != 0)) {
      return false;
    }
    if (strcmp(name, "percent") == 0) {
      limit->percent = n;
    } else {
      limit->rows = (int64)n;
    }
  }
  return limit->percent >= 0;
}

bool ond_option_limit(const JsonbValue *v, OndLimit *limit) {
  *limit = (OndLimit){true, -1, 0};
  if (v->type == jbvNumeric) {
    limit->rows = (int64)limit_number(v, true);
    return limit->rows >= 0;
  }
  if (v->type == jbvString) {
    return ond_limit_percent(value_text(v), &limit->percent);
  }
  return v->type == jbvBinary && JsonContainerIsObject(v->val.binary.data) && read_limit_object(v, limit);
}

static void read_limit(const Option *o, const JsonbValue *v, OndLimit *limit) {
  if (!ond_option_limit(v, limit)) {
    refuse_value(o, v, limit_hint);
  }
}

int64 ond_option_duration_us(const char *text) {
  JsonbValue v = {.type = jbvString};

  v.val.string.val = unconstify(char *, text);
  v.val.string.len = (int)strlen(text);
  return read_duration(&v, false);
}

/* The number of the word among the three; the last may be NULL. */
static int read_word(const Option *o, const JsonbValue *v, const char *first, const char *second, const char *third) {
  const char *const words[] = {first, second, third};

  for (int i = 0; i < 3 && words[i] != NULL; i++) {
    if (is_word(v, words[i])) {
      return i;
    }
  }
  refuse_value(o, v, third == NULL ? psprintf("Use %s or %s.", first, second) : psprintf("Use %s, %s or %s.", first, second, third));
}

/* Names of columns; whether the model has them is the engine's to say. */
static void read_keep(const Option *o, const JsonbValue *v, OndSyncOptions *out) {
  static const char *const hint = "Use a list of different columns of the model, such as [\"list_id\"].";
  JsonbIterator *it;
  JsonbValue item;
  JsonbIteratorToken token;

  if (v->type != jbvBinary || !JsonContainerIsArray(v->val.binary.data)) {
    refuse_value(o, v, hint);
  }
  out->keep = palloc(sizeof(char *) * Max(JsonContainerSize(v->val.binary.data), 1));
  it = JsonbIteratorInit(v->val.binary.data);
  while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE) {
    if (token == WJB_ELEM && (item.type != jbvString || item.val.string.len == 0)) {
      refuse_value(o, v, hint);
    }
    for (int i = 0; token == WJB_ELEM && i < out->n_keep; i++) {
      if (is_word(&item, out->keep[i])) {
        refuse_value(o, v, hint);
      }
    }
    if (token == WJB_ELEM) {
      out->keep[out->n_keep++] = value_text(&item);
    }
  }
}

/* "5%", or a number of percent. */
static double read_percent(const Option *o, const JsonbValue *v) {
  double percent;

  if (v->type != jbvString || !ond_limit_percent(value_text(v), &percent)) {
    refuse_value(o, v, "Use a part of the rows such as \"5%\".");
  }
  return percent;
}

static char *read_fields(const Option *o, const JsonbValue *v) {
  if (v->type != jbvBinary || !JsonContainerIsObject(v->val.binary.data)) {
    refuse_value(o, v, "Use an object such as {\"text\": \"{{text}}\"}.");
  }
  return value_text(v);
}

static void read_option(const Option *o, const JsonbValue *v, OndMode mode, OndSyncOptions *out) {
  char *field = (char *)out + o->offset;

  switch (o->kind) {
  case KIND_INT: *(int *)field = read_int(o, v); break;
  case KIND_WAIT:
  case KIND_EVERY: *(int64 *)field = read_wait(o, v); break;
  case KIND_TIMEOUT: *(int *)field = read_timeout_ms(o, v); break;
  case KIND_TEXT:
  case KIND_TEXT_NUMBER: *(char **)field = read_text(o, v); break;
  case KIND_VARIABLES: *(char **)field = read_variables(o, v); break;
  case KIND_RATE: read_rate(o, v, (OndRateGroup *)field); break;
  case KIND_ON_LEAVE: read_on_leave(o, v, mode, out); break;
  case KIND_ON_UNKNOWN:
    if (!is_word(v, "hold") && !is_word(v, "resend")) {
      refuse_value(o, v, "Use resend or hold.");
    }
    out->on_unknown_given = true;
    out->on_unknown_hold = is_word(v, "hold");
    break;
  case KIND_LIMIT: read_limit(o, v, (OndLimit *)field); break;
  case KIND_KEEP: read_keep(o, v, out); break;
  case KIND_ON_EMPTY: *(bool *)field = read_word(o, v, "hold", "run", NULL) == 1; break;
  case KIND_ON_CONFIG_CHANGE: *(OndOnConfigChange *)field = (OndOnConfigChange)read_word(o, v, "hold", "resend", "rebase"); break;
  case KIND_SYNC_LOG: *(OndLogLevel *)field = (OndLogLevel)read_word(o, v, "none", "failed", "all"); break;
  case KIND_BOOL:
    if (v->type != jbvBool) {
      refuse_value(o, v, "Use true or false.");
    }
    *(bool *)field = v->val.boolean;
    break;
  case KIND_AFTER: ond_option_after(value_text(v), out); break;
  case KIND_CHECKS: ond_option_checks(value_text(v), out); break;
  case KIND_FIELDS: *(char **)field = read_fields(o, v); break;
  case KIND_PERCENT: *(double *)field = read_percent(o, v); break;
  case KIND_ALERT: break; /* read_alert */
  }
}

static void read_alert(const JsonbValue *v, OndMode mode, OndSyncOptions *out) {
  static const Option whole = {"alert", KIND_ALERT, 0, 0, 0};
  const Option *member = NULL;
  JsonbIterator *it;
  JsonbValue item;
  JsonbIteratorToken token;

  if (v->type != jbvBinary || !JsonContainerIsObject(v->val.binary.data)) {
    refuse_value(&whole, v, "Use an object such as {\"destination\": \"ops\"}.");
  }
  it = JsonbIteratorInit(v->val.binary.data);
  (void)JsonbIteratorNext(&it, &item, true);
  while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE) {
    if (token == WJB_KEY) {
      char *name = value_text(&item);

      member = find_option(alert_table, lengthof(alert_table), name);
      if (member == NULL) {
        refuse_unknown("alert", alert_table, lengthof(alert_table), name);
      }
    } else if (token == WJB_VALUE) {
      read_option(member, &item, mode, out);
    }
  }
  if (out->alert.destination == NULL) {
    refuse_value(&whole, v, "Name the destination that the messages go to, such as {\"destination\": \"ops\"}.");
  }
}

static void set_defaults(OndMode mode, OndSyncOptions *out) {
  memset(out, 0, sizeof(*out));
  out->batch_size = -1;
  out->concurrency = -1;
  out->on_leave = mode == OND_MODE_MIRROR ? OND_LEAVE_DELETE : OND_LEAVE_KEEP;
  out->in_doubt_wait_us = -1;
  out->max_attempts = MAX_ATTEMPTS_DEFAULT;
  out->error_after = ERROR_AFTER_DEFAULT;
  out->full_every_us = -1;
  out->alert.rules = (OndAlertRules){.failed = 1, .held = true, .error = true, .partial_percent = -1};
  out->alert.every_us = ALERT_EVERY_US;
  out->max_deletes = (OndLimit){true, MAX_DELETES_PERCENT, MAX_DELETES_FLOOR};
}

/* Options that only mean something together. */
static void check_together(OndMode mode, const OndSyncOptions *out) {
  const char *needs_cursor = out->cursor_overlap != NULL ? "cursor_overlap" : out->full_every_us >= 0 ? "full_every" : NULL;

  if (out->cursor_column == NULL && needs_cursor != NULL) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"%s\" needs option \"cursor_column\"", needs_cursor),
                    errhint("Name the column that tells what is new, such as {\"cursor_column\": \"updated_at\"}.")));
  }
  if (out->cursor_column != NULL && mode == OND_MODE_REPLACE) {
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"cursor_column\" does not go with mode replace"),
             errdetail("Mode replace sends the whole model in every run."), errhint("Remove the option, or use mode upsert or append.")));
  }
}

void ond_sync_options_parse(const char *json, OndMode mode, OndSyncOptions *out) {
  Jsonb *document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
  JsonbIterator *it;
  JsonbValue v;
  JsonbIteratorToken token;
  const Option *option = NULL;

  set_defaults(mode, out);
  if (!JB_ROOT_IS_OBJECT(document)) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object"),
                    errhint("Use a form such as {\"concurrency\": 4}.")));
  }
  it = JsonbIteratorInit(&document->root);
  (void)JsonbIteratorNext(&it, &v, true);
  while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE) {
    if (token == WJB_KEY) {
      char *name = value_text(&v);

      option = find_option(options_table, lengthof(options_table), name);
      if (option == NULL) {
        refuse_unknown("a sync", options_table, lengthof(options_table), name);
      }
    } else if (token == WJB_VALUE && option->kind == KIND_ALERT) {
      read_alert(&v, mode, out);
    } else if (token == WJB_VALUE) {
      read_option(option, &v, mode, out);
    }
  }
  check_together(mode, out);
}
