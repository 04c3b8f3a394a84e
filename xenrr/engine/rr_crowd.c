/* A pool's socket that is not connected: it serves all UDP flows of one sender. Many
 * datagrams are taken by one call and answered by another.
 *
 * A connected one whose datagrams have room for numbers is served in the same way: what a
 * request begins with has to be kept until its response has left. The rest of all messages
 * is the same memory.
 */
#include "rr_platform.h"

#include "rr_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Datagrams that are taken and answered at once. */
#define CROWD 64

/* Where datagrams of an unconnected socket are taken to and answered from. */
struct crowd {
    struct sockaddr_storage peer;
    int connected;
    int numbered;
    int first; /* of those that are to be answered still */
    int count;
    struct mmsghdr in[CROWD];
    struct mmsghdr out[CROWD];
    struct iovec in_piece;
    struct iovec out_piece;
    struct sockaddr_storage from[CROWD];
    /* With numbers: a head of its own for each, and the rest. */
    char in_heads[CROWD][RR_HEAD_BYTES];
    char out_heads[CROWD][RR_HEAD_BYTES];
    struct iovec in_parts[CROWD][2];
    struct iovec out_parts[CROWD][2];
};

static struct serving *
serving_of(struct flow *flow)
{
    return (struct serving *) (void *) flow;
}

static int
learn_peer(struct crowd *crowd, const struct join *join)
{
    socklen_t size = sizeof crowd->peer;

    if (join->peer_bytes == 0) {
        crowd->connected = 1;
        return getpeername((int) join->fd, (struct sockaddr *) &crowd->peer, &size);
    }
    if (join->peer_bytes == 4) {
        struct sockaddr_in four;

        memset(&four, 0, sizeof four);
        four.sin_family = AF_INET;
        memcpy(&four.sin_addr, join->peer, 4);
        memcpy(&crowd->peer, &four, sizeof four);
    } else {
        struct sockaddr_in6 six;

        memset(&six, 0, sizeof six);
        six.sin6_family = AF_INET6;
        memcpy(&six.sin6_addr, join->peer, 16);
        memcpy(&crowd->peer, &six, sizeof six);
    }
    return 0;
}

static void
set_part(struct iovec *part, char *at, int64_t bytes)
{
    part->iov_base = at;
    part->iov_len = (size_t) bytes;
}

int
rr_open_crowd(struct many *many, struct serving *serving, const struct join *join)
{
    struct crowd *crowd = calloc(1, sizeof *crowd);
    int i;

    if (crowd == NULL)
        return -1;
    serving->crowd = crowd;
    serving->flow.crowd = 1;
    if (learn_peer(crowd, join) < 0)
        return -1;
    crowd->numbered = rr_numbered(join->request_bytes, join->response_bytes);
    set_part(&crowd->in_piece, many->in, many->in_bytes);
    set_part(&crowd->out_piece, many->pool->out, serving->flow.out_bytes);
    for (i = 0; i < CROWD; i++) {
        if (crowd->numbered) {
            set_part(&crowd->in_parts[i][0], crowd->in_heads[i], RR_HEAD_BYTES);
            set_part(&crowd->in_parts[i][1], many->in, many->in_bytes);
            set_part(&crowd->out_parts[i][0], crowd->out_heads[i], RR_HEAD_BYTES);
            set_part(&crowd->out_parts[i][1], many->pool->out + RR_HEAD_BYTES,
                     serving->flow.out_bytes - RR_HEAD_BYTES);
            crowd->in[i].msg_hdr.msg_iov = crowd->in_parts[i];
            crowd->out[i].msg_hdr.msg_iov = crowd->out_parts[i];
            crowd->in[i].msg_hdr.msg_iovlen = crowd->out[i].msg_hdr.msg_iovlen = 2;
            continue;
        }
        crowd->in[i].msg_hdr.msg_iov = &crowd->in_piece;
        crowd->in[i].msg_hdr.msg_iovlen = 1;
        crowd->out[i].msg_hdr.msg_iov = &crowd->out_piece;
        crowd->out[i].msg_hdr.msg_iovlen = 1;
    }
    return 0;
}

static int
receive_crowd(struct crowd *crowd, int fd)
{
    int i;

    for (i = 0; i < CROWD; i++) {
        crowd->in[i].msg_hdr.msg_name = &crowd->from[i];
        crowd->in[i].msg_hdr.msg_namelen = sizeof crowd->from[i];
    }
#if defined(RR_HAVE_MMSG)
    return recvmmsg(fd, crowd->in, CROWD, MSG_DONTWAIT, NULL);
#else
    {
        ssize_t got = recvmsg(fd, &crowd->in[0].msg_hdr, MSG_DONTWAIT);

        if (got < 0)
            return -1;
        crowd->in[0].msg_len = (unsigned int) got;
        return 1;
    }
#endif
}

static int
send_crowd(struct crowd *crowd, int fd)
{
#if defined(RR_HAVE_MMSG)
    return sendmmsg(fd, crowd->out + crowd->first,
                    (unsigned int) (crowd->count - crowd->first), RR_SEND_FLAGS);
#else
    return sendmsg(fd, &crowd->out[crowd->first].msg_hdr, RR_SEND_FLAGS) < 0 ? -1 : 1;
#endif
}

int
rr_answer_crowd(struct many *many, struct flow *flow)
{
    struct serving *serving = serving_of(flow);
    struct crowd *crowd = serving->crowd;

    while (crowd->first < crowd->count) {
        int sent = send_crowd(crowd, flow->fd);

        if (sent > 0) {
            crowd->first += sent;
            flow->transactions += sent;
            flow->send_calls += sent;
            flow->bytes_sent += sent * flow->out_bytes;
            continue;
        }
        if (rr_would_block(errno)) {
            flow->waits_for_room = 1;
            if (many->poller->want_room(many, flow) < 0)
                rr_leave_pool(many, flow, RR_ERROR, errno);
            return 0;
        }
        if (errno == EINTR)
            continue;
        if (crowd->connected) {
            rr_failed(many, flow, errno);
            return 0;
        }
        crowd->first++;
    }
    crowd->first = crowd->count = 0;
    if (serving->limit > 0 && flow->transactions >= serving->limit) {
        rr_leave_pool(many, flow, RR_COUNT, 0);
        return 0;
    }
    return 1;
}

static void
take_datagram(struct many *many, struct serving *serving, int number)
{
    struct flow *flow = &serving->flow;
    struct crowd *crowd = serving->crowd;
    const struct mmsghdr *message = &crowd->in[number];
    struct sockaddr_storage from;
    struct msghdr *answer;

    memset(&from, 0, sizeof from);
    memcpy(&from, message->msg_hdr.msg_name, message->msg_hdr.msg_namelen);
    if (flow->over || !rr_same_host(&from, &crowd->peer)
        || (crowd->connected && !rr_same_port(&from, &crowd->peer)))
        return;
    if (message->msg_len == 0) {
        many->end(many, flow, RR_PEER, 0);
        return;
    }
    flow->recv_calls++;
    if (message->msg_len != flow->in_bytes) {
        flow->malformed++;
        return;
    }
    flow->bytes_received += flow->in_bytes;
    if (serving->limit > 0 && flow->transactions + crowd->count >= serving->limit)
        return;
    if (serving->started_ns == 0)
        serving->started_ns = rr_clock_ns();
    if (crowd->numbered)
        memcpy(crowd->out_heads[crowd->count],
               rr_has_number(crowd->in_heads[number]) ? crowd->in_heads[number]
                                                      : many->pool->out,
               RR_HEAD_BYTES);
    answer = &crowd->out[crowd->count++].msg_hdr;
    if (crowd->connected)
        return;
    answer->msg_name = message->msg_hdr.msg_name;
    answer->msg_namelen = message->msg_hdr.msg_namelen;
}

/* Level-triggered: what is left is told of again. */
void
rr_serve_crowd(struct many *many, struct flow *flow)
{
    struct serving *serving = serving_of(flow);
    struct crowd *crowd = serving->crowd;
    int turns, got, i;

    for (turns = 0; turns < TURN / 8; turns++) {
        if (flow->over || flow->waits_for_room)
            return;
        got = receive_crowd(crowd, flow->fd);
        if (got < 0) {
            if (rr_would_block(errno) || errno == EINTR)
                return;
            /* A port that was closed at the other end is one flow's end. */
            if (crowd->connected || errno != ECONNREFUSED)
                rr_failed(many, flow, errno);
            return;
        }
        for (i = 0; i < got; i++)
            take_datagram(many, serving, i);
        if (!rr_answer_crowd(many, flow) || got < CROWD)
            return;
    }
    rr_again(many, flow);
}
