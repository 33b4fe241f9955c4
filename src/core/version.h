/*
 * version.h - the version of the library: the one of ondatra.control and of the Makefile, and of the extension in a database that it works for.
 */
#ifndef OND_CORE_VERSION_H
#define OND_CORE_VERSION_H

#define OND_VERSION "0.1.0"

#endif
