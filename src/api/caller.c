/*
 * caller.c - see caller.h.
 *
 * Its requests count in the destination's windows like those of runs, and stop while the destination asks for a pause.
 */
#include "postgres.h"

#include <time.h>

#include "common/pg_prng.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include "api/caller.h"
#include "api/destinations.h"
#include "catalog/arming.h"
#include "catalog/connector.h"
#include "catalog/session.h"
#include "core/mem.h"
#include "engine/transport.h"

#define POLL_MS        100
#define CHALLENGES_MAX 2
#define WORDS_BYTES    1001

static void open_transport(OndCaller *c, const OndDestination *d) {
  OndAddressPolicy addresses;
  OndHttpOptions options;

  ond_transport_addresses(d, &addresses);
  ond_transport_options(&addresses, 2, &options);
  c->http = ond_transport_open(c->connector, c->auth, &options);
}

void ond_caller_open(OndCaller *c, const OndDestination *d, const char *object, bool account_only) {
  OndSync nobody = {.object = unconstify(char *, object)};
  const OndConnectorLimits *limits;
  OndError err = {0};

  memset(c, 0, sizeof(*c));
  ond_http_request_init(&c->request);
  ond_armed_require();
  c->destination = d;
  c->connector = ond_destination_compile(d, account_only ? NULL : &nobody);
  c->auth = ond_destination_credentials(d, c->connector, &err);
  if (c->auth == NULL)
    ond_raise(&err);
  open_transport(c, d);
  limits = ond_connector_limits(c->connector);
  c->budget = ond_budget_attach(MyDatabaseId, d->destination_id, &limits->rate, limits->concurrency);
}

static void end_exchange(OndCaller *c) {
  if (c->permit)
    ond_budget_done(c->budget);
  c->permit = false;
  if (c->response != NULL)
    ond_http_response_free(c->response);
  c->response = NULL;
}

void ond_caller_close(OndCaller *c) {
  ond_http_destroy(c->http);
  end_exchange(c);
  if (c->budget != NULL)
    ond_budget_detach(c->budget);
  ond_http_request_free(&c->request);
  ond_connector_free(c->connector);
  ond_auth_free(c->auth);
}

static void sleep_us(int64 us) {
  (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(Max(us / 1000, 1), POLL_MS), PG_WAIT_EXTENSION);
  ResetLatch(MyLatch);
  CHECK_FOR_INTERRUPTS();
}

static void wait_until(int64 until_us) {
  int64 now;

  while ((now = ond_clock_us()) < until_us)
    sleep_us(until_us - now);
}

void ond_caller_wait(int64 us) {
  wait_until(ond_clock_us() + us);
}

static void get_permit(OndCaller *c, int rate_group) {
  int64 wait;

  while ((wait = ond_budget_take(c->budget, rate_group, ond_clock_us())) > 0)
    sleep_us(wait);
  c->permit = true;
}

/* Which hosts get credentials the connector has decided: bare says so. */
static void put_credentials(OndCaller *c) {
  OndError err = {0};

  if (!ond_connector_aim(c->connector, c->auth, &c->request, &err) || !ond_auth_trust(c->auth, c->request.url, &err) || !ond_auth_apply(c->auth, &c->request, &err))
    ond_raise(&err);
}

/* One try: its answer is c->response. Asks for an access token first: not while a permit is held. */
static void try_once(OndCaller *c, int rate_group, bool bare, int64 above_version) {
  OndError err = {0};

  end_exchange(c);
  if (!bare)
    c->token_version = ond_backend_token(c->destination, c->connector, c->auth, above_version);
  get_permit(c, rate_group);
  if (!bare)
    put_credentials(c);
  if (!ond_http_start(c->http, &c->request, &err))
    ond_raise(&err);
  while ((c->response = ond_http_take(c->http)) == NULL) {
    ond_transport_check();
    ond_http_poll(c->http, POLL_MS);
  }
  ond_budget_done(c->budget);
  c->permit = false;
  ond_auth_scrub_response(c->auth, c->response);
}

/* A challenge of the credentials is answered at once, and a token that is refused replaced once. */
static void converse(OndCaller *c, int rate_group, bool bare) {
  OndError err = {0};

  try_once(c, rate_group, bare, 0);
  if (!bare && c->token_version > 0 && c->response->status == 401)
    try_once(c, rate_group, bare, c->token_version);
  for (int i = 0; !bare && i < CHALLENGES_MAX && c->response->status == 401 && ond_auth_challenged(c->auth, &c->request, c->response, &err); i++)
    try_once(c, rate_group, bare, 0);
}

OndAnswer ond_caller_exchange(OndCaller *c, int rate_group, const OndStatusRules *statuses, bool safe, bool bare) {
  const OndConnectorLimits *limits = ond_connector_limits(c->connector);

  for (int attempt = 1;; attempt++) {
    OndAfterAnswer after;
    OndAnswer answer;

    converse(c, rate_group, bare);
    answer = ond_classify(c->response->transfer, c->response->status, statuses);
    after = ond_connector_after(c->connector, c->response, answer, attempt, ond_clock_us(), (int64)time(NULL), pg_prng_uint64(&pg_global_prng_state));
    if (after.pause_until_us > 0)
      ond_budget_pause(c->budget, after.pause_until_us);
    if (attempt >= limits->retry.attempts || !ond_classify_retry(answer) || (answer == OND_ANSWER_IN_DOUBT && !safe))
      return answer;
    wait_until(after.again_us);
  }
}

char *ond_caller_text(const OndCaller *c, const char *text, size_t n) {
  char *copy = pnstrdup(text == NULL ? "" : text, text == NULL ? 0 : n);

  return pg_any_to_server(copy, (int)strlen(copy), PG_UTF8);
}

void ond_caller_fail(const OndCaller *c, const char *what) {
  const OndHttpResponse *r = c->response;
  char words[WORDS_BYTES];

  if (r->transfer != OND_TRANSFER_OK)
    ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE), errmsg("%s could not be read: %s", what, r->error)));
  ond_connector_message(NULL, r, words, sizeof(words));
  ereport(ERROR, (errcode(r->status == 401 || r->status == 403 ? ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION : ERRCODE_CONNECTION_FAILURE),
                  errmsg("%s could not be read: HTTP %d", what, r->status), errdetail("%s", ond_caller_text(c, words, strlen(words)))));
}
