"""A target and two senders that measure it at the same time, in one asyncio program.

Usage: python examples/async_pair.py [SECONDS]
"""

from __future__ import annotations

import asyncio
import sys

import xenrr


async def measure(port: int, spec: xenrr.TestSpec) -> xenrr.Run:
    async with xenrr.connect("127.0.0.1", port=port, timeout_s=5) as sender:
        return await sender.run(spec)


async def main(duration_s: float) -> None:
    spec = xenrr.TestSpec("TCP_RR", duration_s=duration_s)
    async with xenrr.serve(port=0, host="127.0.0.1") as server:
        runs = await asyncio.gather(*(measure(server.port, spec) for _ in range(2)))
    together = xenrr.Histogram()
    for run in runs:
        print(f"{run.rate_tps:.0f} transactions/s")
        together.merge(run.latency_ns)
    # Percentiles are never averaged: merge the distributions, then ask.
    print(f"p99 of both {together.percentile(99) / 1000:.1f} µs")


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
