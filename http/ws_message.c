/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A WebSocket message as two bodies, see ws_message.h. */
#include <assert.h>
#include "http/ws_message.h"

static enum pull
pull(struct ws_message *m, struct chq *q, enum pull end, struct chq *out,
    size_t want, struct fault *f)
{
	size_t n = chq_len(q);

	if (n > 0) {
		chq_move(out, q, n < want ? n : want);
		return (PULL_MORE);
	}
	if (end == PULL_CUT || end == PULL_FAIL)
		fault_copy(f, &m->fault);
	if (end != PULL_MORE)
		return (end);
	task_wake(m->feed);
	return (PULL_WAIT);
}

static struct ws_message *
of_frames(struct source *s)
{
	return ((struct ws_message *)(void *)((char *)s -
	    offsetof(struct ws_message, frames)));
}

static struct ws_message *
of_content(struct source *s)
{
	return ((struct ws_message *)(void *)((char *)s -
	    offsetof(struct ws_message, content)));
}

static enum pull
frames_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct ws_message *m = of_frames(s);

	return (pull(m, &m->frames_q, m->frames_end, out, want, f));
}

static enum pull
content_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct ws_message *m = of_content(s);

	return (pull(m, &m->content_q, m->content_end, out, want, f));
}

static void
frames_drop(struct source *s, enum pull last)
{
	(void)last;
	of_frames(s)->frames_dropped = true;
	chq_fini(&of_frames(s)->frames_q);
}

static void
content_drop(struct source *s, enum pull last)
{
	(void)last;
	of_content(s)->content_dropped = true;
	chq_fini(&of_content(s)->content_q);
}

static const struct source_type frames_type = { "websocket frames", frames_pull,
	frames_drop };

static const struct source_type content_type = { "websocket content",
	content_pull, content_drop };

void
ws_message_init(struct ws_message *m, enum ws_side from, struct task *feed)
{
	*m = (struct ws_message){ .frames_end = PULL_MORE,
		.content_end = PULL_MORE,
		.from = from,
		.feed = feed };
	source_init(&m->frames, &frames_type);
	source_init(&m->content, &content_type);
}

void
ws_message_out(struct ws_message *m, struct ws_out *out)
{
	out->frames = &m->frames_q;
	out->content = &m->content_q;
}

static void
end(enum pull *which, enum pull how)
{
	if (*which == PULL_MORE)
		*which = how;
}

void
ws_message_fed(struct ws_message *m, enum ws_got got, const struct fault *f)
{
	switch (got) {
	case WS_END:
		end(&m->frames_end, PULL_END);
		end(&m->content_end, PULL_END);
		break;
	case WS_GAP:
		end(&m->content_end, PULL_END);
		break;
	case WS_CLOSE:
	case WS_BAD:
		if (f != NULL)
			fault_copy(&m->fault, f);
		fault_set(&m->fault,
		    m->from == WS_CLIENT ? ERR_CLIENT_GONE : ERR_ORIGIN_CUT,
		    "a WebSocket message was not ended");
		end(&m->frames_end, PULL_CUT);
		end(&m->content_end, PULL_CUT);
		break;
	case WS_MORE:
	case WS_FULL:
	case WS_BEGIN:
	case WS_CONTROL:
	case WS_STEP:
		break;
	}
	if (m->frames_dropped)
		chq_fini(&m->frames_q);
	if (m->content_dropped)
		chq_fini(&m->content_q);
	source_wake(&m->frames);
	source_wake(&m->content);
}

size_t
ws_message_bytes(const struct ws_message *m)
{
	return (chq_len(&m->frames_q) + chq_len(&m->content_q));
}

void
ws_message_fini(struct ws_message *m)
{
	ws_message_fed(m, WS_CLOSE, NULL);
	source_gone(&m->frames, PULL_CUT, &m->fault);
	source_gone(&m->content, PULL_CUT, &m->fault);
	chq_fini(&m->frames_q);
	chq_fini(&m->content_q);
}
