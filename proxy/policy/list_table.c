/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What lists hold, see list_priv.h: hashes in buckets, 7 octets each, and sorted
 * ranges of addresses.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/policy/list_priv.h"

#define REST 5 /* octets of a hash that are kept behind its bucket's bits */
#define IN_BUCKET 4 /* entries in one, on the average */
#define BITS_MAX 24

static void *
need(void *p)
{
	if (p == NULL)
		abort(); /* out of memory, as everywhere */
	return (p);
}

/* ---- collecting ---- */

struct list_found {
	uint64_t *hash;
	uint16_t *value;
	uint32_t *at; /* exact: where in text */
	size_t n, cap;
	char *text;
	size_t n_text, cap_text;
	struct list_range *range;
	size_t n_range, cap_range;
	bool exact, names, urls, excepts;
};

struct list_found *
list_found_new(bool exact)
{
	struct list_found *f = need(calloc(1, sizeof(*f)));

	f->exact = exact;
	return (f);
}

void
list_found_free(struct list_found **at)
{
	struct list_found *f = *at;

	*at = NULL;
	if (f == NULL)
		return;
	free(f->hash);
	free(f->value);
	free(f->at);
	free(f->text);
	free(f->range);
	free(f);
}

uint64_t
list_found_count(const struct list_found *f)
{
	return (f->n + f->n_range);
}

static void
keep_text(struct list_found *f, struct str s)
{
	while (f->n_text + s.n + 1 > f->cap_text) {
		f->cap_text = f->cap_text > 0 ? f->cap_text * 2 : 4096;
		f->text = need(realloc(f->text, f->cap_text));
	}
	f->at[f->n] = (uint32_t)f->n_text;
	memcpy(f->text + f->n_text, s.p, s.n);
	f->text[f->n_text + s.n] = '\0';
	f->n_text += s.n + 1;
}

static void
add(struct list_found *f, uint64_t hash, struct str s, unsigned value)
{
	assert(value <= UINT16_MAX);
	if (f->n == f->cap) {
		f->cap = f->cap > 0 ? f->cap * 2 : 1024;
		f->hash = need(realloc(f->hash, f->cap * sizeof(*f->hash)));
		f->value = need(realloc(f->value, f->cap * sizeof(*f->value)));
		if (f->exact)
			f->at = need(realloc(f->at, f->cap * sizeof(*f->at)));
	}
	f->hash[f->n] = hash;
	f->value[f->n] = (uint16_t)value;
	if (f->exact)
		keep_text(f, s);
	f->n++;
	f->excepts |= (value & LIST_IS_EXCEPT) != 0;
}

void
list_found_name(struct list_found *f, struct str name, unsigned value)
{
	assert((value & (LIST_IS_EXACT | LIST_IS_BELOW)) != 0);
	add(f, list_hash_name(name), name, value);
	f->names = true;
}

void
list_found_url(struct list_found *f, struct str url, unsigned value)
{
	add(f, list_hash_url(url), url, value | LIST_IS_EXACT);
	f->urls = true;
}

void
list_found_range(struct list_found *f, const struct list_range *r)
{
	if (f->n_range == f->cap_range) {
		f->cap_range = f->cap_range > 0 ? f->cap_range * 2 : 64;
		f->range = need(
		    realloc(f->range, f->cap_range * sizeof(*f->range)));
	}
	f->range[f->n_range++] = *r;
}

/* ---- ranges ---- */

static int
compare(const uint64_t a[2], const uint64_t b[2])
{
	if (a[0] != b[0])
		return (a[0] < b[0] ? -1 : 1);
	return (a[1] < b[1] ? -1 : a[1] > b[1]);
}

static int
range_order(const void *va, const void *vb)
{
	const struct list_range *a = va, *b = vb;

	if (a->category != b->category)
		return (a->category < b->category ? -1 : 1);
	return (compare(a->from, b->from));
}

/* Those that meet become one, so that the last that begins before is the one. */
static void
take_ranges(struct list_table *t, struct list_found *f)
{
	struct list_range *r = f->range;
	size_t i, n = 0;

	if (f->n_range == 0)
		return;
	qsort(r, f->n_range, sizeof(*r), range_order);
	for (i = 1; i < f->n_range; i++)
		if (r[i].category == r[n].category &&
		    compare(r[i].from, r[n].to) <= 0) {
			if (compare(r[i].to, r[n].to) > 0)
				memcpy(r[n].to, r[i].to, sizeof(r[n].to));
		} else
			r[++n] = r[i];
	t->n_range = (unsigned)n + 1;
	t->range = need(realloc(r, t->n_range * sizeof(*r)));
	f->range = NULL;
}

static bool
in_category(const struct list_range *r, size_t n, const uint64_t a[2])
{
	size_t low = 0, high = n, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (compare(r[mid].from, a) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	return (low > 0 && compare(a, r[low - 1].to) <= 0);
}

/* The first range behind those of this one's category. */
static unsigned
category_end(const struct list_table *t, unsigned from)
{
	unsigned low = from + 1, high = t->n_range, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (t->range[mid].category == t->range[from].category)
			low = mid + 1;
		else
			high = mid;
	}
	return (low);
}

bool
list_table_range(const struct list_table *t, unsigned category,
    const uint64_t a[2])
{
	unsigned i, end;

	for (i = 0; i < t->n_range; i = end) {
		end = category_end(t, i);
		if ((category == 0 || t->range[i].category == category) &&
		    in_category(t->range + i, end - i, a))
			return (true);
	}
	return (false);
}

/* ---- hashes ---- */

static unsigned
bucket_of(const struct list_table *t, uint64_t hash)
{
	return (t->bits == 0 ? 0 : (unsigned)(hash >> (64 - t->bits)));
}

static uint64_t
rest_of(const struct list_table *t, uint64_t hash)
{
	return (hash << t->bits >> (64 - 8 * REST));
}

static void
put_rest(uint8_t *p, uint64_t rest)
{
	unsigned i;

	for (i = 0; i < REST; i++)
		p[i] = (uint8_t)(rest >> (8 * i));
}

static uint64_t
get_rest(const uint8_t *p)
{
	uint32_t low;

	memcpy(&low, p, 4);
#if __BYTE_ORDER == __BIG_ENDIAN
	low = __builtin_bswap32(low);
#endif
	return ((uint64_t)p[4] << 32 | low);
}

/* An entry of the same hash that says more of the same; n: none. */
static uint32_t
same_as(const struct list_table *t, uint32_t from, uint32_t n, uint64_t rest,
    unsigned value, struct str text)
{
	const unsigned kind = ~(LIST_IS_EXACT | LIST_IS_BELOW);
	uint32_t i;

	for (i = from; i < n; i++)
		if (get_rest(t->rest + (size_t)i * REST) == rest &&
		    (t->value[i] & kind) == (value & kind) &&
		    (t->at == NULL || strcmp(t->text + t->at[i], text.p) == 0))
			break;
	return (i);
}

/* The entries of a bucket follow each other: what stands twice goes. */
static void
fold(struct list_table *t)
{
	uint32_t b, i, n = 0, from, to, k, first;
	uint64_t rest;

	for (b = 0, to = 0; b < 1u << t->bits; b++) {
		from = to;
		to = t->bucket[b + 1];
		first = n;
		for (i = from; i < to; i++) {
			rest = get_rest(t->rest + (size_t)i * REST);
			k = same_as(t, first, n, rest, t->value[i],
			    t->at != NULL ? str_of(t->text + t->at[i])
					  : STR_NONE);
			if (k < n) {
				t->value[k] |= t->value[i];
				continue;
			}
			put_rest(t->rest + (size_t)n * REST, rest);
			t->value[n] = t->value[i];
			if (t->at != NULL)
				t->at[n] = t->at[i];
			n++;
		}
		t->bucket[b] = first;
	}
	t->bucket[b] = t->n = n;
}

/* By buckets, in one pass over them and one over what was found. */
static void
spread(struct list_table *t, const struct list_found *f)
{
	uint32_t sum = 0, was, to;
	size_t i;

	for (i = 0; i < f->n; i++)
		t->bucket[bucket_of(t, f->hash[i])]++;
	for (i = 0; i <= (size_t)1 << t->bits; i++) {
		was = t->bucket[i];
		t->bucket[i] = sum;
		sum += was;
	}
	for (i = 0; i < f->n; i++) {
		to = t->bucket[bucket_of(t, f->hash[i])]++;
		put_rest(t->rest + (size_t)to * REST, rest_of(t, f->hash[i]));
		t->value[to] = f->value[i];
		if (t->at != NULL)
			t->at[to] = f->at[i];
	}
	/* Each begins where the one before it ended. */
	memmove(t->bucket + 1, t->bucket,
	    sizeof(*t->bucket) * ((size_t)1 << t->bits));
	t->bucket[0] = 0;
}

static void
take_hashes(struct list_table *t, struct list_found *f)
{
	while (t->bits < BITS_MAX && f->n >> t->bits > IN_BUCKET)
		t->bits++;
	t->bucket = need(
	    calloc(((size_t)1 << t->bits) + 1, sizeof(*t->bucket)));
	t->rest = need(malloc(f->n * REST));
	t->value = need(malloc(f->n * sizeof(*t->value)));
	if (f->exact) {
		t->at = need(malloc(f->n * sizeof(*t->at)));
		t->text = need(realloc(f->text, f->n_text));
		t->n_text = f->n_text;
		f->text = NULL;
	}
	spread(t, f);
	fold(t);
	t->rest = need(realloc(t->rest, (size_t)t->n * REST));
	t->value = need(realloc(t->value, t->n * sizeof(*t->value)));
}

void
list_table_make(struct list_table *t, struct list_found **found)
{
	struct list_found *f = *found;

	*t = (struct list_table){ .names = f->names,
		.urls = f->urls,
		.excepts = f->excepts };
	assert(f->n < UINT32_MAX);
	take_ranges(t, f);
	if (f->n > 0)
		take_hashes(t, f);
	list_found_free(found);
}

void
list_table_fini(struct list_table *t)
{
	free(t->bucket);
	free(t->rest);
	free(t->value);
	free(t->at);
	free(t->text);
	free(t->range);
	*t = (struct list_table){ 0 };
}

size_t
list_table_bytes(const struct list_table *t)
{
	size_t n = (size_t)t->n * (REST + sizeof(*t->value));

	if (t->bucket != NULL)
		n += (((size_t)1 << t->bits) + 1) * sizeof(*t->bucket);
	if (t->at != NULL)
		n += t->n * sizeof(*t->at) + t->n_text;
	return (n + t->n_range * sizeof(*t->range));
}

unsigned
list_table_find(const struct list_table *t, uint64_t hash, struct str exact,
    unsigned category, unsigned bits)
{
	unsigned b, got = 0;
	uint64_t rest;
	uint32_t i;

	if (t->n == 0)
		return (0);
	b = bucket_of(t, hash);
	rest = rest_of(t, hash);
	for (i = t->bucket[b]; i < t->bucket[b + 1]; i++) {
		if (get_rest(t->rest + (size_t)i * REST) != rest ||
		    (t->value[i] & bits) == 0 ||
		    (category != 0 &&
			(unsigned)t->value[i] >> LIST_IS_BITS != category))
			continue;
		if (t->at != NULL && !str_eq(str_of(t->text + t->at[i]), exact))
			continue;
		got |= t->value[i] & (LIST_IS_EXCEPT | LIST_IS_FIRM);
		if ((t->value[i] & LIST_IS_EXCEPT) == 0)
			got |= LIST_IS_EXACT;
	}
	return (got);
}
