/*
 * utf8.h - between the database's encoding and UTF-8, in which connectors, requests, answers and the bytes of rows are.
 *
 * Names and values are converted whole or refused with an error (22021, 22P05): nothing is sent or stored as the bytes of another encoding. In a database with
 * SQL_ASCII, which says nothing of its bytes, text is taken for UTF-8, and refused where it is not.
 */
#ifndef OND_CATALOG_UTF8_H
#define OND_CATALOG_UTF8_H

#include "postgres.h"

/* The database's text in UTF-8: palloc'd, or the text itself. */
extern char *ond_to_utf8(const char *text);
/* UTF-8 in the database's encoding, palloc'd. Raises where it has no such character. In a transaction. */
extern char *ond_from_utf8(const char *text, size_t n);
/*
 * Words for people in the database's encoding, palloc'd: what it does not have becomes '?'. Words that are no UTF-8 are taken for the database's own. Outside of a
 * transaction everything but ASCII becomes '?'.
 */
extern char *ond_words_from_utf8(const char *words);

#endif
