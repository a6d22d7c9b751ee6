/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sample file and assay.conf(5), written from the table.
 * Room: proxy.  Used by confdoc, not by assayd.
 */
#include <stdio.h>
#include <string.h>
#include "proxy/conf/conf_priv.h"

#define WIDTH 78 /* of comments in the sample */

/* ---- the sample ---- */

static const char sample_head
    [] = "## assay.conf: the configuration of assay, see assay.conf(5).\n"
	 "##\n"
	 "## Settings stand here behind one '#' with their default, or with an "
	 "example\n"
	 "## where there is none; those of each listener, service, rule, "
	 "exception and\n"
	 "## log are in assay.conf(5). The file is YAML; JSON is fine too. "
	 "Durations are\n"
	 "## written 500ms 5s 10m 2h 14d, sizes 512 64K 20M 2G.\n"
	 "## \"assayd --check\" reads the file and prints all that is wrong "
	 "with it.\n"
	 "##\n"
	 "## This alone is a whole configuration:\n"
	 "##\n"
	 "##     services: { av: { url: \"icap://av.example.net/avscan\", "
	 "mode: resp } }\n";

/* A sentence as comment lines. */
static void
write_comment(FILE *f, const char *text, unsigned indent)
{
	size_t column = 0, word;

	for (; *text != '\0'; text += word, text += *text == ' ') {
		word = strcspn(text, " ");
		if (column == 0 || column + 1 + word > WIDTH) {
			fprintf(f, "%s##%*s ", column == 0 ? "" : "\n",
			    (int)indent, "");
			column = indent + 3;
		} else {
			fputc(' ', f);
			column++;
		}
		fwrite(text, 1, word, f);
		column += word;
	}
	fputc('\n', f);
}

/* A row whose value is written as lines of its own. */
static bool
is_lines(const struct conf_option *o)
{
	return (o->type == TYPE_LIST || o->type == TYPE_NAMED ||
	    o->type == TYPE_CHAINS);
}

static void
write_lines(FILE *f, const char *lines)
{
	size_t n;

	for (; *lines != '\0'; lines += n + 1) {
		n = strcspn(lines, "\n");
		fprintf(f, "#%.*s\n", (int)n, lines);
	}
}

static void write_sample_section(FILE *f, enum conf_section s, unsigned indent);

static void
write_sample_option(FILE *f, const struct conf_option *o, unsigned indent)
{
	if (indent == 0)
		fputc('\n', f);
	if (indent == 0 || o->type != TYPE_MAP)
		write_comment(f, o->about, indent);
	if (o->type == TYPE_MAP || is_lines(o)) {
		fprintf(f, "#%*s%s:\n", (int)indent, "", o->key);
		if (is_lines(o))
			write_lines(f, o->example);
		else
			write_sample_section(f, o->inside, indent + 2);
		return;
	}
	fprintf(f, "#%*s%s: %s\n", (int)indent, "", o->key,
	    o->dflt != NULL && o->example == NULL ? o->dflt : o->example);
}

static void
write_sample_section(FILE *f, enum conf_section s, unsigned indent)
{
	unsigned i;

	for (i = 0; i < conf_noptions; i++)
		if (conf_options[i].section == s &&
		    conf_options[i].type != TYPE_RESERVED)
			write_sample_option(f, &conf_options[i], indent);
}

void
conf_write_sample(FILE *f)
{
	fputs(sample_head, f);
	write_sample_section(f, SECTION_ROOT, 0);
}

/* ---- the manual page ---- */

static const char man_head[] =
    ".\\\" SPDX-License-Identifier: GPL-2.0-or-later\n"
    ".\\\" Made by proxy/conf/confdoc from proxy/conf/option.def.\n"
    ".TH ASSAY.CONF 5 \"\" assay \"File formats\"\n"
    ".SH NAME\n"
    "assay.conf \\- configuration of the assay proxy\n"
    ".SH DESCRIPTION\n"
    "The file is YAML; every JSON file is valid too.\n"
    "What a value means is decided by the setting, not by YAML: \\fBno\\fR is "
    "the\n"
    "string \"no\" where a string is asked for. A single value may stand where "
    "a\n"
    "list is asked for. Anchors, aliases and tags are refused.\n"
    "A setting without a value has its default.\n"
    ".PP\n"
    "Unknown settings, settings that are given twice, wrong types, values out "
    "of\n"
    "range, combinations that make no sense and files that cannot be read are\n"
    "errors. \\fBassayd \\-\\-check\\fR prints all of them, one on a line,\n"
    "as \\fIfile\\fR:\\fIline\\fR:\\fIcolumn\\fR: \\fItext\\fR.\n"
    ".PP\n"
    "Durations are written \\fB500ms 5s 10m 2h 14d\\fR, sizes\n"
    "\\fB512 64K 20M 2G 1T\\fR (powers of 1024).\n"
    "Networks are blocks such as \\fB10.0.0.0/8\\fR, single addresses, or\n"
    "\\fBprivate\\fR, \\fBloopback\\fR, \\fBlink_local\\fR, \\fBself\\fR or\n"
    "\\fBany\\fR. Relative paths count from the folder of the file.\n"
    ".PP\n"
    "SIGHUP makes assayd read the file again. A file with errors changes\n"
    "nothing; flows in progress keep the configuration they began with. "
    "Settings\n"
    "marked \"at start\" need a restart.\n"
    ".PP\n"
    "This is a whole configuration:\n"
    ".PP\n"
    ".EX\n"
    "services: { av: { url: \"icap://av.example.net/avscan\", mode: resp } }\n"
    ".EE\n"
    ".SH SETTINGS\n";

static const char man_rules[] =
    ".SS How rules are applied\n"
    "For each decision separately \\- \\fBtls\\fR, \\fBaccess\\fR, "
    "\\fBscan\\fR,\n"
    "\\fBdownload\\fR, \\fBrange\\fR, \\fBstream\\fR, \\fBlog\\fR,\n"
    "\\fBroute\\fR \\- the first rule\n"
    "that matches and makes it wins. Without one a flow is inspected, "
    "allowed,\n"
    "scanned by all services by their mode in the order of the file, treated "
    "as\n"
    "\\fBdownload\\fR says, asked for as a whole, let through after its begin "
    "if it\n"
    "is endless, logged in full, and its origin reached directly.\n"
    ".PP\n"
    "The conditions of a rule must all hold, of a list one item is enough,\n"
    "\\fBnot\\fR negates what is inside.\n"
    "\\fBtls\\fR is decided when the client names a host (CONNECT and\n"
    "ClientHello), \\fBaccess\\fR there, at the head of the request and at "
    "the\n"
    "head of the response, \\fBscan\\fR before the request is sent and again "
    "at\n"
    "the head of the response. A condition that is not known yet at one of "
    "these\n"
    "points, and its negation, do not match there; a block waits for the next\n"
    "point while a rule before it that allows is not known yet, so that a list "
    "of\n"
    "what is allowed can end with a rule that blocks the rest.\n"
    ".PP\n"
    "A rule that could never apply is an error: one that decides \\fBtls\\fR "
    "by\n"
    "\\fBurl\\fR, \\fBmethod\\fR, \\fBtype\\fR or \\fBsize\\fR, one that "
    "decides\n"
    "\\fBrange\\fR by \\fBtype\\fR or \\fBsize\\fR or \\fBroute\\fR by any "
    "of the four,\n"
    "and one behind a rule without condition that decides the same.\n";

static const char man_tail[] = ".SH FILES\n"
			       ".TP\n"
			       ".I /etc/assay/assay.conf\n"
			       "read when no file is given on the command line "
			       "(below the prefix that assay\n"
			       "was configured with)\n"
			       ".SH SEE ALSO\n"
			       ".BR assayd (8)\n";

/* Text for roff: backslashes, a leading dot or quote, hyphens in names. */
static void
write_roff(FILE *f, const char *text)
{
	bool start = true;

	for (; *text != '\0'; text++) {
		if (start && (*text == '.' || *text == '\''))
			fputs("\\&", f);
		start = *text == '\n';
		if (*text == '\\')
			fputs("\\e", f);
		else if (*text == '-')
			fputs("\\-", f);
		else if (*text == '~')
			fputs("\\(ti", f);
		else
			fputc(*text, f);
	}
}

static const char *
type_name(const struct conf_option *o)
{
	static const char *const names[TYPE_COUNT_OF] = { [TYPE_TEXT] = "text",
		[TYPE_FILE] = "file",
		[TYPE_PATH] = "path",
		[TYPE_SECRET] = "secret",
		[TYPE_ENUM] = "word",
		[TYPE_COUNT] = "number",
		[TYPE_SIZE] = "size",
		[TYPE_MEMORY] = "size or percent",
		[TYPE_TIME] = "duration",
		[TYPE_NETS] = "list of networks",
		[TYPE_PORTS] = "list of ports and ranges",
		[TYPE_TRUST] = "list",
		[TYPE_ROOTS] = "list",
		[TYPE_FILES] = "list of files",
		[TYPE_ADDRS] = "list of addresses",
		[TYPE_HEADERS] = "map from name to value",
		[TYPE_SHARE] = "list of header names",
		[TYPE_GAPS] = "block, bypass, or a map from reason to these",
		[TYPE_ON] = "address",
		[TYPE_URL] = "one or more URLs",
		[TYPE_LOG_TO] = "path",
		[TYPE_PROXIES] = "one or more URLs",
		[TYPE_ROUTE] = "direct or a name",
		[TYPE_BLOCKS] = "list of addresses",
		[TYPE_MARK] = "number",
		[TYPE_DSCP] = "code point",
		[TYPE_HOSTS] = "list of hosts",
		[TYPE_METHODS] = "list of methods",
		[TYPE_PROTOCOLS] = "list of protocols",
		[TYPE_TYPES] = "list of media types",
		[TYPE_SIZES] = "list of ranges of sizes",
		[TYPE_URLS] = "list of patterns",
		[TYPE_LISTENERS] = "list of names",
		[TYPE_TIMES] = "list of times of the week",
		[TYPE_IN] = "list of names",
		[TYPE_MATCH] = "map of conditions",
		[TYPE_SCAN] = "list",
		[TYPE_CHAINS] = "map from name to chain",
		[TYPE_MAP] = "map",
		[TYPE_LIST] = "list of maps",
		[TYPE_NAMED] = "map from name to map",
		[TYPE_RESERVED] = "reserved" };

	return (names[o->type]);
}

/* The words of this version, between bars. */
static void
write_words(FILE *f, const struct conf_option *o)
{
	const char *p;
	bool first = true;

	for (p = o->words; *p != '\0'; p += strcspn(p, " "), p += *p == ' ')
		if (*p != '!') {
			fprintf(f, "%s\\fB%.*s\\fR", first ? "" : " | ",
			    (int)strcspn(p, " "), p);
			first = false;
		}
}

static void
write_range(FILE *f, const struct conf_option *o)
{
	char lo[32], hi[32];

	switch ((int)o->type) {
	case TYPE_COUNT:
		fprintf(f, ", %llu to %llu", (unsigned long long)o->min,
		    (unsigned long long)o->max);
		break;
	case TYPE_SIZE:
	case TYPE_MEMORY:
		fprintf(f, ", %s to %s", conf_show_size(o->min, lo),
		    conf_show_size(o->max, hi));
		break;
	case TYPE_TIME:
		fprintf(f, ", %s to %s", conf_show_time(o->min, lo),
		    conf_show_time(o->max, hi));
		break;
	default:
		break;
	}
}

/* ".TP" with the name, and what kind of value it takes. */
static void
write_man_option(FILE *f, const struct conf_option *o)
{
	fprintf(f, ".TP\n\\fB%s\\fR: ", o->key);
	if (o->type == TYPE_ENUM) {
		write_words(f, o);
	} else {
		fprintf(f, "\\fI%s\\fR", type_name(o));
		write_range(f, o);
		if (o->words != NULL) {
			fputs(", or ", f);
			write_words(f, o);
		}
	}
	fputc('\n', f);
	write_roff(f, o->about);
	fputs(".\n", f);
	if (o->dflt != NULL && o->type != TYPE_LIST && o->type != TYPE_NAMED) {
		fputs("Default: \\fB", f);
		write_roff(f, o->dflt);
		fputs("\\fR.\n", f);
	}
	if ((o->flags & OPTION_NEEDED) != 0)
		fputs("Always needed.\n", f);
	if ((o->flags & (OPTION_ICAP | OPTION_CLAM)) != 0)
		fprintf(f, "For %s services.\n",
		    (o->flags & OPTION_ICAP) != 0 ? "icap:" : "clamav:");
	if ((o->flags & OPTION_START) != 0)
		fputs("At start.\n", f);
	if ((o->flags & OPTION_PROCESS) != 0)
		fputs("A change takes a new serving process.\n", f);
	if (o->example != NULL && o->type != TYPE_LIST &&
	    o->type != TYPE_NAMED && o->type != TYPE_CHAINS) {
		fputs("Example: \\fB", f);
		write_roff(f, o->example);
		fputs("\\fR.\n", f);
	}
}

static void
write_man_example(FILE *f, const struct conf_option *o)
{
	fputs(".IP\n.EX\n", f);
	write_roff(f, o->key);
	fputs(":\n", f);
	write_roff(f, o->example);
	fputs(".EE\n", f);
}

/* Known names that this version refuses, in one sentence. */
static void
write_man_reserved(FILE *f, enum conf_section s)
{
	unsigned i, n = 0;

	for (i = 0; i < conf_noptions; i++)
		if (conf_options[i].section == s &&
		    conf_options[i].type == TYPE_RESERVED)
			fprintf(f, "%s\\fB%s\\fR",
			    n++ == 0 ? ".PP\nReserved, "
				       "not supported in this version: "
				     : ", ",
			    conf_options[i].key);
	if (n > 0)
		fputs(".\n", f);
}

static void
write_man_section(FILE *f, enum conf_section s)
{
	const struct conf_section_info *info = &conf_sections[s];
	const struct conf_option *o;
	unsigned i;

	if (s != SECTION_ROOT) {
		fputs(".SS ", f);
		write_roff(f, info->path);
		fputc('\n', f);
	} else {
		fputs(".SS The file\n", f);
	}
	if (info->about != NULL) {
		write_roff(f, info->about);
		fputs(".\n", f);
	}
	for (i = 0; i < conf_noptions; i++) {
		o = &conf_options[i];
		if (o->section != s || o->type == TYPE_RESERVED)
			continue;
		write_man_option(f, o);
		if (is_lines(o) && s == SECTION_ROOT)
			write_man_example(f, o);
	}
	write_man_reserved(f, s);
}

void
conf_write_man(FILE *f)
{
	unsigned s;

	fputs(man_head, f);
	for (s = 0; s < SECTION_COUNT; s++) {
		write_man_section(f, (enum conf_section)s);
		if (s == SECTION_RULE)
			fputs(man_rules, f);
	}
	fputs(man_tail, f);
}
