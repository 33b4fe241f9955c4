/*
 * resume.h - jobs that an earlier run began and nobody has seen the end of: a run goes on with them before it compares anything.
 */
#ifndef OND_ENGINE_RESUME_H
#define OND_ENGINE_RESUME_H

#include "postgres.h"
#include "engine/delivery.h"

/* Whether the sync has open jobs. In a transaction of its own. */
extern bool ond_jobs_are_open(int64 sync_id);
/*
 * Goes on with the sync's open jobs, one after the other, to their ends; rows get the fates that the jobs tell. Jobs of another destination, or of steps that are not there any
 * more, are left alone: their rows are in doubt, as the fold has made them. `input` is filled in but for the job. result->stop other than NONE, or a job that is still open (*open, with
 * the reason in result->last_error), is the end of the run: what is still on its way must not be overtaken. Counters go to the recorder.
 */
extern void ond_jobs_resume(const OndDeliveryInput *input, OndDeliveryResult *result, bool *open);

#endif
