/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the clamav scanner share: samples, engines, a folder. */
#ifndef UNIT_CLAM_KIT_H
#define UNIT_CLAM_KIT_H

#include <stddef.h>
#include "scanners/clam.h"
#include "t/unit/unit.h"

#define KIT_BIG (16 << 20)
#define FOUND "Eicar-Test-Signature"
#define SHUT(coding) "content coding " coding " cannot be opened"

/* Bytes on the heap; whoever made them frees p. */
struct sample {
	unsigned char *p;
	size_t n, cap;
};

struct sample sample_eicar(void);
struct sample sample_text(void);
struct sample sample_html(void);
struct sample sample_middle(void);
struct sample sample_form(void);
struct sample sample_zeros(size_t n);
struct sample sample_eicar_gzip(void);
struct sample sample_eicar_deflate(void);
struct sample sample_eicar_raw(void);
struct sample sample_eicar_br(void);
struct sample sample_eicar_zstd(void);
struct sample sample_eicar_twice(void);
struct sample sample_eicar_zip(void);
struct sample sample_eicar_zip3(void);
struct sample sample_eicar_deflated_zip(void);
struct sample sample_text_gzip(void);
struct sample sample_text_deflate(void);
struct sample sample_text_br(void);
struct sample sample_encrypted(void);
struct sample sample_encrypted_deflate(void);
struct sample sample_zip_bomb(void);
struct sample sample_gzip_bomb(void);
struct sample sample_deflate_bomb(void);
struct sample sample_zstd_bomb(void);
struct sample sample_large(void);
struct sample sample_empty(void);
struct sample sample_gzip_members(void);
struct sample sample_deflate_cut(void);
struct sample sample_text_deflate_cut(void);
struct sample sample_assay(void);
struct sample sample_hash(void);

/* Private to the program; empty but for what its engines make. */
extern char kit_dir[];

/* How the next engine scans; true at first. */
extern bool kit_in_threads;
/* With the test database and kit_dir unless options say otherwise. */
struct clam_engine *kit_engine(const struct clam_options *);
/* With what keeps its masters. */
void kit_engine_end(struct clam_engine **);
void kit_remove(const char *dir);
/* Makes kit_dir, runs the tests, removes it; or is a scan master, by argv[0]. */
int kit_main(char **argv, const char *suite, const struct unit_test *,
    unsigned n);

#endif
