/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transfer-Ignore: asked for by the service, obeyed where all names agree. */
#include <string.h>
#include "icap/kind.h"
#include "t/unit/icap_talk.h"

#define GIF "Content-Type: image/gif\r\n"
#define NAMED(v) GIF "Content-Disposition: attachment; " v "\r\n"

static const struct {
	const char *path, *fields;
	bool agrees;
} kinds[] = {
	{ "/x.gif", GIF, true },
	{ "/a.exe/x.GIF?y=z.exe", "Content-Type: Image/GIF; q=1\r\n", true },
	{ "/x.mp4", "Content-Type: video/anything\r\n", true },
	{ "/x.gif", NAMED("filename=x.gif"), true },
	{ "/x.gif", NAMED("filename=\"a;b.gif\"; filename*=UTF-8''a.gif"),
	    true },
	/* the address lies */
	{ "/x.exe?.gif", GIF, false },
	{ "/x.exe?a=/b.gif", GIF, false },
	{ "/x.gif/", GIF, false },
	{ "/gif", GIF, false },
	{ "/x.exe", GIF, false },
	/* the type differs, or is missing, or there are two */
	{ "/x.gif", "", false },
	{ "/x.gif", "Content-Type: application/octet-stream\r\n", false },
	{ "/x.gif", "Content-Type: image/gifx\r\n", false },
	{ "/x.gif", GIF "Content-Type: text/html\r\n", false },
	{ "/x.mp4", "Content-Type: video/\r\n", false },
	{ "/x.gif", "Content-Type: image/png\r\n", false },
	{ "/x.mp4", "Content-Type: video/mp4, text/html\r\n", false },
	/* it is saved under another name */
	{ "/x.gif", NAMED("filename*0=x.; filename*1=exe"), false },
	{ "/x.gif", NAMED("filename=x.exe"), false },
	{ "/x.gif", NAMED("filename=\"x.gif.exe\""), false },
	{ "/x.gif", NAMED("filename=x.gif; filename*=UTF-8''x.exe"), false },
	{ "/x.gif", NAMED("FileName = \"x;.gif\\\"; .exe\""), false },
	{ "/x.gif", NAMED("filename"), true },
	/* unknown here */
	{ "/x.exe", "Content-Type: application/x-msdownload\r\n", false },
};

static void
test_kinds(void)
{
	char req[256], resp[512];
	size_t i;

	rig_init(&rig);
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(req, sizeof(req),
		    "GET http://a.example%s HTTP/1.1\r\n"
		    "Host: a.example\r\n\r\n",
		    kinds[i].path);
		snprintf(resp, sizeof(resp), "HTTP/1.1 200 OK\r\n%s\r\n",
		    kinds[i].fields);
		try_init(&t, &rig, req, resp, NULL);
		CU_ASSERT_EQUAL(icap_kind_agrees(&t.msg), kinds[i].agrees);
		if (icap_kind_agrees(&t.msg) != kinds[i].agrees)
			printf("# case %zu\n", i);
		try_fini(&t);
	}
	rig_fini(&rig);
}

static void
obey(struct rig *r)
{
	r->options.obey_transfer = true;
}

/* scan is the default; obey needs agreement; both leave the slot free. */
static void
test_transfer_ignore(void)
{
	static const struct {
		const char *resp;
		void (*adjust)(struct rig *);
		bool ignored;
	} row[] = {
		{ "HTTP/1.1 200 OK\r\n" GIF "\r\n", NULL, false },
		{ "HTTP/1.1 200 OK\r\n" GIF "\r\n", obey, true },
		{ "HTTP/1.1 200 OK\r\n\r\n", obey, false },
		{ "HTTP/1.1 200 OK\r\n" NAMED("filename=x.exe") "\r\n", obey,
		    false },
	};
	static const struct try_body body = { .size = 5000 };
	size_t i;

	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		with_options = OPTIONS("Transfer-Ignore: gif\r\n"
				       "Max-Connections: 1\r\n");
		adjust = row[i].adjust;
		begin(serve_204_whole);
		try_init(&t, &rig,
		    "GET http://a.example/x.gif HTTP/1.1\r\n"
		    "Host: a.example\r\n\r\n",
		    row[i].resp, &body);
		try_run(&t);
		CU_ASSERT_EQUAL(t.scan.result.fault.code, ERR_NONE);
		CU_ASSERT_EQUAL(t.scan.result.verdict,
		    row[i].ignored ? VERDICT_UNSCANNED : VERDICT_CLEAN);
		CU_ASSERT_EQUAL(t.scan.result.unwanted, row[i].ignored);
		CU_ASSERT(!row[i].ignored || t.scan.result.reason.n > 0);
		CU_ASSERT_EQUAL(peer_served(peer), !row[i].ignored);
		finish();
	}
}

UNIT_TESTS(icap_kind, { "all names of a file agree", test_kinds },
    { "Transfer-Ignore is scanned or obeyed", test_transfer_ignore })
