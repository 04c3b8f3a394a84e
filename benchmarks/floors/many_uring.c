/* Many TCP or UDP ping-pongs at once, one thread with io_uring at each end, by system calls
 * alone: each socket is armed once with a multishot receive into buffers that all share,
 * and each send is queued until the next wait, which submits them all.
 *
 * Usage: many_uring tcp|udp FLOWS SECONDS; exit code 3 where the kernel has no such thing.
 */
#include "floor.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define MOST_FLOWS 10000
#define ENTRIES 4096u
#define COMPLETIONS 16384u
#define BUFFERS 16384u
#define BUFFER_BYTES 64u
#define GROUP 1
/* user_data of a send, which says something only when it fails. */
#define SENT UINT64_MAX

static int near[MOST_FLOWS], far[MOST_FLOWS];
static uint64_t sent_ns[MOST_FLOWS];
static char one_byte = 1;

struct ring {
    int fd;
    unsigned *sq_head, *sq_tail, sq_mask, sq_left;
    unsigned *cq_head, *cq_tail, cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    struct io_uring_buf_ring *shared;
    char *buffers;
    uint16_t shared_tail;
};

static void *
map(size_t bytes, int fd, off_t offset)
{
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
    void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, offset);

    if (mapped == MAP_FAILED)
        die("mmap");
    return mapped;
}

static void
lend_buffer(struct ring *ring, uint16_t id)
{
    unsigned place = ring->shared_tail & (BUFFERS - 1);
    struct io_uring_buf *buffer = &ring->shared->bufs[place];

    buffer->addr = (uint64_t) (uintptr_t) (ring->buffers + (size_t) id * BUFFER_BYTES);
    buffer->len = BUFFER_BYTES;
    buffer->bid = id;
    ring->shared_tail++;
    __atomic_store_n(&ring->shared->tail, ring->shared_tail, __ATOMIC_RELEASE);
}

static void
make_ring(struct ring *ring)
{
    struct io_uring_params params;
    struct io_uring_buf_reg group;
    unsigned id, *indexes;
    size_t bytes;
    char *queue;

    memset(&params, 0, sizeof params);
    params.flags =
        IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    params.cq_entries = COMPLETIONS;
    ring->fd = (int) syscall(SYS_io_uring_setup, ENTRIES, &params);
    if (ring->fd < 0 || !(params.features & IORING_FEAT_SINGLE_MMAP)) {
        perror("many_uring: io_uring_setup");
        exit(3);
    }
    /* One mapping for both queues: the submitted indexes lie behind the completions. */
    bytes = params.sq_off.array + params.sq_entries * sizeof *indexes;
    if (bytes < params.cq_off.cqes + params.cq_entries * sizeof *ring->cqes)
        bytes = params.cq_off.cqes + params.cq_entries * sizeof *ring->cqes;
    queue = map(bytes, ring->fd, IORING_OFF_SQ_RING);
    ring->sqes = map(params.sq_entries * sizeof *ring->sqes, ring->fd, IORING_OFF_SQES);
    ring->sq_head = (unsigned *) (void *) (queue + params.sq_off.head);
    ring->sq_tail = (unsigned *) (void *) (queue + params.sq_off.tail);
    ring->sq_mask = params.sq_entries - 1;
    ring->sq_left = 0;
    indexes = (unsigned *) (void *) (queue + params.sq_off.array);
    for (id = 0; id < params.sq_entries; id++)
        indexes[id] = id;
    ring->cq_head = (unsigned *) (void *) (queue + params.cq_off.head);
    ring->cq_tail = (unsigned *) (void *) (queue + params.cq_off.tail);
    ring->cq_mask = params.cq_entries - 1;
    ring->cqes = (struct io_uring_cqe *) (void *) (queue + params.cq_off.cqes);

    ring->buffers = map((size_t) BUFFERS * BUFFER_BYTES, -1, 0);
    ring->shared = map(BUFFERS * sizeof(struct io_uring_buf), -1, 0);
    memset(&group, 0, sizeof group);
    group.ring_addr = (uint64_t) (uintptr_t) ring->shared;
    group.ring_entries = BUFFERS;
    group.bgid = GROUP;
    if (syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_PBUF_RING, &group, 1)
        < 0) {
        perror("many_uring: buffers that are shared");
        exit(3);
    }
    ring->shared_tail = 0;
    for (id = 0; id < BUFFERS; id++)
        lend_buffer(ring, (uint16_t) id);
}

static void
enter(struct ring *ring, unsigned wait_for)
{
    unsigned flags = wait_for ? IORING_ENTER_GETEVENTS : 0;
    long took =
        syscall(SYS_io_uring_enter, ring->fd, ring->sq_left, wait_for, flags, NULL, 0);

    if (took < 0 && errno != EINTR)
        die("io_uring_enter");
    if (took > 0)
        ring->sq_left -= (unsigned) took;
}

static struct io_uring_sqe *
next_entry(struct ring *ring)
{
    unsigned tail = *ring->sq_tail;
    struct io_uring_sqe *entry;

    while (tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) > ring->sq_mask)
        enter(ring, 0);
    entry = &ring->sqes[tail & ring->sq_mask];
    memset(entry, 0, sizeof *entry);
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    ring->sq_left++;
    return entry;
}

static void
arm(struct ring *ring, int fd, uint64_t flow)
{
    struct io_uring_sqe *entry = next_entry(ring);

    entry->opcode = IORING_OP_RECV;
    entry->fd = fd;
    entry->ioprio = IORING_RECV_MULTISHOT;
    entry->flags = IOSQE_BUFFER_SELECT;
    entry->buf_group = GROUP;
    entry->user_data = flow;
}

static void
queue_send(struct ring *ring, int fd)
{
    struct io_uring_sqe *entry = next_entry(ring);

    entry->opcode = IORING_OP_SEND;
    entry->fd = fd;
    entry->addr = (uint64_t) (uintptr_t) &one_byte;
    entry->len = 1;
    entry->msg_flags = MSG_NOSIGNAL;
    entry->flags = IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = SENT;
}

/* Answers all that came: how many messages. Where there is a clock they are counted too. */
static uint64_t
turn(struct ring *ring, int *fds, uint64_t *clock)
{
    unsigned head = *ring->cq_head;
    struct io_uring_cqe *done;
    uint64_t flow, count = 0;

    enter(ring, 1);
    while (head != __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE)) {
        done = &ring->cqes[head++ & ring->cq_mask];
        flow = done->user_data;
        if (flow == SENT || (done->res != 1 && done->res != -ENOBUFS)) {
            fprintf(stderr, "many_uring: %s\n", strerror(-done->res));
            exit(1);
        }
        if (!(done->flags & IORING_CQE_F_MORE))
            arm(ring, fds[flow], flow);
        if (done->flags & IORING_CQE_F_BUFFER)
            lend_buffer(ring, (uint16_t) (done->flags >> IORING_CQE_BUFFER_SHIFT));
        if (done->res != 1)
            continue;
        if (clock != NULL) {
            *clock = now_ns();
            record_ns(*clock - sent_ns[flow]);
            sent_ns[flow] = *clock;
        }
        count++;
        queue_send(ring, fds[flow]);
    }
    __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
    return count;
}

static void
arm_all(struct ring *ring, int *fds, long flows)
{
    long each;

    make_ring(ring);
    for (each = 0; each < flows; each++)
        arm(ring, fds[each], (uint64_t) each);
    while (ring->sq_left)
        enter(ring, 0);
}

static void
answer(int *fds, long flows)
{
    struct ring ring;

    arm_all(&ring, fds, flows);
    for (;;)
        turn(&ring, fds, NULL);
}

int
main(int argc, char **argv)
{
    uint64_t start_ns, end_ns, now, count = 0;
    struct ring ring;
    long flows, each;
    pid_t child;

    if (argc != 4) {
        fprintf(stderr, "usage: many_uring tcp|udp FLOWS SECONDS\n");
        return 2;
    }
    flows = number(argv[2], MOST_FLOWS);
    raise_descriptors();
    join_pairs(strcmp(argv[1], "udp") == 0, flows, near, far);
    child = start_far_end(answer, near, far, flows);
    arm_all(&ring, near, flows);
    now = start_ns = now_ns();
    end_ns = start_ns + duration_ns(argv[3]);
    for (each = 0; each < flows; each++) {
        sent_ns[each] = now_ns();
        queue_send(&ring, near[each]);
    }
    while (now < end_ns)
        count += turn(&ring, near, &now);
    print_transactions(count, now - start_ns);
    end_far_end(child);
    return 0;
}
