/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an access log keeps and how it is written: the words of log.access and
 * log.privacy, which the configuration reads and the writers of records obey.
 * Room: proxy.  Any thread.
 */
#ifndef PROXY_LOGGING_H
#define PROXY_LOGGING_H

enum logging_format { LOGGING_JSON, LOGGING_SQUID };

enum logging_keep {
	LOGGING_DROP, /* not written */
	LOGGING_KEEP  /* as it is */
};

/* log.privacy.  Defaults: query drop, user and client keep. */
struct logging_privacy {
	enum logging_keep query;
	enum logging_keep user;
	enum logging_keep client;
};

#endif
