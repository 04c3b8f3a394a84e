/* A target that connections join and leave while it runs.
 *
 * It reads no clock between a flow's first request and its end. A flow that has left is
 * told of when nothing of it is out any more: its descriptor may be closed then, and its
 * number may come back as another connection.
 */
#include "rr_platform.h"

#include "rr_pool.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* What can have been queued on a socket before it was connected. */
#define MAX_QUEUED 4096
/* units.MAX_DATAGRAM_BYTES */
#define MAX_DATAGRAM_BYTES 65507

enum action {
    ADD = 1,
    DROP = 2
};

/* flows.LEAVE_RECORD */
struct leave {
    int64_t id;
    int64_t ended;
    int64_t saved_errno;
    int64_t started_ns;
    int64_t elapsed_ns;
    int64_t transactions;
    int64_t bytes_received;
    int64_t bytes_sent;
    int64_t recv_calls;
    int64_t send_calls;
    int64_t malformed;
    int64_t have_bytes;
};

typedef char
    records_fit[sizeof(struct join) == 88 && sizeof(struct leave) == 96 ? 1 : -1];

static struct serving *
serving_of(struct flow *flow)
{
    return (struct serving *) (void *) flow;
}

/* ---- the index ---- */

static size_t
place_of(const struct pool *pool, int64_t id)
{
    uint64_t mixed = (uint64_t) id * UINT64_C(0x9E3779B97F4A7C15);

    return (size_t) (mixed >> 32) & (pool->places - 1);
}

static struct serving *
find(const struct pool *pool, int64_t id)
{
    struct serving *found = pool->index[place_of(pool, id)];

    while (found != NULL && found->id != id)
        found = found->next;
    return found;
}

static int
widen_index(struct pool *pool)
{
    size_t old = pool->places;
    struct serving **was = pool->index;
    struct serving *moved, *next;
    size_t i, place;

    pool->index = calloc(2 * old, sizeof(struct serving *));
    if (pool->index == NULL) {
        pool->index = was;
        return -1;
    }
    pool->places = 2 * old;
    for (i = 0; i < old; i++)
        for (moved = was[i]; moved != NULL; moved = next) {
            next = moved->next;
            place = place_of(pool, moved->id);
            moved->next = pool->index[place];
            pool->index[place] = moved;
        }
    free(was);
    return 0;
}

static int
put_into_index(struct pool *pool, struct serving *serving)
{
    size_t place;

    if (pool->count >= pool->places && widen_index(pool) < 0)
        return -1;
    place = place_of(pool, serving->id);
    serving->next = pool->index[place];
    pool->index[place] = serving;
    pool->count++;
    return 0;
}

static void
take_from_index(struct pool *pool, struct serving *serving)
{
    struct serving **at = &pool->index[place_of(pool, serving->id)];

    while (*at != serving)
        at = &(*at)->next;
    *at = serving->next;
    pool->count--;
}

/* ---- leaving ---- */

void
rr_leave_pool(struct many *many, struct flow *flow, enum rr_ended ended, int error)
{
    struct serving *serving = serving_of(flow);

    if (flow->over)
        return;
    flow->over = 1;
    flow->ended = ended;
    flow->saved_errno = ended == RR_PEER ? 0 : error;
    flow->batch = many->batch;
    serving->ended_ns = rr_clock_ns();
    serving->next_leaving = many->pool->leaving;
    many->pool->leaving = serving;
    many->poller->drop(many, flow);
}

static void
peer_left(struct many *many, struct flow *flow, enum rr_ended ended, int error)
{
    struct serving *serving = serving_of(flow);

    if (ended == RR_PEER && error == 0) {
        /* The empty datagram of an earlier test; see rr_target.c. */
        if (flow->datagram && serving->started_ns == 0
            && serving->strays++ < RR_MAX_STRAYS)
            return;
        /* It may have shut down for writing and wait for what is owed to it. */
        if (!flow->datagram && (flow->unsent > 0 || flow->have >= flow->in_bytes)) {
            flow->ended_file = 1;
            return;
        }
    }
    rr_leave_pool(many, flow, ended, error);
}

static int
say(struct rr_loop *loop, const struct leave *record)
{
    const char *at = (const char *) record;
    size_t left = sizeof *record;

    while (left > 0) {
        ssize_t put = write((int) loop->spec.report_fd, at, left);

        if (put >= 0) {
            at += put;
            left -= (size_t) put;
        } else if (rr_would_block(errno)) {
            struct pollfd room;

            room.fd = (int) loop->spec.report_fd;
            room.events = POLLOUT;
            poll(&room, 1, -1);
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

static int
say_refused(struct rr_loop *loop, int64_t id, int error)
{
    struct leave record;

    memset(&record, 0, sizeof record);
    record.id = id;
    record.ended = RR_ERROR;
    record.saved_errno = error;
    return say(loop, &record);
}

static int
say_left(struct rr_loop *loop, const struct serving *serving)
{
    const struct flow *flow = &serving->flow;
    struct leave record;

    memset(&record, 0, sizeof record);
    record.id = serving->id;
    record.ended = (int64_t) flow->ended;
    record.saved_errno = flow->saved_errno;
    record.started_ns = serving->started_ns;
    if (serving->started_ns > 0)
        record.elapsed_ns = serving->ended_ns - serving->started_ns;
    /* What is not sent whole is none. */
    record.transactions =
        flow->transactions - (flow->unsent + flow->out_bytes - 1) / flow->out_bytes;
    record.bytes_received = flow->bytes_received;
    record.bytes_sent = flow->bytes_sent;
    record.recv_calls = flow->recv_calls;
    record.send_calls = flow->send_calls;
    record.malformed = flow->malformed;
    record.have_bytes = flow->have;
    return say(loop, &record);
}

static void
forget(struct pool *pool, struct serving *serving)
{
    pool->taken[serving->flow.fd] = 0;
    free(serving->crowd);
    free(serving);
}

/* Tell of those that nothing is out of any more. */
static int
let_go(struct many *many)
{
    struct serving **at = &many->pool->leaving;
    int failed = 0;

    while (*at != NULL) {
        struct serving *serving = *at;

        if (serving->flow.operations > 0 || serving->flow.again
            || serving->flow.batch == many->batch) {
            at = &serving->next_leaving;
            continue;
        }
        *at = serving->next_leaving;
        take_from_index(many->pool, serving);
        failed |= say_left(many->loop, serving) < 0;
        forget(many->pool, serving);
    }
    return failed ? -1 : 0;
}

/* ---- answering ---- */

static void
serve(struct many *many, struct flow *flow)
{
    struct serving *serving = serving_of(flow);
    int turns = TURN;

    while (flow->have >= flow->in_bytes && flow->unsent == 0) {
        if (serving->limit > 0 && flow->transactions == serving->limit)
            break;
        if (turns-- == 0) {
            rr_again(many, flow);
            return;
        }
        flow->have -= flow->in_bytes;
        if (RR_UNLIKELY(serving->started_ns == 0))
            serving->started_ns = rr_clock_ns();
        flow->transactions++;
        push(many, flow, flow->out_bytes);
        if (flow->over)
            return;
    }
    if (RR_UNLIKELY(flow->unsent > 0))
        return;
    if (RR_UNLIKELY(serving->limit > 0 && flow->transactions == serving->limit))
        rr_leave_pool(many, flow, RR_COUNT, 0);
    else if (RR_UNLIKELY(flow->ended_file))
        rr_leave_pool(many, flow, RR_PEER, 0);
}

static void
take_request(struct many *many, struct flow *flow, int64_t bytes)
{
    flow->recv_calls++;
    if (flow->datagram && bytes != flow->in_bytes) {
        flow->malformed++;
        return;
    }
    flow->bytes_received += bytes;
    flow->have += bytes;
    if (!flow->over)
        serve(many, flow);
}

/* ---- turns ---- */

static void
room_again(struct many *many, struct flow *flow)
{
    flow->waits_for_room = 0;
    if (flow->crowd) {
        if (rr_answer_crowd(many, flow))
            rr_serve_crowd(many, flow);
        return;
    }
    rr_send_unsent(many, flow);
    if (flow->unsent == 0 && !flow->over)
        serve(many, flow);
}

static void
more_to_do(struct many *many, struct flow *flow)
{
    if (flow->waits_for_room)
        return;
    if (flow->crowd)
        rr_serve_crowd(many, flow);
    else
        room_again(many, flow);
}

/* ---- joining ---- */

/* Datagrams that were queued before the socket was connected may be from anybody. */
static void
sift(struct many *many, struct flow *flow)
{
    struct sockaddr_storage from, peer;
    socklen_t from_bytes, peer_bytes = sizeof peer;
    int left = MAX_QUEUED;
    ssize_t got;

    memset(&peer, 0, sizeof peer);
    if (getpeername(flow->fd, (struct sockaddr *) &peer, &peer_bytes) < 0)
        return;
    for (; left > 0 && !flow->over && !flow->waits_for_room; left--) {
        memset(&from, 0, sizeof from);
        from_bytes = sizeof from;
        got = recvfrom(flow->fd, many->in, (size_t) many->in_bytes, MSG_DONTWAIT,
                       (struct sockaddr *) &from, &from_bytes);
        if (got < 0)
            return;
        if (!rr_same_host(&from, &peer) || !rr_same_port(&from, &peer))
            continue;
        if (got == 0)
            many->end(many, flow, RR_PEER, 0);
        else
            many->received(many, flow, got);
    }
}

static int
sensible(const struct join *join)
{
    int64_t limit = join->datagram ? MAX_DATAGRAM_BYTES : RR_CHUNK_BYTES;

    if (join->fd < 0 || join->fd > INT32_MAX || join->request_bytes < 1
        || join->request_bytes > limit || join->response_bytes < 1
        || join->response_bytes > limit || join->transactions < 0
        || join->have_bytes < 0 || join->have_bytes >= join->request_bytes
        || (join->datagram != 0 && join->datagram != 1))
        return 0;
    if (join->peer_bytes != 0 && join->peer_bytes != 4 && join->peer_bytes != 16)
        return 0;
    return join->datagram ? join->have_bytes == 0 : join->peer_bytes == 0;
}

/* 0, or what stands in the way. */
static int
mark_taken(struct pool *pool, const struct join *join)
{
    size_t fd = (size_t) join->fd;
    int type;
    socklen_t size = sizeof type;

    if (getsockopt((int) join->fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
        return errno;
    if (type != (join->datagram ? SOCK_DGRAM : SOCK_STREAM))
        return EINVAL;
    if (fd >= pool->taken_places) {
        size_t places = 2 * fd + 64;
        char *taken = realloc(pool->taken, places);

        if (taken == NULL)
            return ENOMEM;
        memset(taken + pool->taken_places, 0, places - pool->taken_places);
        pool->taken = taken;
        pool->taken_places = places;
    }
    if (pool->taken[fd] || find(pool, join->id) != NULL)
        return EEXIST;
    pool->taken[fd] = 1;
    return 0;
}

/* Served by rr_crowd.c. */
static int
is_crowd(const struct join *join)
{
    return join->peer_bytes > 0
           || (join->datagram
               && rr_numbered(join->request_bytes, join->response_bytes));
}

/* 0, or what stands in the way. */
static int
admit(struct many *many, const struct join *join)
{
    struct serving *serving;
    struct flow *flow;
    int error;

    if (!sensible(join))
        return EINVAL;
    error = mark_taken(many->pool, join);
    if (error != 0)
        return error;
    serving = rr_alloc_lines(sizeof *serving);
    if (serving == NULL) {
        many->pool->taken[join->fd] = 0;
        return ENOMEM;
    }
    flow = &serving->flow;
    serving->id = join->id;
    serving->limit = join->transactions;
    flow->fd = (int) join->fd;
    flow->datagram = join->datagram != 0;
    flow->in_bytes = join->request_bytes;
    flow->out_bytes = join->response_bytes;
    flow->have = join->have_bytes;
    errno = ENOMEM;
    if ((is_crowd(join) && rr_open_crowd(many, serving, join) < 0)
        || put_into_index(many->pool, serving) < 0) {
        error = errno;
        forget(many->pool, serving);
        return error;
    }
    if (rr_add_flow(many, flow) < 0) {
        error = errno;
        take_from_index(many->pool, serving);
        forget(many->pool, serving);
        return error;
    }
    if (flow->datagram && !flow->crowd)
        sift(many, flow);
    return 0;
}

static int
do_record(struct many *many, const struct join *join)
{
    struct serving *serving;
    int error;

    if (join->action == ADD) {
        error = admit(many, join);
        return error == 0 ? 0 : say_refused(many->loop, join->id, error);
    }
    if (join->action == DROP) {
        serving = find(many->pool, join->id);
        /* It may have left by itself while the record was on its way. */
        if (serving != NULL)
            rr_leave_pool(many, &serving->flow, RR_STOPPED, 0);
    }
    return 0;
}

static void
drop_all(struct many *many)
{
    struct pool *pool = many->pool;
    struct serving *serving;
    size_t i;

    for (i = 0; i < pool->places; i++)
        for (serving = pool->index[i]; serving != NULL; serving = serving->next)
            rr_leave_pool(many, &serving->flow, RR_STOPPED, 0);
}

/* 1: there may be more, or the end of it, and not every poller says so again. -1: the pool
 * cannot go on; errno says why. */
static int
read_records(struct many *many)
{
    struct pool *pool = many->pool;
    struct join join;
    size_t at;
    ssize_t got = read((int) many->loop->spec.fd, pool->records + pool->partial,
                       sizeof pool->records - pool->partial);

    if (got < 0)
        return rr_would_block(errno) || errno == EINTR ? 0 : -1;
    if (got == 0) {
        pool->closing = 1;
        drop_all(many);
        return 0;
    }
    pool->partial += (size_t) got;
    for (at = 0; pool->partial - at >= sizeof join; at += sizeof join) {
        memcpy(&join, pool->records + at, sizeof join);
        if (do_record(many, &join) < 0)
            return -1;
    }
    pool->partial -= at;
    memmove(pool->records, pool->records + at, pool->partial);
    return 1;
}

/* ---- from the beginning to the end ---- */

int
rr_open_pool(struct rr_loop *loop)
{
    struct many *many = calloc(1, sizeof *many);
    struct pool *pool;

    if (many == NULL)
        return -1;
    loop->many = many;
    many->loop = loop;
    many->pool = pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return -1;
    pool->places = 64;
    pool->index = calloc(pool->places, sizeof(struct serving *));
    pool->in = malloc(RR_TAKE_BYTES);
    /* Zeros that are never written take no memory. */
    pool->out = calloc(1, RR_CHUNK_BYTES);
    if (pool->index == NULL || pool->in == NULL || pool->out == NULL)
        return -1;
    many->received = take_request;
    many->end = peer_left;
    many->room = room_again;
    many->more = more_to_do;
    many->crowd = rr_serve_crowd;
    many->in = pool->in;
    many->in_bytes = RR_TAKE_BYTES;
    many->out = pool->out;
    return rr_open_poller(many);
}

enum step
rr_pool_start(struct rr_loop *loop)
{
    if (loop->many->poller->watch(loop->many, (int) loop->spec.fd) < 0)
        return rr_fail(loop, errno);
    return GO;
}

enum step
rr_pool_step(struct rr_loop *loop)
{
    struct many *many = loop->many;
    struct pool *pool = many->pool;
    int64_t until = INT64_MAX;
    enum step step;

    if (loop->spec.return_at_ticks)
        until = rr_clock_ns() + RR_TICK_NS;
    if (many->first_again != NULL || pool->leaving != NULL || many->woken)
        until = 0;
    many->batch++;
    step = many->poller->wait(many, until);
    if (step != GO)
        return step;
    if (many->error != 0)
        return rr_fail(loop, many->error);
    rr_take_turns(many);
    if (many->woken && !pool->closing) {
        int more = read_records(many);

        if (more < 0)
            return rr_fail(loop, errno);
        many->woken = more;
    }
    if (pool->leaving != NULL && let_go(many) < 0)
        return rr_fail(loop, errno);
    if (pool->closing && pool->count == 0)
        return rr_finish(loop, RR_STOPPED);
    return loop->spec.return_at_ticks ? INTERRUPTED : GO;
}

void
rr_close_pool(struct many *many)
{
    struct pool *pool = many->pool;
    struct serving *serving, *next;
    size_t i;

    for (i = 0; pool->index != NULL && i < pool->places; i++)
        for (serving = pool->index[i]; serving != NULL; serving = next) {
            next = serving->next;
            forget(pool, serving);
        }
    free(pool->index);
    free(pool->taken);
    free(pool->in);
    free(pool->out);
    free(pool);
    many->pool = NULL;
}
