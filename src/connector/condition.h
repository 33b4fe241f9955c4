/*
 * condition.h - whether something of an answer fulfils a condition.
 */
#ifndef OND_CONNECTOR_CONDITION_H
#define OND_CONNECTOR_CONDITION_H

#include "connector/internal.h"

/* SILENT: the place does not exist (and the condition is not about that). */
typedef enum OndHolds { OND_HOLDS, OND_FAILS, OND_SILENT } OndHolds;

extern OndHolds ond_condition_holds(const OndCondition *condition, struct json_object *record);

#endif
