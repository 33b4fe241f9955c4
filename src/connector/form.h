/*
 * form.h - a JSON object as application/x-www-form-urlencoded.
 *
 * Nesting becomes brackets: {"a": {"b": 1}} is a[b]=1, {"a": [1, 2]} is a[0]=1&a[1]=2 (names and brackets percent-encoded). null is an
 * empty text, numbers and booleans go as they are written, empty objects and arrays leave nothing.
 */
#ifndef OND_CONNECTOR_FORM_H
#define OND_CONNECTOR_FORM_H

#include <stdbool.h>
#include "core/buf.h"
#include "core/error.h"

/* Appends the form of json. False and err: no object, not well-formed, too deep; or out is full (out->overflow). */
extern bool ond_form_append(OndBytes json, OndBuf *out, OndError *err);

#endif
