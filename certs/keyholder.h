/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The key holder: a process of its own that alone reads the CA's private key
 * and signs with it.  A memory disclosure in the proxy cannot leak that key;
 * who takes the proxy over gets leaves signed, and nothing else.
 * It is this program started anew (base/spawn.h) in KEYHOLDER_ROLE, with one
 * end of a SOCK_SEQPACKET pair as its only descriptor; it ends when that
 * socket closes.  Nothing secret is ever in arguments or environment.
 *
 * The client side below is thread-safe.  Calls block: some 60 us for a
 * signature, up to KEYHOLDER_DEADLINE_MS when the holder or its token is
 * stuck; but for keyholder_try_sign() they belong on a signer thread, not on
 * an event loop.  A holder that died or missed its deadline is replaced by the
 * next call, which loads the same key again; the call that saw it die fails.
 *
 * Room: certs.
 */
#ifndef CERTS_KEYHOLDER_H
#define CERTS_KEYHOLDER_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/fault.h"

struct keyholder;
struct tbs_leaf;

#define KEYHOLDER_ROLE "assayd: keys"
#define KEYHOLDER_DEADLINE_MS 5000 /* of one signature */
#define KEYHOLDER_TRY_US 500       /* of one that a loop waits for ... */
/* ... and asks again so long after it was later */
#define KEYHOLDER_REST_MS 1000
#define KEYHOLDER_LOAD_MS 20000 /* of loading or creating (HSMs are slow) */

enum keyholder_key {     /* what signs leaves */
	KEYHOLDER_CA,    /* the CA's key */
	KEYHOLDER_ISSUER /* that of an intermediate, made while loading */
};

/*
 * What main() does when argv[0] is KEYHOLDER_ROLE.  Returns the exit
 * status when the socket on descriptor 3 has closed.
 */
int keyholder_main(int argc, char **argv);

/* Start the process; it holds no key yet.  NULL: ERR_SYSTEM in f. */
struct keyholder *keyholder_start(struct fault *f);
/* Ends the process and waits for it; *k may be NULL, becomes NULL. */
void keyholder_stop(struct keyholder **k);

/*
 * Open a CA's files.  make: where there are none, make a CA: EC P-256 key (file
 * key, 0600; one that exists is kept) and a self-signed certificate "assay CA
 * <host> <short id>" valid ten years (file cert, 0644), each complete on disk
 * before it gets its name, never over an existing one; missing folders are made
 * with mode 0700.  *made: so it was.
 * cert is read and checked as ca_open() says.  key is a PEM file (EC or RSA,
 * not encrypted, regular, owned by root or us, not readable by group or others)
 * or a "pkcs11:" URL; it must be the certificate's.  A CA whose leaves an
 * intermediate signs (ca.h) gets one: an EC P-256 key and "<name of the CA>
 * issuing <short id>", CA:TRUE, path length 0, at most a year and within its
 * dates; the CA's key is then forgotten.
 * Once per holder: from now on it signs leaves and nothing else, and is in its
 * box (holder_box.c): no file, no network; run by root, it has become assay-key,
 * or nobody where there is no such user.  With a key in a token it keeps its
 * user, files and network, which are the module's.
 * False: ERR_MINT in f, with the file's name.
 */
bool keyholder_open(struct keyholder *k, const char *cert, const char *key,
    bool make, bool *made, struct fault *f);
/* The CA's certificate (DER) whose key it has; as long as k. */
const gnutls_datum_t *keyholder_ca(const struct keyholder *k);

/*
 * A holder that another process has started, with its key loaded: that one
 * watches it, and starts another when it has died.  keyholder_deliver() brings
 * the socket of the next, which calls wait for up to KEYHOLDER_WAIT_MS.
 */
struct keyholder_door {
	uint32_t number; /* how the other process calls it */
	int fd;          /* taken over, also when it fails */
	pid_t pid;
	/*
	 * From any thread, inside a call: another is wanted, because this one
	 * is late or broke its protocol (why), or because its intermediate is
	 * old (NULL).
	 */
	void (*want)(void *arg, uint32_t number, const char *why);
	void *arg;
};

#define KEYHOLDER_WAIT_MS 1000

/* NULL: ERR_MINT in f. */
struct keyholder *keyholder_join(const struct keyholder_door *,
    struct fault *f);
/* False: nobody has one of that number; fd stays the caller's. */
bool keyholder_deliver(uint32_t number, int fd, pid_t pid);

/*
 * Sign a leaf: ECDSA, or RSA PKCS #1 v1.5, with SHA-256.  tbs: what
 * tbs_write() makes of leaf and the issuer, byte by byte; the holder writes it
 * too, and refuses leaves that are none (dates, name, key: holder_leaf.c).
 * epoch: that of the issuer, so that a signature never comes from a key newer
 * than the certificate; 0: any.  sig:
 * gnutls_free() its data.  False: ERR_MINT in f.
 */
bool keyholder_sign(struct keyholder *k, unsigned epoch,
    const struct tbs_leaf *leaf, const gnutls_datum_t *tbs, gnutls_datum_t *sig,
    struct fault *f);
/*
 * The same on an event loop: asked only if it is idle, and waited for
 * KEYHOLDER_TRY_US at most.  False: not now; keyholder_sign() on a thread
 * gets the signature, or says why there is none.
 */
bool keyholder_try_sign(struct keyholder *k, unsigned epoch,
    const struct tbs_leaf *leaf, const gnutls_datum_t *tbs,
    gnutls_datum_t *sig);
/*
 * The intermediate of a holder that has one (KEYHOLDER_ISSUER), one that was not
 * given out before: the second time a new holder makes another.  If that
 * fails, the old one and its intermediate stay.
 * issuer: DER, gnutls_free() its data.  epoch: of its key, for
 * keyholder_sign().
 */
bool keyholder_issuer(struct keyholder *k, gnutls_datum_t *issuer,
    unsigned *epoch, struct fault *f);
/* Changes whenever the holder's issuer key was lost or replaced; never 0. */
unsigned keyholder_epoch(struct keyholder *k);

#endif
