/* The way in: make the state from a packed spec, run it, put everything back. */
#include "rr_platform.h"

#include "rr_common.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* What senders put on the wire; nobody looks at it. */
static const char TEXT[] = "netperf";

static int
note_timeout(int fd, struct timeout *timeout)
{
    socklen_t size = sizeof timeout->old;

    if (getsockopt(fd, SOL_SOCKET, timeout->name, &timeout->old, &size) < 0)
        return -1;
    timeout->ns = (int64_t) timeout->old.tv_sec * NS_PER_SECOND
                  + (int64_t) timeout->old.tv_usec * NS_PER_US;
    return 0;
}

static int
prepare_socket(struct rr_loop *loop)
{
    if (loop->fd < 0)
        return 0;
#if defined(RR_NOSIGPIPE_OPTION)
    {
        int on = 1;

        if (setsockopt(loop->fd, SOL_SOCKET, RR_NOSIGPIPE_OPTION, &on, sizeof on) < 0)
            return -1;
    }
#endif
    if (note_timeout(loop->fd, &loop->receive_timeout) < 0
        || note_timeout(loop->fd, &loop->send_timeout) < 0
        || rr_set_timeout(loop->fd, &loop->receive_timeout, 0) < 0)
        return -1;
    /* The one thing that ends a write which waits. */
    return rr_set_timeout(loop->fd, &loop->send_timeout,
                          loop->spec.plain_write ? RR_TICK_NS : 0);
}

static void
restore_timeout(int fd, const struct timeout *timeout)
{
    if (timeout->touched)
        setsockopt(fd, SOL_SOCKET, timeout->name, &timeout->old, sizeof timeout->old);
}

/* ---- the packed spec ---- */

struct tail {
    const char *at;
    size_t left;
    int broken;
};

static const char *
take(struct tail *tail, int64_t bytes)
{
    const char *at = tail->at;

    if (tail->broken || bytes < 0 || (uint64_t) bytes > tail->left) {
        tail->broken = 1;
        return NULL;
    }
    tail->at += bytes;
    tail->left -= (size_t) bytes;
    return at;
}

static void
take_address(struct tail *tail, struct address *address, int64_t bytes)
{
    const char *from = take(tail, bytes);

    if (from == NULL || bytes > (int64_t) sizeof address->name) {
        tail->broken = 1;
        return;
    }
    memcpy(&address->name, from, (size_t) bytes);
    address->length = (socklen_t) bytes;
}

static void
take_options(struct rr_loop *loop, struct tail *tail)
{
    int64_t i;

    for (i = 0; i < loop->spec.options; i++) {
        struct option *option = &loop->options[i];
        int64_t head[3];
        const char *from = take(tail, (int64_t) sizeof head + OPTION_VALUE_BYTES);

        if (from == NULL)
            return;
        memcpy(head, from, sizeof head);
        if (head[2] < 0 || head[2] > OPTION_VALUE_BYTES) {
            tail->broken = 1;
            return;
        }
        option->level = (int) head[0];
        option->name = (int) head[1];
        option->length = (socklen_t) head[2];
        memcpy(option->value, from + sizeof head, OPTION_VALUE_BYTES);
    }
    loop->option_count = (int) loop->spec.options;
}

/* Sizes that come from Python's checked specs; what is left is that they are no nonsense. */
static int
plausible(const struct rr_spec *spec)
{
    const int64_t sizes[] = {
        spec->request_bytes,     spec->response_bytes,
        spec->block_bytes,       spec->send_alignment,
        spec->send_offset,       spec->send_width - 1,
        spec->receive_alignment, spec->receive_offset,
        spec->receive_width - 1, spec->burst,
        spec->pace_burst,
    };
    size_t i;

    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i] < 0 || sizes[i] > INT32_MAX)
            return 0;
    if (spec->kind == RR_FLOWS
        && (spec->role != RR_SENDER || spec->flows < 1 || spec->flows > RR_MAX_FLOWS
            || spec->flows * (spec->burst + 1) > RR_MAX_IN_FLIGHT
            || spec->request_bytes < 1 || spec->request_bytes > RR_CHUNK_BYTES
            || spec->response_bytes < 1 || spec->response_bytes > RR_CHUNK_BYTES))
        return 0;
    return spec->kind >= RR_ROUND_TRIPS && spec->kind <= RR_POOL
           && (spec->kind == RR_FLOWS || spec->flows == 0) && spec->options >= 0
           && spec->options <= RR_MAX_OPTIONS
           && (spec->kind != RR_STREAM || spec->block_bytes > 0)
           && (spec->pace_burst == 0) == (spec->pace_ns == 0);
}

/* ---- buffers ---- */

static int
open_in(struct rr_loop *loop, int64_t bytes)
{
    const struct rr_spec *spec = &loop->spec;

    return rr_open_ring(&loop->in, spec->receive_width, bytes, 0,
                        spec->receive_alignment, spec->receive_offset, 1);
}

/* A message that goes in pieces runs on from one to the next: room to begin anywhere in
 * the text. */
static int
open_out(struct rr_loop *loop, int64_t bytes, int whole, const char *text,
         int64_t text_bytes)
{
    const struct rr_spec *spec = &loop->spec;
    int64_t spare = whole ? 0 : text_bytes;

    if (rr_open_ring(&loop->out, spec->send_width, bytes, spare, spec->send_alignment,
                     spec->send_offset, 0)
        < 0)
        return -1;
    loop->text_bytes = whole ? INT64_MAX : text_bytes;
    rr_fill_ring(&loop->out, bytes + spare, text, text_bytes);
    return 0;
}

static int
open_buffers(struct rr_loop *loop, const char *fill)
{
    struct rr_spec *spec = &loop->spec;
    int sender = spec->role == RR_SENDER;
    int64_t in_bytes = sender ? spec->response_bytes : spec->request_bytes;
    int64_t out_bytes = sender ? spec->request_bytes : spec->response_bytes;
    int64_t fill_bytes = spec->fill_bytes;
    int64_t in_limit, out_limit;

    if (spec->kind == RR_STREAM)
        sender = spec->sends != 0;
    if (fill_bytes == 0) {
        /* A target says zeros. */
        fill = sender ? TEXT : "";
        fill_bytes = sender ? (int64_t) sizeof TEXT - 1 : 1;
    }
    if (spec->kind == RR_STREAM)
        return sender ? open_out(loop, spec->block_bytes, 1, fill, fill_bytes)
                      : open_in(loop, spec->block_bytes);
    /* One byte more than a datagram may have shows one that is too long. */
    in_limit = least(in_bytes + (spec->datagram ? 1 : 0), RR_CHUNK_BYTES);
    /* Many responses may come at once. */
    if (spec->kind == RR_FLOWS && in_limit < RR_TAKE_BYTES)
        in_limit = RR_TAKE_BYTES;
    out_limit = least(out_bytes, RR_CHUNK_BYTES);
    loop->small = in_bytes <= in_limit && out_bytes <= out_limit;
    if (in_bytes > in_limit)
        spec->receive_width = 1;
    if (out_bytes > out_limit)
        spec->send_width = 1;
    return open_in(loop, in_limit) < 0
               ? -1
               : open_out(loop, out_limit, out_bytes <= out_limit, fill, fill_bytes);
}

static void
choose_step(struct rr_loop *loop)
{
    const struct rr_spec *spec = &loop->spec;

    loop->timeout = &loop->receive_timeout;
    loop->measures = spec->role == RR_SENDER || spec->kind == RR_STREAM;
    switch (spec->kind) {
    case RR_CONNECTIONS:
        loop->keep_timeout = 1;
        loop->step = spec->role == RR_SENDER ? rr_connector_step : rr_acceptor_step;
        break;
    case RR_STREAM:
        if (spec->sends) {
            loop->timeout = &loop->send_timeout;
            loop->keep_timeout = 1;
        }
        loop->step = spec->sends ? rr_stream_out_step : rr_stream_in_step;
        break;
    case RR_FLOWS:
        loop->step = rr_flows_step;
        break;
    case RR_POOL:
        loop->step = rr_pool_step;
        break;
    default:
        loop->numbered = spec->datagram && !spec->decompose
                         && rr_numbered(spec->request_bytes, spec->response_bytes);
        if (spec->role == RR_TARGET)
            loop->step = rr_target_step;
        else
            loop->step = loop->numbered ? rr_numbered_step : rr_sender_step;
    }
}

static enum step
start(struct rr_loop *loop)
{
    int sender = loop->spec.role == RR_SENDER;

    switch (loop->spec.kind) {
    case RR_CONNECTIONS:
        return sender ? rr_connector_start(loop) : rr_acceptor_start(loop);
    case RR_STREAM:
        return rr_stream_start(loop);
    case RR_FLOWS:
        return rr_flows_start(loop);
    case RR_POOL:
        return rr_pool_start(loop);
    default:
        if (!sender)
            return rr_target_start(loop);
        return loop->numbered ? rr_numbered_start(loop) : rr_sender_start(loop);
    }
}

struct rr_loop *
rr_open(const void *packed, size_t packed_bytes, uint64_t *counts)
{
    struct rr_loop *loop = calloc(1, sizeof *loop);
    struct rr_spec *spec;
    struct tail tail = {packed, packed_bytes, 0};
    const char *fixed, *fill, *fds;

    if (loop == NULL)
        return NULL;
    spec = &loop->spec;
    loop->connection = -1;
    loop->tally.mss = loop->tally.retransmissions = -1;
    errno = EINVAL;
    fixed = take(&tail, (int64_t) sizeof *spec);
    if (fixed == NULL)
        goto failed;
    memcpy(spec, fixed, sizeof *spec);
    if (!plausible(spec))
        goto failed;
    if (spec->options > 0) {
        loop->options = calloc((size_t) spec->options, sizeof *loop->options);
        if (loop->options == NULL)
            goto failed;
    }
    take_address(&tail, &loop->destination, spec->destination_bytes);
    take_address(&tail, &loop->source, spec->source_bytes);
    take_address(&tail, &loop->peer, spec->peer_bytes);
    take_options(loop, &tail);
    fill = take(&tail, spec->fill_bytes);
    fds = take(&tail, spec->flows * (int64_t) sizeof(int64_t));
    if (tail.broken || tail.left > 0)
        goto failed;

    loop->counts = counts;
    /* A pool's is no socket. */
    loop->fd = spec->kind == RR_POOL ? -1 : (int) spec->fd;
    loop->receive_timeout.name = SO_RCVTIMEO;
    loop->send_timeout.name = SO_SNDTIMEO;
    loop->window = spec->role == RR_SENDER ? spec->burst + 1 : 1;
    loop->deadline = loop->due = loop->next_tick = loop->next_interim = INT64_MAX;
    loop->next_loss = INT64_MAX;
    loop->span_min = loop->all_min = INT64_MAX;
    loop->span_max = loop->all_max = -1;
    loop->quiet_mark = -1;
    loop->poll_every = loop->poll_countdown = RR_TARGET_POLL;
    choose_step(loop);
    if (spec->kind == RR_POOL) {
        if (rr_open_pool(loop) < 0)
            goto failed;
        return loop;
    }
    if (open_buffers(loop, fill) < 0)
        goto failed;
    if (spec->decompose && rr_open_parts(loop) < 0)
        goto failed;
    if (loop->numbered && spec->role == RR_SENDER
        && rr_open_numbers(&loop->numbers, loop->window) < 0)
        goto failed;
    if (spec->kind == RR_ROUND_TRIPS && rr_open_burst(loop) < 0)
        goto failed;
    loop->starts = malloc((size_t) loop->window * sizeof *loop->starts);
    if (loop->starts == NULL)
        goto failed;
    if (spec->interim_ns > 0) {
        loop->snapshot = calloc(RR_COUNTS, sizeof *loop->snapshot);
        if (loop->snapshot == NULL)
            goto failed;
    }
    if (spec->kind == RR_FLOWS && rr_open_flows(loop, fds) < 0)
        goto failed;
    return loop;
failed:
    rr_close(loop);
    return NULL;
}

/* write() and sendfile() know no MSG_NOSIGNAL: their SIGPIPE is held back here, and taken
 * away if it came, so that whatever the process does with it does not happen. */
static int
hold_pipe_signal(const struct rr_loop *loop, sigset_t *pipe_signal, sigset_t *old)
{
    sigset_t pending;

    if (!loop->spec.plain_write && loop->spec.file_fd < 0)
        return 0;
    sigemptyset(pipe_signal);
    sigaddset(pipe_signal, SIGPIPE);
    sigpending(&pending);
    if (sigismember(&pending, SIGPIPE))
        return 0;
    return pthread_sigmask(SIG_BLOCK, pipe_signal, old) == 0;
}

static void
drop_pipe_signal(const sigset_t *pipe_signal, const sigset_t *old)
{
    sigset_t pending;
    int taken;

    sigpending(&pending);
    if (sigismember(&pending, SIGPIPE))
        sigwait(pipe_signal, &taken);
    pthread_sigmask(SIG_SETMASK, old, NULL);
}

int
rr_run(struct rr_loop *loop, struct rr_tally *tally)
{
    enum step step = GO;
    sigset_t pipe_signal, old;
    int held;

    if (!loop->prepared && loop->spec.own_thread)
        rr_take_thread(loop);
    held = hold_pipe_signal(loop, &pipe_signal, &old);
    if (!loop->prepared) {
        loop->prepared = 1;
        if (prepare_socket(loop) < 0)
            step = rr_fail(loop, errno);
        else if (rr_stop_asked(loop))
            step = rr_finish(loop, RR_STOPPED);
    }
    if (step == GO && !loop->launched) {
        step = loop->spec.start_at_ns > 0 ? rr_wait_for_start(loop) : GO;
        if (step == GO) {
            loop->launched = 1;
            step = start(loop);
        }
    }
    while (step == GO)
        step = loop->step(loop);
    if (held)
        drop_pipe_signal(&pipe_signal, &old);
    if (step == INTERRUPTED)
        return RR_INTERRUPTED;
    if (loop->spec.kind == RR_FLOWS)
        rr_settle_flows(loop);
    *tally = loop->tally;
    return RR_DONE;
}

void
rr_close(struct rr_loop *loop)
{
    int error = errno;

    if (loop == NULL)
        return;
    rr_leave_thread(loop);
    rr_close_many(loop);
    if (loop->connection >= 0)
        close(loop->connection);
    restore_timeout(loop->fd, &loop->receive_timeout);
    restore_timeout(loop->fd, &loop->send_timeout);
    rr_close_parts(loop);
    rr_close_numbers(&loop->numbers);
    /* Only this table's entry: its port must not stay taken until the thread is gone. */
    if (loop->own_table && loop->fd >= 0)
        close(loop->fd);
    free(loop->in.memory);
    free(loop->out.memory);
    free(loop->starts);
    free(loop->snapshot);
    free(loop->options);
    rr_close_burst(loop);
    rr_free_blocks(loop);
    free(loop);
    errno = error;
}
