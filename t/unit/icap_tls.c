/* SPDX-License-Identifier: GPL-2.0-or-later */
/* icaps: a TLS relay in front of the scripted server, by pre-shared key. */
#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "t/unit/icap_talk.h"

#define PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-PSK"

static const gnutls_datum_t good_key = { (void *)"0123456789abcdef", 16 };
static const gnutls_datum_t bad_key = { (void *)"xxxxxxxxxxxxxxxx", 16 };
static gnutls_psk_client_credentials_t client_cred;
static gnutls_psk_server_credentials_t server_cred;

static int
server_key(gnutls_session_t s, const char *user, gnutls_datum_t *key)
{
	(void)s;
	(void)user;
	key->data = gnutls_malloc(good_key.size);
	memcpy(key->data, good_key.data, good_key.size);
	key->size = good_key.size;
	return (0);
}

static int
listen_here(uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&a, n) != 0 || listen(fd, 16) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &n) != 0)
		abort();
	*port = ntohs(a.sin_port);
	return (fd);
}

static int
connect_to(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
		abort();
	return (fd);
}

/* Both ways until either side ends. */
static void
relay(gnutls_session_t s, int tls_fd, int fd)
{
	struct pollfd p[2] = { { tls_fd, POLLIN, 0 }, { fd, POLLIN, 0 } };
	char b[16384];
	ssize_t n = 1;

	while (n > 0) {
		if (gnutls_record_check_pending(s) == 0)
			poll(p, 2, -1);
		if (gnutls_record_check_pending(s) > 0 || p[0].revents != 0) {
			n = gnutls_record_recv(s, b, sizeof(b));
			if (n > 0)
				n = send(fd, b, (size_t)n, MSG_NOSIGNAL);
		} else {
			n = recv(fd, b, sizeof(b), 0);
			if (n > 0)
				n = gnutls_record_send(s, b, (size_t)n);
		}
	}
}

struct front {
	int fd;
	uint16_t port, to;
};

/* One connection after the other, until the listener is shut. */
static void *
front_main(void *arg)
{
	struct front *f = arg;
	gnutls_session_t s;
	int tls_fd, fd;

	while ((tls_fd = accept(f->fd, NULL, NULL)) >= 0) {
		gnutls_init(&s, GNUTLS_SERVER | GNUTLS_NO_SIGNAL);
		gnutls_priority_set_direct(s, PRIORITY, NULL);
		gnutls_credentials_set(s, GNUTLS_CRD_PSK, server_cred);
		gnutls_transport_set_int(s, tls_fd);
		if (gnutls_handshake(s) == 0) {
			fd = connect_to(f->to);
			relay(s, tls_fd, fd);
			close(fd);
		}
		gnutls_deinit(s);
		close(tls_fd);
	}
	return (NULL);
}

static gnutls_session_t
new_session(void *arg, const char *host, struct fault *f)
{
	gnutls_session_t s;

	(void)arg;
	(void)f;
	CU_ASSERT_STRING_EQUAL(host, "127.0.0.1");
	gnutls_init(&s, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
	gnutls_priority_set_direct(s, PRIORITY, NULL);
	gnutls_credentials_set(s, GNUTLS_CRD_PSK, client_cred);
	return (s);
}

static gnutls_session_t
no_session(void *arg, const char *host, struct fault *f)
{
	(void)arg;
	(void)host;
	fault_set(f, ERR_SCAN_DOWN, "no trust");
	return (NULL);
}

static const struct {
	const gnutls_datum_t *key;
	gnutls_session_t (*hook)(void *, const char *, struct fault *);
	bool good;
} cases[] = {
	{ &good_key, new_session, true },
	{ &bad_key, new_session, false },
	{ &good_key, no_session, false },
	{ &good_key, NULL, false },
};

static void
run_case(unsigned i, struct front *front)
{
	static const struct try_body body = { .size = 1 << 20 };
	const struct scan_result *r = &t.scan.result;
	struct fault f = { .code = ERR_NONE };
	char url[64];
	const char *urls[1] = { url };

	peer = peer_new(OPTIONS("Allow: 204\r\n"), serve_204_whole);
	front->to = peer_port(peer);
	rig_init(&rig);
	gnutls_psk_allocate_client_credentials(&client_cred);
	gnutls_psk_set_client_credentials(client_cred, "u", cases[i].key,
	    GNUTLS_PSK_KEY_RAW);
	rig.options.tls_new = cases[i].hook;
	snprintf(url, sizeof(url), "icaps://127.0.0.1:%u/x", front->port);
	rig.options.urls = urls;
	rig.options.n_urls = 1;
	rig.scanner = icap_new(rig.loop, &rig.options, &rig.shared, rig.dialer,
	    &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(rig.scanner);
	with_body = &body;
	message();
	try_run(&t);
	CU_ASSERT_EQUAL(r->fault.code,
	    cases[i].good ? ERR_NONE : ERR_SCAN_DOWN);
	CU_ASSERT_EQUAL(r->bytes, cases[i].good ? body.size : 0);
	CU_ASSERT_EQUAL(peer_conns(peer), cases[i].good ? 1 : 0);
	finish();
	gnutls_psk_free_client_credentials(client_cred);
}

static void
test_icaps(void)
{
	struct front front = { .fd = -1 };
	pthread_t thread;
	unsigned i;

	gnutls_psk_allocate_server_credentials(&server_cred);
	gnutls_psk_set_server_credentials_function(server_cred, server_key);
	front.fd = listen_here(&front.port);
	pthread_create(&thread, NULL, front_main, &front);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run_case(i, &front);
	shutdown(front.fd, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(front.fd);
	gnutls_psk_free_server_credentials(server_cred);
}

UNIT_TESTS(icap_tls, { "icaps", test_icaps })
