/*
 * deliver_list.h - tasks of a delivery in their order: a list that knows how many and how large they are. Part of deliver.c.
 */
#ifndef OND_CORE_DELIVER_LIST_H
#define OND_CORE_DELIVER_LIST_H

#include "core/deliver.h"
#include "core/mem.h"

typedef struct TaskList {
  OndTask *head, *tail;
  int n;
  size_t bytes;
} TaskList;

static inline void push(TaskList *list, OndTask *task) {
  task->next = NULL;
  if (list->tail != NULL)
    list->tail->next = task;
  else
    list->head = task;
  list->tail = task;
  list->n++;
  list->bytes += task->bytes;
}

static inline OndTask *pop(TaskList *list) {
  OndTask *task = list->head;

  list->head = task->next;
  if (list->head == NULL)
    list->tail = NULL;
  list->n--;
  list->bytes -= task->bytes;
  task->next = NULL;
  return task;
}

static inline void append_all(TaskList *to, TaskList *from) {
  while (from->head != NULL)
    push(to, pop(from));
}

/* The list's tasks as an array (malloc). */
static inline OndTask **as_array(const TaskList *list) {
  OndTask **array = ond_malloc(sizeof(OndTask *) * (size_t)(list->n > 0 ? list->n : 1));
  int i = 0;

  for (OndTask *t = list->head; t != NULL; t = t->next)
    array[i++] = t;
  return array;
}

#endif
