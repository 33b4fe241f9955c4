/*
 * listing.h - a destination's list, read by a run worker: page after page, no transaction open, records into a store.
 */
#ifndef OND_ENGINE_LISTING_H
#define OND_ENGINE_LISTING_H

#include "postgres.h"
#include "engine/change_row.h"
#include "engine/record.h"
#include "engine/run.h"
#include "engine/spec.h"
#include "http/auth.h"

typedef struct OndListing {
  const OndSpec *spec;        /* whose connector has a list */
  const OndRunHost *host;     /* with the destination's budget attached */
  const OndDestination *destination;
  OndAuth *auth;              /* resolved */
  OndAddressPolicy addresses;
  OndProgress *progress;      /* rows_scanned: records read */
  OndCounters *counters;      /* requests, retries and bytes are added */
  int64 deadline_us;          /* monotonic; 0: none */
} OndListing;

/*
 * Reads the whole list. Records are stored as creates, in their order: key_text (n_keys 0 where the record has none), fields, remote_id, remote. Returns how many. Raises when a page cannot be
 * read, after the destination's retries, and on a wish to stop (57014): what is in the store then is not the list.
 */
extern int64 ond_listing_read(const OndListing *input, OndStore *store);

#endif
