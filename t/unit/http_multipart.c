/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multipart bodies: parts and what is odd, fed whole, byte by byte and split
 * at every offset; boundaries; transfer codings.
 */
#include "http/multipart.h"
#include "t/unit/http_help.h"

#define N "\r\n"

/* out: "type|coding|transfer|content;" for each part; "!" when odd. */
static const struct {
	const char *in, *out; /* the boundary is "b" */
} bodies[] = {
	{ "", "" },
	{ "no boundary at all", "" },
	{ "--b" N N "one" N "--b--" N, "||0|one;" },
	{ "--b" N "A: c" N N "one" N "--b" N N "two" N "--b--",
	    "||0|one;||0|two;" },
	{ "preamble" N "--b" N N "one" N "--b--" N "epilogue", "||0|one;" },
	{ "--b\n\none\n--b--\n", "||0|one;" },
	{ "--b" N N "one" N "two\n" N "--b--", "||0|one" N "two\n;" },
	{ "--b  \t" N N "one" N "--b-- " N, "||0|one;" },
	{ "--b" N N "cut off", "||0|cut off;" },
	{ "--b" N N "one" N, "||0|one" N ";" },
	{ "--b" N N N "--b--", "" },
	{ "--b" N N "--b" N N "x" N "--b--", "||0|x;" },
	{ "--b" N "Content-Type: text/plain; a=b" N
	  "content-transfer-encoding:  BASE64 " N "Content-Encoding: gzip" N N
	  "x" N "--b--",
	    "text/plain; a=b|gzip|1|x;" },
	{ "--b" N "Content-Type :" N "\ttext/html" N N "x" N "--b--",
	    "text/html||0|x;" },
	{ "--b" N "Content-Transfer-Encoding: quoted-printable (c)" N N "x" N
	  "--b--",
	    "||2|x;" },
	{ "--b" N "Content-Transfer-Encoding: 8bit" N
	  "Content-Transfer-Encoding: base64" N N "x" N "--b--",
	    "||1|x;" },
	{ "--b" N "Content-Transfer-Encoding: uuencode" N N "x" N "--b--",
	    "||4|x;" },
	{ "--b" N N "-" N "--" N "--c" N " --c" N "a-b" N "--b--",
	    "||0|-" N "--" N "--c" N " --c" N "a-b;" },
	/* behind the closing delimiter some still read */
	{ "--b" N N "1" N "--b--" N N "--b" N N "2" N "--b--", "||0|1;||0|2;" },
	/* what receivers split differently */
	{ "--b" N N "1" N "--bc" N N "2" N "--b--", "||0|1;||0|2;!" },
	{ "--b" N "no head" N N "1" N "--b--", "||0|1;!" },
	{ "--b" N "A: b" N "--b--" N, "!" },
	{ "--b" N "Content-Type: a/b" N "Content-Type: c/d" N N "x" N "--b--",
	    "c/d||0|x;!" },
	{ "--b" N N "1" N "--b-" N N "2" N "--b--", "||0|1;||0|2;!" },
	{ "--b" N N "1" N "--b -" N N "2" N "--b--", "||0|1;||0|2;!" },
	{ "--b" N N "1" N "--b- -" N N "2" N "--b--", "||0|1;||0|2;!" },
	/* a delimiter inside a line is one for some */
	{ "--b" N N "1--b" N N "2" N "--b--", "||0|1--b" N N "2;!" },
	{ "--b" N N "1\r--b" N N "2" N "--b--", "||0|1\r--b" N N "2;!" },
	{ "x--b" N N "1" N "--b" N N "2" N "--b--", "||0|2;!" },
	/* line ends that are none for some */
	{ "--b" N N "1\n--b" N N "2" N "--b--", "||0|1;||0|2;!" },
	{ "--b\n" N "1" N "--b--", "||0|1;!" },
	{ "--b" N "A: b\n" N "1" N "--b--", "||0|1;!" },
	{ "--b" N "A: b" N "\n1" N N "2" N "--b--", "||0|1" N N "2;!" },
	{ "--b\nA: b\n\n1" N N "2\n--b--", "||0|1" N N "2;!" },
	{ "--b\nA: b\n\n1" N "2\n--b--\n", "||0|1" N "2;" },
	{ "--b" N "A: b\rC: d" N N "1" N "--b--", "||0|1;!" },
	{ "--b" N "A: b" N "\r" N "C: d" N N "1" N "--b--",
	    "||0|C: d" N N "1;!" },
	{ "--b" N N "1\n2\r3\n\n" N "--b--\n", "||0|1\n2\r3\n\n;" },
	/* names that are none */
	{ "--b" N "\1A: b" N N "1" N "--b--", "||0|1;!" },
	{ "--b" N " A : b" N N "1" N "--b--", "||0|1;" },
	{ "--b" N "Content-Transfer-Encoding: \"base64\"" N N "x" N "--b--",
	    "||4|x;" },
};

static void
note(struct buf *out, const char *in, const struct multipart_part *p)
{
	buf_printf(out, "%s|%s|%u|", p->type, p->coding, p->transfer);
	buf_add(out, in + p->at, (size_t)p->length);
	buf_cstr(out, ";");
}

static void
feed(struct multipart *m, const char *in, size_t from, size_t to,
    struct buf *out)
{
	struct multipart_part part;
	size_t used;

	while (from < to) {
		if (multipart_feed(m, in + from, to - from, &used, &part) ==
		    MULTIPART_PART)
			note(out, in, &part);
		CU_ASSERT_FATAL(used > 0 && used <= to - from);
		from += used;
	}
}

/* step 0: two pieces, parted at split. */
static void
run(unsigned row, size_t split, size_t step)
{
	const char *in = bodies[row].in;
	size_t n = strlen(in), i;
	struct multipart_part part;
	struct buf out = { 0 };
	struct multipart m;

	multipart_init(&m, STR("b"));
	if (step == 0) {
		feed(&m, in, 0, split, &out);
		feed(&m, in, split, n, &out);
	} else {
		for (i = 0; i < n; i += step)
			feed(&m, in, i, i + step < n ? i + step : n, &out);
	}
	if (multipart_end(&m, &part))
		note(&out, in, &part);
	multipart_compare(&m, in, n);
	if (multipart_is_odd(&m))
		buf_cstr(&out, "!");
	buf_cstr(&out, "");
	CHECK_ROW(row, in, http_help_is(&out, bodies[row].out));
	multipart_fini(&m);
}

static void
parts(void)
{
	unsigned row;
	size_t at;

	for (row = 0; row < COUNT(bodies); row++) {
		for (at = 0; at <= strlen(bodies[row].in); at++)
			run(row, at, 0);
		for (at = 1; at < 4; at++)
			run(row, 0, at);
	}
}

static void
heads_are_bounded(void)
{
	static const char line[] = "A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" N;
	struct multipart_part part;
	struct multipart m;
	size_t used;
	unsigned i;

	multipart_init(&m, STR("b"));
	multipart_feed(&m, "--b" N, 5, &used, &part);
	for (i = 0; i < 10000; i++)
		multipart_feed(&m, line, sizeof(line) - 1, &used, &part);
	CU_ASSERT(m.head.cap <= 4 * MULTIPART_HEAD_MAX);
	CU_ASSERT(multipart_is_odd(&m));
	multipart_fini(&m);
}

static const struct {
	const char *type;
	bool is;
	const char *boundary;
} types[] = {
	{ "text/html", false, "" },
	{ "multipart", false, "" },
	{ "multipart/form-data", true, "" },
	{ "multipart/form-data; boundary=abc", true, "abc" },
	{ "multipart/form-data; boundary=----WebKitFormBoundaryA1", true,
	    "----WebKitFormBoundaryA1" },
	{ " Multipart/Mixed;charset=x ; BOUNDARY=\"a b:c\" ; d=e", true,
	    "a b:c" },
	{ "multipart/x; type=\"a;b\"; boundary==_a.b'(c) ;d=e", true,
	    "=_a.b'(c)" },
	/* what some receivers read differently */
	{ "multipart/mixed; boundary = a", true, "" },
	{ "multipart/mixed; boundary= a", true, "" },
	{ "multipart/mixed; boundary='a'", true, "" },
	{ "multipart/mixed; boundary=a b", true, "" },
	{ "multipart/mixed; boundary=a,b", true, "" },
	{ "multipart/mixed; boundary=a\"b", true, "" },
	{ "multipart/mixed; boundary=\"a\"b", true, "" },
	{ "multipart/mixed; boundary=\"a\\b\"", true, "" },
	{ "multipart/mixed; boundary=\"a \"", true, "" },
	{ "multipart/mixed; xboundary=a; boundary=b", true, "" },
	{ "multipart/mixed; x=boundary; boundary=b", true, "" },
	{ "multipart/mixed; boundary=b; x=\"; boundary=a\"", true, "" },
	{ "multipart/mixed; x=\"; boundary=a; y=\"", true, "" },
	{ "multipart/mixed, boundary=a", true, "" },
	{ "text/plain, multipart/form-data; boundary=b", true, "" },
	{ "application/multipartx; boundary=b", true, "" },
	{ "application/x; boundary=b", false, "" },
	{ "multipart/related; type=\"a;boundary=x\"; boundary=y", true, "" },
	{ "multipart/related; boundary=\"y", true, "" },
	{ "multipart/related; boundary=x; boundary=y", true, "" },
	{ "multipart/related; boundary*0=x; boundary*1=y", true, "" },
	{ "multipart/related; x; boundary=y;", true, "y" },
};

static void
boundaries(void)
{
	char room[MULTIPART_BOUNDARY_MAX + 1];
	struct str b;
	unsigned i;

	for (i = 0; i < COUNT(types); i++) {
		CHECK_ROW(i, types[i].type,
		    multipart_type(str_of(types[i].type), room, &b) ==
			types[i].is);
		CHECK_ROW(i, types[i].type,
		    str_eq(b,
			(struct str){ types[i].boundary,
			    strlen(types[i].boundary) }));
	}
}

static const struct {
	unsigned transfer;
	const char *in, *out;
} coded[] = {
	{ MULTIPART_BASE64, "SGVsbG8=", "Hello" },
	{ MULTIPART_BASE64, "SGVs\r\nbG8=", "Hello" },
	{ MULTIPART_BASE64, "S*G V!sbG8", "Hello" },
	{ MULTIPART_BASE64, "SGVsbG8=SGVsbG8=", "HelloHello" },
	{ MULTIPART_BASE64, "Pz8_Pz8/", "????\?\?" },
	{ MULTIPART_BASE64, "", "" },
	{ MULTIPART_QUOTED, "a=3Db=\r\nc=\nd=zz=3de", "a=bcd=zz=e" },
	{ MULTIPART_QUOTED, "a= \t\r\nb", "ab" },
	{ MULTIPART_QUOTED, "plain\r\n", "plain\r\n" },
};

static void
transfers(void)
{
	struct multipart_decoder d;
	struct buf out = { 0 };
	unsigned i, step;
	size_t n, at;

	for (i = 0; i < COUNT(coded); i++)
		for (step = 1; step < 5; step++) {
			n = strlen(coded[i].in);
			multipart_decoder_init(&d, coded[i].transfer);
			buf_cstr(&out, "");
			for (at = 0; at < n; at += step)
				multipart_decode(&d, coded[i].in + at,
				    at + step < n ? step : n - at, &out);
			CHECK_ROW(i, coded[i].in,
			    http_help_is(&out, coded[i].out));
		}
}

UNIT_TESTS(http_multipart, { "parts at every split", parts },
    { "heads are bounded", heads_are_bounded },
    { "types and boundaries", boundaries }, { "transfer codings", transfers })
