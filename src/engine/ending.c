/*
 * ending.c - see ending.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "catalog/session.h"
#include "catalog/utf8.h"
#include "engine/ending.h"

#define WORDS_BYTES_MAX 2000 /* of an error's message, detail and hint, each */

static void ending_error(OndRunEnd *e, const char *code, char *message, char *detail) {
  e->status = "failed";
  strlcpy(e->code, code, sizeof(e->code));
  e->message = message;
  e->detail = detail;
}

/* What the destination did last, in a few words: " (HTTP 503)". */
static const char *last_status(const OndDeliveryResult *delivery) {
  return delivery->last_status > 0 ? psprintf(" (HTTP %d)", delivery->last_status) : "";
}

static char *last_error(const OndDeliveryResult *delivery) {
  if (delivery->last_error[0] == '\0' && delivery->stats.unmentioned > 0)
    return psprintf("The answers do not mention " INT64_FORMAT " of the rows.", (int64)delivery->stats.unmentioned);
  if (delivery->last_error[0] == '\0')
    return NULL;
  if (delivery->last_status > 0)
    return psprintf("Last answer: HTTP %d, %s", delivery->last_status, delivery->last_error);
  return psprintf("Last error: %s", delivery->last_error);
}

/* Errors that will not go away by themselves: undefined or inaccessible objects, changed types, credentials. */
static bool is_fatal(int sqlstate) {
  int class = ERRCODE_TO_CATEGORY(sqlstate);

  return class == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION || class == ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
}

/* Words of a model's code can have any length. */
static char *cut(const char *words) {
  int length = (int)strlen(words);

  return length <= WORDS_BYTES_MAX ? pstrdup(words) : psprintf("%.*s ...", pg_mbcliplen(words, length, WORDS_BYTES_MAX), words);
}

void ond_run_end_of_error(const ErrorData *error, bool cancelled, int64 deadline_us, OndRunEnd *e) {
  char *detail = error->detail == NULL ? NULL : cut(error->detail);

  if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && cancelled) {
    e->status = "cancelled";
    return;
  }
  if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && deadline_us > 0 && ond_clock_us() >= deadline_us) {
    ending_error(e, "57014", pstrdup("the run reached its run_timeout"), NULL);
    return;
  }
  if (error->hint != NULL)
    detail = detail == NULL ? psprintf("Hint: %s", cut(error->hint)) : psprintf("%s Hint: %s", detail, cut(error->hint));
  ending_error(e, unpack_sql_state(error->sqlerrcode), cut(error->message), detail);
  e->fatal = is_fatal(error->sqlerrcode);
}

static void ending_of_credentials(const OndDeliveryResult *delivery, OndRunEnd *e) {
  ending_error(e, "28000", psprintf("the destination refuses the credentials%s", last_status(delivery)), last_error(delivery));
  e->fatal = true;
}

static void ending_of_counters(const OndDeliveryResult *delivery, const OndCounters *c, OndRunEnd *e) {
  int64 delivered = c->created + c->updated + c->deleted;
  int64 failed = c->failed + c->deletes_failed;

  /* too few changes to trip the breaker; 403 may be about a row */
  if (failed > 0 && delivered == 0 && (delivery->last_status == 401 || delivery->last_status == 407))
    ending_of_credentials(delivery, e);
  else if (failed > 0 && delivered == 0)
    ending_error(e, "08P01", psprintf("none of the " INT64_FORMAT " changes that were sent was accepted%s", failed, last_status(delivery)), last_error(delivery));
  else
    e->status = failed + c->invalid + c->pending + c->deletes_pending > 0 ? "partial" : "succeeded";
}

/* Nothing went wrong in this run, and yet not all is there: who looks at it must see that. */
static void say_held_back(const OndCounters *c, OndRunEnd *e) {
  if (e->message != NULL || c->held_back == 0)
    return;
  e->message = psprintf(c->held_back == 1 ? INT64_FORMAT " row is held back: it failed in an earlier run, and has not changed since"
                                          : INT64_FORMAT " rows are held back: they failed in an earlier run, and have not changed since",
                        c->held_back);
  e->detail = pstrdup("Hint: The view ondatra.failed_rows says why and when they go again; ondatra.retry_failed() sends them at once.");
}

/* There is no access token, or a function of the owner's cannot go on. */
static void ending_of_words(const OndError *err, OndRunEnd *e) {
  char *detail = err->detail[0] != '\0' ? pstrdup(err->detail) : NULL;

  if (err->hint[0] != '\0')
    detail = psprintf("%s%sHint: %s", detail == NULL ? "" : detail, detail == NULL ? "" : " ", err->hint);
  ending_error(e, err->sqlstate, psprintf("%s; the rest is pending", err->message), detail);
  e->fatal = strncmp(err->sqlstate, "28", 2) == 0 || strncmp(err->sqlstate, "42", 2) == 0;
}

void ond_run_end_of_delivery(const OndDeliveryResult *delivery, const OndCounters *counters, bool stuck, OndRunEnd *e) {
  if (delivery->token_error.message[0] != '\0') {
    ending_of_words(&delivery->token_error, e);
    return;
  }
  if (stuck && delivery->stop == OND_STOP_NONE) {
    ending_error(e, "08006", psprintf("an asynchronous job of an earlier run could not be followed%s; nothing was compared", last_status(delivery)), last_error(delivery));
    return;
  }
  switch (delivery->stop) {
    case OND_STOP_NONE:
      ending_of_counters(delivery, counters, e);
      say_held_back(counters, e);
      return;
    case OND_STOP_RATE:
      ending_of_counters(delivery, counters, e);
      if (e->message == NULL)
        e->message = pstrdup(delivery->no_place ? "other jobs that the destination has open leave the rest for later"
                                                : "the rate limit of the destination leaves the rest for later");
      return;
    case OND_STOP_CANCELLED: e->status = "cancelled"; return;
    case OND_STOP_TIMEOUT: ending_error(e, "57014", pstrdup("the run reached its run_timeout"), NULL); return;
    case OND_STOP_BREAKER: 
      ending_error(e, "08006", psprintf("the destination does not answer as it should%s; the rest is pending", last_status(delivery)), last_error(delivery));
      return;
    case OND_STOP_AUTH:
      ending_of_credentials(delivery, e);
      return;
    case OND_STOP_REFUSALS:
      ending_error(e, "08P01", psprintf(INT64_FORMAT " changes were refused or not mentioned by the answers, and none was accepted; the rest is pending",
                            delivery->stats.refused + delivery->stats.unmentioned),
                   last_error(delivery));
      return;
    case OND_STOP_SCRIPT: ending_of_words(&delivery->script_error, e); return;
    case OND_STOP_COMMIT:
      ending_error(e, unpack_sql_state(delivery->commit_error->sqlerrcode), psprintf("answers could not be recorded: %s", delivery->commit_error->message),
                   delivery->commit_error->detail);
      return;
  }
}

Datum ond_text_or_null(const char *s, char *null) {
  *null = s == NULL ? 'n' : ' ';
  return s == NULL ? (Datum)0 : CStringGetTextDatum(ond_words_from_utf8(s));
}

void ond_run_end_write(int64 run_id, const OndRunEnd *e) {
  Oid types[5] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
  Datum values[5];
  char nulls[5] = {' ', ' ', ' ', ' ', ' '};

  values[0] = Int64GetDatum(run_id);
  values[1] = CStringGetTextDatum(e->status);
  values[2] = ond_text_or_null(e->code[0] != '\0' ? e->code : NULL, &nulls[2]);
  values[3] = ond_text_or_null(e->message, &nulls[3]);
  values[4] = ond_text_or_null(e->detail, &nulls[4]);
  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_runs SET status = $2, error_code = $3, error_message = $4, error_detail = $5, finished_at = pg_catalog.clock_timestamp()"
          " WHERE run_id OPERATOR(pg_catalog.=) $1",
          5, types, values, nulls);
}
