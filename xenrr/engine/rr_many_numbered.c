/* Flows of datagrams that carry numbers: what rr_numbered.c does for one, for many.
 *
 * A poller only tells that there is something to receive, or room to send, and the calls
 * are made here: each message has a head of its own, so the memory that all flows share
 * cannot be lent to a kernel that reads it later.
 */
#include "rr_platform.h"

#include "rr_many.h"

#include <errno.h>
#include <stdlib.h>

int
rr_open_many_numbers(struct many *many)
{
    int64_t flows = many->loop->spec.flows;
    int64_t i;

    many->numbers = calloc((size_t) flows, sizeof *many->numbers);
    if (many->numbers == NULL)
        return -1;
    many->crowd = rr_take_numbered;
    for (i = 0; i < flows; i++) {
        struct sending *sending = &many->sendings[i];

        sending->numbers = &many->numbers[i];
        sending->flow.crowd = 1;
        if (rr_open_numbers(sending->numbers, many->loop->window) < 0)
            return -1;
    }
    return 0;
}

void
rr_close_many_numbers(struct many *many)
{
    int64_t i;

    if (many->numbers == NULL)
        return;
    for (i = 0; i < many->loop->spec.flows; i++)
        rr_close_numbers(&many->numbers[i]);
    free(many->numbers);
}

void
rr_push_numbered(struct many *many, struct sending *sending, int64_t intended,
                 int64_t now)
{
    struct flow *flow = &sending->flow;
    struct request *request;
    int64_t number;

    if (sending->start == 0)
        sending->start = intended;
    number = rr_next_number(sending->numbers, many->loop->out.first, &request);
    if (send(flow->fd, many->out, (size_t) flow->out_bytes, RR_SEND_FLAGS) < 0) {
        if (!rr_would_block(errno)) {
            rr_failed(many, flow, errno);
            return;
        }
        flow->waits_for_room = 1;
        if (many->poller->want_room(many, flow) < 0)
            many->end(many, flow, RR_ERROR, errno);
        return;
    }
    rr_note_number(sending->numbers, request, number, sending->start, now);
    sending->start = 0;
    if (many->schedule != NULL)
        count_in(&many->loop->beside[1].histogram, now - request->start);
    if (sending->in_flight == 0)
        sending->last_heard = now;
    sending->in_flight++;
    sending->requests_sent++;
    flow->send_calls++;
    flow->bytes_sent += flow->out_bytes;
    many->loop->tally.bytes_sent += flow->out_bytes;
}

/* A response that begins with `head` has arrived at `now`: whether it is for a request that
 * is in flight. */
static int
answered(struct many *many, struct sending *sending, const char *head, int64_t now)
{
    struct rr_loop *loop = many->loop;
    struct flow *flow = &sending->flow;
    struct request *request = rr_answered(sending->numbers, head);

    if (request == NULL) {
        sending->late++;
        return 0;
    }
    flow->bytes_received += flow->in_bytes;
    loop->tally.bytes_received += flow->in_bytes;
    if (many->schedule != NULL)
        count_in(&loop->beside[0].histogram, now - request->left);
    request->number = RR_FREE;
    rr_count_response(many, sending, now - request->start, now);
    return 1;
}

void
rr_take_numbered(struct many *many, struct flow *flow)
{
    /* It is the first field. */
    struct sending *sending = (struct sending *) (void *) flow;
    struct rr_loop *loop = many->loop;
    /* io_uring tells of new datagrams, and of two that come together only once. What is
     * behind an answer is read with the next one, or when there is a look for losses:
     * to find nothing there after each answer would cost a tenth. */
    int single =
        loop->window == 1 && (many->which != RR_IO_URING || sending->lost == 0);
    int turns;

    for (turns = 0; turns < TURN && !flow->over; turns++) {
        ssize_t got = recv(flow->fd, many->in, (size_t) many->in_bytes, MSG_DONTWAIT);

        if (got == 0) {
            many->end(many, flow, RR_PEER, 0);
            return;
        }
        if (got < 0) {
            if (!rr_would_block(errno) && errno != EINTR)
                rr_failed(many, flow, errno);
            return;
        }
        flow->recv_calls++;
        if (got != flow->in_bytes) {
            flow->malformed++;
            continue;
        }
        loop->now = rr_clock_ns();
        if (loop->now > loop->deadline)
            return;
        if (!answered(many, sending, many->in, loop->now) && many->which == RR_IO_URING)
            single = 0;
        if (!flow->over)
            rr_go_on(many, sending, loop->now);
        if (single)
            return;
    }
    if (!flow->over)
        rr_again(many, flow);
}

void
rr_lose_numbered(struct many *many, struct sending *sending)
{
    int64_t limit = many->loop->spec.loss_timeout_ns;
    int64_t now = many->loop->now;
    int silent = now - sending->last_heard >= limit;
    struct request *request;
    int64_t lost = 0;

    if (limit == 0)
        return;
    while ((request = rr_oldest(sending->numbers)) != NULL
           && (sending->numbers->echoed ? now - request->left >= limit : silent)) {
        request->number = RR_FREE;
        lost++;
    }
    if (lost == 0)
        return;
    sending->lost += lost;
    sending->in_flight -= lost;
    if (silent) {
        sending->last_heard = now;
        if (++sending->silences >= RR_MAX_SILENCES) {
            rr_end_flow(many, &sending->flow, RR_LOST, 0);
            return;
        }
    }
    rr_go_on(many, sending, now);
}
