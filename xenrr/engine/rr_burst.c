/* UDP with several requests in flight: those that are there are taken by one system call,
 * and what goes out because of them leaves by one.
 *
 * Each response is timed by itself when it is dealt with. A target does not know how many
 * requests its sender keeps in flight: it looks once in RR_TARGET_POLL transactions whether
 * there are more behind the one it has answered, because with one alone the plain calls
 * are faster. Datagrams with numbers go their own way (rr_numbered.c).
 */
#include "rr_platform.h"

#include "rr_common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if defined(RR_HAVE_MMSG)

#include <sys/ioctl.h>

#define BURST 32
/* Calls after which it is known whether they bring more than one message each. */
#define TRIED_CALLS 8

struct burst {
    int got; /* datagrams of the last receive */
    int at; /* so many of them are dealt with */
    int many; /* target: several come at once */
    int owed; /* target: responses to send still */
    struct iovec in_piece;
    struct iovec out_piece;
    struct mmsghdr in[BURST];
    struct mmsghdr out[BURST];
};

int
rr_open_burst(struct rr_loop *loop)
{
    const struct rr_spec *spec = &loop->spec;
    struct burst *burst;
    int i;

    if (!spec->datagram || loop->numbered || spec->decompose || spec->plain_write
        || spec->spin || spec->pace_burst > 0 || !one_buffer(&loop->in)
        || !one_buffer(&loop->out) || (spec->role == RR_SENDER && loop->window == 1))
        return 0;
    burst = calloc(1, sizeof *burst);
    if (burst == NULL)
        return -1;
    loop->burst = burst;
    burst->in_piece.iov_base = loop->in.first;
    burst->in_piece.iov_len = (size_t) loop->in.limit;
    burst->out_piece.iov_base = loop->out.first;
    burst->out_piece.iov_len =
        (size_t) (spec->role == RR_SENDER ? spec->request_bytes : spec->response_bytes);
    for (i = 0; i < BURST; i++) {
        burst->in[i].msg_hdr.msg_iov = &burst->in_piece;
        burst->out[i].msg_hdr.msg_iov = &burst->out_piece;
        burst->in[i].msg_hdr.msg_iovlen = burst->out[i].msg_hdr.msg_iovlen = 1;
    }
    return 0;
}

void
rr_close_burst(struct rr_loop *loop)
{
    free(loop->burst);
}

/* ---- sender ---- */

int
rr_burst_left(const struct rr_loop *loop)
{
    return loop->burst != NULL && loop->burst->at < loop->burst->got;
}

enum step
rr_burst_receive(struct rr_loop *loop)
{
    struct burst *burst = loop->burst;
    enum step step = GO;

    if (burst->at == burst->got) {
        burst->at = 0;
        burst->got = recvmmsg(loop->fd, burst->in, BURST, MSG_WAITFORONE, NULL);
        if (burst->got <= 0) {
            burst->got = 0;
            return rr_response_received(loop, -1, errno);
        }
    }
    while (step == GO && burst->at < burst->got) {
        ssize_t bytes = (ssize_t) burst->in[burst->at++].msg_len;

        if (loop->tally.in_flight > 0 || bytes == 0) {
            step = rr_response_received(loop, bytes, 0);
        } else {
            /* What it answers was given up a moment ago. */
            loop->tally.recv_calls++;
            if (bytes == loop->spec.response_bytes)
                loop->tally.late++;
            else
                loop->tally.malformed++;
        }
    }
    return step;
}

/* Send so many requests that nobody has begun to send. */
enum step
rr_burst_send(struct rr_loop *loop, int64_t count)
{
    struct rr_tally *tally = &loop->tally;
    enum step step;
    int put, i;

    loop->now = rr_clock_ns();
    step = tick_if_due(loop);
    if (step != GO)
        return step;
    loop->now_fresh = 0;
    put = sendmmsg(loop->fd, loop->burst->out, (unsigned int) least(count, BURST),
                   RR_SEND_FLAGS);
    if (put < 0)
        return rr_would_block(errno) ? BLOCKED : rr_fail(loop, errno);
    for (i = 0; i < put; i++) {
        int64_t start = loop->has_stamp ? loop->stamp : loop->now;

        loop->has_stamp = 0;
        loop->starts[(loop->head + tally->in_flight++) % loop->window] = start;
    }
    tally->requests_sent += put;
    tally->send_calls += put;
    tally->bytes_sent += put * loop->spec.request_bytes;
    return GO;
}

/* ---- target ---- */

int
rr_burst_owes(struct rr_loop *loop)
{
    if (loop->burst == NULL || loop->burst->owed == 0)
        return 0;
    loop->burst->owed--;
    return 1;
}

int
rr_many_come(struct rr_loop *loop)
{
    struct burst *burst = loop->burst;
    int next = 0;

    if (burst == NULL)
        return 0;
    if (!burst->many && loop->poll_countdown == loop->poll_every)
        burst->many = ioctl(loop->fd, FIONREAD, &next) == 0 && next > 0;
    return burst->many;
}

enum step
rr_burst_answer(struct rr_loop *loop)
{
    struct burst *burst = loop->burst;
    struct rr_tally *tally = &loop->tally;
    int64_t budget = loop->poll_countdown;
    int64_t done = 0;
    int64_t calls = 0;
    int ended = 0;
    int got, i, error;

    if (loop->spec.transactions > 0)
        budget = least(budget, loop->spec.transactions - tally->transactions);
    do {
        int good = 0;
        int put = 0;

        got = recvmmsg(loop->fd, burst->in, (unsigned int) least(budget - done, BURST),
                       MSG_WAITFORONE, NULL);
        if (RR_UNLIKELY(got <= 0))
            break;
        calls++;
        for (i = 0; i < got && !ended; i++) {
            if (burst->in[i].msg_len == loop->spec.request_bytes)
                good++;
            else if (burst->in[i].msg_len == 0)
                ended = 1;
            else
                tally->malformed++;
        }
        /* The empty datagram that ends it is none of the messages. */
        tally->recv_calls += i - ended;
        tally->bytes_received += good * loop->spec.request_bytes;
        if (good > 0)
            put = sendmmsg(loop->fd, burst->out, (unsigned int) good, RR_SEND_FLAGS);
        if (put > 0)
            done += put;
        burst->owed = good - (put > 0 ? put : 0);
        /* One at a time they wait for room, or say what is wrong. */
        if (RR_UNLIKELY(burst->owed > 0))
            break;
        /* A message alone is taken and answered faster by a sprint; what is not answered
         * counts by calls, or a flood of it would never be left. */
    } while (done < budget && calls < budget
             && (calls < TRIED_CALLS || done >= 2 * calls) && !ended);
    error = errno;

    tally->transactions += done;
    tally->send_calls += done;
    tally->bytes_sent += done * loop->spec.response_bytes;
    loop->poll_countdown -= done > calls ? done : calls;
    if (done < 2 * calls)
        burst->many = 0;
    if (ended)
        return rr_end_of_file(loop);
    if (burst->owed > 0)
        return GO;
    if (got <= 0)
        return rr_request_received(loop, -1, error);
    if (tally->transactions == loop->spec.transactions)
        return rr_finish(loop, RR_COUNT);
    return rr_target_poll(loop);
}

#else

int
rr_open_burst(struct rr_loop *loop)
{
    (void) loop;
    return 0;
}

void
rr_close_burst(struct rr_loop *loop)
{
    (void) loop;
}

int
rr_burst_left(const struct rr_loop *loop)
{
    (void) loop;
    return 0;
}

enum step
rr_burst_receive(struct rr_loop *loop)
{
    return rr_response_received(loop, -1, EAGAIN);
}

enum step
rr_burst_send(struct rr_loop *loop, int64_t count)
{
    (void) loop;
    (void) count;
    return BLOCKED;
}

int
rr_burst_owes(struct rr_loop *loop)
{
    (void) loop;
    return 0;
}

int
rr_many_come(struct rr_loop *loop)
{
    (void) loop;
    return 0;
}

enum step
rr_burst_answer(struct rr_loop *loop)
{
    return rr_request_received(loop, -1, EAGAIN);
}

#endif
