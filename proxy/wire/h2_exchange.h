/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An exchange of an HTTP/2 server: one stream.  It lies in the arena of its
 * request, which its flow frees behind it.
 *
 * Room: proxy/wire.  Units: octets, ms.  Thread: its loop's.
 */
#ifndef PROXY_WIRE_H2_EXCHANGE_H
#define PROXY_WIRE_H2_EXCHANGE_H

#include "proxy/wire/h2_server.h"

struct h2_exchange;

/*
 * A new stream has news, and nobody owns it: a request has come, or what is
 * no request.  It becomes an exchange, and a flow by way of the host; or it is
 * freed, when the client takes it back before it was one.
 */
void h2_exchange_begin(struct h2_server *, struct h2_stream *, unsigned news);
/* Its stream has news. */
void h2_exchange_news(struct h2_exchange *, unsigned news);
/* Its client counts as gone from then on, if not earlier. */
void h2_exchange_gone(struct h2_exchange *, uint64_t at);
/* One of the server's list. */
struct h2_exchange *h2_exchange_of(struct list *);
/* What was written has been given to the link: another interim head may come. */
void h2_exchange_sent(struct h2_exchange *);

#endif
