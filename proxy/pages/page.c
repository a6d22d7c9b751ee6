/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages, see page.h.  First the facts are cleaned (valid UTF-8, no controls,
 * short), whatever the form; then one writer a form escapes them for its own
 * syntax: template.h for HTML, jansson for JSON, nothing for text.
 */
#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "http/grpc.h"
#include "proxy/pages/page.h"
#include "proxy/pages/page_files.h"
#include "proxy/pages/page_text.h"
#include "proxy/pages/reply.h"
#include "proxy/pages/template.h"
#include "base/text.h"

#define URL_MAX 300 /* characters shown */
#define VALUE_MAX 200
#define HELP_MAX 500
#define DETAILS_MAX 250 /* of Proxy-Status */
#define RETRY_AFTER_S 30

/* The facts, fit for showing. */
struct page {
	struct arena *arena;
	const struct page_facts *facts;
	const struct page_language *language;
	enum page_case what_for;
	unsigned status;
	unsigned retry_after_s;
	struct str title, what, advice;
	struct str url, host;
	struct str threat, service, reason, rule, reference, org, help;
	struct str cause; /* err.def's text and the detail; STR_NONE: none */
};

/* --- the form --- */

/* Is a media range (RFC 9110 12.5.1) refused by its weight? */
static bool
is_refused(struct str range)
{
	struct str rest = range, p;
	size_t i;

	while ((i = str_index(rest, ';')) < rest.n) {
		rest = (struct str){ rest.p + i + 1, rest.n - i - 1 };
		p = str_trim((struct str){ rest.p, str_index(rest, ';') });
		if (p.n < 3 || (p.p[0] | 0x20) != 'q' || p.p[1] != '=')
			continue;
		for (i = 2; i < p.n && (p.p[i] == '0' || p.p[i] == '.'); i++)
			;
		return (i == p.n);
	}
	return (false);
}

static struct str
media_type(struct str range)
{
	return (str_trim((struct str){ range.p, str_index(range, ';') }));
}

static bool
is_json(struct str type)
{
	return (str_ieq(type, STR("application/json")) ||
	    str_ieq(type, STR("application/*")) ||
	    str_iends(type, STR("+json")));
}

static bool
is_html(struct str type)
{
	return (str_ieq(type, STR("text/html")) ||
	    str_ieq(type, STR("application/xhtml+xml")));
}

enum page_form
page_form_of(const struct http_msg *req)
{
	const struct http_field *f;
	struct str rest, e, type;
	bool first = true;

	if (req == NULL)
		return (PAGE_TEXT);
	if (http_grpc_is_call(req))
		return (PAGE_GRPC);
	if (str_ieq(http_fields_value(&req->fields, FIELD_SEC_FETCH_MODE),
		STR("navigate")))
		return (PAGE_HTML);
	for (f = http_fields_get(&req->fields, FIELD_ACCEPT); f != NULL;
	     f = http_fields_next(&req->fields, f)) {
		rest = f->value;
		for (; str_next_element(&rest, &e); first = false) {
			type = media_type(e);
			if (is_refused(e))
				continue;
			if (first && is_html(type))
				return (PAGE_HTML);
			if (is_json(type))
				return (PAGE_JSON);
		}
	}
	return (PAGE_TEXT);
}

/* --- the facts --- */

/* What the request is for, as people write it; userinfo and query are cut later. */
static struct str
url_of(struct arena *a, const struct http_msg *req)
{
	const struct http_uri *u;
	bool plain;

	if (req == NULL)
		return (STR_NONE);
	u = &req->uri;
	if (u->host.n == 0)
		return (req->target.n > 0 ? req->target : STR_NONE);
	plain = (u->port == 80 && str_eq(u->scheme, STR("http"))) ||
	    (u->port == 443 && str_eq(u->scheme, STR("https"))) || u->port == 0;
	return (arena_printf(a, "%.*s%s%s%.*s%s%s%.*s", (int)u->scheme.n,
	    u->scheme.n > 0 ? u->scheme.p : "", u->scheme.n > 0 ? "://" : "",
	    u->host_is_v6 ? "[" : "", STR_ARG(u->host),
	    u->host_is_v6 ? "]" : "",
	    plain ? "" : arena_printf(a, ":%u", (unsigned)u->port).p,
	    (int)u->path.n, u->path.n > 0 ? u->path.p : ""));
}

/* The host of a shown URL; STR_NONE: it has none. */
static struct str
host_of(struct str url)
{
	struct text_url u;
	size_t i;

	if (url.n == 0 || url.p[0] == '/' || url.p[0] == '*')
		return (STR_NONE);
	text_split_url(url, &u);
	u.rest.n = str_index(u.rest, '/');
	if (u.rest.n > 0 && u.rest.p[0] == '[') {
		i = str_index(u.rest, ']');
		return ((struct str){ u.rest.p, i < u.rest.n ? i + 1 : i });
	}
	u.rest.n = str_index(u.rest, ':');
	return (u.rest.n > 0 ? u.rest : STR_NONE);
}

static struct str
sentence(const struct page *p, const char *text)
{
	struct buf b = { 0 };
	struct str s;

	page_text_add(&b, p->language, text, p->host, p->retry_after_s);
	s = arena_str(p->arena, buf_as_str(&b));
	buf_fini(&b);
	return (s);
}

static void
take_texts(struct page *p, enum page_case c)
{
	const struct page_text *t = &p->language->text[c];

	p->what_for = c;
	p->title = str_of(t->title);
	p->what = sentence(p, t->what);
	p->advice = sentence(p, t->advice);
}

/*
 * RFC 3986 2: what no URL has as it is.  A target that is refused may have
 * it, and forms without an escape of their own show it too.
 */
static struct str
encoded(struct arena *a, struct str url)
{
	static const char hex[] = "0123456789ABCDEF";
	char *out = arena_alloc(a, url.n * 3 + 1);
	size_t i, n = 0;
	unsigned char c;

	for (i = 0; i < url.n; i++) {
		c = (unsigned char)url.p[i];
		if (strchr("<>\"\\^`{|} ", c) == NULL || c == '\0') {
			out[n++] = (char)c;
			continue;
		}
		out[n++] = '%';
		out[n++] = hex[c >> 4];
		out[n++] = hex[c & 15];
	}
	return (url.n > 0 ? (struct str){ out, n } : url);
}

static void
take_facts(struct page *p, struct arena *a, const struct page_facts *f)
{
	struct str url = f->url.n > 0 ? f->url : url_of(a, f->req);

	*p = (struct page){ .arena = a, .facts = f, .language = &page_english };
	p->retry_after_s = f->retry_after_s > 0 ? f->retry_after_s
						: RETRY_AFTER_S;
	p->url = encoded(a, text_clean_url(a, url, URL_MAX));
	p->host = host_of(p->url);
	p->threat = text_clean(a, f->threat, VALUE_MAX);
	p->service = text_clean(a, f->service, VALUE_MAX);
	p->reason = text_clean(a, f->reason, VALUE_MAX);
	p->rule = text_clean(a, f->rule, VALUE_MAX);
	p->reference = text_clean(a, f->reference, VALUE_MAX);
	p->org = text_clean(a, f->org, VALUE_MAX);
	p->help = text_clean(a, f->help, HELP_MAX);
}

static struct str
cause_of(struct arena *a, const struct fault *f)
{
	const char *text = err_info(f->code)->text;
	struct str detail = text_clean(a, str_of(f->detail), VALUE_MAX);

	if (detail.n == 0)
		return (str_of(text));
	return (arena_printf(a, "%s: %.*s", text, STR_ARG(detail)));
}

/* --- HTML --- */

/* An address that a browser may be led to. */
static bool
is_link(struct str help)
{
	return (str_starts(help, STR("https://")) ||
	    str_starts(help, STR("http://")) ||
	    str_starts(help, STR("mailto:")));
}

static struct str
time_now(struct arena *a)
{
	time_t now = time(NULL);
	struct tm tm;

	(void)gmtime_r(&now, &tm);
	return (arena_printf(a, "%04d-%02d-%02d %02d:%02d:%02d UTC",
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
	    tm.tm_sec));
}

static struct str
when(bool condition)
{
	return (condition ? STR("1") : STR_NONE);
}

static void
write_html(const struct page *p, struct buf *b)
{
	static const char *const tones[] = { [PAGE_TONE_STOP] = "stop",
		[PAGE_TONE_CARE] = "care",
		[PAGE_TONE_FAULT] = "fault" };
	enum page_tone tone = page_case_info(p->what_for)->tone;
	bool link = is_link(p->help);
	struct template_value v[21 + PAGE_WORD_COUNT] = {
		{ "title", p->title },
		{ "what", p->what },
		{ "advice", p->advice },
		{ "url", p->url },
		{ "threat", p->threat },
		{ "service", p->service },
		{ "reason", p->reason },
		{ "rule", p->rule },
		{ "reference", p->reference },
		{ "org", p->org },
		{ "help", p->help },
		{ "link", link ? p->help : STR_NONE },
		{ "nolink", when(!link) },
		{ "cause", p->cause },
		{ "status", arena_printf(p->arena, "%u", p->status) },
		{ "time", time_now(p->arena) },
		{ "tone", str_of(tones[tone]) },
		{ "stop", when(tone == PAGE_TONE_STOP) },
		{ "care", when(tone == PAGE_TONE_CARE) },
		{ "fault", when(tone == PAGE_TONE_FAULT) },
		{ "home",
		    p->what_for == PAGE_CASE_ABSENT
			? str_of(p->language->word[PAGE_WORD_FIRST_PAGE].text)
			: STR_NONE },
	};
	struct template_values t = { v, 21, text_add_html,
		{ "style", str_of(page_file_style_css) } };
	unsigned i;

	for (i = 0; i < PAGE_WORD_COUNT; i++)
		v[t.n++] = (struct template_value){ p->language->word[i].name,
			str_of(p->language->word[i].text) };
	template_add(b, page_file_page_html, &t);
}

/* --- problem+json (RFC 9457) --- */

static void
set(json_t *o, const char *key, struct str v)
{
	if (v.n > 0)
		(void)json_object_set_new(o, key, json_stringn(v.p, v.n));
}

/* Inside strings only, and there the same: no reader takes it for markup. */
static int
add_json(const char *p, size_t n, void *arg)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i] == '<' || p[i] == '>' || p[i] == '&')
			buf_printf(arg, "\\u%04x", (unsigned)p[i]);
		else
			buf_add(arg, p + i, 1);
	return (0);
}

static struct str
internal_host(const struct page_facts *f)
{
	return (f->host.n > 0 ? f->host : STR("assay.internal"));
}

/* Members beside those of RFC 9457 3.1 are extensions (3.2). */
static void
write_json(const struct page *p, struct buf *b)
{
	const struct err_info *e = err_info(p->facts->fault->code);
	json_t *o = json_object();

	if (o == NULL)
		abort();
	set(o, "type",
	    arena_printf(p->arena, "http://%.*s/problem/%s",
		STR_ARG(
		    text_clean(p->arena, internal_host(p->facts), VALUE_MAX)),
		page_case_info(p->what_for)->slug));
	set(o, "title", p->title);
	(void)json_object_set_new(o, "status", json_integer(p->status));
	set(o, "detail", p->what);
	set(o, "instance", p->reference);
	set(o, "reference", p->reference);
	set(o, "error", str_of(e->name));
	set(o, "cause", p->cause);
	set(o, "url", p->url);
	set(o, "threat", p->threat);
	set(o, "service", p->service);
	set(o, "reason", p->reason);
	set(o, "rule", p->rule);
	set(o, "organisation", p->org);
	set(o, "help", p->help);
	(void)json_dump_callback(o, add_json, b, JSON_COMPACT);
	buf_add(b, "\n", 1);
	json_decref(o);
}

/* --- text: what, why, reference --- */

/* Text has no escape: brackets that make no markup. */
static void
add_plain(struct buf *b, struct str v)
{
	size_t i;

	for (i = 0; i < v.n; i++)
		if (v.p[i] == '<')
			buf_cstr(b, "\xE2\x80\xB9"); /* U+2039 */
		else if (v.p[i] == '>')
			buf_cstr(b, "\xE2\x80\xBA"); /* U+203A */
		else
			buf_add(b, v.p + i, 1);
}

static void
add_fact(struct buf *b, const char *name, struct str v)
{
	if (v.n == 0)
		return;
	buf_printf(b, "; %s: ", name);
	add_plain(b, v);
}

static void
write_text(const struct page *p, struct buf *b)
{
	buf_printf(b, "assay: %.*s\n", STR_ARG(p->title));
	add_plain(b, p->cause);
	if (!str_iends(p->cause, p->threat)) /* once is enough */
		add_fact(b, "threat", p->threat);
	if (!str_iends(p->cause, p->reason))
		add_fact(b, "reason", p->reason);
	add_fact(b, "service", p->service);
	add_fact(b, "rule", p->rule);
	add_fact(b, "url", p->url);
	buf_printf(b, "\nreference: %.*s\n",
	    STR_ARG(p->reference.n > 0 ? p->reference : STR("-")));
}

/* --- the head --- */

static bool
is_sf_token(struct str s)
{
	size_t i;
	char c;

	for (i = 0; i < s.n; i++) {
		c = s.p[i];
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
			continue;
		/* RFC 8941 3.3.4 */
		if (i == 0 || c == '\0' ||
		    strchr("0123456789!#$%&'*+-.^_`|~:/", c) == NULL)
			return (false);
	}
	return (s.n > 0);
}

/* assay; error=dns_error; details="..." (RFC 9209 2) */
static struct str
proxy_status(const struct page *p)
{
	struct str name = p->facts->pseudonym.n > 0 ? p->facts->pseudonym
						    : STR("assay");
	const char *token = err_info(p->facts->fault->code)->token;
	struct buf b = { 0 };
	struct str s;

	if (is_sf_token(name))
		buf_str(&b, name);
	else
		text_add_sf_string(&b, name);
	if (token[0] != '\0')
		buf_printf(&b, "; error=%s", token);
	if (p->facts->received_status > 0) /* RFC 9209 2.1.4 */
		buf_printf(&b, "; received-status=%u",
		    p->facts->received_status);
	buf_cstr(&b, "; details=");
	text_add_sf_string(&b,
	    (struct str){ p->cause.p,
		p->cause.n < DETAILS_MAX ? p->cause.n : DETAILS_MAX });
	s = arena_str(p->arena, buf_as_str(&b));
	buf_fini(&b);
	return (s);
}

static const struct {
	struct str type;
	void (*write)(const struct page *, struct buf *);
} forms[] = {
	[PAGE_HTML] = { { "text/html; charset=utf-8", 24 }, write_html },
	[PAGE_JSON] = { { "application/problem+json", 24 }, write_json },
	[PAGE_TEXT] = { { "text/plain; charset=utf-8", 25 }, write_text },
};

/* --- gRPC: a code and a line --- */

static void
add_outcome(const struct page *p, struct http_fields *l)
{
	static const struct {
		const char *word;
		size_t at;
	} facts[] = {
		{ "threat", offsetof(struct page, threat) },
		{ "service", offsetof(struct page, service) },
		{ "rule", offsetof(struct page, rule) },
		{ "reference", offsetof(struct page, reference) },
	};
	struct buf b = { 0 };
	struct str v;
	unsigned i;

	buf_printf(&b, "assay: %.*s", STR_ARG(p->cause));
	for (i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
		v = *(const struct str *)((const char *)p + facts[i].at);
		if (v.n > 0)
			buf_printf(&b, "; %s: %.*s", facts[i].word, STR_ARG(v));
	}
	http_fields_add_named(p->arena, l, STR("grpc-status"),
	    arena_printf(p->arena, "%u",
		(unsigned)http_grpc_code_of(p->status)));
	http_fields_add_named(p->arena, l, STR("grpc-message"),
	    http_grpc_text(p->arena, buf_as_str(&b)));
	buf_fini(&b);
}

static struct http_msg *
make_outcome(const struct page *p)
{
	struct http_msg *m = reply_new(p->arena, 200, STR("application/grpc"));

	m->length_is = LENGTH_NONE;
	add_outcome(p, &m->fields);
	return (m);
}

static struct http_msg *
make_head(const struct page *p, enum page_form form)
{
	struct http_msg *m = reply_new(p->arena, p->status, forms[form].type);

	http_fields_add_named(p->arena, &m->fields, STR("Content-Language"),
	    str_of(p->language->word[PAGE_WORD_LANG].text));
	return (m);
}

static void
add_fault_fields(const struct page *p, struct http_msg *m)
{
	struct arena *a = p->arena;

	http_fields_add(a, &m->fields, FIELD_PROXY_STATUS, proxy_status(p));
	if (p->status == 429 || p->status == 503)
		http_fields_add(a, &m->fields, FIELD_RETRY_AFTER,
		    arena_printf(a, "%u", p->retry_after_s));
	if (p->status == 405) /* RFC 9110 15.5.6 */
		http_fields_add(a, &m->fields, FIELD_ALLOW,
		    p->facts->allow.n > 0
			? p->facts->allow
			: STR("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"));
}

/* All of the facts of a fault. */
static void
take(struct page *p, struct arena *a, const struct page_facts *f)
{
	assert(f->fault != NULL && f->fault->code != ERR_NONE);
	take_facts(p, a, f);
	take_texts(p, page_case_of(f->fault->code));
	p->status = f->status > 0 ? f->status
				  : err_info(f->fault->code)->status;
	p->cause = cause_of(a, f->fault);
	if (str_eq(p->reason, p->cause))
		p->reason = STR_NONE;
}

void
page_make(struct arena *a, const struct page_facts *f, struct http_msg **resp,
    struct buf *body)
{
	enum page_form form = page_form_of(f->req);
	struct page p;

	take(&p, a, f);
	*resp = form == PAGE_GRPC ? make_outcome(&p) : make_head(&p, form);
	add_fault_fields(&p, *resp);
	if (form == PAGE_GRPC)
		return;
	forms[form].write(&p, body);
	reply_finish(a, *resp, f->req, body);
}

void
page_grpc_end(struct arena *a, const struct page_facts *f,
    struct http_fields *l)
{
	struct page p;

	take(&p, a, f);
	add_outcome(&p, l);
}

bool
page_explain(struct arena *a, struct str slug, const struct page_facts *f,
    struct http_msg **resp, struct buf *body)
{
	enum page_case c;
	struct page p;

	if (!page_case_find(slug, &c))
		return (false);
	take_facts(&p, a, f);
	p.url = p.host = STR_NONE;
	p.status = 200;
	take_texts(&p, c);
	*resp = make_head(&p, PAGE_HTML);
	write_html(&p, body);
	reply_finish(a, *resp, f->req, body);
	return (true);
}
