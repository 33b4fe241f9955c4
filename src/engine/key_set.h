/*
 * key_set.h - a bounded set of key hashes, for the suspicion that a key came twice: false alarms are possible, a miss is not.
 */
#ifndef OND_ENGINE_KEY_SET_H
#define OND_ENGINE_KEY_SET_H

#include "postgres.h"

typedef struct OndKeySet {
  MemoryContext context;
  uint64 *slots;              /* open addressing; 0: free */
  uint64 mask;
  uint64 n, max;
  bool suspicion;             /* a hash came twice, or the set is full */
} OndKeySet;

/* Empty, in the context, of at most so many bytes. */
extern void ond_key_set_init(OndKeySet *set, MemoryContext context, Size bytes_max);
/* After a suspicion nothing is added any more. */
extern void ond_key_set_add(OndKeySet *set, uint64 hash);
/* Gives the memory back; of a set that is all zeros, too. */
extern void ond_key_set_free(OndKeySet *set);

#endif
