/*
 * delivery.h - the engine's side of core/deliver: changes from the store, requests by the connector, libcurl below, acks by the recorder.
 */
#ifndef OND_ENGINE_DELIVERY_H
#define OND_ENGINE_DELIVERY_H

#include "postgres.h"
#include "engine/held.h"
#include "engine/record.h"
#include "engine/run.h"
#include "engine/spec.h"
#include "http/auth.h"

typedef struct OndDeliveryInput {
  const OndSpec *spec;
  const OndRunHost *host;
  OndStore *store;
  OndRecorder *recorder;
  const OndDestination *destination;
  OndAuth *auth;              /* resolved */
  OndAddressPolicy addresses;
  int64 run_id;
  int64 max_rows;             /* -1: all */
  const OndApproval *approval;  /* of a held run: nothing else is sent; NULL: all */
  int64 deadline_us;          /* monotonic; 0: none */
  OndProgress *progress;
  OndJob *job;                /* of an earlier run, to go on with: its rows, and no store; freed at the end; NULL: none */
  int n_job_rows;
  OndChangeRow **job_rows;    /* freed as they are recorded */
} OndDeliveryInput;

typedef struct OndDeliveryResult {
  OndStop stop;
  OndDeliveryStats stats;
  int last_status;            /* of the last failure, for the run's words */
  char last_error[512];
  OndError token_error;       /* message empty: none; why there is no access token, when stop is AUTH or BREAKER */
  OndError script_error;      /* message empty: none; when stop is SCRIPT, why the owner's function cannot go on */
  bool no_place;              /* jobs of others have all places that the destination has for jobs */
  ErrorData *commit_error;    /* when stop is COMMIT */
} OndDeliveryResult;

/* What the sync's options and the connector make of batches, retries and doubt; shared with preview. */
extern void ond_delivery_policy(const OndSpec *spec, OndDeliveryPolicy *policy);
/* Of the policy, for one job of an earlier run with n rows: one request, and nothing in it is sent again in another way. */
extern void ond_delivery_job_policy(int n, OndDeliveryPolicy *policy);
/* on_unknown for an operation. */
extern bool ond_delivery_holds(const OndSpec *spec, OndOp op);
/* Microseconds a value waits while another one is in doubt. */
extern int64 ond_delivery_doubt_wait_us(const OndSpec *spec);
/* A change's idempotency key (32 hex digits) into its row. */
extern void ond_delivery_row_key(const OndSync *sync, OndChangeRow *row);
/* The key of the request that carries these rows by their task's route: over their own keys and what is sent of them. */
extern void ond_delivery_request_key(const OndSync *sync, OndChangeRow *const *rows, int n, char key[33]);
/* Delivers the store's changes. No transaction is open. Raises only what an interrupt raises. */
extern void ond_delivery_run(const OndDeliveryInput *input, OndDeliveryResult *result);

#endif
