/* What the system calls alone cost: one TCP or UDP ping-pong over loopback, both ends on
 * one processor, one clock read and one histogram update per transaction, nothing else.
 * With a second processor the far end runs there, and both ends spin without ever blocking.
 *
 * Usage: rr_floor tcp|udp SECONDS CPU [CPU]; prints transactions per second.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t histogram[1 << 16];

static uint64_t
now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void
join_pair(int datagram, int *near, int *far)
{
    struct sockaddr_in near_address = { .sin_family = AF_INET };
    struct sockaddr_in far_address;
    socklen_t length = sizeof near_address;
    int type = datagram ? SOCK_DGRAM : SOCK_STREAM;
    int bound;

    near_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    far_address = near_address;
    *near = socket(AF_INET, type, 0);
    bound = socket(AF_INET, type, 0);
    bind(bound, (struct sockaddr *)&far_address, length);
    getsockname(bound, (struct sockaddr *)&far_address, &length);
    if (datagram) {
        bind(*near, (struct sockaddr *)&near_address, length);
        getsockname(*near, (struct sockaddr *)&near_address, &length);
        connect(bound, (struct sockaddr *)&near_address, length);
        connect(*near, (struct sockaddr *)&far_address, length);
        *far = bound;
        return;
    }
    listen(bound, 1);
    connect(*near, (struct sockaddr *)&far_address, length);
    *far = accept(bound, NULL, NULL);
    close(bound);
}

static ssize_t
receive(int fd, char *byte, int flags)
{
    ssize_t got;

    do
        got = recv(fd, byte, 1, flags);
    while (got < 0 && errno == EAGAIN);
    return got;
}

static int
bind_to(const char *cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(atoi(cpu), &one);
    if (sched_setaffinity(0, sizeof one, &one) == 0)
        return 0;
    perror("rr_floor: sched_setaffinity");
    return -1;
}

int
main(int argc, char **argv)
{
    uint64_t start_ns, end_ns, last_ns, now, count = 0;
    char byte = 1;
    int flags = argc == 5 ? MSG_DONTWAIT : 0;
    int near, far;

    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: rr_floor tcp|udp SECONDS CPU [CPU]\n");
        return 2;
    }
    if (bind_to(argv[3]) < 0)
        return 1;
    join_pair(strcmp(argv[1], "udp") == 0, &near, &far);
    if (fork() == 0) {
        close(near);
        if (argc == 5 && bind_to(argv[4]) < 0)
            _exit(1);
        while (receive(far, &byte, flags) == 1 && send(far, &byte, 1, 0) == 1)
            ;
        _exit(0);
    }
    close(far);
    start_ns = last_ns = now_ns();
    end_ns = start_ns + (uint64_t)(atof(argv[2]) * 1e9);
    while (last_ns < end_ns) {
        if (send(near, &byte, 1, 0) != 1 || receive(near, &byte, flags) != 1) {
            perror("rr_floor");
            return 1;
        }
        now = now_ns();
        histogram[((now - last_ns) >> 6) & 0xffff]++;
        last_ns = now;
        count++;
    }
    printf("%.2f\n", (double)count * 1e9 / (double)(last_ns - start_ns));
    send(near, "", 0, 0);
    close(near);
    wait(NULL);
    return 0;
}
