/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flows that a serving process took with it when it died: its successor
 * writes the access record of each, with the code PROXY_CRASHED.  The
 * successor and not the supervisor, which has the flight record (flight.h):
 * only who serves has the log's files, formats and what may be said of clients
 * (log.privacy), and the supervisor has to know none of that.
 *
 * Room: proxy.  Any thread.
 */
#ifndef PROXY_LOST_H
#define PROXY_LOST_H

#include <stdint.h>

struct audit;

/*
 * Record them, and forget each that is: one that dies meanwhile leaves the rest
 * to the next.  flight: the dead one's record, borrowed.  died: Unix ms.  How
 * many there were.
 */
unsigned lost_flows(int flight, uint64_t died, struct audit *);

#endif
