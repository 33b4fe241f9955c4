/*
 * execute.h - plans and executes the diff's statement.
 */
#ifndef OND_ENGINE_EXECUTE_H
#define OND_ENGINE_EXECUTE_H

#include "postgres.h"
#include "tcop/dest.h"

/* Sets what the statement is planned and executed under (work_mem from ondatra.work_mem, jit off) until the scope's settings are undone. */
extern void ond_execute_pin(void);

/*
 * Executes one SELECT under the active snapshot; its rows go to dest. True when it is a join that brings all rows of a key in succession. Raises what the
 * statement raises.
 */
extern bool ond_execute(const char *sql, DestReceiver *dest);

/* EXPLAIN of what ond_execute does. Needs SPI; the lines are in SPI_tuptable. */
extern void ond_execute_explain(const char *sql, bool analyze);

#endif
