/* The end that answers requests: a sprint and single steps, as rr_sender.c says. It reads
 * no clock while it runs.
 */
#include "rr_common.h"

#include <errno.h>

/* The receive timeout of a target that watches for the end by itself has passed. */
static enum step
target_quiet(struct rr_loop *loop)
{
    int64_t mark = loop->tally.bytes_received + loop->tally.malformed;

    loop->now = rr_clock_ns();
    if (mark != loop->quiet_mark) {
        loop->quiet_mark = mark;
        /* With a bell nobody knows for how long it has been quiet. */
        loop->quiet_since = loop->now - (loop->has_bell ? 0 : loop->timeout->ns);
    }
    if (rr_stop_asked(loop))
        return rr_finish(loop, RR_STOPPED);
    if (loop->started && loop->now - loop->tally.started_ns >= loop->spec.duration_ns
        && loop->now - loop->quiet_since >= loop->spec.idle_end_ns)
        return rr_finish(loop, RR_IDLE);
    return GO;
}

enum step
rr_request_received(struct rr_loop *loop, ssize_t got, int error)
{
    if (got < 0)
        return waited(loop, error) ? target_quiet(loop) : rr_fail(loop, error);
    if (got == 0) {
        /* A stray end marker of an earlier run, unless they never end: then somebody
         * has shut the socket down. */
        if (loop->spec.datagram && !loop->started && loop->strays++ < RR_MAX_STRAYS
            && !rr_stop_asked(loop))
            return GO;
        return rr_end_of_file(loop);
    }
    loop->tally.recv_calls++;
    loop->poll_countdown--;
    if (loop->spec.datagram && got != loop->spec.request_bytes) {
        loop->tally.malformed++;
        return rr_target_poll(loop);
    }
    loop->tally.bytes_received += got;
    loop->have += got;
    if (loop->have == loop->spec.request_bytes) {
        loop->have = 0;
        loop->send_left = loop->spec.response_bytes;
        if (!loop->started) {
            loop->started = 1;
            loop->tally.started_ns = rr_clock_ns();
            rr_start_pace(loop);
        }
        /* It ends between two transactions, if that can be. */
        return GO;
    }
    return rr_target_poll(loop);
}

/* Datagrams that were queued before the socket was connected may be from anybody. */
static enum step
sift_request(struct rr_loop *loop)
{
    ssize_t got;
    int error;
    enum step step = rr_sift(loop, &got, &error);

    if (step == READABLE) {
        if (loop->numbered && got == loop->spec.request_bytes)
            rr_note_head(loop, loop->in.at);
        return rr_request_received(loop, got, error);
    }
    if (step == GO)
        loop->poll_countdown--;
    return rr_target_poll(loop);
}

static enum step
receive_request(struct rr_loop *loop)
{
    int64_t want = loop->in.limit;
    ssize_t got;

    if (!loop->spec.datagram)
        want = least(want, loop->spec.request_bytes - loop->have);
    got = get_message(loop, loop->in.at, (size_t) want, loop->spec.spin != 0);
    if (got > 0) {
        if (loop->numbered && got == loop->spec.request_bytes)
            rr_note_head(loop, loop->in.at);
        advance(&loop->in);
    }
    return rr_request_received(loop, got, errno);
}

static enum step
response_sent(struct rr_loop *loop, ssize_t put, int error)
{
    if (put < 0)
        return rr_would_block(error) ? BLOCKED : rr_fail(loop, error);
    loop->tally.send_calls++;
    loop->tally.bytes_sent += put;
    loop->send_left -= put;
    if (loop->send_left > 0)
        return GO;
    advance(&loop->out);
    count_unit(loop);
    loop->tally.transactions++;
    if (loop->tally.transactions == loop->spec.transactions)
        return rr_finish(loop, RR_COUNT);
    return rr_target_poll(loop);
}

/* `plain`: one buffer for each direction. Nothing but the count is kept in a register: the
 * calls leave few of them alone, and what is read where it lies needs none. */
static RR_TWICE enum step
sprint(struct rr_loop *loop, int spin, int plain)
{
    struct rr_tally *tally = &loop->tally;
    const struct rr_spec *spec = &loop->spec;
    const size_t want =
        (size_t) (spec->datagram ? loop->in.limit : spec->request_bytes);
    int64_t budget = loop->poll_countdown;
    int64_t left;
    int64_t done;
    ssize_t got;
    ssize_t put = 0;
    int error;

    if (spec->transactions > 0)
        budget = least(budget, spec->transactions - tally->transactions);
    left = budget;
    do {
        got = get_message(loop, loop->in.at, want, spin);
        if (RR_UNLIKELY(got != spec->request_bytes))
            break;
        if (!plain)
            advance(&loop->in);
        put = plain ? rr_send(loop->fd, loop->out.at, (size_t) spec->response_bytes,
                              RR_SEND_FLAGS)
                    : put_message(loop, loop->fd, loop->out.at, spec->response_bytes);
        if (RR_UNLIKELY(put != spec->response_bytes))
            break;
        if (!plain)
            advance(&loop->out);
    } while (--left > 0);
    error = errno;

    done = budget - left;
    tally->transactions += done;
    tally->recv_calls += done;
    tally->bytes_received += done * spec->request_bytes;
    tally->send_calls += done;
    tally->bytes_sent += done * spec->response_bytes;
    loop->poll_countdown -= done;
    if (got != spec->request_bytes)
        return rr_request_received(loop, got, error);
    if (put != spec->response_bytes) {
        enum step step;

        tally->recv_calls++;
        tally->bytes_received += got;
        loop->send_left = spec->response_bytes;
        step = response_sent(loop, put, error);
        return step == BLOCKED ? GO : step;
    }
    if (tally->transactions == spec->transactions)
        return rr_finish(loop, RR_COUNT);
    return rr_target_poll(loop);
}

static enum step
target_sprint(struct rr_loop *loop)
{
    return sprint(loop, 0, 0);
}

static enum step
target_plain_sprint(struct rr_loop *loop)
{
    return sprint(loop, 0, 1);
}

static enum step
target_spin_sprint(struct rr_loop *loop)
{
    return sprint(loop, 1, 0);
}

static enum step
target_plain_spin_sprint(struct rr_loop *loop)
{
    return sprint(loop, 1, 1);
}

static enum step
choose_sprint(struct rr_loop *loop)
{
    int plain =
        one_buffer(&loop->in) && one_buffer(&loop->out) && !loop->spec.plain_write;

    if (loop->spec.spin)
        return plain ? target_plain_spin_sprint(loop) : target_spin_sprint(loop);
    return plain ? target_plain_sprint(loop) : target_sprint(loop);
}

enum step
rr_target_step(struct rr_loop *loop)
{
    if (loop->send_left == 0 && rr_burst_owes(loop))
        loop->send_left = loop->spec.response_bytes;
    if (loop->send_left > 0) {
        enum step step;
        ssize_t put;

        if (must_pause(loop))
            return rr_pause(loop);
        put = loop->has_head ? rr_put_numbered(loop)
                             : put_rest(loop, loop->fd, loop->spec.response_bytes);
        step = response_sent(loop, put, errno);
        return step == BLOCKED ? rr_wait_for_room(loop, 0) : step;
    }
    if (loop->sifts_left > 0)
        return sift_request(loop);
    if (loop->small && loop->have == 0 && loop->started && loop->spec.pace_burst == 0
        && !loop->numbered)
        return rr_many_come(loop) ? rr_burst_answer(loop) : choose_sprint(loop);
    return receive_request(loop);
}

enum step
rr_target_start(struct rr_loop *loop)
{
    if (loop->spec.datagram && rr_start_sifting(loop) < 0)
        return rr_fail(loop, errno);
    if (loop->spec.idle_end_ns > 0) {
        int64_t wait_ns = least(loop->spec.idle_end_ns, RR_TICK_NS);

        if (loop->has_bell ? rr_set_bell(loop, wait_ns) < 0
                           : rr_set_timeout(loop->fd, loop->timeout, wait_ns) < 0)
            return rr_fail(loop, errno);
    }
    return GO;
}
