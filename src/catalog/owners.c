/*
 * owners.c - see owners.h. The server tracks owners of its own objects only: DROP ROLE succeeds while rows of ours name the role.
 */
#include "postgres.h"

#include "executor/spi.h"

#include "catalog/owners.h"
#include "catalog/session.h"

/* A role that is not there; 0 is nobody already. */
#define GONE(column)                                                                                                                       \
  column "::pg_catalog.oid OPERATOR(pg_catalog.<>) 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_authid a WHERE a.oid "                      \
         "OPERATOR(pg_catalog.=) " column "::pg_catalog.oid)"

void ond_owners_sweep(void) {
  static const char *const disown[] = {
      "UPDATE ondatra.all_syncs t SET owner = 0::pg_catalog.oid::pg_catalog.regrole WHERE " GONE("t.owner"),
      "UPDATE ondatra.all_destinations t SET owner = 0::pg_catalog.oid::pg_catalog.regrole WHERE " GONE("t.owner"),
      "UPDATE ondatra.all_connectors t SET owner = 0::pg_catalog.oid::pg_catalog.regrole WHERE " GONE("t.owner"),
      "UPDATE ondatra.all_runs t SET owner = 0::pg_catalog.oid::pg_catalog.regrole WHERE " GONE("t.owner"),
  };
  static const char *const delete[] = {
      "DELETE FROM ondatra.all_tokens k USING ondatra.all_destinations t WHERE k.destination_id OPERATOR(pg_catalog.=) t.destination_id "
      "AND " GONE("t.owner"),
      "DELETE FROM ondatra.all_secrets t WHERE " GONE("t.owner"),
      "DELETE FROM ondatra.all_grants t WHERE " GONE("t.role"),
  };

  for (int i = 0; i < lengthof(delete); i++)
    ond_spi(SPI_OK_DELETE, delete[i], 0, NULL, NULL, NULL);
  for (int i = 0; i < lengthof(disown); i++)
    ond_spi(SPI_OK_UPDATE, disown[i], 0, NULL, NULL, NULL);
}
