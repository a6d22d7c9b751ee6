/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entering a box, see sandbox.h.  Capabilities by the system call: what is
 * needed of libcap is these few lines.
 */
#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/sandbox_priv.h"

/* What an ABI of Landlock before this one does not know. */
static const struct {
	unsigned since;
	const char *what;
} landlock_news[] = { { 3, "truncate" }, { 4, "network" }, { 5, "device" },
	{ 6, "signal" } };

static const char *const box_names[] = {
	[BOX_SERVE] = "serve",
	[BOX_SERVE_CLAM] = "serve (libclamav)",
	[BOX_SERVE_TOKEN] = "serve (token)",
	[BOX_FETCH] = "fetch",
	[BOX_HOLDER] = "keys",
	[BOX_TOKEN] = "keys (token)",
	[BOX_MASTER] = "scan master",
	[BOX_SCANNER] = "scanner",
};

_Static_assert(sizeof(box_names) / sizeof(box_names[0]) == BOX_COUNT,
    "each has a name");

static const char *const mode_words[] = { [SANDBOX_PREFER] = "prefer",
	[SANDBOX_REQUIRE] = "require",
	[SANDBOX_OFF] = "off" };
static enum sandbox_mode mode = SANDBOX_PREFER;

/* Of boxes that are not here it is a list of their own. */
static const enum sandbox_list list_of[BOX_COUNT] = {
	[BOX_TOKEN] = SANDBOX_LIST_TOKEN,
	[BOX_SERVE_CLAM] = SANDBOX_LIST_CLAM,
	[BOX_SERVE_TOKEN] = SANDBOX_LIST_TOKEN,
};

static const char *const list_words[SANDBOX_LISTS] = {
	[SANDBOX_LIST_OWN] = "",
	[SANDBOX_LIST_TOKEN] = " of a token's module",
	[SANDBOX_LIST_CLAM] = " of libclamav",
};

enum sandbox_mode
sandbox_mode(void)
{
	return (mode);
}

void
sandbox_set_mode(enum sandbox_mode m)
{
	assert(m <= SANDBOX_OFF);
	mode = m;
}

const char *
sandbox_mode_word(enum sandbox_mode m)
{
	return (mode_words[m]);
}

bool
sandbox_mode_of(const char *word, enum sandbox_mode *out)
{
	unsigned i;

	for (i = 0; i <= SANDBOX_OFF; i++)
		if (strcmp(word, mode_words[i]) == 0) {
			*out = (enum sandbox_mode)i;
			return (true);
		}
	return (false);
}

const char *
sandbox_box_name(enum sandbox_box box)
{
	assert(box < BOX_COUNT);
	return (box_names[box]);
}

bool
sandbox_user_find(const char *name, struct sandbox_user *u)
{
	const struct passwd *pw;

	if (strlen(name) >= sizeof(u->name) || (pw = getpwnam(name)) == NULL)
		return (false);
	*u = (struct sandbox_user){ .uid = pw->pw_uid, .gid = pw->pw_gid };
	strcpy(u->name, name);
	return (true);
}

/* One that cannot be raised so far goes as far as it can. */
static int
limit(const struct sandbox_limit *l)
{
	struct rlimit now, want = { l->most, l->most };

	if (getrlimit((__rlimit_resource_t)l->what, &now) != 0)
		return (errno);
	if (setrlimit((__rlimit_resource_t)l->what, &want) == 0)
		return (0);
	if (errno != EPERM || now.rlim_max >= l->most)
		return (errno);
	now.rlim_cur = now.rlim_max;
	return (setrlimit((__rlimit_resource_t)l->what, &now) == 0 ? 0 : errno);
}

bool
sandbox_limits(const struct sandbox_limit *l, unsigned n, struct fault *f)
{
	unsigned i;
	int err;

	for (i = 0; i < n; i++)
		if ((err = limit(&l[i])) != 0) {
			fault_set(f, ERR_SYSTEM, "limit %d: %s", l[i].what,
			    strerror(err));
			return (false);
		}
	return (true);
}

static int
become(const struct sandbox_user *u)
{
	if (setgroups(0, NULL) != 0 || setresgid(u->gid, u->gid, u->gid) != 0 ||
	    setresuid(u->uid, u->uid, u->uid) != 0)
		return (errno);
	return (0);
}

/* Before the change of users, which takes the right to do this. */
static void
narrow_bounds(uint64_t keep)
{
	int c;

	for (c = 0; c < 64; c++)
		if ((keep >> c & 1) == 0)
			(void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (keep != 0)
		(void)prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
}

/* Of what it has, nothing but keep. */
static int
narrow_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct set[2], had[2];
	unsigned i;

	if (syscall(SYS_capget, &head, set) != 0)
		return (errno);
	memcpy(had, set, sizeof(had));
	for (i = 0; i < 2; i++) {
		set[i].permitted &= (uint32_t)(keep >> 32 * i);
		set[i].effective = set[i].permitted;
		set[i].inheritable = 0;
	}
	if (memcmp(had, set, sizeof(had)) == 0)
		return (0); /* who has none may be refused the call itself */
	return (syscall(SYS_capset, &head, set) == 0 ? 0 : errno);
}

static bool
failed(struct fault *f, const struct sandbox *s, const char *what, int err)
{
	fault_set(f, ERR_SYSTEM, "sandbox of %s: %s: %s",
	    sandbox_box_name(s->box), what, strerror(err));
	return (false);
}

/* A container may lack the right: then it is as confined as it was. */
static bool
change_user(const struct sandbox *s, struct sandbox_report *r, struct fault *f)
{
	if (s->user == NULL)
		return (true);
	assert(strlen(s->user->name) < sizeof(r->user));
	strcpy(r->user, s->user->name);
	r->user_errno = become(s->user);
	r->own_user = r->user_errno == 0;
	return (r->own_user || s->mode != SANDBOX_REQUIRE ||
	    failed(f, s, r->user, r->user_errno));
}

bool
sandbox_drop(const struct sandbox *s, struct sandbox_report *r, struct fault *f)
{
	int err;

	assert(s->box < BOX_COUNT);
	*r = (struct sandbox_report){ 0 };
	if (s->mode !=
	    SANDBOX_OFF) /* while it may write; sandbox_close() tells */
		(void)sandbox_prepare(s->box, NULL);
	if (!sandbox_limits(s->limits, s->n_limits, f))
		return (false);
	narrow_bounds(s->capabilities);
	if (!change_user(s, r, f))
		return (false);
	if ((err = narrow_capabilities(s->capabilities)) != 0)
		return (failed(f, s, "capabilities", err));
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) !=
		0 || /* a change of users resets it */
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return (failed(f, s, "privileges", errno));
	return (true);
}

bool
sandbox_close(const struct sandbox *s, struct sandbox_report *r,
    struct fault *f)
{
	unsigned abi = 0;

	assert(!r->seccomp && r->landlock == 0);
	r->off = s->mode == SANDBOX_OFF;
	if (r->off)
		return (true);
	r->landlock_errno = sandbox_landlock(s, &abi);
	r->landlock = (uint8_t)abi;
	assert((r->landlock_errno == 0) == (r->landlock > 0));
	if (r->landlock == 0 && s->mode == SANDBOX_REQUIRE)
		return (failed(f, s, "landlock", r->landlock_errno));
	r->seccomp_errno = sandbox_seccomp(s->box);
	if (r->seccomp_errno == 0)
		r->seccomp = list_of[s->box] != SANDBOX_LIST_NONE
		    ? list_of[s->box]
		    : SANDBOX_LIST_OWN;
	return (r->seccomp > 0 || s->mode != SANDBOX_REQUIRE ||
	    failed(f, s, "seccomp", r->seccomp_errno));
}

/* Reports. */

static bool
is_flag(uint8_t v)
{
	return (v <= 1);
}

bool
sandbox_report_ok(const struct sandbox_report *r)
{
	const char *p;

	if (!is_flag(r->off) || r->seccomp >= SANDBOX_LISTS ||
	    !is_flag(r->own_user) ||
	    memchr(r->user, '\0', sizeof(r->user)) == NULL)
		return (false);
	for (p = r->user; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~')
			return (false);
	return (true);
}

__attribute__((format(printf, 2, 3))) static void
say(char out[static SANDBOX_TEXT], const char *fmt, ...)
{
	size_t n = strlen(out);
	va_list ap;

	assert(n < SANDBOX_TEXT);
	va_start(ap, fmt);
	(void)vsnprintf(out + n, SANDBOX_TEXT - n, fmt, ap);
	va_end(ap);
}

static void
say_landlock(char out[static SANDBOX_TEXT], const struct sandbox_report *r)
{
	const char *before = " (no ";
	unsigned i;

	if (r->landlock == 0) {
		say(out, ", no landlock (%s)", strerror(r->landlock_errno));
		return;
	}
	say(out, ", landlock %u", r->landlock);
	for (i = 0; i < sizeof(landlock_news) / sizeof(landlock_news[0]); i++)
		if (r->landlock < landlock_news[i].since) {
			say(out, "%s%s", before, landlock_news[i].what);
			before = ", ";
		}
	if (*before == ',')
		say(out, " rules)");
}

void
sandbox_text(const struct sandbox_report *r, char out[SANDBOX_TEXT])
{
	out[0] = '\0';
	if (r->off)
		say(out, "off");
	else {
		if (r->seccomp)
			say(out, "seccomp%s", list_words[r->seccomp]);
		else
			say(out, "no seccomp (%s)", strerror(r->seccomp_errno));
		say_landlock(out, r);
	}
	if (r->own_user)
		say(out, ", user %s", r->user);
	else if (r->user[0] != '\0')
		say(out, ", user shared (not %s: %s)", r->user,
		    strerror(r->user_errno));
	else
		say(out, ", user shared");
}
