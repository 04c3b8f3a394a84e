/* What has no fixed size goes back to Python in blocks: histograms beside the main one, and
 * what each of many flows did. Steps that hold nothing are left out: a thousand flows fit
 * into a few MB.
 */
#include "rr_platform.h"

#include "rr_common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct histogram *
rr_add_beside(struct rr_loop *loop, const char *name)
{
    struct beside *made;

    if (loop->beside_count == MAX_BESIDE || strlen(name) >= RR_NAME_BYTES) {
        errno = EINVAL;
        return NULL;
    }
    made = &loop->beside[loop->beside_count++];
    made->name = name;
    rr_clear_histogram(&made->histogram);
    return &made->histogram;
}

void
rr_clear_histogram(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
    histogram->min_ns = INT64_MAX;
}

void
rr_free_histogram(struct histogram *histogram)
{
    size_t part;

    for (part = 0; part < PARTS; part++)
        free(histogram->parts[part]);
    free(histogram->carried);
}

uint16_t *
rr_add_part(struct histogram *histogram, size_t part)
{
    histogram->parts[part] = calloc(PART_COUNTS, sizeof **histogram->parts);
    if (histogram->parts[part] == NULL)
        histogram->no_memory = 1;
    return histogram->parts[part];
}

void
rr_carry(struct histogram *histogram, size_t index)
{
    if (histogram->carried == NULL)
        histogram->carried = calloc((size_t) RR_COUNTS, sizeof *histogram->carried);
    if (histogram->carried == NULL)
        histogram->no_memory = 1;
    else
        histogram->carried[index] += UINT16_MAX + UINT64_C(1);
}

/* ---- packing ---- */

static void
put_bytes(struct blocks *blocks, const void *from, size_t bytes)
{
    size_t room = blocks->room;
    char *larger;

    if (blocks->no_memory)
        return;
    if (room - blocks->used < bytes) {
        while (room - blocks->used < bytes)
            room = room > 0 ? 2 * room : 4096;
        larger = realloc(blocks->memory, room);
        if (larger == NULL) {
            blocks->no_memory = 1;
            return;
        }
        blocks->memory = larger;
        blocks->room = room;
    }
    memcpy(blocks->memory + blocks->used, from, bytes);
    blocks->used += bytes;
}

size_t
rr_begin_block(struct blocks *blocks, enum rr_block_kind kind, const char *name)
{
    struct rr_block head;
    size_t at = blocks->used;

    memset(&head, 0, sizeof head);
    head.kind = (int64_t) kind;
    memcpy(head.name, name, strlen(name));
    put_bytes(blocks, &head, sizeof head);
    return at;
}

void
rr_end_block(struct blocks *blocks, size_t at)
{
    struct rr_block head;

    if (blocks->no_memory)
        return;
    memcpy(&head, blocks->memory + at, sizeof head);
    head.bytes = (int64_t) (blocks->used - at - sizeof head);
    memcpy(blocks->memory + at, &head, sizeof head);
}

void
rr_put_numbers(struct blocks *blocks, const int64_t *numbers, size_t count)
{
    put_bytes(blocks, numbers, count * sizeof *numbers);
}

void
rr_put_histogram(struct blocks *blocks, const struct histogram *histogram)
{
    int64_t head[4] = {0, 0, 0, 0};
    uint64_t pair[2];
    size_t part, step;

    if (histogram->no_memory)
        blocks->no_memory = 1;
    if (histogram->max_ns >= histogram->min_ns) {
        head[0] = histogram->min_ns;
        head[1] = histogram->max_ns;
        head[2] = histogram->sum_ns;
        head[3] = histogram->clamped;
    }
    rr_put_numbers(blocks, head, 4);
    for (part = 0; part < PARTS; part++) {
        if (histogram->parts[part] == NULL)
            continue;
        for (step = 0; step < PART_COUNTS; step++) {
            pair[0] = part * PART_COUNTS + step;
            pair[1] = histogram->parts[part][step];
            if (histogram->carried != NULL)
                pair[1] += histogram->carried[pair[0]];
            if (pair[1] == 0)
                continue;
            put_bytes(blocks, pair, sizeof pair);
        }
    }
}

const void *
rr_blocks(struct rr_loop *loop, size_t *bytes)
{
    struct blocks *blocks = &loop->blocks;
    size_t at;
    int i;

    if (blocks->used == 0) {
        if (loop->many != NULL)
            rr_put_flows(loop);
        for (i = 0; i < loop->beside_count; i++) {
            at = rr_begin_block(blocks, RR_DISTRIBUTION, loop->beside[i].name);
            rr_put_histogram(blocks, &loop->beside[i].histogram);
            rr_end_block(blocks, at);
        }
    }
    *bytes = blocks->used;
    if (blocks->no_memory) {
        errno = ENOMEM;
        return NULL;
    }
    return blocks->memory != NULL ? blocks->memory : (const void *) "";
}

void
rr_free_blocks(struct rr_loop *loop)
{
    int i;

    for (i = 0; i < loop->beside_count; i++)
        rr_free_histogram(&loop->beside[i].histogram);
    free(loop->blocks.memory);
}
