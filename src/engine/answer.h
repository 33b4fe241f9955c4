/*
 * answer.h - an answer's headers, for functions of users.
 */
#ifndef OND_ENGINE_ANSWER_H
#define OND_ENGINE_ANSWER_H

#include "postgres.h"
#include "http/http.h"

/* {"name": "value"} as JSON in UTF-8, names in lower case; several of one name: a list. Palloc'd. */
extern char *ond_answer_headers(const OndHttpResponse *r);

#endif
