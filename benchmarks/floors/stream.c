/* Bytes one way over loopback, both ends on one processor; prints 10^6 bits per second as
 * they arrived.
 *
 * Usage: stream SECONDS CPU SEND_BYTES RECEIVE_BYTES
 */
#include "floor.h"

#define PAGE_BYTES 4096

static char *buffer;
static size_t send_bytes;

static void
feed(int *far, long flows)
{
    (void) flows;
    while (send(*far, buffer, send_bytes, MSG_NOSIGNAL) > 0)
        ;
}

int
main(int argc, char **argv)
{
    uint64_t start_ns, end_ns, now, bytes = 0;
    size_t receive_bytes, larger;
    char *memory;
    ssize_t got;
    int near, far;
    pid_t child;

    if (argc != 5) {
        fprintf(stderr, "usage: stream SECONDS CPU SEND_BYTES RECEIVE_BYTES\n");
        return 2;
    }
    bind_to(argv[2]);
    send_bytes = (size_t) number(argv[3], 1 << 24);
    receive_bytes = (size_t) number(argv[4], 1 << 24);
    larger = send_bytes > receive_bytes ? send_bytes : receive_bytes;
    memory = calloc(1, larger + PAGE_BYTES);
    if (memory == NULL)
        die("calloc");
    /* Copies are fastest at a page, and calloc() goes 16 bytes behind one. */
    buffer = memory + PAGE_BYTES - (uintptr_t) memory % PAGE_BYTES;
    join_pairs(0, 1, &near, &far);
    child = start_far_end(feed, &near, &far, 1);
    start_ns = now_ns();
    end_ns = start_ns + duration_ns(argv[1]);
    do {
        got = recv(near, buffer, receive_bytes, 0);
        if (got <= 0)
            die("stream");
        bytes += (uint64_t) got;
        now = now_ns();
    } while (now < end_ns);
    printf("%.2f\n", (double) bytes * 8e3 / (double) (now - start_ns));
    end_far_end(child);
    free(memory);
    return 0;
}
