/* What rr_pool.c and rr_crowd.c share. */
#ifndef RR_POOL_H
#define RR_POOL_H

#include "rr_platform.h"

#include "rr_many.h"

#define ADDRESS_BYTES 16
/* Records read at once. */
#define RECORDS 64

/* flows.JOIN_RECORD */
struct join {
    int64_t action;
    int64_t id;
    int64_t fd;
    int64_t datagram;
    int64_t request_bytes;
    int64_t response_bytes;
    int64_t transactions;
    int64_t have_bytes;
    unsigned char peer[ADDRESS_BYTES];
    int64_t peer_bytes;
};

struct crowd;

struct serving {
    struct flow flow; /* the first field */
    int64_t limit;
    int64_t started_ns;
    int64_t id;
    int64_t ended_ns;
    int64_t strays;
    struct crowd *crowd;
    struct serving *next; /* with the same place in the index */
    struct serving *next_leaving;
};

struct pool {
    struct serving **index; /* by id */
    size_t places; /* a power of two */
    size_t count;
    char *taken; /* which descriptors are in the pool */
    size_t taken_places;
    struct serving *leaving;
    char *in;
    char *out;
    int closing; /* nobody will add anything any more */
    size_t partial; /* bytes of a record that is not whole */
    char records[RECORDS * sizeof(struct join)];
};

/* The flow leaves. */
void
rr_leave_pool(struct many *many, struct flow *flow, enum rr_ended ended, int error);

/* ---- a socket that many datagrams come to ---- */

/* -1: errno says why. */
int
rr_open_crowd(struct many *many, struct serving *serving, const struct join *join);

/* Take datagrams and answer them. */
void
rr_serve_crowd(struct many *many, struct flow *flow);

/* Send the responses that are owed. An address that cannot be reached is no concern of the
 * others: its response is lost. 0: the rest has to wait. */
int
rr_answer_crowd(struct many *many, struct flow *flow);

#endif
