/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parts of the supervisor: supervisor.c (start, signals, end), _edition.c
 * (configurations, in force or to be), _keys.c (key holders), _clam.c
 * (scan masters), _serve.c (the
 * serving processes), _crash.c (what a dead one leaves, and the watchdog),
 * _upgrade.c (to another version of the program), _say.c (what serving processes
 * are told), _issued.c (what key holders have signed), _tickets.c (what TLS
 * tickets are made with).
 * Room: proxy.  One thread.
 */
#ifndef PROXY_SUPERVISOR_PRIV_H
#define PROXY_SUPERVISOR_PRIV_H

#include <uv.h>
#include "base/loop.h"
#include "base/sandbox.h"
#include "base/spawn.h"
#include "certs/keys.h"
#include "proxy/conf/conf.h"
#include "proxy/figures.h"
#include "proxy/given.h"
#include "proxy/listen.h"
#include "proxy/message.h"
#include "proxy/postmortem.h"
#include "proxy/respawn.h"
#include "proxy/supervisor.h"
#include "proxy/watchdog.h"
#include "scanners/clam_keeper.h"
#include "tls/session.h"

#define SUPERVISOR_SIGNALS 8

struct supervisor;

/* Key holders: one process after the other, for one CA. */

enum signer_state {
	SIGNER_OPENS, /* its first process reads the CA's files */
	SIGNER_LOADS, /* a later one loads the key */
	SIGNER_SIGNS, /* clients may have it */
	SIGNER_RESTS, /* dead; another is started when the timer fires */
	SIGNER_ENDS   /* with its last client */
};

struct signer {
	struct signer *next;
	struct supervisor *of;
	uint32_t number; /* as the serving process knows it */
	enum signer_state state;
	struct keys keys;
	struct watch *ended, *says; /* owned; NULL: not watched */
	struct timer again;
	uint64_t born_at;
	unsigned short_lives; /* in a row */
	bool died;            /* that was said, and of no successor since */
	bool tells_leaves;    /* for log.issued */
	/* What it has said of this process: */
	uint64_t leaves, refused;
	char why[96]; /* it was ended by us; "": not so */
	char cert[1024], key[4096];
	gnutls_datum_t ca; /* owned: the certificate (DER), once opened */
	enum keyholder_key which;
	bool made; /* opening has made the CA */
};

/*
 * One for the CA of conf; supervisor_opened() is called once it is SIGNS, or
 * with why it is not (it is gone then).  NULL: ERR_SYSTEM in f.
 */
struct signer *signer_open(struct supervisor *, const struct conf *,
    struct fault *f);
void supervisor_opened(struct supervisor *, struct signer *, const char *why);
/* One that followed has its key: a reload may have waited for it. */
void supervisor_keys_news(struct supervisor *, const struct signer *);
/* One of the program before; SIGNS or ENDS; all is copied but its keys. */
void signer_adopt(struct supervisor *, uint32_t number, enum signer_state,
    const struct keys *, const char *cert, const char *key,
    const gnutls_datum_t *ca, enum keyholder_key);
/* The one of that number that signs, else the one that will; NULL: none. */
struct signer *signer_find(const struct supervisor *, uint32_t number);
/* A socket to it for a serving process; -1: it has none just now. */
int signer_client(const struct signer *);
/* No new client will come to those of that number. */
void signers_last(struct supervisor *, uint32_t number);
/* The serving process wants another one; why "": this one is only old. */
void signer_want(struct supervisor *, uint32_t number, const char *why);
/* All, at the end. */
void signers_free(struct supervisor *);

/*
 * What key holders did is counted, and written to log.issued of the edition in
 * force by a thread of its own, so that a disk that hangs stops nobody.
 */
void issued_begin(struct supervisor *);
void issued_end(struct supervisor *);
/* Its files have been opened again. */
void issued_reopen(struct supervisor *);
/* What one has said, that is not believed to count backwards. */
void issued_news(struct signer *, const struct keys_news *);

/* A configuration with what was opened for it. */

struct edition {
	unsigned number; /* of its generation */
	struct conf *conf;
	int setup;       /* owned: see message.h */
	int *logs;       /* owned: of log.access */
	int *issued;     /* owned: of log.issued */
	uint32_t signer; /* its number; 0: none yet */
	bool ca_made;    /* by that one, and nobody was told yet */
	bool has_keys;   /* that one has opened it */
	bool goes;       /* it was handed to somebody, or will be */
	uint32_t *scans; /* owned: of each service the house; 0: none */
	bool in_process; /* a reload that the serving process takes itself */
	const struct served *asked; /* it was handed to; NULL: nobody yet */
	unsigned workers;
	struct listen_set listeners;
	int admin; /* owned: its socket; -1: none */
};

/*
 * Read it and open what it names; all problems are printed.  fixed: names of
 * settings that differ from those in force and wait for a restart; empty: none.
 * NULL: there are problems, or such settings.
 */
struct edition *edition_load(struct supervisor *, struct buf *fixed);
void edition_free(struct edition **);
/*
 * Open its sockets, or take copies of those that was (NULL: none) has.  False:
 * ERR_SYSTEM in f.
 */
bool edition_listen(struct supervisor *, struct edition *,
    const struct edition *was, struct fault *f);
/* Print one problem of an edition as those of a configuration are. */
void edition_problem(const struct supervisor *, const char *area,
    const char *text);
/* Before the first. */
void editions_init(struct supervisor *);
void supervisor_reload(struct supervisor *);
/* The serving process has answered. */
void supervisor_reloaded(struct supervisor *, bool taken);
/* Nothing comes of the reload that is under way, if one is. */
void supervisor_reload_lost(struct supervisor *, const char *why);
/* The one that was asked for meanwhile, if it was. */
void supervisor_reload_waiting(struct supervisor *);

/* Scan masters: a house for each database, as it is loaded. */

struct tenant {
	uint32_t who; /* the serving process */
	uint64_t given_at;
};

struct scanhouse {
	struct scanhouse *next;
	struct supervisor *of;
	uint32_t number; /* as serving processes know it */
	struct clam_open open;
	struct clam_keeper *keeper; /* owned */
	struct watch *says;         /* owned */
	struct timer look;
	uint64_t load_by; /* its first master */
	bool ready;       /* that one was */
	char failed[208]; /* why that one was not; "": it was, or may be */
	bool leaves;      /* with those who use it */
	struct tenant tenants[CLAM_TENANTS];
	unsigned n_tenants;
	int errors[2]; /* owned: a pipe, what they say on stderr */
	struct watch *errs;
	size_t heard; /* of that, in this second */
	char line[256];
	size_t line_n;
};

/* Who scans, once user is known. */
void scans_find_user(struct supervisor *);
/* Load what the configuration names, for a check, and wait for that. */
void scans_check(const struct supervisor *, const struct conf *,
    struct conf_problems *);
/*
 * The houses of an edition, which may have to load their databases first:
 * supervisor_scans_news() is called then.  False: ERR_SYSTEM in f.
 */
bool scans_open(struct supervisor *, struct edition *, struct fault *f);

#define SCANS_WHY 512

enum scans_state { SCANS_LOAD, SCANS_READY, SCANS_FAILED };

/* FAILED: why says it. */
enum scans_state scans_state(const struct supervisor *, const struct edition *,
    char why[SCANS_WHY]);
void supervisor_scans_news(struct supervisor *);
/* Those of no edition leave. */
void scans_sweep(struct supervisor *);
/* Hand sockets over, for a start or a reload.  False: it is gone or stuck. */
bool scans_hand_over(struct served *, const struct edition *);
/* It says that a socket has ended. */
void scans_want(struct served *, uint32_t number);
/* That process has ended. */
void scans_forget(struct supervisor *, uint32_t who);
void scans_free(struct supervisor *);

/* For another program. */
struct state_house {
	uint32_t number, leaves, n_tenants;
	int32_t errors[2];
	struct clam_open open;
	struct tenant tenants[CLAM_TENANTS];
	struct clam_kept kept[CLAM_MASTERS];
};

/* Append one; take one, of any alignment. */
void scans_put(struct scanhouse *, struct buf *);
void scans_adopt(struct supervisor *, const void *);

/* Serving processes: one is in charge, one may be coming, some may end. */

/* What is known of one that has died, or does not move. */
struct remains {
	struct relics relics;
	int errors;    /* owned: its stderr, for reading; -1: none */
	int errors_to; /* owned: the other end, until it is started */
	struct watch *errors_say;
	char said[4096]; /* the last octets of it */
	size_t said_n;
	char line[1024]; /* that has not ended */
	size_t line_n;
	uint64_t line_at;  /* monotonic: when the next may be logged, at rest */
	uint64_t left_out; /* lines, since the last that was */
	size_t heard_n;    /* octets in this second */
	struct timer hear; /* it said so much that the rest waits */
	struct watchdog dog;
	struct timer look;
};

struct served {
	struct served *next; /* of those that end */
	struct supervisor *of;
	struct child child;
	uint32_t who;               /* its number, also when it has ended */
	int channel;                /* owned; -1: it is not heard any more */
	struct watch *ended, *says; /* owned; NULL: not watched */
	bool ready;
	struct conf *conf; /* counted: what it has in force; NULL: not known */
	struct conf *handed;   /* counted: what it was handed last */
	struct serve_box *box; /* owned; NULL: of the program before */
	uint64_t born_at;
	struct timer end;    /* of one that ends: it takes no longer */
	struct timer answer; /* of one that was handed an edition */
	struct remains remains;
};

void served_init(struct supervisor *);

#define SERVED_ENDING 2 /* more than these are killed, the oldest first */

/*
 * Start one for an edition.  NULL without fault: its key holder has no key
 * now, and it is started when that has; with: ERR_SYSTEM.
 */
struct served *served_start(struct supervisor *, struct edition *,
    struct fault *f);
/* The same with a client's socket of that key holder, which is closed. */
struct served *served_start_with(struct supervisor *, struct edition *,
    const struct signer *, int client, struct fault *f);
/*
 * Hand an edition over, for a start or a reload, with a client's socket of its
 * key holder, which is closed.  False: the serving process is gone or stuck.
 */
bool served_setup(struct served *, struct edition *, const struct signer *,
    int client);
/*
 * One of the program before, ready; errors: of its stderr, -1: none.  Not in
 * charge: it ends already.
 */
void served_adopt(struct supervisor *, struct child, int channel, struct relics,
    int errors, bool in_charge);
/* The same for a start, with all that it needs before. */
void served_hand_over(struct served *, struct edition *, const struct signer *,
    int client);
/* One of all; NULL: it has ended. */
struct served *served_find(const struct supervisor *, uint32_t who);
/* SCANS, NEW_SCANS, SAME_SCANS.  fd is borrowed.  False: it is gone or stuck. */
bool served_say_scans(struct served *, enum message_kind, uint32_t number,
    unsigned service, int fd);
/* No new connections, end within ms. */
void served_say_drain(const struct served *, uint64_t ms);
/* Another one in its place: at once, or when it is time. */
void supervisor_serve_again(struct supervisor *);
/* The one that was coming is in charge, and the other ends within ms. */
void supervisor_promote(struct supervisor *, uint64_t ms);
/* It was handed that, and must answer for it in time. */
void served_await(struct served *, struct conf *);
/* It has it in force. */
void served_has(struct served *);
/* Nothing comes of the one that was coming. */
void supervisor_drop_coming(struct supervisor *);
/* A key holder has its key again: who uses it is told, who waits is started. */
void served_new_keys(struct supervisor *, const struct signer *);
void served_reopen(struct supervisor *);
/* All of them: no new connections, end within ms. */
void served_drain(struct supervisor *, uint64_t ms);
/* Take note of those that were ending, and have ended. */
void served_look(struct supervisor *);
bool served_is_there(const struct supervisor *);
void served_free(struct supervisor *);

#define AFTERMATH_LOST 4 /* dead ones whose flows have no records yet */

struct lost {
	int flight;    /* owned: its flight record */
	uint64_t died; /* Unix ms */
};

struct aftermath {
	struct postmortem *postmortem; /* owned; NULL: none has died */
	struct lost lost[AFTERMATH_LOST];
	unsigned n_lost;
	struct timer tell; /* systemd that we are alive */
};

void remains_init(struct served *);
void remains_adopt(struct served *, struct relics, int errors);
/*
 * Before a serving process is started: what it leaves, its stderr, and the
 * descriptors for that go into the spawn.  False: ERR_SYSTEM in f.
 */
bool remains_begin(struct served *, struct spawn *, struct fault *f);
/* It is started (ok), or could not be. */
void remains_started(struct served *, bool ok);
/* It has ended, and was not told to. */
void remains_died(struct served *, pid_t, const char *fate);
/* The last lines that it said are logged. */
void remains_fini(struct served *);
/* Tell it of the flows that were lost with others.  False: it is stuck. */
bool aftermath_hand_over(struct served *);
/* Another process of ours has crashed: keep what is known. */
void aftermath_note(struct supervisor *, const struct death *,
    const struct relics *);
void aftermath_init(struct supervisor *);
void aftermath_fini(struct supervisor *);

/* What serving processes make TLS tickets with. */

struct tickets {
	unsigned char secret[TLS_TICKET_SECRET];
	struct timer rotate;
};

/* secret: of the program before; NULL: a new one. */
void tickets_begin(struct supervisor *, const unsigned char *secret);
void tickets_end(struct supervisor *);
/* What a serving process is told of it; to be wiped. */
void tickets_message(const struct supervisor *, struct message *);
/* All serving processes are told. */
void served_new_tickets(struct supervisor *);

/* The process that fetches what assay needs for itself. */

struct fetcher;

void fetching_init(struct supervisor *);
/*
 * The serving process is ready, or another edition is in force: start one for
 * these, if the configuration has a use for it.
 */
void fetching_start(struct supervisor *);
/* The serving process is gone, and with it who asks. */
void fetching_leave(struct supervisor *);
/* The serving process says that it does not work. */
void fetching_stuck(struct supervisor *, const char *why);
/* Before another program is this process: it would not know them. */
void fetching_kill(struct supervisor *);
void fetching_free(struct supervisor *);
/* Hand its socket over (borrowed). */
void served_fetcher(struct supervisor *, int fd);

enum supervisor_phase {
	PHASE_STARTS, /* never was anything served */
	PHASE_SERVES, /* also while a dead process is replaced */
	PHASE_DRAINS, /* the serving process ends, and so do we */
	PHASE_ENDS    /* nothing is started any more */
};

struct supervisor_options {
	const char *file;   /* NULL: none given */
	const char *listen; /* NULL: none given */
	bool check;
};

struct supervisor {
	struct supervisor_options options;
	const char *file; /* that is read; NULL: built-in defaults */
	enum supervisor_phase phase;
	int code; /* exit status */
	struct loop *loop;
	uv_signal_t signals[SUPERVISOR_SIGNALS];
	struct sandbox_user user_room;
	const struct sandbox_user *user; /* who serves; NULL: we */
	struct sandbox_user scan_room;
	const struct sandbox_user *scan_user; /* who scans; NULL: we */
	char **env;                           /* owned: of children */
	struct edition *edition;              /* owned: in force */
	struct edition *next;                 /* owned: a reload; NULL: none */
	bool refused;                         /* the last reload was */
	struct timer next_end; /* what next needs must be ready by then */
	bool reload_again;     /* asked for while one is under way */
	bool reopen_again;
	struct signer *signers;   /* owned */
	uint32_t last_signer;     /* number */
	int figures_fd;           /* owned: for who reads them */
	struct figures *figures;  /* owned */
	struct audit *issued;     /* owned: log.issued; NULL: nobody wants it */
	struct scanhouse *houses; /* owned */
	uint32_t last_house;      /* number */
	struct served *served;    /* owned: in charge; NULL: it is dead */
	struct served *coming;    /* owned: for next; NULL: none */
	struct served *ending;    /* owned: the youngest first */
	bool awaits_keys;         /* served is started when there is a key */
	uint64_t died_at;         /* the last that was in charge; 0: none did */
	struct respawn respawn;
	struct timer again;       /* served is started */
	struct fetcher *fetchers; /* owned */
	struct fetcher *fetcher;  /* that is asked; NULL: none */
	struct respawn fetch_respawn;
	struct timer fetch_again;
	struct aftermath aftermath;
	struct given given; /* owned */
	struct tickets tickets;
	/* Upgrade: */
	char program[4096];  /* that is run */
	char **argv;         /* borrowed */
	bool upgrades;       /* it is being checked */
	struct child checks; /* owned: --check of the next program */
	struct watch *checked;
	struct timer check_end; /* it takes no longer */
	bool check_late;
};

/* Become the program that lies there now, if it is good. */
void supervisor_upgrade(struct supervisor *);
/* What it takes later, at the start. */
void upgrade_init(struct supervisor *, char **argv);
void upgrade_fini(struct supervisor *);
/* --check: can this program take what the one that asks would hand over? */
bool upgrade_format_ok(void);
/* Has the program before handed something over?  Take it; false: it is none. */
bool upgrade_is(void);
bool upgrade_take(struct supervisor *);
/* Load the configuration for another serving process. */
void supervisor_replace(struct supervisor *);

/*
 * The service manager keeps the listening sockets of the edition in force, for a
 * supervisor that follows this one when it dies; or those of none: closed.
 */
void store_listeners(const struct supervisor *);

/* It serves for the first time. */
void supervisor_ready(struct supervisor *);
/* All log files by their names, anew. */
void supervisor_reopen(struct supervisor *);
/* What it listens on, in the log. */
void supervisor_announce(const struct supervisor *);
/* The serving process has ended as it was told, or is not to be replaced. */
void supervisor_end(struct supervisor *, int code);
const char *supervisor_shown_name(const struct supervisor *);
/*
 * Tell systemd the state of affairs; ready: and that a start or a reload is
 * over.
 */
void supervisor_notify_state(const struct supervisor *, bool ready);
/* sd_notify(3); without systemd nothing. */
void supervisor_notify(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

#endif
