"""Measure a target once and print what a person looks at first."""

from __future__ import annotations

import argparse

import xenrr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="a host that runs netserver or xenrr.server")
    parser.add_argument("--port", type=int, default=12865)
    parser.add_argument("--duration", type=float, default=10.0, help="in s")
    args = parser.parse_args()

    run = xenrr.measure(args.target, test="TCP_RR", port=args.port, duration_s=args.duration)
    print(f"{run.rate_tps:.0f} transactions/s with the {run.engine} engine")
    for percent in (50, 99, 99.9):
        print(f"p{percent} {run.latency_ns.percentile(percent) / 1000:.1f} µs")


if __name__ == "__main__":
    main()
