/*
 * request_log.h - requests of a run for the view ondatra.requests: which of them, without secrets, cut, written when it costs nothing.
 */
#ifndef OND_ENGINE_REQUEST_LOG_H
#define OND_ENGINE_REQUEST_LOG_H

#include "postgres.h"
#include "connector/connector.h"
#include "http/http.h"

typedef struct OndRequestLog OndRequestLog;

/* In the current memory context. auth: whose secret values are taken out; borrowed. NULL: nothing is to be recorded. */
extern OndRequestLog *ond_request_log_create(int64 sync_id, int64 run_id, const OndAuth *auth);
/* Notes a request and its answer if ondatra.log_requests wants it. error: what was wrong; NULL: nothing was. */
extern void ond_request_log_add(OndRequestLog *log, const OndHttpRequest *request, const OndHttpResponse *response, const char *operation,
                                int rows, const char *error);
/* True when so much is noted that it should be written soon. */
extern bool ond_request_log_is_full(const OndRequestLog *log);
/* Writes what is noted, in a transaction of its own. An error is logged, ends the recording, and is nobody else's. */
extern void ond_request_log_flush(OndRequestLog *log);

#endif
