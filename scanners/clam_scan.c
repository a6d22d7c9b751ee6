/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The clamav scanner on a loop: reads a body to its end, has a view of it
 * looked at, and answers.  The job names its scan by a handle: the flow may be
 * gone when it comes back.
 * Room: scanners.  Thread: its loop's.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "http/msg.h"
#include "http/grpc.h"
#include "http/multipart.h"
#include "scanners/clam_priv.h"
#include "scanners/codings.h"

#define TURN_BYTES (1 << 20) /* read at most before others have their turn */
#define CACHE_S 3600         /* what went wrong unseen ends by itself */
#define GRACE_MS 1500        /* for who looks to notice the deadline first */

struct clam {
	struct scanner scanner;     /* first */
	struct clam_engine *engine; /* counted */
	uint64_t max_body;
	bool max_body_set; /* by the service's own option */
	unsigned jobs;     /* that the engine has */
	bool freed;        /* by clam_free(), while jobs remain */
};

/* A body that is looked at.  Owned by the engine, then by job_done(). */
struct scan_job {
	struct clam_job job; /* owns its view */
	struct clam *clam;   /* stays while jobs > 0 */
	struct handle scan;  /* of struct clam_scan */
};

struct clam_scan {
	struct scan *scan; /* whose priv it is */
	struct clam *clam;
	struct task task;     /* reads */
	struct reader reader; /* makes the bytes come */
	struct reader keeper; /* keeps them for the view */
	struct timer late;
	bool cut_short;       /* there was more than max_body */
	uint64_t state;       /* of the engine when the job began */
	struct scan_job *job; /* borrowed while handle is set */
	struct handle handle;
};

/* Nobody waits for the job any more. */
static void
job_leave(struct clam_scan *s)
{
	if (s->job == NULL)
		return;
	clam_engine_stop(s->clam->engine, &s->job->job);
	handle_free(s->clam->scanner.loop, &s->handle);
	s->job = NULL;
}

static void
scan_stop(struct clam_scan *s)
{
	job_leave(s);
	timer_stop(&s->late);
	task_fini(&s->task);
	reader_close(&s->reader);
	reader_close(&s->keeper);
}

static void
scan_end(struct clam_scan *s, enum verdict v)
{
	struct scan *scan = s->scan;

	scan_stop(s);
	scan->result.verdict = v;
	if (scan->msg->body != NULL)
		scan->result.bytes = s->cut_short
		    ? s->clam->max_body
		    : body_received(scan->msg->body);
	scan_done(scan);
}

static void
end_unscanned(struct clam_scan *s, enum scan_gap gap, struct str reason)
{
	s->scan->result.gap = gap;
	s->scan->result.reason = reason;
	scan_end(s, VERDICT_UNSCANNED);
}

static void
end_fault(struct clam_scan *s, const struct fault *f)
{
	s->scan->result.fault = *f;
	scan_end(s, VERDICT_UNSCANNED);
}

static void
end_busy(struct clam_scan *s, const char *why)
{
	struct fault busy = { .code = ERR_NONE };

	fault_set(&busy, ERR_SCAN_BUSY, "%s: %s", s->clam->scanner.name, why);
	end_fault(s, &busy);
}

static void
on_late(struct timer *t)
{
	struct clam_scan *s = CONTAINER_OF(t, struct clam_scan, late);

	if (atomic_load(&s->job->job.look.begun))
		end_unscanned(s, GAP_TIME, STR("time limit exceeded"));
	else
		end_busy(s, "nobody was free to scan it in time");
}

static void
clam_destroy(struct clam *c)
{
	clam_engine_unref(&c->engine);
	free(c);
}

/* Nothing was found in the first max_body bytes; a reason of its own stays. */
static void
end_cut_short(struct clam_scan *s, enum verdict v)
{
	struct scan_result *r = &s->scan->result;

	r->too_large = true;
	if (v == VERDICT_UNSCANNED && r->gap != GAP_DAMAGED)
		scan_end(s, v);
	else
		end_unscanned(s, GAP_LIMIT,
		    arena_printf(s->scan->msg->arena,
			"larger than max_body: the first %llu bytes were "
			"scanned",
			(unsigned long long)s->clam->max_body));
}

static void
end_down(struct clam_scan *s, const char *why)
{
	struct fault f = { .code = ERR_NONE };

	fault_set(&f, ERR_SCAN_DOWN, "%s: %s", s->clam->scanner.name, why);
	end_fault(s, &f);
}

/* libclamav does not find what it must: what it says counts for nothing. */
static void
end_unfit(struct clam_scan *s)
{
	end_down(s, clam_engine_unfit(s->clam->engine));
}

static unsigned
blocks_of(const struct scanner *scanner)
{
	unsigned g, bits = 0;

	for (g = 0; g < GAP_COUNT; g++)
		if (scanner->on_unscanned[g] == SCAN_POLICY_BLOCK)
			bits |= 1u << g;
	return (bits);
}

/* One load of a database, with these limits. */
static struct str
depends_on(const struct clam *c, uint64_t state, struct arena *a)
{
	return (arena_printf(a, "%llu %llu %x", (unsigned long long)state,
	    (unsigned long long)c->max_body, blocks_of(&c->scanner)));
}

static void
scan_answer(struct clam_scan *s, const struct clam_job *job)
{
	const struct clam_look *look = &job->look;
	struct arena *a = s->scan->msg->arena;
	struct scan_result *r = &s->scan->result;

	r->threat = arena_str(a, str_of(look->threat));
	r->gap = look->gap;
	r->reason = arena_str(a, str_of(look->reason));
	r->note = arena_str(a, str_of(look->note));
	if (job->down != NULL)
		end_down(s, job->down);
	else if (!atomic_load(&look->begun))
		end_busy(s, "nobody was free to scan it in time");
	else if (look->verdict != VERDICT_BLOCKED &&
	    !clam_engine_fit(s->clam->engine))
		end_unfit(s);
	else if (s->cut_short && look->verdict != VERDICT_BLOCKED)
		end_cut_short(s, look->verdict);
	else {
		if (s->state == clam_engine_state(s->clam->engine))
			r->depends = depends_on(s->clam, s->state, a);
		scan_end(s, look->verdict);
	}
}

static void
job_done(struct job *j)
{
	struct scan_job *job = CONTAINER_OF(j, struct scan_job, job.job);
	struct clam *c = job->clam;
	struct clam_scan *s = handle_get(c->scanner.loop, job->scan);

	if (s != NULL)
		scan_answer(s, &job->job);
	body_view_free(&job->job.view);
	free(job);
	if (--c->jobs == 0 && c->freed)
		clam_destroy(c);
}

/* What of a Content-Type matters to how the body is split; STR_NONE: nothing. */
static struct str
type_that_splits(struct str type, bool alone)
{
	char room[MULTIPART_BOUNDARY_MAX + 1];
	struct str boundary;

	if (multipart_type(type, room, &boundary))
		return (alone && type.n < CLAM_TYPE ? type : STR("multipart/"));
	switch (http_grpc_form(type)) {
	case GRPC_FORM_TEXT:
		return (STR("application/grpc-web-text"));
	case GRPC_FORM_FRAMES:
		return (STR("application/grpc-web"));
	case GRPC_FORM_NONE:
		break;
	}
	return (STR_NONE);
}

/*
 * Its Content-Type, if that has parts or messages.  Of several, or one that
 * does not fit, a multipart body's boundary is not what all receivers would
 * take: it is left out.
 */
static void
type_of(const struct scan_message *msg, char type[CLAM_TYPE])
{
	const struct http_msg *head = msg->mode == SCAN_RESP ? msg->resp
							     : msg->req;
	const struct http_field *f;
	struct str v;

	for (f = http_fields_get(&head->fields, FIELD_CONTENT_TYPE); f != NULL;
	     f = http_fields_next(&head->fields, f)) {
		v = type_that_splits(f->value, type[0] == '\0');
		if (v.n > 0)
			snprintf(type, CLAM_TYPE, "%.*s", STR_ARG(v));
	}
}

static struct scan_job *
job_new(struct clam_scan *s, struct body_view *view)
{
	struct scan_job *job = calloc(1, sizeof(*job));
	struct clam *c = s->clam;
	struct clam_look *look;

	if (job == NULL)
		abort();
	job->clam = c;
	job->job.job.done = job_done;
	job->job.view = view;
	look = &job->job.look;
	look->account = body_view_account(view);
	look->deadline = clam_now_ms() + clam_engine_limits(c->engine)->time_ms;
	atomic_init(&look->begun, false);
	atomic_init(&look->stop, false);
	codings_of_message(s->scan->msg, &look->codings);
	type_of(s->scan->msg, look->type);
	look->blocks = blocks_of(&c->scanner);
	return (job);
}

/* Whose turn it takes; 1: of those who are not known. */
static uint64_t
owner_of(const struct scan_message *msg)
{
	uint64_t key = scan_who_key(msg->who);

	return (key != 0 ? key : 1);
}

static void
job_begin(struct clam_scan *s)
{
	struct clam *c = s->clam;
	struct body *body = s->scan->msg->body;
	struct body_view *view = s->cut_short
	    ? body_view_part(body, c->max_body)
	    : body_view_new(body);
	struct scan_job *job;

	if (!clam_engine_fit(c->engine)) {
		body_view_free(&view);
		end_unfit(s);
		return;
	}
	assert(view != NULL); /* the keeper saw to that */
	s->state = clam_engine_state(c->engine);
	job = job_new(s, view);
	s->handle = job->scan = handle_new(c->scanner.loop, s);
	if (!clam_engine_start(c->engine, &job->job, c->scanner.loop,
		owner_of(s->scan->msg))) {
		handle_free(c->scanner.loop, &s->handle);
		body_view_free(&view);
		free(job);
		end_busy(s, "too many bodies of this client wait");
		return;
	}
	s->job = job;
	scan_works(s->scan);
	c->jobs++;
	reader_close(&s->reader); /* the view has it all */
	reader_close(&s->keeper);
	timer_set(&s->late, clam_engine_limits(c->engine)->time_ms + GRACE_MS);
}

/* Reading. */

/* over_max: bypass is given for a body whose begin was looked at. */
static bool
scans_part(const struct clam *c)
{
	return (c->max_body_set && c->scanner.over_max == SCAN_POLICY_BYPASS);
}

static bool
is_too_long(const struct clam *c, const struct body *body)
{
	uint64_t n = body_length(body);

	if (n == BODY_UNKNOWN || n < body_received(body) || scans_part(c))
		n = body_received(body); /* what is only declared is nothing */
	return (n > c->max_body);
}

static void
end_too_large(struct clam_scan *s)
{
	if (scans_part(s->clam)) {
		s->cut_short = true;
		job_begin(s);
		return;
	}
	s->scan->result.too_large = s->clam->max_body_set;
	end_unscanned(s, GAP_LIMIT,
	    s->clam->max_body_set ? STR("larger than max_body")
				  : STR("larger than limits.scan_size"));
}

static void
scan_read(struct task *t)
{
	struct clam_scan *s = CONTAINER_OF(t, struct clam_scan, task);
	struct body *body = s->scan->msg->body;
	enum pull p = PULL_END;

	if (body != NULL && !is_too_long(s->clam, body))
		p = reader_skip(&s->reader, s->reader.offset + TURN_BYTES);
	if (body == NULL || (p == PULL_END && body_length(body) == 0))
		scan_end(s, VERDICT_CLEAN);
	else if (is_too_long(s->clam, body))
		end_too_large(s);
	else if (p == PULL_END)
		job_begin(s);
	else if (p == PULL_MORE)
		task_wake(t);
	else if (p == PULL_CUT || p == PULL_FAIL)
		end_fault(s, body_fault(body));
}

static void
clam_start(struct scan *scan)
{
	struct clam_scan *s = calloc(1, sizeof(*s));
	struct body *body = scan->msg->body;

	if (s == NULL)
		abort();
	scan->priv = s;
	scan->result.endpoint = STR("inside");
	s->scan = scan;
	s->clam = (struct clam *)(void *)scan->scanner;
	task_init(&s->task, scan->scanner->loop, scan_read);
	timer_init(&s->late, scan->scanner->loop, on_late);
	if (body != NULL) {
		reader_open(&s->reader, body, 0, &s->task);
		reader_open(&s->keeper, body, 0, NULL);
	}
	scan_waits(scan); /* for the body's end */
	task_wake(&s->task);
}

static struct str
clam_depends(const struct scanner *scanner, const struct scan_message *msg)
{
	const struct clam *c = (const struct clam *)(const void *)scanner;

	if (!clam_engine_fit(c->engine))
		return (STR_NONE);
	return (depends_on(c, clam_engine_state(c->engine), msg->arena));
}

static void
clam_cancel(struct scan *scan)
{
	struct clam_scan *s = scan->priv;

	scan->priv = NULL;
	if (s == NULL)
		return;
	scan_stop(s);
	free(s);
}

static const struct scanner_type clam_type = {
	.name = "clamav",
	.start = clam_start,
	.cancel = clam_cancel,
	.depends = clam_depends,
	.needs_end = true,
};

struct scanner *
clam_new(struct loop *loop, struct clam_engine *e,
    const struct clam_service *service)
{
	struct clam *c = calloc(1, sizeof(*c));
	uint64_t most = clam_engine_limits(e)->scan_size;

	if (c == NULL)
		abort();
	c->scanner = (struct scanner){
		.type = &clam_type,
		.loop = loop,
		.name = service->name,
		.scans_req = service->scans_req,
		.scans_resp = service->scans_resp,
		.on_error = service->on_error,
		.on_busy = SCAN_POLICY_BLOCK,
		.over_max = service->over_max,
	};
	memcpy(c->scanner.on_unscanned, service->on_unscanned,
	    sizeof(c->scanner.on_unscanned));
	c->engine = clam_engine_ref(e);
	c->max_body_set = service->max_body > 0 && service->max_body < most;
	c->max_body = service->max_body > 0 && service->max_body < most
	    ? service->max_body
	    : most;
	c->scanner.cache_max = c->max_body;
	c->scanner.cache_s = CACHE_S;
	return (&c->scanner);
}

unsigned
clam_busy(const struct scanner *scanner)
{
	return (((const struct clam *)(const void *)scanner)->jobs);
}

void
clam_free(struct scanner **pp)
{
	struct clam *c = (struct clam *)(void *)*pp;

	*pp = NULL;
	if (c == NULL)
		return;
	c->freed = true;
	if (c->jobs == 0)
		clam_destroy(c);
}
