/* UDP round trips whose requests carry numbers; pure_numbered.py is the specification.
 *
 * Numbers in flight lie in a table by their last bits, which has twice as many places as
 * there are requests in flight. A request that waits for its loss may lie where a later
 * number belongs: that number is left out.
 *
 * There is no sprint: a step costs some 20 ns more, of 10 us.
 */
#include "rr_platform.h"

#include "rr_common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_PLACES 8
#define MIN_LOOK_NS 1000000

static const char MAGIC[] = {'x', 'R', 'R', 'n'};

/* ---- numbers ---- */

int
rr_has_number(const char *head)
{
    return memcmp(head, MAGIC, sizeof MAGIC) == 0;
}

int
rr_open_numbers(struct numbers *numbers, int64_t window)
{
    int64_t places = LEAST_PLACES;
    int64_t i;

    while (places < 2 * window)
        places *= 2;
    numbers->table = malloc((size_t) places * sizeof *numbers->table);
    if (numbers->table == NULL)
        return -1;
    for (i = 0; i < places; i++)
        numbers->table[i].number = RR_FREE;
    numbers->mask = places - 1;
    numbers->newest = -1;
    return 0;
}

void
rr_close_numbers(struct numbers *numbers)
{
    free(numbers->table);
}

static struct request *
place_of(struct numbers *numbers, int64_t number)
{
    return &numbers->table[number & numbers->mask];
}

struct request *
rr_oldest(struct numbers *numbers)
{
    for (; numbers->oldest < numbers->next; numbers->oldest++) {
        struct request *request = place_of(numbers, numbers->oldest);

        if (request->number == numbers->oldest)
            return request;
    }
    return NULL;
}

static void
put_head(char *to, int64_t number)
{
    memcpy(to, MAGIC, sizeof MAGIC);
    to[4] = (char) (number >> 24 & 0xff);
    to[5] = (char) (number >> 16 & 0xff);
    to[6] = (char) (number >> 8 & 0xff);
    to[7] = (char) (number & 0xff);
}

int64_t
rr_next_number(struct numbers *numbers, char *to, struct request **place)
{
    while ((*place = place_of(numbers, numbers->next))->number != RR_FREE)
        numbers->next++;
    put_head(to, numbers->next);
    return numbers->next;
}

struct request *
rr_answered(struct numbers *numbers, const char *head)
{
    const unsigned char *at = (const unsigned char *) head + sizeof MAGIC;
    struct request *request;
    uint32_t number;

    numbers->echoed = rr_has_number(head);
    if (!numbers->echoed)
        return rr_oldest(numbers);
    number = (uint32_t) at[0] << 24 | (uint32_t) at[1] << 16 | (uint32_t) at[2] << 8
             | (uint32_t) at[3];
    request = place_of(numbers, number);
    if (request->number == RR_FREE || (uint32_t) request->number != number)
        return NULL;
    if (request->number < numbers->newest)
        numbers->reordered++;
    else
        numbers->newest = request->number;
    return request;
}

/* ---- losses ---- */

static enum step
lose_window(struct rr_loop *loop)
{
    struct request *request;

    while ((request = rr_oldest(&loop->numbers)) != NULL)
        request->number = RR_FREE;
    return rr_lose_window(loop);
}

/* Give up what has been in flight for too long, and say when to look again. */
static enum step
look_for_losses(struct rr_loop *loop)
{
    struct numbers *numbers = &loop->numbers;
    int64_t limit = loop->spec.loss_timeout_ns;
    int silent = loop->tally.in_flight > 0 && loop->now - loop->last_heard >= limit;
    int64_t since = loop->last_heard;
    int64_t lost = 0;
    struct request *request;

    if (!numbers->echoed) {
        enum step step = silent ? lose_window(loop) : GO;

        if (step != GO)
            return step;
        since = loop->last_heard;
    } else {
        while ((request = rr_oldest(numbers)) != NULL
               && loop->now - request->start >= limit) {
            request->number = RR_FREE;
            lost++;
        }
        loop->tally.lost += lost;
        loop->tally.in_flight -= lost;
        since = request != NULL ? request->start : loop->now;
        if (lost > 0 && silent) {
            loop->last_heard = loop->now;
            if (++loop->silences >= RR_MAX_SILENCES)
                return rr_finish(loop, RR_LOST);
        }
    }
    loop->next_loss = since + limit;
    if (loop->next_loss < loop->now + MIN_LOOK_NS)
        loop->next_loss = loop->now + MIN_LOOK_NS;
    loop->due = least(loop->due, loop->next_loss);
    return GO;
}

/* Something may be due at `now`. */
static enum step
look(struct rr_loop *loop)
{
    if (RR_UNLIKELY(loop->now >= loop->next_loss) && loop->now < loop->deadline) {
        enum step step = look_for_losses(loop);

        if (step != GO)
            return step;
    }
    return tick_if_due(loop);
}

static enum step
heard_nothing(struct rr_loop *loop)
{
    loop->now = rr_clock_ns();
    return look(loop);
}

/* ---- steps ---- */

/* A response has arrived that begins with `head`. */
static enum step
response(struct rr_loop *loop, const char *head)
{
    struct request *request;

    loop->now = rr_clock_ns();
    if (loop->now > loop->deadline) {
        loop->tally.bytes_received += loop->spec.response_bytes;
        return rr_finish(loop, RR_TIME);
    }
    request = rr_answered(&loop->numbers, head);
    if (request == NULL) {
        loop->tally.late++;
        return look(loop);
    }
    loop->tally.bytes_received += loop->spec.response_bytes;
    record(loop, loop->now - request->start);
    request->number = RR_FREE;
    loop->tally.in_flight--;
    loop->tally.transactions++;
    loop->tally.reordered = loop->numbers.reordered;
    count_unit(loop);
    loop->silences = 0;
    loop->last_heard = loop->now;
    loop->now_fresh = 1;
    if (loop->tally.transactions == loop->spec.transactions)
        return rr_finish(loop, RR_COUNT);
    return look(loop);
}

static enum step
receive_response(struct rr_loop *loop, int flags)
{
    char *at = loop->in.at;
    size_t want = (size_t) loop->in.limit;
    ssize_t got;

    if (flags == 0)
        got = get_message(loop, at, want, loop->spec.spin != 0);
    else
        got = recv(loop->fd, at, want, flags);
    if (RR_UNLIKELY(got <= 0)) {
        if (got == 0)
            return rr_end_of_file(loop);
        return waited(loop, errno) ? heard_nothing(loop) : rr_fail(loop, errno);
    }
    loop->tally.recv_calls++;
    if (RR_UNLIKELY(got != loop->spec.response_bytes)) {
        loop->tally.malformed++;
        return heard_nothing(loop);
    }
    advance(&loop->in);
    return response(loop, at);
}

static enum step
send_request(struct rr_loop *loop)
{
    struct request *request;
    enum step step;
    int64_t number;
    ssize_t put;

    if (!loop->now_fresh)
        loop->now = rr_clock_ns();
    step = look(loop);
    if (step != GO)
        return step;
    if (!loop->has_stamp) {
        loop->stamp = loop->now_fresh ? loop->now : rr_clock_ns();
        loop->has_stamp = 1;
    }
    number = rr_next_number(&loop->numbers, loop->out.at, &request);
    put = put_message(loop, loop->fd, loop->out.at, loop->spec.request_bytes);
    loop->now_fresh = 0;
    if (RR_UNLIKELY(put < 0))
        return rr_would_block(errno) ? BLOCKED : rr_fail(loop, errno);
    rr_note_number(&loop->numbers, request, number, loop->stamp, loop->stamp);
    loop->has_stamp = 0;
    loop->tally.send_calls++;
    loop->tally.bytes_sent += put;
    loop->tally.in_flight++;
    loop->tally.requests_sent++;
    advance(&loop->out);
    return GO;
}

enum step
rr_numbered_step(struct rr_loop *loop)
{
    const struct rr_tally *tally = &loop->tally;
    enum step step;

    if (must_pause(loop)) {
        step = rr_pause(loop);
        /* What came in meanwhile is still to be read. */
        if (!must_pause(loop) && loop->next_loss < loop->now + MIN_LOOK_NS)
            loop->next_loss = loop->now + MIN_LOOK_NS;
        return step;
    }
    if (tally->in_flight < loop->window
        && (loop->spec.transactions == 0
            || tally->transactions + tally->in_flight < loop->spec.transactions)) {
        step = send_request(loop);
        if (step == BLOCKED)
            step = rr_wait_for_room(loop, tally->in_flight > 0);
        return step == READABLE ? receive_response(loop, MSG_DONTWAIT) : step;
    }
    return receive_response(loop, 0);
}

enum step
rr_numbered_start(struct rr_loop *loop)
{
    enum step step = rr_start_clock(loop);

    if (step == GO && loop->spec.loss_timeout_ns > 0) {
        loop->next_loss = loop->now + loop->spec.loss_timeout_ns;
        loop->due = least(loop->due, loop->next_loss);
    }
    return step;
}

/* ---- the target ---- */

void
rr_note_head(struct rr_loop *loop, const char *request)
{
    loop->has_head = rr_has_number(request);
    memcpy(loop->head_bytes, request, RR_HEAD_BYTES);
}

ssize_t
rr_put_numbered(struct rr_loop *loop)
{
    char own[RR_HEAD_BYTES];
    ssize_t put;

    memcpy(own, loop->out.at, sizeof own);
    memcpy(loop->out.at, loop->head_bytes, sizeof own);
    put = put_message(loop, loop->fd, loop->out.at, loop->spec.response_bytes);
    memcpy(loop->out.at, own, sizeof own);
    return put;
}
