/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The content codings of a message, see codings.h. */
#include "scanners/codings.h"

/* Object stores take aws-chunked from this field, too, unsaid elsewhere. */
static bool
is_aws_stream(const struct http_msg *head)
{
	const struct http_field *f = http_fields_find(&head->fields,
	    STR("x-amz-content-sha256"));

	return (f != NULL && str_starts(f->value, STR("STREAMING-")));
}

void
codings_of_message(const struct scan_message *msg, struct decode_list *list)
{
	const struct http_msg *head = msg->mode == SCAN_RESP ? msg->resp
							     : msg->req;
	const struct http_field *f;

	list->is_answer = msg->mode == SCAN_RESP;
	if (msg->gap == GAP_PART)
		return;
	for (f = http_fields_get(&head->fields, FIELD_CONTENT_ENCODING);
	     f != NULL; f = http_fields_next(&head->fields, f))
		decode_list_add(list, f->value);
	if (is_aws_stream(head) &&
	    (list->n == 0 || list->coding[list->n - 1] != DECODE_AWS))
		decode_list_add(list, STR("aws-chunked"));
}
