/*
 * alert.c - see alert.h: what a message says, and the request that carries it. Sending: worker/alert_worker.c.
 *
 * A message goes out as a run's row would: the destination's connector, credentials, windows and address policy. Its fields are all that
 * there is to
 * tell, or what `fields` of the option makes of it. Every try of the same message has the same idempotency key.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "common/md5.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "catalog/connector.h"
#include "catalog/session.h"
#include "compat.h"
#include "engine/alert.h"
#include "engine/transport.h"

#define FIELDS_BYTES_MAX (256 * 1024)

/* --- what is said ------------------------------------------------------------------------------------------- */

enum { W_TEXT, W_ACTION, W_SYNC, W_PROBLEM, W_PREVIOUS, W_SINCE, W_RUN, W_MESSAGE, W_DATABASE, W_ID, W_COUNT };

StaticAssertDecl(W_COUNT == OND_ALERT_WORDS, "the header says how many words there are");

static const char *const words[W_COUNT] = {"text",  "action", "sync",    "problem",  "previous",
                                           "since", "run_id", "message", "database", "alert_id"};

/* The words' values, in UTF-8; NULL: there is none. */
static void fill_words(const OndAlert *a, const char *database, const char **values) {
  bool over = a->problem == OND_PROBLEM_OK;
  char *text = psprintf(over ? "Sync \"%s\" is fine again: %s" : "Sync \"%s\": %s", a->sync, a->message);
  char *since = DatumGetCString(DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(a->since)));
  const char *made[W_COUNT] = {text,
                               over ? "resolve" : "trigger",
                               a->sync,
                               ond_problem_name(a->problem),
                               ond_problem_name(a->told),
                               since,
                               a->run_id == 0 ? NULL : psprintf(INT64_FORMAT, a->run_id),
                               a->message,
                               database,
                               psprintf(INT64_FORMAT "-" INT64_FORMAT, a->sync_id, (int64)a->since)};

  for (int i = 0; i < W_COUNT; i++)
    values[i] = made[i] == NULL ? NULL : pg_server_to_any(made[i], (int)strlen(made[i]), PG_UTF8);
}

static int find_word(const char *name, size_t n) {
  for (int i = 0; i < W_COUNT; i++) {
    if (strlen(words[i]) == n && memcmp(words[i], name, n) == 0)
      return i;
  }
  return -1;
}

static void put_value(OndBuf *out, int word, const char *value) {
  if (value == NULL)
    ond_buf_append_str(out, "null");
  else if (word == W_RUN)
    ond_buf_append_str(out, value);
  else
    ond_buf_append_json_string(out, value, strlen(value));
}

static void put_all(OndBuf *out, const char *const *values) {
  for (int i = 0; i < W_COUNT; i++) {
    ond_buf_append_str(out, i == 0 ? "{" : ",");
    ond_buf_append_json_string(out, words[i], strlen(words[i]));
    ond_buf_append_str(out, ":");
    put_value(out, i, values[i]);
  }
  ond_buf_append_str(out, "}");
}

static _Noreturn void refuse_word(const char *name, size_t n);
static void refuse_word(const char *name, size_t n) {
  StringInfoData all;

  initStringInfo(&all);
  for (int i = 0; i < W_COUNT; i++)
    appendStringInfo(&all, "%s{{%s}}", i > 0 ? ", " : "", words[i]);
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown word {{%.*s}} in the fields of an alert", (int)n, name),
                  errhint("Valid words are %s.", all.data)));
}

/* A JSON text with {{words}} in its strings, where alone two braces follow each other at the left. */
static void put_template(OndBuf *out, const char *json, const char *const *values) {
  const char *p = json;
  const char *open;

  while ((open = strstr(p, "{{")) != NULL) {
    const char *close = strstr(open, "}}");
    size_t n = close == NULL ? 0 : close - open - 2;
    int word = close == NULL ? -1 : find_word(open + 2, n);
    OndBuf value;

    if (word < 0)
      refuse_word(open + 2, close == NULL ? strcspn(open + 2, "\"}") : n);
    ond_buf_append(out, p, open - p);
    ond_buf_init(&value, FIELDS_BYTES_MAX);
    ond_buf_append_json_string(&value, values[word] == NULL ? "" : values[word], values[word] == NULL ? 0 : strlen(values[word]));
    ond_buf_append(out, value.data + 1, value.len - 2);
    ond_buf_free(&value);
    p = close + 2;
  }
  ond_buf_append_str(out, p);
}

/* --- the request ---------------------------------------------------------------------------------------------- */

static void compile(OndAlertMessage *m, const OndSync *s) {
  OndError err = {0};

  m->key_name = "alert_id";
  m->stand_in.name = s->name;
  m->stand_in.owner = s->owner;
  m->stand_in.object = s->options.alert.object;
  m->stand_in.mode = OND_MODE_INSERT;
  m->stand_in.n_keys = 1;
  m->stand_in.keys = &m->key_name;
  m->stand_in.options.variables = s->options.alert.variables;
  ond_destination_check_use(&m->stand_in, m->destination);
  m->connector = ond_destination_compile(m->destination, &m->stand_in);
  if (!ond_connector_bind_sync(m->connector, &m->stand_in, &err))
    ond_raise(&err);
  m->operation = ond_connector_operation(m->connector, OND_OP_CREATE);
  if (m->operation == NULL || ond_operation_info(m->operation)->n_steps > 0)
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("destination \"%s\" cannot take alerts there", m->destination->name),
                    errdetail("An alert is one request that creates a record."),
                    errhint("Name an object of it whose create or upsert is one request.")));
}

/* A column that a template of the connector names: one of the words. */
static void fill_columns(OndAlertMessage *m) {
  const char *name;
  int n = 0;

  while (ond_connector_column(m->connector, n) != NULL)
    n++;
  m->columns = palloc0(sizeof(OndBytes) * Max(n, 1));
  for (int i = 0; (name = ond_connector_column(m->connector, i)) != NULL; i++) {
    int word = find_word(name, strlen(name));
    OndBuf value;

    if (word < 0)
      refuse_word(name, strlen(name));
    ond_buf_init(&value, FIELDS_BYTES_MAX);
    put_value(&value, word, m->values[word]);
    m->columns[i] = (OndBytes){pstrdup(value.data), value.len};
    ond_buf_free(&value);
  }
}

static void render(OndAlertMessage *m, const OndSync *s, const OndAlert *a, const char *database) {
  const OndRow *rows[1] = {&m->row};
  OndRenderContext context = {.run_id = a->run_id, .idempotency_key = m->idempotency_key};
  OndError err = {0};
  const char *hash_error = NULL;
  OndBuf key;
  char *id;
  int bad_row;

  fill_words(a, database, m->values);
  ond_buf_init(&m->fields, FIELDS_BYTES_MAX);
  if (s->options.alert.fields == NULL)
    put_all(&m->fields, m->values);
  else
    put_template(&m->fields, pg_server_to_any(s->options.alert.fields, (int)strlen(s->options.alert.fields), PG_UTF8), m->values);
  fill_columns(m);
  ond_buf_init(&key, FIELDS_BYTES_MAX);
  put_value(&key, W_ID, m->values[W_ID]);
  m->key = (OndBytes){pstrdup(key.data), key.len};
  ond_buf_free(&key);
  id = psprintf("%s %s", m->values[W_ID], m->values[W_PROBLEM]);
  if (!pg_md5_hash(id, strlen(id), m->idempotency_key, &hash_error))
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute a hash: %s", hash_error)));
  m->row = (OndRow){.op = OND_OP_CREATE,
                    .fields = {m->fields.data, m->fields.len},
                    .n_keys = 1,
                    .keys = &m->key,
                    .columns = m->columns,
                    .idempotency_key = m->idempotency_key};
  if (!ond_connector_render(m->connector, m->operation, rows, 1, &context, &m->request, &bad_row, &err))
    ond_raise(&err);
}

void ond_alert_message_free(OndAlertMessage *m) {
  ond_http_request_free(&m->request);
  ond_buf_free(&m->fields);
  ond_connector_free(m->connector);
  ond_auth_free(m->auth);
}

/* What the connector requires must be among the fields; a name that is not there at all is what can be seen. */
static void check_required(const OndAlertMessage *m) {
  const char *name;

  for (int i = 0; (name = ond_connector_required(m->connector, i)) != NULL; i++) {
    if (strstr(m->fields.data, psprintf("\"%s\":", name)) == NULL && strstr(m->fields.data, psprintf("\"%s\": ", name)) == NULL)
      ereport(ERROR,
              (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the alert does not fill a field that the destination requires: %s", name),
               errhint("Add it to \"fields\", such as {\"%s\": \"…\", \"text\": \"{{text}}\"}.", name)));
  }
}

void ond_alert_check(const OndSync *s) {
  OndAlert sample = {
      .sync = s->name, .problem = OND_PROBLEM_FAILED, .told = OND_PROBLEM_OK, .since = GetCurrentTimestamp(), .message = "a message"};
  OndAlertMessage m = {.destination = ond_destination_get(s->options.alert.destination, s->owner, OND_ACCESS_SYNC)};

  ond_http_request_init(&m.request);
  PG_TRY();
  {
    compile(&m, s);
    render(&m, s, &sample, "database");
    check_required(&m);
  }
  PG_FINALLY();
  { ond_alert_message_free(&m); }
  PG_END_TRY();
}

void ond_alert_message_load(OndAlertMessage *m, const OndSync *s, const OndAlert *a) {
  MemoryContext context = CurrentMemoryContext;
  OndError err = {0};

  ond_tx_begin();
  MemoryContextSwitchTo(context);
  m->destination = ond_destination_get(s->options.alert.destination, s->owner, OND_ACCESS_SYNC);
  compile(m, s);
  m->auth = ond_destination_credentials(m->destination, m->connector, &err);
  if (m->auth == NULL)
    ond_raise(&err);
  render(m, s, a, get_database_name(MyDatabaseId));
  ond_transport_addresses(m->destination, &m->addresses);
  ond_tx_commit();
  MemoryContextSwitchTo(context);
}
