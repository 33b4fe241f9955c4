/*
 * way.c - see way.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "engine/way.h"

#define HOPS_MAX 5

static const OndWay NO_SIGNPOST = {false, NULL};

static const OndOperationInfo *lookup_info(const OndSpec *spec) {
  const OndOperation *lookup = ond_connector_route(spec->connector, OND_ROUTE_LOOKUP);

  return lookup == NULL ? NULL : ond_operation_info(lookup);
}

bool ond_way_looks_up(const OndSpec *spec, OndOp op) {
  const OndOperationInfo *lookup = lookup_info(spec);

  return lookup != NULL && (op == OND_OP_DELETE || !lookup->deletes_only);
}

OndRoute ond_way_first(const OndSpec *spec, const OndChangeRow *row) {
  const OndOperationInfo *lookup = ond_way_looks_up(spec, row->task.op) ? lookup_info(spec) : NULL;

  if (lookup != NULL && (lookup->always || row->row.remote_id.p == NULL))
    return OND_ROUTE_LOOKUP;
  if (lookup != NULL && row->task.op == OND_OP_CREATE)
    return OND_ROUTE_UPDATE; /* an earlier look-up found the record, but nothing was accepted since */
  return ond_op_route(row->task.op);
}

static bool has(const int *list, int status) {
  for (; list != NULL && *list != 0; list++)
    if (*list == status)
      return true;
  return false;
}

static OndWay ends(OndChangeRow *row, OndOutcome outcome, const char *message) {
  row->task.outcome = outcome;
  return (OndWay){true, message};
}

static OndWay goes(OndChangeRow *row, OndRoute route) {
  if (++row->hops > HOPS_MAX)
    return ends(row, OND_OUT_REJECTED, "the destination says of this record now that it exists and now that it does not");
  row->task.again = true;
  row->task.route = route;
  row->row.op = route == OND_ROUTE_CREATE ? OND_OP_CREATE : route == OND_ROUTE_UPDATE ? OND_OP_UPDATE : row->task.op;
  return (OndWay){true, NULL};
}

static OndWay goes_to_create(const OndSpec *spec, OndChangeRow *row) {
  if (spec->sync->mode == OND_MODE_UPDATE)
    return ends(row, OND_OUT_REJECTED, "the destination has no such record, and mode update does not create one");
  row->row.remote_id = OND_BYTES_NONE;
  row->row.remote = OND_BYTES_NONE;
  row->remote_id = row->remote = NULL;
  return goes(row, OND_ROUTE_CREATE);
}

OndWay ond_way_by_status(const OndSpec *spec, OndChangeRow *row, int http_status) {
  const OndOperationInfo *info = ond_operation_info(ond_connector_route(spec->connector, row->task.route));
  bool can_look = ond_way_looks_up(spec, row->task.op);

  if (has(info->exists, http_status))
    return goes(row, can_look ? OND_ROUTE_LOOKUP : OND_ROUTE_UPDATE);
  if (has(info->conflict, http_status))
    return goes(row, OND_ROUTE_LOOKUP);
  if (!has(info->missing, http_status))
    return NO_SIGNPOST;
  if (row->task.op == OND_OP_DELETE)
    return ends(row, OND_OUT_ACCEPTED, NULL);
  return goes_to_create(spec, row);
}

static OndBytes bytes_of(const char *text) {
  return text == NULL ? OND_BYTES_NONE : (OndBytes){text, strlen(text)};
}

OndWay ond_way_by_lookup(const OndSpec *spec, OndChangeRow *row, const OndRowResult *found, MemoryContext context) {
  if (found->outcome == OND_OUT_UNKNOWN && found->absent)
    return row->task.op == OND_OP_DELETE ? ends(row, OND_OUT_ACCEPTED, NULL) : goes_to_create(spec, row);
  if (found->outcome != OND_OUT_ACCEPTED)
    return ends(row, found->outcome, found->message);
  row->remote_id = found->remote_id == NULL ? NULL : MemoryContextStrdup(context, found->remote_id);
  row->remote = found->remote == NULL ? NULL : MemoryContextStrdup(context, found->remote);
  row->row.remote_id = bytes_of(row->remote_id);
  row->row.remote = bytes_of(row->remote);
  row->found = true;
  return goes(row, row->task.op == OND_OP_DELETE ? OND_ROUTE_DELETE : OND_ROUTE_UPDATE);
}
