/*
 * arming.h - which database may send: the one that it was armed as. A copy, a restored dump and a promoted standby are not armed.
 */
#ifndef OND_CATALOG_ARMING_H
#define OND_CATALOG_ARMING_H

#include "postgres.h"

/*
 * Whether processes of this database may open sockets. *why, in the current memory context: the reason when not (may be NULL: not wanted). A database
 * without destinations is armed: it is to become so with its first one. Inside "ours".
 */
extern bool ond_armed(char **why);
/* Error 55000 that names arm() when it is not. Inside "ours". */
extern void ond_armed_require(void);
/* The first destination is about to be written: arms a database that never was. Inside "ours". */
extern void ond_arm_first(void);
/* Arms the database as what it is now. Inside "ours". */
extern void ond_arm(const char *policy, const char *armed_by);
/* The scheduler's: after a promotion that ondatra.resume_after_promotion lets go on, the present timeline is the one it is armed to. Inside "ours". */
extern void ond_arm_promoted(void);

#endif
