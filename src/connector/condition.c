/*
 * condition.c - see condition.h.
 */
#include "connector/condition.h"

#include <string.h>

#define TEXT_BYTES_MAX 4096 /* longer values equal nothing that a condition can name */

static bool is_one_of(const OndCondition *condition, struct json_object *value) {
  OndBuf text;
  bool is_text;
  bool found = false;

  ond_buf_init(&text, TEXT_BYTES_MAX);
  is_text = value && ond_document_text(value, &text);
  for (int i = 0; i < condition->n && !found; i++) {
    const char *wanted = condition->values[i];

    found = wanted ? is_text && strlen(wanted) == text.len && memcmp(wanted, text.data ? text.data : "", text.len) == 0 : !value;
  }
  ond_buf_free(&text);
  return found;
}

OndHolds ond_condition_holds(const OndCondition *condition, struct json_object *record) {
  struct json_object *value = NULL;
  bool found = ond_document_at(record, &condition->path, &value);

  if (condition->present) {
    return found && value ? OND_HOLDS : OND_FAILS;
  }
  if (condition->absent) {
    return found && value ? OND_FAILS : OND_HOLDS;
  }
  if (!found) {
    return OND_SILENT;
  }
  return is_one_of(condition, value) ? OND_HOLDS : OND_FAILS;
}
