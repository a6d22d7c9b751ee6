/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ClientHello (RFC 8446 4.1.2, RFC 5246 7.4.1.2), read before any TLS
 * library sees it: what policy needs to choose between splice, inspect and
 * refuse.  Looks at the bytes and leaves them where they are.
 * Room: tls.  Thread: its loop's.
 */
#ifndef TLS_HELLO_H
#define TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/chunk.h"
#include "base/str.h"
#include "net/hostname.h"

/* Of the handshake message, header included: bounds what a client may park. */
#define HELLO_MAX_BYTES 65536

#define TLS_1_2 0x0303
#define TLS_1_3 0x0304

enum hello_step {
	HELLO_MORE,    /* legal so far, incomplete */
	HELLO_DONE,    /* the fields below are valid */
	HELLO_NOT_TLS, /* the first bytes cannot be a TLS handshake record */
	HELLO_BAD      /* TLS, but no acceptable ClientHello; see reason */
};

enum hello_sni {
	HELLO_SNI_ABSENT,
	HELLO_SNI_NAME,   /* sni holds it, normalised */
	HELLO_SNI_INVALID /* an address or junk (RFC 6066 3); sni is "" */
};

/* Embedded; {0} is a fresh one. */
struct hello {
	/* valid after HELLO_DONE */
	enum hello_sni sni_state;
	char sni[HOSTNAME_BYTES];
	uint16_t legacy_version;
	uint16_t max_version; /* highest known one offered; 0: none */
	bool has_tls12, has_tls13;
	bool has_alpn, has_h2, has_http11;
	bool has_ech;        /* encrypted_client_hello, real or GREASE */
	bool has_ecdsa_p256; /* accepts ecdsa_secp256r1_sha256 signatures */
	bool has_group_p256; /* accepts points on secp256r1 */
	bool has_rsa_pss;    /* accepts RSA signatures, of TLS 1.3 ... */
	bool has_rsa_pkcs1;  /* ... and of TLS 1.2 only, by SHA-256 and up */
	bool has_ecdhe_ecdsa, has_ecdhe_rsa; /* suites of TLS 1.2 with AEAD */
	/* valid after HELLO_BAD: a clause for the log */
	const char *reason;
	/* valid always */
	size_t wire_bytes; /* of the queue, looked at so far */

	/* private: progress */
	enum hello_step step;
	unsigned slice;          /* the slice to go on in, from the front ... */
	size_t slice_off;        /* ... and the bytes of it seen */
	unsigned char header[5]; /* of the record */
	unsigned header_n;
	uint32_t record_left; /* bytes of the record's fragment to come */
	struct buf message;   /* the handshake message, out of its records */
};

/*
 * Go on where the last call stopped.  q begins with the client's first byte;
 * between calls bytes may only be appended to it, and every byte is looked at
 * once, however they arrive.  What is behind the hello is not looked at.
 * Every result but HELLO_MORE is final and repeated by later calls.
 */
enum hello_step hello_parse(struct hello *, const struct chq *q);

/*
 * Of the two kinds of leaves, is RSA the only one that this client can be
 * served with?  tls13: we speak it too.
 */
bool hello_wants_rsa(const struct hello *, bool tls13);

/* Free the message; the fields stay.  {0} is fine. */
void hello_fini(struct hello *);

#endif
