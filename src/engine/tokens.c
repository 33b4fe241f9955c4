/*
 * tokens.c - see tokens.h.
 *
 *   IDLE ──wanted──> LOOK ──stored one is fit──────────────────────────────> IDLE
 *                     │ └──somebody else has the token lock──> WAIT ──> LOOK
 *                     └──lock taken, row read once more──> intent [commit] ──> ASK ──answer──> store [commit] ──> IDLE
 *                                                                               ├──not now──> BACKOFF ──> ASK
 *                                                                               ├──this refresh token is refused, there is another──> ASK
 *                                                                               └──no──> FAILED
 *
 * A refresh token that the endpoint replaces with every use (rotation) must not be lost. The order is: the intent is committed; the request goes out;
 * the new token is committed beside the one before; only when the new one has been used for another rotation the one before goes. After a crash at
 * any point the next process tries the stored one, then the one before, then the one that a person gave.
 *
 * What a stored token was asked for with is part of it (fingerprints, encrypted): when the credentials are others now, the token is not used, and when
 * endpoint, client or the given refresh token are others, what descends from the old one is not either. So nobody has to forget tokens in time.
 *
 * Invariants: the endpoint is asked only by who holds the token lock, never within a transaction (both looked at in start_request); a token is used only
 * after it was stored; what an endpoint says is scrubbed before it becomes a message.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include <time.h>

#include "catalog/secrets.h"
#include "catalog/session.h"
#include "catalog/tokens.h"
#include "connector/token_base.h"
#include "core/mem.h"
#include "core/url.h"
#include "engine/run.h"
#include "engine/tokens.h"
#include "engine/transport.h"

#define MARGIN_MAX_US    (INT64CONST(60) * USECS_PER_SEC) /* renewed so long before it ends, or a tenth of its life */
#define LAST_MAX_US      (INT64CONST(5) * USECS_PER_SEC)  /* not used in its last seconds, or a twentieth of its life */
#define LOOK_AGAIN_US    100000
#define ANSWER_BYTES_MAX (1024 * 1024)
#define CANDIDATES_MAX   3
#define STORE_TRIES      5
#define HURRY_US         800000
#define FAILED_AGAIN_US  (INT64CONST(5) * USECS_PER_SEC)  /* while the old token is still good */

typedef enum KeeperState { K_IDLE, K_LOOK, K_WAIT, K_ASK, K_BACKOFF, K_FAILED } KeeperState;

struct OndKeeper {
  MemoryContext context;
  const OndDestination *destination;
  const OndConnector *connector;
  OndAuth *auth;               /* the destination's; gets the tokens */
  OndAuth *own;                /* the same document, resolved anew with each look: what the endpoint is asked with */
  char host[256];              /* of the destination, for references */
  OndConnectorLimits limits;
  OndHttpOptions options;
  OndHttp *http;               /* made with the first request */
  OndHttpRequest request;
  bool requested;              /* request is set */
  KeeperState state;
  int64 until_us;              /* WAIT, BACKOFF: monotonic */
  OndError error;              /* FAILED */
  /* the token in the auth */
  OndToken *token;
  int64 version;
  TimestampTz renew_at, last_at; /* DT_NOEND: it lasts till a 401 */
  int64 above;                 /* only a version above this one is fit */
  int64 forced;                /* the version that a 401 brought */
  int64 proven;                /* the highest one that the destination took */
  /* the request under way */
  OndTokenFingerprints made_of;
  char *candidates[CANDIDATES_MAX]; /* refresh tokens to try, in order */
  int n_candidates, candidate;
  int attempt;
  int64 intent_no;
  TimestampTz lost_at;         /* an earlier intent without an answer; 0: none */
  TimestampTz asked_at;
};

/* --- fitness ---------------------------------------------------------------------------------------------- */

/* When to renew and when to stop using a token of this life. */
static void set_times(TimestampTz obtained_at, TimestampTz expires_at, TimestampTz *renew_at, TimestampTz *last_at) {
  int64 life = expires_at - obtained_at;

  *renew_at = expires_at == 0 ? DT_NOEND : expires_at - Min(MARGIN_MAX_US, life / 10);
  *last_at = expires_at == 0 ? DT_NOEND : expires_at - Min(LAST_MAX_US, life / 20);
}

static bool same(const char *a, const char *b) {
  return strcmp(a, b) == 0;
}

/* The token of a row, if it was asked for with these credentials and need not be renewed yet. */
static OndToken *fit_token(const OndTokenRow *row, const OndTokenFingerprints *made_of, int64 above) {
  OndToken *token = row->token == NULL ? NULL : ond_token_parse(row->token, row->token_n);
  TimestampTz renew_at, last_at;

  set_times(row->obtained_at, row->expires_at, &renew_at, &last_at);
  if (token != NULL && same(token->made_of.all, made_of->all) && row->version > above && GetCurrentTimestamp() < renew_at)
    return token;
  ond_token_free(token);
  return NULL;
}

int64 ond_token_peek(int64 destination_id, Oid owner, const OndConnector *connector, OndAuth *auth, int64 above_version, Snapshot snapshot) {
  OndTokenFingerprints made_of;
  OndToken *token = NULL;
  OndError ignored;
  char *base = NULL;
  int64 version = 0;
  OndTokenRow row;

  ond_token_load(destination_id, owner, snapshot, &row);
  if (ond_token_fingerprints(auth, &made_of))
    token = fit_token(&row, &made_of, above_version);
  if (token != NULL && ond_token_base_read(connector, token, &base, &ignored)) {
    ond_auth_set_token(auth, token->access_token);
    ond_auth_set_token_base(auth, base);
    version = row.version;
  }
  ond_token_free(token);
  ond_token_row_wipe(&row);
  return version;
}

/* --- making and letting go ---------------------------------------------------------------------------------- */

static void free_candidates(OndKeeper *k) {
  for (int i = 0; i < k->n_candidates; i++) {
    ond_wipe(k->candidates[i], strlen(k->candidates[i]));
    ond_free(k->candidates[i]);
  }
  k->n_candidates = k->candidate = 0;
}

static void free_request(OndKeeper *k) {
  if (k->requested)
    ond_http_request_free(&k->request);
  k->requested = false;
}

/* The token endpoint sees nothing of the destination's client certificate unless it is the same host. */
static void set_options(OndKeeper *k, const OndConnector *connector, const OndAddressPolicy *addresses) {
  OndError err = {0};
  OndUrl base, endpoint;

  ond_transport_options(addresses, 1, &k->options);
  k->options.response_bytes_max = ANSWER_BYTES_MAX;
  k->options.http2 = false;
  if (!ond_url_parse(ond_connector_base_url(connector), &base, &err) || !ond_url_parse(k->auth->token->url, &endpoint, &err))
    ond_raise(&err);
  strlcpy(k->host, base.host, sizeof(k->host));
  if (strcmp(base.host, endpoint.host) == 0 && !ond_auth_tls(k->auth, k->auth->token->url, &k->options, &err))
    ond_raise(&err);
}

OndKeeper *ond_keeper_create(const OndDestination *destination, const OndConnector *connector, OndAuth *auth,
                             const OndAddressPolicy *addresses) {
  OndKeeper *k;
  OndError err = {0};

  if (!ond_auth_wants_token(auth))
    return NULL;
  if (!ond_http_global_init(&err))
    ond_raise(&err);
  k = palloc0(sizeof(OndKeeper));
  k->context = AllocSetContextCreate(CurrentMemoryContext, "ondatra token", ALLOCSET_SMALL_SIZES);
  k->destination = destination;
  k->connector = connector;
  k->auth = auth;
  k->limits = *ond_connector_limits(connector);
  set_options(k, connector, addresses);
  k->state = K_LOOK;
  return k;
}

void ond_keeper_release(OndKeeper *k) {
  if (k == NULL)
    return;
  ond_http_destroy(k->http);
  k->http = NULL;
  free_request(k);
  free_candidates(k);
  ond_token_free(k->token);
  k->token = NULL;
  ond_auth_free(k->own);
  k->own = NULL;
}

void ond_keeper_destroy(OndKeeper *k, bool patient) {
  int64 end;

  if (k == NULL)
    return;
  end = ond_clock_us() + (patient ? (int64)k->limits.timeout_ms * 1000 : HURRY_US);
  while (k->state == K_ASK && k->auth->type == OND_AUTH_OAUTH2_REFRESH_TOKEN && ond_clock_us() < end) {
    ond_transport_check();
    ond_keeper_work(k, 20);
  }
  ond_keeper_release(k);
  ond_token_unlock();
}

/* --- failing ---------------------------------------------------------------------------------------------- */

static void fail(OndKeeper *k, const OndError *err) {
  k->error = *err;
  k->state = K_FAILED;
  k->until_us = ond_clock_us() + FAILED_AGAIN_US;
  free_request(k);
  free_candidates(k);
  ond_token_unlock();
}

/* What an endpoint says, without what is secret: before anything of it is cut. */
static void scrub_answer(OndKeeper *k, OndHttpResponse *response) {
  for (int i = 0; i < k->n_candidates; i++)
    ond_auth_hide(k->own, k->candidates[i]);
  ond_auth_scrub_response(k->own, response);
  ond_auth_scrub_response(k->auth, response);
}

/* Words of our own that hold some of others. */
static void scrub_words(OndKeeper *k, char *words, size_t size) {
  OndBuf text;

  for (int i = 0; i < k->n_candidates; i++)
    ond_auth_hide(k->own, k->candidates[i]);
  ond_buf_init(&text, size * 4);
  ond_buf_append_str(&text, words);
  ond_auth_scrub(k->own, &text);
  ond_auth_scrub(k->auth, &text);
  strlcpy(words, text.data == NULL ? "" : text.data, size);
  ond_buf_free(&text);
}

/* An error of our own statements: the transaction is gone, and with it all locks of the session. */
static void fail_with_error(OndKeeper *k, ErrorData *error, uint32 held) {
  OndError err = {0};

  FlushErrorState();
  ond_tx_abort();
  QueryCancelHoldoffCount = held;
  ond_error_set(&err, "the access token could not be kept: %s", error->message);
  strlcpy(err.sqlstate, unpack_sql_state(error->sqlerrcode), sizeof(err.sqlstate));
  fail(k, &err);
}

/* Runs a step in a transaction of its own; errors end the keeper, not the process. */
static bool in_transaction(OndKeeper *k, bool (*step)(OndKeeper *k)) {
  MemoryContext saved = CurrentMemoryContext;
  uint32 held = QueryCancelHoldoffCount;
  volatile bool result = false;

  PG_TRY();
  {
    ond_tx_begin();
    MemoryContextSwitchTo(k->context);
    result = step(k);
    ond_tx_commit();
  }
  PG_CATCH();
  {
    ErrorData *error;

    MemoryContextSwitchTo(k->context);
    error = CopyErrorData();
    fail_with_error(k, error, held);
    result = false;
  }
  PG_END_TRY();
  MemoryContextSwitchTo(saved);
  MemoryContextReset(k->context);
  return result;
}

/* --- looking ---------------------------------------------------------------------------------------------- */

/* The destination's credentials as they are now. */
static bool resolve_anew(OndKeeper *k, OndError *err) {
  OndDestination *d = ond_destination_load(k->destination->destination_id);
  char *text;

  ond_auth_free(k->own);
  k->own = NULL;
  if (d == NULL) {
    ond_error_set(err, "the destination does not exist any more");
    strlcpy(err->sqlstate, "42704", sizeof(err->sqlstate));
    return false;
  }
  text = d->auth == NULL ? NULL : pg_server_to_any(d->auth, (int)strlen(d->auth), PG_UTF8);
  k->own = ond_auth_parse(text, text == NULL ? 0 : strlen(text), err);
  if (k->own == NULL || !ond_secrets_resolve(k->own, d->owner, k->host, err))
    return false;
  if (k->own->type != k->auth->type) {
    ond_error_set(err, "the destination's auth has changed since the run began");
    strlcpy(err->sqlstate, "55000", sizeof(err->sqlstate));
    return false;
  }
  return ond_token_fingerprints(k->own, &k->made_of);
}

/* base: of the token, taken over. */
static void adopt(OndKeeper *k, OndToken *token, char *base, int64 version, TimestampTz obtained_at, TimestampTz expires_at) {
  ond_token_free(k->token);
  k->token = token;
  k->version = version;
  if (k->above >= k->forced && k->above > 0)
    k->forced = version;
  set_times(obtained_at, expires_at, &k->renew_at, &k->last_at);
  ond_auth_set_token(k->auth, token->access_token);
  ond_auth_set_token_base(k->auth, base);
  k->state = K_IDLE;
  ond_token_unlock();
}

static void add_candidate(OndKeeper *k, const char *refresh_token) {
  if (refresh_token == NULL || k->n_candidates == CANDIDATES_MAX)
    return;
  for (int i = 0; i < k->n_candidates; i++)
    if (same(k->candidates[i], refresh_token))
      return;
  k->candidates[k->n_candidates++] = ond_strdup(refresh_token);
}

/* The stored one, the one before, the one that a person gave; of another chain only the last. */
static void list_candidates(OndKeeper *k, const OndTokenRow *row) {
  OndToken *stored = row->token == NULL ? NULL : ond_token_parse(row->token, row->token_n);

  free_candidates(k);
  k->lost_at = 0;
  if (k->own->type != OND_AUTH_OAUTH2_REFRESH_TOKEN)
    k->candidates[k->n_candidates++] = ond_strdup(""); /* asks without one */
  else if (stored != NULL && same(stored->made_of.chain, k->made_of.chain)) {
    add_candidate(k, stored->refresh_token);
    add_candidate(k, row->previous);
    k->lost_at = row->intent_at;
  }
  if (k->own->type == OND_AUTH_OAUTH2_REFRESH_TOKEN)
    add_candidate(k, ond_auth_given(k->own, "refresh_token"));
  ond_token_free(stored);
}

/* Reads the row. True: the endpoint is to be asked, and the intent is part of this transaction. */
static bool look(OndKeeper *k) {
  OndError err = {0};
  OndToken *token;
  OndTokenRow row;
  char *base = NULL;
  bool ask = false;

  if (!resolve_anew(k, &err)) {
    if (err.sqlstate[0] == '\0')
      strlcpy(err.sqlstate, "28000", sizeof(err.sqlstate));
    fail(k, &err);
    return false;
  }
  ond_token_load(k->destination->destination_id, k->destination->owner, NULL, &row);
  token = fit_token(&row, &k->made_of, k->above);
  if (token != NULL && !ond_token_base_read(k->connector, token, &base, &err)) {
    ond_token_free(token); /* the endpoint may have come to its senses */
    token = NULL;
  }
  if (token != NULL)
    adopt(k, token, base, row.version, row.obtained_at, row.expires_at);
  else if (ond_token_lock_is_mine()) {
    list_candidates(k, &row);
    k->intent_no = ond_token_intend(k->destination->destination_id);
    ask = true;
  } else if (!ond_token_lock_try(k->destination->destination_id)) {
    k->state = K_WAIT;
    k->until_us = ond_clock_us() + LOOK_AGAIN_US;
  } /* else: the row once more, now that nobody else writes it */
  ond_token_row_wipe(&row);
  return ask;
}

/* --- asking ----------------------------------------------------------------------------------------------- */

static void back_off(OndKeeper *k, int64 retry_after_us, const OndError *err) {
  if (k->attempt >= k->limits.retry.attempts) {
    fail(k, err);
    return;
  }
  k->state = K_BACKOFF;
  k->until_us = ond_clock_us() + ond_backoff_us(&k->limits.retry, k->attempt, retry_after_us, pg_prng_uint64(&pg_global_prng_state));
}

static bool open_http(OndKeeper *k, OndError *err) {
  if (k->http == NULL)
    k->http = ond_http_create(&k->options, err);
  return k->http != NULL;
}

static void start_request(OndKeeper *k) {
  OndError err = {0};
  const char *refresh_token = k->own->type == OND_AUTH_OAUTH2_REFRESH_TOKEN ? k->candidates[k->candidate] : NULL;

  Assert(!IsTransactionState());
  if (!ond_token_lock_is_mine()) {
    k->state = K_LOOK; /* an error elsewhere has cost it */
    return;
  }
  free_request(k);
  k->attempt++;
  if (!ond_token_request(k->own, refresh_token, &k->request, &err)) {
    strlcpy(err.sqlstate, "28000", sizeof(err.sqlstate));
    fail(k, &err);
    return;
  }
  k->requested = true;
  k->request.timeout_ms = k->limits.timeout_ms;
  k->request.connect_timeout_ms = k->limits.connect_timeout_ms;
  k->asked_at = GetCurrentTimestamp();
  if (open_http(k, &err) && ond_http_start(k->http, &k->request, &err))
    k->state = K_ASK;
  else {
    strlcpy(err.sqlstate, "08006", sizeof(err.sqlstate));
    back_off(k, -1, &err);
  }
}

/* --- answers ---------------------------------------------------------------------------------------------- */

/* What store() stores. */
typedef struct Answer {
  OndToken *token;
  const char *used;            /* the refresh token that brought it; NULL: none */
  OndBuf text;
  TimestampTz expires_at;
} Answer;

static Answer *storing;

static bool store(OndKeeper *k) {
  bool rotated = storing->used != NULL && !same(storing->token->refresh_token, storing->used);

  k->intent_no = ond_token_store(k->destination->destination_id, k->intent_no, k->destination->owner, storing->text.data, storing->text.len,
                                 rotated ? storing->used : NULL, k->asked_at, storing->expires_at);
  return true;
}

/* A token that was given must not be lost for want of a commit: some tries, then the run ends. */
static bool store_answer(OndKeeper *k, Answer *answer) {
  int64 intent_no = k->intent_no;
  bool ok = false;

  storing = answer;
  for (int i = 0; i < STORE_TRIES && !ok; i++) {
    k->intent_no = intent_no;
    ok = in_transaction(k, store);
    if (!ok)
      pg_usleep(50000);
  }
  storing = NULL;
  return ok;
}

static void take_token(OndKeeper *k, OndToken *token) {
  Answer answer = {.token = token};
  OndError err = {0};
  char *base = NULL;
  char *used = k->own->type == OND_AUTH_OAUTH2_REFRESH_TOKEN ? ond_strdup(k->candidates[k->candidate]) : NULL;
  bool ok;

  /* an endpoint that does not rotate says nothing of the refresh token: the one that was used goes on */
  if (token->refresh_token == NULL && used != NULL)
    token->refresh_token = ond_strdup(used);
  answer.used = used;
  token->made_of = k->made_of;
  if (token->life_s > 0)
    answer.expires_at = k->asked_at + token->life_s * USECS_PER_SEC;
  ond_buf_init(&answer.text, 512 * 1024);
  ok = ond_token_write(token, &answer.text) && store_answer(k, &answer);
  ond_wipe(answer.text.data, answer.text.len);
  ond_buf_free(&answer.text);
  if (used != NULL)
    ond_wipe(used, strlen(used));
  ond_free(used);
  if (!ok || k->state == K_FAILED || k->intent_no == 0) {
    ond_token_free(token);
    if (ok && k->state != K_FAILED)
      k->state = K_LOOK; /* overtaken: there is something newer */
    return;            /* an error has cost this process its locks: it ends, whether the token could be stored in the end or not */
  }
  free_request(k);
  free_candidates(k);
  if (!ond_token_base_read(k->connector, token, &base, &err)) {
    ond_token_free(token);
    strlcpy(err.sqlstate, "28000", sizeof(err.sqlstate));
    fail(k, &err);
    return;
  }
  adopt(k, token, base, k->intent_no, k->asked_at, answer.expires_at);
}

static bool settle(OndKeeper *k) {
  ond_token_settle(k->destination->destination_id, k->intent_no);
  return true;
}

/* Errors about the client, whatever refresh token it brings. */
static bool blames_client(const char *code) {
  static const char *const codes[] = {"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_request"};

  for (int i = 0; i < (int)lengthof(codes); i++)
    if (same(code, codes[i]))
      return true;
  return false;
}

/* The secret that a person would set anew. */
static const char *secret_to_set(const OndKeeper *k) {
  const char *names[] = {k->own->type == OND_AUTH_OAUTH2_REFRESH_TOKEN ? "refresh_token" : "client_secret", "client_key", "key"};

  for (int i = 0; i < (int)lengthof(names); i++)
    for (int j = 0; j < k->own->n; j++)
      if (k->own->items[j].use == OND_USE_TOKEN && k->own->items[j].source == OND_CREDENTIAL_SECRET && same(k->own->items[j].name, names[i]))
        return k->own->items[j].ref;
  return NULL;
}

static void describe_refusal(OndKeeper *k, int status, const OndTokenRefusal *refusal, OndError *err) {
  bool refresh = k->own->type == OND_AUTH_OAUTH2_REFRESH_TOKEN && !blames_client(refusal->code);
  const char *secret = secret_to_set(k);
  const char *words = refusal->words;
  char lost[200] = "";

  ond_error_set(err, "the token endpoint refuses %s (HTTP %d%s%s)", refresh ? "the refresh token" : "the credentials", status,
                refusal->code[0] != '\0' ? ", " : "", refusal->code);
  strlcpy(err->sqlstate, "28000", sizeof(err->sqlstate));
  if (refresh && k->lost_at != 0)
    snprintf(lost, sizeof(lost), "%sThe answer to a request of %s was lost; the endpoint may have replaced the token then.", words[0] != '\0' ? " " : "",
             timestamptz_to_str(k->lost_at));
  if (words[0] != '\0' || lost[0] != '\0')
    ond_error_detail(err, "%s%s%s", words[0] != '\0' ? "It says: " : "", words, lost);
  if (refresh && secret != NULL)
    ond_error_hint(err, "Authorize the application anew and call ondatra.set_secret('%.100s', …) with the new refresh token.", secret);
  else if (secret != NULL)
    ond_error_hint(err, "Check the destination's auth, and ondatra.set_secret('%.100s', …).", secret);
  else
    ond_error_hint(err, "Check the destination's auth.");
}

/* A definite no. Another refresh token may be the right one; what the endpoint says of the first is what counts in the end. */
static void take_refusal(OndKeeper *k, const OndHttpResponse *response) {
  OndTokenRefusal refusal;
  OndError err = {0};

  ond_token_refusal(response, &refusal);
  if (k->candidate == 0)
    describe_refusal(k, response->status, &refusal, &k->error);
  if (!blames_client(refusal.code) && k->candidate + 1 < k->n_candidates) {
    k->candidate++;
    k->attempt = 0;
    start_request(k);
    return;
  }
  err = k->error;
  if (in_transaction(k, settle))
    fail(k, &err);
}

static void take_failure(OndKeeper *k, const OndHttpResponse *response) {
  OndBytes after = ond_http_response_header(response, "Retry-After");
  OndError err = {0};
  char words[300];

  if (response->transfer == OND_TRANSFER_OK)
    snprintf(words, sizeof(words), "it answers HTTP %d", response->status);
  else
    strlcpy(words, response->error, sizeof(words));
  scrub_words(k, words, sizeof(words));
  ond_error_set(&err, "the token endpoint gives no token: %s", words);
  strlcpy(err.sqlstate, "08006", sizeof(err.sqlstate));
  ond_error_detail(&err, "It was asked %d times.", k->attempt);
  back_off(k, after.p == NULL ? -1 : ond_retry_after_us(after.p, after.n, (int64)time(NULL)), &err);
}

static void take_response(OndKeeper *k, OndHttpResponse *response) {
  OndAnswer answer = ond_classify(response->transfer, response->status, NULL);
  OndError err = {0};
  OndToken *token;

  if (answer == OND_ANSWER_REFUSED || answer == OND_ANSWER_AUTH) {
    scrub_answer(k, response);
    take_refusal(k, response);
  } else if (answer != OND_ANSWER_READ) {
    take_failure(k, response);
  } else if ((token = ond_token_read(response, &err)) != NULL) {
    take_token(k, token);
  } else {
    strlcpy(err.sqlstate, "28000", sizeof(err.sqlstate));
    fail(k, &err);
  }
}

/* --- the machine ------------------------------------------------------------------------------------------ */

static bool is_wanted(const OndKeeper *k) {
  return k->token == NULL || k->version <= k->above || GetCurrentTimestamp() >= k->renew_at;
}

static void await(OndKeeper *k, int wait_ms) {
  OndHttpResponse *response;

  ond_http_poll(k->http, wait_ms);
  response = ond_http_take(k->http);
  if (response == NULL)
    return;
  take_response(k, response);
  ond_http_response_free(response);
}

void ond_keeper_work(OndKeeper *k, int wait_ms) {
  switch (k->state) {
    case K_IDLE:
      if (is_wanted(k))
        k->state = K_LOOK;
      break;
    case K_WAIT:
      if (ond_clock_us() >= k->until_us)
        k->state = K_LOOK;
      break;
    case K_LOOK:
      if (in_transaction(k, look) && k->state == K_LOOK) {
        k->attempt = 0;
        start_request(k);
      }
      break;
    case K_ASK: await(k, wait_ms); break;
    case K_BACKOFF:
      if (ond_clock_us() >= k->until_us)
        start_request(k);
      break;
    case K_FAILED:
      if (ond_keeper_state(k) == OND_TOKEN_READY && same(k->error.sqlstate, "08006") && ond_clock_us() >= k->until_us)
        k->state = K_LOOK;
      break;
  }
}

bool ond_keeper_is_busy(const OndKeeper *k) {
  return k != NULL && k->state != K_FAILED && (k->state != K_IDLE || is_wanted(k));
}

OndTokenState ond_keeper_state(const OndKeeper *k) {
  if (k->token != NULL && k->version > k->above && GetCurrentTimestamp() < k->last_at)
    return OND_TOKEN_READY;
  return k->state == K_FAILED ? OND_TOKEN_FAILED : OND_TOKEN_WAIT;
}

int64 ond_keeper_version(const OndKeeper *k) {
  return k->version;
}

const OndToken *ond_keeper_token(const OndKeeper *k) {
  return k->token;
}

const OndError *ond_keeper_error(const OndKeeper *k) {
  return &k->error;
}

bool ond_keeper_refused(OndKeeper *k, int64 version) {
  if (version < k->version || version <= k->above)
    return k->state != K_FAILED;
  /* a token that a refusal has just brought and that nobody took yet: it is not the token */
  if (k->state == K_FAILED || (version == k->forced && k->proven < version))
    return false;
  ond_keeper_expect(k, version);
  return true;
}

void ond_keeper_accepted(OndKeeper *k, int64 version) {
  k->proven = Max(k->proven, version);
}

void ond_keeper_expect(OndKeeper *k, int64 above_version) {
  k->above = Max(k->above, above_version);
  if (k->state == K_IDLE || k->state == K_FAILED)
    k->state = K_LOOK;
}
