/* Waiting until flows are ready: epoll, and poll where there is none.
 *
 * With epoll TCP is told of by edges: what was read to its end needs no second look, which
 * the kernel would take at every wait. A datagram is read alone, so UDP is told of for as
 * long as there is one.
 */
#include "rr_platform.h"

#include "rr_many.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#if defined(RR_HAVE_EPOLL)
#include <sys/epoll.h>
#endif

#define EVENTS 256

struct ready {
    int epoll;
    int untimed; /* this kernel has no epoll_pwait2 */
#if defined(RR_HAVE_EPOLL)
    struct epoll_event events[EVENTS];
#endif
    /* poll: place 0 is the watched descriptor's. */
    struct pollfd *table;
    struct flow **flows;
    size_t used;
    size_t room;
};

/* ---- what both do with a flow that is ready ---- */

static void
send_now(struct many *many, struct flow *flow, const char *from, int64_t bytes)
{
    ssize_t put = send(flow->fd, from, (size_t) bytes, RR_SEND_FLAGS);

    if (RR_UNLIKELY(put != bytes)) {
        if (put < 0)
            flow->send_calls--;
        rr_refused(many, flow, put < 0 ? bytes : bytes - put, put < 0 ? errno : 0);
    }
}

/* There is something to receive; to_end: an end of file may come behind it, and of that no
 * edge tells. A target takes no more while it has something to send: who does not read its
 * responses shall feel it. */
static void
receive_now(struct many *many, struct flow *flow, int to_end)
{
    int single = flow->datagram && many->loop->window == 1;
    int turns;
    ssize_t got;

    flow->unread = 0;
    for (turns = 0; turns < TURN; turns++) {
        if (many->pool != NULL && (flow->waits_for_room || flow->again))
            break;
        got = recv(flow->fd, many->in, (size_t) many->in_bytes, MSG_DONTWAIT);
        if (RR_UNLIKELY(got <= 0)) {
            if (got == 0)
                many->end(many, flow, RR_PEER, 0);
            else if (!rr_would_block(errno) && errno != EINTR)
                rr_failed(many, flow, errno);
            return;
        }
        many->received(many, flow, got);
        if (flow->over || single
            || (!flow->datagram && got < many->in_bytes && !to_end))
            return;
    }
    flow->unread = 1;
    rr_again(many, flow);
}

static void
receive_more(struct many *many, struct flow *flow)
{
    if (flow->unread && !flow->waits_for_room)
        receive_now(many, flow, 1);
}

static void
flow_is_ready(struct many *many, struct flow *flow, int readable, int writable,
              int to_end)
{
    if (flow->over)
        return;
    if (writable && flow->waits_for_room) {
        many->room(many, flow);
        if (flow->over)
            return;
    }
    if (!readable)
        return;
    if (flow->crowd)
        many->crowd(many, flow);
    else
        receive_now(many, flow, to_end);
}

static void
nothing_is_out(struct many *many)
{
    (void) many;
}

static int
open_ready(struct many *many)
{
    many->ready = calloc(1, sizeof *many->ready);
    if (many->ready == NULL)
        return -1;
    many->ready->epoll = -1;
    return 0;
}

/* How long to wait, in ns; -1: for ever. */
static int64_t
time_left(int64_t until)
{
    int64_t left;

    if (until == INT64_MAX)
        return -1;
    if (until == 0)
        return 0;
    left = until - rr_clock_ns();
    return left > 0 ? left : 0;
}

static int
whole_ms(int64_t left_ns)
{
    return left_ns < 0 ? -1 : (int) ((left_ns + NS_PER_MS - 1) / NS_PER_MS);
}

/* ---- epoll ---- */

#if defined(RR_HAVE_EPOLL)

static int
open_epoll(struct many *many)
{
    if (open_ready(many) < 0)
        return -1;
    many->ready->epoll = epoll_create1(EPOLL_CLOEXEC);
    return many->ready->epoll < 0 ? -1 : 0;
}

static int
control(struct many *many, int what, int fd, struct flow *flow, uint32_t events)
{
    struct epoll_event event;

    memset(&event, 0, sizeof event);
    event.events = events;
    event.data.ptr = flow;
    return epoll_ctl(many->ready->epoll, what, fd, &event);
}

static uint32_t
wanted(const struct many *many, const struct flow *flow)
{
    uint32_t events = EPOLLIN;

    if (flow->waits_for_room)
        events = many->pool != NULL ? EPOLLOUT : EPOLLIN | EPOLLOUT;
    return flow->datagram ? events : events | EPOLLRDHUP | (uint32_t) EPOLLET;
}

static int
watch_epoll(struct many *many, int fd)
{
    return control(many, EPOLL_CTL_ADD, fd, NULL, EPOLLIN);
}

static int
add_epoll(struct many *many, struct flow *flow)
{
    return control(many, EPOLL_CTL_ADD, flow->fd, flow, wanted(many, flow));
}

static void
drop_epoll(struct many *many, struct flow *flow)
{
    control(many, EPOLL_CTL_DEL, flow->fd, flow, 0);
}

static int
want_room_epoll(struct many *many, struct flow *flow)
{
    return control(many, EPOLL_CTL_MOD, flow->fd, flow, wanted(many, flow));
}

static int
look_at_epoll(struct ready *ready, int64_t left_ns)
{
#if defined(RR_HAVE_EPOLL_PWAIT2)
    /* struct __kernel_timespec: 64 bits each on every machine. */
    int64_t time[2];
    long found;

    if (left_ns > 0 && !ready->untimed) {
        time[0] = left_ns / NS_PER_SECOND;
        time[1] = left_ns % NS_PER_SECOND;
        found = syscall(SYS_epoll_pwait2, ready->epoll, ready->events, EVENTS, time,
                        NULL, (size_t) 0);
        if (found >= 0 || (errno != ENOSYS && errno != EPERM))
            return (int) found;
        ready->untimed = 1;
    }
#endif
#if defined(RR_HAVE_PPOLL)
    if (left_ns > 0 && left_ns < 10 * NS_PER_MS) {
        struct pollfd inner = {ready->epoll, POLLIN, 0};
        struct timespec wait = {0, (long) left_ns};

        if (ppoll(&inner, 1, &wait, NULL) < 0)
            return -1;
        left_ns = 0;
    }
#endif
    return epoll_wait(ready->epoll, ready->events, EVENTS, whole_ms(left_ns));
}

static enum step
wait_epoll(struct many *many, int64_t until)
{
    struct ready *ready = many->ready;
    int found = look_at_epoll(ready, time_left(until));
    int i;

    if (found < 0)
        return rr_fail(many->loop, errno);
    for (i = 0; i < found; i++) {
        uint32_t events = ready->events[i].events;
        struct flow *flow = ready->events[i].data.ptr;
        int blocked;

        if (flow == NULL) {
            many->woken = 1;
            continue;
        }
        blocked = flow->waits_for_room;
        flow_is_ready(many, flow, (events & ~(uint32_t) EPOLLOUT) != 0,
                      (events & ~(uint32_t) EPOLLIN) != 0,
                      (events & ~(uint32_t) (EPOLLIN | EPOLLOUT)) != 0);
        if (blocked && !flow->waits_for_room && !flow->over)
            control(many, EPOLL_CTL_MOD, flow->fd, flow, wanted(many, flow));
    }
    return GO;
}

static void
close_epoll(struct many *many)
{
    if (many->ready == NULL)
        return;
    if (many->ready->epoll >= 0)
        close(many->ready->epoll);
    free(many->ready);
}

const struct poller rr_epoll_poller = {
    open_epoll,   watch_epoll,     add_epoll,  drop_epoll,     send_now,
    receive_more, want_room_epoll, wait_epoll, nothing_is_out, close_epoll,
};

#endif

/* ---- poll ---- */

static int
put_in_table(struct many *many, int fd, struct flow *flow)
{
    struct ready *ready = many->ready;
    size_t at = flow == NULL ? 0 : ready->used;

    if (at >= ready->room) {
        size_t room = 2 * ready->room + 64;
        struct pollfd *table = realloc(ready->table, room * sizeof *table);
        struct flow **flows;

        if (table == NULL)
            return -1;
        ready->table = table;
        flows = realloc(ready->flows, room * sizeof(struct flow *));
        if (flows == NULL)
            return -1;
        ready->flows = flows;
        ready->room = room;
        if (ready->used == 0) {
            ready->used = 1;
            table[0].fd = -1;
            table[0].events = POLLIN;
            flows[0] = NULL;
            at = flow == NULL ? 0 : 1;
        }
    }
    ready->table[at].fd = fd;
    ready->table[at].events = POLLIN;
    ready->table[at].revents = 0;
    ready->flows[at] = flow;
    if (flow != NULL) {
        flow->slot = at;
        ready->used = at + 1;
    }
    return 0;
}

static int
watch_poll(struct many *many, int fd)
{
    return put_in_table(many, fd, NULL);
}

static int
add_poll(struct many *many, struct flow *flow)
{
    return put_in_table(many, flow->fd, flow);
}

static void
drop_poll(struct many *many, struct flow *flow)
{
    struct ready *ready = many->ready;
    size_t last = ready->used - 1;

    if (flow->slot == 0)
        return;
    ready->table[flow->slot] = ready->table[last];
    ready->flows[flow->slot] = ready->flows[last];
    ready->flows[flow->slot]->slot = flow->slot;
    ready->used = last;
    flow->slot = 0;
}

static int
want_room_poll(struct many *many, struct flow *flow)
{
    many->ready->table[flow->slot].events =
        (short) (many->pool != NULL ? POLLOUT : POLLIN | POLLOUT);
    return 0;
}

static int
look_at_poll(struct ready *ready, int64_t left_ns)
{
#if defined(RR_HAVE_PPOLL)
    if (left_ns > 0) {
        struct timespec wait;

        wait.tv_sec = (time_t) (left_ns / NS_PER_SECOND);
        wait.tv_nsec = (long) (left_ns % NS_PER_SECOND);
        return ppoll(ready->table, (nfds_t) ready->used, &wait, NULL);
    }
#endif
    return poll(ready->table, (nfds_t) ready->used, whole_ms(left_ns));
}

static enum step
wait_poll(struct many *many, int64_t until)
{
    struct ready *ready = many->ready;
    int found = look_at_poll(ready, time_left(until));
    size_t at;

    if (found < 0)
        return rr_fail(many->loop, errno);
    /* Downwards: one that is dropped makes room for the last one, which had its turn. */
    for (at = ready->used; found > 0 && at-- > 0;) {
        int events = ready->table[at].revents;
        struct flow *flow = ready->flows[at];

        if (events == 0)
            continue;
        found--;
        ready->table[at].revents = 0;
        if (flow == NULL) {
            many->woken = 1;
            continue;
        }
        flow_is_ready(many, flow, (events & ~POLLOUT) != 0, (events & ~POLLIN) != 0, 0);
        if (!flow->waits_for_room && !flow->over)
            ready->table[at].events = POLLIN;
    }
    return GO;
}

static void
close_poll(struct many *many)
{
    if (many->ready == NULL)
        return;
    free(many->ready->table);
    free(many->ready->flows);
    free(many->ready);
}

const struct poller rr_poll_poller = {
    open_ready,   watch_poll,     add_poll,  drop_poll,      send_now,
    receive_more, want_room_poll, wait_poll, nothing_is_out, close_poll,
};
