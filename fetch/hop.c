/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exchanges by libcurl, see hop_priv.h. */
#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "config.h"
#include "base/list.h"
#include "base/str.h"
#include "fetch/hop_priv.h"

#define CONNECT_MS 10000
#define HEAD_MOST 65536 /* octets: libcurl itself takes any number of fields */
#define SLOW_BYTES 64L  /* a second, for ... */
#define SLOW_S 30L      /* ... so long is silence */

struct hops {
	struct loop *loop;
	const struct rules *rules; /* borrowed */
	const char *roots;         /* borrowed; NULL: libcurl's */
	CURLM *multi;
	struct timer timer;
};

/* A socket that libcurl waits for. */
struct spot {
	struct hops *hops;
	struct watch *watch;
	curl_socket_t fd;
};

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return (p);
}

/* URLs: as libcurl reads them, for it is who uses them. */

static bool
take_part(CURLU *u, CURLUPart part, unsigned flags, char *to, size_t room)
{
	char *text = NULL;
	bool ok = curl_url_get(u, part, &text, flags) == CURLUE_OK &&
	    strlen(text) < room;

	if (ok)
		strcpy(to, text);
	curl_free(text);
	return (ok);
}

static void
lower(char *p)
{
	for (; *p != '\0'; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + ('a' - 'A'));
}

static bool
read_parts(CURLU *u, struct hop_url *out)
{
	char scheme[8], port[8];
	uint64_t n;

	if (!take_part(u, CURLUPART_SCHEME, 0, scheme, sizeof(scheme)) ||
	    !take_part(u, CURLUPART_HOST, 0, out->host, sizeof(out->host)) ||
	    !take_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, port,
		sizeof(port)) ||
	    !str_to_u64(str_of(port), UINT16_MAX, &n) || n == 0)
		return (false);
	lower(out->host);
	out->port = (uint16_t)n;
	out->tls = strcmp(scheme, "https") == 0;
	return ((out->tls || strcmp(scheme, "http") == 0) &&
	    out->host[0] != '\0' &&
	    curl_url_set(u, CURLUPART_HOST, out->host, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
	    take_part(u, CURLUPART_URL, 0, out->text, sizeof(out->text)) &&
	    wire_word_ok(out->text, sizeof(out->text)));
}

bool
hop_url_read(const char *text, const struct hop_url *base, struct hop_url *out)
{
	CURLU *u = must(curl_url());
	bool ok;

	ok = wire_word_ok(text, FETCH_URL_MAX) &&
	    (base == NULL ||
		curl_url_set(u, CURLUPART_URL, base->text, 0) == CURLUE_OK) &&
	    curl_url_set(u, CURLUPART_URL, text, CURLU_DISALLOW_USER) ==
		CURLUE_OK &&
	    read_parts(u, out);
	curl_url_cleanup(u);
	return (ok);
}

/* What comes. */

static bool
write_all(struct hop *h, const char *p, size_t n)
{
	ssize_t r;

	for (; n > 0; p += r, n -= (size_t)r) {
		if ((r = write(h->fd, p, n)) <= 0)
			return (false);
		h->size += (uint64_t)r;
		*h->held += (uint64_t)r;
	}
	return (true);
}

static size_t
on_body(char *p, size_t one, size_t n, void *arg)
{
	struct hop *h = arg;
	long status = 0;

	assert(one == 1 && !h->over);
	(void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
	h->unwanted = status != 200;
	h->large = n > h->ask->max_bytes - h->size;
	h->full = n > FETCHER_BYTES - *h->held;
	if (h->unwanted || h->large || h->full)
		return (0);
	h->full = !write_all(h, p, n);
	return (h->full ? 0 : n);
}

static void
read_cache_control(struct hop *h, struct str value)
{
	struct str one;
	uint64_t s;

	while (str_next_element(&value, &one)) {
		if (str_istarts(one, STR("max-age=")) &&
		    str_to_u64((struct str){ one.p + 8, one.n - 8 },
			WIRE_FRESH_MOST, &s))
			h->max_age = (int64_t)s;
		else if (str_ieq(one, STR("no-store")) ||
		    str_istarts(one, STR("no-cache")))
			h->max_age = 0;
	}
}

static int64_t
date_of(struct str value)
{
	char text[64];
	time_t t;

	if (value.n >= sizeof(text))
		return (-1);
	memcpy(text, value.p, value.n);
	text[value.n] = '\0';
	t = curl_getdate(text, NULL);
	return (t >= 0 ? (int64_t)t : -1);
}

static void
read_field(struct hop *h, struct str name, struct str value)
{
	uint64_t s;

	if (str_ieq(name, STR("cache-control")))
		read_cache_control(h, value);
	else if (str_ieq(name, STR("age")) &&
	    str_to_u64(value, WIRE_FRESH_MOST, &s))
		h->age = (int64_t)s;
	else if (str_ieq(name, STR("expires")))
		h->expires = date_of(value);
	else if (str_ieq(name, STR("date")))
		h->date = date_of(value);
	else if (str_ieq(name, STR("etag")) && value.n < sizeof(h->etag)) {
		memcpy(h->etag, value.p, value.n);
		h->etag[value.n] = '\0';
		if (!wire_word_ok(h->etag, sizeof(h->etag)))
			h->etag[0] = '\0';
	} else if (str_ieq(name, STR("location")) &&
	    value.n < sizeof(h->location)) {
		memcpy(h->location, value.p, value.n);
		h->location[value.n] = '\0';
	}
}

static void
head_begin(struct hop *h)
{
	h->age = 0;
	h->max_age = h->expires = h->date = -1;
	h->etag[0] = h->location[0] = '\0';
}

static size_t
on_field(char *p, size_t one, size_t n, void *arg)
{
	struct hop *h = arg;
	struct str line = { p, n }, name;
	size_t colon;

	assert(one == 1 && !h->over);
	if ((h->head += n) > HEAD_MOST)
		return (0);
	while (line.n > 0 &&
	    (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
		line.n--;
	if (str_starts(line, STR("HTTP/"))) /* after a 100, the next */
		head_begin(h);
	else if ((colon = str_index(line, ':')) < line.n) {
		name = (struct str){ line.p, colon };
		read_field(h, name,
		    str_trim((
			struct str){ line.p + colon + 1, line.n - colon - 1 }));
	}
	return (n);
}

/* Where it goes. */

static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct hop *h = arg;

	if (purpose != CURLSOCKTYPE_IPCXN ||
	    rules_judge(h->hops->rules, &to->addr, &h->denied) != ERR_NONE)
		return (CURL_SOCKET_BAD);
	return (socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol));
}

/* How it ended. */

static const struct {
	CURLcode code;
	enum fetch_outcome outcome;
} ends[] = {
	{ CURLE_COULDNT_CONNECT, FETCH_CONNECT },
	{ CURLE_COULDNT_RESOLVE_HOST, FETCH_NAME },
	{ CURLE_OPERATION_TIMEDOUT, FETCH_LATE },
	{ CURLE_FILESIZE_EXCEEDED, FETCH_LARGE },
	{ CURLE_SSL_CONNECT_ERROR, FETCH_TLS },
	{ CURLE_PEER_FAILED_VERIFICATION, FETCH_TLS },
	{ CURLE_SSL_CACERT_BADFILE, FETCH_TLS },
	{ CURLE_SSL_ISSUER_ERROR, FETCH_TLS },
	{ CURLE_SSL_CIPHER, FETCH_TLS },
};

static enum fetch_outcome
end_of(CURLcode code)
{
	unsigned i;

	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (ends[i].code == code)
			return (ends[i].outcome);
	return (FETCH_CUT);
}

/* RFC 9111 4.2.1, less the time it was kept on the way (4.2.3). */
static int64_t
fresh_of(const struct hop *h)
{
	int64_t s = h->max_age;

	if (s < 0 && h->expires >= 0 && h->date >= 0)
		s = h->expires - h->date;
	if (h->max_age < 0 && (h->expires < 0 || h->date < 0))
		return (-1);
	s -= h->age;
	return (s < 0 ? 0 : s > WIRE_FRESH_MOST ? WIRE_FRESH_MOST : s);
}

static bool
is_redirect(unsigned status)
{
	return (status == 301 || status == 302 || status == 303 ||
	    status == 307 || status == 308);
}

/* A whole head came. */
static enum fetch_outcome
outcome_of_status(struct hop *h)
{
	long unmet = 0;

	(void)curl_easy_getinfo(h->easy, CURLINFO_CONDITION_UNMET, &unmet);
	if (h->status == 304 || unmet != 0)
		return (FETCH_SAME);
	if (h->status == 200)
		return (FETCH_DONE);
	return (is_redirect(h->status) && h->location[0] != '\0'
		? FETCH_REDIRECT
		: FETCH_STATUS);
}

static void
read_result(struct hop *h, CURLcode code)
{
	curl_off_t modified = -1;
	long status = 0;

	(void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(h->easy, CURLINFO_FILETIME_T, &modified);
	h->status = status > 0 && status <= 999 ? (unsigned)status : 0;
	h->modified = modified > 0 ? (int64_t)modified : 0;
	h->fresh_s = fresh_of(h);
	if (h->denied.code != ERR_NONE)
		h->outcome = FETCH_DENIED;
	else if (h->large)
		h->outcome = FETCH_LARGE;
	else if (h->full)
		h->outcome = FETCH_BUSY;
	else if (code == CURLE_OK || h->unwanted)
		h->outcome = outcome_of_status(h);
	else
		h->outcome = end_of(code);
	if (h->denied.code != ERR_NONE)
		wire_text(h->why, sizeof(h->why), h->denied.detail);
	else if (h->outcome == FETCH_STATUS)
		(void)snprintf(h->why, sizeof(h->why), "status %u", h->status);
	else if (code != CURLE_OK && !h->unwanted)
		wire_text(h->why, sizeof(h->why), curl_easy_strerror(code));
}

static void
hop_fini(struct hop *h)
{
	(void)curl_multi_remove_handle(h->hops->multi, h->easy);
	curl_easy_cleanup(h->easy);
	curl_slist_free_all(h->fields);
	curl_slist_free_all(h->connect_to);
	h->easy = h->fields = h->connect_to = NULL;
}

/* Never from inside a callback of libcurl. */
static void
collect(struct hops *s)
{
	struct hop *h;
	CURLMsg *m;
	CURLcode code;
	int left;

	while ((m = curl_multi_info_read(s->multi, &left)) != NULL) {
		assert(m->msg == CURLMSG_DONE);
		code = m->data.result;
		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE,
		    (char **)&h);
		read_result(h, code);
		hop_fini(h);
		h->over = true;
		task_wake(h->wake);
	}
}

/* libcurl on our loop. */

static void
on_spot(void *arg, unsigned events)
{
	struct spot *p = arg;
	struct hops *s = p->hops; /* p may go meanwhile */
	int what = 0, running;

	if ((events & WATCH_READ) != 0)
		what |= CURL_CSELECT_IN;
	if ((events & WATCH_WRITE) != 0)
		what |= CURL_CSELECT_OUT;
	(void)curl_multi_socket_action(s->multi, p->fd, what, &running);
	collect(s);
}

static void
on_timer(struct timer *t)
{
	struct hops *s = CONTAINER_OF(t, struct hops, timer);
	int running;

	(void)curl_multi_socket_action(s->multi, CURL_SOCKET_TIMEOUT, 0,
	    &running);
	collect(s);
}

static int
on_wait_for(CURL *easy, curl_socket_t fd, int what, void *arg, void *socketp)
{
	struct hops *s = arg;
	struct spot *p = socketp;

	(void)easy;
	if (what == CURL_POLL_REMOVE) { /* it is closed behind this */
		if (p != NULL)
			watch_free(&p->watch);
		free(p);
		return (0);
	}
	if (p == NULL) {
		p = must(calloc(1, sizeof(*p)));
		p->hops = s;
		p->fd = fd;
		p->watch = watch_new(s->loop, fd, on_spot, p);
		(void)curl_multi_assign(s->multi, fd, p);
	}
	watch_set(p->watch,
	    ((what & CURL_POLL_IN) != 0 ? WATCH_READ : 0u) |
		((what & CURL_POLL_OUT) != 0 ? WATCH_WRITE : 0u));
	return (0);
}

static int
on_wait_until(CURLM *multi, long ms, void *arg)
{
	struct hops *s = arg;

	(void)multi;
	if (ms < 0)
		timer_stop(&s->timer);
	else
		timer_set(&s->timer, ms > 0 ? (uint64_t)ms : 1);
	return (0);
}

struct hops *
hops_new(struct loop *loop, const struct rules *rules, const char *roots)
{
	struct hops *s = must(calloc(1, sizeof(*s)));

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		abort();
	s->loop = loop;
	s->rules = rules;
	s->roots = roots;
	s->multi = must(curl_multi_init());
	timer_init(&s->timer, loop, on_timer);
	curl_multi_setopt(s->multi, CURLMOPT_SOCKETFUNCTION, on_wait_for);
	curl_multi_setopt(s->multi, CURLMOPT_SOCKETDATA, s);
	curl_multi_setopt(s->multi, CURLMOPT_TIMERFUNCTION, on_wait_until);
	curl_multi_setopt(s->multi, CURLMOPT_TIMERDATA, s);
	return (s);
}

void
hops_free(struct hops **sp)
{
	struct hops *s = *sp;

	*sp = NULL;
	if (s == NULL)
		return;
	timer_stop(&s->timer);
	curl_multi_cleanup(s->multi);
	curl_global_cleanup();
	free(s);
}

const char *
hops_system_roots(void)
{
	const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);

	return (v->age >= CURLVERSION_SEVENTH ? v->cainfo : NULL);
}

/* A hop begins. */

static void
add_field(struct hop *h, const char *line)
{
	h->fields = must(curl_slist_append(h->fields, line));
}

static void
set_question(struct hop *h)
{
	const struct wire_ask *a = h->ask;
	char line[FETCH_ETAG_MAX + 32];

	if (a->body_n > 0) {
		curl_easy_setopt(h->easy, CURLOPT_POSTFIELDSIZE,
		    (long)a->body_n);
		curl_easy_setopt(h->easy, CURLOPT_POSTFIELDS, a->body);
		add_field(h, "Content-Type: application/ocsp-request");
	}
	if (a->kind == FETCH_OCSP)
		add_field(h, "Accept: application/ocsp-response");
	if (a->etag[0] != '\0') {
		(void)snprintf(line, sizeof(line), "If-None-Match: %s",
		    a->etag);
		add_field(h, line);
	}
	if (a->since > 0) {
		curl_easy_setopt(h->easy, CURLOPT_TIMECONDITION,
		    (long)CURL_TIMECOND_IFMODSINCE);
		curl_easy_setopt(h->easy, CURLOPT_TIMEVALUE_LARGE,
		    (curl_off_t)a->since);
	}
	curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, h->fields);
}

/* No name is looked up: whatever the URL's host, it is at this address. */
static void
set_address(struct hop *h)
{
	char at[ADDRESS_TEXT], line[ADDRESS_TEXT + 8];

	address_ip_text(&h->address.sa, at);
	(void)snprintf(line, sizeof(line),
	    h->address.sa.sa_family == AF_INET6 ? "::[%s]:%u" : "::%s:%u", at,
	    address_port(&h->address.sa));
	h->connect_to = must(curl_slist_append(NULL, line));
	curl_easy_setopt(h->easy, CURLOPT_CONNECT_TO, h->connect_to);
	curl_easy_setopt(h->easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(h->easy, CURLOPT_OPENSOCKETDATA, h);
	curl_easy_setopt(h->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(h->easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(h->easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(h->easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(h->easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
	curl_easy_setopt(h->easy, CURLOPT_SSLVERSION,
	    (long)CURL_SSLVERSION_TLSv1_2);
	if (h->hops->roots != NULL)
		curl_easy_setopt(h->easy, CURLOPT_CAINFO, h->hops->roots);
	if (h->hops->roots != NULL || hops_system_roots() != NULL)
		curl_easy_setopt(h->easy, CURLOPT_CAPATH, NULL); /* not too */
}

static void
set_bounds(struct hop *h)
{
	curl_easy_setopt(h->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(h->easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(h->easy, CURLOPT_HTTP_VERSION,
	    (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(h->easy, CURLOPT_TIMEOUT_MS, (long)h->timeout_ms);
	curl_easy_setopt(h->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	curl_easy_setopt(h->easy, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES);
	curl_easy_setopt(h->easy, CURLOPT_LOW_SPEED_TIME, SLOW_S);
	curl_easy_setopt(h->easy, CURLOPT_MAXFILESIZE_LARGE,
	    (curl_off_t)h->ask->max_bytes);
	curl_easy_setopt(h->easy, CURLOPT_FILETIME, 1L);
	curl_easy_setopt(h->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h->easy, CURLOPT_USERAGENT, "assay/" PACKAGE_VERSION);
	curl_easy_setopt(h->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(h->easy, CURLOPT_WRITEDATA, h);
	curl_easy_setopt(h->easy, CURLOPT_HEADERFUNCTION, on_field);
	curl_easy_setopt(h->easy, CURLOPT_HEADERDATA, h);
}

void
hop_start(struct hops *s, struct hop *h)
{
	*h = (struct hop){ .wake = h->wake,
		.url = h->url,
		.address = h->address,
		.ask = h->ask,
		.timeout_ms = h->timeout_ms,
		.fd = h->fd,
		.held = h->held,
		.hops = s };
	head_begin(h);
	h->easy = must(curl_easy_init());
	curl_easy_setopt(h->easy, CURLOPT_PRIVATE, h);
	curl_easy_setopt(h->easy, CURLOPT_URL, h->url->text);
	set_address(h);
	set_bounds(h);
	set_question(h);
	if (curl_multi_add_handle(s->multi, h->easy) != CURLM_OK)
		abort();
}

void
hop_cancel(struct hop *h)
{
	if (h->easy != NULL)
		hop_fini(h);
}
