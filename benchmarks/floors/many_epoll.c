/* Many TCP or UDP ping-pongs at once, one thread with epoll at each end.
 *
 * Usage: many_epoll tcp|udp FLOWS SECONDS
 */
#include "floor.h"

#include <sys/epoll.h>

#define MOST_FLOWS 10000
#define BATCH 256

static int near[MOST_FLOWS], far[MOST_FLOWS];
static uint64_t sent_ns[MOST_FLOWS];

static int
watch(int *fds, long flows)
{
    int poller = must(epoll_create1(0), "epoll_create1");
    struct epoll_event event;
    long each;

    for (each = 0; each < flows; each++) {
        event.events = EPOLLIN;
        event.data.u32 = (uint32_t) each;
        must(epoll_ctl(poller, EPOLL_CTL_ADD, fds[each], &event), "epoll_ctl");
    }
    return poller;
}

static void
answer(int *fds, long flows)
{
    struct epoll_event events[BATCH];
    int poller = watch(fds, flows), ready, each, fd;
    char bytes[64];

    while ((ready = epoll_wait(poller, events, BATCH, -1)) >= 0) {
        for (each = 0; each < ready; each++) {
            fd = fds[events[each].data.u32];
            if (recv(fd, bytes, sizeof bytes, 0) == 1)
                send(fd, bytes, 1, MSG_NOSIGNAL);
        }
    }
}

int
main(int argc, char **argv)
{
    uint64_t start_ns, end_ns, now, count = 0;
    struct epoll_event events[BATCH];
    int poller, ready, each, flow;
    char bytes[64] = {1};
    long flows, first;
    pid_t child;

    if (argc != 4) {
        fprintf(stderr, "usage: many_epoll tcp|udp FLOWS SECONDS\n");
        return 2;
    }
    flows = number(argv[2], MOST_FLOWS);
    raise_descriptors();
    join_pairs(strcmp(argv[1], "udp") == 0, flows, near, far);
    child = start_far_end(answer, near, far, flows);
    poller = watch(near, flows);
    now = start_ns = now_ns();
    end_ns = start_ns + duration_ns(argv[3]);
    for (first = 0; first < flows; first++) {
        sent_ns[first] = now_ns();
        if (send(near[first], bytes, 1, 0) != 1)
            die("many_epoll");
    }
    while (now < end_ns) {
        ready = must(epoll_wait(poller, events, BATCH, 1000), "epoll_wait");
        if (ready == 0) {
            fprintf(stderr, "many_epoll: nothing came for a second\n");
            return 1;
        }
        for (each = 0; each < ready; each++) {
            flow = (int) events[each].data.u32;
            if (recv(near[flow], bytes, sizeof bytes, 0) != 1)
                die("many_epoll");
            now = now_ns();
            record_ns(now - sent_ns[flow]);
            sent_ns[flow] = now;
            count++;
            if (send(near[flow], bytes, 1, 0) != 1)
                die("many_epoll");
        }
    }
    print_transactions(count, now - start_ns);
    end_far_end(child);
    return 0;
}
