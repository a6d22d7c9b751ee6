/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * decode: a service that cannot take content codings off is sent what a
 * receiver makes of the message: its body decoded as it is sent, and a head
 * that says nothing of the coding or of the coded octets.  The message itself
 * stays what it is, and goes on like that where the service has nothing to
 * change (204).  206 is not offered: its offsets would be of a body that
 * nobody keeps.  A repetition decodes anew.
 * Room: icap.  Thread: its loop's.  Obeys RFC 9110 8.4, 8.8.3; RFC 9530 2, 3.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "http/length.h"
#include "icap/tx.h"
#include "scanners/codings.h"

/* kept: sent by then, compared with what comes back */
#define BEGIN_BYTES 65536

static const struct http_msg *
head_of(const struct scan_message *m)
{
	return (m->mode == SCAN_RESP ? m->resp : m->req);
}

/*
 * The service sees one of the readings only.  What not all receivers read like
 * that cannot be opened for it.  Of answers nobody takes aws-chunked off.
 */
static void
read_codings(struct icap_tx *tx)
{
	struct decode_list *l = &tx->codings;

	codings_of_message(tx->msg, l);
	for (; l->is_answer && l->n > 0 && l->coding[l->n - 1] == DECODE_AWS;
	     l->n--)
		snprintf(l->ignored, sizeof(l->ignored), "%s",
		    decode_name(DECODE_AWS));
	if (!decode_list_is_clear(l) && l->unknown[0] == '\0')
		memcpy(l->unknown, l->ignored, sizeof(l->unknown));
}

/* Another representation has no strong validator of this one (RFC 9110 8.8.3). */
static void
weaken(struct arena *a, struct http_fields *l)
{
	struct str v = http_fields_value(l, FIELD_ETAG);

	if (v.n > 0 && v.p[0] == '"')
		http_fields_set(a, l, FIELD_ETAG,
		    arena_printf(a, "W/%.*s", STR_ARG(v)));
}

/* The head as it would be without the coding. */
static struct http_msg *
plain_head(struct icap_tx *tx)
{
	static const enum http_field_id coded[] = { FIELD_CONTENT_ENCODING,
		FIELD_CONTENT_MD5, FIELD_CONTENT_DIGEST, FIELD_DIGEST };
	const struct http_msg *was = head_of(tx->msg);
	struct http_msg *m = http_msg_copy(tx->arena, was);
	unsigned i;

	for (i = 0; i < sizeof(coded) / sizeof(coded[0]); i++)
		http_fields_remove(&m->fields, coded[i]);
	http_fields_remove_named(&m->fields, STR("Repr-Digest"));
	if (!m->is_request)
		weaken(tx->arena, &m->fields);
	http_length_set(m, m->is_request ? NULL : tx->msg->req, true,
	    HTTP_LENGTH_UNKNOWN);
	return (m);
}

static void
begin(struct icap_tx *tx)
{
	assert(tx->coded != NULL);
	tx->body = decode_body_new(tx->svc->loop, tx->svc->o.store, tx->coded,
	    &tx->codings, &tx->how);
	reader_open(&tx->begin, tx->body, 0, NULL);
}

bool
tx_decode_start(struct icap_tx *tx)
{
	struct scan_message *m;

	assert(tx->coded == NULL);
	if (!tx->svc->o.decode || tx->body == NULL || tx->msg->gap == GAP_PART)
		return (true); /* a part cannot be opened */
	read_codings(tx);
	if (tx->codings.unknown[0] != '\0')
		return (false);
	if (tx->codings.n == 0)
		return (true);
	m = arena_alloc(tx->arena, sizeof(*m));
	*m = *tx->msg;
	if (m->mode == SCAN_RESP)
		m->resp = plain_head(tx);
	else
		m->req = plain_head(tx);
	tx->msg = m;
	tx->coded = tx->body;
	begin(tx);
	return (true);
}

void
tx_decode_again(struct icap_tx *tx)
{
	if (tx->coded == NULL)
		return;
	reader_close(&tx->begin);
	reader_close(&tx->reader);
	body_unref(&tx->body);
	begin(tx);
}

void
tx_decode_sent(struct icap_tx *tx)
{
	if (tx->sent > BEGIN_BYTES)
		reader_close(&tx->begin);
}

void
tx_decode_stop(struct icap_tx *tx)
{
	struct fault f = { .code = ERR_NONE };

	if (tx->coded == NULL || tx->send != SEND_DONE ||
	    tx->state != TX_STREAM)
		return;
	reader_close(&tx->begin);
	fault_set(&f, ERR_SHUTDOWN, "nobody reads it");
	body_fail(tx->body, &f);
}

void
tx_decode_fini(struct icap_tx *tx)
{
	reader_close(&tx->begin);
	body_unref(&tx->coded);
}

enum scan_gap
tx_decode_gap(const struct icap_tx *tx)
{
	if (tx->how.end == DECODE_BAD)
		return (GAP_CODING);
	return (tx->how.end == DECODE_LARGE ? GAP_LIMIT : GAP_NONE);
}

const char *
tx_decode_text(const struct icap_tx *tx)
{
	const char *name = tx->codings.unknown;

	if (tx->how.end == DECODE_LARGE)
		return ("decoded size limit");
	if (name[0] == '\0')
		name = decode_name(tx->how.coding);
	return (
	    arena_printf(tx->arena, "content coding %s cannot be opened", name)
		.p);
}
