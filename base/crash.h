/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a process says of its own crash: a handler for the signals of faults
 * writes a report of text lines to a descriptor, and then the signal takes
 * its default action.
 *
 *   assay crash report 1          the format's number
 *   signal SIGSEGV code 1         or: signal SIGABRT sent by process 812
 *   address 0x18                  of a fault
 *   thread worker/0 (4711)
 *   time 1732711111               Unix seconds
 *   slot 17                       what the thread worked on; see crash_place()
 *   register rip 0x55d0c0ffee12
 *   frame assayd+0x41c3e          innermost first, 64 at most
 *   module assayd 0x55d0c0fa0000 8e5f...      load address and build-id
 *   perhaps assayd+0x41d00        a return address on the stack, where the
 *                                 frames could not be followed
 *   log assayd: ready: ...        the last lines of the log
 *   end
 *
 * It has nothing of what peers sent: of registers and addresses only numbers
 * below 65536 and what points near the program, its libraries or the stack is
 * shown, anything else is "data".
 *
 * The handler calls only what is safe in one.  backtrace(3) is, once it has
 * been called before (its manual page, AS-Unsafe init).  Other threads that
 * fault meanwhile wait; a second fault in the same thread ends the process;
 * one that hangs is ended by alarm(2) after two seconds.  It needs the system
 * calls write, alarm, rt_sigaction, rt_sigprocmask, rt_sigreturn, poll,
 * getpid, gettid, tgkill, clock_gettime, exit_group and futex.
 *
 * Room: base.  Thread: crash_init() before there are others; crash_note() any.
 */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRASH_REPORT_MAX 65536u /* octets */
#define CRASH_FRAMES_MAX 64
#define CRASH_LINES 64 /* of the log */
#define CRASH_LINE_MAX 256

/*
 * Memory for a report: CRASH_REPORT_MAX octets, never another size.  -1 with
 * errno.
 */
int crash_report_new(void);
/* Is this such memory? */
bool crash_report_is(int fd);
/*
 * From now on this process reports to fd, borrowed until it ends, at its
 * current offset; -1: nowhere, and signals keep their meaning.  Notes what is
 * loaded now.  Gives the calling thread its stack for the handler.
 */
void crash_init(int fd);
/*
 * A stack for the handler in this thread, which reports call by that name;
 * thread_start() (base/thread.h) does it for ours.  False: there is no memory.
 */
bool crash_stack_new(const char *name);
void crash_stack_free(void); /* before the thread ends */
/* Take the signals of faults out of a set that is going to be blocked. */
void crash_unblock(sigset_t *);
/* A process that was forked from one with crash_init() reports there, so named. */
void crash_report_to(int fd, const char *name);
/* A line of the log was written; kept for a report. */
void crash_note(const char *line, size_t n);
/*
 * Where this thread notes what it works on (0: nothing): a report says that
 * number.  Lives as long as the thread.
 */
void crash_place(const volatile uint32_t *);

#endif
