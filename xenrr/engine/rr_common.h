/* What the three kinds of data phase share: the state, the clock, the counts, the ticks.
 *
 * rr_common.c has the rest of it, rr_blocks.c what goes back beside the tally, rr_thread.c
 * what a thread of the loop's own has; rr_sender.c and rr_target.c do round trips,
 * rr_decompose.c tells their parts, rr_connect.c does connections, rr_stream.c data that
 * flows one way, and rr_loop.c is the way in.
 *
 * All state is in struct rr_loop between two steps, so a signal can interrupt anywhere and
 * rr_run goes on from there.
 */
#ifndef RR_COMMON_H
#define RR_COMMON_H

#include "rr_platform.h"

#include "rr_loop.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND 1000000000
#define NS_PER_MS 1000000
#define NS_PER_US 1000
#define SUB_BUCKETS (INT64_C(1) << RR_SUB_BUCKET_BITS)
#define OPTION_VALUE_BYTES 16
/* Half a bucket of a histogram: a factor of two in time. */
#define PART_COUNTS ((size_t) SUB_BUCKETS / 2)
#define PARTS ((size_t) RR_COUNTS / PART_COUNTS)
#define MAX_BESIDE 4
/* See rr_spin. */
#define RR_ALONE_YIELDS 64
#define RR_POLLS_PER_YIELD 64
/* Parts of a decomposed round trip. */
#define RR_PARTS 3

enum step {
    GO, /* take the next step */
    BLOCKED, /* no room in the send buffer */
    READABLE, /* instead of room there is a response */
    DONE,
    INTERRUPTED
};

/* Where a connection is. */
enum stage {
    CLOSED,
    CONNECTING,
    REQUEST,
    RESPONSE,
    ENDING
};

/* Buffers that calls go round. */
struct ring {
    char *memory;
    char *first;
    char *at; /* the buffer of the next call */
    char *last;
    size_t stride;
    int64_t limit; /* most bytes one call moves */
};

struct option {
    int level;
    int name;
    socklen_t length;
    char value[OPTION_VALUE_BYTES];
};

struct address {
    struct sockaddr_storage name;
    socklen_t length;
};

/* SO_RCVTIMEO or SO_SNDTIMEO of the socket. */
struct timeout {
    int name;
    int touched;
    struct timeval old;
    int64_t ns;
};

/* A histogram whose counts are made part by part, when something falls into them. Counts
 * are small, so that those of a thousand flows fit into a cache: what runs over is kept
 * elsewhere. */
struct histogram {
    uint16_t *parts[RR_COUNTS / (SUB_BUCKETS / 2)];
    uint64_t *carried; /* RR_COUNTS of them; NULL: nothing has run over */
    int64_t min_ns; /* above max_ns while empty */
    int64_t max_ns;
    int64_t sum_ns;
    int64_t clamped;
    int no_memory;
};

/* One of Tally.distributions. */
struct beside {
    const char *name;
    struct histogram histogram;
};

/* Memory that grows. */
struct blocks {
    char *memory;
    size_t used;
    size_t room;
    int no_memory;
};

/* A request that is in flight. */
struct request {
    int64_t number; /* RR_FREE: nobody is in this place */
    int64_t start;
    int64_t left; /* many flows: when it really left */
};

#define RR_FREE (-1)

/* Requests in flight by their numbers; rr_numbered.c. */
struct numbers {
    struct request *table;
    int64_t mask;
    int64_t next; /* number of the next request */
    int64_t oldest; /* all before this one are answered or lost */
    int64_t newest; /* the latest that was answered, -1: none */
    int64_t reordered;
    int echoed; /* the last response had a number */
};

/* A sender that splits its round trips. */
struct decompose {
    struct histogram *histograms[RR_PARTS];
    /* Between these two lies CLOCK_REALTIME minus CLOCK_MONOTONIC. */
    int64_t low;
    int64_t high;
    int64_t received_ns; /* stamp of the last piece of the response */
    int old_flags;
    int enabled;
    int any; /* something could be split */
};

struct rr_loop {
    struct rr_spec spec;
    struct rr_tally tally;
    enum step (*step)(struct rr_loop *loop);
    uint64_t *counts; /* lent by the caller */
    uint64_t *snapshot; /* counts at the last interim */
    struct ring in;
    struct ring out;
    int64_t text_bytes; /* after so many bytes what a message says begins anew */
    int fd;
    int measures; /* this end knows the time of its own end */
    int prepared;
    int launched;
    int started;
    int now_fresh; /* nothing happened since `now` was read */
    int keep_timeout; /* also while things go fast */
    int own_table; /* the thread has its own table of descriptors */
    int has_bell; /* it ends what waits, so sockets need no timeouts */
    int bell;
    int64_t bell_ns; /* between two rings; 0: it does not ring yet */
    volatile sig_atomic_t rung;
    struct timeout receive_timeout;
    struct timeout send_timeout;
    struct timeout *timeout; /* the one that ticks decide */

    int64_t now;
    int64_t due; /* the earliest of the next four */
    int64_t deadline;
    int64_t next_tick;
    int64_t next_interim;
    int64_t next_loss; /* a numbered request may have been in flight for too long */
    int64_t tick_ns;
    int64_t tick_samples;
    int64_t interim_ns;
    int64_t interim_transactions;
    int64_t interim_samples;
    int64_t interim_bytes;
    int64_t span_min; /* of the interval that runs */
    int64_t span_max;
    int64_t all_min; /* of the intervals before */
    int64_t all_max;

    int64_t pace_left; /* units that may still go in this interval */
    int64_t pace_end; /* when this interval is over */

    /* Round trips, and some of it for the others too. */
    int64_t *starts; /* ring of `window` start times, oldest at `head` */
    int64_t window;
    int64_t head;
    int64_t send_left; /* bytes of the current message still to send */
    int64_t have; /* bytes of the current message received */
    int64_t stamp; /* start of what is timed next */
    int has_stamp;
    int alone; /* yields that gave the processor to nobody; rr_spin */
    int together; /* messages in a row that came while another had the processor */
    int unspun; /* so many messages are waited for without a poll */
    int small; /* a message of either kind fits into its buffer */
    int silences;
    int64_t last_heard;
    int64_t quiet_since;
    int64_t quiet_mark;
    int64_t poll_every; /* a target polls the stop descriptor so seldom */
    int64_t poll_countdown;

    /* UDP: the queue may hold strangers' datagrams. */
    struct address peer;
    int64_t sifts_left;
    int strays;

    /* UDP with room for numbers. */
    int numbered;
    int has_head; /* target: the request had a number */
    char head_bytes[RR_HEAD_BYTES]; /* what it began with */
    struct numbers numbers;

    /* Connections. */
    enum stage stage;
    int connection;
    int64_t wait_ns; /* how long a call on a connection may wait */
    int inherits; /* what is accepted has the listener's timeout; 0: unknown */
    int begun; /* this transaction is counted as sent */
    int option_count;
    struct option *options;
    struct address destination;
    struct address source;
    int64_t port;
    int64_t ports_tried;
    int64_t silent_until; /* target: then a connection that says nothing is closed */

    /* Streams. */
    int64_t file_at;

    struct decompose *decompose; /* NULL: round trips are not split */
    struct many *many; /* many flows; rr_many.h */
    struct burst *burst; /* UDP: calls for many datagrams */

    int beside_count;
    struct beside beside[MAX_BESIDE];
    struct blocks blocks;
};

static inline int64_t
rr_clock_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t) time.tv_sec * NS_PER_SECOND + time.tv_nsec;
}

static inline int64_t
least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int
bit_length(uint64_t value)
{
#if defined(RR_HAVE_CLZLL)
    return 64 - __builtin_clzll(value | 1);
#else
    int bits = 1;

    while (value >>= 1)
        bits++;
    return bits;
#endif
}

static inline size_t
counts_index(int64_t value_ns)
{
    int shift =
        bit_length((uint64_t) (value_ns | (SUB_BUCKETS - 1))) - RR_SUB_BUCKET_BITS;

    return (size_t) (((int64_t) shift << (RR_SUB_BUCKET_BITS - 1))
                     + (value_ns >> shift));
}

static inline void
record(struct rr_loop *loop, int64_t latency_ns)
{
    if (RR_UNLIKELY((uint64_t) latency_ns > RR_HIGHEST_NS)) {
        loop->tally.clamped += latency_ns >= 0;
        latency_ns = latency_ns < 0 ? 0 : RR_HIGHEST_NS;
    }
    if (latency_ns < loop->span_min)
        loop->span_min = latency_ns;
    if (latency_ns > loop->span_max)
        loop->span_max = latency_ns;
    loop->tally.sum_ns += latency_ns;
    loop->counts[counts_index(latency_ns)]++;
}

/* ---- histograms beside the main one, and the way back; rr_blocks.c ---- */

/* Keep one more, which becomes Tally.distributions[name]; name is not copied. NULL: errno
 * says why. */
struct histogram *
rr_add_beside(struct rr_loop *loop, const char *name);

void
rr_clear_histogram(struct histogram *histogram);

void
rr_free_histogram(struct histogram *histogram);

/* NULL: no memory, and the histogram says so when it is packed. */
uint16_t *
rr_add_part(struct histogram *histogram, size_t part);

/* The count at this index has run over. */
void
rr_carry(struct histogram *histogram, size_t index);

static inline void
count_in(struct histogram *histogram, int64_t value_ns)
{
    uint16_t *part;
    size_t index;

    if (RR_UNLIKELY(value_ns < 0))
        value_ns = 0;
    if (RR_UNLIKELY(value_ns > RR_HIGHEST_NS)) {
        histogram->clamped++;
        value_ns = RR_HIGHEST_NS;
    }
    if (value_ns < histogram->min_ns)
        histogram->min_ns = value_ns;
    if (value_ns > histogram->max_ns)
        histogram->max_ns = value_ns;
    histogram->sum_ns += value_ns;
    index = counts_index(value_ns);
    part = histogram->parts[index / PART_COUNTS];
    if (RR_UNLIKELY(part == NULL)) {
        part = rr_add_part(histogram, index / PART_COUNTS);
        if (part == NULL)
            return;
    }
    if (RR_UNLIKELY(++part[index % PART_COUNTS] == 0))
        rr_carry(histogram, index);
}

/* Blocks: begin one, put things into it, end it. What fails on the way is said by
 * rr_blocks. */
size_t
rr_begin_block(struct blocks *blocks, enum rr_block_kind kind, const char *name);

void
rr_put_numbers(struct blocks *blocks, const int64_t *numbers, size_t count);

void
rr_put_histogram(struct blocks *blocks, const struct histogram *histogram);

void
rr_end_block(struct blocks *blocks, size_t at);

void
rr_free_blocks(struct rr_loop *loop);

static inline int
one_buffer(const struct ring *ring)
{
    return ring->first == ring->last;
}

static inline void
advance(struct ring *ring)
{
    ring->at = ring->at == ring->last ? ring->first : ring->at + ring->stride;
}

static inline ssize_t
rr_send(int fd, const char *from, size_t bytes, int flags)
{
#if defined(RR_HAVE_BARE_CALLS)
    return (ssize_t) syscall(SYS_sendto, (long) fd, from, bytes, (long) flags, NULL,
                             0L);
#else
    return send(fd, from, bytes, flags);
#endif
}

static inline ssize_t
rr_recv(int fd, char *to, size_t bytes, int flags)
{
#if defined(RR_HAVE_BARE_CALLS)
    return (ssize_t) syscall(SYS_recvfrom, (long) fd, to, bytes, (long) flags, NULL,
                             NULL);
#else
    return recv(fd, to, bytes, flags);
#endif
}

/* Send without waiting, or, where the test asks for a plain write, for as long as the
 * send timeout allows. */
static inline ssize_t
put_message(const struct rr_loop *loop, int fd, const char *from, int64_t bytes)
{
    if (RR_UNLIKELY(loop->spec.plain_write))
        return write(fd, from, (size_t) bytes);
    return rr_send(fd, from, (size_t) bytes, RR_SEND_FLAGS);
}

/* Send what is left of a message. */
static inline ssize_t
put_rest(const struct rr_loop *loop, int fd, int64_t whole_bytes)
{
    int64_t offset = (whole_bytes - loop->send_left) % loop->text_bytes;

    return put_message(loop, fd, loop->out.at + offset,
                       least(loop->send_left, loop->out.limit));
}

int
rr_would_block(int error);

/* Receive a message, or a part of one. With `spin`, poll for RR_SPIN_NS first, unless polls
 * have been found to be of no use. */
ssize_t
rr_spin(struct rr_loop *loop, char *to, size_t bytes);

static inline ssize_t
get_message(struct rr_loop *loop, char *to, size_t bytes, int spin)
{
    if (spin) {
        int polls;

        /* A peer with a processor of its own: no function returns after these calls. */
        for (polls = loop->alone >= RR_ALONE_YIELDS ? RR_POLLS_PER_YIELD : 0; polls > 0;
             polls--) {
            ssize_t got = rr_recv(loop->fd, to, bytes, MSG_DONTWAIT);

            if (got >= 0 || !rr_would_block(errno))
                return got;
        }
        if (loop->unspun == 0)
            return rr_spin(loop, to, bytes);
        loop->unspun--;
    }
    return rr_recv(loop->fd, to, bytes, 0);
}

/* Whether a call that failed has waited long enough: its timeout is over or the bell rang. */
static inline int
waited(struct rr_loop *loop, int error)
{
    if (error == EINTR && loop->rung) {
        loop->rung = 0;
        return 1;
    }
    return rr_would_block(error);
}

int
rr_open_ring(struct ring *ring, int64_t width, int64_t bytes, int64_t spare,
             int64_t alignment, int64_t offset, int receives);

/* Write the text, again and again; it runs on from one buffer to the next. */
void
rr_fill_ring(struct ring *ring, int64_t bytes, const char *text, int64_t text_bytes);

int
rr_set_timeout(int fd, struct timeout *timeout, int64_t timeout_ns);

int
rr_stop_asked(const struct rr_loop *loop);

/* Samples taken until now. */
int64_t
rr_samples(const struct rr_loop *loop);

/* The last interim, and the extremes of all. */
void
rr_end_counts(struct rr_loop *loop);

/* End the data phase. */
enum step
rr_finish(struct rr_loop *loop, enum rr_ended ended);

/* A system call said no. */
enum step
rr_fail(struct rr_loop *loop, int error);

/* End of file, or the empty datagram, or the socket was shut down from outside. */
enum step
rr_end_of_file(struct rr_loop *loop);

/* Wait for the time at which the spec wants it to begin. */
enum step
rr_wait_for_start(struct rr_loop *loop);

/* Begin the time of an end that measures. */
enum step
rr_start_clock(struct rr_loop *loop);

/* Something is due at `now`. */
enum step
rr_tick(struct rr_loop *loop);

static inline enum step
tick_if_due(struct rr_loop *loop)
{
    return loop->now >= loop->due ? rr_tick(loop) : GO;
}

/* Wait for room in the send buffer, or for a response if one can come. */
enum step
rr_wait_for_room(struct rr_loop *loop, int readable);

/* ---- a thread of the loop's own; rr_thread.c ---- */

void
rr_take_thread(struct rr_loop *loop);

/* Let the bell ring that often. -1: see errno. */
int
rr_set_bell(struct rr_loop *loop, int64_t every_ns);

void
rr_leave_thread(struct rr_loop *loop);

/* A target polls the stop descriptor once in a while. */
enum step
rr_target_poll(struct rr_loop *loop);

/* ---- pace: after each unit the brake is told, before each it is asked ---- */

void
rr_start_pace(struct rr_loop *loop);

enum step
rr_pause(struct rr_loop *loop);

static inline void
count_unit(struct rr_loop *loop)
{
    if (RR_UNLIKELY(loop->spec.pace_burst > 0))
        loop->pace_left--;
}

static inline int
must_pause(const struct rr_loop *loop)
{
    return RR_UNLIKELY(loop->spec.pace_burst > 0) && loop->pace_left <= 0;
}

/* ---- UDP: datagrams that were queued before the socket was connected ---- */

/* Learn who the peer is. -1: see errno. */
int
rr_start_sifting(struct rr_loop *loop);

/* Take one datagram without waiting. BLOCKED: there are no old ones any more. READABLE:
 * *got and *error are the outcome of a receive. GO: it was a stranger's. */
enum step
rr_sift(struct rr_loop *loop, ssize_t *got, int *error);

int
rr_same_port(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

int
rr_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

/* ---- the parts of round trips; rr_decompose.c ---- */

/* Make the state; -1: errno says why. */
int
rr_open_parts(struct rr_loop *loop);

/* Have the kernel stamp packets; -1: it does not. */
int
rr_start_parts(struct rr_loop *loop);

/* Give the socket back as it was, and free the state if there is one. */
void
rr_close_parts(struct rr_loop *loop);

/* recv, with the stamp of what was received. */
ssize_t
rr_get_stamped(struct rr_loop *loop, char *to, size_t bytes, int flags);

/* Empty the error queue, which poll takes for an error. */
void
rr_drop_stamps(struct rr_loop *loop);

/* Split the round trip that has ended at `now`; -1: there are no stamps here. */
int
rr_decompose(struct rr_loop *loop);

/* ---- UDP with several requests in flight; rr_burst.c. NULL in loop->burst: none ---- */

/* -1: no memory. */
int
rr_open_burst(struct rr_loop *loop);

void
rr_close_burst(struct rr_loop *loop);

/* Sender: datagrams have been received that are not dealt with. */
int
rr_burst_left(const struct rr_loop *loop);

/* Sender: receive what is there, and deal with it. */
enum step
rr_burst_receive(struct rr_loop *loop);

/* Sender: send so many requests, or some of them. */
enum step
rr_burst_send(struct rr_loop *loop, int64_t count);

/* Target: a response has to be sent by itself; it counts as begun. */
int
rr_burst_owes(struct rr_loop *loop);

/* Target: several requests come at once. */
int
rr_many_come(struct rr_loop *loop);

enum step
rr_burst_answer(struct rr_loop *loop);

/* All that is in flight is lost: count what is still queued as late and begin anew. */
enum step
rr_lose_window(struct rr_loop *loop);

/* A receive of a sender, or of a target, has come back. */
enum step
rr_response_received(struct rr_loop *loop, ssize_t got, int error);

enum step
rr_request_received(struct rr_loop *loop, ssize_t got, int error);

/* ---- the kinds ---- */

static inline int
rr_numbered(int64_t request_bytes, int64_t response_bytes)
{
    return least(request_bytes, response_bytes) >= RR_HEAD_BYTES;
}

/* Whether a datagram that begins like this has a number. */
int
rr_has_number(const char *head);
int
rr_open_numbers(struct numbers *numbers, int64_t window);
void
rr_close_numbers(struct numbers *numbers);
/* Write what the next request begins with to `to`; its number, and its place. */
int64_t
rr_next_number(struct numbers *numbers, char *to, struct request **place);
/* It has left. */
static inline void
rr_note_number(struct numbers *numbers, struct request *place, int64_t number,
               int64_t start, int64_t left)
{
    place->number = number;
    place->start = start;
    place->left = left;
    numbers->next = number + 1;
}

/* The request that is oldest in flight, NULL: there is none. */
struct request *
rr_oldest(struct numbers *numbers);
/* The request that a response with this beginning is for; NULL: it is late. */
struct request *
rr_answered(struct numbers *numbers, const char *head);
enum step
rr_numbered_start(struct rr_loop *loop);
enum step
rr_numbered_step(struct rr_loop *loop);
/* Target: a whole request has arrived. */
void
rr_note_head(struct rr_loop *loop, const char *request);
/* Target: send a response that begins as its request did. */
ssize_t
rr_put_numbered(struct rr_loop *loop);
enum step
rr_sender_start(struct rr_loop *loop);
enum step
rr_sender_step(struct rr_loop *loop);
enum step
rr_target_start(struct rr_loop *loop);
enum step
rr_target_step(struct rr_loop *loop);
enum step
rr_connector_start(struct rr_loop *loop);
enum step
rr_connector_step(struct rr_loop *loop);
/* Note what TCP says of the connection that is about to be closed. */
void
rr_look_at_connection(struct rr_loop *loop);
/* Give the open connection its timeouts. */
int
rr_limit_connection(struct rr_loop *loop);
enum step
rr_acceptor_start(struct rr_loop *loop);
enum step
rr_acceptor_step(struct rr_loop *loop);
enum step
rr_stream_start(struct rr_loop *loop);
enum step
rr_stream_out_step(struct rr_loop *loop);
enum step
rr_stream_in_step(struct rr_loop *loop);
/* Many flows: fds are their descriptors. */
int
rr_open_flows(struct rr_loop *loop, const char *fds);
int
rr_open_pool(struct rr_loop *loop);
enum step
rr_flows_start(struct rr_loop *loop);
enum step
rr_flows_step(struct rr_loop *loop);
enum step
rr_pool_start(struct rr_loop *loop);
enum step
rr_pool_step(struct rr_loop *loop);
/* Let go of all connections and add up what they did. */
void
rr_settle_flows(struct rr_loop *loop);
/* Blocks: the poller, and each flow. */
void
rr_put_flows(struct rr_loop *loop);
void
rr_close_many(struct rr_loop *loop);

#endif
