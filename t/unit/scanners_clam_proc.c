/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's side of scanner processes, against a scan master and scanners
 * of our own that do what a body says: crash, hang, answer nonsense, in each
 * state.  What dies costs its body alone.
 */
#include <fcntl.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>
#include "base/budget.h"
#include "base/spawn.h"
#include "scanners/clam_engine_priv.h"
#include "scanners/clam_master.h"
#include "t/unit/clam_home.h"
#include "t/unit/clam_kit.h"

/* ---- the other side: what a body or the database's name says ---- */

static struct clam_open mood; /* open.db: "stillborn", "deaf" ... */

static bool
is(const char *body, const char *what)
{
	return (strncmp(body, what, strlen(what)) == 0);
}

static void
answer(int fd, uint32_t id, enum verdict v, enum scan_gap gap)
{
	struct clam_verdict m = { .kind = CLAM_VERDICT,
		.id = id,
		.verdict = v,
		.gap = gap };

	(void)clam_wire_send(fd, &m, NULL, 0);
}

static void
raw(int fd, size_t n)
{
	static char bytes[200000];

	memset(bytes, 0x5a, n);
	(void)send(fd, bytes, n, MSG_NOSIGNAL);
}

static void
with_descriptor(int fd, uint32_t id)
{
	struct clam_verdict m = { .kind = CLAM_VERDICT, .id = id };
	int null = STDIN_FILENO;

	(void)channel_send(fd, &m, sizeof(m), &null, 1, 1000);
}

/* By the signal, not by what a sanitizer makes of it. */
static void
crash(void)
{
	(void)signal(SIGSEGV, SIG_DFL);
	(void)raise(SIGSEGV);
}

static void
act(int fd, const char *body, uint32_t id)
{
	if (is(body, "crash"))
		crash();
	else if (is(body, "killed"))
		(void)raise(SIGKILL);
	else if (is(body, "xcpu"))
		(void)raise(SIGXCPU);
	else if (is(body, "exit"))
		_exit(3);
	else if (is(body, "hang"))
		for (;;)
			pause();
	else if (is(body, "short"))
		raw(fd, 5);
	else if (is(body, "garbage"))
		raw(fd, sizeof(struct clam_verdict));
	else if (is(body, "oversize"))
		raw(fd, 100000);
	else if (is(body, "wrong id"))
		answer(fd, id + 1, VERDICT_CLEAN, GAP_NONE);
	else if (is(body, "modified"))
		answer(fd, id, VERDICT_MODIFIED, GAP_NONE);
	else if (is(body, "descriptor"))
		with_descriptor(fd, id);
	else if (is(body, "master"))
		(void)kill(getppid(), SIGKILL);
	else if (is(body, "limit"))
		answer(fd, id, VERDICT_UNSCANNED, GAP_LIMIT);
	else
		answer(fd, id,
		    is(body, "bad") ? VERDICT_BLOCKED : VERDICT_CLEAN,
		    GAP_NONE);
}

/* Ends without having read what it was to do. */
static void
end_unread(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	(void)poll(&p, 1, -1);
	_exit(4);
}

static _Noreturn void
scanner_run(int fd, int slot, unsigned number, pid_t master)
{
	const char *at = mmap(NULL, CLAM_SLOT, PROT_READ, MAP_SHARED, slot, 0);
	struct clam_born born = { .kind = CLAM_BORN,
		.fit = strcmp(mood.db, "unfit") != 0 };
	struct clam_packet p;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != master)
		_exit(0);
	if (strcmp(mood.db, "stillborn") == 0)
		_exit(5);
	(void)clam_wire_send(fd, &born, NULL, 0);
	if (strcmp(mood.db, "deaf") == 0 ||
	    (strcmp(mood.db, "deaf first") == 0 && number == 0))
		end_unread(fd);
	while (clam_wire_recv(fd, CLAM_BIT(CLAM_SCAN), &p, 600000) == CLAM_GOT)
		act(fd, at, p.m.scan.id);
	_exit(0);
}

static struct {
	pid_t pid;
	uint32_t id;
	bool killed;
} others[64];

static void
told_dead(int server)
{
	struct clam_died d = { .kind = CLAM_DIED };
	unsigned i;
	int how;

	for (i = 0; i < 64; i++)
		if (others[i].pid != 0 &&
		    waitpid(others[i].pid, &how, WNOHANG) > 0) {
			d.id = others[i].id;
			d.how = others[i].killed ? CLAM_KILLED
			    : WIFSIGNALED(how)   ? CLAM_SIGNALLED
						 : CLAM_EXITED;
			d.of = WIFSIGNALED(how) ? WTERMSIG(how)
						: WEXITSTATUS(how);
			(void)clam_wire_send(server, &d, NULL, 0);
			others[i].pid = 0;
		}
}

static void
scanner_new(struct clam_packet *p)
{
	static unsigned made;
	pid_t master = getpid();
	unsigned i;

	for (i = 0; others[i].pid != 0; i++)
		;
	others[i].id = p->m.word.id;
	others[i].killed = false;
	others[i].pid = fork();
	if (others[i].pid == 0)
		scanner_run(p->fd[0], p->fd[1], made, master);
	made++;
	clam_packet_drop(p);
}

static void
scanner_kill(uint32_t id)
{
	unsigned i;

	for (i = 0; i < 64; i++)
		if (others[i].pid != 0 && others[i].id == id) {
			others[i].killed = true;
			(void)kill(others[i].pid, SIGKILL);
		}
}

static bool
server_read(int server)
{
	struct clam_packet p;

	switch (clam_wire_recv(server, CLAM_BIT(CLAM_NEW) | CLAM_BIT(CLAM_KILL),
	    &p, 0)) {
	case CLAM_GOT:
		if (p.m.kind == CLAM_NEW)
			scanner_new(&p);
		else
			scanner_kill(p.m.word.id);
		return (true);
	case CLAM_NOTHING:
		return (true);
	case CLAM_ENDED:
	case CLAM_UNREAD:
	case CLAM_BROKEN:
		break;
	}
	return (false);
}

/* Its socket, which it is told of what this is. */
static bool
owner_read(int *server, const struct clam_ready *ready)
{
	struct clam_packet p;

	if (clam_wire_recv(SPAWN_FD,
		CLAM_BIT(CLAM_ATTACH) | CLAM_BIT(CLAM_PING), &p, 0) != CLAM_GOT)
		return (false);
	if (p.m.kind == CLAM_PING)
		return (clam_wire_word(SPAWN_FD, CLAM_PONG, 0, NULL, 0));
	if (*server >= 0)
		close(*server);
	*server = clam_packet_take(&p, 0);
	return (clam_wire_send(*server, ready, NULL, 0));
}

static int
master_run(void)
{
	struct clam_ready ready = { .kind = CLAM_READY,
		.signatures = 1,
		.fit = 1,
		.life = (uint64_t)getpid(),
		.library = "none" };
	struct pollfd polls[2] = { { SPAWN_FD, POLLIN, 0 }, { -1, POLLIN, 0 } };
	struct clam_packet p;
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (clam_wire_recv(SPAWN_FD, CLAM_BIT(CLAM_OPEN), &p, 60000) !=
	    CLAM_GOT)
		return (1);
	mood = p.m.open;
	if (strcmp(mood.db, "no master") == 0)
		return (1);
	(void)clam_wire_send(SPAWN_FD, &ready, NULL, 0);
	while (poll(polls, 2, 5) >= 0) {
		if (polls[0].revents != 0 && !owner_read(&polls[1].fd, &ready))
			break;
		if (polls[1].revents != 0 && !server_read(polls[1].fd))
			break;
		told_dead(polls[1].fd);
	}
	return (0);
}

/* ---- this side ---- */

#define MANY 51
#define COPIED (3u * CLAM_SLOT)

static struct loop *loop;
static struct body_store store;
static struct arena *arena;
static struct http_msg *head;
static struct scanner *scanner;
static struct clam_engine *engine;
static struct task wake;
static struct scan_message msgs[MANY];
static struct scan scans[MANY];
static char lines[4000];

static void
on_wake(struct task *t)
{
	(void)t;
}

static void
on_line(void *arg, const char *line)
{
	(void)arg;
	strncat(lines, line, sizeof(lines) - strlen(lines) - 1);
}

static void
set_up(const char *db, uint32_t time_ms)
{
	struct clam_options o = { .threads = 2,
		.db_dir = db,
		.time_ms = time_ms,
		.watch_ms = 50,
		.report = on_line };
	struct clam_service service = { .name = "clam",
		.scans_req = true,
		.scans_resp = true };

	lines[0] = '\0';
	kit_in_threads = false;
	engine = kit_engine(&o);
	loop = loop_new();
	store = (struct body_store){ .temp_dir = "/tmp", .window = 65536 };
	arena = arena_new();
	head = http_msg_new(arena, false);
	head->status = 200;
	scanner = clam_new(loop, engine, &service);
	task_init(&wake, loop, on_wake);
}

static void
tear_down(void)
{
	while (clam_busy(scanner) > 0)
		uv_run(loop_uv(loop), UV_RUN_ONCE);
	clam_free(&scanner);
	task_fini(&wake);
	loop_free(&loop);
	arena_free(&arena);
	kit_engine_end(&engine);
	/* Places in which no scanner was have no descriptor, not number 0. */
	CU_ASSERT(fcntl(STDIN_FILENO, F_GETFD) >= 0);
}

static void
begin(unsigned i, const char *text)
{
	msgs[i] = (struct scan_message){ .mode = SCAN_RESP,
		.req = head,
		.resp = head,
		.arena = arena };
	msgs[i].body = body_of_bytes(loop, &store, text, strlen(text) + 1);
	memset(&scans[i], 0, sizeof(scans[i]));
	scan_start(&scans[i], scanner, &msgs[i], &wake);
}

static void
end(unsigned i)
{
	while (!scans[i].done) {
		uv_run(loop_uv(loop), UV_RUN_NOWAIT);
		usleep(100);
	}
}

static void
drop(unsigned i)
{
	scan_cancel(&scans[i]);
	body_unref(&msgs[i].body);
}

/* One body; reason: how it begins. */
static void
is_said(const char *text, enum verdict v, enum scan_gap gap, const char *reason)
{
	struct scan_result *r = &scans[0].result;

	begin(0, text);
	end(0);
	if (r->verdict != v || r->gap != gap ||
	    !str_starts(r->reason, str_of(reason)))
		printf("# %s: %s %s [%.*s] %s\n", text,
		    verdict_name(r->verdict), scan_gap_name(r->gap),
		    STR_ARG(r->reason), r->fault.detail);
	CU_ASSERT_EQUAL(r->verdict, v);
	CU_ASSERT_EQUAL(r->gap, gap);
	CU_ASSERT_EQUAL(r->fault.code, ERR_NONE);
	CU_ASSERT_TRUE(str_starts(r->reason, str_of(reason)));
	drop(0);
}

static const struct {
	const char *body;
	enum scan_gap gap;
	const char *reason;
} moods[] = {
	{ "crash", GAP_ERROR, "scanner crashed: SEGV" },
	{ "killed", GAP_ERROR, "scanner crashed: KILL" },
	{ "xcpu", GAP_TIME, "time limit exceeded" },
	{ "exit", GAP_ERROR, "scanner ended (3)" },
	{ "hang", GAP_TIME, "time limit exceeded" },
	{ "short", GAP_ERROR, "scanner broke its protocol" },
	{ "garbage", GAP_ERROR, "scanner broke its protocol" },
	{ "oversize", GAP_ERROR, "scanner broke its protocol" },
	{ "wrong id", GAP_ERROR, "scanner broke its protocol" },
	{ "modified", GAP_ERROR, "scanner broke its protocol" },
	{ "descriptor", GAP_ERROR, "scanner broke its protocol" },
	{ "limit", GAP_LIMIT, "" },
};

#define MOODS (sizeof(moods) / sizeof(moods[0]))

/* Each costs its body; the next one has a scanner that is as good as new. */
static void
test_moods(void)
{
	size_t i;

	set_up("any", 300);
	for (i = 0; i < MOODS; i++) {
		is_said(moods[i].body, VERDICT_UNSCANNED, moods[i].gap,
		    moods[i].reason);
		is_said("good", VERDICT_CLEAN, GAP_NONE, "");
		is_said("bad", VERDICT_BLOCKED, GAP_NONE, "");
	}
	tear_down();
}

/* Beside fifty others, which are none the worse. */
static void
test_neighbours(void)
{
	unsigned i, clean;
	size_t k;

	for (k = 0; k < MOODS; k++) {
		set_up("any", 5000);
		if (strcmp(moods[k].body, "hang") == 0) {
			tear_down(); /* five seconds */
			continue;
		}
		for (i = 0; i < MANY; i++)
			begin(i, i == 20 ? moods[k].body : "good");
		for (i = 0, clean = 0; i < MANY; i++) {
			end(i);
			clean += scans[i].result.verdict == VERDICT_CLEAN;
			drop(i);
		}
		CU_ASSERT_EQUAL(clean, MANY - 1);
		tear_down();
	}
}

/* The fourth scanner is not tried; other bodies have theirs. */
static void
test_remembered(void)
{
	unsigned i;

	set_up("any", 0);
	for (i = 0; i < 3; i++)
		is_said("crash again", VERDICT_UNSCANNED, GAP_ERROR,
		    "scanner crashed: SEGV");
	is_said("crash again", VERDICT_UNSCANNED, GAP_ERROR,
	    "scanners have died of it");
	is_said("crash other", VERDICT_UNSCANNED, GAP_ERROR,
	    "scanner crashed: SEGV");
	is_said("good again", VERDICT_CLEAN, GAP_NONE, "");
	tear_down();
}

/* Once more, but only once, and only if nobody had looked at it. */
static void
test_unread(void)
{
	set_up("deaf first", 0);
	is_said("good", VERDICT_CLEAN, GAP_NONE, "");
	tear_down();
	set_up("deaf", 0);
	is_said("good", VERDICT_UNSCANNED, GAP_ERROR, "scanner ended (4)");
	tear_down();
}

/* The scanners end with it; another one comes. */
static void
test_master_dies(void)
{
	unsigned i;

	set_up("any", 0);
	for (i = 0; i < 3; i++) {
		is_said("master", VERDICT_UNSCANNED, GAP_ERROR, "scanner ");
		is_said("good", VERDICT_CLEAN, GAP_NONE, "");
	}
	CU_ASSERT_PTR_NOT_NULL(strstr(lines, "the scan master was killed"));
	tear_down();
}

static void
is_down(const char *db)
{
	unsigned i;

	set_up(db, 0);
	begin(0, "good");
	end(0);
	for (i = 0; i < 2000 && clam_engine_fit(engine); i++)
		usleep(1000);
	CU_ASSERT_FALSE(clam_engine_fit(engine));
	begin(1, "good");
	end(1);
	for (i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(scans[i].result.fault.code, ERR_SCAN_DOWN);
		CU_ASSERT_EQUAL(scans[i].result.verdict, VERDICT_UNSCANNED);
		drop(i);
	}
	tear_down();
}

/* No scanner is ever born, or none finds its test files. */
static void
test_unborn(void)
{
	struct clam_options o = { .threads = 1,
		.db_dir = "no master",
		.temp_dir = kit_dir };
	struct fault f = { .code = ERR_NONE };
	struct clam_door door;

	is_down("stillborn");
	CU_ASSERT_PTR_NOT_NULL(strstr(lines, "no scanner can be made"));
	is_down("unfit");
	CU_ASSERT_PTR_NOT_NULL(strstr(lines, "does not find its test files"));
	CU_ASSERT_PTR_NULL(clam_home_new(&o, &door, &f));
	CU_ASSERT_EQUAL(f.code, ERR_CONFIG);
}

/* Nobody wants to know, at any moment. */
static void
test_cancelled(void)
{
	static const char *const bodies[] = { "good", "hang", "crash",
		"garbage", "exit" };
	unsigned turns, i, k;

	set_up("any", 0);
	for (turns = 0; turns < 40; turns++) {
		for (i = 0; i < 8; i++)
			begin(i, bodies[unit_random(5)]);
		for (k = unit_random(12); k > 0; k--) {
			uv_run(loop_uv(loop), UV_RUN_NOWAIT);
			usleep(unit_random(500));
		}
		for (i = 0; i < 8; i++)
			drop(i);
		while (clam_busy(scanner) > 0)
			uv_run(loop_uv(loop), UV_RUN_ONCE);
	}
	is_said("good", VERDICT_CLEAN, GAP_NONE, "");
	tear_down();
}

/* A copy in memory is its client's as long as somebody looks at it. */
static void
test_copies_are_counted(void)
{
	struct budget *budget = budget_new();
	struct account *a = account_open(budget, 1);
	uint64_t own, most = 0;
	char *text = calloc(1, COPIED);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	set_up("any", 0);
	store.window = 2 * COPIED;
	msgs[0] = (struct scan_message){ .mode = SCAN_RESP,
		.req = head,
		.resp = head,
		.arena = arena,
		.body = body_of_bytes(loop, &store, text, COPIED) };
	body_charge_to(msgs[0].body, a);
	own = account_used(a, BUDGET_MEMORY);
	memset(&scans[0], 0, sizeof(scans[0]));
	scan_start(&scans[0], scanner, &msgs[0], &wake);
	while (!scans[0].done) {
		uv_run(loop_uv(loop), UV_RUN_NOWAIT);
		if (account_used(a, BUDGET_MEMORY) > most)
			most = account_used(a, BUDGET_MEMORY);
	}
	CU_ASSERT_EQUAL(scans[0].result.verdict, VERDICT_CLEAN);
	CU_ASSERT(most >= own + COPIED);
	drop(0);
	tear_down();
	CU_ASSERT_EQUAL(account_used(a, BUDGET_MEMORY), 0);
	account_unref(&a);
	budget_free(&budget);
	free(text);
}

int
main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		{ "what scanners may do", test_moods },
		{ "fifty neighbours", test_neighbours },
		{ "bodies that scanners died of", test_remembered },
		{ "what was not read", test_unread },
		{ "a master dies", test_master_dies },
		{ "none is born", test_unborn },
		{ "cancelled at any moment", test_cancelled },
		{ "copies are counted", test_copies_are_counted },
	};

	(void)argc;
	if (strcmp(argv[0], CLAM_MASTER_ROLE) == 0)
		return (master_run());
	return (kit_main(argv, "scanners_clam_proc", tests,
	    sizeof(tests) / sizeof(tests[0])));
}
