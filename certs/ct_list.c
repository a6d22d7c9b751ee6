/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of logs, as browsers publish them (version 3, JSON). */
#include <gnutls/crypto.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "certs/ct_priv.h"

#define LOGS_MOST 1024

/* "2024-11-30T12:00:00Z" as ms; 0: it is none. */
static int64_t
moment(const char *text)
{
	struct tm tm = { 0 };

	if (text == NULL ||
	    sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon,
		&tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
		return (0);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return ((int64_t)timegm(&tm) * 1000);
}

static const char *
import_key(struct ct_log *log, const char *text)
{
	const gnutls_datum_t in = { (unsigned char *)(uintptr_t)text,
		(unsigned)strlen(text) };
	gnutls_datum_t der = { NULL, 0 };
	bool ok;

	if (gnutls_base64_decode2(&in, &der) < 0)
		return ("a log's key is not base64");
	if (gnutls_pubkey_init(&log->key) < 0 ||
	    gnutls_hash_fast(GNUTLS_DIG_SHA256, der.data, der.size, log->id) <
		0)
		abort();
	ok = gnutls_pubkey_import(log->key, &der, GNUTLS_X509_FMT_DER) >= 0;
	gnutls_free(der.data);
	if (!ok)
		gnutls_pubkey_deinit(log->key);
	return (ok ? NULL : "a log's key cannot be read");
}

static const char *
keep(struct ct *ct, const struct ct_log *log)
{
	if (ct->n == LOGS_MOST)
		return ("too many logs");
	ct->v = realloc(ct->v, (ct->n + 1) * sizeof(*log));
	if (ct->v == NULL)
		abort();
	ct->v[ct->n++] = *log;
	return (NULL);
}

/* Those that are not in use yet, or were thrown out, promise nothing. */
static const char *
read_log(struct ct *ct, const json_t *o, unsigned by)
{
	const json_t *state = json_object_get(o, "state");
	const json_t *retired = json_object_get(state, "retired");
	const char *key = json_string_value(json_object_get(o, "key"));
	struct ct_log log = { .by = by };
	const char *why;

	if (json_object_get(state, "pending") != NULL ||
	    json_object_get(state, "rejected") != NULL)
		return (NULL);
	if (key == NULL || key[0] == '\0')
		return ("a log without a key");
	if (retired != NULL &&
	    (log.until = moment(json_string_value(
		 json_object_get(retired, "timestamp")))) == 0)
		return ("a retired log without a timestamp");
	if ((why = import_key(&log, key)) == NULL &&
	    (why = keep(ct, &log)) != NULL)
		gnutls_pubkey_deinit(log.key);
	return (why);
}

static const char *
read_operator(struct ct *ct, const json_t *o, unsigned by)
{
	static const char *const kinds[] = { "logs", "tiled_logs" };
	const char *why = NULL;
	const json_t *log;
	unsigned k;
	size_t i;

	for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		json_array_foreach(json_object_get(o, kinds[k]), i,
		    log) if (why == NULL) why = read_log(ct, log, by);
	return (why);
}

const char *
ct_list_read(struct ct *ct, const unsigned char *text, size_t n)
{
	json_t *list = json_loadb((const char *)text, n, 0, NULL);
	const json_t *operator;
	const char *why = NULL;
	size_t i;

	if (list == NULL)
		return ("it is no JSON");
	json_array_foreach(json_object_get(list, "operators"),
	    i, operator) if (why == NULL)
	    why = read_operator(ct, operator,(unsigned) i + 1);
	json_decref(list);
	return (why == NULL && ct->n == 0 ? "no log is in it" : why);
}
