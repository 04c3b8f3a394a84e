/* The open loop: requests leave when their time has come.
 *
 * A heap says which flow has the next request to send. A flow that has to wait for
 * something else, a place in its window or room in its socket, is not in it; its time
 * stands still until it can send, and then all that has become due leaves at once. So
 * requests that are late need no memory.
 */
#include "rr_platform.h"

#include "rr_many.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(RR_HAVE_TIMERSLACK)
#include <sys/prctl.h>
#endif

struct schedule {
    double interval_ns;
    struct sending **heap; /* the one that is due first is the first */
    size_t count;
    int slack; /* what the thread had, 0: unknown */
};

/* Sebastiano Vigna, splitmix64.c (public domain). */
static uint64_t
draw(uint64_t *state)
{
    uint64_t mixed = *state += UINT64_C(0x9E3779B97F4A7C15);

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94D049BB133111EB);
    return mixed ^ (mixed >> 31);
}

/* The same numbers as in Python, where they are computed in the same order. */
static void
plan_next(struct many *many, struct sending *sending)
{
    const struct rr_loop *loop = many->loop;
    double interval_ns = many->schedule->interval_ns;
    double at_ns;

    if (loop->spec.poisson) {
        double drawn = (double) (draw(&sending->random) >> 11) / 9007199254740992.0;

        at_ns = sending->offset += -log(1.0 - drawn) * interval_ns;
    } else {
        at_ns = sending->offset + (double) sending->random++ * interval_ns;
    }
    /* Beyond all deadlines; a conversion that does not fit is undefined. */
    if (at_ns > 4e18 || loop->tally.started_ns > INT64_MAX - (int64_t) at_ns)
        sending->due = INT64_MAX;
    else
        sending->due = loop->tally.started_ns + (int64_t) at_ns;
}

/* ---- the heap ---- */

static void
sink(struct schedule *schedule, size_t at)
{
    struct sending **heap = schedule->heap;
    struct sending *moved = heap[at];
    size_t child;

    while ((child = 2 * at + 1) < schedule->count) {
        if (child + 1 < schedule->count && heap[child + 1]->due < heap[child]->due)
            child++;
        if (moved->due <= heap[child]->due)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static void
insert(struct schedule *schedule, struct sending *sending)
{
    struct sending **heap = schedule->heap;
    size_t at = schedule->count++;
    size_t parent;

    while (at > 0 && sending->due < heap[parent = (at - 1) / 2]->due) {
        heap[at] = heap[parent];
        at = parent;
    }
    heap[at] = sending;
}

static void
remove_first(struct schedule *schedule)
{
    schedule->heap[0] = schedule->heap[--schedule->count];
    if (schedule->count > 1)
        sink(schedule, 0);
}

/* ---- what happens when ---- */

int
rr_open_schedule(struct many *many)
{
    const struct rr_spec *spec = &many->loop->spec;
    struct schedule *schedule = calloc(1, sizeof *schedule);

    if (schedule == NULL)
        return -1;
    many->schedule = schedule;
    memcpy(&schedule->interval_ns, &spec->interval_bits, sizeof schedule->interval_ns);
    schedule->heap = malloc((size_t) spec->flows * sizeof(struct sending *));
    if (schedule->heap == NULL || rr_add_beside(many->loop, "service_ns") == NULL
        || rr_add_beside(many->loop, "slip_ns") == NULL)
        return -1;
#if defined(RR_HAVE_TIMERSLACK)
    /* The kernel wakes a thread up to 50 us late, so that it can wake several at once. */
    schedule->slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    if (schedule->slack > 0)
        prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
#endif
    return 0;
}

void
rr_start_schedule(struct many *many)
{
    const struct rr_spec *spec = &many->loop->spec;
    int64_t i;

    for (i = 0; i < spec->flows; i++) {
        struct sending *sending = &many->sendings[i];

        if (spec->poisson) {
            sending->random = (uint64_t) spec->seed + (uint64_t) i;
        } else {
            sending->offset =
                (double) i * many->schedule->interval_ns / (double) spec->flows;
        }
        plan_next(many, sending);
        if (!sending->flow.over)
            insert(many->schedule, sending);
    }
}

int64_t
rr_next_due(const struct many *many)
{
    return many->schedule->count > 0 ? many->schedule->heap[0]->due : INT64_MAX;
}

static int
can_send(const struct many *many, const struct sending *sending)
{
    return sending->in_flight < many->loop->window && sending->flow.unsent == 0
           && !sending->flow.waits_for_room;
}

/* Send one request of the flow that is first in the heap, and put it where it belongs. */
static void
send_first(struct many *many)
{
    struct schedule *schedule = many->schedule;
    struct sending *sending = schedule->heap[0];

    if (sending->flow.over) {
        remove_first(schedule);
        return;
    }
    if (can_send(many, sending)) {
        int64_t intended = sending->due;

        plan_next(many, sending);
        sink(schedule, 0);
        rr_push_request(many, sending, intended, many->loop->now);
        return;
    }
    sending->delayed = 1;
    remove_first(schedule);
}

void
rr_send_due(struct many *many)
{
    struct rr_loop *loop = many->loop;
    int turns;

    for (turns = 0; turns < TURN && rr_next_due(many) <= loop->now; turns++) {
        if (loop->now >= loop->deadline)
            return;
        send_first(many);
        loop->now = rr_clock_ns();
    }
}

void
rr_resume_schedule(struct many *many, struct sending *sending, int64_t now)
{
    (void) now;
    if (!sending->delayed || !can_send(many, sending))
        return;
    sending->delayed = 0;
    insert(many->schedule, sending);
}

void
rr_leave_schedule(struct many *many, struct sending *sending)
{
    /* In the heap it is found when its time comes. */
    (void) many;
    sending->delayed = 0;
}

void
rr_close_schedule(struct many *many)
{
#if defined(RR_HAVE_TIMERSLACK)
    if (many->schedule->slack > 0)
        prctl(PR_SET_TIMERSLACK, many->schedule->slack, 0, 0, 0);
#endif
    free(many->schedule->heap);
    free(many->schedule);
    many->schedule = NULL;
}
