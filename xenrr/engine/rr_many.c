/* The end that issues requests on many connections at once, and what it shares with the
 * pool; rr_many.h has the idea. pure_flows.py is the specification.
 *
 * A response is timed when it is received, and that clock read begins the next request of
 * its flow as well. Where the poller submits many sends together, the wait for the others
 * is part of the round trip: it is what a program with many connections has.
 */
#include "rr_platform.h"

#include "rr_many.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Losses are looked for so many times within the time after which there is one. */
#define LOOKS 8
#define MIN_LOOK_NS 1000000

/* ---- what both ends share ---- */

static const struct poller *
poller_of(enum rr_poller which)
{
    switch (which) {
#if defined(RR_HAVE_IO_URING)
    case RR_IO_URING:
        return &rr_uring_poller;
#endif
#if defined(RR_HAVE_EPOLL)
    case RR_EPOLL:
        return &rr_epoll_poller;
#endif
    case RR_POLL:
        return &rr_poll_poller;
    default:
        return NULL;
    }
}

void *
rr_alloc_lines(size_t bytes)
{
    void *memory;

    if (posix_memalign(&memory, LINE_BYTES, bytes) != 0)
        return NULL;
    memset(memory, 0, bytes);
    return memory;
}

int
rr_open_poller(struct many *many)
{
    many->which = (enum rr_poller) many->loop->spec.poller;
    many->poller = poller_of(many->which);
    if (many->poller == NULL) {
        errno = ENOSYS;
        return -1;
    }
    return many->poller->open(many);
}

int
rr_pollers(void)
{
    int found = 1 << RR_POLL;

#if defined(RR_HAVE_EPOLL)
    found |= 1 << RR_EPOLL;
#endif
#if defined(RR_HAVE_IO_URING)
    if (rr_probe_uring())
        found |= 1 << RR_IO_URING;
#endif
    return found;
}

void
rr_again(struct many *many, struct flow *flow)
{
    if (flow->again)
        return;
    flow->again = 1;
    flow->next_again = NULL;
    if (many->first_again == NULL)
        many->first_again = flow;
    else
        many->last_again->next_again = flow;
    many->last_again = flow;
}

void
rr_take_turns(struct many *many)
{
    struct flow *flow = many->first_again;
    struct flow *last = many->last_again;
    struct flow *next;

    many->first_again = NULL;
    for (; flow != NULL; flow = next) {
        next = flow == last ? NULL : flow->next_again;
        flow->again = 0;
        if (!flow->over)
            many->more(many, flow);
        if (!flow->over)
            many->poller->resume(many, flow);
    }
}

void
rr_failed(struct many *many, struct flow *flow, int error)
{
    /* The way a UDP peer ends without a word; see rr_fail. */
    if (flow->datagram && error == ECONNREFUSED)
        many->end(many, flow, RR_PEER, error);
    else
        many->end(many, flow, RR_ERROR, error);
}

int
rr_add_flow(struct many *many, struct flow *flow)
{
#if defined(RR_NOSIGPIPE_OPTION)
    int on = 1;

    if (setsockopt(flow->fd, SOL_SOCKET, RR_NOSIGPIPE_OPTION, &on, sizeof on) < 0)
        return -1;
#endif
    return many->poller->add(many, flow);
}

void
rr_refused(struct many *many, struct flow *flow, int64_t missing, int error)
{
    flow->bytes_sent -= missing;
    many->loop->tally.bytes_sent -= missing;
    flow->unsent += missing;
    if (flow->over || many->settling)
        return;
    if (error != 0 && !rr_would_block(error) && error != EINTR) {
        rr_failed(many, flow, error);
        return;
    }
    if (!flow->waits_for_room) {
        flow->waits_for_room = 1;
        if (many->poller->want_room(many, flow) < 0)
            many->end(many, flow, RR_ERROR, errno);
    }
}

void
rr_send_unsent(struct many *many, struct flow *flow)
{
    int turns = TURN;

    while (flow->unsent > 0 && !flow->waits_for_room && !flow->over) {
        int64_t bytes = flow->unsent % flow->out_bytes;

        if (turns-- == 0) {
            rr_again(many, flow);
            return;
        }
        if (bytes == 0)
            bytes = flow->out_bytes;
        flow->unsent -= bytes;
        flow->bytes_sent += bytes;
        flow->send_calls++;
        many->loop->tally.bytes_sent += bytes;
        many->poller->send(many, flow, many->out + flow->out_bytes - bytes, bytes);
    }
}

/* ---- a sender's flow ---- */

static struct sending *
sending_of(struct flow *flow)
{
    /* It is the first field. */
    return (struct sending *) (void *) flow;
}

/* Requests that have not left at all, though they are counted. */
static int64_t
held_back(const struct flow *flow)
{
    return RR_UNLIKELY(flow->unsent > 0) ? flow->unsent / flow->out_bytes : 0;
}

void
rr_end_flow(struct many *many, struct flow *flow, enum rr_ended ended, int error)
{
    if (flow->over)
        return;
    if (ended == RR_PEER)
        error = 0;
    flow->over = 1;
    flow->ended = ended;
    flow->saved_errno = error;
    many->last_ended = ended;
    many->last_errno = error;
    many->any_counted |= ended == RR_COUNT;
    many->running--;
    if (many->schedule != NULL)
        rr_leave_schedule(many, sending_of(flow));
    many->poller->drop(many, flow);
}

/* End of file, the empty datagram, or an error. */
static void
peer_ended(struct many *many, struct flow *flow, enum rr_ended ended, int error)
{
    if (ended == RR_PEER && error == 0) {
        /* Or it was shut down from outside. */
        if (rr_stop_asked(many->loop)) {
            many->woken = 1;
            return;
        }
        many->loop->now = rr_clock_ns();
        if (many->loop->now >= many->loop->deadline)
            return;
    }
    rr_end_flow(many, flow, ended, error);
}

static int64_t
slot_of(const struct sending *sending, int64_t window, int64_t number)
{
    int64_t slot = sending->head + number;

    return slot < window ? slot : slot - window;
}

/* Open loop: when the request of a slot really left. */
static int64_t *
left_at(const struct many *many, const struct sending *sending, int64_t slot)
{
    return &sending->starts[many->loop->window + slot];
}

/* The request that is oldest in flight leaves the ring. */
static void
note_slip(struct many *many, const struct sending *sending, int64_t slot)
{
    count_in(&many->loop->beside[1].histogram,
             *left_at(many, sending, slot) - sending->starts[slot]);
}

static void
complete(struct many *many, struct sending *sending, int64_t now)
{
    struct rr_loop *loop = many->loop;
    int64_t latency_ns = now - sending->starts[sending->head];

    if (many->schedule != NULL) {
        count_in(&loop->beside[0].histogram,
                 now - *left_at(many, sending, sending->head));
        note_slip(many, sending, sending->head);
    }
    if (++sending->head == loop->window)
        sending->head = 0;
    rr_count_response(many, sending, latency_ns, now);
}

/* A histogram is so wide that of a thousand none is near when it is wanted. Several round
 * trips that are counted at once wait for it together. */
static void
count_fresh(struct sending *sending)
{
    uint32_t i;

    for (i = 0; i < sending->fresh_count; i++)
        count_in(&sending->histogram, sending->fresh[i]);
    sending->fresh_count = 0;
}

void
rr_count_response(struct many *many, struct sending *sending, int64_t latency_ns,
                  int64_t now)
{
    struct rr_loop *loop = many->loop;

    sending->in_flight--;
    record(loop, latency_ns);
    if (RR_UNLIKELY((uint64_t) latency_ns > UINT32_MAX)) {
        count_in(&sending->histogram, latency_ns);
    } else {
        sending->fresh[sending->fresh_count++] = (uint32_t) latency_ns;
        if (sending->fresh_count == FRESH)
            count_fresh(sending);
    }
    loop->tally.transactions++;
    if (sending->flow.datagram) {
        sending->silences = 0;
        sending->last_heard = now;
    }
    if (++sending->flow.transactions == loop->spec.transactions)
        rr_end_flow(many, &sending->flow, RR_COUNT, 0);
}

void
rr_push_request(struct many *many, struct sending *sending, int64_t intended,
                int64_t now)
{
    int64_t slot;

    if (many->numbers != NULL) {
        rr_push_numbered(many, sending, intended, now);
        return;
    }
    slot = slot_of(sending, many->loop->window, sending->in_flight);
    sending->starts[slot] = intended;
    if (many->schedule != NULL)
        *left_at(many, sending, slot) = now;
    if (sending->in_flight == 0 && sending->flow.datagram)
        sending->last_heard = now;
    sending->in_flight++;
    sending->requests_sent++;
    push(many, &sending->flow, sending->flow.out_bytes);
}

/* Send all that may be sent; `now` is fresh. */
static void
fill_window(struct many *many, struct sending *sending, int64_t now)
{
    struct rr_loop *loop = many->loop;
    int64_t limit = loop->window;
    int turns = TURN;

    if (loop->spec.transactions > 0)
        limit = least(limit, loop->spec.transactions - sending->flow.transactions);
    while (sending->in_flight < limit && sending->flow.unsent == 0
           && !sending->flow.waits_for_room && !sending->flow.over) {
        if (now >= loop->deadline)
            return;
        if (turns-- == 0) {
            rr_again(many, &sending->flow);
            return;
        }
        rr_push_request(many, sending, now, now);
        if (sending->in_flight < limit)
            now = rr_clock_ns();
    }
}

void
rr_go_on(struct many *many, struct sending *sending, int64_t now)
{
    if (sending->flow.over || many->settling)
        return;
    if (many->schedule != NULL)
        rr_resume_schedule(many, sending, now);
    else
        fill_window(many, sending, now);
}

/* Something has arrived. */
static void
take_response(struct many *many, struct flow *flow, int64_t bytes)
{
    struct sending *sending = sending_of(flow);
    struct rr_loop *loop = many->loop;
    int64_t now;

    flow->recv_calls++;
    if (flow->datagram
        && (bytes != flow->in_bytes || sending->in_flight == held_back(flow))) {
        if (bytes == flow->in_bytes)
            sending->late++;
        else
            flow->malformed++;
        return;
    }
    flow->bytes_received += bytes;
    loop->tally.bytes_received += bytes;
    flow->have += bytes;
    if (many->settling || flow->over)
        return;
    do {
        loop->now = now = rr_clock_ns();
        if (RR_UNLIKELY(now > loop->deadline))
            return;
        while (flow->have >= flow->in_bytes && sending->in_flight > held_back(flow)) {
            flow->have -= flow->in_bytes;
            complete(many, sending, now);
            if (flow->over)
                return;
        }
        rr_go_on(many, sending, now);
        if (flow->over)
            return;
        if (RR_UNLIKELY(flow->have > 0 && sending->in_flight == held_back(flow))) {
            if (rr_clock_ns() >= loop->deadline)
                return;
            /* An answer to what nobody asked. */
            rr_end_flow(many, flow, RR_ERROR, EPROTO);
            return;
        }
        /* Or to what is asked just now. */
    } while (RR_UNLIKELY(flow->have >= flow->in_bytes));
}

static void
room_again(struct many *many, struct flow *flow)
{
    struct sending *sending = sending_of(flow);

    flow->waits_for_room = 0;
    many->loop->now = rr_clock_ns();
    if (many->loop->now >= many->loop->deadline)
        return;
    if (sending->numbers != NULL) {
        if (sending->start != 0)
            rr_push_numbered(many, sending, sending->start, many->loop->now);
        if (!flow->over && !flow->waits_for_room)
            rr_go_on(many, sending, many->loop->now);
        return;
    }
    if (many->schedule != NULL) {
        /* Those that were held back leave only now. */
        int64_t held = held_back(flow);

        for (; held > 0; held--)
            *left_at(many, sending,
                     slot_of(sending, many->loop->window, sending->in_flight - held)) =
                many->loop->now;
    }
    rr_send_unsent(many, flow);
    if (flow->unsent == 0)
        rr_go_on(many, sending, many->loop->now);
}

static void
more_to_do(struct many *many, struct flow *flow)
{
    if (flow->crowd && !flow->waits_for_room)
        rr_take_numbered(many, flow);
    if (flow->over)
        return;
    if (flow->unsent > 0 && !flow->waits_for_room)
        room_again(many, flow);
    else if (many->schedule == NULL)
        fill_window(many, sending_of(flow), rr_clock_ns());
}

/* ---- losses ---- */

static void
lose_window(struct many *many, struct sending *sending)
{
    int64_t i;

    if (many->schedule != NULL)
        for (i = 0; i < sending->in_flight; i++)
            note_slip(many, sending, slot_of(sending, many->loop->window, i));
    sending->lost += sending->in_flight;
    sending->in_flight = 0;
    sending->head = 0;
    if (++sending->silences >= RR_MAX_SILENCES) {
        rr_end_flow(many, &sending->flow, RR_LOST, 0);
        return;
    }
    sending->last_heard = many->loop->now;
    rr_go_on(many, sending, many->loop->now);
}

static int64_t
look_ns(const struct rr_spec *spec)
{
    int64_t each_ns = spec->loss_timeout_ns / LOOKS;

    if (spec->loss_timeout_ns == 0)
        return RR_TICK_NS;
    return each_ns < MIN_LOOK_NS ? MIN_LOOK_NS : least(each_ns, RR_TICK_NS);
}

static void
look_at_numbered(struct many *many, struct sending *sending)
{
    const struct rr_spec *spec = &many->loop->spec;

    if (sending->flow.over || sending->in_flight == 0)
        return;
    if (many->loop->now - sending->last_heard >= look_ns(spec)) {
        rr_take_numbered(many, &sending->flow);
        if (sending->flow.over || sending->in_flight == 0)
            return;
    }
    rr_lose_numbered(many, sending);
}

/* What is late and already queued has been received before: every flow has had its turn
 * since. */
static void
look_for_losses(struct many *many)
{
    const struct rr_spec *spec = &many->loop->spec;
    int64_t i;

    many->next_look = INT64_MAX;
    if (!spec->datagram || (spec->loss_timeout_ns == 0 && many->numbers == NULL))
        return;
    for (i = 0; i < spec->flows; i++) {
        struct sending *sending = &many->sendings[i];

        if (sending->numbers != NULL) {
            look_at_numbered(many, sending);
        } else if (!sending->flow.over && sending->in_flight > 0
                   && sending->flow.unsent == 0
                   && many->loop->now - sending->last_heard >= spec->loss_timeout_ns)
            lose_window(many, sending);
    }
    many->next_look = many->loop->now + look_ns(spec);
}

/* ---- from the beginning to the end ---- */

int
rr_open_flows(struct rr_loop *loop, const char *fds)
{
    const struct rr_spec *spec = &loop->spec;
    struct many *many = calloc(1, sizeof *many);
    int64_t rings = spec->interval_bits != 0 ? 2 : 1;
    int64_t i, fd;

    if (many == NULL)
        return -1;
    loop->many = many;
    many->loop = loop;
    many->received = take_response;
    many->end = peer_ended;
    many->room = room_again;
    many->more = more_to_do;
    many->out = loop->out.first;
    many->in = loop->in.first;
    many->in_bytes = loop->in.limit;
    many->running = spec->flows;
    many->last_ended = RR_TIME;
    many->next_look = INT64_MAX;
    many->sendings = rr_alloc_lines((size_t) spec->flows * sizeof *many->sendings);
    if (many->sendings == NULL)
        return -1;
    if (loop->window > 1 || rings > 1) {
        many->starts = malloc((size_t) (spec->flows * loop->window * rings)
                              * sizeof *many->starts);
        if (many->starts == NULL)
            return -1;
    }
    for (i = 0; i < spec->flows; i++) {
        struct sending *sending = &many->sendings[i];
        struct flow *flow = &sending->flow;

        memcpy(&fd, fds + i * (int64_t) sizeof fd, sizeof fd);
        flow->fd = (int) fd;
        flow->datagram = spec->datagram != 0;
        flow->in_bytes = spec->response_bytes;
        flow->out_bytes = spec->request_bytes;
        rr_clear_histogram(&sending->histogram);
        sending->starts = many->starts == NULL
                              ? &sending->start
                              : many->starts + i * loop->window * rings;
    }
    if (spec->datagram && rr_numbered(spec->request_bytes, spec->response_bytes)
        && rr_open_many_numbers(many) < 0)
        return -1;
    if (spec->interval_bits != 0 && rr_open_schedule(many) < 0)
        return -1;
    return rr_open_poller(many);
}

enum step
rr_flows_start(struct rr_loop *loop)
{
    struct many *many = loop->many;
    int64_t i;
    enum step step;

    if (loop->spec.stop_fd >= 0
        && many->poller->watch(many, (int) loop->spec.stop_fd) < 0)
        return rr_fail(loop, errno);
    for (i = 0; i < loop->spec.flows; i++)
        if (rr_add_flow(many, &many->sendings[i].flow) < 0)
            rr_end_flow(many, &many->sendings[i].flow, RR_ERROR, errno);
    step = rr_start_clock(loop);
    if (step != GO)
        return step;
    look_for_losses(many);
    if (many->schedule != NULL) {
        rr_start_schedule(many);
        return GO;
    }
    for (i = 0; i < loop->spec.flows; i++)
        if (!many->sendings[i].flow.over)
            rr_again(many, &many->sendings[i].flow);
    return GO;
}

enum step
rr_flows_step(struct rr_loop *loop)
{
    struct many *many = loop->many;
    int64_t until = least(loop->due, many->next_look);
    enum step step;

    if (many->schedule != NULL)
        until = least(until, rr_next_due(many));
    if (many->first_again != NULL || many->running == 0)
        until = 0;
    many->batch++;
    step = many->poller->wait(many, until);
    if (step != GO)
        return step;
    if (many->error != 0)
        return rr_fail(loop, many->error);
    if (many->running > 0)
        rr_take_turns(many);
    if (many->running == 0) {
        loop->tally.saved_errno = many->any_counted ? 0 : many->last_errno;
        return rr_finish(loop, many->any_counted ? RR_COUNT : many->last_ended);
    }
    if (many->woken)
        return rr_finish(loop, RR_STOPPED);
    loop->now = rr_clock_ns();
    if (loop->now < loop->deadline) {
        if (many->schedule != NULL)
            rr_send_due(many);
        if (loop->now >= many->next_look)
            look_for_losses(many);
    }
    return loop->now >= loop->due ? rr_tick(loop) : GO;
}

void
rr_settle_flows(struct rr_loop *loop)
{
    struct many *many = loop->many;
    struct rr_tally *tally = &loop->tally;
    int64_t i, slot;

    many->settling = 1;
    many->poller->settle(many);
    tally->leftover_bytes = 0;
    tally->bytes_received = tally->bytes_sent = 0;
    for (i = 0; i < loop->spec.flows; i++) {
        struct sending *sending = &many->sendings[i];
        struct flow *flow = &sending->flow;
        int64_t held = held_back(flow);

        if (!flow->over) {
            flow->ended = (enum rr_ended) tally->ended;
            flow->saved_errno = (int) tally->saved_errno;
        }
        count_fresh(sending);
        sending->in_flight -= held;
        sending->requests_sent -= held;
        if (sending->numbers != NULL)
            tally->reordered += sending->numbers->reordered;
        else if (many->schedule != NULL)
            for (slot = 0; slot < sending->in_flight; slot++)
                note_slip(many, sending, slot_of(sending, loop->window, slot));
        tally->in_flight += sending->in_flight;
        tally->requests_sent += sending->requests_sent;
        tally->lost += sending->lost;
        tally->late += sending->late;
        tally->malformed += flow->malformed;
        tally->bytes_sent += flow->bytes_sent;
        tally->bytes_received += flow->bytes_received;
        tally->send_calls += flow->send_calls;
        tally->recv_calls += flow->recv_calls;
        if (!flow->datagram)
            tally->leftover_bytes += flow->have;
    }
    rr_end_counts(loop);
}

void
rr_put_flows(struct rr_loop *loop)
{
    struct many *many = loop->many;
    struct blocks *blocks = &loop->blocks;
    int64_t which = (int64_t) many->which;
    int64_t i;
    size_t at = rr_begin_block(blocks, RR_POLLER_RAN, "");

    rr_put_numbers(blocks, &which, 1);
    rr_end_block(blocks, at);
    for (i = 0; i < loop->spec.flows && many->sendings != NULL; i++) {
        const struct sending *sending = &many->sendings[i];
        const struct flow *flow = &sending->flow;
        const int64_t numbers[] = {
            (int64_t) flow->ended,
            flow->saved_errno,
            flow->transactions,
            sending->requests_sent,
            sending->in_flight,
            sending->lost,
            sending->late,
            flow->malformed,
            flow->bytes_sent,
            flow->bytes_received,
            flow->datagram ? 0 : flow->have,
        };

        at = rr_begin_block(blocks, RR_FLOW, "");
        rr_put_numbers(blocks, numbers, sizeof numbers / sizeof numbers[0]);
        rr_put_histogram(blocks, &sending->histogram);
        rr_end_block(blocks, at);
    }
}

void
rr_close_many(struct rr_loop *loop)
{
    struct many *many = loop->many;
    int64_t i;

    if (many == NULL)
        return;
    if (many->poller != NULL) {
        many->settling = 1;
        many->poller->settle(many);
        many->poller->close(many);
    }
    if (many->pool != NULL)
        rr_close_pool(many);
    if (many->schedule != NULL)
        rr_close_schedule(many);
    for (i = 0; i < loop->spec.flows && many->sendings != NULL; i++)
        rr_free_histogram(&many->sendings[i].histogram);
    rr_close_many_numbers(many);
    free(many->sendings);
    free(many->starts);
    free(many);
    loop->many = NULL;
}
