"""Record a control connection between a real netperf and a real netserver on loopback.

    PYTHONPATH=.:tests python tests/vectors/record.py NETPERF PORT DIALECT [OPTIONS...]

prints a file for this folder; its opening comment is for the person who records. The
netserver listens on PORT already (not started as from inetd: as root, 2.7.0 then unlinks
/dev/null). A relay stands between the two, so loopback is enough. The meanings it prints
come from our own codec: read them before you believe them.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator

from vectors.reader import Message, clean, hear, identified, shown

from xenrr.wire import dialect as dialects
from xenrr.wire.control import PassphraseRequest, UnknownRequest
from xenrr.wire.dialect import Dialect
from xenrr.wire.target import TargetConnection

LIMIT_S = 60.0
WORDS_PER_LINE = 8


def listening(host: str) -> socket.socket:
    """A listener on a free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family)


def relay(client: socket.socket, server: socket.socket) -> list[tuple[bool, bytes]]:
    """Pass bytes on until both have closed; who said what, in order."""
    heard = []
    selector = selectors.DefaultSelector()
    selector.register(client, selectors.EVENT_READ, server)
    selector.register(server, selectors.EVENT_READ, client)
    while selector.get_map():
        ready = selector.select(LIMIT_S)
        if not ready:
            raise TimeoutError(f"nobody spoke for {LIMIT_S} s")
        for key, _ in ready:
            data = key.fileobj.recv(65536)
            heard.append((key.fileobj is client, data))
            if data:
                key.data.sendall(data)
            else:
                selector.unregister(key.fileobj)
                key.data.shutdown(socket.SHUT_WR)
    return heard


def messages(heard: list[tuple[bool, bytes]], size_bytes: int) -> Iterator[tuple[bool, bytes]]:
    """Cut what was heard into messages."""
    rest = {True: b"", False: b""}
    for from_client, data in heard:
        rest[from_client] += data
        while len(rest[from_client]) >= size_bytes:
            yield from_client, rest[from_client][:size_bytes]
            rest[from_client] = rest[from_client][size_bytes:]


def text_of(message: Message) -> Iterator[str]:
    """One message as the files write it."""
    yield f"{'client' if message.from_client else 'server'} {len(message.raw)}"
    used = message.raw.rstrip(b"\0")
    words = [message.raw[i:i + 4].hex() for i in range(0, len(used), 4)]
    for start in range(0, len(words), WORDS_PER_LINE):
        yield " ".join(words[start:start + WORDS_PER_LINE])
    yield f"= {message.meaning}"


def read_along(heard: list[tuple[bool, bytes]], dialect: Dialect) -> Iterator[Message]:
    """Add what each message means."""
    target, sender = TargetConnection(), identified(dialect)
    for from_client, raw in messages(heard, dialect.message_bytes):
        event = hear(target if from_client else sender, iter([raw]))
        yield Message(from_client, raw, shown(event))
        if not from_client:
            target.send(clean(event))
        elif not isinstance(event, (PassphraseRequest, UnknownRequest)):
            sender.send(event)


def main(netperf: str, port: str, dialect_name: str, *options: str) -> None:
    """Run a client through a relay and print the file."""
    host = "::1" if "-6" in options else "127.0.0.1"
    with listening(host) as listener:
        near = str(listener.getsockname()[1])
        client = subprocess.Popen([netperf, "-H", host, "-p", near, *options],
                                  stdout=subprocess.DEVNULL)
        try:
            from_client, _ = listener.accept()
            with from_client, socket.create_connection((host, int(port))) as to_server:
                heard = relay(from_client, to_server)
            client.wait(LIMIT_S)
        finally:
            client.kill()
            client.wait()
    print(f"# options: {' '.join(options)}\n\ndialect {dialect_name}\n")
    for message in read_along(heard, getattr(dialects, dialect_name)):
        print("\n".join(text_of(message)), end="\n\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
