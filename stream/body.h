/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The body of a message: written once by one source, read by many readers.
 * It keeps what the slowest reader still needs: in memory up to a window,
 * beyond it in an unlinked temporary file; beyond the limits it fails.
 * Room: stream.  Units: bytes.  Thread: its loop's.
 * See doc/architecture.md 2.
 */
#ifndef STREAM_BODY_H
#define STREAM_BODY_H

#include <stdint.h>
#include <sys/types.h>
#include "base/arena.h"
#include "base/budget.h"
#include "base/list.h"
#include "base/loop.h"
#include "stream/source.h"

struct body;
struct job_pool;
struct readback;

#define BODY_UNKNOWN UINT64_MAX /* length not known yet */
#define BODY_ALL UINT64_MAX     /* release mark: everything */

/* Shared by all bodies of a generation. */
struct body_store {
	/* waits for the disk; NULL: the loop does it itself */
	struct job_pool *io;
	/* folder for spill files (O_TMPFILE or unlinked) */
	const char *temp_dir;
	uint64_t window;         /* kept in memory per body */
	_Atomic uint64_t spills; /* files opened since start */
};

/*
 * A body over src (borrowed until its drop()), or over nothing (src NULL: an
 * empty body that has ended).  expected: Content-Length or BODY_UNKNOWN.
 * One reference, the caller's.  store outlives the body.
 */
struct body *body_new(struct loop *, struct body_store *, struct source *src,
    uint64_t expected);
/* A complete body from memory; the bytes are copied. */
struct body *body_of_bytes(struct loop *, struct body_store *, const void *p,
    size_t n);
/*
 * Whose body it is: memory and files are counted for that account, borrowed
 * as long as the body grows and views of it are made.  Where it has little room left the window
 * shrinks; where it has none for a file, the body fails.  NULL (as after
 * body_new()): nobody's, not counted.
 */
void body_charge_to(struct body *, struct account *);
struct account *body_account(const struct body *);
struct body *body_ref(struct body *);
/* The last reference: no readers may be left; the source is dropped. */
void body_unref(struct body **);

/* PULL_MORE while unfinished, else how the source ended. */
enum pull body_end(const struct body *);
/* Bytes taken from the source so far. */
uint64_t body_received(const struct body *);
/* The whole length when it is known: declared, or at its end. */
uint64_t body_length(const struct body *);
/* Why it ended in PULL_CUT or PULL_FAIL; never NULL. */
const struct fault *body_fault(const struct body *);
/*
 * What it holds now of BUDGET_MEMORY (about) or of BUDGET_TEMP.  NULL: nothing.
 */
uint64_t body_held(const struct body *, enum budget_kind);
/* First offset still held; a new reader may start there or later. */
uint64_t body_kept_from(const struct body *);
/* End it now: PULL_FAIL with cause f, source dropped, readers woken. */
void body_fail(struct body *, const struct fault *f);

/*
 * What came behind the body (HTTP trailer fields), set by the source's owner
 * before its PULL_END and read after it.  Opaque here: struct http_fields.
 * Borrowed: lives as long as the body (arena of the flow).
 */
void body_set_trailer(struct body *, const void *trailer);
const void *body_trailer(const struct body *);

/*
 * A task woken when a reader pulls for the first time, NULL for none: lets
 * an engine send "100 Continue" only when the body is wanted (RFC 9110
 * 10.1.1).  Woken at once if a reader has pulled already.
 */
void body_on_first_pull(struct body *, struct task *);
bool body_was_pulled(const struct body *);

/* A cursor.  Embedded; reading never copies. */
struct reader {
	struct list link;  /* of the body */
	struct body *body; /* counted; NULL: not open */
	struct task *wake; /* borrowed: woken when it waits and may go on */
	uint64_t offset;   /* next byte it gets */
	uint64_t mark;     /* release mark: it gets no byte at or behind it */
	bool waiting;
	struct readback *readback; /* owned; NULL: nothing fetched */
};

/* Open at offset (>= body_kept_from()). The mark is BODY_ALL. */
void reader_open(struct reader *, struct body *, uint64_t offset,
    struct task *wake);
/*
 * Up to want (> 0) bytes as references into out.  PULL_WAIT: wake is woken
 * when more may be had.  Ends are said only when the reader has had every
 * byte before them (a mark below the end keeps it waiting).
 */
enum pull reader_pull(struct reader *, struct chq *out, size_t want);
/* Move the mark (only forward); wakes the reader. */
void reader_release(struct reader *, uint64_t mark);
/*
 * Pass over what there is up to `to` without looking at it.  Bytes not yet
 * received are pulled and passed over by later reader_pull calls' like.
 */
enum pull reader_skip(struct reader *, uint64_t to);
/*
 * Is q what it gets next?  What is the same is dropped from q, which then is
 * empty (PULL_MORE) or has to wait (PULL_WAIT: wake is woken).  PULL_END: q
 * begins with something else, within 4 KiB, or goes on behind the body's end;
 * the reader is of no use any more.  PULL_CUT, PULL_FAIL: so has the body.
 */
enum pull reader_match(struct reader *, struct chq *q);
/*
 * Is all of what `now` reads what the reader gets, up to offset end, and no
 * more?  q keeps between calls what was read and not compared; {0} at first.
 * PULL_END: yes.  PULL_WAIT: wake is woken.  PULL_FAIL: no, or one broke off.
 */
enum pull reader_match_all(struct reader *, struct reader *now, struct chq *q,
    uint64_t end);
/* Bytes received and not yet read by it. */
uint64_t reader_behind(const struct reader *);
/* Closes; what only it needed is freed.  Not open: nothing. */
void reader_close(struct reader *);

/*
 * A view of a complete body (body_end() == PULL_END) for another thread: it
 * holds bytes from offset 0 to the end whatever happens to the flow.  NULL if
 * some of them are gone.  Made and freed on the loop's thread; between that
 * body_view_read() may be called from one other thread.
 */
struct body_view;
struct body_view *body_view_new(struct body *);
/* The same of its first n bytes, which have been received; it may go on. */
struct body_view *body_view_part(struct body *, uint64_t n);
uint64_t body_view_length(const struct body_view *);
/* Whose body it is (valid as long as the view), NULL: nobody's. */
struct account *body_view_account(const struct body_view *);
/* If it lies in memory in one piece: a pointer to all of it, else NULL. */
const void *body_view_memory(const struct body_view *);
/*
 * The file that holds its first *n bytes at the same offsets, for reading; it
 * is the view's.  -1 and 0: there is none.
 */
int body_view_file(const struct body_view *, uint64_t *n);
/*
 * Another description of that file, which can only be read: for another
 * process.  The caller's; -1 with errno.
 */
int body_view_open(const struct body_view *);
/* Like pread(2): bytes read, 0 at the end, -1 with errno. */
ssize_t body_view_read(struct body_view *, void *p, size_t n, uint64_t offset);
void body_view_free(struct body_view **);

#endif
