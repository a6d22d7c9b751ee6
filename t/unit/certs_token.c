/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CA's key in a PKCS #11 token (SoftHSM): the key holder signs with it in a
 * box of its own, which is said.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/sandbox.h"
#include "certs/ca.h"
#include "certs/leaf.h"
#include "t/unit/certs_make.h"

#define URL "pkcs11:token=assay-test;object=ca;type=private;pin-value=1234"

static const char *const tool = "/usr/bin/softhsm2-util";

static bool
runs(const char *command)
{
	int r = system(command);

	return (r != -1 && WIFEXITED(r) && WEXITSTATUS(r) == 0);
}

/* A token of this test's own with that key, or nothing to test here. */
static bool
make_token(const struct made *ca)
{
	char text[1024];
	const char *conf, *pem;

	if (access(tool, X_OK) != 0)
		return (false);
	CU_ASSERT_FATAL(mkdir(make_path("tokens"), 0700) == 0);
	snprintf(text, sizeof(text), "directories.tokendir = %s\n",
	    make_path("tokens"));
	conf = make_file("softhsm2.conf", text, strlen(text), 0600);
	CU_ASSERT_EQUAL_FATAL(setenv("SOFTHSM2_CONF", conf, 1), 0);
	pem = make_key_file("token.key", ca);
	snprintf(text, sizeof(text),
	    "%s --init-token --free --label assay-test --pin 1234 --so-pin "
	    "1234 >/dev/null && openssl pkcs8 -topk8 -nocrypt -in %s -out "
	    "%s.p8 && %s --import %s.p8 --token assay-test --label ca --id 01 "
	    "--pin 1234 >/dev/null",
	    tool, pem, pem, tool, pem);
	CU_ASSERT_TRUE_FATAL(runs(text));
	CU_ASSERT_EQUAL_FATAL(unlink(pem), 0);
	return (true);
}

static void
signs(struct ca *ca)
{
	struct leaf_cache *c = leaf_cache_new(ca, 10, NULL);
	struct fault f = { ERR_NONE, "" };
	struct leaf *l;
	char host[32];
	unsigned i;

	for (i = 0; i < 20; i++) {
		snprintf(host, sizeof(host), "h%u.example", i);
		l = leaf_mint(c, host, 0, &f);
		CU_ASSERT_PTR_NOT_NULL(l);
		if (l == NULL)
			printf("# %s\n", f.detail);
		leaf_unref(&l);
	}
	leaf_cache_free(&c);
}

static void
test_token(void)
{
	struct made made = make_cert(&(const struct make){ .cn = "test CA",
					 .ca = 1,
					 .usage = GNUTLS_KEY_KEY_CERT_SIGN },
	    NULL);
	struct sandbox_report box;
	struct fault f = { ERR_NONE, "" };
	char text[SANDBOX_TEXT];
	struct ca *ca;

	if (!make_token(&made)) {
		printf("# no %s here\n", tool);
		CU_PASS("nothing to test");
		return;
	}
	ca = ca_open(&(struct ca_options){ .cert = make_cert_file("ca.pem",
					       &made),
			 .key = URL,
			 .leaf_days = 14 },
	    &f);
	if (ca == NULL)
		printf("# %s\n", f.detail);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ca);
	signs(ca);
	CU_ASSERT_TRUE_FATAL(make_box(make_path("ca.pem"), URL, &box));
	sandbox_text(&box, text);
	CU_ASSERT(strncmp(text, "seccomp of a token's module, ", 29) == 0);
	ca_unref(&ca);
	made_free(&made);
}

CERTS_MAIN(certs_token, { "a key in a token", test_token })
