"""One closed loop on a connection that is named, in a process of its own."""

from __future__ import annotations

import json
import socket
import sys

from xenrr.engine.base import LoopSpec, Role
from xenrr.engine.load import load_engine


def main(engine: str, port: str, datagram: str, transactions: str) -> None:
    kind = socket.SOCK_DGRAM if int(datagram) else socket.SOCK_STREAM
    sock = socket.socket(socket.AF_INET, kind)
    sock.connect(("127.0.0.1", int(port)))
    tally = load_engine(engine).run(sock, LoopSpec(
        Role.SENDER, bool(int(datagram)), transactions=int(transactions)))
    print(json.dumps({"started_ns": tally.started_ns, "transactions": tally.transactions,
                      "latency_ns": tally.latency_ns.to_plain()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
