/* SPDX-License-Identifier: GPL-2.0-or-later */
/* http://assay.internal/, see internal.h.  A path is a row of a table. */
#include <nettle/base64.h>
#include <string.h>
#include <time.h>
#include "proxy/pages/internal.h"
#include "proxy/pages/page.h"
#include "proxy/pages/page_files.h"
#include "proxy/pages/reply.h"
#include "proxy/pages/template.h"
#include "base/text.h"

#define HOST_DEFAULT STR("assay.internal")
#define VALUE_MAX 300

/* One answer in the making. */
struct answer {
	struct arena *arena;
	const struct http_msg *req;
	const struct internal_facts *facts;
	struct str path; /* without query */
	struct http_msg *resp;
	struct buf *body;
	bool scan;
	bool is_page; /* finished already, by page.h */
};

static struct str
own_host(const struct internal_facts *f)
{
	return (f->host.n > 0 ? f->host : HOST_DEFAULT);
}

bool
internal_is_for(const struct http_msg *req, const struct internal_facts *f)
{
	return (str_ieq(req->uri.host, own_host(f)));
}

/* --- values --- */

static struct str
date_of(struct arena *a, int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (seconds == 0 || gmtime_r(&t, &tm) == NULL)
		return (STR_NONE);
	return (arena_printf(a, "%04d-%02d-%02d", tm.tm_year + 1900,
	    tm.tm_mon + 1, tm.tm_mday));
}

/* Text goes out as it is: values were cleaned of controls. */
static void
add_plain(struct buf *b, struct str s)
{
	buf_str(b, s);
}

/* Inside a string of ECMAScript: only what hosts and ports are made of. */
static void
add_script(struct buf *b, struct str s)
{
	size_t i;
	char c;

	for (i = 0; i < s.n; i++) {
		c = s.p[i];
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		    (c >= '0' && c <= '9') || strchr(".:-_[]", c) != NULL)
			buf_add(b, &c, 1);
	}
}

static bool
is_link(struct str help)
{
	return (str_starts(help, STR("https://")) ||
	    str_starts(help, STR("http://")) ||
	    str_starts(help, STR("mailto:")));
}

/* Fill a template with what there is to know. */
static void
fill(struct answer *w, const char *text, template_escape_fn *escape)
{
	const struct internal_facts *f = w->facts;
	struct arena *a = w->arena;
	struct str help = text_clean(a, f->help, VALUE_MAX);
	const struct template_value v[] = {
		{ "host", text_clean(a, own_host(f), VALUE_MAX) },
		{ "org", text_clean(a, f->org, VALUE_MAX) },
		{ "help", help },
		{ "link", is_link(help) ? help : STR_NONE },
		{ "nolink", is_link(help) ? STR_NONE : help },
		{ "name", text_clean(a, f->ca_name, VALUE_MAX) },
		{ "until", date_of(a, f->ca_not_after) },
		{ "sha256", text_clean(a, f->ca_sha256, VALUE_MAX) },
		{ "sha1", text_clean(a, f->ca_sha1, VALUE_MAX) },
		{ "proxy", text_clean(a, f->proxy, VALUE_MAX) },
		{ "version", text_clean(a, f->version, VALUE_MAX) },
	};
	const struct template_values t = { v, sizeof(v) / sizeof(v[0]), escape,
		{ "style", str_of(page_file_style_css) } };

	template_add(w->body, text, &t);
}

/* --- answers --- */

static void
answer_fault(struct answer *w, enum err code)
{
	const struct fault fault = { .code = code };
	const struct page_facts f = {
		.fault = &fault,
		.req = w->req,
		.host = w->facts->host,
		.reference = w->facts->reference,
		.org = w->facts->org,
		.help = w->facts->help,
		.allow = STR("GET, HEAD"),
	};

	page_make(w->arena, &f, &w->resp, w->body);
	w->is_page = true;
}

static void
answer_home(struct answer *w)
{
	if (page_form_of(w->req) == PAGE_HTML) {
		w->resp = reply_new(w->arena, 200,
		    STR("text/html; charset=utf-8"));
		fill(w, page_file_home_html, text_add_html);
	} else {
		w->resp = reply_new(w->arena, 200,
		    STR("text/plain; charset=utf-8"));
		fill(w, page_file_home_txt, add_plain);
	}
}

static void
answer_pem(struct answer *w)
{
	w->resp = reply_new(w->arena, 200, STR("application/x-pem-file"));
	buf_str(w->body, w->facts->ca_pem);
}

/* The first certificate of a PEM text as DER (RFC 7468 2). */
static void
add_der(struct buf *b, const char *pem)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	struct base64_decode_ctx ctx;
	size_t n;

	pem = strstr(pem, begin);
	if (pem == NULL)
		return;
	pem += sizeof(begin) - 1;
	n = strcspn(pem, "-");
	base64_decode_init(&ctx);
	if (base64_decode_update(&ctx, &n,
		(uint8_t *)buf_room(b, BASE64_DECODE_LENGTH(n)), n, pem) == 1)
		b->n += n;
}

static void
answer_crt(struct answer *w)
{
	w->resp = reply_new(w->arena, 200, STR("application/x-x509-ca-cert"));
	add_der(w->body, arena_str(w->arena, w->facts->ca_pem).p);
}

static void
answer_pac(struct answer *w)
{
	if (w->facts->proxy.n == 0) {
		answer_fault(w, ERR_LOOKUP_ABSENT);
		return;
	}
	w->resp = reply_new(w->arena, 200,
	    STR("application/x-ns-proxy-autoconfig"));
	fill(w, page_file_proxy_pac, add_script);
}

/*
 * The EICAR test file (eicar.org), every character moved on by one, so that
 * neither this file nor the program is taken for a virus.
 */
static void
answer_eicar(struct answer *w)
{
	static const char moved[] = "Y6P\"Q&ABQ\\5]Q[Y65)Q_*8DD*8~%FJDBS.TUBO"
				    "EBSE.BOUJWJSVT.UFTU.GJMF\"%I,I+";
	size_t i;
	char c;

	w->resp = reply_new(w->arena, 200, STR("application/octet-stream"));
	http_fields_add(w->arena, &w->resp->fields, FIELD_CONTENT_DISPOSITION,
	    STR("attachment; filename=\"eicar.com\""));
	for (i = 0; i < sizeof(moved) - 1; i++) {
		c = (char)(moved[i] - 1);
		buf_add(w->body, &c, 1);
	}
	w->scan = true;
}

static void
answer_clean(struct answer *w)
{
	w->resp = reply_new(w->arena, 200, STR("text/plain; charset=utf-8"));
	buf_cstr(w->body, "This harmless file came through assay.\n");
	w->scan = true;
}

static void
answer_problem(struct answer *w)
{
	const struct str slug = { w->path.p + 9, w->path.n - 9 };
	const struct page_facts f = { .req = w->req,
		.org = w->facts->org,
		.help = w->facts->help };

	w->is_page = page_explain(w->arena, slug, &f, &w->resp, w->body);
	if (!w->is_page)
		answer_fault(w, ERR_LOOKUP_ABSENT);
}

static const struct {
	const char *path;
	bool is_prefix;
	void (*answer)(struct answer *);
} places[] = {
	{ "/", false, answer_home },
	{ "/ca.pem", false, answer_pem },
	{ "/ca.crt", false, answer_crt },
	{ "/proxy.pac", false, answer_pac },
	{ "/test/eicar", false, answer_eicar },
	{ "/test/clean", false, answer_clean },
	{ "/problem/", true, answer_problem },
};

static void
route(struct answer *w)
{
	struct str path;
	size_t i;

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		path = str_of(places[i].path);
		if (places[i].is_prefix ? str_starts(w->path, path)
					: str_eq(w->path, path)) {
			places[i].answer(w);
			return;
		}
	}
	answer_fault(w, ERR_LOOKUP_ABSENT);
}

bool
internal_answer(struct arena *a, const struct http_msg *req,
    const struct internal_facts *f, struct http_msg **resp, struct buf *body,
    bool *scan)
{
	struct answer w = { .arena = a,
		.req = req,
		.facts = f,
		.path = req->uri.path,
		.body = body };

	if (!f->direct && !internal_is_for(req, f))
		return (false);
	w.path.n = str_index(w.path, '?');
	if (req->method_id == METHOD_GET || req->method_id == METHOD_HEAD)
		route(&w);
	else
		answer_fault(&w, ERR_REQ_METHOD);
	if (!w.is_page)
		reply_finish(a, w.resp, req, body);
	*scan = w.scan && req->method_id == METHOD_GET;
	*resp = w.resp;
	return (true);
}
