/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Underscores in server_name, see oddname.h. */
#include <assert.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include "tls/oddname.h"

#define LOG_HANDSHAKE 4 /* GnuTLS's level for lines about hellos */
#define LINE "Parsing extension 'Server Name Indication/"
#define EXT_SERVER_NAME 0

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned inside; /* threads between enter and leave */

/* The extension's body in the hello that this thread reads; NULL: none. */
static _Thread_local unsigned char *body;
static _Thread_local size_t body_n;

static void
on_line(int level, const char *line)
{
	size_t i;

	(void)level;
	if (body == NULL || strstr(line, LINE) == NULL)
		return;
	for (i = 0; i < body_n; i++)
		if (body[i] == '_')
			body[i] = '-';
	body = NULL;
}

bool
oddname_is(const char *sni)
{
	return (strchr(sni, '_') != NULL);
}

/* gnutls_ext_raw_parse() found it: data is inside the hello. */
static int
on_extension(void *ctx, unsigned id, const unsigned char *data, unsigned n)
{
	(void)ctx;
	if (id == EXT_SERVER_NAME) {
		body = (unsigned char *)(uintptr_t)data;
		body_n = n;
	}
	return (0);
}

static int
on_hello(gnutls_session_t s, unsigned type, unsigned when, unsigned incoming,
    const gnutls_datum_t *msg)
{
	(void)s;
	(void)type;
	(void)when;
	body = NULL;
	if (incoming)
		(void)gnutls_ext_raw_parse(NULL, on_extension, msg,
		    GNUTLS_EXT_RAW_FLAG_TLS_CLIENT_HELLO);
	return (0);
}

void
oddname_expect(gnutls_session_t s)
{
	gnutls_handshake_set_hook_function(s, GNUTLS_HANDSHAKE_CLIENT_HELLO,
	    GNUTLS_HOOK_PRE, on_hello);
}

void
oddname_enter(void)
{
	assert(body == NULL);
	pthread_mutex_lock(&lock);
	if (inside++ == 0) {
		gnutls_global_set_log_function(on_line);
		gnutls_global_set_log_level(LOG_HANDSHAKE);
	}
	pthread_mutex_unlock(&lock);
}

void
oddname_leave(void)
{
	body = NULL;
	pthread_mutex_lock(&lock);
	assert(inside > 0);
	if (--inside == 0)
		gnutls_global_set_log_level(0);
	pthread_mutex_unlock(&lock);
}
