/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flows that were lost with their process, see lost.h. */
#include <stdio.h>
#include "proxy/audit/audit.h"
#include "proxy/flight.h"
#include "proxy/lost.h"

static void
record(const struct flight_seen *s, uint64_t died, struct audit *a)
{
	static const enum audit_mode modes[FLIGHT_MODES] = {
		[FLIGHT_PLAIN] = AUDIT_PLAIN,
		[FLIGHT_OPENED] = AUDIT_INTERCEPTED,
		[FLIGHT_TUNNEL] = AUDIT_TUNNEL
	};
	char url[FLIGHT_HOST + 8];
	struct fault fault = { 0 };
	struct audit_record r;

	fault_set(&fault, ERR_PROXY_CRASHED, NULL);
	audit_record_init(&r);
	r.reference = str_of(s->reference);
	r.started_ms = s->started;
	/* The clock may have been set back meanwhile. */
	r.ms.total = died > s->started ? (int64_t)(died - s->started) : 0;
	r.action = AUDIT_ERROR;
	r.mode = modes[s->mode];
	r.client_ip = str_of(s->client);
	r.client_port = s->client_port;
	/* Paths are not kept: this is what a CONNECT to it would say. */
	snprintf(url, sizeof(url), "%s:%u", s->host, s->host_port);
	r.url = s->host[0] != '\0' ? str_of(url) : STR_NONE;
	r.host = str_of(s->host);
	r.port = s->host_port;
	r.request_body_bytes = s->up;
	r.response_body_bytes = s->down;
	r.fault = &fault;
	audit_write(a, &r);
}

unsigned
lost_flows(int flight, uint64_t died, struct audit *a)
{
	struct flight_reader r = { .fd = flight };
	struct flight_seen s;
	unsigned n = 0;

	while (flight_next(&r, &s)) {
		if (s.log != FLIGHT_LOG_NONE)
			record(&s, died, a);
		flight_forget(flight, s.slot);
		n++;
	}
	return (n);
}
