/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The calls of libclamav: load a database, look at bytes.
 *
 * libclamav is fail-open by default: over a limit, after a failed read or a
 * time-out it says CL_CLEAN, and what it does report comes as a "virus" whose
 * name is Heuristics.* or NULL.  look_judge() is the place where all that
 * becomes VERDICT_UNSCANNED.
 *
 * Room: scanners.  Thread: any.
 */
#include <clamav.h>
#include <iconv.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "scanners/clam_calls.h"
#include "scanners/clam_priv.h"

/* Set by our callbacks during one scan. */
struct probe {
	struct clam_look *look;
	struct clam_calls calls;
	bool stopped; /* by clam_look.stop or the deadline */
	bool again;   /* the same file once more */
};

#define CONVERTERS 19

static iconv_t converters[CONVERTERS]; /* open for ever; NULL: none */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static cl_error_t once_result;
/* What libclamav last complained about in this thread, while loading. */
static _Thread_local char complaint[CLAM_TEXT];

uint64_t
clam_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

static void
on_message(enum cl_msg severity, const char *full, const char *msg, void *arg)
{
	size_t n;

	(void)full;
	(void)arg;
	if (severity < CL_MSG_ERROR)
		return;
	n = strcspn(msg, "\n");
	snprintf(complaint, sizeof(complaint), "%.*s", (int)n, msg);
}

static cl_error_t
on_pre_scan(int fd, const char *type, void *arg)
{
	struct probe *p = arg;

	(void)fd;
	(void)type;
	if (p == NULL)
		return (CL_CLEAN);
	if (atomic_load(&p->look->stop) || clam_now_ms() > p->look->deadline)
		p->stopped = true;
	return (p->stopped ? CL_VIRUS : CL_CLEAN);
}

/* A file, the outermost or one inside. */
static cl_error_t
on_inspect(int fd, const char *type, const char **ancestors, size_t parent_size,
    const char *name, size_t n, const char *p, uint32_t level,
    uint32_t attributes, void *arg)
{
	struct probe *probe = arg;
	struct clam_calls *calls;

	(void)fd;
	(void)type;
	(void)ancestors;
	(void)parent_size;
	(void)name;
	(void)level;
	(void)attributes;
	if (probe == NULL || p == NULL || probe->again)
		return (CL_CLEAN);
	calls = clam_calls_leave();
	clam_layer_seen(probe->look, (const unsigned char *)p, n);
	clam_calls_back(calls);
	return (CL_CLEAN);
}

/*
 * The C library loads a converter when it is first asked for, and where it
 * cannot (no descriptor left) a text stays as it is.  Loaded now, and never
 * closed, they are there.
 */
static void
converters_load(void)
{
	static const char *const names[CONVERTERS] = {
		"UTF-16",
		"UTF-32",
		"UTF-7",
		"ISO-8859-1",
		"ISO-8859-2",
		"ISO-8859-5",
		"ISO-8859-15",
		"WINDOWS-1250",
		"WINDOWS-1251",
		"WINDOWS-1252",
		"KOI8-R",
		"SHIFT_JIS",
		"EUC-JP",
		"ISO-2022-JP",
		"GB18030",
		"GBK",
		"BIG5",
		"EUC-KR",
		"TIS-620",
	};
	size_t i;

	for (i = 0; i < CONVERTERS; i++) {
		converters[i] = iconv_open("UTF-16BE", names[i]);
		if (converters[i] == (iconv_t)-1)
			converters[i] = NULL; /* not installed here */
	}
}

static void
init_once(void)
{
	once_result = cl_init(CL_INIT_DEFAULT);
	cl_set_clcb_msg(on_message);
	converters_load();
}

static void
set_limits(struct cl_engine *cl, const struct clam_limits *l)
{
	long long size = (long long)l->scan_size;
	const struct {
		enum cl_engine_field field;
		long long value;
	} setting[] = {
		{ CL_ENGINE_MAX_SCANSIZE, size },
		{ CL_ENGINE_MAX_FILESIZE, size },
		{ CL_ENGINE_MAX_FILES, l->files },
		{ CL_ENGINE_MAX_RECURSION, l->recursion },
		{ CL_ENGINE_MAX_SCANTIME, l->time_ms },
		/* Over these it looks away without a word. */
		{ CL_ENGINE_MAX_EMBEDDEDPE, size },
		{ CL_ENGINE_MAX_HTMLNORMALIZE, size },
		{ CL_ENGINE_MAX_HTMLNOTAGS, size },
		{ CL_ENGINE_MAX_SCRIPTNORMALIZE, size },
		{ CL_ENGINE_MAX_ZIPTYPERCG, size },
		/* What was clean with one database need not be with the next. */
		{ CL_ENGINE_DISABLE_CACHE, 1 },
		{ CL_ENGINE_DISABLE_PE_STATS, 1 },
	};
	size_t i;

	for (i = 0; i < sizeof(setting) / sizeof(setting[0]); i++)
		cl_engine_set_num(cl, setting[i].field, setting[i].value);
}

/* The reason of a failed load: what libclamav said, else its error. */
static void
load_fault(struct fault *f, const char *db, cl_error_t r)
{
	fault_set(f, ERR_CONFIG, "%.60s: %.120s", db,
	    complaint[0] != '\0' ? complaint : cl_strerror(r));
}

static cl_error_t
load(struct cl_engine *cl, const char *db, const char *own,
    struct clam_info *info)
{
	unsigned few = 0;
	cl_error_t r;

	info->signatures = 0;
	r = cl_load(db, cl, &info->signatures, CL_DB_STDOPT);
	if (r == CL_SUCCESS && info->signatures == 0) {
		snprintf(complaint, sizeof(complaint), "no signatures there");
		r = CL_EMALFDB;
	}
	if (r == CL_SUCCESS && own != NULL)
		r = cl_load(own, cl, &few, CL_DB_STDOPT);
	if (r == CL_SUCCESS)
		r = cl_engine_compile(cl);
	return (r);
}

void
clam_lib_init(void)
{
	pthread_once(&once, init_once);
}

void
clam_lib_temp_dir(struct cl_engine *cl, const char *dir)
{
	cl_engine_set_str(cl, CL_ENGINE_TMPDIR, dir);
}

struct cl_engine *
clam_lib_load(const char *db, const char *own, const char *temp_dir,
    const struct clam_limits *limits, struct clam_info *info, struct fault *f)
{
	struct cl_engine *cl;
	cl_error_t r;

	clam_lib_init();
	complaint[0] = '\0';
	cl = once_result == CL_SUCCESS ? cl_engine_new() : NULL;
	if (cl == NULL) {
		load_fault(f, db,
		    once_result != CL_SUCCESS ? once_result : CL_EMEM);
		return (NULL);
	}
	set_limits(cl, limits);
	cl_engine_set_str(cl, CL_ENGINE_TMPDIR, temp_dir);
	cl_engine_set_clcb_pre_scan(cl, on_pre_scan);
	cl_engine_set_clcb_file_inspection(cl, on_inspect);
	r = load(cl, db, own, info);
	if (r != CL_SUCCESS) {
		load_fault(f, db, r);
		cl_engine_free(cl);
		return (NULL);
	}
	info->version = (unsigned)cl_engine_get_num(cl, CL_ENGINE_DB_VERSION,
	    NULL);
	info->built_at = (time_t)cl_engine_get_num(cl, CL_ENGINE_DB_TIME, NULL);
	info->library = cl_retver();
	return (cl);
}

struct cl_engine *
clam_lib_ref(struct cl_engine *cl)
{
	cl_engine_addref(cl);
	return (cl);
}

void
clam_lib_unref(struct cl_engine **cl)
{
	if (*cl != NULL)
		cl_engine_free(*cl);
	*cl = NULL;
}

/* Looks. */

/* Does policy let what has no other reason than this one pass? */
static bool
passes(const struct clam_look *look, enum scan_gap gap)
{
	return ((look->blocks & 1u << gap) == 0);
}

/* The first reason stays, unless it would pass and this one does not. */
void
clam_look_unscanned(struct clam_look *look, enum scan_gap gap, const char *fmt,
    ...)
{
	va_list ap;

	if (look->verdict > VERDICT_UNSCANNED ||
	    (look->verdict == VERDICT_UNSCANNED &&
		(!passes(look, look->gap) || passes(look, gap))))
		return;
	look->verdict = VERDICT_UNSCANNED;
	look->gap = gap;
	va_start(ap, fmt);
	vsnprintf(look->reason, sizeof(look->reason), fmt, ap);
	va_end(ap);
}

static void
blocked(struct clam_look *look, const char *name)
{
	static const struct str tail = STR(".UNOFFICIAL");
	struct str s = str_of(name);

	if (str_iends(s, tail)) {
		s.n -= tail.n;
		snprintf(look->note, sizeof(look->note),
		    "not from the official database");
	}
	look->verdict = VERDICT_BLOCKED;
	snprintf(look->threat, sizeof(look->threat), "%.*s", STR_ARG(s));
}

/* Is it time to give up?  Asked at every read and every 128 KB. */
bool
clam_look_stops(void *arg)
{
	struct clam_look *look = arg;

	return (atomic_load(&look->stop) || clam_now_ms() > look->deadline);
}

/* Names that are no threats but gaps: prefix, what to say. */
static const struct gap {
	struct str name;
	enum scan_gap gap;
	const char *reason;
} gaps[] = {
	{ STR("Heuristics.Limits.Exceeded.MaxScanTime"), GAP_TIME,
	    "time limit exceeded" },
	{ STR("Heuristics.Limits.Exceeded"), GAP_LIMIT, "limit exceeded" },
	{ STR("Heuristics.Encrypted"), GAP_ENCRYPTED, "encrypted content" },
	/* on_pre_scan() */
	{ STR("Detected.By.Callback"), GAP_TIME, "stopped" },
};

static const struct gap *
gap_of(struct str name)
{
	size_t i;

	for (i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++)
		if (str_starts(name, gaps[i].name))
			return (&gaps[i]);
	return (NULL);
}

/* It says that it found something: a threat, or that it could not look. */
static void
look_found(struct clam_look *look, const struct probe *p, const char *name)
{
	const struct gap *gap = name != NULL ? gap_of(str_of(name)) : NULL;
	size_t n;

	if (name != NULL && gap == NULL) {
		blocked(look, name);
		return;
	}
	if (p->stopped)
		clam_look_unscanned(look, GAP_TIME, "time limit exceeded");
	if (name == NULL) /* ClamAV issue 720: MaxFileSize */
		clam_look_unscanned(look, GAP_LIMIT, "limit exceeded");
	else {
		n = gap->name.n + (name[gap->name.n] == '.');
		clam_look_unscanned(look, gap->gap, "%s (%s)", gap->reason,
		    name + n);
	}
}

/* Too much of something, a file that is broken, or work not done? */
static enum scan_gap
gap_of_error(cl_error_t r)
{
	if (r == CL_ETIMEOUT)
		return (GAP_TIME);
	if (r == CL_EMAXREC || r == CL_EMAXSIZE || r == CL_EMAXFILES)
		return (GAP_LIMIT);
	return (r == CL_EFORMAT || r == CL_EPARSE || r == CL_EUNPACK
		? GAP_DAMAGED
		: GAP_ERROR);
}

static void
look_judge(struct clam_look *look, const struct probe *p, cl_error_t r,
    const char *name)
{
	if (r == CL_VIRUS) {
		look_found(look, p, name);
		return;
	}
	if (p->stopped || clam_now_ms() > look->deadline)
		clam_look_unscanned(look, GAP_TIME, "time limit exceeded");
	if (r != CL_CLEAN && r != CL_VERIFIED)
		clam_look_unscanned(look, gap_of_error(r), "%s (%s)",
		    gap_of_error(r) == GAP_LIMIT      ? "limit exceeded"
			: gap_of_error(r) == GAP_TIME ? "time limit exceeded"
						      : "scan error",
		    cl_strerror(r));
}

/* A clean that comes of calls that failed is none. */
static void
look_lacks(struct clam_look *look, const struct clam_calls *calls)
{
	static const struct {
		enum scan_gap gap;
		const char *reason;
	} lack[LACK_COUNT] = {
		[LACK_SPACE] = { GAP_ERROR, "temporary space" },
		[LACK_DESCRIPTORS] = { GAP_ERROR, "descriptors" },
		[LACK_MEMORY] = { GAP_ERROR, "memory" },
		[LACK_READ] = { GAP_ERROR, "temporary file read error" },
		[LACK_LIMIT] = { GAP_LIMIT, "limit of temporary space" },
	};
	unsigned i = LACK_COUNT;

	while (i-- > 0)
		if (calls->failed[i] > 0)
			clam_look_unscanned(look, lack[i].gap, "%s",
			    lack[i].reason);
}

/* One scan with these heuristics; the gap that it ended with. */
static enum scan_gap
look_once(struct clam_look *look, struct cl_engine *cl,
    const struct clam_map *m, uint32_t heuristic, bool again)
{
	struct cl_scan_options options = {
		.general = CL_SCAN_GENERAL_HEURISTICS,
		.parse = ~0U,
		.heuristic = heuristic,
	};
	struct probe p = { .look = look,
		.again = again,
		.calls = { .stop = clam_look_stops,
		    .stop_arg = look,
		    .temp = &look->core->temp } };
	const struct gap *gap = NULL;
	const char *name = NULL;
	unsigned long scanned = 0;
	cl_fmap_t *map = cl_fmap_open_memory(m->p, m->n);
	cl_error_t r;

	if (map == NULL) {
		clam_look_unscanned(look, GAP_ERROR, "scan error (no memory)");
		return (GAP_ERROR);
	}
	clam_calls_begin(&p.calls);
	r = cl_scanmap_callback(map, NULL, &name, &scanned, cl, &options, &p);
	clam_calls_end();
	p.stopped |= p.calls.stopped;
	look_lacks(look, &p.calls);
	look_judge(look, &p, r, name); /* name is the engine's */
	if (r == CL_VIRUS)
		gap = name != NULL ? gap_of(str_of(name))
				   : gap_of(STR("Heuristics.Limits.Exceeded"));
	cl_fmap_close(map);
	return (gap != NULL ? gap->gap : GAP_NONE);
}

/*
 * libclamav names one gap and is silent about the others.  One that policy
 * lets pass must hide none that it does not: ask again without its alert.
 */
void
clam_look_map(struct clam_look *look, struct cl_engine *cl,
    const struct clam_map *m)
{
	static const uint32_t alert[GAP_COUNT] = {
		[GAP_LIMIT] = CL_SCAN_HEURISTIC_EXCEEDS_MAX,
		[GAP_ENCRYPTED] = CL_SCAN_HEURISTIC_ENCRYPTED_ARCHIVE |
		    CL_SCAN_HEURISTIC_ENCRYPTED_DOC,
	};
	uint32_t heuristic = alert[GAP_LIMIT] | alert[GAP_ENCRYPTED];
	enum scan_gap gap;
	bool again = false;

	for (; (gap = look_once(look, cl, m, heuristic, again)) != GAP_NONE &&
	     passes(look, gap) && (heuristic & alert[gap]) != 0;
	     again = true)
		heuristic &= ~alert[gap];
}
