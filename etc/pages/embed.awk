# SPDX-License-Identifier: GPL-2.0-or-later
# Makes proxy/pages/page_files.c: a/style.css becomes page_file_style_css[].
# Indentation, empty lines and comments on lines of their own are left out.

BEGIN {
	print "/* Made by etc/pages/embed.awk. */"
	print "#include \"proxy/pages/page_files.h\""
}

function finish()
{
	if (open)
		print "\t;"
	open = 0
}

FNR == 1 {
	finish()
	name = FILENAME
	sub(/.*\//, "", name)
	gsub(/[^A-Za-z0-9]/, "_", name)
	printf "\nconst char page_file_%s[] =\n", name
	open = 1
	comment = 0
}
/^<!--/ { comment = 1 }
/^\/\*.*\*\/$/ { next }
{
	line = $0
	if (!comment && FILENAME !~ /\.txt$/)
		sub(/^[ \t]+/, "", line)
	if (!comment && (line != "" || FILENAME ~ /\.txt$/)) {
		gsub(/\\/, "&&", line)
		gsub(/"/, "\\\"", line)
		printf "\t\"%s\\n\"\n", line
	}
}
/-->$/ { comment = 0 }
END { finish() }
