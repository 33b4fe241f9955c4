/*
 * message.h - words out of answers: what went wrong, as a person wants to read it.
 */
#ifndef OND_CONNECTOR_MESSAGE_H
#define OND_CONNECTOR_MESSAGE_H

#include "connector/document.h"

#define OND_MESSAGE_BYTES_MAX 1000

/* Copies text: at most n - 1 bytes, valid UTF-8, no control characters, one blank where there were several. */
extern void ond_message_copy(const char *text, size_t text_n, char *out, size_t n);
/* Words of a JSON value: a text, or what stands in the usual places of an object or list. False: none found. */
extern bool ond_message_words(struct json_object *value, char *out, size_t n);

#endif
