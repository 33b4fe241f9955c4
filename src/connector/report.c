/*
 * report.c - the steps before the pages of a list: a report is asked for, and asked about until it is there.
 *
 *   {"steps": [{"name": "create", "method": "POST", "path": "/reports", "body": {"since": "{{arg.since}}"}, "capture": {"id": "/id"}},
 *              {"name": "poll", "method": "GET", "path": "/reports/{{job.id}}", "poll": {"done": CONDITION, …}, "capture": {"file": "/url"}}],
 *    "jobs": {"timeout_ms": 600000}, "method": "GET", "url": "{{job.file}}", "format": "csv"}
 *
 * Whoever reads the list sees one more request before the first page, and another, with waits between them that he is told of (ond_paging_wait_us). A
 * report that ends nowhere is given up after "timeout_ms"; it may be made again by the next call, for it changes nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "connector/list.h"
#include "connector/message.h"
#include "connector/step.h"

#define US_PER_MS INT64_C(1000)

bool ond_paging_in_report(const OndPaging *p) {
  return p->list->report && p->step < p->list->report->n_steps;
}

const OndOperation *ond_paging_operation(const OndPaging *p) {
  return ond_paging_in_report(p) ? ond_step_operation(p->list->report, p->step) : p->list->request;
}

void ond_paging_label(const OndPaging *p, char *out, size_t n) {
  if (ond_paging_in_report(p)) {
    snprintf(out, n, "step \"%s\" of the list", ond_step_info(p->list->report, p->step)->name);
  } else {
    snprintf(out, n, "page %" PRId64 " of the list", p->pages + 1);
  }
}

/* As with jobs: the first wait is every_ms, each one is longer by half. */
static int64_t next_wait_ms(const OndPaging *p, const OndStepInfo *info) {
  int64_t ms = p->wait_ms == 0 ? info->every_ms : p->wait_ms + p->wait_ms / 2;

  return ms < info->max_ms ? ms : info->max_ms;
}

int64_t ond_paging_wait_us(OndPaging *p, int64_t now_us, OndError *err) {
  const OndStepInfo *info;
  char label[260];
  int64_t most_ms;

  if (!ond_paging_in_report(p)) {
    return 0;
  }
  info = ond_step_info(p->list->report, p->step);
  most_ms = ond_operation_info(p->list->report)->job_timeout_ms;
  if (p->until_us == 0) {
    p->until_us = now_us + most_ms * US_PER_MS;
  }
  if (now_us >= p->until_us) {
    ond_step_label((OndBytes){p->job.data, p->job.len}, label, sizeof(label));
    ond_error_set(err, "%s of the list did not end within %" PRId64 " seconds", label, most_ms / 1000);
    ond_error_hint(err, "\"timeout_ms\" in \"jobs\" of the list is how long it may take.");
    return -1;
  }
  if (!info->polls) {
    return 0;
  }
  p->wait_ms = next_wait_ms(p, info);
  return p->wait_ms * US_PER_MS < p->until_us - now_us ? p->wait_ms * US_PER_MS : p->until_us - now_us;
}

/* The step is done. */
static bool go_on(OndPaging *p, int next, const char *step, OndError *err) {
  const char *missing;

  p->step = next;
  p->wait_ms = 0;
  missing = ond_paging_in_report(p) ? NULL : ond_step_missing(p->list->uses, &p->job);
  if (missing) {
    ond_error_set(err, "%s could not be read: the answer does not tell \"%s\" of the job", step, missing);
  }
  return !missing;
}

bool ond_paging_read_step(OndPaging *p, const OndHttpResponse *response, OndError *err) {
  char words[OND_MESSAGE_BYTES_MAX + 1], label[260], step[100];
  int next = p->step;

  ond_paging_label(p, step, sizeof(step));
  switch (ond_step_read(p->list->report, p->step, response, &p->job, &next, words, sizeof(words))) {
  case OND_STEP_DONE: return go_on(p, next, step, err);
  case OND_STEP_WAIT: return true;
  case OND_STEP_FAILED:
    ond_step_label((OndBytes){p->job.data, p->job.len}, label, sizeof(label));
    ond_error_set(err, "%s of the list has failed: %s", label, words);
    return false;
  case OND_STEP_REFUSED: ond_error_set(err, "%s was refused: %s", step, words); return false;
  case OND_STEP_UNREADABLE: ond_error_set(err, "%s could not be read: %s", step, words); return false;
  }
  return false;
}
