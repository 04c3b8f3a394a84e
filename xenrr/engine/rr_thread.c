/* What a thread does that has nothing else to do than one loop (`own_thread`).
 *
 * It leaves what costs a system call or a change of threads something without being of use
 * to it: the table of descriptors that all threads share, and the memory that the kernel
 * brings up to date whenever the thread goes on (rseq(2), 2 to 3 % of a round trip on
 * loopback). And it has a bell: a timer that once in a tick interrupts whatever call waits.
 * With it no receive needs a timeout, which is a timer set and deleted in every receive that
 * waits, 2 % of a UDP round trip at each end.
 *
 * A ring that comes between two system calls interrupts none of them; the next one does.
 */
#include "rr_common.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define SHORTEST_RING_NS 1000000

/* Leave the table of descriptors that all threads share: with it, each system call counts
 * a reference to its file up and down. The new table holds what the loop needs and nothing
 * else, so that no connection of another thread is kept open by it. */
static void
leave_shared_table(struct rr_loop *loop)
{
#if defined(RR_HAVE_CLOSE_RANGE)
    enum {
        KEPT = 4
    };
    sigset_t signals;
    int64_t keep[KEPT];
    int64_t swap;
    int64_t from = 0;
    int i, j;

    keep[0] = loop->spec.fd;
    keep[1] = loop->spec.stop_fd;
    keep[2] = loop->spec.report_fd;
    keep[3] = loop->spec.file_fd;
    for (i = 0; i < KEPT - 1; i++)
        for (j = 0; j < KEPT - 1 - i; j++)
            if (keep[j] > keep[j + 1]) {
                swap = keep[j];
                keep[j] = keep[j + 1];
                keep[j + 1] = swap;
            }
    if (syscall(SYS_close_range, (unsigned int) (keep[KEPT - 1] + 1), ~0u,
                RR_CLOSE_RANGE_UNSHARE)
        != 0)
        return;
    loop->own_table = 1;
    /* A signal taken here would write to Python's wake-up descriptor, which this table
     * lacks; another thread is to take it. Those of a crash stay as they are. */
    sigfillset(&signals);
    sigdelset(&signals, SIGSEGV);
    sigdelset(&signals, SIGBUS);
    sigdelset(&signals, SIGFPE);
    sigdelset(&signals, SIGILL);
    sigdelset(&signals, SIGABRT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    for (i = 0; i < KEPT; i++) {
        if (keep[i] > from)
            syscall(SYS_close_range, (unsigned int) from, (unsigned int) (keep[i] - 1),
                    0u);
        if (keep[i] >= from)
            from = keep[i] + 1;
    }
#else
    (void) loop;
#endif
}

static void
leave_rseq(void)
{
#if defined(RR_HAVE_RSEQ)
    /* As glibc registered it; with any other size the kernel refuses, and nothing is lost. */
    unsigned int bytes = __rseq_size < 32 ? 32 : __rseq_size;

    if (__rseq_size > 0)
        syscall(SYS_rseq, (char *) __builtin_thread_pointer() + __rseq_offset, bytes,
                1 /* RSEQ_FLAG_UNREGISTER */, RSEQ_SIG);
#endif
}

/* ---- the bell ---- */

#if defined(RR_HAVE_BELL)

static void
ring(int number, siginfo_t *info, void *context)
{
    (void) number;
    (void) context;
    /* Anybody may send the signal, but only the timer says whose it is. */
    if (info->si_code == SI_TIMER)
        ((struct rr_loop *) info->si_value.sival_ptr)->rung = 1;
}

/* The handler stays when the loop is gone: others may be using it. 0: somebody else handles
 * this signal. */
static int
handle_rings(void)
{
    struct sigaction old, action;

    if (sigaction(RR_BELL_SIGNAL, NULL, &old) < 0)
        return 0;
    if ((old.sa_flags & SA_SIGINFO) != 0)
        return old.sa_sigaction == ring;
    if (old.sa_handler != SIG_DFL)
        return 0;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = ring;
    action.sa_flags = SA_SIGINFO; /* without SA_RESTART: it has to interrupt */
    return sigaction(RR_BELL_SIGNAL, &action, NULL) == 0;
}

static void
hang_bell(struct rr_loop *loop)
{
    struct sigevent event;
    sigset_t signals;

    if (!handle_rings())
        return;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = RR_BELL_SIGNAL;
    event.sigev_value.sival_ptr = loop;
    event.sigev_notify_thread_id = (pid_t) syscall(SYS_gettid);
    /* A process may have no more of them than signals that wait (RLIMIT_SIGPENDING). */
    if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &loop->bell) != 0)
        return;
    sigemptyset(&signals);
    sigaddset(&signals, RR_BELL_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    loop->has_bell = 1;
}

int
rr_set_bell(struct rr_loop *loop, int64_t every_ns)
{
    struct itimerspec time;

    /* It is not to do nothing but ring. */
    if (every_ns < SHORTEST_RING_NS)
        every_ns = SHORTEST_RING_NS;
    if (every_ns == loop->bell_ns)
        return 0;
    time.it_interval.tv_sec = (time_t) (every_ns / NS_PER_SECOND);
    time.it_interval.tv_nsec = (long) (every_ns % NS_PER_SECOND);
    time.it_value = time.it_interval;
    loop->bell_ns = every_ns;
    return (int) syscall(SYS_timer_settime, loop->bell, 0, &time, NULL);
}

void
rr_leave_thread(struct rr_loop *loop)
{
    /* What still rang for it is taken when the call comes back. */
    if (loop->has_bell)
        syscall(SYS_timer_delete, loop->bell);
    loop->has_bell = 0;
}

#else

static void
hang_bell(struct rr_loop *loop)
{
    (void) loop;
}

int
rr_set_bell(struct rr_loop *loop, int64_t every_ns)
{
    (void) loop;
    (void) every_ns;
    errno = ENOSYS;
    return -1;
}

void
rr_leave_thread(struct rr_loop *loop)
{
    (void) loop;
}

#endif

void
rr_take_thread(struct rr_loop *loop)
{
    leave_shared_table(loop);
    leave_rseq();
    /* Whole blocks of a stream are not to be cut by rings, and it seldom waits. */
    if (loop->spec.kind == RR_ROUND_TRIPS || loop->spec.kind == RR_CONNECTIONS)
        hang_bell(loop);
}
