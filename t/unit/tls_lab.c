/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See tls_lab.h. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>
#include "base/list.h"
#include "t/unit/tls_lab.h"
#include "t/unit/unit.h"

/* --- the loop --- */

static void
on_tick(struct timer *t)
{
	timer_set(t, 1); /* libuv runs timers and then still polls */
}

static void
turn(struct loop *l, unsigned ms)
{
	struct timer t;

	timer_init(&t, l, on_tick);
	timer_set(&t, ms);
	uv_run(loop_uv(l), UV_RUN_ONCE);
	timer_stop(&t);
}

bool
lab_until(struct loop *l, bool (*so)(void *), void *arg, unsigned ms)
{
	return (lab_wire_until(NULL, l, so, arg, ms));
}

static bool
never(void *arg)
{
	(void)arg;
	return (false);
}

void
lab_run(struct loop *l, unsigned ms)
{
	(void)lab_until(l, never, NULL, ms);
}

/* --- sockets --- */

static void
must(bool ok, const char *what)
{
	if (!ok) {
		printf("Bail out! %s: %s\n", what, strerror(errno));
		exit(99);
	}
}

void
lab_tcp(int fd[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, i;

	must(bind(l, (struct sockaddr *)&a, n) == 0 && listen(l, 1) == 0 &&
		getsockname(l, (struct sockaddr *)&a, &n) == 0,
	    "listen");
	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(connect(fd[0], (struct sockaddr *)&a, n) == 0, "connect");
	fd[1] = accept(l, NULL, NULL);
	must(fd[1] >= 0, "accept");
	close(l);
	for (i = 0; i < 2; i++) {
		fcntl(fd[i], F_SETFL, O_NONBLOCK);
		setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
}

unsigned
lab_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return (n);
}

/* --- the certificate --- */

static struct leaf *leaf;

static void
fill_leaf(struct leaf *l, gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
	must(gnutls_x509_privkey_generate(key, GNUTLS_PK_EC,
		 GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0) >= 0 &&
		gnutls_x509_crt_set_version(crt, 3) >= 0 &&
		gnutls_x509_crt_set_serial(crt, "\001", 1) >= 0 &&
		gnutls_x509_crt_set_activation_time(crt, time(NULL) - 99) >=
		    0 &&
		gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 9999) >=
		    0 &&
		gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME,
		    0, "lab", 3) >= 0 &&
		gnutls_x509_crt_set_key(crt, key) >= 0 &&
		gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0) >=
		    0 &&
		gnutls_pcert_import_x509(&l->chain[0], crt, 0) >= 0 &&
		gnutls_privkey_init(&l->key) >= 0 &&
		gnutls_privkey_import_x509(l->key, key,
		    GNUTLS_PRIVKEY_IMPORT_COPY) >= 0,
	    "certificate");
	l->n = 1;
}

struct leaf *
lab_leaf(void)
{
	gnutls_x509_crt_t crt = NULL;
	gnutls_x509_privkey_t key = NULL;

	if (leaf != NULL)
		return (leaf);
	leaf = calloc(1, sizeof(*leaf));
	must(gnutls_x509_crt_init(&crt) >= 0 &&
		gnutls_x509_privkey_init(&key) >= 0,
	    "certificate");
	fill_leaf(leaf, crt, key);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
	return (leaf);
}

void
lab_leaf_free(void)
{
	if (leaf == NULL)
		return;
	gnutls_pcert_deinit(&leaf->chain[0]);
	gnutls_privkey_deinit(leaf->key);
	free(leaf);
	leaf = NULL;
}

/* --- ends --- */

unsigned char
lab_byte(unsigned salt, uint64_t i)
{
	return ((unsigned char)(salt * 77 + (i * 2654435761u >> 13 ^ i)));
}

static bool
right(const struct lab_end *e, const struct chq *q)
{
	unsigned char p[4096];
	size_t i, n, at;

	for (at = 0; at < chq_len(q); at += n) {
		n = chq_len(q) - at < sizeof(p) ? chq_len(q) - at : sizeof(p);
		chq_read(q, at, p, n);
		for (i = 0; i < n; i++)
			if (p[i] != lab_byte(e->peer_salt, e->got + at + i))
				return (false);
	}
	return (true);
}

static void
end_read(struct lab_end *e)
{
	struct chq q = { 0 };
	unsigned turns;
	size_t want;
	enum pull p = PULL_MORE;

	for (turns = 0; turns < 30 && p == PULL_MORE; turns++) {
		want = 1 + unit_random(e->want);
		p = link_read(e->link, &q, want);
		e->wrong |= (p == PULL_MORE) != (chq_len(&q) > 0) ||
		    chq_len(&q) > want || !right(e, &q);
		e->got += chq_len(&q);
		chq_drop(&q, chq_len(&q));
	}
	chq_fini(&q);
	if (p == PULL_MORE)
		task_wake(&e->task);
	else if (pull_is_last(p))
		e->end = p;
}

static void
end_write(struct lab_end *e)
{
	unsigned char p[40000];
	struct chq q = { 0 };
	size_t n, room, i;

	while (e->sent < e->to_send && !link_broken(e->link)) {
		room = link_room(e->link);
		e->starved |= room == 0;
		if (room == 0)
			break;
		n = 1 + unit_random(e->piece);
		n = n > room ? room : n;
		n = n > e->to_send - e->sent ? (size_t)(e->to_send - e->sent)
					     : n;
		for (i = 0; i < n; i++)
			p[i] = lab_byte(e->salt, e->sent + i);
		if (unit_random(2) == 0)
			link_write(e->link, p, n);
		else {
			chq_copy(&q, p, n);
			link_write_chq(e->link, &q, n);
		}
		e->sent += n;
	}
	chq_fini(&q);
	if (e->shut && e->sent == e->to_send)
		link_shutdown(e->link);
}

static void
end_run(struct task *t)
{
	struct lab_end *e = CONTAINER_OF(t, struct lab_end, task);

	if (e->link == NULL)
		return;
	if (e->tls && e->shake == PULL_WAIT)
		e->shake = link_handshake(e->link, ERR_CLIENT_TLS, &e->fault);
	if (e->tls && e->shake != PULL_END)
		return;
	if (!e->paused && e->end == PULL_MORE)
		end_read(e);
	end_write(e);
}

void
lab_end_init(struct lab_end *e, struct loop *l, int fd, unsigned salt)
{
	*e = (struct lab_end){ .salt = salt,
		.peer_salt = 1 - salt,
		.want = 50000,
		.piece = 40000,
		.shake = PULL_WAIT,
		.end = PULL_MORE };
	task_init(&e->task, l, end_run);
	e->fd = fd;
	e->link = link_new(l, fd, &e->task);
	task_wake(&e->task);
}

void
lab_end_wake(struct lab_end *e)
{
	task_wake(&e->task);
}

void
lab_end_fini(struct lab_end *e, enum link_end how)
{
	task_fini(&e->task);
	link_close(&e->link, how);
	CU_ASSERT_FALSE(e->wrong);
}

/* --- wires --- */

void
lab_wire_init(struct lab_wire *w, int out[2])
{
	int a[2], b[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a) == 0 &&
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b) == 0,
	    "socketpair");
	*w = (struct lab_wire){ .fd = { a[1], b[1] },
		.cut = { UINT64_MAX, UINT64_MAX } };
	out[0] = a[0];
	out[1] = b[0];
}

void
lab_wire_fini(struct lab_wire *w)
{
	close(w->fd[0]);
	close(w->fd[1]);
}

static bool
wire_pass(struct lab_wire *w, int from)
{
	unsigned char p[65536];
	size_t max = w->step > 0 ? 1 + unit_random(w->step) : sizeof(p);
	ssize_t n, k;

	if (w->shut[from])
		return (false);
	if (max > w->cut[from] - w->passed[from])
		max = (size_t)(w->cut[from] - w->passed[from]);
	n = max > 0 ? recv(w->fd[from], p, max, MSG_PEEK) : 0;
	if (n == 0 || (n < 0 && errno == ECONNRESET)) {
		w->shut[from] = true;
		shutdown(w->fd[1 - from], SHUT_WR);
	}
	if (n <= 0)
		return (w->shut[from]);
	k = send(w->fd[1 - from], p, (size_t)n, MSG_NOSIGNAL);
	if (k < 0 && errno == EPIPE)
		k = n; /* nobody there any more */
	if (k <= 0)
		return (false);
	w->passed[from] += (uint64_t)k;
	return (recv(w->fd[from], p, (size_t)k, 0) == k);
}

bool
lab_wire_until(struct lab_wire *w, struct loop *l, bool (*so)(void *),
    void *arg, unsigned ms)
{
	uint64_t until = uv_hrtime() / 1000000 + ms;
	bool moved;

	while (!so(arg)) {
		if (uv_hrtime() / 1000000 >= until)
			return (false);
		moved = w != NULL && wire_pass(w, 0);
		moved = (w != NULL && wire_pass(w, 1)) || moved;
		if (moved)
			uv_run(loop_uv(l), UV_RUN_NOWAIT);
		else
			turn(l, 1);
	}
	return (true);
}
