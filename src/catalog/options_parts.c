/*
 * options_parts.c - the options of a sync that have parts: `after` and `checks`.
 *
 *   "after":  [{"sync": "companies", "accept": ["succeeded", "partial"], "max_failed": "1%"}], or a name alone: "after": ["companies"]
 *   "checks": {"has an address": {"row": "email LIKE '%@%'", "on_fail": "invalid"}, "enough": {"model": "count(*) > 100", "on_fail": "hold"}}
 *
 * A wrong form is an error 22023 whose hint shows the right one. What needs the catalog (is there such a sync? does it make a circle?) is checked in
 * after.c, what needs the model (is the condition one?) in engine/spec.c. `accept` is looked at where runs are counted, in worker/queue.c.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "catalog/sync.h"

#define AFTER_MAX  16
#define CHECKS_MAX 100
#define NAME_BYTES_MAX 63

static const char after_hint[] = "Use a list such as [{\"sync\": \"companies\", \"accept\": [\"succeeded\", \"partial\"], \"max_failed\": \"1%\"}].";
static const char checks_hint[] =
    "Use an object such as {\"has an address\": {\"row\": \"email LIKE '%@%'\", \"on_fail\": \"invalid\"}, \"enough rows\": {\"model\": "
    "\"count(*) > 100\", \"on_fail\": \"hold\"}}.";

static _Noreturn void refuse(const char *option, const char *what, const char *hint);
static void refuse(const char *option, const char *what, const char *hint) {
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid value for option \"%s\": %s", option, what), errhint("%s", hint)));
}

static char *text_of(const JsonbValue *v) {
  return v->type == jbvString ? pnstrdup(v->val.string.val, v->val.string.len) : NULL;
}

static bool is_list(const JsonbValue *v) {
  return v->type == jbvBinary && JsonContainerIsArray(v->val.binary.data);
}

static bool is_object(const JsonbValue *v) {
  return v->type == jbvBinary && JsonContainerIsObject(v->val.binary.data);
}

static Jsonb *parse(const char *json) {
  return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
}

/* --- after ---------------------------------------------------------------------------------------------- */

static bool is_status(const char *word) {
  return word != NULL && (strcmp(word, "succeeded") == 0 || strcmp(word, "partial") == 0 || strcmp(word, "failed") == 0);
}

static void check_accept(const JsonbValue *v) {
  JsonbIterator *it;
  JsonbValue item;
  JsonbIteratorToken token;
  int n = 0;

  if (!is_list(v)) {
    refuse("after", "\"accept\" is a list", after_hint);
  }
  it = JsonbIteratorInit(v->val.binary.data);
  while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE) {
    n += token == WJB_ELEM;
    if (token == WJB_ELEM && !is_status(text_of(&item))) {
      refuse("after", "\"accept\" has succeeded, partial and failed", after_hint);
    }
  }
  if (n == 0) {
    refuse("after", "\"accept\" is empty", after_hint);
  }
}

static void read_parent(const JsonbValue *v, OndAfter *after) {
  JsonbIterator *it = JsonbIteratorInit(v->val.binary.data);
  JsonbValue item;
  JsonbIteratorToken token;
  char *name = NULL;

  while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE) {
    if (token == WJB_KEY) {
      name = text_of(&item);
    }
    if (token != WJB_VALUE) {
      continue;
    }
    if (strcmp(name, "sync") == 0) {
      after->sync = text_of(&item);
    } else if (strcmp(name, "accept") == 0) {
      check_accept(&item);
    } else if (strcmp(name, "max_failed") != 0) {
      refuse("after", psprintf("there is no \"%s\"", name), after_hint);
    } else if (!ond_option_limit(&item, &after->max_failed)) {
      refuse("after", "\"max_failed\" is a number of rows or a part of them", after_hint);
    }
  }
}

void ond_option_after(const char *json, OndSyncOptions *out) {
  Jsonb *list = parse(json);
  JsonbIterator *it;
  JsonbValue item;
  JsonbIteratorToken token;

  if (!JB_ROOT_IS_ARRAY(list) || JB_ROOT_IS_SCALAR(list)) {
    refuse("after", "it is a list of syncs", after_hint);
  }
  out->after = palloc0(sizeof(OndAfter) * AFTER_MAX);
  it = JsonbIteratorInit(&list->root);
  (void)JsonbIteratorNext(&it, &item, true);
  while ((token = JsonbIteratorNext(&it, &item, true)) == WJB_ELEM) {
    OndAfter *after = &out->after[out->n_after++];

    if (out->n_after > AFTER_MAX - 1) {
      refuse("after", psprintf("more than %d syncs", AFTER_MAX - 1), after_hint);
    }
    if (is_object(&item)) {
      read_parent(&item, after);
    } else {
      after->sync = text_of(&item);
    }
    if (after->sync == NULL || after->sync[0] == '\0') {
      refuse("after", "a part of it names no sync", after_hint);
    }
  }
}

/* --- checks --------------------------------------------------------------------------------------------- */

static OndOnFail read_on_fail(const char *check, const char *word) {
  if (word != NULL && strcmp(word, "invalid") == 0) {
    return OND_FAIL_INVALID;
  }
  if (word != NULL && strcmp(word, "hold") == 0) {
    return OND_FAIL_HOLD;
  }
  if (word == NULL || strcmp(word, "warn") != 0) {
    refuse("checks", psprintf("\"on_fail\" of check \"%s\" is invalid, hold or warn", check), checks_hint);
  }
  return OND_FAIL_WARN;
}

static void read_check(const JsonbValue *v, OndCheck *check) {
  JsonbIterator *it = JsonbIteratorInit(v->val.binary.data);
  JsonbValue item;
  JsonbIteratorToken token;
  char *name = NULL;
  bool on_fail = false;

  while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE) {
    if (token == WJB_KEY) {
      name = text_of(&item);
    }
    if (token != WJB_VALUE) {
      continue;
    }
    if (strcmp(name, "on_fail") == 0) {
      check->on_fail = read_on_fail(check->name, text_of(&item));
      on_fail = true;
    } else if (check->sql == NULL && (strcmp(name, "row") == 0 || strcmp(name, "model") == 0)) {
      check->sql = text_of(&item);
      check->whole = strcmp(name, "model") == 0;
    } else {
      refuse("checks", psprintf("check \"%s\" has either \"row\" or \"model\", and \"on_fail\"", check->name), checks_hint);
    }
  }
  if (check->sql == NULL) {
    refuse("checks", psprintf("check \"%s\" has no condition", check->name), checks_hint);
  }
  if (check->whole && check->on_fail == OND_FAIL_INVALID) {
    if (on_fail) {
      refuse("checks", psprintf("check \"%s\" is over the whole model: it holds the run or warns", check->name), checks_hint);
    }
    check->on_fail = OND_FAIL_HOLD;
  }
}

void ond_option_checks(const char *json, OndSyncOptions *out) {
  Jsonb *object = parse(json);
  JsonbIterator *it;
  JsonbValue item;
  JsonbIteratorToken token;

  if (!JB_ROOT_IS_OBJECT(object)) {
    refuse("checks", "it is an object of named conditions", checks_hint);
  }
  out->checks = palloc0(sizeof(OndCheck) * CHECKS_MAX);
  it = JsonbIteratorInit(&object->root);
  (void)JsonbIteratorNext(&it, &item, true);
  while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE) {
    OndCheck *check = &out->checks[out->n_checks];

    if (token == WJB_KEY) {
      check->name = text_of(&item);
      if (out->n_checks == CHECKS_MAX - 1 || check->name[0] == '\0' || strlen(check->name) > NAME_BYTES_MAX) {
        refuse("checks", psprintf("at most %d checks, with names of 1 to %d bytes", CHECKS_MAX - 1, NAME_BYTES_MAX), checks_hint);
      }
    } else if (token == WJB_VALUE) {
      if (!is_object(&item)) {
        refuse("checks", psprintf("check \"%s\" is no object", check->name), checks_hint);
      }
      read_check(&item, check);
      out->n_checks++;
    }
  }
}
