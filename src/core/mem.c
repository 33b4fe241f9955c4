/*
 * mem.c - malloc that does not fail, and arenas.
 *
 * Running out of memory ends in one place: the handler. The Postgres side installs one that raises; the
 * default prints and aborts. An arena is a list of blocks, newest first; a request larger than a
 * block gets a block of its own, placed behind the newest so that the room left there is not lost.
 *
 * Owns: the handler pointer (per process). Does not count or limit: caps are the business of OndBuf.
 */
#include "core/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK_BYTES 8192

typedef struct ArenaBlock {
  struct ArenaBlock *next;
  size_t size;
  size_t used;
  max_align_t data[];
} ArenaBlock;

struct OndArena {
  ArenaBlock *blocks;
};

static void oom_abort(size_t bytes) {
  fprintf(stderr, "out of memory (%zu bytes)\n", bytes);
  abort();
}

static OndOomHandler oom_handler = oom_abort;

static void out_of_memory(size_t bytes) {
  oom_handler(bytes);
  /* A handler that returns would hand NULL to code that does not check. */
  abort();
}

void ond_mem_set_oom_handler(OndOomHandler handler) {
  oom_handler = handler ? handler : oom_abort;
}

void *ond_malloc(size_t bytes) {
  void *p = malloc(bytes ? bytes : 1);

  if (!p) {
    out_of_memory(bytes);
  }
  return p;
}

void *ond_calloc(size_t bytes) {
  void *p = calloc(1, bytes ? bytes : 1);

  if (!p) {
    out_of_memory(bytes);
  }
  return p;
}

void *ond_realloc(void *p, size_t bytes) {
  void *grown = realloc(p, bytes ? bytes : 1);

  if (!grown) {
    out_of_memory(bytes);
  }
  return grown;
}

char *ond_strdup(const char *s) {
  return ond_strndup(s, strlen(s));
}

char *ond_strndup(const char *s, size_t n) {
  size_t length = n ? strnlen(s, n) : 0;
  char *copy = ond_malloc(length + 1);

  if (length) {
    memcpy(copy, s, length);
  }
  copy[length] = '\0';
  return copy;
}

void ond_free(void *p) {
  free(p);
}

void ond_wipe(void *p, size_t n) {
  if (p && n) {
    memset(p, 0, n);
    /* The compiler must assume that somebody reads the zeros. */
    __asm__ __volatile__("" : : "r"(p) : "memory");
  }
}

OndArena *ond_arena_create(void) {
  return ond_calloc(sizeof(OndArena));
}

static ArenaBlock *block_create(size_t bytes) {
  ArenaBlock *block = ond_malloc(offsetof(ArenaBlock, data) + bytes);

  block->next = NULL;
  block->size = bytes;
  block->used = 0;
  return block;
}

/* The block that will hold `bytes` (already rounded up). */
static ArenaBlock *block_for(OndArena *a, size_t bytes) {
  ArenaBlock *head = a->blocks;
  ArenaBlock *block;

  if (head && head->size - head->used >= bytes) {
    return head;
  }
  block = block_create(bytes > ARENA_BLOCK_BYTES ? bytes : ARENA_BLOCK_BYTES);
  if (head && bytes > ARENA_BLOCK_BYTES) {
    block->next = head->next;
    head->next = block;
  } else {
    block->next = head;
    a->blocks = block;
  }
  return block;
}

void *ond_arena_alloc(OndArena *a, size_t bytes) {
  const size_t unit = _Alignof(max_align_t);
  ArenaBlock *block;
  char *p;

  if (bytes > SIZE_MAX / 2) {
    out_of_memory(bytes);
  }
  bytes = (bytes + unit - 1) / unit * unit;
  block = block_for(a, bytes);
  p = (char *)block->data + block->used;
  block->used += bytes;
  memset(p, 0, bytes);
  return p;
}

char *ond_arena_strdup(OndArena *a, const char *s) {
  return ond_arena_strndup(a, s, strlen(s));
}

/* Copies n bytes as they are, NULs included, and ends them with one. */
char *ond_arena_strndup(OndArena *a, const char *s, size_t n) {
  char *copy;

  if (n > SIZE_MAX / 2) {
    out_of_memory(n);
  }
  copy = ond_arena_alloc(a, n + 1);
  if (n) {
    memcpy(copy, s, n);
  }
  return copy;
}

static void blocks_free(ArenaBlock *block) {
  while (block) {
    ArenaBlock *next = block->next;

    free(block);
    block = next;
  }
}

void ond_arena_reset(OndArena *a) {
  ArenaBlock *keep = a->blocks;

  if (!keep) {
    return;
  }
  blocks_free(keep->next);
  keep->next = NULL;
  keep->used = 0;
  /* One huge response must not stay for the life of the arena. */
  if (keep->size > ARENA_BLOCK_BYTES) {
    free(keep);
    a->blocks = NULL;
  }
}

void ond_arena_destroy(OndArena *a) {
  if (a) {
    blocks_free(a->blocks);
    free(a);
  }
}
