"""One sender, kept open, that makes the same run with and without what it tells beside a rate.

``python -m benchmarks.overhead PORT TEST SECONDS`` reads a word a line and answers each with
the rate of a run, in transactions per second, or with what went wrong:

* ``bare``: nothing but the run; nobody reads CPU times, quotas, TCP_INFO or facts about the
  host, and there are no interim results;
* ``told``: all of them, with interim results every 0.1 s;
* ``split``: as ``bare``, with each round trip decomposed.

Two processes differ by more than what is looked for here, by where their memory lies alone;
and a start-up would be most of a short run.
"""

from __future__ import annotations

import sys

from xenrr.results.record import TestSpec
from xenrr.session.sender import open_sender

__all__ = ["KINDS", "main"]

KINDS: dict[str, dict[str, float | bool]] = {
    "bare": {}, "told": {"interim_s": 0.1}, "split": {"decompose": True}}


def main(argv: list[str]) -> int:
    """Serve words from standard input until its end."""
    port, test, seconds = int(argv[0]), argv[1], float(argv[2])
    with open_sender("127.0.0.1", port, engine="hot") as opened:
        for line in sys.stdin:
            kind = line.strip()
            spec = TestSpec(test, duration_s=seconds, **KINDS[kind])  # type: ignore[arg-type]
            run = opened.run(spec, conditions=kind == "told")
            print(run.error or run.rate_tps, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
