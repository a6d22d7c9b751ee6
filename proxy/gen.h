/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A generation: one configuration and everything that is built from it and
 * shared by the workers (CA, leaves, trust, scan engines, logs).  Frozen and
 * counted; a reload builds a new one beside the old and swaps.
 *
 * Room: proxy.  Any thread.
 */
#ifndef PROXY_GEN_H
#define PROXY_GEN_H

#include <stdatomic.h>
#include "base/job.h"
#include "certs/ca.h"
#include "certs/leaf.h"
#include "certs/trust.h"
#include "certs/verify.h"
#include "http/h1_head.h"
#include "icap/icap.h"
#include "proxy/audit/audit.h"
#include "proxy/conf/conf.h"
#include "proxy/pages/internal.h"
#include "net/resolve.h"
#include "scanners/cache.h"
#include "scanners/clam.h"
#include "stream/body.h"
#include "tls/session.h"

struct inbox;
struct keyholder;
struct tls_peer;
struct upstream;

/* What a service needs beside its configuration. */
struct gen_service {
	struct clam_engine *clam;   /* counted; CONF_CLAMAV */
	char *database;             /* owned; the folder that clam loaded */
	struct icap_shared *shared; /* owned; CONF_ICAP */
	struct tls_peer *icaps;     /* owned; CONF_ICAP with icaps: */
};

struct gen {
	atomic_uint refs;
	unsigned number;                /* 1, 2, ... since the start */
	struct conf *conf;              /* counted */
	struct ca *ca;                  /* counted */
	struct leaf_cache *leaves;      /* owned */
	struct trust *trust;            /* counted */
	struct verifier *verifier;      /* owned */
	struct tls_context *tls;        /* owned */
	struct hosts *hosts;            /* counted */
	struct gen_service *services;   /* owned; as conf->services */
	struct upstream **upstreams;    /* owned; as conf->upstreams */
	struct audit *audit;            /* owned */
	struct verdict_cache *verdicts; /* counted; NULL: none */
	struct body_store store;
	struct h1_limits client_limits, origin_limits;
	char *servers; /* owned; of the resolver, as text */
	char temp_dir[1024];
	char pseudonym[48];             /* in Via */
	char proxy_name[300];           /* host:port of the first listener */
	char fingerprint[100];          /* of the CA, "AB:CD:..." */
	struct internal_facts internal; /* for assay.internal */
};

/* Threads for keys and certificates, and for spill files; shared by all generations. */
struct gen_pools {
	struct job_pool *crypto;
	struct job_pool *files;
};

/* What a generation does not get by itself: another process has it. */
struct gen_given {
	const struct gen_pools *pools;
	struct issuers *issuers;   /* borrowed: who gets missing ones */
	struct statuses *statuses; /* borrowed: who asks OCSP responders */
	struct keyholder *holder;  /* taken over; it has the CA's key */
	bool ca_created;           /* it has just made that CA */
	struct inbox *inbox;       /* borrowed: sockets to scan masters */
	void (*want_scans)(void *, uint32_t number); /* another of these */
};

/*
 * Read and check all that conf (one reference is taken) names; no thread is
 * started.  given NULL: only for a check, nothing is made.  Never NULL:
 * problems are added to the list, and with errors among them it is good for
 * gen_start() alone, which finds the rest of them.
 */
struct gen *gen_new(struct conf *, unsigned number, const struct gen_given *,
    struct conf_problems *);
/*
 * Then start what has threads: scanners, the access log.  logs: a descriptor
 * for each of log.access, taken over; NULL: a check, as is given NULL.  old:
 * the running generation or NULL; what is expensive and has not changed is
 * taken over from it.  False: there are errors in the list, and gen_unref() is
 * all that may be done.  Blocks (with isolation: thread databases load).
 */
bool gen_start(struct gen *, const struct gen_given *, const int *logs,
    struct gen *old, struct conf_problems *);
/*
 * How service i of a configuration scans with libclamav; db: the folder, which
 * the caller frees.  No threads, no temporary folder, nothing to report to.
 */
struct clam_options gen_clam_options(const struct conf *, unsigned i,
    char **db);
/* Is there such a service, and in processes? */
bool gen_clam_in_processes(const struct conf *, unsigned i);
/* The CA's files of the state folder; false: the configuration names its own. */
bool gen_ca_files(const struct conf *, char cert[1024], char key[1024]);
/* The database that a service of clamav loads; the caller frees. */
char *gen_database(const struct conf_service *);
/* Where libclamav makes its files: temp_dir itself, or a static text. */
const char *gen_scan_folder(const char *temp_dir);
struct gen *gen_ref(struct gen *);
void gen_unref(struct gen **);
/* The lines of start-up: ca, scan. */
void gen_report(const struct gen *);

#endif
