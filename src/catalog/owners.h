/*
 * owners.h - what roles leave behind that were dropped.
 */
#ifndef OND_CATALOG_OWNERS_H
#define OND_CATALOG_OWNERS_H

/*
 * What a dropped role owned belongs to nobody ("-") afterwards: its number could become another role's here, or be another's where a dump is restored.
 * Its secrets and grants, and the tokens of its destinations, are deleted. Inside "ours".
 */
extern void ond_owners_sweep(void);

#endif
