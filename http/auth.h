/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sign-in that is the connection's and not the request's: NTLM, Negotiate and
 * their kin (RFC 4559, MS-NTHT), although RFC 9110 11 has none of it.
 * Room: http.  Any thread.
 */
#ifndef HTTP_AUTH_H
#define HTTP_AUTH_H

#include "http/msg.h"

/* In rising strength. */
enum http_sign_in {
	HTTP_SIGN_NONE,       /* says nothing about the connection */
	HTTP_SIGN_CONNECTION, /* the connection is being signed in, or is */
	HTTP_SIGN_HALF /* ... and the client's next leg answers this one */
};

/*
 * What a message says: a request by its credentials, a response by its
 * challenges and by Persistent-Auth.
 */
enum http_sign_in http_sign_in_of(const struct http_msg *);

#endif
