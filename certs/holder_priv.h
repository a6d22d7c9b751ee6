/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the key holder (holder.c, holder_make.c) and its client
 * (keyholder.c).  One request at a time, one SOCK_SEQPACKET message each way:
 * a head, then the bytes of its two fields.
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
#include "certs/tbs_priv.h"

#define HOLDER_FD 3
#define HOLDER_MAX 65536 /* bytes of one message */

enum holder_op {
	/* Before a key is loaded: */
	HOLDER_CREATE, /* fields: certificate path, key path; answer: empty */
	/*
	 * which; fields: path or URL, CA certificate (DER); answer: the
	 * intermediate (DER), or empty
	 */
	HOLDER_LOAD,
	/*
	 * And from then on: fields: struct tbs_leaf, the bytes of
	 * tbs_write(); answer: signature
	 */
	HOLDER_LEAF
};

struct holder_head {
	uint32_t op; /* of an answer: 0 done, 1 failed: field 0 is the text */
	uint32_t id; /* an answer has that of its request */
	uint32_t which; /* enum keyholder_key */
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
/* 1: a message is in *m (its bytes in buf); 0: closed; -1 with errno. */
int holder_recv(int fd, struct holder_msg *m,
    unsigned char buf[static HOLDER_MAX]);

/* What the process knows. */
struct holder {
	gnutls_privkey_t key;     /* what signs leaves; NULL: nothing loaded */
	struct tbs_issuer issuer; /* whose key that is */
	bool in_token;
	/* The last key of a leaf that was looked at, and found good. */
	unsigned char spki[TBS_MAX_SPKI], key_id[20];
	uint32_t spki_n; /* 0: none */
	char text[512];  /* why the request failed */
};

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
/* Sign a leaf, if it is one. */
bool holder_leaf(struct holder *, const struct holder_msg *,
    gnutls_datum_t *sig);

#endif
