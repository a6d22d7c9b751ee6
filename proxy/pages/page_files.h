/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of etc/pages as strings, for template.h.  page_files.c is made
 * from them by etc/pages/embed.awk when assay is built.
 * Room: proxy.
 */
#ifndef PROXY_PAGE_FILES_H
#define PROXY_PAGE_FILES_H

extern const char page_file_style_css[];
extern const char page_file_page_html[];
extern const char page_file_home_html[];
extern const char page_file_home_txt[];
extern const char page_file_proxy_pac[];

#endif
