/* A connection for every transaction, both ends.
 *
 * The order of calls is netperf's TCP_CRR: socket, options, bind, connect, send, recv, recv
 * until the end of file, close; and accept, recv, send, close. A step is
 * one call and goes on to the next stage; the only clock read of a transaction is the one
 * that ends it and begins the next.
 *
 * Calls block, at both ends, and nobody outside can release one on a connection that the
 * loop made itself. The bell (rr_thread.c) interrupts them; where there is none they have
 * timeouts. Then a sender sets both on every socket, two more system calls and a timer where
 * a call does wait, and a target one on its listener, which the connections inherit. It was
 * tried to receive without waiting first and to poll when nothing is there: on one processor
 * the target runs as soon as it is connected to, before there is a request, so that made 2 us.
 */
#include "rr_common.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>

/* Between two attempts to connect to a port where nobody listens. */
#define REFUSED_PAUSE_NS 1000000
/* Connections that begin so shortly before the deadline may be the last one. */
#define JUST_BEFORE_NS 1000000
/* A target polls the stop descriptor once in so many connections. */
#define CONNECTIONS_PER_LOOK 32
/* A range of taken ports is gone through in a moment, but not in no time. */
#define PORTS_PER_LOOK 64

static void
close_connection(struct rr_loop *loop)
{
    if (loop->connection >= 0)
        close(loop->connection);
    loop->connection = -1;
    loop->stage = CLOSED;
}

/* ---- sender ---- */

void
rr_look_at_connection(struct rr_loop *loop)
{
    struct rr_tally *tally = &loop->tally;

    tally->mss = tally->retransmissions = -1;
#if defined(TCP_MAXSEG)
    {
        int mss;
        socklen_t size = sizeof mss;

        if (getsockopt(loop->connection, IPPROTO_TCP, TCP_MAXSEG, &mss, &size) == 0)
            tally->mss = mss;
    }
#endif
#if defined(RR_HAVE_TCP_INFO)
    {
        struct tcp_info info;
        socklen_t size = sizeof info;

        memset(&info, 0, sizeof info);
        /* An old kernel gives less of it. */
        if (getsockopt(loop->connection, IPPROTO_TCP, TCP_INFO, &info, &size) == 0
            && size >= offsetof(struct tcp_info, tcpi_total_retrans)
                           + sizeof info.tcpi_total_retrans)
            tally->retransmissions = (int64_t) info.tcpi_total_retrans;
    }
#endif
}

/* One look at the first connection, so that there is something to tell whatever comes, and
 * one at each that may be the last. */
static int
may_be_last(const struct rr_loop *loop)
{
    return loop->tally.mss < 0
           || loop->tally.transactions + 1 == loop->spec.transactions
           || loop->stamp > loop->deadline - JUST_BEFORE_NS;
}

int
rr_limit_connection(struct rr_loop *loop)
{
    struct timeval time;

    time.tv_sec = (time_t) (loop->wait_ns / NS_PER_SECOND);
    time.tv_usec = (suseconds_t) (loop->wait_ns % NS_PER_SECOND / NS_PER_US);
    if (setsockopt(loop->connection, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) < 0)
        return -1;
    /* It limits connect() as well. */
    return setsockopt(loop->connection, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

static int
prepare_connection(struct rr_loop *loop)
{
    int i;

#if defined(RR_NOSIGPIPE_OPTION)
    const int on = 1;

    if (setsockopt(loop->connection, SOL_SOCKET, RR_NOSIGPIPE_OPTION, &on, sizeof on)
        < 0)
        return -1;
#endif
    for (i = 0; i < loop->option_count; i++) {
        const struct option *option = &loop->options[i];

        if (setsockopt(loop->connection, option->level, option->name, option->value,
                       option->length)
            < 0)
            return -1;
    }
    if (!loop->has_bell && rr_limit_connection(loop) < 0)
        return -1;
    if (loop->source.length == 0)
        return 0;
    if (loop->spec.high_port > 0) {
        struct sockaddr_in name;

        /* The port lies at the same place in IPv6's. */
        memcpy(&name, &loop->source.name, sizeof name);
        name.sin_port = htons((uint16_t) loop->port);
        memcpy(&loop->source.name, &name, sizeof name);
        loop->port =
            loop->port < loop->spec.high_port ? loop->port + 1 : loop->spec.low_port;
    }
    return bind(loop->connection, (const struct sockaddr *) &loop->source.name,
                loop->source.length);
}

/* The local port is in use, or was a moment ago: on to the next one, once around. */
static enum step
pass_over(struct rr_loop *loop)
{
    int64_t ports = loop->spec.high_port - loop->spec.low_port + 1;

    close_connection(loop);
    if (++loop->ports_tried >= ports)
        return rr_fail(loop, EADDRNOTAVAIL);
    if (loop->ports_tried % PORTS_PER_LOOK != 0)
        return GO;
    loop->now = rr_clock_ns();
    return tick_if_due(loop);
}

static int
port_taken(const struct rr_loop *loop, int error)
{
    return loop->spec.high_port > 0 && (error == EADDRINUSE || error == EADDRNOTAVAIL);
}

static enum step
refused(struct rr_loop *loop)
{
    const struct timespec pause = {0, REFUSED_PAUSE_NS};

    close_connection(loop);
    /* A signal ends the pause, and the next tick looks at what it wanted. */
    nanosleep(&pause, NULL);
    loop->now = rr_clock_ns();
    return tick_if_due(loop);
}

static enum step
connection_failed(struct rr_loop *loop, int error)
{
    if (port_taken(loop, error))
        return pass_over(loop);
    if (error == ECONNREFUSED && loop->spec.retry_connect)
        return refused(loop);
    return rr_fail(loop, error);
}

/* Connected: what comes next depends on what there is to say. */
static enum step
connected(struct rr_loop *loop)
{
    loop->ports_tried = 0;
    loop->have = 0;
    loop->send_left = loop->spec.request_bytes;
    loop->stage = REQUEST;
    return GO;
}

static enum step
open_connection(struct rr_loop *loop)
{
    int error;

    if (must_pause(loop))
        return rr_pause(loop);
    if (!loop->has_stamp) {
        loop->stamp = loop->now_fresh ? loop->now : rr_clock_ns();
        loop->has_stamp = 1;
    }
    loop->now_fresh = 0;
    if (!loop->begun) {
        loop->begun = 1;
        loop->tally.requests_sent++;
        loop->tally.in_flight = 1;
    }
    loop->connection = socket(loop->destination.name.ss_family, RR_STREAM_SOCKET, 0);
    if (loop->connection < 0)
        return rr_fail(loop, errno);
    if (prepare_connection(loop) < 0) {
        error = errno;
        return error == EADDRINUSE && loop->spec.high_port > 0 ? pass_over(loop)
                                                               : rr_fail(loop, error);
    }
    if (connect(loop->connection, (const struct sockaddr *) &loop->destination.name,
                loop->destination.length)
        == 0)
        return connected(loop);
    error = errno;
    if (waited(loop, error) || error == EINPROGRESS || error == EINTR) {
        /* It goes on by itself; without a bell somebody may want to look at the signal. */
        loop->stage = CONNECTING;
        return error == EINTR && !loop->has_bell ? INTERRUPTED : GO;
    }
    return connection_failed(loop, error);
}

/* Wait for a connect that took longer than a tick, or for room to send. */
static enum step
wait_to_write(struct rr_loop *loop)
{
    struct pollfd fds[2];
    int64_t left = loop->due - rr_clock_ns();
    int ready;

    fds[0].fd = loop->connection;
    fds[0].events = POLLOUT;
    fds[1].fd = (int) loop->spec.stop_fd;
    fds[1].events = POLLIN;
    fds[0].revents = fds[1].revents = 0;
    ready = poll(fds, 2, left > 0 ? (int) ((left + NS_PER_MS - 1) / NS_PER_MS) : 0);
    if (ready < 0)
        return rr_fail(loop, errno);
    if (fds[1].revents != 0)
        return rr_finish(loop, RR_STOPPED);
    if (ready > 0)
        return READABLE;
    loop->now = rr_clock_ns();
    return tick_if_due(loop);
}

static enum step
finish_connecting(struct rr_loop *loop)
{
    int error = 0;
    socklen_t size = sizeof error;
    enum step step = wait_to_write(loop);

    if (step != READABLE)
        return step;
    if (getsockopt(loop->connection, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    return error == 0 ? connected(loop) : connection_failed(loop, error);
}

static enum step
send_on_connection(struct rr_loop *loop)
{
    ssize_t put;

    if (loop->send_left == 0) {
        loop->stage = RESPONSE;
        return GO;
    }
    put = put_rest(loop, loop->connection, loop->spec.request_bytes);
    if (put < 0) {
        enum step step;

        if (!waited(loop, errno))
            return rr_fail(loop, errno);
        step = wait_to_write(loop);
        return step == READABLE ? GO : step;
    }
    loop->tally.send_calls++;
    loop->tally.bytes_sent += put;
    loop->send_left -= put;
    if (loop->send_left == 0) {
        advance(&loop->out);
        loop->stage = RESPONSE;
    } else {
        loop->now = rr_clock_ns();
        return tick_if_due(loop);
    }
    return GO;
}

/* Closed by both ends. */
static enum step
connection_done(struct rr_loop *loop)
{
    if (RR_UNLIKELY(may_be_last(loop)))
        rr_look_at_connection(loop);
    close_connection(loop);
    loop->now = rr_clock_ns();
    if (loop->now > loop->deadline)
        return rr_finish(loop, RR_TIME);
    record(loop, loop->now - loop->stamp);
    loop->have = 0;
    loop->has_stamp = loop->begun = 0;
    loop->now_fresh = 1;
    loop->tally.in_flight = 0;
    loop->tally.transactions++;
    count_unit(loop);
    if (loop->tally.transactions == loop->spec.transactions)
        return rr_finish(loop, RR_COUNT);
    return tick_if_due(loop);
}

static enum step
receive_on_connection(struct rr_loop *loop)
{
    int64_t left = loop->spec.response_bytes - loop->have;
    ssize_t got;

    if (left == 0) {
        loop->stage = ENDING;
        if (loop->spec.close_first && shutdown(loop->connection, SHUT_WR) < 0
            && errno != ENOTCONN)
            return rr_fail(loop, errno);
        return GO;
    }
    got =
        rr_recv(loop->connection, loop->in.at, (size_t) least(left, loop->in.limit), 0);
    if (RR_UNLIKELY(got <= 0)) {
        if (got == 0)
            return rr_end_of_file(loop);
        if (!waited(loop, errno))
            return rr_fail(loop, errno);
    } else {
        loop->tally.recv_calls++;
        loop->tally.bytes_received += got;
        loop->have += got;
        advance(&loop->in);
        if (got == left)
            return GO;
    }
    loop->now = rr_clock_ns();
    return tick_if_due(loop);
}

static enum step
receive_end(struct rr_loop *loop)
{
    ssize_t got = rr_recv(loop->connection, loop->in.at, (size_t) loop->in.limit, 0);

    if (got == 0)
        return connection_done(loop);
    if (got > 0) {
        /* More than was asked for. */
        loop->tally.recv_calls++;
        loop->tally.bytes_received += got;
        loop->have += got;
    } else if (!waited(loop, errno)) {
        return rr_fail(loop, errno);
    }
    loop->now = rr_clock_ns();
    return tick_if_due(loop);
}

enum step
rr_connector_start(struct rr_loop *loop)
{
    loop->port = loop->spec.first_port;
    return rr_start_clock(loop);
}

enum step
rr_connector_step(struct rr_loop *loop)
{
    switch (loop->stage) {
    case CLOSED:
        return open_connection(loop);
    case CONNECTING:
        return finish_connecting(loop);
    case REQUEST:
        return send_on_connection(loop);
    case RESPONSE:
        return receive_on_connection(loop);
    case ENDING:
        return receive_end(loop);
    }
    return rr_fail(loop, EINVAL);
}

/* ---- target ---- */

static int
accept_connection(struct rr_loop *loop, struct sockaddr_storage *from)
{
    socklen_t bytes = sizeof *from;
    struct sockaddr *name = loop->peer.length > 0 ? (struct sockaddr *) from : NULL;

#if defined(RR_HAVE_ACCEPT4)
    return accept4(loop->fd, name, name != NULL ? &bytes : NULL, SOCK_CLOEXEC);
#else
    return accept(loop->fd, name, name != NULL ? &bytes : NULL);
#endif
}

/* Linux and the BSDs give what is accepted the timeouts of its listener. */
static int
limit_accepted(struct rr_loop *loop)
{
    struct timeval time;
    socklen_t size = sizeof time;

    if (!loop->inherits) {
        if (getsockopt(loop->connection, SOL_SOCKET, SO_RCVTIMEO, &time, &size) < 0)
            return -1;
        loop->inherits = time.tv_sec > 0 || time.tv_usec > 0 ? 1 : -1;
    }
    return loop->inherits < 0 ? rr_limit_connection(loop) : 0;
}

/* A connection that died in the queue is no trouble of the listener's (accept(2)). */
static int
died_in_queue(int error)
{
    switch (error) {
    case ECONNABORTED:
    case ECONNRESET:
    case ETIMEDOUT:
    case EPERM: /* a firewall */
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
#if defined(ENONET)
    case ENONET:
#endif
#if defined(EHOSTDOWN)
    case EHOSTDOWN:
#endif
        return 1;
    default:
        return 0;
    }
}

static enum step
next_connection(struct rr_loop *loop)
{
    struct sockaddr_storage from;
    int fd;

    if (must_pause(loop))
        return rr_pause(loop);
    if (loop->peer.length > 0)
        memset(&from, 0, sizeof from);
    fd = accept_connection(loop, &from);
    loop->poll_countdown--;
    if (fd < 0) {
        int error = errno;

        /* Shut down from outside. */
        if (error == EINVAL)
            return rr_end_of_file(loop);
        if (waited(loop, error))
            loop->poll_countdown = 0;
        else if (!died_in_queue(error))
            return rr_fail(loop, error);
        return rr_target_poll(loop);
    }
    if (loop->peer.length > 0 && !rr_same_host(&from, &loop->peer.name)) {
        close(fd);
        loop->tally.strangers++;
        return rr_target_poll(loop);
    }
    loop->connection = fd;
    loop->have = 0;
    loop->send_left = loop->spec.response_bytes;
    loop->silent_until = 0;
    loop->stage = REQUEST;
    if (!loop->has_bell && limit_accepted(loop) < 0)
        return rr_fail(loop, errno);
    return rr_target_poll(loop);
}

/* The connection has nothing for a tick, or no room: it is borne for a while. */
static enum step
bear_silence(struct rr_loop *loop, int writable)
{
    struct pollfd fds[2];
    int64_t now = rr_clock_ns();
    int ready;

    if (loop->silent_until == 0)
        loop->silent_until =
            now + RR_IDLE_CONNECTION_NS - (writable || loop->has_bell ? 0 : RR_TICK_NS);
    if (now >= loop->silent_until) {
        close_connection(loop);
        return GO;
    }
    fds[0].fd = loop->connection;
    fds[0].events = POLLOUT;
    fds[1].fd = (int) loop->spec.stop_fd;
    fds[1].events = POLLIN;
    fds[0].revents = fds[1].revents = 0;
    ready = poll(fds, 2, (int) (writable ? RR_TICK_NS / NS_PER_MS : 0));
    if (ready < 0)
        return rr_fail(loop, errno);
    if (fds[1].revents != 0)
        return rr_finish(loop, RR_STOPPED);
    return loop->spec.return_at_ticks ? INTERRUPTED : GO;
}

/* Nothing came yet, or no more will: then the next connection has its turn. */
static enum step
accepted_stuck(struct rr_loop *loop, ssize_t moved, int error, int writable)
{
    if (moved < 0 && waited(loop, error))
        return bear_silence(loop, writable);
    if (moved < 0 && error == EINTR)
        return INTERRUPTED;
    close_connection(loop);
    return GO;
}

static enum step
accepted_done(struct rr_loop *loop)
{
    close_connection(loop);
    count_unit(loop);
    loop->tally.transactions++;
    if (loop->tally.transactions == loop->spec.transactions)
        return rr_finish(loop, RR_COUNT);
    return GO;
}

static enum step
serve_request(struct rr_loop *loop)
{
    int64_t left = loop->spec.request_bytes - loop->have;
    ssize_t got;

    if (left > 0) {
        got = rr_recv(loop->connection, loop->in.at,
                      (size_t) least(left, loop->in.limit), 0);
        if (got <= 0)
            return accepted_stuck(loop, got, errno, 0);
        loop->tally.recv_calls++;
        loop->tally.bytes_received += got;
        loop->have += got;
        loop->silent_until = 0;
        advance(&loop->in);
        if (got < left) {
            loop->poll_countdown--;
            return rr_target_poll(loop);
        }
    }
    if (!loop->started) {
        loop->started = 1;
        loop->tally.started_ns = rr_clock_ns();
        rr_start_pace(loop);
    }
    loop->stage = RESPONSE;
    return GO;
}

static enum step
serve_response(struct rr_loop *loop)
{
    ssize_t put;

    if (loop->send_left > 0) {
        put = put_rest(loop, loop->connection, loop->spec.response_bytes);
        if (put < 0)
            return accepted_stuck(loop, put, errno, 1);
        loop->tally.send_calls++;
        loop->tally.bytes_sent += put;
        loop->send_left -= put;
        loop->silent_until = 0;
        if (loop->send_left > 0) {
            loop->poll_countdown--;
            return rr_target_poll(loop);
        }
        advance(&loop->out);
    }
    if (!loop->spec.close_first)
        return accepted_done(loop);
    loop->stage = ENDING;
    return GO;
}

static enum step
serve_end(struct rr_loop *loop)
{
    ssize_t got = rr_recv(loop->connection, loop->in.at, (size_t) loop->in.limit, 0);

    if (got == 0)
        return accepted_done(loop);
    if (got < 0)
        return accepted_stuck(loop, got, errno, 0);
    loop->poll_countdown--;
    return rr_target_poll(loop);
}

enum step
rr_acceptor_start(struct rr_loop *loop)
{
    loop->poll_every = loop->poll_countdown = CONNECTIONS_PER_LOOK;
    loop->wait_ns = RR_TICK_NS;
    if (loop->has_bell ? rr_set_bell(loop, RR_TICK_NS) < 0
                       : rr_set_timeout(loop->fd, loop->timeout, RR_TICK_NS) < 0)
        return rr_fail(loop, errno);
    return GO;
}

enum step
rr_acceptor_step(struct rr_loop *loop)
{
    switch (loop->stage) {
    case CLOSED:
        return next_connection(loop);
    case CONNECTING:
        break;
    case REQUEST:
        return serve_request(loop);
    case RESPONSE:
        return serve_response(loop);
    case ENDING:
        return serve_end(loop);
    }
    return rr_fail(loop, EINVAL);
}
