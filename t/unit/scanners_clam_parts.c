/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multipart bodies in front of libclamav: a file that is known by its whole
 * is found in a part, however the part is coded and wherever it stands.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "scanners/clam_priv.h"
#include "t/unit/clam_kit.h"

#define N "\r\n"
#define FORM "multipart/form-data; boundary=b"
#define BAD "assay-test-hash-2c91\n" /* a signature of its MD5 */
#define BAD64 "YXNzYXktdGVz\r\ndC1oYXNoLTJjOTEK"
#define BADQ "assay=2Dtest-=\r\nhash-2c91=0A"
#define BADZ                                                                   \
	"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x4b\x2c\x2e\x4e\xac\xd4"     \
	"\x2d\x49\x2d\x2e\xd1\xcd\x48\x2c\xce\xd0\x35\x4a\xb6\x34\xe4\x02\x00" \
	"\x32"                                                                 \
	"\xf4\x12\xab\x15\x00\x00\x00"
#define BODY(s) s, sizeof(s) - 1
#define HEAD "Content-Disposition: form-data; name=\"f\"; filename=\"f\"" N
#define INNER "--c" N N "x" N "--c" N HEAD N BAD N "--c--" N

static const struct part_case {
	const char *name, *type, *body;
	size_t n;
	enum verdict verdict;
	const char *text; /* threat, or how the reason begins */
	unsigned pass;    /* bits of the reasons that policy lets pass */
	uint32_t files, recursion;
	const char *coding;
} cases[] = {
	{ "clean", FORM, BODY("--b" N HEAD N "hello" N "--b--" N),
	    VERDICT_CLEAN, "", 0, 0, 0, "" },
	{ "no part of anything", "text/plain", BODY("--b" N N BAD N "--b--"),
	    VERDICT_CLEAN, "", 0, 0, 0, "" },
	{ "form", FORM, BODY("--b" N HEAD N BAD N "--b--" N), VERDICT_BLOCKED,
	    "Assay.Test.Hash", 0, 0, 0, "" },
	{ "second part", FORM,
	    BODY("--b" N HEAD N "x" N "--b" N HEAD N BAD N "--b--"),
	    VERDICT_BLOCKED, "Assay.Test.Hash", 0, 0, 0, "" },
	{ "line feeds", FORM, BODY("--b\n" HEAD "\n" BAD "\n--b--"),
	    VERDICT_BLOCKED, "Assay.Test.Hash", 0, 0, 0, "" },
	{ "cut", FORM, BODY("--b" N HEAD N BAD), VERDICT_BLOCKED,
	    "Assay.Test.Hash", 0, 0, 0, "" },
	{ "related", "Multipart/Related; type=a; Boundary=\"b\"",
	    BODY("pre" N "--b" N N BAD N "--b--"), VERDICT_BLOCKED,
	    "Assay.Test.Hash", 0, 0, 0, "" },
	{ "base64", FORM,
	    BODY("--b" N "Content-Transfer-Encoding: base64" N N BAD64 N
		 "--b--"),
	    VERDICT_BLOCKED, "Assay.Test.Hash", 0, 0, 0, "" },
	{ "base64 that it is not", FORM,
	    BODY("--b" N "Content-Transfer-Encoding: base64" N N BAD N "--b--"),
	    VERDICT_BLOCKED, "Assay.Test.Hash", 0, 0, 0, "" },
	{ "quoted-printable", FORM,
	    BODY(
		"--b" N "Content-Transfer-Encoding: Quoted-Printable" N N BADQ N
		"--b--"),
	    VERDICT_BLOCKED, "Assay.Test.Hash", 0, 0, 0, "" },
	{ "gzip file", FORM, BODY("--b" N HEAD N BADZ N "--b--"),
	    VERDICT_BLOCKED, "Assay.Test.Hash", 0, 0, 0, "" },
	{ "coded part", FORM,
	    BODY("--b" N "Content-Encoding: gzip" N N BADZ N "--b--"),
	    VERDICT_BLOCKED, "Assay.Test.Hash", 0, 0, 0, "" },
	{ "coded form", FORM, BODY(BADZ), VERDICT_BLOCKED, "Assay.Test.Hash", 0,
	    0, 0, "gzip" },
	{ "coding that ends before the form", FORM,
	    BODY("\3\0" N "--b" N HEAD N BAD N "--b--" N), VERDICT_BLOCKED,
	    "Assay.Test.Hash", 0, 0, 0, "deflate" },
	{ "boundary for some", "multipart/form-data; boundary=b,c",
	    BODY("--b" N HEAD N BAD N "--b--" N), VERDICT_UNSCANNED,
	    "multipart body without", 0, 0, 0, "" },
	{ "delimiter for some", FORM,
	    BODY("--b" N HEAD N "x--b" N HEAD N BAD N "--b--" N),
	    VERDICT_UNSCANNED, "multipart body that", 0, 0, 0, "" },
	{ "end of a head for some", FORM,
	    BODY("--b" N HEAD "\n"
		 "y" N N BAD N "--b--" N),
	    VERDICT_UNSCANNED, "multipart body that", 0, 0, 0, "" },
	{ "mixed in form", FORM,
	    BODY("--b" N "Content-Type: multipart/mixed; boundary=c" N N INNER N
		 "--b--"),
	    VERDICT_BLOCKED, "Assay.Test.Hash", 0, 0, 0, "" },
	{ "too deep", FORM,
	    BODY("--b" N "Content-Type: multipart/mixed; boundary=c" N N INNER N
		 "--b--"),
	    VERDICT_UNSCANNED, "limit exceeded (multipart", 0, 0, 1, "" },
	{ "too many", FORM,
	    BODY("--b" N N "1" N "--b" N N "2" N "--b" N N "3" N "--b--"),
	    VERDICT_UNSCANNED, "limit exceeded (parts)", 0, 2, 0, "" },
	{ "no boundary", "multipart/form-data", BODY("--b" N N "x" N "--b--"),
	    VERDICT_UNSCANNED, "multipart body without", 0, 0, 0, "" },
	{ "two readings", FORM, BODY("--b" N N "x" N "--bc" N N "y" N "--b--"),
	    VERDICT_UNSCANNED, "multipart body that", 0, 0, 0, "" },
	{ "unknown transfer coding", FORM,
	    BODY("--b" N "Content-Transfer-Encoding: x-uuencode" N N "x" N
		 "--b--"),
	    VERDICT_UNSCANNED, "transfer coding", 0, 0, 0, "" },
	{ "unknown content coding", FORM,
	    BODY("--b" N "Content-Encoding: compress" N N "x" N "--b--"),
	    VERDICT_UNSCANNED, "content coding", 0, 0, 0, "" },
	/* a reason that may pass hides neither a threat nor another reason */
	{ "passing, then a threat", FORM,
	    BODY("--b" N "Content-Encoding: compress" N N "x" N "--b" N N BAD N
		 "--b--"),
	    VERDICT_BLOCKED, "Assay.Test.Hash", 1u << GAP_CODING, 0, 0, "" },
	{ "passing, then not", FORM,
	    BODY("--b" N "Content-Encoding: compress" N N "x" N "--b" N N "y" N
		 "--bc" N),
	    VERDICT_UNSCANNED, "multipart body that", 1u << GAP_CODING, 0, 0,
	    "" },
	{ "not passing, then passing", FORM,
	    BODY("--b" N "Content-Encoding: compress" N N "x" N "--b" N N "y" N
		 "--bc" N),
	    VERDICT_UNSCANNED, "content coding", 1u << GAP_DAMAGED, 0, 0, "" },
};

static ssize_t
case_read(void *arg, void *p, size_t n, uint64_t at)
{
	const struct part_case *c = arg;

	if (at >= c->n)
		return (0);
	if (n > c->n - at)
		n = c->n - (size_t)at;
	memcpy(p, c->body + at, n);
	return ((ssize_t)n);
}

static void
run(const struct part_case *c, bool memory)
{
	struct clam_options o = { .files = c->files,
		.recursion = c->recursion };
	struct clam_engine *e = kit_engine(&o);
	struct clam_look look = { .core = clam_engine_core(e),
		.blocks = ~c->pass };
	const char *text;
	bool good;

	look.source.in = (struct decode_input){ case_read, (void *)(uintptr_t)c,
		c->n };
	look.source.memory = memory ? c->body : NULL;
	look.deadline = clam_now_ms() + 60000;
	strcpy(look.type, c->type);
	decode_list_add(&look.codings, str_of(c->coding));
	clam_look_run(&look);
	text = look.verdict == VERDICT_BLOCKED ? look.threat : look.reason;
	good = look.verdict == c->verdict &&
	    strncmp(text, c->text, strlen(c->text)) == 0;
	if (!good)
		printf("# %s: %s [%s] [%s]\n", c->name,
		    verdict_name(look.verdict), look.threat, look.reason);
	CU_ASSERT(good);
	kit_engine_end(&e);
}

static void
test_parts(void)
{
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run(&cases[i], false);
		run(&cases[i], true);
	}
}

int
main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		{ "parts are files of their own", test_parts },
	};

	(void)argc;
	return (kit_main(argv, "scanners_clam_parts", tests,
	    sizeof(tests) / sizeof(tests[0])));
}
