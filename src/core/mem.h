/*
 * mem.h - memory of the rooms that know no Postgres (core, http, connector).
 *
 * Plain malloc memory that no memory context knows. ond_malloc, ond_realloc
 * and ond_strdup never return NULL: when memory runs out they call the handler,
 * which must not return. Inside a libcurl callback nothing may raise: use
 * ond_buf_try_append() there, which only reports failure.
 */
#ifndef OND_CORE_MEM_H
#define OND_CORE_MEM_H

#include <stddef.h>

typedef void (*OndOomHandler)(size_t bytes);

/* Sets who is called when memory runs out; the default prints and aborts (unit tests). */
extern void ond_mem_set_oom_handler(OndOomHandler handler);

extern void *ond_malloc(size_t bytes);
extern void *ond_calloc(size_t bytes); /* zeroed */
extern void *ond_realloc(void *p, size_t bytes);
extern char *ond_strdup(const char *s);
extern char *ond_strndup(const char *s, size_t n);
extern void ond_free(void *p); /* NULL is fine */
/* Overwrites n bytes in a way the compiler keeps (secrets). */
extern void ond_wipe(void *p, size_t n);

/*
 * An arena: allocations that die together. Used for parsed documents and for
 * the results of reading one response.
 */
typedef struct OndArena OndArena;
extern OndArena *ond_arena_create(void);
extern void *ond_arena_alloc(OndArena *a, size_t bytes); /* zeroed, aligned for any type */
extern char *ond_arena_strdup(OndArena *a, const char *s);
extern char *ond_arena_strndup(OndArena *a, const char *s, size_t n);
extern void ond_arena_reset(OndArena *a);
extern void ond_arena_destroy(OndArena *a); /* NULL is fine */

#endif
