/* What the floors share. A floor is the least that a tool could do: the system calls of a
 * test, one clock read and one histogram update per transaction, and nothing else. Errors of
 * setting up end the program: a floor that measures something else would be a wrong one.
 *
 * Every floor prints one line: the rate, and for transactions the 99th and the 99.9th
 * percentile of their time in nanoseconds.
 */
#ifndef FLOOR_H
#define FLOOR_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Steps of 64 ns up to 67 ms; what takes longer counts in the last one. */
#define STEP_BITS 6
#define STEPS (1u << 20)

static uint32_t histogram[STEPS];

static inline uint64_t
now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

static inline void
record_ns(uint64_t value_ns)
{
    uint64_t step = value_ns >> STEP_BITS;

    histogram[step < STEPS ? step : STEPS - 1]++;
}

static inline uint64_t
percentile_ns(double percent, uint64_t total)
{
    uint64_t rank = (uint64_t) (percent * (double) total / 100.0), seen = 0, below = 0,
             step;

    /* To the end, wherever it is: what that takes is no part of a difference of two runs. */
    for (step = 0; step < STEPS - 1; step++) {
        seen += histogram[step];
        below += seen <= rank;
    }
    return (below + 1) << STEP_BITS;
}

static inline void
print_transactions(uint64_t count, uint64_t took_ns)
{
    printf("%.2f %lu %lu\n", (double) count * 1e9 / (double) took_ns,
           (unsigned long) percentile_ns(99.0, count),
           (unsigned long) percentile_ns(99.9, count));
}

static inline void
die(const char *what)
{
    perror(what);
    exit(1);
}

static inline int
must(int result, const char *what)
{
    if (result < 0)
        die(what);
    return result;
}

static inline void
bind_to(const char *cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(atoi(cpu), &one);
    must(sched_setaffinity(0, sizeof one, &one), "sched_setaffinity");
}

/* The duration of a test in ns, bounded: a floor is never left running. */
static inline uint64_t
duration_ns(const char *seconds)
{
    double wanted = atof(seconds);

    if (!(wanted > 0.0 && wanted <= 60.0)) {
        fprintf(stderr, "a floor runs for up to 60 seconds, not %s\n", seconds);
        exit(2);
    }
    return (uint64_t) (wanted * 1e9);
}

/* A whole number of an argument between 1 and the most. */
static inline long
number(const char *text, long most)
{
    long value = atol(text);

    if (value < 1 || value > most) {
        fprintf(stderr, "%s is not between 1 and %ld\n", text, most);
        exit(2);
    }
    return value;
}

static inline struct sockaddr_in
loopback(uint16_t port)
{
    struct sockaddr_in address;

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* A socket bound to a free port of loopback, and its address. */
static inline int
bound_socket(int type, struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = must(socket(AF_INET, type, 0), "socket");

    *address = loopback(0);
    must(bind(fd, (struct sockaddr *) address, length), "bind");
    must(getsockname(fd, (struct sockaddr *) address, &length), "getsockname");
    return fd;
}

/* Connected sockets, both ends; all of a floor's traffic stays on loopback. */
static inline void
join_pairs(int datagram, long pairs, int *near, int *far)
{
    int type = datagram ? SOCK_DGRAM : SOCK_STREAM, one = 1, listener = -1;
    struct sockaddr_in near_address, far_address;
    socklen_t length = sizeof near_address;
    long each;

    if (!datagram) {
        listener = bound_socket(type, &far_address);
        must(listen(listener, 128), "listen");
    }
    for (each = 0; each < pairs; each++) {
        if (datagram) {
            near[each] = bound_socket(type, &near_address);
            far[each] = bound_socket(type, &far_address);
            must(connect(far[each], (struct sockaddr *) &near_address, length),
                 "connect");
            must(connect(near[each], (struct sockaddr *) &far_address, length),
                 "connect");
            continue;
        }
        near[each] = must(socket(AF_INET, type, 0), "socket");
        must(connect(near[each], (struct sockaddr *) &far_address, length), "connect");
        far[each] = must(accept(listener, NULL, NULL), "accept");
        setsockopt(near[each], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(far[each], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (listener >= 0)
        close(listener);
}

/* As many descriptors as the system lets this process have. */
static inline void
raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* The far end in a process of its own, which dies with the floor. */
static inline pid_t
start_far_end(void (*work)(int *, long), int *near, int *far, long flows)
{
    pid_t parent = getpid();
    pid_t child = (pid_t) must((int) fork(), "fork");
    long each;

    if (child == 0) {
        alarm(90);
        for (each = 0; each < flows; each++)
            close(near[each]);
        if (getppid() == parent)
            work(far, flows);
        _exit(0);
    }
    for (each = 0; each < flows; each++)
        close(far[each]);
    return child;
}

static inline void
end_far_end(pid_t child)
{
    kill(child, SIGTERM);
    waitpid(child, NULL, 0);
}

#endif
