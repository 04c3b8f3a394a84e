/* Counts, interims, ticks, timeouts, the brake and the sieve: see rr_common.h. */
#include "rr_common.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define MIN_STEP_NS 1000000
/* See rr_spin. */
#define YIELDED_NS 2000
#define TOGETHER 64
#define UNSPUN 1024
#define TRIED 8
/* A datagram in the queue takes up at least so much of the receive buffer. */
#define QUEUED_DATAGRAM_BYTES 256

/* RR_COUNTS follows from the layout: (highest / 2048).bit_length() + 2 halves. */
typedef char
    counts_fit[(RR_HIGHEST_NS >> (RR_SUB_BUCKET_BITS + 31)) == 0
                       && RR_COUNTS == (31 + 2) * (1 << (RR_SUB_BUCKET_BITS - 1))
                   ? 1
                   : -1];

int
rr_would_block(int error)
{
#if EAGAIN != EWOULDBLOCK
    if (error == EWOULDBLOCK)
        return 1;
#endif
    return error == EAGAIN;
}

/* Polls alone would have two ends on one processor wait for the scheduler's tick at every
 * turn, yields alone would burn the processor for as long as a peer is silent, and a yield
 * costs as much as a poll. So each poll is followed by one only as long as they are of use:
 * while the processor comes back late, because somebody had something to do on it. When it
 * came back at once RR_ALONE_YIELDS times in a row, the loop yields, and looks at the clock,
 * after every RR_POLLS_PER_YIELD polls, which is longer than the turn of a peer that has a
 * processor of its own.
 *
 * Where the peer has the same processor nothing comes while this end has it: each message
 * that is not there yet costs a poll that finds nothing and a yield, and lies there when that
 * comes back. When it was so TOGETHER times in a row, the next UNSPUN messages are waited for
 * in a receive that blocks. Then TRIED of them say whether it goes on like that. */
static void
note_wait(struct rr_loop *loop, int late)
{
    if (!late) {
        loop->together = 0;
    } else if (++loop->together == TOGETHER) {
        loop->together = TOGETHER - TRIED;
        loop->unspun = UNSPUN;
    }
}

ssize_t
rr_spin(struct rr_loop *loop, char *to, size_t bytes)
{
    int64_t until = 0;
    int64_t before, after;
    ssize_t got;
    int late = 0;
    int polls;

    for (polls = 1;; polls++) {
        got = rr_recv(loop->fd, to, bytes, MSG_DONTWAIT);
        if (got >= 0 && polls > 1)
            note_wait(loop, late);
        if (got >= 0 || !rr_would_block(errno))
            return got;
        late = 0;
        if (loop->alone >= RR_ALONE_YIELDS && polls % RR_POLLS_PER_YIELD != 0)
            continue;
        before = rr_clock_ns();
        if (until == 0)
            until = before + RR_SPIN_NS;
        else if (before >= until)
            return rr_recv(loop->fd, to, bytes, 0);
        sched_yield();
        after = rr_clock_ns();
        late = after - before > YIELDED_NS;
        if (late)
            loop->alone = 0;
        else if (loop->alone < RR_ALONE_YIELDS)
            loop->alone++;
    }
}

/* ---- buffers ---- */

/* Large buffers to receive into begin at a page, not where malloc() puts them, which is 16
 * bytes behind one: copies to such a place take a sixth of a stream's rate on one processor.
 * A page is a multiple of what was asked for, or the buffers stay as asked.
 *
 * What is sent stays where malloc() puts it, as with netperf. From a page it goes out no
 * faster, but a stream's first block does, by some microseconds, and these seem to decide how
 * large the window of a receiver on the same processor becomes. */
static int64_t
placing(int64_t bytes, int64_t step)
{
    return bytes >= RR_PAGE_BYTES && RR_PAGE_BYTES % step == 0 ? RR_PAGE_BYTES : step;
}

static int64_t
rounded_up(int64_t bytes, int64_t step)
{
    return (bytes + step - 1) / step * step;
}

int
rr_open_ring(struct ring *ring, int64_t width, int64_t bytes, int64_t spare,
             int64_t alignment, int64_t offset, int receives)
{
    int64_t size = bytes + spare > 0 ? bytes + spare : 1;
    int64_t asked = alignment > 1 ? alignment : 1;
    int64_t step = receives ? placing(bytes, asked) : asked;
    int64_t stride = rounded_up(size + offset, step);
    int64_t whole = width * stride + step;
    uintptr_t at;

    /* Python has refused this with a better message. */
    if (width * rounded_up(size + offset, asked) > RR_MAX_RING_BYTES
        || (uint64_t) whole > SIZE_MAX / 2) {
        errno = ENOMEM;
        return -1;
    }
    ring->memory = malloc((size_t) whole);
    if (ring->memory == NULL)
        return -1;
    /* Not calloc: the first round would take a page fault for every page. */
    memset(ring->memory, 0, (size_t) whole);
    at = (uintptr_t) ring->memory % (uintptr_t) step;
    ring->first = ring->memory + (at > 0 ? (uintptr_t) step - at : 0) + offset;
    ring->at = ring->first;
    ring->stride = (size_t) stride;
    ring->last = ring->first + (size_t) (width - 1) * ring->stride;
    ring->limit = bytes > 0 ? bytes : 1;
    return 0;
}

void
rr_fill_ring(struct ring *ring, int64_t bytes, const char *text, int64_t text_bytes)
{
    char *at = ring->first;
    int64_t phase = 0;
    int64_t done, piece;

    for (;; at += ring->stride) {
        for (done = 0; done < bytes; done += piece) {
            piece = least(text_bytes - phase, bytes - done);
            memcpy(at + done, text + phase, (size_t) piece);
            phase = (phase + piece) % text_bytes;
        }
        if (at == ring->last)
            break;
    }
}

/* ---- counts ---- */

int64_t
rr_samples(const struct rr_loop *loop)
{
    if (loop->spec.kind == RR_STREAM)
        return loop->tally.send_calls + loop->tally.recv_calls;
    return loop->tally.transactions;
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
    int64_t samples = rr_samples(loop) - loop->interim_samples;
    size_t first, bytes;

    memset(message, 0, sizeof message);
    message[0] = (uint64_t) (loop->now - loop->tally.started_ns);
    message[1] = (uint64_t) (loop->now - loop->interim_ns);
    message[2] = (uint64_t) loop->tally.transactions;
    message[3] = (uint64_t) (loop->tally.transactions - loop->interim_transactions);
    message[4] = (uint64_t) (bytes_now - loop->interim_bytes);
    if (samples > 0) {
        message[5] = (uint64_t) span_percentile(loop, 50, (uint64_t) samples);
        message[6] = (uint64_t) span_percentile(loop, 99, (uint64_t) samples);
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
    loop->interim_samples += samples;
    loop->interim_bytes = bytes_now;
    /* At the end there may be no such time any more. */
    loop->next_interim = least(loop->next_interim, INT64_MAX - loop->spec.interim_ns)
                         + loop->spec.interim_ns;
    if (loop->next_interim <= loop->now)
        loop->next_interim = loop->now + loop->spec.interim_ns;
}

/* ---- the end ---- */

int
rr_stop_asked(const struct rr_loop *loop)
{
    struct pollfd stop;

    if (loop->spec.stop_fd < 0)
        return 0;
    stop.fd = (int) loop->spec.stop_fd;
    stop.events = POLLIN;
    stop.revents = 0;
    return poll(&stop, 1, 0) > 0;
}

void
rr_end_counts(struct rr_loop *loop)
{
    if (loop->started && loop->next_interim != INT64_MAX
        && loop->now > loop->interim_ns)
        report_interim(loop);
    close_span(loop);
    if (loop->all_max >= 0) {
        loop->tally.min_ns = loop->all_min;
        loop->tally.max_ns = loop->all_max;
    }
}

/* An end that measures knows the time of its last transaction or of its deadline already,
 * any other end is now. */
enum step
rr_finish(struct rr_loop *loop, enum rr_ended ended)
{
    const struct rr_spec *spec = &loop->spec;
    struct rr_tally *tally = &loop->tally;

    tally->ended = (int64_t) ended;
    if ((ended != RR_COUNT && ended != RR_TIME) || !loop->measures)
        loop->now = rr_clock_ns();
    if (loop->started)
        tally->elapsed_ns = loop->now - tally->started_ns;
    /* What many flows have sent is not known before they are settled. */
    if (spec->kind != RR_FLOWS)
        rr_end_counts(loop);
    if (!spec->datagram
        && (spec->kind == RR_ROUND_TRIPS
            || (spec->kind == RR_CONNECTIONS && spec->role == RR_SENDER)))
        tally->leftover_bytes = loop->have;
    if (spec->kind == RR_CONNECTIONS && spec->role == RR_SENDER
        && loop->stage >= REQUEST)
        rr_look_at_connection(loop);
    return DONE;
}

enum step
rr_fail(struct rr_loop *loop, int error)
{
    if (error == EINTR)
        return waited(loop, error) ? GO : INTERRUPTED;
    /* The socket at the other end was closed: the way a UDP peer ends without a word. */
    if (error == ECONNREFUSED && loop->spec.datagram)
        return rr_finish(loop, RR_PEER);
    loop->tally.saved_errno = error;
    return rr_finish(loop, RR_ERROR);
}

enum step
rr_end_of_file(struct rr_loop *loop)
{
    if (rr_stop_asked(loop))
        return rr_finish(loop, RR_STOPPED);
    loop->now = rr_clock_ns();
    return rr_finish(loop, loop->now >= loop->deadline ? RR_TIME : RR_PEER);
}

/* ---- time ---- */

int
rr_set_timeout(int fd, struct timeout *timeout, int64_t timeout_ns)
{
    struct timeval time;

    if (timeout_ns == timeout->ns)
        return 0;
    time.tv_sec = (time_t) (timeout_ns / NS_PER_SECOND);
    time.tv_usec =
        (suseconds_t) ((timeout_ns % NS_PER_SECOND + NS_PER_US - 1) / NS_PER_US);
    if (time.tv_usec >= NS_PER_SECOND / NS_PER_US) {
        time.tv_sec++;
        time.tv_usec = 0;
    }
    if (setsockopt(fd, SOL_SOCKET, timeout->name, &time, sizeof time) < 0)
        return -1;
    timeout->touched = 1;
    timeout->ns = timeout_ns;
    return 0;
}

static int64_t
earliest(const struct rr_loop *loop)
{
    return least(least(loop->next_tick, loop->next_loss),
                 least(loop->deadline, loop->next_interim));
}

/* A sender that looks for losses of single requests wakes up more often than one of them
 * takes, since others may keep it from waiting for that long. */
static int64_t
loss_wait(const struct rr_loop *loop)
{
    int64_t limit = loop->spec.loss_timeout_ns;

    if (!loop->numbered || limit < MIN_STEP_NS)
        return limit;
    return limit / 4 > MIN_STEP_NS ? limit / 4 : MIN_STEP_NS;
}

/* Decide how long a call may wait and when to look again. Close to the deadline both are
 * half of what is left, so a call that starts just before the next tick still ends in
 * time. */
static int
plan_tick(struct rr_loop *loop)
{
    const struct rr_spec *spec = &loop->spec;
    int64_t left = loop->deadline - loop->now;
    int64_t done = rr_samples(loop) - loop->tick_samples;
    int near = left < 2 * RR_TICK_NS;
    int slow = done == 0 || (loop->now - loop->tick_ns) / done > RR_SLOW_ROUND_TRIP_NS;
    int losses = spec->datagram && spec->loss_timeout_ns > 0;
    int64_t step = RR_TICK_NS;
    int64_t timeout_ns = 0;

    if (near)
        step = left / 2 > MIN_STEP_NS ? left / 2 : MIN_STEP_NS;
    if (near || slow || losses || loop->keep_timeout)
        timeout_ns = losses ? least(step, loss_wait(loop)) : step;
    loop->tick_ns = loop->now;
    loop->tick_samples += done;
    loop->next_tick = loop->now + step;
    loop->due = earliest(loop);
    if (spec->kind == RR_FLOWS)
        return 0;
    if (loop->has_bell)
        return rr_set_bell(loop, losses ? least(step, loss_wait(loop)) : step);
    if (spec->kind != RR_CONNECTIONS)
        return rr_set_timeout(loop->fd, loop->timeout, timeout_ns);
    loop->wait_ns = timeout_ns;
    return loop->connection < 0 ? 0 : rr_limit_connection(loop);
}

/* A tick at a time, so that a stop is seen. The last piece is a sleep without a look: many
 * senders of one processor that spun here would keep one another from starting in time. */
enum step
rr_wait_for_start(struct rr_loop *loop)
{
    struct pollfd stop;
    struct timespec piece;
    int64_t left;

    stop.fd = (int) loop->spec.stop_fd; /* poll skips a negative one */
    stop.events = POLLIN;
    for (;;) {
        left = loop->spec.start_at_ns - rr_clock_ns();
        if (left <= 0)
            return GO;
        if (left >= 2 * NS_PER_MS) {
            stop.revents = 0;
            if (poll(&stop, 1, (int) (least(left, RR_TICK_NS) / NS_PER_MS - 1)) < 0)
                return rr_fail(loop, errno);
            if (stop.revents != 0)
                return rr_finish(loop, RR_STOPPED);
            if (loop->spec.return_at_ticks)
                return INTERRUPTED;
        } else {
            piece.tv_sec = 0;
            piece.tv_nsec = (long) left;
            if (nanosleep(&piece, NULL) < 0)
                return rr_fail(loop, errno);
        }
    }
}

enum step
rr_start_clock(struct rr_loop *loop)
{
    const struct rr_spec *spec = &loop->spec;
    int64_t planned = rr_clock_ns();
    int64_t now;

    loop->tick_ns = loop->now = planned;
    if (spec->duration_ns > 0)
        loop->deadline = planned + spec->duration_ns;
    if (spec->interim_ns > 0 && spec->report_fd >= 0)
        loop->next_interim = planned + spec->interim_ns;
    if (plan_tick(loop) < 0)
        return rr_fail(loop, errno);
    /* The first round trip starts after the set-up, and the time does with it. */
    now = rr_clock_ns();
    if (spec->duration_ns > 0)
        loop->deadline += now - planned;
    loop->started = 1;
    loop->tally.started_ns = loop->last_heard = loop->interim_ns = loop->now = now;
    loop->now_fresh = 1;
    rr_start_pace(loop);
    return GO;
}

enum step
rr_tick(struct rr_loop *loop)
{
    loop->now_fresh = 0;
    if (loop->now >= loop->deadline)
        return rr_finish(loop, RR_TIME);
    if (loop->now >= loop->next_interim)
        report_interim(loop);
    if (loop->now < loop->next_tick) {
        loop->due = earliest(loop);
        return GO;
    }
    if (rr_stop_asked(loop))
        return rr_finish(loop, RR_STOPPED);
    if (plan_tick(loop) < 0)
        return rr_fail(loop, errno);
    return loop->spec.return_at_ticks ? INTERRUPTED : GO;
}

enum step
rr_wait_for_room(struct rr_loop *loop, int readable)
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
        int64_t left = loop->due - rr_clock_ns();

        timeout_ms = left > 0 ? (int) ((left + NS_PER_MS - 1) / NS_PER_MS) : 0;
    }
    ready = poll(fds, 2, timeout_ms);
    if (ready < 0)
        return rr_fail(loop, errno);
    if (fds[1].revents != 0)
        return rr_finish(loop, RR_STOPPED);
    if (ready == 0) {
        loop->now = rr_clock_ns();
        return tick_if_due(loop);
    }
    return readable && (fds[0].revents & POLLIN) != 0 ? READABLE : GO;
}

enum step
rr_target_poll(struct rr_loop *loop)
{
    if (loop->poll_countdown > 0)
        return GO;
    loop->poll_countdown = loop->poll_every;
    if (rr_stop_asked(loop))
        return rr_finish(loop, RR_STOPPED);
    return loop->spec.return_at_ticks ? INTERRUPTED : GO;
}

/* ---- pace ---- */

void
rr_start_pace(struct rr_loop *loop)
{
    loop->pace_left = loop->spec.pace_burst;
    loop->pace_end = loop->tally.started_ns + loop->spec.pace_ns;
}

/* Sleep until the interval is over, a tick at a time. Intervals that were missed are not
 * made up for: there are never more than `burst` units in one. */
enum step
rr_pause(struct rr_loop *loop)
{
    struct timespec piece;
    int64_t left;

    loop->now = rr_clock_ns();
    loop->now_fresh = 0;
    left = loop->pace_end - loop->now;
    if (left <= 0) {
        loop->pace_left = loop->spec.pace_burst;
        loop->pace_end += (1 - left / loop->spec.pace_ns) * loop->spec.pace_ns;
        return GO;
    }
    left = least(left, RR_TICK_NS);
    if (loop->due != INT64_MAX && loop->due - loop->now < left)
        left = loop->due - loop->now;
    if (left > 0) {
        piece.tv_sec = 0;
        piece.tv_nsec = (long) left;
        if (nanosleep(&piece, NULL) < 0)
            return rr_fail(loop, errno);
        loop->now = rr_clock_ns();
    }
    if (loop->measures)
        return tick_if_due(loop);
    return rr_stop_asked(loop) ? rr_finish(loop, RR_STOPPED) : GO;
}

/* ---- the sieve ---- */

int
rr_same_port(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    struct sockaddr_in first, second;

    /* The port lies at the same place in both families. */
    memcpy(&first, a, sizeof first);
    memcpy(&second, b, sizeof second);
    return first.sin_port == second.sin_port;
}

/* The last four bytes of a mapped address are IPv4's. 0: it is of no family we know. */
static int
host_bytes(const struct sockaddr_storage *from, unsigned char host[16])
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255};

    if (from->ss_family == AF_INET) {
        struct sockaddr_in four;

        memcpy(&four, from, sizeof four);
        memcpy(host, mapped, sizeof mapped);
        memcpy(host + sizeof mapped, &four.sin_addr, 4);
        return 1;
    }
    if (from->ss_family == AF_INET6) {
        struct sockaddr_in6 six;

        memcpy(&six, from, sizeof six);
        memcpy(host, &six.sin6_addr, 16);
        return 1;
    }
    return 0;
}

int
rr_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    unsigned char host_a[16], host_b[16];

    return host_bytes(a, host_a) && host_bytes(b, host_b)
           && memcmp(host_a, host_b, sizeof host_a) == 0;
}

int
rr_start_sifting(struct rr_loop *loop)
{
    int buffer = 0;
    socklen_t size = sizeof buffer;

    loop->peer.length = sizeof loop->peer.name;
    if (getpeername(loop->fd, (struct sockaddr *) &loop->peer.name, &loop->peer.length)
            < 0
        || getsockopt(loop->fd, SOL_SOCKET, SO_RCVBUF, &buffer, &size) < 0)
        return -1;
    /* No more can have been queued before, and while a stream comes the queue may never
     * be empty. */
    loop->sifts_left = buffer / QUEUED_DATAGRAM_BYTES + 1;
    return 0;
}

enum step
rr_sift(struct rr_loop *loop, ssize_t *got, int *error)
{
    struct sockaddr_storage from;
    socklen_t from_bytes = sizeof from;

    memset(&from, 0, sizeof from);
    loop->sifts_left--;
    *got = recvfrom(loop->fd, loop->in.at, (size_t) loop->in.limit, MSG_DONTWAIT,
                    (struct sockaddr *) &from, &from_bytes);
    *error = errno;
    if (*got < 0 && rr_would_block(*error)) {
        loop->sifts_left = 0;
        return BLOCKED;
    }
    if (*got >= 0
        && !(rr_same_host(&from, &loop->peer.name)
             && rr_same_port(&from, &loop->peer.name)))
        return GO;
    return READABLE;
}
