/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How our threads begin: with a name, without signals (they are the main
 * thread's) but those of faults, and with a stack on which a fault can be
 * reported (base/crash.h), also that of having no stack left.
 *
 * Room: base.  Any thread.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

#define THREAD_NAME_MAX 16

/*
 * Run it in a thread with that name (up to 15 bytes, copied), to be joined.
 * 0, or the error's number: none can be had.
 */
int thread_start(pthread_t *, const char *name, void *(*run)(void *),
    void *arg);

#endif
