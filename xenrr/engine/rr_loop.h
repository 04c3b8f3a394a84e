/* The engine in C: what it is asked, what it answers.
 *
 * The contract is that of xenrr/engine/base.py, and so are the names. Both structs hold
 * nothing but 64-bit integers, so that they have the same layout under every compiler and
 * Python fills and reads them with the struct module. What has no fixed size follows the
 * spec, in the order of its last six fields.
 */
#ifndef RR_LOOP_H
#define RR_LOOP_H

#include "rr_platform.h"

#include <stddef.h>
#include <stdint.h>

/* The same numbers as in base.py and stats/histogram.py; a test compares them. */
#define RR_TICK_NS 50000000
#define RR_SLOW_ROUND_TRIP_NS 500000
#define RR_TARGET_POLL 1024
#define RR_SPIN_NS 50000
#define RR_STAMPS_GRACE 8
#define RR_STAMPS_GRACE_NS 200000000
#define RR_MAX_SILENCES 10
#define RR_MAX_STRAYS 64
#define RR_HEAD_BYTES 8
#define RR_IDLE_CONNECTION_NS 1000000000
#define RR_MAX_OPTIONS 32
#define RR_MAX_FLOWS 65536
#define RR_MAX_IN_FLIGHT 4194304
#define RR_MAX_RING_BYTES INT64_C(2147483648)
#define RR_CHUNK_BYTES 1048576
#define RR_PAGE_BYTES 4096
#define RR_TAKE_BYTES 65536
#define RR_SUB_BUCKET_BITS 11
#define RR_HIGHEST_NS INT64_C(3600000000000)
#define RR_COUNTS 33792
#define RR_NAME_BYTES 32
/* A checksum of the names of all fields below, in their order: an extension module that
 * was built before one of them changed has another. hot.py has it too, and a test says
 * what it has to be. */
#define RR_LAYOUT 2141568291

enum rr_kind {
    RR_ROUND_TRIPS = 0, /* LoopSpec */
    RR_CONNECTIONS = 1, /* ConnectSpec */
    RR_STREAM = 2, /* StreamSpec */
    RR_FLOWS = 3, /* FlowsSpec */
    RR_POOL = 4 /* FlowsEngine.serve_flows */
};

/* Places in units.POLLERS. */
enum rr_poller {
    RR_AUTO = 0,
    RR_IO_URING = 1,
    RR_EPOLL = 2,
    RR_POLL = 3
};

enum rr_role {
    RR_SENDER = 0,
    RR_TARGET = 1
};

enum rr_ended {
    RR_TIME = 1,
    RR_COUNT = 2,
    RR_PEER = 3,
    RR_STOPPED = 4,
    RR_IDLE = 5,
    RR_LOST = 6,
    RR_ERROR = 7
};

enum rr_status {
    RR_DONE = 0,
    RR_INTERRUPTED = 1
};

/* hot.py packs it as SPEC. */
struct rr_spec {
    int64_t kind;
    int64_t fd;
    int64_t stop_fd;
    int64_t report_fd;
    int64_t role;
    int64_t datagram;
    int64_t request_bytes;
    int64_t response_bytes;
    int64_t duration_ns;
    int64_t transactions;
    int64_t burst;
    int64_t interim_ns;
    int64_t idle_end_ns;
    int64_t loss_timeout_ns;
    /* Come back with RR_INTERRUPTED at every tick too: a signal that arrives between two
     * system calls interrupts none of them, and a caller on the main thread has to look. */
    int64_t return_at_ticks;
    /* The calling thread may leave the process's table of descriptors. */
    int64_t own_thread;
    int64_t send_width;
    int64_t receive_width;
    int64_t send_alignment;
    int64_t receive_alignment;
    int64_t send_offset;
    int64_t receive_offset;
    int64_t pace_ns;
    int64_t pace_burst;
    int64_t plain_write;
    int64_t spin;
    int64_t decompose;
    int64_t start_at_ns;
    /* Connections; the first port is never 0 where there is a range. */
    int64_t low_port;
    int64_t high_port;
    int64_t first_port;
    int64_t close_first;
    int64_t retry_connect;
    /* Streams. */
    int64_t sends;
    int64_t block_bytes;
    int64_t limit_bytes;
    int64_t discard;
    int64_t file_fd;
    int64_t file_bytes;
    int64_t short_ends;
    /* Many flows; the poller is chosen, not RR_AUTO. interval_bits are those of a double:
     * the mean time between two requests of a flow in ns, 0 for the closed loop. */
    int64_t poller;
    int64_t interval_bits;
    int64_t poisson;
    int64_t seed;
    /* What follows: three socket addresses as the system wants them, a number of options
     * (level, name and length as 64-bit integers, 16 bytes of value), the fill, and the
     * descriptors of many flows as 64-bit integers. A pool reads what joins from `fd` and
     * says in `report_fd` what left. */
    int64_t destination_bytes;
    int64_t source_bytes;
    int64_t peer_bytes;
    int64_t options;
    int64_t fill_bytes;
    int64_t flows;
};

/* hot.py unpacks it as TALLY. */
struct rr_tally {
    int64_t ended;
    int64_t saved_errno;
    int64_t started_ns;
    int64_t elapsed_ns;
    int64_t transactions;
    int64_t requests_sent;
    int64_t in_flight;
    int64_t lost;
    int64_t late;
    int64_t reordered;
    int64_t malformed;
    int64_t bytes_sent;
    int64_t bytes_received;
    int64_t send_calls;
    int64_t recv_calls;
    int64_t interims_dropped;
    int64_t leftover_bytes;
    int64_t failed_sends;
    int64_t strangers;
    int64_t mss;
    int64_t retransmissions;
    int64_t min_ns;
    int64_t max_ns;
    int64_t sum_ns;
    int64_t clamped;
};

/* What has no fixed size follows the tally, block after block: hot.py unpacks it. */
enum rr_block_kind {
    /* A histogram beside the main one, under its name: min_ns, max_ns, sum_ns, clamped,
     * then a pair of index and count for every step that holds something. */
    RR_DISTRIBUTION = 1,
    /* One of many flows, in their order: numbers named as in flows.Flow, then its
     * histogram as above. */
    RR_FLOW = 2,
    /* The number of the poller that ran. */
    RR_POLLER_RAN = 3
};

/* What a block begins with; `bytes` of contents follow, a multiple of 8. */
struct rr_block {
    int64_t kind;
    int64_t bytes;
    char name[RR_NAME_BYTES]; /* ends in zeros */
};

struct rr_loop;

/* Bit n says that poller number n works here. Asks the kernel. */
RR_EXPORT int
rr_pollers(void);

/* Make the state of one data phase. packed holds a struct rr_spec and what follows it, at
 * any address. counts is lent by the caller until rr_close and holds RR_COUNTS zeroes.
 * NULL: errno says why; EINVAL is a spec that was packed wrongly. */
RR_EXPORT struct rr_loop *
rr_open(const void *packed, size_t packed_bytes, uint64_t *counts);

/* Run to the end of the data phase (RR_DONE), or until a signal was caught
 * (RR_INTERRUPTED): then call again to go on with the time that is left. The tally is
 * filled at RR_DONE. */
RR_EXPORT int
rr_run(struct rr_loop *loop, struct rr_tally *tally);

/* After RR_DONE: all blocks, valid until rr_close, and how many bytes they are; may be
 * none. NULL: errno says why. */
RR_EXPORT const void *
rr_blocks(struct rr_loop *loop, size_t *bytes);

/* Put the socket back as it was and free the state; NULL is allowed. */
RR_EXPORT void
rr_close(struct rr_loop *loop);

#endif
