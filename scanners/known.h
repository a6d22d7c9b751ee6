/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a message known to be clean?  One reader hashes its body while that
 * comes; a scan whose answer could be known waits for the digest, as far as
 * that costs nothing: a scanner that needs the whole body waits for it anyway,
 * for others a small body that comes at once.
 *
 * What is believed again: that a scanner found exactly these bytes clean, in a
 * message with the same fields about its content, in the same state of its
 * signatures and settings, and the same in all else that the scanner says its
 * answers depend on (scanner_type.depends).  Nothing else is: no finding, no
 * "unscanned", no body that was not whole.
 *
 * Room: scanners.  Thread: its loop's.
 */
#ifndef SCANNERS_KNOWN_H
#define SCANNERS_KNOWN_H

#include "scanners/cache.h"
#include "scanners/scanner.h"

enum known_state {
	KNOWN_NOTHING, /* not begun */
	KNOWN_READING,
	KNOWN_WHOLE, /* the digest is there */
	KNOWN_NEVER  /* the body broke off */
};

/* Embedded. */
struct known {
	enum known_state state;
	struct task task; /* hashes */
	struct timer late;
	bool is_late;
	struct task *wake; /* borrowed: when an answer may have changed */
	struct reader reader;
	struct digest *digest; /* while reading */
	unsigned char of[DIGEST_BYTES];
};

enum known_answer { KNOWN_CLEAN, KNOWN_UNKNOWN, KNOWN_WAIT };

void known_init(struct known *, struct loop *, struct task *wake);
/* May this scanner's answer to msg be known?  Its scan is worth waiting then. */
bool known_applies(const struct known *, const struct scanner *,
    const struct scan_message *);
/* Begin to hash; again: nothing. */
void known_begin(struct known *, struct body *);
/* KNOWN_UNKNOWN: start the scan now. */
enum known_answer known_ask(const struct known *, const struct scanner *,
    const struct scan_message *);
/* The scan has ended in VERDICT_CLEAN: learn it, as far as result.depends says. */
void known_learn(const struct known *, const struct scan *,
    const struct scan_message *);
/* Nobody waits any more; another step may begin anew. */
void known_stop(struct known *);
void known_fini(struct known *);

#endif
