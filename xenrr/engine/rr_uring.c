/* Waiting until things have been done: io_uring, with nothing but its system calls.
 *
 * Each flow has one receive out that comes back again and again (multishot); the buffers
 * it takes are all the same memory. Sends are gathered and go out with the call that waits,
 * one for the whole batch. They never wait for room and say something only if they were
 * not done whole, so what a batch has sent is known when that call is back.
 *
 * Who does not read its responses shall feel it: a target takes the receive of such a flow
 * back when more than MOST_OWED bytes have come, until they can be answered.
 *
 * Near the deadline batches are small, and what has not gone out in time is taken back.
 */
#include "rr_platform.h"

#include "rr_many.h"

#if defined(RR_HAVE_IO_URING)

#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* With so little time left, so many sends go out together: a hundred microseconds' worth. */
#define NEAR_END_NS 20000000
#define NEAR_END_SENDS 16
#define MOST_OWED RR_TAKE_BYTES
#define MOST_SUBMITTED 4096
#define MOST_COMPLETED 65536
#define MOST_BUFFERS 32768
/* What is there for a pool, which does not know how many will come. */
#define POOL_FLOWS 2048
/* So long for things to come back that were cancelled. */
#define SETTLE_TURNS 200
#define SETTLE_NS 10000000

/* Linux counts a processor that idles because of a ring as one that waits for a disk, and
 * so as busy (netcpu_procstat.c, procstat.py). From 6.15 on it can be told not to; values
 * of its include/uapi/linux/io_uring.h, which older systems do not have. */
#define FEATURE_NO_IOWAIT (1U << 17)
#define ENTER_NO_IOWAIT (1U << 7)

/* What an operation was, in the lower bits of its user_data; the rest is its flow. */
enum operation {
    RECEIVE,
    SEND,
    SEND_PART, /* flow->part bytes */
    ROOM,
    LISTEN, /* a crowd's socket */
    WATCH,
    CANCEL
};

#define OPERATION_BITS UINT64_C(7)

struct uring {
    int fd;
    char *rings;
    size_t rings_bytes;
    struct io_uring_sqe *entries;
    size_t entries_bytes;
    unsigned int *sq_head;
    unsigned int *sq_tail;
    unsigned int sq_mask;
    unsigned int tail; /* ours; the kernel sees it when it is called */
    unsigned int *cq_head;
    unsigned int *cq_tail;
    unsigned int cq_mask;
    struct io_uring_cqe *completions;
    struct io_uring_buf *buffers;
    size_t buffers_bytes;
    unsigned int buffers_mask;
    unsigned int buffers_tail;
    unsigned int buffers_used;
    unsigned int wait_flags;
    int watched;
    int out; /* operations that will come back */
};

/* ---- the three calls ---- */

static int
setup(unsigned int entries, struct io_uring_params *params)
{
    return (int) syscall(SYS_io_uring_setup, entries, params);
}

static int
enter(int fd, unsigned int submit, unsigned int wait, unsigned int flags,
      const struct io_uring_getevents_arg *arg)
{
    return (int) syscall(SYS_io_uring_enter, fd, submit, wait, flags, arg,
                         arg != NULL ? sizeof *arg : (size_t) 0);
}

static int
enlist(int fd, unsigned int what, void *arg, unsigned int count)
{
    return (int) syscall(SYS_io_uring_register, fd, what, arg, count);
}

/* ---- making a ring ---- */

static unsigned int
power_of_two(int64_t least_of, unsigned int most)
{
    unsigned int power = 64;

    while (power < most && power < least_of)
        power *= 2;
    return power;
}

static void
destroy(struct uring *uring)
{
    if (uring->fd >= 0)
        close(uring->fd);
    if (uring->buffers != NULL)
        munmap(uring->buffers, uring->buffers_bytes);
    if (uring->entries != NULL)
        munmap(uring->entries, uring->entries_bytes);
    if (uring->rings != NULL)
        munmap(uring->rings, uring->rings_bytes);
    free(uring);
}

static void *
map(int fd, size_t bytes, uint64_t offset)
{
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, (off_t) offset);

    return at == MAP_FAILED ? NULL : at;
}

static unsigned int *
field_at(const struct uring *uring, uint32_t offset)
{
    return (unsigned int *) (void *) (uring->rings + offset);
}

static int
map_rings(struct uring *uring, const struct io_uring_params *params)
{
    size_t sq_bytes =
        params->sq_off.array + (size_t) params->sq_entries * sizeof(unsigned int);
    size_t cq_bytes =
        params->cq_off.cqes + (size_t) params->cq_entries * sizeof(struct io_uring_cqe);
    unsigned int i;
    unsigned int *order;

    uring->rings_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
    uring->rings = map(uring->fd, uring->rings_bytes, IORING_OFF_SQ_RING);
    uring->entries_bytes = (size_t) params->sq_entries * sizeof *uring->entries;
    uring->entries = map(uring->fd, uring->entries_bytes, IORING_OFF_SQES);
    if (uring->rings == NULL || uring->entries == NULL)
        return -1;
    uring->sq_head = field_at(uring, params->sq_off.head);
    uring->sq_tail = field_at(uring, params->sq_off.tail);
    uring->sq_mask = params->sq_entries - 1;
    uring->cq_head = field_at(uring, params->cq_off.head);
    uring->cq_tail = field_at(uring, params->cq_off.tail);
    uring->cq_mask = params->cq_entries - 1;
    uring->completions =
        (struct io_uring_cqe *) (void *) (uring->rings + params->cq_off.cqes);
    order = field_at(uring, params->sq_off.array);
    for (i = 0; i < params->sq_entries; i++)
        order[i] = i;
    return 0;
}

/* All buffers of the ring are one. */
static void
give_buffers(struct uring *uring, char *memory, int64_t bytes, unsigned int count)
{
    for (; count > 0; count--) {
        struct io_uring_buf *buffer =
            &uring->buffers[uring->buffers_tail & uring->buffers_mask];

        /* Not the whole of it: where the first one ends lies the ring's tail. */
        buffer->addr = (uint64_t) (uintptr_t) memory;
        buffer->len = (uint32_t) bytes;
        buffer->bid = (uint16_t) (uring->buffers_tail & uring->buffers_mask);
        uring->buffers_tail++;
    }
    RR_STORE_RELEASE(&uring->buffers[0].resv, (uint16_t) uring->buffers_tail);
}

static int
enlist_buffers(struct uring *uring, unsigned int count)
{
    struct io_uring_buf_reg asked;

    uring->buffers_bytes = count * sizeof *uring->buffers;
    uring->buffers_mask = count - 1;
    uring->buffers = map(-1, uring->buffers_bytes, 0);
    if (uring->buffers == NULL)
        return -1;
    memset(&asked, 0, sizeof asked);
    asked.ring_addr = (uint64_t) (uintptr_t) uring->buffers;
    asked.ring_entries = count;
    return enlist(uring->fd, IORING_REGISTER_PBUF_RING, &asked, 1);
}

/* NULL: errno says why. */
static struct uring *
make_ring(int64_t flows, char *memory, int64_t memory_bytes)
{
    struct uring *uring = calloc(1, sizeof *uring);
    struct io_uring_params params;
    unsigned int count;
    int error;
    const unsigned int needed =
        IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;

    if (uring == NULL)
        return NULL;
    memset(&params, 0, sizeof params);
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL
                   | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    params.cq_entries = power_of_two(4 * flows + 256, MOST_COMPLETED);
    uring->fd = setup(power_of_two(flows + 64, MOST_SUBMITTED), &params);
    if (uring->fd < 0)
        goto failed;
    errno = ENOSYS;
    if ((params.features & needed) != needed || map_rings(uring, &params) < 0)
        goto failed;
    uring->wait_flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    if ((params.features & FEATURE_NO_IOWAIT) != 0)
        uring->wait_flags |= ENTER_NO_IOWAIT;
    count = power_of_two(2 * flows, MOST_BUFFERS);
    if (enlist_buffers(uring, count) < 0)
        goto failed;
    give_buffers(uring, memory, memory_bytes, count);
    return uring;
failed:
    /* Whatever an older kernel says of flags that it does not know. */
    if (errno == EINVAL)
        errno = ENOSYS;
    error = errno;
    destroy(uring);
    errno = error;
    return NULL;
}

/* ---- submitting ---- */

static unsigned int
gathered(const struct uring *uring)
{
    return uring->tail - RR_LOAD_ACQUIRE(uring->sq_head);
}

/* Take everything that was gathered back. */
static void
take_back(struct many *many)
{
    struct uring *uring = many->uring;
    unsigned int at = RR_LOAD_ACQUIRE(uring->sq_head);
    unsigned int tail = uring->tail;

    uring->tail = at;
    RR_STORE_RELEASE(uring->sq_tail, at);
    for (; at != tail; at++) {
        const struct io_uring_sqe *entry = &uring->entries[at & uring->sq_mask];
        struct flow *flow =
            (struct flow *) (uintptr_t) (entry->user_data & ~OPERATION_BITS);

        switch ((enum operation)(entry->user_data & OPERATION_BITS)) {
        case SEND:
        case SEND_PART:
            flow->send_calls--;
            rr_refused(many, flow, (int64_t) entry->len, 0);
            break;
        case RECEIVE:
        case LISTEN:
            flow->listens = 0;
            flow->operations--;
            uring->out--;
            break;
        case ROOM:
            flow->operations--;
            uring->out--;
            break;
        case WATCH:
            uring->out--;
            break;
        case CANCEL:
            break;
        }
    }
}

/* Submit what was gathered, so many at the most. -1: errno. */
static int
submit(struct uring *uring, unsigned int most, unsigned int wait, unsigned int flags,
       const struct io_uring_getevents_arg *arg)
{
    unsigned int count = gathered(uring);

    RR_STORE_RELEASE(uring->sq_tail, uring->tail);
    return enter(uring->fd, count < most ? count : most, wait, flags, arg);
}

static void
submit_near_end(struct many *many)
{
    struct uring *uring = many->uring;

    while (gathered(uring) > 0 && many->pool == NULL && !many->settling) {
        many->loop->now = rr_clock_ns();
        if (many->loop->now >= many->loop->deadline) {
            many->settling = 1;
            take_back(many);
        } else if (submit(uring, NEAR_END_SENDS, 0, 0, NULL) < 0) {
            return;
        }
    }
}

/* A place for one more. There is none only if the kernel takes nothing any more. */
static struct io_uring_sqe *
gather(struct many *many, unsigned int opcode, int fd, struct flow *flow,
       enum operation operation)
{
    struct uring *uring = many->uring;
    struct io_uring_sqe *entry;

    if (RR_UNLIKELY(gathered(uring) > uring->sq_mask)) {
        if (many->loop->deadline - many->loop->now < NEAR_END_NS)
            submit_near_end(many);
        else
            submit(uring, ~0u, 0, 0, NULL);
        if (gathered(uring) > uring->sq_mask) {
            many->error = errno;
            return NULL;
        }
    }
    entry = &uring->entries[uring->tail++ & uring->sq_mask];
    memset(entry, 0, sizeof *entry);
    entry->opcode = (uint8_t) opcode;
    entry->fd = fd;
    entry->user_data = (uint64_t) (uintptr_t) flow | (uint64_t) operation;
    return entry;
}

static int
wait_for_events(struct many *many, int fd, struct flow *flow, enum operation operation,
                unsigned int events)
{
    struct io_uring_sqe *entry = gather(many, IORING_OP_POLL_ADD, fd, flow, operation);

    if (entry == NULL)
        return -1;
    entry->poll_events = (uint16_t) events;
    if (operation != ROOM)
        entry->len = IORING_POLL_ADD_MULTI;
    many->uring->out++;
    if (flow != NULL)
        flow->operations++;
    return 0;
}

static int
listen_to(struct many *many, struct flow *flow)
{
    struct io_uring_sqe *entry;

    if (flow->crowd) {
        if (wait_for_events(many, flow->fd, flow, LISTEN, POLLIN) < 0)
            return -1;
    } else {
        entry = gather(many, IORING_OP_RECV, flow->fd, flow, RECEIVE);
        if (entry == NULL)
            return -1;
        entry->ioprio = IORING_RECV_MULTISHOT;
        entry->flags = IOSQE_BUFFER_SELECT;
        many->uring->out++;
        flow->operations++;
    }
    flow->listens = 1;
    return 0;
}

static void
send_soon(struct many *many, struct flow *flow, const char *from, int64_t bytes)
{
    enum operation operation = bytes == flow->out_bytes ? SEND : SEND_PART;
    struct io_uring_sqe *entry =
        gather(many, IORING_OP_SEND, flow->fd, flow, operation);

    if (entry == NULL) {
        flow->send_calls--;
        rr_refused(many, flow, bytes, 0);
        return;
    }
    if (operation == SEND_PART)
        flow->part = bytes;
    entry->flags = IOSQE_CQE_SKIP_SUCCESS;
    entry->addr = (uint64_t) (uintptr_t) from;
    entry->len = (uint32_t) bytes;
    entry->msg_flags = RR_SEND_FLAGS | MSG_WAITALL;
}

/* By its name: the descriptor may have been closed, against the rules. */
static void
cancel(struct many *many, const struct flow *flow, enum operation operation)
{
    struct io_uring_sqe *entry = gather(many, IORING_OP_ASYNC_CANCEL, -1, NULL, CANCEL);

    if (entry != NULL)
        entry->addr = (uint64_t) (uintptr_t) flow | (uint64_t) operation;
}

/* ---- what has come back ---- */

/* A target that cannot answer what it has. */
static int
owes_much(const struct many *many, const struct flow *flow)
{
    return RR_UNLIKELY(flow->waits_for_room || flow->again) && many->pool != NULL
           && flow->have >= flow->in_bytes && flow->have >= MOST_OWED;
}

static void
listen_again(struct many *many, struct flow *flow)
{
    if (RR_UNLIKELY(!flow->listens) && !flow->over && !many->settling
        && !flow->ended_file && !owes_much(many, flow) && listen_to(many, flow) < 0)
        many->end(many, flow, RR_ERROR, many->error);
}

static void
received(struct many *many, struct flow *flow, int result, unsigned int flags)
{
    int again = 1;

    if ((flags & IORING_CQE_F_BUFFER) != 0)
        many->uring->buffers_used++;
    if ((flags & IORING_CQE_F_MORE) == 0) {
        flow->listens = flow->stopping = 0;
        flow->operations--;
        many->uring->out--;
    }
    if (result > 0) {
        many->received(many, flow, result);
    } else if (result == 0) {
        if (!many->settling && !flow->over)
            many->end(many, flow, RR_PEER, 0);
        again = flow->datagram;
    } else if (result != -ENOBUFS && result != -EINTR && !rr_would_block(-result)) {
        again = result == -ECANCELED;
        if (!again && !many->settling && !flow->over)
            rr_failed(many, flow, -result);
    }
    if (again)
        listen_again(many, flow);
    if (owes_much(many, flow) && flow->listens && !flow->stopping && !flow->over) {
        flow->stopping = 1;
        cancel(many, flow, RECEIVE);
    }
}

static void
heard(struct many *many, struct flow *flow, int result, unsigned int flags)
{
    if ((flags & IORING_CQE_F_MORE) == 0) {
        flow->listens = 0;
        flow->operations--;
        many->uring->out--;
    }
    if (flow->over || many->settling || result == -ECANCELED)
        return;
    many->crowd(many, flow);
    if (!flow->listens && !flow->over && listen_to(many, flow) < 0)
        many->end(many, flow, RR_ERROR, many->error);
}

static void
watched(struct many *many, int result, unsigned int flags)
{
    if ((flags & IORING_CQE_F_MORE) == 0)
        many->uring->out--;
    if (many->settling || result == -ECANCELED)
        return;
    many->woken = 1;
    if ((flags & IORING_CQE_F_MORE) == 0)
        wait_for_events(many, many->uring->watched, NULL, WATCH, POLLIN);
}

static void
not_whole(struct many *many, struct flow *flow, int64_t asked, int result)
{
    if (result < 0)
        flow->send_calls--;
    rr_refused(many, flow, result > 0 ? asked - result : asked,
               result < 0 && result != -ECANCELED ? -result : 0);
}

static void
deal_with(struct many *many, const struct io_uring_cqe *completion)
{
    struct flow *flow =
        (struct flow *) (uintptr_t) (completion->user_data & ~OPERATION_BITS);
    int result = completion->res;

    switch ((enum operation)(completion->user_data & OPERATION_BITS)) {
    case RECEIVE:
        received(many, flow, result, completion->flags);
        break;
    case SEND:
        not_whole(many, flow, flow->out_bytes, result);
        break;
    case SEND_PART:
        not_whole(many, flow, flow->part, result);
        break;
    case ROOM:
        flow->operations--;
        many->uring->out--;
        if (!flow->over && !many->settling && flow->waits_for_room)
            many->room(many, flow);
        listen_again(many, flow);
        break;
    case LISTEN:
        heard(many, flow, result, completion->flags);
        break;
    case WATCH:
        watched(many, result, completion->flags);
        break;
    case CANCEL:
        break;
    }
}

static void
deal_with_all(struct many *many)
{
    struct uring *uring = many->uring;
    unsigned int head = *uring->cq_head;
    unsigned int tail = RR_LOAD_ACQUIRE(uring->cq_tail);

    while (head != tail) {
        struct io_uring_cqe completion;

        memcpy(&completion, &uring->completions[head & uring->cq_mask],
               sizeof completion);
        head++;
        RR_STORE_RELEASE(uring->cq_head, head);
        deal_with(many, &completion);
    }
    if (uring->buffers_used > 0) {
        give_buffers(uring, many->in, many->in_bytes, uring->buffers_used);
        uring->buffers_used = 0;
    }
}

/* Submit what was gathered and wait for something to come back; left_ns as for poll. */
static int
wait_and_submit(struct uring *uring, int64_t left_ns)
{
    struct io_uring_getevents_arg arg;
    int64_t time[2]; /* struct __kernel_timespec */
    unsigned int wait = left_ns != 0;

    if (RR_LOAD_ACQUIRE(uring->cq_tail) != *uring->cq_head)
        wait = 0;
    memset(&arg, 0, sizeof arg);
    if (wait && left_ns > 0) {
        time[0] = left_ns / NS_PER_SECOND;
        time[1] = left_ns % NS_PER_SECOND;
        arg.ts = (uint64_t) (uintptr_t) time;
    }
    return submit(uring, ~0u, wait, uring->wait_flags, &arg);
}

static enum step
wait_uring(struct many *many, int64_t until)
{
    struct uring *uring = many->uring;
    int64_t left = -1;

    if (until == 0)
        left = 0;
    else if (until != INT64_MAX) {
        left = until - rr_clock_ns();
        if (left < 0)
            left = 0;
    }
    if (RR_UNLIKELY(many->loop->deadline - many->loop->now < NEAR_END_NS))
        submit_near_end(many);
    if (wait_and_submit(uring, left) < 0) {
        if (errno == EINTR)
            return INTERRUPTED;
        /* EBUSY: what has come back has to be dealt with first. */
        if (errno != ETIME && errno != EBUSY && !rr_would_block(errno))
            return rr_fail(many->loop, errno);
    }
    deal_with_all(many);
    return GO;
}

/* ---- a poller ---- */

static int
open_uring(struct many *many)
{
    int64_t flows = many->pool != NULL ? POOL_FLOWS : many->loop->spec.flows;

    many->uring = make_ring(flows, many->in, many->in_bytes);
    return many->uring == NULL ? -1 : 0;
}

static int
watch_uring(struct many *many, int fd)
{
    many->uring->watched = fd;
    return wait_for_events(many, fd, NULL, WATCH, POLLIN);
}

static void
drop_uring(struct many *many, struct flow *flow)
{
    if (flow->listens)
        cancel(many, flow, flow->crowd ? LISTEN : RECEIVE);
    if (flow->waits_for_room)
        cancel(many, flow, ROOM);
}

static void
resume_uring(struct many *many, struct flow *flow)
{
    listen_again(many, flow);
}

static int
want_room_uring(struct many *many, struct flow *flow)
{
    return wait_for_events(many, flow->fd, flow, ROOM, POLLOUT);
}

/* Nothing may touch a socket any more when its owner has it back. */
static void
settle_uring(struct many *many)
{
    struct uring *uring = many->uring;
    struct io_uring_sqe *entry;
    int turns;

    if (uring == NULL)
        return;
    take_back(many);
    if (uring->out == 0)
        return;
    entry = gather(many, IORING_OP_ASYNC_CANCEL, -1, NULL, CANCEL);
    if (entry != NULL)
        entry->cancel_flags = IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY;
    for (turns = 0; turns < SETTLE_TURNS && uring->out > 0; turns++) {
        wait_and_submit(uring, SETTLE_NS);
        deal_with_all(many);
    }
}

static void
close_uring(struct many *many)
{
    if (many->uring != NULL)
        destroy(many->uring);
}

const struct poller rr_uring_poller = {
    open_uring,   watch_uring,     listen_to,  drop_uring,   send_soon,
    resume_uring, want_room_uring, wait_uring, settle_uring, close_uring,
};

/* ---- does it work here? ---- */

/* One byte through two sockets: a receive that is told to come back again has to do so. */
static int
receives_again(struct uring *uring, int to, int from)
{
    struct io_uring_sqe *entry = &uring->entries[uring->tail++ & uring->sq_mask];
    struct io_uring_cqe *completion = uring->completions;

    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_RECV;
    entry->fd = to;
    entry->ioprio = IORING_RECV_MULTISHOT;
    entry->flags = IOSQE_BUFFER_SELECT;
    if (send(from, "x", 1, RR_SEND_FLAGS) != 1 || wait_and_submit(uring, SETTLE_NS) < 0
        || RR_LOAD_ACQUIRE(uring->cq_tail) == *uring->cq_head)
        return 0;
    return completion->res == 1 && (completion->flags & IORING_CQE_F_MORE) != 0
           && (completion->flags & IORING_CQE_F_BUFFER) != 0;
}

int
rr_probe_uring(void)
{
    char memory[64];
    struct uring *uring = make_ring(1, memory, (int64_t) sizeof memory);
    int ends[2];
    int works = 0;

    if (uring == NULL)
        return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0) {
        works = receives_again(uring, ends[0], ends[1]);
        close(ends[0]);
        close(ends[1]);
    }
    destroy(uring);
    return works;
}

#else

/* A file has to hold something. */
typedef int rr_no_io_uring;

#endif
