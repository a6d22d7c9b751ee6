/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the records of flows and of tunnels have in common.
 * Room: proxy.  Thread: the worker's.
 */
#ifndef PROXY_RECORD_H
#define PROXY_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "proxy/audit/audit.h"
#include "proxy/flight.h"
#include "proxy/policy/policy.h"

struct client;
struct plan;
struct conf;
struct upstream_end;

/* Whose it is, and the client's TLS if there is some. */
void record_client(struct audit_record *, struct client *);
/* The rules that decided, in the plan's configuration. */
void record_rules(struct audit_record *, const struct plan *);
/*
 * Which way it went: by that route, through that parent (NULL: none, or it was
 * not reached), whose address is ip, or around them.
 */
void record_parent(struct audit_record *, const struct conf *, unsigned route,
    const struct upstream_end *, const char *ip, bool around);
/* ms from then to now; -1: then is 0, it did not happen. */
int64_t record_since(uint64_t then, uint64_t now);
/*
 * Did assay keep from the client what it could have delivered?  That is
 * recorded in full whatever a rule says about logs: somebody has read a
 * reference and asks about it.
 */
bool record_is_refusal(enum err);
/* How a plan's record would be, for the flight record. */
enum flight_log record_flight_log(enum policy_log);

#endif
