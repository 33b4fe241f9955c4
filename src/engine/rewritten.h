/*
 * rewritten.h - did what a transaction read stay what it was at its snapshot?
 *
 * A snapshot protects against rows that others change, not against tables that others replace: TRUNCATE, a rewriting ALTER TABLE, and a new table
 * that takes the name of an old one leave a table that is empty for every older snapshot. A reload (BEGIN; TRUNCATE; INSERT …; COMMIT) that the
 * diff has to wait for would look like a model without rows, and a mirror would delete them all.
 *
 * So who reads looks afterwards: each relation that this process has locked, among them partitions and tables inside functions, has a row in
 * pg_class; one that was written by a transaction which the snapshot does not see means that nothing of the result can be believed. Harmless
 * changes (GRANT, a new trigger) look the same and cost a second reading.
 *
 * Does not: see tables that only a function in a parallel worker has read.
 */
#ifndef OND_ENGINE_REWRITTEN_H
#define OND_ENGINE_REWRITTEN_H

#include "postgres.h"
#include "utils/snapshot.h"

/* True when a relation that this transaction has locked was made, replaced or rewritten after its snapshot. Called before the transaction ends. */
extern bool ond_rewritten_since(Snapshot snapshot);

#endif
