/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the key holder (holder.c, holder_make.c) and its client
 * (keyholder.c).  One request at a time, one SOCK_SEQPACKET message each way:
 * a head, then the bytes of its two fields.  HOLDER_FD is its owner's, who may
 * ask everything; clients may ask HOLDER_WHO and HOLDER_LEAF.
 * Room: certs.
 */
#ifndef CERTS_HOLDER_PRIV_H
#define CERTS_HOLDER_PRIV_H

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/fault.h"
#include "base/sandbox.h"
#include "certs/keys.h"
#include "certs/tbs_priv.h"

#define HOLDER_FD 3
#define HOLDER_MAX 65536 /* bytes of one message */

enum holder_op {
	/* Before a key is loaded: */
	HOLDER_OPEN, /* which: HOLDER_MAKE or 0; fields: certificate path, key
		      * path or URL; answer: certificate (DER), which, and
		      * struct sandbox_report */
	HOLDER_LOAD, /* which; fields: path or URL, CA certificate (DER);
		      * answer: the intermediate (DER) or empty, and struct
		      * sandbox_report */
	/* And from then on: */
	HOLDER_WHO,    /* answer: CA certificate, intermediate (DER) or empty */
	HOLDER_CLIENT, /* with a descriptor: who may ask for leaves, too */
	HOLDER_LAST,   /* it ends with the last of these */
	HOLDER_TELL,   /* which: 1 for each leaf as well, 0 for refusals alone;
			* from now on it sends struct keys_news, unasked, of
			* what comes then */
	HOLDER_LEAF    /* fields: struct tbs_leaf, the bytes of tbs_write();
		     * answer: signature */
};

#define HOLDER_NEWS 2 /* op of what was not asked for */
#define HOLDER_MAKE \
	1 /* which, of HOLDER_OPEN: where there is no CA, make one */
#define HOLDER_MADE \
	2 /* which, of its answer: so it was; | enum keyholder_key */
#define HOLDER_COUNT_MS 1000 /* how old the counts may be that were told */
#define HOLDER_CLIENTS \
	4 /* at once: those of processes that end, and a new one */

struct holder_head {
	uint32_t op; /* of an answer: 0 done, 1 failed: field 0 is the text */
	uint32_t id; /* an answer has that of its request */
	uint32_t which; /* enum keyholder_key, but see above */
	uint32_t n[2];  /* bytes of the fields */
};

struct holder_msg {
	struct holder_head head;
	gnutls_datum_t field[2]; /* point into the receiver's buffer */
};

/* The process, with fd as its socket.  False: ERR_SYSTEM in f. */
bool holder_spawn(pid_t *pid, int fd, struct fault *f);
/* False with errno: not sent. */
bool holder_send(int fd, const struct holder_msg *);
/*
 * 1: a message is in *m (its bytes in buf); 0: closed; -1 with errno.  with:
 * a descriptor that came with it, the caller's, -1: none; NULL: none is taken.
 */
int holder_recv(int fd, struct holder_msg *m,
    unsigned char buf[static HOLDER_MAX], int *with);

/* The report of an answer to HOLDER_OPEN or HOLDER_LOAD; false: it has none. */
bool holder_report_of(const struct holder_msg *, struct sandbox_report *out);

/* What the process knows. */
struct holder {
	gnutls_privkey_t key;     /* what signs leaves; NULL: nothing loaded */
	struct tbs_issuer issuer; /* whose key that is */
	bool in_token;
	struct sandbox_report report; /* of the box that it is in */
	gnutls_datum_t ca;            /* owned: the CA's certificate, DER */
	gnutls_datum_t made;          /* owned: the intermediate's; or empty */
	int client[HOLDER_CLIENTS];   /* owned; the first n_clients */
	unsigned n_clients;
	bool last; /* it ends with the last of them */
	/* The last key of a leaf that was looked at, and found good. */
	unsigned char spki[TBS_MAX_SPKI], key_id[20];
	uint32_t spki_n;          /* 0: none */
	bool tells, tells_leaves; /* HOLDER_TELL */
	bool owes;                /* its owner does not know the counts yet */
	uint64_t leaves, refused; /* since it has the key */
	uint32_t untold;          /* news that its owner did not take */
	int64_t told_us;          /* monotonic: of the last refusal */
	int64_t counted_us;       /* monotonic: when it told the counts */
	int64_t next_us; /* monotonic: less a second, when it may sign again */
	char text[512];  /* why the request failed */
};

/* Limits of the process, from its start.  False: ERR_SYSTEM in f. */
bool holder_limits(struct fault *f);
/* The key is loaded: into the box, for good.  h->report says what it is. */
bool holder_enter(struct holder *);
bool holder_fail(struct holder *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/*
 * Read a PEM private key from a file of ours that nobody else can read.
 * *absent: there is no such file.
 */
bool holder_read_key(struct holder *, const char *path,
    gnutls_x509_privkey_t *out, bool *absent);
bool holder_create(struct holder *, const char *cert, const char *key);
/* An intermediate of ca, signed by *key, which becomes its key. */
bool holder_issue(struct holder *, gnutls_x509_crt_t ca, gnutls_privkey_t *key,
    gnutls_datum_t *out);
/*
 * Its owner is told, unless he does not read: it never waits for him.  The
 * counts are filled in here.
 */
void holder_tell(struct holder *, const struct keys_news *);
int64_t holder_now_us(void); /* monotonic */
/* The counts changed: they are told, at most once in HOLDER_COUNT_MS. */
void holder_count(struct holder *);
/* An alarm: h->text says what it was asked for and does not do.  False. */
bool holder_refused(struct holder *);
/* Sign a leaf, if it is one. */
bool holder_leaf(struct holder *, const struct holder_msg *,
    gnutls_datum_t *sig);

#endif
