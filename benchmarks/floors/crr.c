/* A connection for every transaction: connect, one byte there, one byte back, close; both
 * ends on one processor. The server closes first, as netserver does, and the client binds
 * each port itself, as netperf does: a connect that has to look for one gets slower as
 * connections in time-wait pile up.
 *
 * Usage: crr SECONDS CPU
 */
#include "floor.h"

#define LOW_PORT 5000
#define HIGH_PORT 65535

static int listener;

static void
answer(int *far, long flows)
{
    char byte;
    int fd;

    (void) far;
    (void) flows;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        if (recv(fd, &byte, 1, 0) == 1)
            send(fd, &byte, 1, 0);
        close(fd);
    }
}

int
main(int argc, char **argv)
{
    uint64_t start_ns, end_ns, last_ns, now, count = 0;
    struct sockaddr_in far_address, near_address;
    socklen_t length = sizeof far_address;
    uint32_t port;
    char byte = 1;
    int one = 1, fd;
    pid_t child;

    if (argc != 3) {
        fprintf(stderr, "usage: crr SECONDS CPU\n");
        return 2;
    }
    bind_to(argv[2]);
    listener = bound_socket(SOCK_STREAM, &far_address);
    must(listen(listener, 128), "listen");
    child = start_far_end(answer, NULL, NULL, 0);
    close(listener);
    /* Not where the last floor ended: its connections are still in time-wait. */
    port = LOW_PORT + (uint32_t) (now_ns() >> 10) % (HIGH_PORT - LOW_PORT);
    start_ns = last_ns = now_ns();
    end_ns = start_ns + duration_ns(argv[1]);
    while (last_ns < end_ns) {
        fd = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
        must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one),
             "SO_REUSEADDR");
        do {
            port = port < HIGH_PORT ? port + 1 : LOW_PORT;
            near_address = loopback((uint16_t) port);
        } while (bind(fd, (struct sockaddr *) &near_address, length) < 0);
        if (connect(fd, (struct sockaddr *) &far_address, length) < 0) {
            close(fd);
            if (errno == EADDRNOTAVAIL || errno == EADDRINUSE)
                continue;
            die("connect");
        }
        if (send(fd, &byte, 1, 0) != 1 || recv(fd, &byte, 1, 0) != 1)
            die("crr");
        if (recv(fd, &byte, 1, 0) != 0)
            die("crr: the far end did not close");
        close(fd);
        now = now_ns();
        record_ns(now - last_ns);
        last_ns = now;
        count++;
    }
    print_transactions(count, last_ns - start_ns);
    end_far_end(child);
    return 0;
}
