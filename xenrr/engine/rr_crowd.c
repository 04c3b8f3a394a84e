/* A pool's socket that is not connected: it serves all UDP flows of one sender. Many
 * datagrams are taken by one call and answered by another.
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
    int first; /* of those that are to be answered still */
    int count;
    struct mmsghdr in[CROWD];
    struct mmsghdr out[CROWD];
    struct iovec in_piece;
    struct iovec out_piece;
    struct sockaddr_storage from[CROWD];
};

static struct serving *
serving_of(struct flow *flow)
{
    return (struct serving *) (void *) flow;
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
    crowd->in_piece.iov_base = many->in;
    crowd->in_piece.iov_len = (size_t) many->in_bytes;
    crowd->out_piece.iov_base = many->pool->out;
    crowd->out_piece.iov_len = (size_t) serving->flow.out_bytes;
    for (i = 0; i < CROWD; i++) {
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
        if (errno != EINTR)
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
take_datagram(struct many *many, struct serving *serving, const struct mmsghdr *message)
{
    struct flow *flow = &serving->flow;
    struct crowd *crowd = serving->crowd;
    struct sockaddr_storage from;
    struct msghdr *answer;

    memset(&from, 0, sizeof from);
    memcpy(&from, message->msg_hdr.msg_name, message->msg_hdr.msg_namelen);
    if (flow->over || !rr_same_host(&from, &crowd->peer))
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
    answer = &crowd->out[crowd->count++].msg_hdr;
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
            /* A port that was closed at the other end is one flow's end. */
            if (!rr_would_block(errno) && errno != EINTR && errno != ECONNREFUSED)
                rr_leave_pool(many, flow, RR_ERROR, errno);
            return;
        }
        for (i = 0; i < got; i++)
            take_datagram(many, serving, &crowd->in[i]);
        if (!rr_answer_crowd(many, flow) || got < CROWD)
            return;
    }
    rr_again(many, flow);
}
