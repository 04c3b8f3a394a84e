/* Many connections in one thread; the contract is that of xenrr/engine/flows.py.
 *
 * rr_many.c is the sender, rr_schedule.c its open loop, rr_pool.c the target that
 * connections join and leave. How they wait is a poller: rr_epoll.c knows which flow is
 * ready (epoll, or poll where there is none), rr_uring.c what has been done already.
 *
 * What a message says is looked at nowhere, so all flows receive into the same memory and
 * send from the same, also when the kernel does it behind our back.
 *
 * A message counts as sent when it is handed to the poller. What the socket did not take
 * is `unsent`: those bytes go out first when there is room again, and what is still unsent
 * at the end is taken out of the counts. So one way of counting fits a send that answers
 * at once and one that answers later.
 */
#ifndef RR_MANY_H
#define RR_MANY_H

#include "rr_platform.h"

#include "rr_common.h"

#include <stddef.h>

/* A flow that has more to do than this lets the others have a turn. */
#define TURN 64

struct many;

/* With a thousand flows nothing of a message's own is in the nearest caches any more: the
 * kernel has been there for all the others. So it counts how many lines of them it touches.
 * Flows begin with a line; what is seldom wanted fills the first one, and what each message
 * wants lies behind it, where pointers have 64 bits. */
#define LINE_BYTES 64
/* Round trips of a flow that wait to be counted; with how many there are they fill a line. */
#define FRESH 15

/* What both ends keep of a connection. */
struct flow {
    struct flow *next_again;
    uint64_t batch; /* target: when it began to leave */
    size_t slot; /* poll: where it is in the table */
    int64_t part; /* io_uring: size of a send that is no whole message */
    int64_t malformed;
    enum rr_ended ended;
    int saved_errno;
    int operations; /* io_uring: how many of its operations are out */
    char spare[12];

    int fd;
    unsigned char datagram;
    unsigned char over; /* it takes no part any more */
    unsigned char waits_for_room;
    unsigned char again; /* it is in the list of those that have more to do */
    unsigned char unread; /* epoll: there may be more to receive */
    unsigned char ended_file; /* target: end of file while responses were unsent */
    unsigned char
        crowd; /* its calls are made elsewhere: rr_crowd.c, rr_many_numbered.c */
    unsigned char listens; /* io_uring: a receive is out */
    unsigned char stopping; /* io_uring: it is being taken back */
    int64_t in_bytes; /* size of a message that comes in, and of one that goes out */
    int64_t out_bytes;
    int64_t have; /* bytes received of messages that are not dealt with yet */
    int64_t unsent;
    int64_t transactions;
    int64_t bytes_received;
    int64_t bytes_sent;
    int64_t recv_calls;
    int64_t send_calls;
};

/* A way to wait for many connections. */
struct poller {
    /* -1: errno says why; it does not work here. */
    int (*open)(struct many *many);
    /* Tell of this descriptor, which is no flow, when it is readable. */
    int (*watch)(struct many *many, int fd);
    int (*add)(struct many *many, struct flow *flow);
    /* The flow is over: see to it that `operations` comes down to 0. */
    void (*drop)(struct many *many, struct flow *flow);
    /* Send a message or a part of one; the socket's answer goes to rr_refused. */
    void (*send)(struct many *many, struct flow *flow, const char *from, int64_t bytes);
    /* The flow has had a turn: take what it could not take before. */
    void (*resume)(struct many *many, struct flow *flow);
    /* Tell when the flow's socket takes more (`waits_for_room` is set). */
    int (*want_room)(struct many *many, struct flow *flow);
    /* Wait until `until` or until something has happened, and deal with it. */
    enum step (*wait)(struct many *many, int64_t until);
    /* Nothing is out any more after this; what arrives meanwhile is told. */
    void (*settle)(struct many *many);
    void (*close)(struct many *many);
};

struct uring;
struct ready;
struct schedule;
struct pool;

struct many {
    struct rr_loop *loop;
    const struct poller *poller;
    enum rr_poller which;
    struct uring *uring;
    struct ready *ready;
    const char *out; /* what all send */
    char *in; /* where all receive */
    int64_t in_bytes;
    uint64_t batch; /* counts the calls of poller->wait */
    struct flow *first_again;
    struct flow *last_again;
    int woken; /* the watched descriptor is readable */
    int settling; /* nothing is sent any more */
    int error; /* the poller itself has failed */

    /* What the two ends do with what a poller tells. */
    void (*received)(struct many *many, struct flow *flow, int64_t bytes);
    void (*end)(struct many *many, struct flow *flow, enum rr_ended ended, int error);
    void (*room)(struct many *many, struct flow *flow);
    void (*more)(struct many *many, struct flow *flow);
    void (*crowd)(struct many *many, struct flow *flow);

    /* Sender. */
    struct sending *sendings;
    struct numbers *numbers; /* of all flows; NULL: they have none */
    int64_t *starts;
    int64_t running;
    int64_t started; /* so many flows have been begun */
    int64_t next_look; /* for losses */
    int any_counted;
    enum rr_ended last_ended;
    int last_errno;
    struct schedule *schedule;

    struct pool *pool;
};

/* One of a sender's flows. */
struct sending {
    struct flow flow;
    int64_t in_flight;
    int64_t head;
    /* Ring of start times, oldest at `head`; open loop: behind it one of when they really
     * left. */
    int64_t *starts;
    /* `starts` of a window of one. With numbers: when a request began, or was meant to
     * leave, that waits for room; else 0. */
    int64_t start;
    int64_t requests_sent;
    uint32_t fresh_count;
    uint32_t fresh[FRESH]; /* in ns */
    int64_t lost;
    int64_t late;
    int64_t silences;
    int64_t last_heard;
    /* Open loop. */
    int64_t due; /* when the next request is meant to leave */
    double offset; /* the same from the beginning, in ns */
    uint64_t random;
    int delayed; /* it is not in the heap: no window, or no room */
    struct numbers *numbers;
    struct histogram histogram;
};

typedef char flows_fill_lines[sizeof(void *) != 8
                                      || (sizeof(struct sending) % LINE_BYTES == 0
                                          && offsetof(struct flow, fd) == LINE_BYTES)
                                  ? 1
                                  : -1];

extern const struct poller rr_epoll_poller;
extern const struct poller rr_poll_poller;
extern const struct poller rr_uring_poller;

/* Choose the poller that spec.poller names and open it. -1: errno. */
int
rr_open_poller(struct many *many);

/* Zeros that begin with a line of the caches; for free(). NULL: no memory. */
void *
rr_alloc_lines(size_t bytes);

/* Let the flow have a turn after the others. */
void
rr_again(struct many *many, struct flow *flow);

/* Give everyone who waits for one a turn. */
void
rr_take_turns(struct many *many);

/* The socket took fewer bytes than it was given: 0 for how many are missing is no error. */
void
rr_refused(struct many *many, struct flow *flow, int64_t missing, int error);

/* There is room again: send what was refused. */
void
rr_send_unsent(struct many *many, struct flow *flow);

/* Hand a message to the socket. */
static inline void
push(struct many *many, struct flow *flow, int64_t bytes)
{
    flow->bytes_sent += bytes;
    flow->send_calls++;
    many->loop->tally.bytes_sent += bytes;
    many->poller->send(many, flow, many->out, bytes);
}

/* A receive or a send has failed. */
void
rr_failed(struct many *many, struct flow *flow, int error);

/* Have the poller wait for the flow. -1: errno. */
int
rr_add_flow(struct many *many, struct flow *flow);

/* ---- the sender ---- */

/* Send a request that was meant to leave at `intended`. */
void
rr_push_request(struct many *many, struct sending *sending, int64_t intended,
                int64_t now);

/* A request was answered: count it, end the flow at its count. */
void
rr_count_response(struct many *many, struct sending *sending, int64_t latency_ns,
                  int64_t now);

/* Send what may be sent. */
void
rr_go_on(struct many *many, struct sending *sending, int64_t now);

void
rr_end_flow(struct many *many, struct flow *flow, enum rr_ended ended, int error);

/* ---- flows with numbers ---- */

int
rr_open_many_numbers(struct many *many);

void
rr_close_many_numbers(struct many *many);

void
rr_push_numbered(struct many *many, struct sending *sending, int64_t intended,
                 int64_t now);

/* Take what has arrived. */
void
rr_take_numbered(struct many *many, struct flow *flow);

/* Give up what has been in flight for too long. */
void
rr_lose_numbered(struct many *many, struct sending *sending);

/* ---- the open loop ---- */

int
rr_open_schedule(struct many *many);

void
rr_start_schedule(struct many *many);

/* When something has to leave next. */
int64_t
rr_next_due(const struct many *many);

void
rr_send_due(struct many *many);

/* A flow may send again. */
void
rr_resume_schedule(struct many *many, struct sending *sending, int64_t now);

void
rr_leave_schedule(struct many *many, struct sending *sending);

void
rr_close_schedule(struct many *many);

/* ---- the pool ---- */

void
rr_close_pool(struct many *many);

#if defined(RR_HAVE_IO_URING)
/* Whether this kernel has what rr_uring.c needs. */
int
rr_probe_uring(void);
#endif

#endif
