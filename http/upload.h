/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Uploads in parts: does a request bring a piece of something that its
 * receiver puts together later?  By what the common protocols say in fields
 * and in the query, on hosts of any name: object stores are often one's own.
 * Room: http.  Any thread.
 * tus 1.0; draft-ietf-httpbis-resumable-upload; Amazon S3 UploadPart; Azure
 * Put Block, Append Block, Put Page, Put Range, Path Update; Google
 * X-Goog-Upload-Command; Dropbox upload_session; Backblaze b2_upload_part;
 * Nextcloud and ownCloud chunks; SabreDAV partial updates; counted chunks of
 * browser libraries (resumable.js, flow.js, plupload).
 */
#ifndef HTTP_UPLOAD_H
#define HTTP_UPLOAD_H

#include <stdbool.h>
#include "http/msg.h"

/*
 * Is it said that there is more than this body?  What begins at 0 and does
 * not say that more follows may be the whole: false.  The query is read from
 * uri.path, or from the target where that is not set.
 */
bool http_upload_is_part(const struct http_msg *req);
/* Does it ask for one such piece (S3: GET with partNumber), answered by 206? */
bool http_upload_asks_part(const struct http_msg *req);

#endif
