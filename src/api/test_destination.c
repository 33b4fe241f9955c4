/*
 * test_destination.c - one request with a destination's credentials, so that a person sees at once whether it works.
 *
 * The request is the connector's check (or GET of the base URL). It happens in the caller's backend and transaction, which holds whatever
 * it holds meanwhile, and can be cancelled: interrupts are looked at between polls, ten times a second. A destination that does not
 * answer is a row with ok = false; what cannot be tried at all (a secret that is missing) is an error.
 *
 * Everything of the rooms below is malloc memory: struct Check owns it and is freed on every way out.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "api/destinations.h"
#include "catalog/arming.h"
#include "catalog/connector.h"
#include "core/mem.h"
#include "engine/transport.h"
#include "http/http.h"

#define POLL_MS       100
#define CHALLENGES_MAX 2
#define MESSAGE_BYTES 1001
#define COLUMNS       4 /* ok, http_status, elapsed_ms, message */

typedef struct Check {
  OndConnector *connector;
  OndAuth *auth;
  OndHttp *http;
  OndHttpRequest request;
  OndHttpResponse *response;
} Check;

static void free_check(Check *c) {
  ond_http_destroy(c->http);
  if (c->response != NULL) {
    ond_http_response_free(c->response);
  }
  ond_http_request_free(&c->request);
  ond_auth_free(c->auth);
  ond_connector_free(c->connector);
}

static void prepare(Check *c, const OndDestination *d) {
  OndAddressPolicy addresses;
  OndHttpOptions options;
  OndError err;

  ond_armed_require();
  c->connector = ond_destination_compile(d, NULL);
  c->auth = ond_destination_credentials(d, c->connector, &err);
  if (c->auth == NULL) {
    ond_raise(&err);
  }
  ond_transport_addresses(d, &addresses);
  ond_transport_options(&addresses, 1, &options);
  c->http = ond_transport_open(c->connector, c->auth, &options);
}

static void exchange(Check *c) {
  OndError err;

  if (!ond_http_start(c->http, &c->request, &err)) {
    ond_raise(&err);
  }
  while ((c->response = ond_http_take(c->http)) == NULL) {
    ond_transport_check();
    ond_http_poll(c->http, POLL_MS);
  }
}

static void send_request(Check *c) {
  OndError err;

  if (c->response != NULL) {
    ond_http_response_free(c->response);
    c->response = NULL;
  }
  if (!ond_connector_aim(c->connector, c->auth, &c->request, &err) || !ond_auth_apply(c->auth, &c->request, &err)) {
    ond_raise(&err);
  }
  exchange(c);
}

/* A 401 is answered as a run would: with what a challenge asks for, or with another access token. */
static bool may_try_again(Check *c, const OndDestination *d, int64 version) {
  OndError err;

  if (c->response->status != 401) {
    return false;
  }
  if (version > 0) {
    (void)ond_backend_token(d, c->connector, c->auth, version);
    return true;
  }
  return ond_auth_challenged(c->auth, &c->request, c->response, &err);
}

static void converse(Check *c, const OndDestination *d) {
  int64 version = ond_backend_token(d, c->connector, c->auth, 0);
  OndError err;

  if (!ond_connector_render_check(c->connector, &c->request, &err)) {
    ond_raise(&err);
  }
  send_request(c);
  for (int i = 0; i < (version > 0 ? 1 : CHALLENGES_MAX) && may_try_again(c, d, version); i++) {
    send_request(c);
  }
}

/* The answer's words without secret values, in the database's encoding. */
static char *message(const Check *c) {
  char words[MESSAGE_BYTES];
  OndBuf scrubbed;
  char *copy;

  ond_connector_message(NULL, c->response, words, sizeof(words));
  ond_buf_init(&scrubbed, 4 * sizeof(words));
  (void)ond_buf_append_str(&scrubbed, words);
  ond_auth_scrub(c->auth, &scrubbed);
  copy = pstrdup(scrubbed.data == NULL ? "" : scrubbed.data);
  ond_buf_free(&scrubbed);
  return pg_any_to_server(copy, (int)strlen(copy), PG_UTF8);
}

static Datum result_row(FunctionCallInfo fcinfo, const Check *c) {
  TupleDesc desc;
  Datum values[COLUMNS];
  bool nulls[COLUMNS] = {false};
  bool ok = ond_classify(c->response->transfer, c->response->status, NULL) == OND_ANSWER_READ;

  if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != COLUMNS) {
    elog(ERROR, "test_destination is declared with another result");
  }
  values[0] = BoolGetDatum(ok);
  values[1] = Int32GetDatum(c->response->status);
  nulls[1] = c->response->status == 0;
  values[2] = Int32GetDatum((int32)(c->response->elapsed_us / 1000));
  nulls[3] = ok;
  values[3] = ok ? (Datum)0 : CStringGetTextDatum(message(c));
  return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

PG_FUNCTION_INFO_V1(ond_sql_test_destination);
Datum ond_sql_test_destination(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "destination");
  Check c = {0};
  OndCall call;
  Datum row = (Datum)0;
  OndDestination *d;

  ond_http_request_init(&c.request);
  ond_call_begin(&call);
  d = ond_destination_get(name, call.user, OND_ACCESS_REQUEST);
  PG_TRY();
  {
    prepare(&c, d);
    ond_call_end(&call);
    converse(&c, d);
    row = result_row(fcinfo, &c);
  }
  PG_FINALLY();
  { free_check(&c); }
  PG_END_TRY();
  PG_RETURN_DATUM(row);
}
