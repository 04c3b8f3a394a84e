"""What a campaign costs the rate that it measures: one sender in it beside a bare client.

``python -m benchmarks.campaign_overhead [--pairs N] [--seconds S]``: everything, the
coordinator too, is bound to one processor, so whatever the campaign does while it measures
(the agent, interim results every 0.25 s, the messages to the coordinator, which writes them
out) is taken from the loop itself. The bare client is ``xenrr.client`` without interim
results. Both go to one and the same target and take turns; A/A pairs of the client say what a
ratio here can tell. The campaign is within the noise when its interval reaches 1, or when it is
no further below 1 than they are apart.

Every program has a session of its own, as an agent has: where the kernel shares a processor
among sessions (sched_autogroup), a client in ours would have another share of a busy one.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.paired import Sample, measure_rounds

LIMIT_S = 120
DECLARATION = """\
name = "overhead"
duration = {seconds}
engine = "{engine}"
[target]
address = "127.0.0.1"
port = {port}
[[machine]]
name = "a"
"""


def main(argv: list[str] | None = None) -> int:
    """Measure and print one line of JSON.

    Returns:
        0, whatever the figures are.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaign_overhead",
                                     description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--engine", choices=("hot", "pure"), default="hot")
    parser.add_argument("--cpu", type=int, default=min(os.sched_getaffinity(0)))
    args = parser.parse_args(argv)
    os.sched_setaffinity(0, {args.cpu})  # and with us all that we start
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "overhead.toml")
        file.write_text(DECLARATION.format(seconds=args.seconds, engine=args.engine, port=port))
        server = subprocess.Popen(
            [sys.executable, "-m", "xenrr.server", "-D", "-4", "-L", "127.0.0.1", "-p",
             str(port), "--engine", args.engine], stdout=subprocess.PIPE,
            start_new_session=True)
        try:
            assert server.stdout is not None
            server.stdout.readline()

            def client() -> Sample:
                (line,) = _said("xenrr.client", "-H", "127.0.0.1", "-p", str(port), "-t",
                                "TCP_RR", "-l", f"{args.seconds:g}", "--json", "--engine",
                                args.engine)
                return {"rate": line["transactions"] * 1e9 / line["elapsed_ns"]}

            def campaign() -> Sample:
                *_, table = _said("xenrr", "campaign", "run", str(file), "--discard", "--json")
                return {"rate": table["columns"][0]["entries"][0]["rate_tps"]}

            rounds = measure_rounds({"client": client, "campaign": campaign}, args.pairs, 6)
        finally:
            server.terminate()
            server.communicate(timeout=LIMIT_S)
    ratio = rounds.ratio("campaign", "client")
    print(json.dumps({"id": "campaign", "what": "TCP_RR in a campaign / bare client, one core",
                      "engine": args.engine, "seconds": args.seconds, **ratio.to_plain(),
                      "within_noise": (ratio.high >= 1
                                       or 1 - ratio.median <= (ratio.noise or 0.0))}))
    return 0


def _said(*words: str) -> list[dict]:  # type: ignore[type-arg]
    done = subprocess.run([sys.executable, "-m", *words], stdout=subprocess.PIPE, check=True,
                          stderr=subprocess.DEVNULL, timeout=LIMIT_S,
                          start_new_session=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    sys.exit(main())
