/* Data that flows one way, both ends.
 *
 * The clock is read once per call: the end of one is the start of the next. Sends block,
 * as netperf's do: while the receiver is behind, the kernel puts a whole block into the
 * buffer when there is room, where a send that must not wait would cut blocks into pieces
 * and need a poll for each. A send timeout of a tick, which costs nothing until a call
 * waits, gets the loop out in time. A receiver has one only when nothing comes or the end
 * is near, as round trips have.
 */
#include "rr_common.h"

#include <errno.h>
#if defined(RR_HAVE_SENDFILE)
#include <sys/sendfile.h>
#endif

enum step
rr_stream_start(struct rr_loop *loop)
{
    enum step step;

    if (!loop->spec.sends && loop->spec.datagram && rr_start_sifting(loop) < 0)
        return rr_fail(loop, errno);
    step = rr_start_clock(loop);
    loop->stamp = loop->now;
    if (!loop->spec.sends) {
        /* The time of a receiver begins with the first data; its deadline does not wait. */
        loop->started = 0;
        loop->tally.started_ns = 0;
        loop->next_interim = INT64_MAX;
        loop->due = least(loop->next_tick, loop->deadline);
    }
    return step;
}

static int
broken(int error)
{
    return error == ECONNRESET || error == EPIPE;
}

/* How many whole blocks until the limit is reached. */
static int64_t
blocks_left(const struct rr_loop *loop)
{
    const struct rr_spec *spec = &loop->spec;

    if (spec->limit_bytes == 0)
        return INT64_MAX;
    return (spec->limit_bytes - loop->tally.bytes_sent + spec->block_bytes - 1)
           / spec->block_bytes;
}

/* A call was made and `now` read: is anything due? Work at a tick is no part of the next
 * call's time. */
static enum step
after_call(struct rr_loop *loop)
{
    enum step step;

    if (loop->now < loop->due)
        return GO;
    step = rr_tick(loop);
    if (step != DONE)
        loop->stamp = rr_clock_ns();
    return step;
}

static enum step
pause_stream(struct rr_loop *loop)
{
    enum step step = rr_pause(loop);

    loop->stamp = loop->now;
    return step;
}

/* ---- sender ---- */

static inline ssize_t
send_block(struct rr_loop *loop, const char *from, int64_t bytes)
{
    if (RR_UNLIKELY(loop->spec.plain_write))
        return write(loop->fd, from, (size_t) bytes);
    return send(loop->fd, from, (size_t) bytes, RR_WAIT_FLAGS);
}

static enum step
not_sent(struct rr_loop *loop, int error)
{
    if (error == EINTR)
        return INTERRUPTED;
    if (loop->spec.datagram
        && (rr_would_block(error) || error == ENOBUFS || error == ECONNREFUSED)) {
        loop->tally.failed_sends++;
        count_unit(loop);
        loop->stamp = loop->now = rr_clock_ns();
        return after_call(loop);
    }
    if (!rr_would_block(error))
        return !loop->spec.datagram && broken(error) ? rr_end_of_file(loop)
                                                     : rr_fail(loop, error);
    /* The wait goes on, and so does the time of the call. */
    loop->now = rr_clock_ns();
    return tick_if_due(loop);
}

/* A call has moved something; if it was not a whole block, the rest is still to go. */
static enum step
sent(struct rr_loop *loop, ssize_t put, int64_t left)
{
    loop->now = rr_clock_ns();
    loop->tally.send_calls++;
    loop->tally.bytes_sent += put;
    record(loop, loop->now - loop->stamp);
    loop->stamp = loop->now;
    loop->send_left = left;
    if (left == 0) {
        advance(&loop->out);
        if (blocks_left(loop) <= 0)
            return rr_finish(loop, RR_COUNT);
    }
    return after_call(loop);
}

/* Whatever there is up to the end of the file is a block. */
static enum step
send_from_file(struct rr_loop *loop)
{
    int64_t left = loop->spec.file_bytes - loop->file_at;
    size_t bytes = (size_t) least(loop->spec.block_bytes, left);
    off_t at = (off_t) loop->file_at;
    ssize_t put;

#if defined(RR_HAVE_SENDFILE)
    put = sendfile(loop->fd, (int) loop->spec.file_fd, &at, bytes);
#else
    put = pread((int) loop->spec.file_fd, loop->out.at, bytes, at);
    if (put > 0)
        put = send(loop->fd, loop->out.at, (size_t) put, RR_WAIT_FLAGS);
#endif
    if (put < 0)
        return not_sent(loop, errno);
    if (put == 0) {
        /* The file has become shorter. */
        if (loop->file_at == 0)
            return rr_fail(loop, EIO);
        loop->file_at = 0;
        loop->now = rr_clock_ns();
        return tick_if_due(loop);
    }
    loop->file_at += put;
    if (loop->file_at >= loop->spec.file_bytes)
        loop->file_at = 0;
    count_unit(loop);
    return sent(loop, put, 0);
}

static enum step
send_rest(struct rr_loop *loop)
{
    int64_t done = loop->spec.block_bytes - loop->send_left;
    ssize_t put = send_block(loop, loop->out.at + done, loop->send_left);

    return put < 0 ? not_sent(loop, errno) : sent(loop, put, loop->send_left - put);
}

enum step
rr_stream_out_step(struct rr_loop *loop)
{
    struct rr_tally *tally = &loop->tally;
    const int64_t block = loop->spec.block_bytes;
    const int64_t due = loop->due;
    int64_t budget = blocks_left(loop);
    struct ring out = loop->out;
    int64_t last, now, done = 0;
    ssize_t put;
    int error;

    if (loop->send_left > 0)
        return send_rest(loop);
    if (must_pause(loop))
        return pause_stream(loop);
    if (loop->spec.file_fd >= 0)
        return send_from_file(loop);
    if (loop->spec.pace_burst > 0)
        budget = least(budget, 1);
    last = now = loop->stamp;
    do {
        put = send_block(loop, out.at, block);
        if (RR_UNLIKELY(put != block))
            break;
        now = rr_clock_ns();
        advance(&out);
        record(loop, now - last);
        last = now;
        done++;
    } while (now < due && done < budget);
    error = errno;

    loop->out.at = out.at;
    tally->send_calls += done;
    tally->bytes_sent += done * block;
    loop->stamp = last;
    loop->pace_left -= done;
    if (put < 0)
        return not_sent(loop, error);
    if (put != block) {
        count_unit(loop);
        return sent(loop, put, block - put);
    }
    loop->now = now;
    return blocks_left(loop) <= 0 ? rr_finish(loop, RR_COUNT) : after_call(loop);
}

/* ---- receiver ---- */

static inline ssize_t
receive_block(const struct rr_loop *loop, char *to, size_t bytes)
{
#if defined(RR_DISCARD_FLAG)
    if (loop->spec.discard)
        return recv(loop->fd, to, loop->spec.datagram ? 0 : bytes, RR_DISCARD_FLAG);
#endif
    return recv(loop->fd, to, bytes, 0);
}

/* Something other than data within the time: nothing, the end, an error. */
static enum step
not_received(struct rr_loop *loop, ssize_t got, int error)
{
    if (got == 0) {
        if (loop->spec.datagram && loop->tally.recv_calls == 0
            && loop->strays++ < RR_MAX_STRAYS && !rr_stop_asked(loop))
            return GO;
        return rr_end_of_file(loop);
    }
    if (error == EINTR)
        return INTERRUPTED;
    if (!rr_would_block(error))
        return !loop->spec.datagram && broken(error) ? rr_end_of_file(loop)
                                                     : rr_fail(loop, error);
    /* The wait goes on, and so does the time of the call. */
    loop->now = rr_clock_ns();
    return tick_if_due(loop);
}

static void
first_received(struct rr_loop *loop)
{
    loop->started = 1;
    loop->tally.started_ns = loop->interim_ns = loop->now;
    rr_start_pace(loop);
    if (loop->spec.interim_ns > 0 && loop->spec.report_fd >= 0) {
        loop->next_interim = loop->now + loop->spec.interim_ns;
        loop->due = least(loop->due, loop->next_interim);
    }
}

static enum step
received(struct rr_loop *loop, ssize_t got)
{
    const struct rr_spec *spec = &loop->spec;

    if (spec->datagram && spec->short_ends && got < spec->block_bytes)
        return rr_end_of_file(loop);
    loop->now = rr_clock_ns();
    if (!loop->started)
        first_received(loop);
    loop->tally.recv_calls++;
    loop->tally.bytes_received += least(got, spec->block_bytes);
    record(loop, loop->now - loop->stamp);
    loop->stamp = loop->now;
    count_unit(loop);
    advance(&loop->in);
    if (spec->limit_bytes > 0 && loop->tally.bytes_received >= spec->limit_bytes)
        return rr_finish(loop, RR_COUNT);
    return after_call(loop);
}

static enum step
receive_one(struct rr_loop *loop)
{
    ssize_t got;
    int error;

    if (must_pause(loop))
        return pause_stream(loop);
    if (loop->sifts_left > 0) {
        enum step step = rr_sift(loop, &got, &error);

        if (step != READABLE) {
            loop->now = rr_clock_ns();
            return tick_if_due(loop);
        }
    } else {
        got = receive_block(loop, loop->in.at, (size_t) loop->spec.block_bytes);
        error = errno;
    }
    return got > 0 ? received(loop, got) : not_received(loop, got, error);
}

enum step
rr_stream_in_step(struct rr_loop *loop)
{
    struct rr_tally *tally = &loop->tally;
    const size_t block = (size_t) loop->spec.block_bytes;
    const ssize_t shortest = loop->spec.short_ends ? (ssize_t) block : 1;
    const int64_t due = loop->due;
    const int64_t limit =
        loop->spec.limit_bytes > 0 ? loop->spec.limit_bytes : INT64_MAX;
    struct ring in = loop->in;
    int64_t bytes = tally->bytes_received;
    int64_t last, now, done = 0;
    ssize_t got;
    int error;

    if (!loop->started || tally->recv_calls == 0 || loop->sifts_left > 0
        || loop->spec.pace_burst > 0)
        return receive_one(loop);
    last = now = loop->stamp;
    do {
        got = receive_block(loop, in.at, block);
        if (RR_UNLIKELY(got < shortest))
            break;
        now = rr_clock_ns();
        advance(&in);
        record(loop, now - last);
        last = now;
        if (RR_UNLIKELY(got > (ssize_t) block)) /* a datagram that was discarded */
            got = (ssize_t) block;
        bytes += got;
        done++;
    } while (now < due && bytes < limit);
    error = errno;

    loop->in.at = in.at;
    tally->recv_calls += done;
    tally->bytes_received = bytes;
    loop->stamp = last;
    if (got > 0 && got < shortest)
        return rr_end_of_file(loop);
    if (got <= 0)
        return not_received(loop, got, error);
    loop->now = now;
    return bytes >= limit ? rr_finish(loop, RR_COUNT) : after_call(loop);
}
