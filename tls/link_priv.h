/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A transport from inside: link.c (socket, plain bytes, output, ends) and
 * link_tls.c (what GnuTLS does between the two).
 *
 * Room: tls.  The thread of the link's loop.
 */
#ifndef TLS_LINK_PRIV_H
#define TLS_LINK_PRIV_H

#include <gnutls/gnutls.h>
#include <sys/types.h>
#include "base/budget.h"
#include "base/str.h"
#include "tls/link.h"

#define LINK_OUT_LIMIT 131072   /* output kept for a peer that does not read */
#define LINK_OUT_FLUSH 65536    /* one send(2) */
#define LINK_OUT_FREE 16384     /* of the output: not counted */
#define LINK_LINGER_MS 2000     /* so that an answer is not lost to a reset */
#define LINK_LINGER_BYTES 32768 /* what a link costs that only ends */

enum ended { IN_OPEN, IN_FIN, IN_RESET };

struct link {
	struct loop *loop;
	struct task *owner; /* borrowed; NULL: lingering */
	const bool *cut;    /* borrowed; NULL: see link_cut_by() */
	struct watch *watch;
	gnutls_session_t tls; /* owned; NULL: plain */
	int fd;
	bool dry;         /* the kernel had nothing when last asked */
	bool read_waits;  /* the owner waits for bytes */
	bool room_waits;  /* the owner waits for room */
	bool out_blocked; /* the kernel takes no more for now */
	bool out_failed;
	bool left; /* the peer has ended, behind what is to be read */
	bool shut; /* our end is said */
	bool fin_sent;
	bool ticket_due;  /* before the next record */
	bool odd_name;    /* see tls/oddname.h */
	bool may_reshake; /* see link_may_reshake() */
	bool reshakes; /* a second handshake is under way: nothing is sealed */
	unsigned hello_requests; /* so often it was asked for one */
	enum ended in_end;       /* how the peer's bytes ended, in the kernel */
	enum pull tls_end;       /* how they ended in TLS; PULL_MORE: not yet */
	struct chq pend;   /* read and not yet taken: bytes for TLS or owner */
	struct chq out;    /* plain: to send */
	struct buf stage;  /* TLS: plaintext of a record to be sealed */
	struct buf sealed; /* TLS: records to send from sealed_at */
	size_t sealed_at;
	uint64_t bytes_in, bytes_out;
	struct task flush;
	struct timer linger;
	bool lingers;            /* counted in BUDGET_LINGER */
	struct account *account; /* counted; NULL: nobody's */
	enum budget_kind kind;   /* of its descriptor, in that account */
	struct charge charge;    /* of output that the peer does not take */
	struct chunk *tail;      /* of pend, where small slices go; or NULL */
	size_t linger_bytes;
	char error[96];
};

/* Out of the loop, its socket closed; freed when the turn ends. */
void link_free(struct link *l);
/* Watch for what the link's state needs. */
void link_arm(struct link *l);
/* The first one said is kept. */
void link_set_error(struct link *l, const char *what, const char *why);
/* recv(2) gave r, 0 or less with errno (not "again"): no more will come. */
void link_in_ended(struct link *l, ssize_t r);
/* recv(2) until it is not interrupted. */
ssize_t link_recv(int fd, void *p, size_t n);
/*
 * n bytes received into c, a new chunk of CHUNK_BYTES whose reference is
 * taken.  A few do not hold all of it: a peer that sends them one by one would
 * have that much memory for each.
 */
void link_add_received(struct chq *out, struct chunk *c, size_t n);
/* The owner is woken when there is something to read: PULL_WAIT. */
enum pull link_wait(struct link *l);

/* link_out.c */

/* Charge its client for them, and for a link that waits for its end. */
void link_count(struct link *l);
/* Say our end in the kernel, once. */
void link_fin(struct link *l);
/* Nothing can be sent any more; the output is dropped, the owner woken. */
void link_out_fail(struct link *l, const char *what, const char *why);

/* link_tls.c */

/* link_read() of a link with TLS. */
enum pull link_tls_read(struct link *l, struct chq *out, size_t want);
/* Plaintext to the stage or into records at once. */
void link_tls_write(struct link *l, const void *p, size_t n);
/* Get on with a second handshake while nobody reads. */
void link_tls_reshake(struct link *l);
/* What is staged becomes a record. */
void link_tls_seal_stage(struct link *l);
/* An idle connection gives its buffers back. */
void link_tls_shrink(struct link *l);
void link_tls_thread_fini(void);

#endif
