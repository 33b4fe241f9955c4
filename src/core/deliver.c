/*
 * deliver.c - the delivery loop; see deliver.h for the words and invariants.
 *
 *   ond_deliver():  refill -> commit -> launch -> poll -> collect, until nothing is left
 *
 * Lists (all singly linked, FIFO):
 *   staged    taken from next(), not in a durable window yet
 *   ready     in a durable window, not in a request; behind[route]: likewise, but on their second or later way (when ordered all in behind[0])
 *   waiting   requests between two tries, with not_before
 *   (in flight: known to the transport; only their number is kept here)
 *   resolved  tasks with an outcome that is not durable yet
 * When ordered, behind[0] and waiting are sorted by the tasks' places, and the first of all is the only one that may start.
 *
 * How large the next window is and when to stop deliver_policy.c says. What is taken from next() and not committed yet is held in memory: by bytes
 * (window_bytes_max) and by rows, wherever it stands.
 *
 * Only take_rows() accepts: no other way a request can end says that the destination has a row.
 */
#include <assert.h>
#include <string.h>

#include "core/deliver_list.h"

#define POLL_MAX_US 50000
#define EARLIER(a, b) ((a) < (b) ? (a) : (b))

typedef struct Delivery {
  const OndDeliveryIo *io;
  const OndDeliveryPolicy *policy;
  OndDeliveryStats *stats;
  TaskList staged, ready, resolved;
  TaskList behind[OND_ROUTES];
  int n_behind;
  int flying[OND_ROUTES];    /* requests in flight */
  OndRequest *waiting;
  int n_waiting;
  int in_flight;
  int64_t last_place;
  int64_t held_rows;         /* taken from next() and not committed as resolved */
  size_t held_bytes;
  bool drained;              /* next() had no more */
  OndOp current_op;          /* of the requests that may start */
  int window_no;
  int window_rows;           /* how many to stage next */
  int64_t window_since;      /* when the last window was committed */
  int64_t resolved_since;    /* of the oldest in resolved */
  int64_t permit_at;         /* no permit before */
  int64_t barred_at[OND_ROUTES]; /* nothing begins before */
  int64_t barred_since;      /* since when nothing could begin and nothing of ours was answered; 0: not */
  bool starved;              /* something is ready but has no permit */
  int64_t starved_since;
  OndDeliveryHealth health;
  OndStop stop;
  bool asked;                /* somebody wants it to end now: do not wait for answers */
} Delivery;

static const OndDeliveryOp *route_policy(const Delivery *d, OndRoute route) {
  return ond_delivery_op(d->policy, route);
}

/* --- resolving -------------------------------------------------------------------------------------------- */

static void resolve(Delivery *d, OndTask *task, OndOutcome outcome) {
  task->outcome = outcome;
  if (outcome == OND_OUT_ACCEPTED)
    d->stats->accepted++;
  if (outcome == OND_OUT_REJECTED)
    d->stats->refused++;
  if (d->resolved.n == 0)
    d->resolved_since = d->io->clock(d->io->arg);
  push(&d->resolved, task);
}

static OndRequest *request_create(OndRoute route, int n) {
  OndRequest *r = ond_calloc(sizeof(OndRequest));

  r->route = route;
  r->n = n;
  r->tasks = ond_malloc(sizeof(OndTask *) * (size_t)n);
  return r;
}

static void request_free(OndRequest *r) {
  ond_free(r->tasks);
  ond_free(r);
}

static void request_wait(Delivery *d, OndRequest *r, int64_t not_before) {
  OndRequest **at = &d->waiting;

  r->not_before = not_before;
  while (*at != NULL && (d->policy->ordered ? (*at)->tasks[0]->place < r->tasks[0]->place : (*at)->not_before <= not_before))
    at = &(*at)->next;
  r->next = *at;
  *at = r;
  d->n_waiting++;
}

static void request_resolve(Delivery *d, OndRequest *r, OndOutcome outcome) {
  for (int i = 0; i < r->n; i++)
    resolve(d, r->tasks[i], outcome);
  request_free(r);
}

/* The run stops while these are under way: nothing has failed, but what may have arrived is in doubt. */
static void interrupt(Delivery *d, OndTask *task) {
  task->interrupted = true;
  resolve(d, task, task->in_doubt ? OND_OUT_UNKNOWN : OND_OUT_NOT_SENT);
}

static void request_interrupt(Delivery *d, OndRequest *r) {
  for (int i = 0; i < r->n; i++)
    interrupt(d, r->tasks[i]);
  request_free(r);
}

/* Two requests of half the tasks each, to be sent at once; attempt: tries that count as used. */
static void request_halve(Delivery *d, OndRequest *r, int attempt) {
  int half = r->n / 2;
  OndRequest *a = request_create(r->route, half);
  OndRequest *b = request_create(r->route, r->n - half);
  int64_t now = d->io->clock(d->io->arg);

  memcpy(a->tasks, r->tasks, sizeof(OndTask *) * (size_t)half);
  memcpy(b->tasks, r->tasks + half, sizeof(OndTask *) * (size_t)(r->n - half));
  a->attempt = b->attempt = attempt;
  a->last_answer = b->last_answer = r->last_answer;
  request_free(r);
  request_wait(d, a, now);
  request_wait(d, b, now);
}

/* Takes tasks[bad] out of the request; false when none is left (the request is freed then). */
static bool request_drop(OndRequest *r, int bad) {
  memmove(r->tasks + bad, r->tasks + bad + 1, sizeof(OndTask *) * (size_t)(r->n - bad - 1));
  r->n--;
  if (r->n > 0)
    return true;
  request_free(r);
  return false;
}

/* --- answers ---------------------------------------------------------------------------------------------- */

static void note_health(Delivery *d, OndAnswer answer) {
  OndStop stop = ond_delivery_note(d->policy, &d->health, answer);

  if (d->stop == OND_STOP_NONE)
    d->stop = stop;
}

/*
 * What an answer tells about all its rows. Doubt is sticky over the tries of a run; only a definite answer about the content ends it. That a try
 * may still arrive stays known (late_at), also after one that was accepted.
 */
static void note_answer(OndRequest *r, const OndReply *reply, bool replays_errors) {
  if (reply->answer == OND_ANSWER_AGAIN)
    return;
  r->last_answer = reply->answer;
  for (int i = 0; i < r->n; i++) {
    OndTask *task = r->tasks[i];

    task->http_status = reply->http_status;
    task->renewed += reply->http_status >= 400 && replays_errors;
    if (ond_classify_may_arrive(reply->answer, reply->http_status))
      task->late_at = task->sent_at;
    if (reply->answer == OND_ANSWER_IN_DOUBT)
      task->in_doubt = true;
    else if (reply->answer == OND_ANSWER_REFUSED)
      task->in_doubt = task->older_doubt;
  }
}

/* The same for one row. "Not now" is definite about this try only: an earlier one may still have arrived. */
static void note_row_doubt(OndTask *task) {
  if (task->outcome == OND_OUT_UNKNOWN)
    task->in_doubt = true;
  else if (task->outcome == OND_OUT_ACCEPTED)
    task->in_doubt = false;
  else if (task->outcome == OND_OUT_REJECTED)
    task->in_doubt = task->older_doubt;
}

/* Goes on by another way, behind others that do. */
static void go_behind(Delivery *d, OndTask *task) {
  TaskList *list = &d->behind[d->policy->ordered ? 0 : task->route];
  TaskList later = {0};

  task->again = false;
  task->older_doubt = task->in_doubt;
  d->n_behind++;
  if (d->policy->ordered) {
    later = *list;
    memset(list, 0, sizeof(*list));
    while (later.head != NULL && later.head->place < task->place)
      push(list, pop(&later));
  }
  push(list, task);
  append_all(list, &later);
}

static int64_t next_try_at(Delivery *d, const OndRequest *r, const OndReply *reply) {
  return d->io->clock(d->io->arg) + ond_backoff_us(&d->policy->retry, r->attempt, reply->retry_after_us, d->io->random(d->io->arg));
}

/* A row that the answer asks to send once more. A request of several steps counts its tries anew in each, a row does not. */
static bool goes_again(const Delivery *d, const OndRequest *r, const OndTask *task) {
  return task->outcome == OND_OUT_THROTTLED && d->stop == OND_STOP_NONE && r->attempt < d->policy->retry.attempts &&
         task->asked + 1 < d->policy->retry.attempts;
}

/*
 * Per-row outcomes were read by the engine. Rows worth another try (THROTTLED) go on in a request of their own; the others are resolved.
 */
static void take_rows(Delivery *d, OndRequest *r, const OndReply *reply) {
  OndRequest *again = request_create(r->route, r->n);
  bool reads = route_policy(d, r->route)->reads;

  again->n = 0;
  again->attempt = r->attempt;
  again->last_answer = OND_ANSWER_THROTTLED;
  for (int i = 0; i < r->n; i++) {
    OndTask *task = r->tasks[i];

    if (task->again) {
      go_behind(d, task);
      continue;
    }
    if (reads && task->outcome == OND_OUT_UNKNOWN)
      task->outcome = OND_OUT_UNAVAILABLE; /* an answer that cannot be read, but nothing was changed */
    note_row_doubt(task);
    d->stats->unmentioned += task->outcome == OND_OUT_UNKNOWN;
    if (goes_again(d, r, task)) {
      task->asked++;
      again->tasks[again->n++] = task;
    } else
      resolve(d, task, task->outcome);
  }
  if (again->n > 0)
    request_wait(d, again, next_try_at(d, r, reply));
  else
    request_free(again);
  request_free(r);
}

/* The request goes on with its next step when that is due. */
static void take_step(Delivery *d, OndRequest *r, const OndReply *reply) {
  r->step++;
  r->attempt = r->agains = 0;
  request_wait(d, r, d->io->clock(d->io->arg) + (reply->retry_after_us > 0 ? reply->retry_after_us : 0));
}

/* The same once more, under a permit of its own: the try that brought this answer does not count. */
static void take_again(Delivery *d, OndRequest *r) {
  r->agains++;
  r->attempt--;
  request_wait(d, r, d->io->clock(d->io->arg));
}

/* A refused batch is cut until the bad rows stand alone; when the run stops first, nobody knows which rows the refusal was about. */
static void take_refusal(Delivery *d, OndRequest *r, const OndReply *reply) {
  if (r->n == 1 || !reply->may_bisect || !route_policy(d, r->route)->bisect)
    request_resolve(d, r, OND_OUT_REJECTED);
  else if (d->stop == OND_STOP_NONE)
    request_halve(d, r, 0);
  else
    request_interrupt(d, r);
}

/* A failed try: another one, a cut, or the end of it. */
static void take_failure(Delivery *d, OndRequest *r, const OndReply *reply) {
  const OndDeliveryOp *op = route_policy(d, r->route);
  bool doubtful = reply->answer == OND_ANSWER_IN_DOUBT;
  bool may_repeat = (!doubtful || op->repeat_in_doubt) && d->stop == OND_STOP_NONE;

  if (may_repeat && ond_classify_retry(reply->answer) && r->attempt < d->policy->retry.attempts)
    request_wait(d, r, next_try_at(d, r, reply));
  /* One poison row that makes the server fail must not take its batch along for ever: the halves get one try each. */
  else if (may_repeat && doubtful && reply->http_status >= 500 && r->n > 1 && op->bisect)
    request_halve(d, r, d->policy->retry.attempts - 1);
  else if (d->asked || d->stop == OND_STOP_RATE)
    request_interrupt(d, r);
  else
    request_resolve(d, r, ond_delivery_outcome(reply->answer, reply->http_status));
}

static void take_answer(Delivery *d, OndRequest *r, OndReply *reply) {
  d->in_flight--;
  d->flying[r->route]--;
  d->barred_since = 0;
  d->stats->in_flight = d->in_flight;
  d->io->permit_done(d->io->arg);
  r->wire = NULL;
  if (reply->answer == OND_ANSWER_IN_DOUBT && route_policy(d, r->route)->reads)
    reply->answer = OND_ANSWER_UNAVAILABLE;
  note_health(d, reply->answer);
  note_answer(r, reply, route_policy(d, r->route)->replays_errors);
  if (reply->answer == OND_ANSWER_THROTTLED)
    d->io->pause(d->io->arg, next_try_at(d, r, reply));
  if (reply->answer == OND_ANSWER_READ)
    take_rows(d, r, reply);
  else if (reply->answer == OND_ANSWER_CONTINUE)
    take_step(d, r, reply);
  else if (reply->answer == OND_ANSWER_AGAIN)
    take_again(d, r);
  else if (reply->answer == OND_ANSWER_REFUSED)
    take_refusal(d, r, reply);
  else
    take_failure(d, r, reply);
}

static void collect(Delivery *d) {
  OndReply reply;
  OndRequest *r;

  while ((r = d->io->take(d->io->arg, &reply)) != NULL)
    take_answer(d, r, &reply);
  if (d->stop == OND_STOP_NONE && d->stats->accepted == 0 && d->stats->refused + d->stats->unmentioned >= d->policy->breaker_refusals)
    d->stop = OND_STOP_REFUSALS;
}

/* --- windows and acks ------------------------------------------------------------------------------------- */

static bool may_hold_more(const Delivery *d) {
  return ond_delivery_may_hold(d->policy, d->held_rows, d->held_bytes);
}

static void refill(Delivery *d) {
  if (d->drained || d->stop != OND_STOP_NONE || d->ready.n > d->window_rows / 2)
    return;
  /* not while nothing could start anyway: what waits for a permit in a window would be in doubt after a crash */
  if (d->permit_at > d->io->clock(d->io->arg) || d->barred_since != 0)
    return;
  while (d->staged.n < d->window_rows && may_hold_more(d)) {
    OndTask *task = d->io->next(d->io->arg);

    if (task == NULL) {
      d->drained = true;
      return;
    }
    task->place = ++d->last_place;
    d->held_rows++;
    d->held_bytes += task->bytes;
    push(&d->staged, task);
    if (d->window_rows < ond_delivery_window_min(d->policy, task->route))
      d->window_rows = ond_delivery_window_min(d->policy, task->route);
  }
}

static void adapt_window(Delivery *d) {
  int64_t now = d->io->clock(d->io->arg);

  d->window_rows = ond_delivery_window_next(d->policy, d->staged.head->route, d->window_rows, now - d->window_since, d->window_no == 1);
  d->window_since = now;
}

static void commit(Delivery *d) {
  OndTask **resolved = as_array(&d->resolved);
  OndTask **window = as_array(&d->staged);
  bool ok;

  if (d->staged.n > 0) {
    d->window_no++;
    for (int i = 0; i < d->staged.n; i++)
      window[i]->window_no = d->window_no;
  }
  ok = d->io->commit(d->io->arg, resolved, d->resolved.n, window, d->staged.n, d->window_no);
  ond_free(resolved);
  ond_free(window);
  d->held_rows -= d->resolved.n;
  d->held_bytes -= d->resolved.bytes;
  memset(&d->resolved, 0, sizeof(d->resolved));
  if (!ok) {
    d->stop = OND_STOP_COMMIT;
    return;
  }
  if (d->staged.n > 0) {
    adapt_window(d);
    append_all(&d->ready, &d->staged);
  }
}

static bool commit_is_due(const Delivery *d) {
  if (d->staged.n > 0 || d->resolved.n >= d->policy->ack_rows || d->resolved.bytes >= d->policy->window_bytes_max / 4)
    return d->staged.n > 0 || d->resolved.n > 0;
  return d->resolved.n > 0 && d->io->clock(d->io->arg) - d->resolved_since >= d->policy->ack_us;
}

/* --- launching -------------------------------------------------------------------------------------------- */

static bool travels_with(const Delivery *d, const OndTask *task, const OndTask *head) {
  int group = route_policy(d, head->route)->group;

  return (task->op == head->op && task->route == head->route) || (group != 0 && route_policy(d, task->route)->group == group);
}

/* The head of the list and what may travel with it. */
static OndRequest *batch_from(const Delivery *d, TaskList *list) {
  const OndDeliveryOp *op = route_policy(d, list->head->route);
  OndRoute route = list->head->route;
  size_t bytes = 0;
  int n = 0;
  OndRequest *r;

  for (OndTask *t = list->head; t != NULL && n < op->batch_rows && travels_with(d, t, list->head); t = t->next) {
    if (n > 0 && op->batch_bytes > 0 && bytes + t->bytes > op->batch_bytes)
      break;
    bytes += t->bytes;
    n++;
  }
  r = request_create(route, n);
  for (int i = 0; i < n; i++)
    r->tasks[i] = pop(list);
  return r;
}

/* Whether one more request of the route may begin. */
static bool route_is_open(const Delivery *d, OndRoute route) {
  const OndDeliveryOp *op = route_policy(d, route);
  int n = d->flying[route];

  if (d->barred_at[route] > d->io->clock(d->io->arg))
    return false;
  if (op->open_max <= 0)
    return true;
  for (const OndRequest *r = d->waiting; r != NULL; r = r->next)
    n += r->route == route && r->open;
  return n < op->open_max;
}

/* The list of a second way that is worth a request: a full one, or no more can come to it now. */
static TaskList *list_behind(Delivery *d) {
  if (d->n_behind == 0 || (d->policy->ordered && d->waiting != NULL && d->waiting->tasks[0]->place < d->behind[0].head->place))
    return NULL;
  for (int i = 0; i < OND_ROUTES; i++) {
    const OndTask *head = d->behind[i].head;

    if (head != NULL && (d->in_flight == 0 || d->behind[i].n >= route_policy(d, head->route)->batch_rows) && route_is_open(d, head->route))
      return &d->behind[i];
  }
  return NULL;
}

/* Where the first waiting request hangs that may start then, or NULL. One that goes on always may; one that begins needs room. */
static OndRequest **waiting_to_start(Delivery *d, int64_t then) {
  OndRequest **at = &d->waiting;

  if (d->policy->ordered && *at != NULL && d->n_behind > 0 && d->behind[0].head->place < (*at)->tasks[0]->place)
    return NULL;
  while (*at != NULL && (*at)->not_before <= then && !(*at)->open && !route_is_open(d, (*at)->route) && !d->policy->ordered)
    at = &(*at)->next;
  return *at != NULL && (*at)->not_before <= then ? at : NULL;
}

/* A batch that could be fuller waits for the next window unless there is none to come. */
static bool ready_is_worth_it(const Delivery *d) {
  return d->ready.n > 0 && (d->drained || d->ready.n >= route_policy(d, d->ready.head->route)->batch_rows || d->in_flight == 0 || !may_hold_more(d));
}

/* The list whose head may start now, or NULL. What is on its second way is older. */
static TaskList *list_to_start(Delivery *d) {
  TaskList *behind = list_behind(d);
  const OndTask *head = d->ready.head;

  if (behind != NULL || !ready_is_worth_it(d) || (d->policy->ordered && (d->n_waiting > 0 || d->n_behind > 0)))
    return behind;
  if (head->op != d->current_op) {
    if (d->in_flight > 0 || d->n_waiting > 0 || d->n_behind > 0)
      return NULL; /* deletes end before updates begin, updates before creates */
    d->current_op = head->op;
  }
  return route_is_open(d, head->route) ? &d->ready : NULL;
}

/* The next request that may start now, or NULL. Retries first: they are older. */
static OndRequest *next_request(Delivery *d, int64_t now) {
  OndRequest **waiting = waiting_to_start(d, now);
  TaskList *list;
  OndRequest *r;

  if (waiting != NULL) {
    r = *waiting;
    *waiting = r->next;
    r->next = NULL;
    d->n_waiting--;
    return r;
  }
  list = list_to_start(d);
  if (list == NULL)
    return NULL;
  r = batch_from(d, list);
  if (list != &d->ready)
    d->n_behind -= r->n;
  return r;
}

static bool has_slot(const Delivery *d) {
  return d->in_flight < (d->policy->ordered ? 1 : d->policy->concurrency);
}

static void note_start(Delivery *d, OndRequest *r) {
  int64_t wall = d->io->wall(d->io->arg);

  r->attempt++;
  r->open = true;
  d->in_flight++;
  d->flying[r->route]++;
  d->stats->in_flight = d->in_flight;
  d->stats->requests++;
  if (r->attempt > 1)
    d->stats->retries++;
  if (route_policy(d, r->route)->reads)
    return;
  for (int i = 0; i < r->n; i++)
    r->tasks[i]->sent_at = wall;
}

/* The transport could not take it: a try that never reached the server. */
static void note_no_start(Delivery *d, OndRequest *r) {
  static const OndReply reply = {OND_ANSWER_UNAVAILABLE, 0, -1, false};

  r->attempt++;
  note_health(d, reply.answer);
  note_answer(r, &reply, false);
  take_failure(d, r, &reply);
}

/* Asks whether to stop; a request to stop now wins over a stop that waits for answers. */
static void ask_stop(Delivery *d) {
  OndStop stop = d->asked ? OND_STOP_NONE : d->io->stop(d->io->arg);

  if (stop == OND_STOP_NONE)
    return;
  d->asked = true;
  if (d->stop == OND_STOP_NONE)
    d->stop = stop;
}

/* True: it is on the wire. False: nothing was sent, and the request is not the caller's any more. */
static bool start(Delivery *d, OndRequest *r) {
  for (;;) {
    int bad = 0;

    switch (d->io->start(d->io->arg, r, &bad)) {
      case OND_START_OK: note_start(d, r); return true;
      case OND_START_FAILED: note_no_start(d, r); return false;
      case OND_START_STOP:
        request_wait(d, r, d->io->clock(d->io->arg));
        ask_stop(d);
        if (d->stop == OND_STOP_NONE)
          d->stop = OND_STOP_SCRIPT;
        return false;
      case OND_START_TOO_LARGE:
        if (r->n > 1) {
          request_halve(d, r, r->attempt);
          return false;
        }
        bad = 0; /* a row that alone is too large */
        break;
      case OND_START_BAD_ROW: break;
    }
    assert(bad >= 0 && bad < r->n);
    resolve(d, r->tasks[bad], OND_OUT_INVALID);
    if (!request_drop(r, bad))
      return false;
  }
}

/* Whether the request may begin, as the engine sees it; false: not yet, nor any other of its route. */
static bool may_begin(Delivery *d, OndRequest *r, int64_t now) {
  int64_t wait;

  if (r->open)
    return true;
  wait = d->io->begin(d->io->arg, r);
  if (wait == 0) {
    d->barred_since = 0;
    return true;
  }
  if (d->barred_since == 0)
    d->barred_since = now;
  else if (now - d->barred_since > d->policy->permit_wait_max_us)
    d->stop = OND_STOP_RATE;
  d->barred_at[r->route] = now + wait;
  request_wait(d, r, now + wait);
  return false;
}

/* Asks for a permit; false: there is none now, d->permit_at says when to ask again. */
static bool get_permit(Delivery *d, const OndRequest *r, int64_t now) {
  int64_t wait = d->io->permit(d->io->arg, r);

  if (wait != 0) {
    if (wait < 0 || wait > d->policy->permit_wait_max_us)
      d->stop = wait < 0 ? (OndStop)-wait : OND_STOP_RATE;
    d->permit_at = now + wait;
    if (!d->starved) {
      d->starved = true;
      d->starved_since = now;
    }
    return false;
  }
  if (d->starved) {
    d->stats->throttled_us += now - d->starved_since;
    d->starved = false;
  }
  return true;
}

/* A permit for which nothing was sent (a bad row, a batch to be cut) serves the next request of its kind: only what goes out counts. */
static void launch(Delivery *d) {
  bool permit = false;
  OndRoute route = OND_ROUTE_CREATE; /* and step, of the permit */
  int step = 0;

  while (d->stop == OND_STOP_NONE && has_slot(d)) {
    int64_t now = d->io->clock(d->io->arg);
    OndRequest *r = !permit && d->permit_at > now ? NULL : next_request(d, now);

    if (r == NULL)
      break;
    if (permit && (route != r->route || step != r->step)) {
      d->io->permit_done(d->io->arg);
      permit = false;
    }
    if (!may_begin(d, r, now))
      continue;
    if (!permit && !get_permit(d, r, now)) {
      request_wait(d, r, now);
      break;
    }
    route = r->route;
    step = r->step;
    permit = !start(d, r);
  }
  if (permit)
    d->io->permit_done(d->io->arg);
}

/* --- the end ---------------------------------------------------------------------------------------------- */

/* A request that is not tried again because the run stops: what was tried and failed has failed, unless somebody else ended the run. */
static void give_up(Delivery *d, OndRequest *r) {
  if (r->attempt == 0 || d->asked || d->stop == OND_STOP_RATE)
    request_interrupt(d, r);
  else
    request_resolve(d, r, ond_delivery_outcome(r->last_answer, r->tasks[0]->http_status));
}

static void wind_up(Delivery *d) {
  while (d->ready.head != NULL)
    interrupt(d, pop(&d->ready));
  for (int i = 0; i < OND_ROUTES; i++)
    while (d->behind[i].head != NULL)
      interrupt(d, pop(&d->behind[i]));
  d->n_behind = 0;
  while (d->waiting != NULL) {
    OndRequest *r = d->waiting;

    d->waiting = r->next;
    d->n_waiting--;
    give_up(d, r);
  }
  if (d->asked && d->in_flight > 0) {
    d->io->abandon(d->io->arg);
    collect(d);
  }
}

/* After a commit that failed nothing is recorded any more: the next run finds the windows and folds them. */
static void let_go(Delivery *d) {
  OndReply reply;
  OndRequest *r;

  d->io->abandon(d->io->arg);
  while ((r = d->io->take(d->io->arg, &reply)) != NULL) {
    d->in_flight--;
    d->io->permit_done(d->io->arg);
    request_free(r);
  }
  d->stats->in_flight = d->in_flight;
  while ((r = d->waiting) != NULL) {
    d->waiting = r->next;
    request_free(r);
  }
}

/* Until something of ours is due: a try, a permit, an ack. Answers end the wait by themselves. */
static int64_t poll_time(Delivery *d) {
  int64_t now = d->io->clock(d->io->arg);
  int64_t due = now + POLL_MAX_US;
  OndRequest **waiting = waiting_to_start(d, INT64_MAX);

  if (has_slot(d)) {
    if (waiting != NULL)
      due = EARLIER(due, (*waiting)->not_before > d->permit_at ? (*waiting)->not_before : d->permit_at);
    if (d->permit_at > now)
      due = EARLIER(due, d->permit_at);
  }
  if (d->resolved.n > 0)
    due = EARLIER(due, d->resolved_since + d->policy->ack_us);
  return due > now ? due - now : 0;
}

static bool all_done(const Delivery *d) {
  return (d->drained || d->stop != OND_STOP_NONE) && d->ready.n == 0 && d->n_behind == 0 && d->n_waiting == 0 && d->in_flight == 0;
}

OndStop ond_deliver(const OndDeliveryIo *io, const OndDeliveryPolicy *policy, OndDeliveryStats *stats) {
  Delivery d;

  memset(&d, 0, sizeof(d));
  d.io = io;
  d.policy = policy;
  d.stats = stats;
  d.current_op = OND_OP_DELETE;
  d.window_rows = 1;
  for (;;) {
    ask_stop(&d);
    if (d.stop != OND_STOP_NONE)
      wind_up(&d);
    refill(&d);
    if (commit_is_due(&d))
      commit(&d);
    if (d.stop == OND_STOP_COMMIT)
      break;
    launch(&d);
    if (all_done(&d))
      break;
    io->poll(io->arg, poll_time(&d));
    collect(&d);
  }
  if (d.stop != OND_STOP_COMMIT && d.resolved.n > 0)
    commit(&d);
  if (d.stop == OND_STOP_COMMIT)
    let_go(&d);
  if (d.starved)
    stats->throttled_us += io->clock(io->arg) - d.starved_since;
  return d.stop;
}
