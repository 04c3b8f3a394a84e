/* Waiting until things have been done: io_uring. */
#include "rr_platform.h"

#include "rr_many.h"

#if defined(RR_HAVE_IO_URING)

int
rr_probe_uring(void)
{
    return 0;
}

const struct poller rr_uring_poller;

#else

typedef int no_io_uring_here;

#endif
