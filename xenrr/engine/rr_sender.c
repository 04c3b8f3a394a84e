/* The end that issues requests and times them.
 *
 * pure.py is the specification; this does the same. Like the target it has two ways to
 * move:
 *
 * - a sprint, which does nothing between two transactions but recv, the clock, the
 *   histogram and send. It counts in registers and stops at the first thing that is not
 *   "a whole message went through and nothing is due";
 * - single steps, one system call each, for the start, the end, messages that come in
 *   parts, full buffers and lost datagrams.
 *
 * Sends never block: a sender whose window does not fit into the socket buffers has to
 * read responses before the rest of it goes out, and has to see its deadline. MSG_DONTWAIT
 * costs nothing while there is room.
 *
 * A UDP sender that looks for losses keeps its receive timeout always: nothing else gets
 * it out of a receive when a datagram is gone. The timer costs a sender less than 2 %.
 */
#include "rr_common.h"

#include <errno.h>

#define DRAIN_LIMIT 1000000

enum step
rr_sender_start(struct rr_loop *loop)
{
    if (loop->decompose != NULL && rr_start_parts(loop) < 0)
        return rr_fail(loop, errno);
    return rr_start_clock(loop);
}

/* A whole response has arrived at `now`. */
static enum step
complete(struct rr_loop *loop)
{
    if (loop->now > loop->deadline) {
        loop->have = loop->spec.response_bytes;
        return rr_finish(loop, RR_TIME);
    }
    if (loop->decompose != NULL && rr_decompose(loop) < 0)
        return rr_fail(loop, errno);
    loop->have = 0;
    record(loop, loop->now - loop->starts[loop->head]);
    if (++loop->head == loop->window)
        loop->head = 0;
    loop->tally.in_flight--;
    loop->tally.transactions++;
    count_unit(loop);
    loop->silences = 0;
    loop->last_heard = loop->now;
    /* To split a round trip took a while. */
    loop->now_fresh = loop->decompose == NULL;
    if (loop->tally.transactions == loop->spec.transactions)
        return rr_finish(loop, RR_COUNT);
    return tick_if_due(loop);
}

enum step
rr_lose_window(struct rr_loop *loop)
{
    int64_t drained;

    loop->tally.lost += loop->tally.in_flight;
    loop->tally.in_flight = 0;
    loop->head = 0;
    loop->has_stamp = 0;
    loop->silences++;
    if (loop->silences >= RR_MAX_SILENCES)
        return rr_finish(loop, RR_LOST);
    for (drained = 0; drained < DRAIN_LIMIT; drained++) {
        ssize_t got =
            recv(loop->fd, loop->in.at, (size_t) loop->in.limit, MSG_DONTWAIT);

        if (got == 0)
            return rr_end_of_file(loop);
        if (got > 0) {
            loop->tally.recv_calls++;
            if (got == loop->spec.response_bytes)
                loop->tally.late++;
            else
                loop->tally.malformed++;
        } else if (rr_would_block(errno)) {
            break;
        } else if (errno != EINTR) {
            return rr_fail(loop, errno);
        }
    }
    loop->last_heard = loop->now = rr_clock_ns();
    return GO;
}

static enum step
heard_nothing(struct rr_loop *loop)
{
    loop->now = rr_clock_ns();
    if (loop->spec.datagram && loop->spec.loss_timeout_ns > 0
        && loop->tally.in_flight > 0 && loop->now < loop->deadline
        && loop->now - loop->last_heard >= loop->spec.loss_timeout_ns) {
        enum step step = rr_lose_window(loop);

        if (step != GO)
            return step;
    }
    return tick_if_due(loop);
}

enum step
rr_response_received(struct rr_loop *loop, ssize_t got, int error)
{
    if (got < 0)
        return waited(loop, error) ? heard_nothing(loop) : rr_fail(loop, error);
    if (got == 0)
        return rr_end_of_file(loop);
    loop->tally.recv_calls++;
    if (loop->spec.datagram && got != loop->spec.response_bytes) {
        loop->tally.malformed++;
        return heard_nothing(loop);
    }
    loop->tally.bytes_received += got;
    loop->have += got;
    loop->now = rr_clock_ns();
    if (loop->have == loop->spec.response_bytes)
        return complete(loop);
    return tick_if_due(loop);
}

static enum step
receive_response(struct rr_loop *loop, int flags)
{
    int64_t want = loop->in.limit;
    ssize_t got;

    if (!loop->spec.datagram)
        want = least(want, loop->spec.response_bytes - loop->have);
    if (loop->decompose != NULL)
        got = rr_get_stamped(loop, loop->in.at, (size_t) want, flags);
    else if (flags == 0)
        got = get_message(loop, loop->in.at, (size_t) want, loop->spec.spin != 0);
    else
        got = recv(loop->fd, loop->in.at, (size_t) want, flags);
    if (got > 0)
        advance(&loop->in);
    return rr_response_received(loop, got, errno);
}

static enum step
request_sent(struct rr_loop *loop, ssize_t put, int error)
{
    loop->now_fresh = 0;
    if (put < 0)
        return rr_would_block(error) ? BLOCKED : rr_fail(loop, error);
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
    if (loop->send_left == 0)
        advance(&loop->out);
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
        loop->now = rr_clock_ns();
    step = tick_if_due(loop);
    if (step != GO)
        return step;
    if (left > 0) {
        offset = (loop->spec.request_bytes - left) % loop->text_bytes;
    } else {
        left = loop->spec.request_bytes;
        if (!loop->has_stamp) {
            loop->stamp = loop->now_fresh ? loop->now : rr_clock_ns();
            loop->has_stamp = 1;
        }
    }
    put = put_message(loop, loop->fd, loop->out.at + offset,
                      least(left, loop->out.limit));
    return request_sent(loop, put, errno);
}

static int64_t
requests_allowed(const struct rr_loop *loop)
{
    if (loop->spec.transactions == 0)
        return INT64_MAX;
    return loop->spec.transactions - loop->tally.transactions - loop->tally.in_flight;
}

/* `plain`: one request in flight, and one buffer for each direction. */
static RR_TWICE enum step
sprint(struct rr_loop *loop, int64_t budget, int spin, int plain)
{
    struct rr_tally *tally = &loop->tally;
    const struct rr_spec *spec = &loop->spec;
    const size_t want =
        (size_t) (spec->datagram ? loop->in.limit : spec->response_bytes);
    int64_t start = loop->starts[loop->head];
    int64_t head = loop->head;
    int64_t left = budget;
    int64_t now = 0;
    int64_t done;
    ssize_t got = 0;
    ssize_t put = 0;
    int error;

    do {
        got = get_message(loop, loop->in.at, want, spin);
        if (RR_UNLIKELY(got != spec->response_bytes))
            break;
        if (!plain)
            advance(&loop->in);
        now = rr_clock_ns();
        if (RR_UNLIKELY(now >= loop->due))
            break;
        if (!plain) {
            start = loop->starts[head];
            loop->starts[head] = now;
            if (++head == loop->window)
                head = 0;
        }
        record(loop, now - start);
        start = now;
        left--;
        put = plain ? rr_send(loop->fd, loop->out.at, (size_t) spec->request_bytes,
                              RR_SEND_FLAGS)
                    : put_message(loop, loop->fd, loop->out.at, spec->request_bytes);
        if (RR_UNLIKELY(put != spec->request_bytes))
            break;
        if (!plain)
            advance(&loop->out);
    } while (left != 0);
    error = errno;

    done = budget - left;
    if (plain)
        loop->starts[head] = start;
    loop->head = head;
    tally->transactions += done;
    tally->recv_calls += done;
    tally->bytes_received += done * spec->response_bytes;
    tally->requests_sent += done;
    tally->send_calls += done;
    tally->bytes_sent += done * spec->request_bytes;
    if (done > 0) {
        loop->silences = 0;
        loop->last_heard = now;
        loop->now_fresh = 0;
    }
    if (got != spec->response_bytes)
        return rr_response_received(loop, got, error);
    if (now >= loop->due) {
        tally->recv_calls++;
        tally->bytes_received += got;
        loop->now = now;
        return complete(loop);
    }
    if (put != spec->request_bytes) {
        tally->requests_sent--;
        tally->send_calls--;
        tally->bytes_sent -= spec->request_bytes;
        tally->in_flight--;
        loop->stamp = now;
        loop->has_stamp = 1;
        return request_sent(loop, put, error);
    }
    return GO;
}

static enum step
sender_sprint(struct rr_loop *loop, int64_t budget)
{
    return sprint(loop, budget, 0, 0);
}

static enum step
sender_plain_sprint(struct rr_loop *loop, int64_t budget)
{
    return sprint(loop, budget, 0, 1);
}

static enum step
sender_spin_sprint(struct rr_loop *loop, int64_t budget)
{
    return sprint(loop, budget, 1, 0);
}

static enum step
sender_plain_spin_sprint(struct rr_loop *loop, int64_t budget)
{
    return sprint(loop, budget, 1, 1);
}

static enum step
choose_sprint(struct rr_loop *loop, int64_t budget)
{
    int plain = loop->window == 1 && one_buffer(&loop->in) && one_buffer(&loop->out)
                && !loop->spec.plain_write;

    if (loop->spec.spin)
        return plain ? sender_plain_spin_sprint(loop, budget)
                     : sender_spin_sprint(loop, budget);
    return plain ? sender_plain_sprint(loop, budget) : sender_sprint(loop, budget);
}

enum step
rr_sender_step(struct rr_loop *loop)
{
    int64_t allowed = requests_allowed(loop);
    enum step step;

    if (must_pause(loop))
        return rr_pause(loop);
    if (rr_burst_left(loop))
        return rr_burst_receive(loop);
    if (loop->send_left > 0 || (loop->tally.in_flight < loop->window && allowed > 0)) {
        int64_t missing = least(loop->window - loop->tally.in_flight, allowed);

        if (loop->burst != NULL && loop->send_left == 0 && missing > 1)
            step = rr_burst_send(loop, missing);
        else
            step = send_request(loop);
        if (step == BLOCKED && loop->decompose != NULL)
            rr_drop_stamps(loop);
        if (step == BLOCKED)
            step =
                rr_wait_for_room(loop, loop->tally.in_flight > (loop->send_left > 0));
        return step == READABLE ? receive_response(loop, MSG_DONTWAIT) : step;
    }
    if (loop->small && loop->have == 0 && allowed > 0 && loop->spec.pace_burst == 0) {
        step =
            loop->burst != NULL ? rr_burst_receive(loop) : choose_sprint(loop, allowed);
        return step == BLOCKED ? GO : step;
    }
    return receive_response(loop, 0);
}
