/* One TCP or UDP ping-pong over loopback, both ends on one processor. With a second
 * processor the far end runs there, and both ends spin without ever blocking. With "yield"
 * they share one, and whoever has received nothing gives it away.
 *
 * Usage: rr tcp|udp SECONDS CPU [CPU|yield]; -N instead of the seconds are N transactions
 */
#include "floor.h"

static const char *far_cpu;
static int flags, yields;

static inline ssize_t
receive(int fd, char *byte)
{
    ssize_t got;

    while ((got = recv(fd, byte, 1, flags)) < 0 && errno == EAGAIN)
        if (yields)
            sched_yield();
    return got;
}

static void
answer(int *far, long flows)
{
    char byte;

    (void) flows;
    if (far_cpu != NULL)
        bind_to(far_cpu);
    while (receive(*far, &byte) == 1 && send(*far, &byte, 1, 0) == 1)
        ;
}

int
main(int argc, char **argv)
{
    uint64_t start_ns, end_ns, last_ns, now, count = 0, most = UINT64_MAX;
    char byte = 1;
    int near, far;
    pid_t child;

    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: rr tcp|udp SECONDS CPU [CPU|yield]\n");
        return 2;
    }
    bind_to(argv[3]);
    yields = argc == 5 && strcmp(argv[4], "yield") == 0;
    far_cpu = yields ? NULL : argv[4];
    flags = argc == 5 ? MSG_DONTWAIT : 0;
    if (argv[2][0] == '-') {
        most = (uint64_t) number(argv[2] + 1, 10000000);
        argv[2] = "60";
    }
    join_pairs(strcmp(argv[1], "udp") == 0, 1, &near, &far);
    child = start_far_end(answer, &near, &far, 1);
    start_ns = last_ns = now_ns();
    end_ns = start_ns + duration_ns(argv[2]);
    while (last_ns < end_ns && count < most) {
        if (send(near, &byte, 1, 0) != 1 || receive(near, &byte) != 1)
            die("rr");
        now = now_ns();
        record_ns(now - last_ns);
        last_ns = now;
        count++;
    }
    print_transactions(count, last_ns - start_ns);
    end_far_end(child);
    return 0;
}
