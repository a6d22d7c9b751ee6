/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * calloc() for assayd, out of malloc().  That of glibc before 2.41 passes by
 * the thread's cache of free blocks, and libtasn1 asks for 800 blocks in a TLS
 * handshake on both legs: 2 % of its CPU time.  A later glibc and the
 * sanitizers keep their own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#if !__GLIBC_PREREQ(2, 41)

void *
calloc(size_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return (NULL);
	}
	p = malloc(bytes);
	/* Else the compiler makes a calloc() of malloc() and memset(). */
	__asm__("" : "+r" (p));
	if (p != NULL)
		memset(p, 0, bytes);
	return (p);
}

#endif
#endif
