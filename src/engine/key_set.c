/*
 * key_set.c - see key_set.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "engine/key_set.h"

#define SLOTS_MIN 1024
#define SLOTS_MAX (UINT64CONST(1) << 26)

void ond_key_set_init(OndKeySet *set, MemoryContext context, Size bytes_max) {
  uint64 slots = SLOTS_MIN;

  while (slots * 2 <= bytes_max / sizeof(uint64) && slots < SLOTS_MAX)
    slots *= 2;
  memset(set, 0, sizeof(*set));
  set->context = context;
  set->mask = SLOTS_MIN - 1;
  set->max = slots / 2;
  set->slots = MemoryContextAllocZero(context, sizeof(uint64) * SLOTS_MIN);
}

void ond_key_set_free(OndKeySet *set) {
  if (set->slots != NULL)
    pfree(set->slots);
  set->slots = NULL;
}

static void insert(OndKeySet *set, uint64 hash) {
  uint64 i = hash & set->mask;

  while (set->slots[i] != 0 && set->slots[i] != hash)
    i = (i + 1) & set->mask;
  if (set->slots[i] == hash)
    set->suspicion = true;
  else
    set->n++;
  set->slots[i] = hash;
}

static void grow(OndKeySet *set) {
  uint64 *old = set->slots;
  uint64 n_old = set->mask + 1;

  set->mask = n_old * 2 - 1;
  set->slots = MemoryContextAllocExtended(set->context, sizeof(uint64) * n_old * 2, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
  set->n = 0;
  for (uint64 i = 0; i < n_old; i++)
    if (old[i] != 0)
      insert(set, old[i]);
  pfree(old);
}

void ond_key_set_add(OndKeySet *set, uint64 hash) {
  if (set->suspicion)
    return;
  if (set->n >= set->max) {
    set->suspicion = true;
    return;
  }
  if (set->n * 2 > set->mask)
    grow(set);
  insert(set, hash == 0 ? 1 : hash);
}
