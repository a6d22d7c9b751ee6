/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers of scanning services, see kept_page.h. */
#include <string.h>
#include "base/list.h"
#include "proxy/kept_page.h"
#include "base/text.h"

/* The page, then the reference: the source of a body of its own. */
struct tail {
	struct source source;
	struct reader reader; /* of the page */
	struct task wake;
	struct str left; /* of the text behind it */
	bool behind;     /* the page has ended */
	char last[32];   /* its last octets */
	size_t n_last;
};

/* Remember the end of the n octets that were appended to q. */
static void
note_last(struct tail *t, const struct chq *q, size_t n)
{
	size_t room = sizeof(t->last), keep;

	if (n > room)
		n = room;
	keep = t->n_last < room - n ? t->n_last : room - n;
	memmove(t->last, t->last + t->n_last - keep, keep);
	chq_read(q, chq_len(q) - n, t->last + keep, n);
	t->n_last = keep + n;
}

/* Behind a whole document a browser shows what follows; inside a script no. */
static bool
ends_well(const struct tail *t)
{
	struct str last = { t->last, t->n_last };

	while (last.n > 0 && (unsigned char)last.p[last.n - 1] <= ' ')
		last.n--;
	return (str_iends(last, STR("</html>")));
}

static enum pull
tail_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct tail *t = CONTAINER_OF(s, struct tail, source);
	size_t n = chq_len(out);
	enum pull p;

	if (!t->behind) {
		p = reader_pull(&t->reader, out, want);
		note_last(t, out, chq_len(out) - n);
		if (p == PULL_CUT || p == PULL_FAIL)
			fault_copy(f, body_fault(t->reader.body));
		if (p != PULL_END)
			return (p);
		t->behind = true;
		if (!ends_well(t))
			t->left = STR_NONE;
	}
	if (t->left.n == 0)
		return (PULL_END);
	n = t->left.n < want ? t->left.n : want;
	chq_copy(out, t->left.p, n);
	t->left.p += n;
	t->left.n -= n;
	return (PULL_MORE);
}

static void
tail_drop(struct source *s, enum pull last)
{
	struct tail *t = CONTAINER_OF(s, struct tail, source);

	(void)last;
	reader_close(&t->reader);
	task_fini(&t->wake);
}

static void
tail_woken(struct task *w)
{
	source_wake(&CONTAINER_OF(w, struct tail, wake)->source);
}

static const struct source_type tail_type = { "page and reference", tail_pull,
	tail_drop };

/* Charsets in which ASCII stands for itself. */
static bool
charset_fits(struct str type)
{
	static const struct str fits[] = { { "utf-8", 5 }, { "us-ascii", 8 },
		{ "iso-8859-", 9 }, { "windows-125", 11 } };
	size_t i, k;

	for (i = 0; i < type.n; i++)
		if (str_istarts((struct str){ type.p + i, type.n - i },
			STR("charset=")))
			break;
	if (i == type.n)
		return (true);
	type.p += i + 8;
	type.n -= i + 8;
	if (type.n > 0 && type.p[0] == '"') {
		type.p++;
		type.n--;
	}
	for (k = 0; k < sizeof(fits) / sizeof(fits[0]); k++)
		if (str_istarts(type, fits[k]))
			return (true);
	return (false);
}

/* Nothing says that the page is these octets and no others. */
static bool
may_be_longer(const struct http_msg *head)
{
	static const enum http_field_id bound[] = { FIELD_CONTENT_ENCODING,
		FIELD_CONTENT_RANGE, FIELD_CONTENT_DIGEST, FIELD_DIGEST };
	unsigned i;

	for (i = 0; i < sizeof(bound) / sizeof(bound[0]); i++)
		if (http_fields_get(&head->fields, bound[i]) != NULL)
			return (false);
	return (http_fields_find(&head->fields, STR("Repr-Digest")) == NULL &&
	    http_fields_find(&head->fields, STR("Content-MD5")) == NULL);
}

/* A page for people; programs that read plain text read heads as well. */
static bool
takes_text(const struct http_msg *head, const struct body *body)
{
	struct str type = http_fields_value(&head->fields, FIELD_CONTENT_TYPE),
		   main = type;

	main.n = str_index(type, ';');
	return (body != NULL && str_ieq(str_trim(main), STR("text/html")) &&
	    charset_fits(type) && may_be_longer(head));
}

/* Takes the reference to body and gives one back. */
static struct body *
add_reference(struct flow *f, struct body *body)
{
	struct tail *t = arena_zalloc(f->arena, sizeof(*t));
	struct body *whole;

	t->left = arena_printf(f->arena, "\n<p>assay: reference %s</p>\n",
	    f->reference);
	source_init(&t->source, &tail_type);
	task_init(&t->wake, f->worker->loop, tail_woken);
	reader_open(&t->reader, body, 0, &t->wake);
	whole = body_new(f->worker->loop, &f->gen->gen->store, &t->source,
	    BODY_UNKNOWN);
	body_charge_to(whole, f->client->account);
	body_unref(&body);
	return (whole);
}

/* RFC 9209 2; details name the reference. */
static void
add_proxy_status(struct flow *f, struct http_msg *head)
{
	const struct err_info *e = err_info(f->fault.code);
	struct buf b = { 0 };

	buf_printf(&b, "assay; error=%s; details=", e->token);
	text_add_sf_string(&b,
	    arena_printf(f->arena,
		"%s: %.100s; "
		"reference %s",
		e->text, f->fault.detail, f->reference));
	http_fields_add(f->arena, &head->fields, FIELD_PROXY_STATUS,
	    arena_str(f->arena, buf_as_str(&b)));
	buf_fini(&b);
}

static void
forbid_storing(struct flow *f, struct http_msg *head)
{
	http_fields_remove(&head->fields, FIELD_CACHE_CONTROL);
	http_fields_remove(&head->fields, FIELD_EXPIRES);
	http_fields_add(f->arena, &head->fields, FIELD_CACHE_CONTROL,
	    STR("no-store"));
}

struct body *
kept_page(struct flow *f, struct http_msg *head, struct str by,
    struct body *body)
{
	f->blocked = true;
	fault_set(&f->fault, ERR_SERVICE_BLOCK, "%.*s", STR_ARG(by));
	add_proxy_status(f, head);
	forbid_storing(f, head);
	return (takes_text(head, body) ? add_reference(f, body) : body);
}
