/* Round trips whose parts are told: LoopSpec.decompose.
 *
 * pure_decompose.py and stamps.py are the specification, and say what the stamps are and
 * how the kernel's clock is laid beside ours. A decomposing sender goes in the single steps
 * of rr_sender.c, which ask here to receive and to complete; its sprint stays as it is.
 *
 * On one core of a loopback the kernel's work for the stamps is most of what this costs: a
 * packet for the error queue for each request, and a control message for each response.
 */
#include "rr_platform.h"

#include "rr_common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
rr_open_parts(struct rr_loop *loop)
{
    static const char *const names[RR_PARTS] = {"send_path_ns", "network_ns",
                                                "wakeup_ns"};
    struct decompose *parts = calloc(1, sizeof *parts);
    int i;

    if (parts == NULL)
        return -1;
    loop->decompose = parts;
    loop->small = 0; /* no sprint */
    for (i = 0; i < RR_PARTS; i++) {
        parts->histograms[i] = rr_add_beside(loop, names[i]);
        if (parts->histograms[i] == NULL)
            return -1;
    }
    return 0;
}

#if defined(RR_HAVE_TIMESTAMPS)

/* Constants and layouts of the kernel that headers of some systems lack or hide: flags of
 * SO_TIMESTAMPING, struct sock_extended_err, and what its fields say of a stamp. */
enum {
    TX_SOFTWARE = 1 << 1,
    RX_SOFTWARE = 1 << 3,
    SOFTWARE = 1 << 4,
    OPT_ID = 1 << 7,
    OPT_TSONLY = 1 << 11,
    ORIGIN_TIMESTAMPING = 4,
    STAMP_SENT = 0
};

struct extended_error {
    uint32_t error;
    uint8_t origin;
    uint8_t type;
    uint8_t code;
    uint8_t pad;
    uint32_t info;
    uint32_t data;
};

#define CONTROL_BYTES 256
#define MAX_STAMPS 64
#define SLACK_NS 1000
#define LOOKS 64

union control {
    struct cmsghdr aligned;
    char bytes[CONTROL_BYTES];
};

static int64_t
time_ns(const struct timespec *time)
{
    return (int64_t) time->tv_sec * NS_PER_SECOND + time->tv_nsec;
}

static int64_t
real_clock_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_REALTIME, &time);
    return time_ns(&time);
}

/* ---- the two clocks: see stamps.Offset ---- */

static void
learn_offset(struct decompose *parts)
{
    int64_t before, real, after;
    int i;

    parts->low = INT64_MIN;
    parts->high = INT64_MAX;
    for (i = 0; i < LOOKS; i++) {
        before = rr_clock_ns();
        real = real_clock_ns();
        after = rr_clock_ns();
        if (real - after > parts->high || real - before < parts->low) {
            /* It can be set at this very moment too. */
            parts->low = real - after;
            parts->high = real - before;
        } else {
            parts->low = real - after > parts->low ? real - after : parts->low;
            parts->high = least(parts->high, real - before);
        }
    }
}

/* 0: the time of day was set since the last look. */
static int
look_at_clocks(struct decompose *parts, int64_t before)
{
    int64_t real = real_clock_ns();
    int64_t low = real - rr_clock_ns();
    int64_t high = real - before;

    if (low > parts->high + SLACK_NS || high < parts->low - SLACK_NS) {
        learn_offset(parts);
        return 0;
    }
    if (low > parts->high || high < parts->low) {
        parts->low = low;
        parts->high = high;
    } else {
        parts->low = low > parts->low ? low : parts->low;
        parts->high = least(high, parts->high);
    }
    return 1;
}

/* ---- stamps ---- */

/* Take what came beside a message: the software stamp, 0 if there is none, and whether and
 * of what it is a stamp of something sent. */
static int64_t
read_control(struct msghdr *message, int *sent, uint32_t *number)
{
    struct cmsghdr *part;
    struct extended_error error;
    struct timespec stamp;
    int64_t stamp_ns = 0;

    *sent = 0;
    *number = 0;
    for (part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        /* struct scm_timestamping is three of them; the first is the software's. */
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_TIMESTAMPING
            && part->cmsg_len >= CMSG_LEN(3 * sizeof stamp)) {
            memcpy(&stamp, CMSG_DATA(part), sizeof stamp);
            stamp_ns = time_ns(&stamp);
        } else if (((part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_RECVERR)
                    || (part->cmsg_level == IPPROTO_IPV6
                        && part->cmsg_type == IPV6_RECVERR))
                   && part->cmsg_len >= CMSG_LEN(sizeof error)) {
            memcpy(&error, CMSG_DATA(part), sizeof error);
            *sent = error.error == ENOMSG && error.origin == ORIGIN_TIMESTAMPING
                    && error.info == STAMP_SENT;
            *number = error.data;
        }
    }
    return stamp_ns;
}

/* The oldest entry of the error queue; -1: it is empty, 0: it was something else. */
static int64_t
next_sent_stamp(struct rr_loop *loop, uint32_t *number)
{
    union control control;
    struct msghdr message;
    int64_t stamp_ns;
    int sent;

    memset(&message, 0, sizeof message);
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    if (recvmsg(loop->fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
        return -1;
    stamp_ns = read_control(&message, &sent, number);
    return sent ? stamp_ns : 0;
}

void
rr_drop_stamps(struct rr_loop *loop)
{
    uint32_t number;
    int i;

    for (i = 0; i < MAX_STAMPS; i++)
        if (next_sent_stamp(loop, &number) < 0)
            break;
}

/* A request that is sent again is stamped again: the first time counts. What is left of
 * earlier ones is thrown away, by its number or its time. */
static int64_t
sent_stamp(struct rr_loop *loop, int64_t earliest)
{
    uint32_t last_byte = (uint32_t) ((uint64_t) loop->tally.bytes_sent - 1);
    uint32_t number;
    int64_t stamp_ns;
    int i;

    for (i = 0; i < MAX_STAMPS; i++) {
        stamp_ns = next_sent_stamp(loop, &number);
        if (stamp_ns < 0)
            return 0;
        if (stamp_ns > 0
            && (loop->spec.datagram ? stamp_ns >= earliest : number == last_byte))
            return stamp_ns;
    }
    return 0;
}

int
rr_start_parts(struct rr_loop *loop)
{
    int wanted = TX_SOFTWARE | RX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY;
    socklen_t size = sizeof loop->decompose->old_flags;

    if (getsockopt(loop->fd, SOL_SOCKET, SO_TIMESTAMPING, &loop->decompose->old_flags,
                   &size)
            < 0
        || setsockopt(loop->fd, SOL_SOCKET, SO_TIMESTAMPING, &wanted, sizeof wanted)
               < 0) {
        errno = EOPNOTSUPP;
        return -1;
    }
    loop->decompose->enabled = 1;
    learn_offset(loop->decompose);
    return 0;
}

void
rr_close_parts(struct rr_loop *loop)
{
    if (loop->decompose != NULL && loop->decompose->enabled) {
        setsockopt(loop->fd, SOL_SOCKET, SO_TIMESTAMPING, &loop->decompose->old_flags,
                   sizeof loop->decompose->old_flags);
        rr_drop_stamps(loop);
    }
    free(loop->decompose);
}

ssize_t
rr_get_stamped(struct rr_loop *loop, char *to, size_t bytes, int flags)
{
    union control control;
    struct msghdr message;
    struct iovec piece;
    uint32_t number;
    ssize_t got;
    int sent;

    piece.iov_base = to;
    piece.iov_len = bytes;
    memset(&message, 0, sizeof message);
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    got = recvmsg(loop->fd, &message, flags);
    if (got > 0)
        loop->decompose->received_ns = read_control(&message, &sent, &number);
    return got;
}

int
rr_decompose(struct rr_loop *loop)
{
    struct decompose *parts = loop->decompose;
    int64_t start = loop->starts[loop->head];
    int64_t end = loop->now;
    int64_t received = parts->received_ns;
    int64_t part[RR_PARTS];
    int64_t offset, sent;
    int steady, i;

    steady = look_at_clocks(parts, end);
    /* Both have the same sign, and the sum fits for some centuries more. */
    offset = parts->low + (parts->high - parts->low) / 2;
    sent = sent_stamp(loop, start + offset);
    parts->received_ns = 0;
    part[0] = sent - offset - start;
    part[1] = received - sent;
    part[2] = end - (received - offset);
    if (steady && sent > 0 && received > 0 && part[0] >= 0 && part[1] >= 0
        && part[2] >= 0) {
        parts->any = 1;
        for (i = 0; i < RR_PARTS; i++)
            count_in(parts->histograms[i], part[i]);
    } else if (!parts->any && loop->tally.transactions >= RR_STAMPS_GRACE
               && end - loop->tally.started_ns >= RR_STAMPS_GRACE_NS) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return 0;
}

#else

int
rr_start_parts(struct rr_loop *loop)
{
    (void) loop;
    errno = EOPNOTSUPP;
    return -1;
}

void
rr_close_parts(struct rr_loop *loop)
{
    free(loop->decompose);
}

void
rr_drop_stamps(struct rr_loop *loop)
{
    (void) loop;
}

ssize_t
rr_get_stamped(struct rr_loop *loop, char *to, size_t bytes, int flags)
{
    return recv(loop->fd, to, bytes, flags);
}

int
rr_decompose(struct rr_loop *loop)
{
    return rr_start_parts(loop);
}

#endif
