/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz the configuration reader, and what is asked of a configuration that
 * it accepts.  The part behind a zero byte is a URL and a host.
 */
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
ask(const struct conf *conf, struct str text)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6 };
	struct policy_facts f = { .client = (struct sockaddr *)&sa,
		.dest = (struct sockaddr *)&sa,
		.host = text,
		.url = text,
		.type = text,
		.method = text,
		.listener = text,
		.size = text.n,
		.port = 443 };
	struct plan plan;
	unsigned stage;

	memcpy(&sa.sin6_addr, text.p, text.n < 16 ? text.n : 16);
	policy_plan_init(&conf->policy, &plan);
	for (stage = POLICY_TLS; stage <= POLICY_RESPONSE; stage++)
		policy_decide(&conf->policy, (enum policy_stage)stage, &f,
		    &plan);
	assert(plan.scan_req != NULL && plan.scan_resp != NULL);
	conf_dest_check(conf, f.dest, NULL);
	conf_client_check(conf, f.client, NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct conf_problems problems = { 0 };
	struct buf waits = { 0 };
	const char *text = (const char *)p;
	size_t cut = n == 0 ? 0 : strnlen(text, n);
	struct conf *conf = conf_parse("fuzz", text, cut, &problems);

	assert((conf == NULL) == (problems.errors > 0));
	if (conf != NULL) {
		conf_needs_restart(conf, conf, &waits);
		conf_needs_process(conf, conf, &waits);
		assert(waits.n == 0);
		ask(conf,
		    cut < n ? (struct str){ text + cut + 1, n - cut - 1 }
			    : STR("http://example.com/"));
	}
	buf_fini(&waits);
	conf_unref(&conf);
	conf_problems_fini(&problems);
	return (0);
}
