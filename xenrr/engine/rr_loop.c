/* The transaction loop.
 *
 * pure.py is the specification; this does the same. Each role has two ways to move:
 *
 * - a sprint, which does nothing between two transactions but recv, the clock, the
 *   histogram and send. It counts in registers and stops at the first thing that is not
 *   "a whole message went through and nothing is due";
 * - single steps, one system call each, for the start, the end, messages that come in
 *   parts, full buffers and lost datagrams. All state is in struct rr_loop between two
 *   steps, so a signal can interrupt anywhere and rr_run goes on from there.
 *
 * Sends never block: a sender whose window does not fit into the socket buffers has to
 * read responses before the rest of it goes out, and has to see its deadline. MSG_DONTWAIT
 * costs nothing while there is room.
 *
 * A UDP sender that looks for losses keeps its receive timeout always: nothing else gets
 * it out of a receive when a datagram is gone. The timer costs a sender less than 2 %.
 */
#include "rr_platform.h"

#include "rr_loop.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND 1000000000
#define NS_PER_MS 1000000
#define NS_PER_US 1000
#define MIN_STEP_NS 1000000
#define DRAIN_LIMIT 1000000
#define SUB_BUCKETS (INT64_C(1) << RR_SUB_BUCKET_BITS)

/* What senders put on the wire; nobody looks at it. */
static const char TEXT[] = "netperf";
#define TEXT_BYTES ((int64_t) sizeof TEXT - 1)

enum step {
    GO,          /* take the next step */
    BLOCKED,     /* no room in the send buffer */
    READABLE,    /* instead of room there is a response */
    DONE,
    INTERRUPTED
};

struct rr_loop {
    struct rr_spec spec;
    struct rr_tally tally;
    uint64_t *counts;       /* lent by the caller */
    uint64_t *snapshot;     /* counts at the last interim */
    int64_t *starts;        /* ring of `window` start times, oldest at `head` */
    char *in;
    char *out;
    int64_t in_limit;       /* most bytes one recv takes */
    int64_t out_limit;      /* most bytes one send takes */
    int fd;
    int small;              /* a message of either kind fits into its buffer */
    int prepared;
    int started;
    int sifting;            /* UDP target: the queue may hold strangers' datagrams */
    int strays;
    int silences;
    int has_stamp;
    int now_fresh;          /* nothing happened since `now` was read */
    int timeout_touched;
    int own_table;          /* the thread has its own table of descriptors */
    struct timeval old_timeout;
    struct sockaddr_storage peer;
    int64_t timeout_ns;     /* receive timeout of the socket now */
    int64_t window;
    int64_t head;
    int64_t send_left;      /* bytes of the current message still to send */
    int64_t have;           /* bytes of the current message received */
    int64_t stamp;          /* start of the request about to be sent */
    int64_t now;
    int64_t due;            /* the earliest of the next three */
    int64_t deadline;
    int64_t next_tick;
    int64_t next_interim;
    int64_t tick_ns;
    int64_t tick_transactions;
    int64_t interim_ns;
    int64_t interim_transactions;
    int64_t interim_bytes;
    int64_t span_min;       /* of the interval that runs */
    int64_t span_max;
    int64_t all_min;        /* of the intervals before */
    int64_t all_max;
    int64_t last_heard;
    int64_t quiet_since;
    int64_t quiet_mark;
    int64_t poll_countdown;
};

/* RR_COUNTS follows from the layout: (highest / 2048).bit_length() + 2 halves. */
typedef char
    counts_fit[(RR_HIGHEST_NS >> (RR_SUB_BUCKET_BITS + 31)) == 0
                       && RR_COUNTS == (31 + 2) * (1 << (RR_SUB_BUCKET_BITS - 1))
                   ? 1
                   : -1];

static inline int64_t
clock_ns(void)
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

static int64_t
highest_equivalent(size_t index)
{
    int64_t next = (int64_t) index + 1;
    int shift;

    if (next < SUB_BUCKETS)
        return next - 1;
    shift = (int) (next >> (RR_SUB_BUCKET_BITS - 1)) - 1;
    return (((next & (SUB_BUCKETS / 2 - 1)) | (SUB_BUCKETS / 2)) << shift) - 1;
}

static inline void
record(struct rr_loop *loop, int64_t latency_ns)
{
    if (RR_UNLIKELY(latency_ns < 0))
        latency_ns = 0;
    if (RR_UNLIKELY(latency_ns > RR_HIGHEST_NS)) {
        loop->tally.clamped++;
        latency_ns = RR_HIGHEST_NS;
    }
    if (latency_ns < loop->span_min)
        loop->span_min = latency_ns;
    if (latency_ns > loop->span_max)
        loop->span_max = latency_ns;
    loop->tally.sum_ns += latency_ns;
    loop->counts[counts_index(latency_ns)]++;
}

static void
close_span(struct rr_loop *loop)
{
    if (loop->span_max >= 0) {
        loop->all_min = least(loop->all_min, loop->span_min);
        if (loop->span_max > loop->all_max)
            loop->all_max = loop->span_max;
    }
    loop->span_min = INT64_MAX;
    loop->span_max = -1;
}

/* Value of a rank among what was counted since the snapshot, as Histogram.percentile. */
static int64_t
span_percentile(const struct rr_loop *loop, uint64_t percent, uint64_t total)
{
    uint64_t rank = (percent * total + 99) / 100;
    uint64_t seen = 0;
    size_t index = counts_index(loop->span_min);

    for (;; index++) {
        seen += loop->counts[index] - loop->snapshot[index];
        if (seen >= rank)
            break;
    }
    return least(highest_equivalent(index), loop->span_max);
}

static void
report_interim(struct rr_loop *loop)
{
    uint64_t message[8];
    int64_t bytes_now = loop->tally.bytes_sent + loop->tally.bytes_received;
    int64_t transactions = loop->tally.transactions - loop->interim_transactions;
    size_t first, bytes;

    memset(message, 0, sizeof message);
    message[0] = (uint64_t) (loop->now - loop->tally.started_ns);
    message[1] = (uint64_t) (loop->now - loop->interim_ns);
    message[2] = (uint64_t) loop->tally.transactions;
    message[3] = (uint64_t) transactions;
    message[4] = (uint64_t) (bytes_now - loop->interim_bytes);
    if (transactions > 0) {
        message[5] = (uint64_t) span_percentile(loop, 50, (uint64_t) transactions);
        message[6] = (uint64_t) span_percentile(loop, 99, (uint64_t) transactions);
        message[7] = (uint64_t) loop->span_max;
        /* Outside of these two nothing has changed. */
        first = counts_index(loop->span_min);
        bytes = (counts_index(loop->span_max) + 1 - first) * sizeof *loop->counts;
        memcpy(loop->snapshot + first, loop->counts + first, bytes);
    }
    if (write((int) loop->spec.report_fd, message, sizeof message)
        != (ssize_t) sizeof message)
        loop->tally.interims_dropped++;
    close_span(loop);
    loop->interim_ns = loop->now;
    loop->interim_transactions = loop->tally.transactions;
    loop->interim_bytes = bytes_now;
    loop->next_interim += loop->spec.interim_ns;
    if (loop->next_interim <= loop->now)
        loop->next_interim = loop->now + loop->spec.interim_ns;
}

static int
stop_asked(const struct rr_loop *loop)
{
    struct pollfd stop;

    if (loop->spec.stop_fd < 0)
        return 0;
    stop.fd = (int) loop->spec.stop_fd;
    stop.events = POLLIN;
    stop.revents = 0;
    return poll(&stop, 1, 0) > 0;
}

/* A sender knows the time of its last transaction or of its deadline already, any other
 * end is now. */
static enum step
finish(struct rr_loop *loop, enum rr_ended ended)
{
    struct rr_tally *tally = &loop->tally;

    tally->ended = (int64_t) ended;
    if ((ended != RR_COUNT && ended != RR_TIME) || loop->spec.role == RR_TARGET)
        loop->now = clock_ns();
    if (loop->started) {
        tally->elapsed_ns = loop->now - tally->started_ns;
        if (loop->next_interim != INT64_MAX && loop->now > loop->interim_ns)
            report_interim(loop);
    }
    if (loop->spec.role == RR_SENDER && !loop->spec.datagram)
        tally->leftover_bytes = loop->have;
    close_span(loop);
    if (loop->all_max >= 0) {
        tally->min_ns = loop->all_min;
        tally->max_ns = loop->all_max;
    }
    return DONE;
}

static enum step
fail(struct rr_loop *loop, int error)
{
    if (error == EINTR)
        return INTERRUPTED;
    /* The socket at the other end was closed: the way a UDP peer ends without a word. */
    if (error == ECONNREFUSED && loop->spec.datagram)
        return finish(loop, RR_PEER);
    loop->tally.saved_errno = error;
    return finish(loop, RR_ERROR);
}

/* End of file, or the empty datagram, or we were shut down for reading from outside. */
static enum step
end_of_file(struct rr_loop *loop)
{
    if (stop_asked(loop))
        return finish(loop, RR_STOPPED);
    loop->now = clock_ns();
    return finish(loop, loop->now >= loop->deadline ? RR_TIME : RR_PEER);
}

static int
would_block(int error)
{
#if EAGAIN != EWOULDBLOCK
    if (error == EWOULDBLOCK)
        return 1;
#endif
    return error == EAGAIN;
}

static int
set_timeout(struct rr_loop *loop, int64_t timeout_ns)
{
    struct timeval time;

    if (timeout_ns == loop->timeout_ns)
        return 0;
    time.tv_sec = (time_t) (timeout_ns / NS_PER_SECOND);
    time.tv_usec =
        (suseconds_t) ((timeout_ns % NS_PER_SECOND + NS_PER_US - 1) / NS_PER_US);
    if (time.tv_usec >= NS_PER_SECOND / NS_PER_US) {
        time.tv_sec++;
        time.tv_usec = 0;
    }
    if (setsockopt(loop->fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) < 0)
        return -1;
    loop->timeout_touched = 1;
    loop->timeout_ns = timeout_ns;
    return 0;
}

/* Decide how long a receive may wait and when to look again. Close to the deadline both
 * are half of what is left, so a receive that starts just before the next tick still ends
 * in time. */
static int
plan_tick(struct rr_loop *loop)
{
    const struct rr_spec *spec = &loop->spec;
    int64_t left = loop->deadline - loop->now;
    int64_t done = loop->tally.transactions - loop->tick_transactions;
    int near = left < 2 * RR_TICK_NS;
    int slow = done == 0 || (loop->now - loop->tick_ns) / done > RR_SLOW_ROUND_TRIP_NS;
    int losses = spec->datagram && spec->loss_timeout_ns > 0;
    int64_t step = RR_TICK_NS;
    int64_t timeout_ns = 0;

    if (near)
        step = left / 2 > MIN_STEP_NS ? left / 2 : MIN_STEP_NS;
    if (near || slow || losses)
        timeout_ns = losses ? least(step, spec->loss_timeout_ns) : step;
    loop->tick_ns = loop->now;
    loop->tick_transactions = loop->tally.transactions;
    loop->next_tick = loop->now + step;
    loop->due = least(loop->next_tick, least(loop->deadline, loop->next_interim));
    return set_timeout(loop, timeout_ns);
}

/* Something is due at `now`. */
static enum step
tick(struct rr_loop *loop)
{
    loop->now_fresh = 0;
    if (loop->now >= loop->deadline)
        return finish(loop, RR_TIME);
    if (loop->now >= loop->next_interim)
        report_interim(loop);
    if (loop->now < loop->next_tick) {
        loop->due = least(loop->next_tick, least(loop->deadline, loop->next_interim));
        return GO;
    }
    if (stop_asked(loop))
        return finish(loop, RR_STOPPED);
    if (plan_tick(loop) < 0)
        return fail(loop, errno);
    return loop->spec.return_at_ticks ? INTERRUPTED : GO;
}

static inline enum step
tick_if_due(struct rr_loop *loop)
{
    return loop->now >= loop->due ? tick(loop) : GO;
}

/* Wait for room in the send buffer, or for a response if one can come. */
static enum step
wait_for_room(struct rr_loop *loop, int readable)
{
    struct pollfd fds[2];
    int timeout_ms = -1;
    int ready;

    fds[0].fd = loop->fd;
    fds[0].events = readable ? POLLOUT | POLLIN : POLLOUT;
    fds[1].fd = (int) loop->spec.stop_fd; /* poll skips a negative one */
    fds[1].events = POLLIN;
    fds[0].revents = fds[1].revents = 0;
    if (loop->spec.role == RR_SENDER) {
        int64_t left = loop->due - clock_ns();

        timeout_ms = left > 0 ? (int) ((left + NS_PER_MS - 1) / NS_PER_MS) : 0;
    }
    ready = poll(fds, 2, timeout_ms);
    if (ready < 0)
        return fail(loop, errno);
    if (fds[1].revents != 0)
        return finish(loop, RR_STOPPED);
    if (ready == 0) {
        loop->now = clock_ns();
        return tick_if_due(loop);
    }
    return readable && (fds[0].revents & POLLIN) != 0 ? READABLE : GO;
}

/* ---- sender ---- */

static enum step
sender_start(struct rr_loop *loop)
{
    const struct rr_spec *spec = &loop->spec;
    int64_t planned = clock_ns();
    int64_t now;

    loop->tick_ns = loop->now = planned;
    if (spec->duration_ns > 0)
        loop->deadline = planned + spec->duration_ns;
    if (spec->interim_ns > 0 && spec->report_fd >= 0)
        loop->next_interim = planned + spec->interim_ns;
    if (plan_tick(loop) < 0)
        return fail(loop, errno);
    /* The first round trip starts after the set-up, and the time does with it. */
    now = clock_ns();
    if (spec->duration_ns > 0)
        loop->deadline += now - planned;
    loop->started = 1;
    loop->tally.started_ns = loop->last_heard = loop->interim_ns = loop->now = now;
    loop->now_fresh = 1;
    return GO;
}

/* A whole response has arrived at `now`. */
static enum step
complete(struct rr_loop *loop)
{
    if (loop->now > loop->deadline) {
        loop->have = loop->spec.response_bytes;
        return finish(loop, RR_TIME);
    }
    loop->have = 0;
    record(loop, loop->now - loop->starts[loop->head]);
    if (++loop->head == loop->window)
        loop->head = 0;
    loop->tally.in_flight--;
    loop->tally.transactions++;
    loop->silences = 0;
    loop->last_heard = loop->now;
    loop->now_fresh = 1;
    if (loop->tally.transactions == loop->spec.transactions)
        return finish(loop, RR_COUNT);
    return tick_if_due(loop);
}

/* All that is in flight is lost: count what is still queued as late and begin anew. */
static enum step
lose_window(struct rr_loop *loop)
{
    int64_t drained;

    loop->tally.lost += loop->tally.in_flight;
    loop->tally.in_flight = 0;
    loop->head = 0;
    loop->has_stamp = 0;
    loop->silences++;
    if (loop->silences >= RR_MAX_SILENCES)
        return finish(loop, RR_LOST);
    for (drained = 0; drained < DRAIN_LIMIT; drained++) {
        ssize_t got = recv(loop->fd, loop->in, (size_t) loop->in_limit, MSG_DONTWAIT);

        if (got == 0)
            return end_of_file(loop);
        if (got > 0) {
            loop->tally.recv_calls++;
            if (got == loop->spec.response_bytes)
                loop->tally.late++;
            else
                loop->tally.malformed++;
        } else if (would_block(errno)) {
            break;
        } else if (errno != EINTR) {
            return fail(loop, errno);
        }
    }
    loop->last_heard = loop->now = clock_ns();
    return tick_if_due(loop);
}

static enum step
heard_nothing(struct rr_loop *loop)
{
    loop->now = clock_ns();
    if (loop->spec.datagram && loop->spec.loss_timeout_ns > 0
        && loop->tally.in_flight > 0 && loop->now < loop->deadline
        && loop->now - loop->last_heard >= loop->spec.loss_timeout_ns)
        return lose_window(loop);
    return tick_if_due(loop);
}

static enum step
response_received(struct rr_loop *loop, ssize_t got, int error)
{
    if (got < 0)
        return would_block(error) ? heard_nothing(loop) : fail(loop, error);
    if (got == 0)
        return end_of_file(loop);
    loop->tally.recv_calls++;
    if (loop->spec.datagram && got != loop->spec.response_bytes) {
        loop->tally.malformed++;
        return heard_nothing(loop);
    }
    loop->tally.bytes_received += got;
    loop->have += got;
    loop->now = clock_ns();
    if (loop->have == loop->spec.response_bytes)
        return complete(loop);
    return tick_if_due(loop);
}

static enum step
receive_response(struct rr_loop *loop, int flags)
{
    int64_t want = loop->in_limit;
    ssize_t got;

    if (!loop->spec.datagram)
        want = least(want, loop->spec.response_bytes - loop->have);
    got = recv(loop->fd, loop->in, (size_t) want, flags);
    return response_received(loop, got, errno);
}

static enum step
request_sent(struct rr_loop *loop, ssize_t put, int error)
{
    loop->now_fresh = 0;
    if (put < 0)
        return would_block(error) ? BLOCKED : fail(loop, error);
    loop->tally.send_calls++;
    loop->tally.bytes_sent += put;
    if (loop->send_left == 0) {
        loop->starts[(loop->head + loop->tally.in_flight) % loop->window] = loop->stamp;
        loop->has_stamp = 0;
        loop->tally.in_flight++;
        loop->tally.requests_sent++;
        loop->send_left = loop->spec.request_bytes;
    }
    loop->send_left -= put;
    return GO;
}

static enum step
send_request(struct rr_loop *loop)
{
    int64_t offset = 0;
    int64_t left = loop->send_left;
    enum step step;
    ssize_t put;

    if (!loop->now_fresh)
        loop->now = clock_ns();
    step = tick_if_due(loop);
    if (step != GO)
        return step;
    if (left > 0) {
        offset = (loop->spec.request_bytes - left) % TEXT_BYTES;
    } else {
        left = loop->spec.request_bytes;
        if (!loop->has_stamp) {
            loop->stamp = loop->now_fresh ? loop->now : clock_ns();
            loop->has_stamp = 1;
        }
    }
    put = send(loop->fd, loop->out + offset, (size_t) least(left, loop->out_limit),
               RR_SEND_FLAGS);
    return request_sent(loop, put, errno);
}

static int64_t
requests_allowed(const struct rr_loop *loop)
{
    if (loop->spec.transactions == 0)
        return INT64_MAX;
    return loop->spec.transactions - loop->tally.transactions - loop->tally.in_flight;
}

static enum step
sender_sprint(struct rr_loop *loop, int64_t budget)
{
    struct rr_tally *tally = &loop->tally;
    const int64_t request_bytes = loop->spec.request_bytes;
    const int64_t response_bytes = loop->spec.response_bytes;
    const size_t want =
        (size_t) (loop->spec.datagram ? loop->in_limit : response_bytes);
    const int64_t due = loop->due;
    int64_t head = loop->head;
    int64_t done = 0;
    int64_t now = 0;
    ssize_t got = 0;
    ssize_t put = 0;
    int error;

    do {
        int64_t start;

        got = recv(loop->fd, loop->in, want, 0);
        if (RR_UNLIKELY(got != response_bytes))
            break;
        now = clock_ns();
        if (RR_UNLIKELY(now >= due))
            break;
        start = loop->starts[head];
        loop->starts[head] = now;
        if (++head == loop->window)
            head = 0;
        record(loop, now - start);
        done++;
        put = send(loop->fd, loop->out, (size_t) request_bytes, RR_SEND_FLAGS);
    } while (put == request_bytes && done < budget);
    error = errno;

    loop->head = head;
    tally->transactions += done;
    tally->recv_calls += done;
    tally->bytes_received += done * response_bytes;
    tally->requests_sent += done;
    tally->send_calls += done;
    tally->bytes_sent += done * request_bytes;
    if (done > 0) {
        loop->silences = 0;
        loop->last_heard = now;
        loop->now_fresh = 0;
    }
    if (got != response_bytes)
        return response_received(loop, got, error);
    if (now >= due) {
        tally->recv_calls++;
        tally->bytes_received += got;
        loop->now = now;
        return complete(loop);
    }
    if (put != request_bytes) {
        tally->requests_sent--;
        tally->send_calls--;
        tally->bytes_sent -= request_bytes;
        tally->in_flight--;
        loop->stamp = now;
        loop->has_stamp = 1;
        return request_sent(loop, put, error);
    }
    return GO;
}

static enum step
sender_step(struct rr_loop *loop)
{
    int64_t allowed = requests_allowed(loop);
    enum step step;

    if (loop->send_left > 0 || (loop->tally.in_flight < loop->window && allowed > 0)) {
        step = send_request(loop);
        if (step == BLOCKED)
            step = wait_for_room(loop, loop->tally.in_flight > (loop->send_left > 0));
        return step == READABLE ? receive_response(loop, MSG_DONTWAIT) : step;
    }
    if (loop->small && loop->have == 0 && allowed > 0) {
        step = sender_sprint(loop, allowed);
        return step == BLOCKED ? GO : step;
    }
    return receive_response(loop, 0);
}

/* ---- target ---- */

static enum step
target_poll(struct rr_loop *loop)
{
    if (loop->poll_countdown > 0)
        return GO;
    loop->poll_countdown = RR_TARGET_POLL;
    if (stop_asked(loop))
        return finish(loop, RR_STOPPED);
    return loop->spec.return_at_ticks ? INTERRUPTED : GO;
}

/* The receive timeout of a target that watches for the end by itself has passed. */
static enum step
target_quiet(struct rr_loop *loop)
{
    int64_t mark = loop->tally.bytes_received + loop->tally.malformed;

    loop->now = clock_ns();
    if (mark != loop->quiet_mark) {
        loop->quiet_mark = mark;
        loop->quiet_since = loop->now - loop->timeout_ns;
    }
    if (stop_asked(loop))
        return finish(loop, RR_STOPPED);
    if (loop->started && loop->now - loop->tally.started_ns >= loop->spec.duration_ns
        && loop->now - loop->quiet_since >= loop->spec.idle_end_ns)
        return finish(loop, RR_IDLE);
    return GO;
}

static enum step
request_received(struct rr_loop *loop, ssize_t got, int error)
{
    if (got < 0)
        return would_block(error) ? target_quiet(loop) : fail(loop, error);
    if (got == 0) {
        /* A stray end marker of an earlier run, unless they never end: then somebody
         * has shut the socket down. */
        if (loop->spec.datagram && !loop->started && loop->strays++ < RR_MAX_STRAYS
            && !stop_asked(loop))
            return GO;
        return end_of_file(loop);
    }
    loop->tally.recv_calls++;
    loop->poll_countdown--;
    if (loop->spec.datagram && got != loop->spec.request_bytes) {
        loop->tally.malformed++;
        return target_poll(loop);
    }
    loop->tally.bytes_received += got;
    loop->have += got;
    if (loop->have == loop->spec.request_bytes) {
        loop->have = 0;
        loop->send_left = loop->spec.response_bytes;
        if (!loop->started) {
            loop->started = 1;
            loop->tally.started_ns = clock_ns();
        }
    }
    return target_poll(loop);
}

static int
from_peer(const struct rr_loop *loop, const struct sockaddr_storage *from)
{
    if (from->ss_family != loop->peer.ss_family)
        return 0;
    if (from->ss_family == AF_INET) {
        struct sockaddr_in a, b;

        memcpy(&a, from, sizeof a);
        memcpy(&b, &loop->peer, sizeof b);
        return a.sin_port == b.sin_port && a.sin_addr.s_addr == b.sin_addr.s_addr;
    } else {
        struct sockaddr_in6 a, b;

        memcpy(&a, from, sizeof a);
        memcpy(&b, &loop->peer, sizeof b);
        return a.sin6_port == b.sin6_port
               && memcmp(&a.sin6_addr, &b.sin6_addr, sizeof a.sin6_addr) == 0;
    }
}

/* Datagrams that were queued before the socket was connected may be from anybody. */
static enum step
sift_request(struct rr_loop *loop)
{
    struct sockaddr_storage from;
    socklen_t from_bytes = sizeof from;
    ssize_t got;

    memset(&from, 0, sizeof from);
    got = recvfrom(loop->fd, loop->in, (size_t) loop->in_limit, MSG_DONTWAIT,
                   (struct sockaddr *) &from, &from_bytes);
    if (got < 0 && would_block(errno)) {
        loop->sifting = 0;
        return GO;
    }
    if (got >= 0 && !from_peer(loop, &from)) {
        loop->poll_countdown--;
        return target_poll(loop);
    }
    return request_received(loop, got, errno);
}

static enum step
receive_request(struct rr_loop *loop)
{
    int64_t want = loop->in_limit;
    ssize_t got;

    if (!loop->spec.datagram)
        want = least(want, loop->spec.request_bytes - loop->have);
    got = recv(loop->fd, loop->in, (size_t) want, 0);
    return request_received(loop, got, errno);
}

static enum step
response_sent(struct rr_loop *loop, ssize_t put, int error)
{
    if (put < 0)
        return would_block(error) ? BLOCKED : fail(loop, error);
    loop->tally.send_calls++;
    loop->tally.bytes_sent += put;
    loop->send_left -= put;
    if (loop->send_left > 0)
        return GO;
    loop->tally.transactions++;
    if (loop->tally.transactions == loop->spec.transactions)
        return finish(loop, RR_COUNT);
    return GO;
}

static enum step
target_sprint(struct rr_loop *loop)
{
    struct rr_tally *tally = &loop->tally;
    const int64_t request_bytes = loop->spec.request_bytes;
    const int64_t response_bytes = loop->spec.response_bytes;
    const size_t want = (size_t) (loop->spec.datagram ? loop->in_limit : request_bytes);
    int64_t budget = loop->poll_countdown;
    int64_t done = 0;
    ssize_t got;
    ssize_t put = 0;
    int error;

    if (loop->spec.transactions > 0)
        budget = least(budget, loop->spec.transactions - tally->transactions);
    do {
        got = recv(loop->fd, loop->in, want, 0);
        if (RR_UNLIKELY(got != request_bytes))
            break;
        put = send(loop->fd, loop->out, (size_t) response_bytes, RR_SEND_FLAGS);
        if (RR_UNLIKELY(put != response_bytes))
            break;
    } while (++done < budget);
    error = errno;

    tally->transactions += done;
    tally->recv_calls += done;
    tally->bytes_received += done * request_bytes;
    tally->send_calls += done;
    tally->bytes_sent += done * response_bytes;
    loop->poll_countdown -= done;
    if (got != request_bytes)
        return request_received(loop, got, error);
    if (put != response_bytes) {
        enum step step;

        tally->recv_calls++;
        tally->bytes_received += got;
        loop->send_left = response_bytes;
        step = response_sent(loop, put, error);
        return step == BLOCKED ? GO : step;
    }
    if (tally->transactions == loop->spec.transactions)
        return finish(loop, RR_COUNT);
    return target_poll(loop);
}

static enum step
target_step(struct rr_loop *loop)
{
    if (loop->send_left > 0) {
        ssize_t put =
            send(loop->fd, loop->out, (size_t) least(loop->send_left, loop->out_limit),
                 RR_SEND_FLAGS);
        enum step step = response_sent(loop, put, errno);

        return step == BLOCKED ? wait_for_room(loop, 0) : step;
    }
    if (loop->sifting)
        return sift_request(loop);
    if (loop->small && loop->have == 0 && loop->started)
        return target_sprint(loop);
    return receive_request(loop);
}

static enum step
target_start(struct rr_loop *loop)
{
    socklen_t peer_bytes = sizeof loop->peer;

    if (loop->spec.datagram) {
        if (getpeername(loop->fd, (struct sockaddr *) &loop->peer, &peer_bytes) < 0)
            return fail(loop, errno);
        loop->sifting = 1;
    }
    if (loop->spec.idle_end_ns > 0
        && set_timeout(loop, least(loop->spec.idle_end_ns, RR_TICK_NS)) < 0)
        return fail(loop, errno);
    return GO;
}

/* ---- outside ---- */

/* Leave the table of descriptors that all threads share: with it, each system call counts
 * a reference to its file up and down. The new table holds what the loop needs and nothing
 * else, so that no connection of another thread is kept open by it. */
static void
leave_shared_table(struct rr_loop *loop)
{
#if defined(RR_HAVE_CLOSE_RANGE)
    sigset_t signals;
    int64_t keep[3];
    int64_t swap;
    int64_t from = 0;
    int i, j;

    keep[0] = loop->spec.fd;
    keep[1] = loop->spec.stop_fd;
    keep[2] = loop->spec.report_fd;
    for (i = 0; i < 2; i++)
        for (j = 0; j < 2 - i; j++)
            if (keep[j] > keep[j + 1]) {
                swap = keep[j];
                keep[j] = keep[j + 1];
                keep[j + 1] = swap;
            }
    if (syscall(SYS_close_range, (unsigned int) (keep[2] + 1), ~0u,
                RR_CLOSE_RANGE_UNSHARE)
        != 0)
        return;
    loop->own_table = 1;
    /* A signal taken here would write to Python's wake-up descriptor, which this table
     * lacks; another thread is to take it. Those of a crash stay as they are. */
    sigfillset(&signals);
    sigdelset(&signals, SIGSEGV);
    sigdelset(&signals, SIGBUS);
    sigdelset(&signals, SIGFPE);
    sigdelset(&signals, SIGILL);
    sigdelset(&signals, SIGABRT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    for (i = 0; i < 3; i++) {
        if (keep[i] > from)
            syscall(SYS_close_range, (unsigned int) from, (unsigned int) (keep[i] - 1),
                    0u);
        if (keep[i] >= from)
            from = keep[i] + 1;
    }
#else
    (void) loop;
#endif
}

static int
prepare_socket(struct rr_loop *loop)
{
    socklen_t size = sizeof loop->old_timeout;

#if defined(RR_NOSIGPIPE_OPTION)
    int on = 1;

    if (setsockopt(loop->fd, SOL_SOCKET, RR_NOSIGPIPE_OPTION, &on, sizeof on) < 0)
        return -1;
#endif
    if (getsockopt(loop->fd, SOL_SOCKET, SO_RCVTIMEO, &loop->old_timeout, &size) < 0)
        return -1;
    loop->timeout_ns = (int64_t) loop->old_timeout.tv_sec * NS_PER_SECOND
                       + (int64_t) loop->old_timeout.tv_usec * NS_PER_US;
    return set_timeout(loop, 0);
}

struct rr_loop *
rr_open(const struct rr_spec *spec, uint64_t *counts)
{
    struct rr_loop *loop = calloc(1, sizeof *loop);
    int sender = spec->role == RR_SENDER;
    int64_t in_bytes = sender ? spec->response_bytes : spec->request_bytes;
    int64_t out_bytes = sender ? spec->request_bytes : spec->response_bytes;
    int64_t i;

    if (loop == NULL)
        return NULL;
    loop->spec = *spec;
    loop->counts = counts;
    loop->fd = (int) spec->fd;
    loop->window = sender ? spec->burst + 1 : 1;
    loop->deadline = loop->due = loop->next_tick = loop->next_interim = INT64_MAX;
    loop->span_min = loop->all_min = INT64_MAX;
    loop->span_max = loop->all_max = -1;
    loop->quiet_mark = -1;
    loop->poll_countdown = RR_TARGET_POLL;
    /* One byte more than a datagram may have shows one that is too long. */
    loop->in_limit = least(in_bytes + (spec->datagram ? 1 : 0), RR_CHUNK_BYTES);
    /* The text runs on from one send to the next: room to begin anywhere in it. */
    loop->out_limit = least(out_bytes, RR_CHUNK_BYTES - TEXT_BYTES);
    loop->small = in_bytes <= loop->in_limit && out_bytes <= loop->out_limit;
    loop->in = malloc((size_t) loop->in_limit);
    loop->out = calloc(1, (size_t) (loop->out_limit + TEXT_BYTES));
    loop->starts = malloc((size_t) loop->window * sizeof *loop->starts);
    if (spec->interim_ns > 0)
        loop->snapshot = calloc(RR_COUNTS, sizeof *loop->snapshot);
    if (loop->in == NULL || loop->out == NULL || loop->starts == NULL
        || (spec->interim_ns > 0 && loop->snapshot == NULL)) {
        rr_close(loop);
        errno = ENOMEM;
        return NULL;
    }
    for (i = 0; sender && i < loop->out_limit + TEXT_BYTES; i++)
        loop->out[i] = TEXT[i % TEXT_BYTES];
    return loop;
}

int
rr_run(struct rr_loop *loop, struct rr_tally *tally)
{
    int sender = loop->spec.role == RR_SENDER;
    enum step step = GO;

    if (!loop->prepared) {
        loop->prepared = 1;
        if (loop->spec.own_thread)
            leave_shared_table(loop);
        if (prepare_socket(loop) < 0)
            step = fail(loop, errno);
        else if (stop_asked(loop))
            step = finish(loop, RR_STOPPED);
        else
            step = sender ? sender_start(loop) : target_start(loop);
    }
    while (step == GO)
        step = sender ? sender_step(loop) : target_step(loop);
    if (step == INTERRUPTED)
        return RR_INTERRUPTED;
    *tally = loop->tally;
    return RR_DONE;
}

void
rr_close(struct rr_loop *loop)
{
    if (loop == NULL)
        return;
    if (loop->timeout_touched)
        setsockopt(loop->fd, SOL_SOCKET, SO_RCVTIMEO, &loop->old_timeout,
                   sizeof loop->old_timeout);
    /* Only this table's entry: its port must not stay taken until the thread is gone. */
    if (loop->own_table)
        close(loop->fd);
    free(loop->in);
    free(loop->out);
    free(loop->starts);
    free(loop->snapshot);
    free(loop);
}
