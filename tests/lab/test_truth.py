"""What a lab has to do to frames, where arithmetic says what it is."""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from lab.labs import end, wait_for
from peers import LOOPBACK, ROOT, clean_environment

from xenrr.checks.doubts import doubts_of
from xenrr.lab.plan import Share
from xenrr.lab.shares import find_groups, make_share, remove_shares
from xenrr.lab.spec import CpuShare
from xenrr.results.record import Run
from xenrr.stats.compare import FASTER, compare, repeats_to_find

pytestmark = pytest.mark.lab
PAIR = str(ROOT / "examples/lab-pair.toml")
PORT = "12871"
# The other tests that run on this machine are to wait, not this one.
PREFERRED = ["nice", "-n", "-20"]
# Header of Ethernet, of IPv4, of TCP with its timestamps or of UDP, and one byte. tbf counts
# neither the check sequence nor the preamble.
FRAME_BYTES = {"TCP_RR": 14 + 20 + 32 + 1, "UDP_RR": 14 + 20 + 8 + 1}
RATE_BPS, BURST_BYTES = 536_000, 16_000
# A busy machine makes less, when it pauses for longer than a bucket lasts. The bound above is
# hard; one quiet spell of this many shows that nothing but the bucket is below.
ATTEMPTS = 10


def serving(labs, machine):
    server = labs.start("exec", "--lab", labs.name, machine, "--", *PREFERRED, sys.executable,
                        "-m", "xenrr.server", "-D", "-p", PORT)
    probe = (f"import socket; s = socket.socket(); s.settimeout(5); "
             f"s.connect(({machine!r}, {PORT}))")
    wait_for(lambda: labs.call("exec", "--lab", labs.name, machine, "--", sys.executable, "-S",
                               "-c", probe, code=None).returncode == 0, "the server")
    return server


def measured(labs, machine, target, test, duration_s, decompose=False):
    program = (f"import json, xenrr; print(json.dumps(xenrr.measure({target!r}, port={PORT}, "
               f"test={test!r}, duration_s={duration_s}, request_bytes=1, response_bytes=1, "
               f"interim_s=0.5, decompose={decompose}).to_plain()))")
    return json.loads(labs.inside(machine, *PREFERRED, sys.executable, "-c", program))


@pytest.mark.parametrize(("test", "rate_tps"), [("TCP_RR", 1000), ("UDP_RR", 1558)])
def test_a_bucket_makes_the_rate_that_arithmetic_says(labs, tmp_path, test, rate_tps):
    """Each of the four buckets on the way lets 536 kbit/s through, however the rest is.

    A request waits for tokens, not for a clock, and tokens of a stall are kept, up to the
    size of the bucket. The example's 1600 bytes are 24 ms of a stall, which a machine that
    runs other tests has longer ones of; 16000 bytes are 240 ms. A bucket that was full in
    the beginning is empty after the first half second, which is left out.
    """
    expected_tps = RATE_BPS / 8 / FRAME_BYTES[test]
    assert round(expected_tps) == rate_tps
    file = tmp_path / "lab.toml"
    file.write_text(Path(PAIR).read_text().replace(
        "burst = 1600", f"burst = {BURST_BYTES}"))
    labs.up(str(file))
    server = serving(labs, "a")
    rates: list[float] = []
    near = pytest.approx(expected_tps, rel=0.005)
    try:
        while len(rates) < ATTEMPTS and near not in rates:
            run = measured(labs, "b", "a", test, 5)
            assert run["transactions"] * FRAME_BYTES[test] <= (
                BURST_BYTES + RATE_BPS / 8 * run["elapsed_ns"] / 1e9 + FRAME_BYTES[test])
            first, *_, last = run["interims"]
            between = sum(point["transactions"] for point in run["interims"][1:])
            rates.append(between / ((last["end_ns"] - first["end_ns"]) / 1e9))
    finally:
        end(server)
    assert near in rates


def rates(labs, machine, repeats):
    """Of tests from a machine to host ``a``, without the bucket that was full before them."""
    program = ("import json, xenrr\n"
               f"for _ in range({repeats}):\n"
               f"    run = xenrr.measure('a', port={PORT}, duration_s=1.5, interim_s=0.5)\n"
               "    first, *rest = run.interims\n"
               "    counted = sum(point.transactions for point in rest)\n"
               "    print(counted * 1e9 / (rest[-1].end_ns - first.end_ns))\n")
    return [*map(float, labs.inside(machine, *PREFERRED, sys.executable, "-c",
                                    program).split())]


def test_a_true_change_of_5_percent_is_found_with_the_repeats_advised(labs, tmp_path):
    """Links that let 1000 and 1050 transactions through; the advice is for 9 cases of 10.

    Where a machine is so busy that the advice is many repeats, it is asked again.
    """
    links = "\n".join(
        f"[[host]]\nname = '{name}'\nlink = {{ rate = '{rate_bps}', burst = {BURST_BYTES} }}"
        for name, rate_bps in (("b", RATE_BPS), ("c", RATE_BPS * 105 // 100)))
    file = tmp_path / "lab.toml"
    file.write_text(f"[[host]]\nname = 'a'\n{links}\n")
    labs.up(str(file))
    server = serving(labs, "a")
    found = []
    near = pytest.approx(1.05, abs=0.01)
    try:
        while len(found) < ATTEMPTS // 2 and (FASTER, near) not in found:
            before = rates(labs, "b", 3)
            advised = repeats_to_find(0.05, statistics.stdev(before) / statistics.mean(before))
            if advised <= 5:
                before += rates(labs, "b", advised - 3)
                result = compare(before, rates(labs, "c", advised))
            found.append((result.verdict, result.ratio) if advised <= 5 else (str(advised), 0))
    finally:
        end(server)
    assert (FASTER, near) in found


def test_no_frame_is_early(labs, tmp_path):
    """Two links of 1 ms and two vifs of 0.5 ms: 6 ms there and back at the least."""
    file = tmp_path / "lab.toml"
    file.write_text("link = { delay = '1ms' }\nvif = { delay = '500us' }\n"
                    "[[host]]\nname = 'a'\nguests = ['x']\n[[host]]\nname = 'b'\n"
                    "guests = ['y']\n")
    labs.up(str(file))
    server = serving(labs, "x")
    try:
        far = measured(labs, "y", "x", "TCP_RR", 1)
        near = measured(labs, "a", "x", "UDP_RR", 1)
    finally:
        end(server)
    assert far["transactions"] > 0
    assert far["latency_ns"]["min_ns"] >= 6_000_000
    assert near["transactions"] > 0
    assert near["latency_ns"]["min_ns"] >= 1_000_000


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_a_delay_is_found_in_the_part_it_belongs_to(labs, tmp_path, test):
    """5 ms on each link, there and back, are the network's."""
    file = tmp_path / "lab.toml"
    file.write_text("link = { delay = '5ms' }\n[[host]]\nname = 'a'\n[[host]]\nname = 'b'\n")
    labs.up(str(file))
    server = serving(labs, "a")
    try:
        run = measured(labs, "b", "a", test, 0.5, decompose=True)
    finally:
        end(server)
    parts = run["distributions"]
    assert parts["network_ns"]["counts"]
    assert parts["network_ns"]["min_ns"] >= 20_000_000
    # A busy machine delays anything at times, but not each of the round trips.
    assert max(parts[name]["min_ns"] for name in ("send_path_ns", "wakeup_ns")) < 20_000_000


@pytest.mark.parametrize("switch", ["kernel", "user"])
@pytest.mark.parametrize("network", ["10.94.0.0/16", "fd94::/64"])
def test_a_megabyte_arrives_as_it_was(labs, tmp_path, switch, network):
    """Frames of every length up to the longest, checksums left to a card that is none."""
    file = tmp_path / "lab.toml"
    file.write_text(f"switch = '{switch}'\nnetwork = '{network}'\n"
                    "[[host]]\nname = 'a'\nguests = ['x']\n[[host]]\nname = 'b'\n"
                    "guests = ['y']\n")
    labs.up(str(file))
    receive = """
import hashlib, socket
host = socket.getaddrinfo("x", 7000, type=socket.SOCK_STREAM)[0]
got = socket.socket(host[0]); got.bind(host[4]); got.listen(); print("ready", flush=True)
got.settimeout(60)
line, _ = got.accept()
sum = hashlib.sha256()
while data := line.recv(65536):
    sum.update(data)
print(sum.hexdigest())
"""
    send = """
import socket
line = socket.create_connection(("x", 7000), 60)
for length in range(1, 1500):
    line.sendall(bytes([length % 251]) * length)
"""
    receiver = labs.start("exec", "--lab", labs.name, "x", "--", sys.executable, "-S", "-c",
                          receive)
    try:
        assert receiver.stdout.readline() == "ready\n"
        labs.inside("y", sys.executable, "-S", "-c", send)
        shown = receiver.communicate(timeout=60)[0]
    finally:
        end(receiver)
    sent = b"".join(bytes([length % 251]) * length for length in range(1, 1500))
    assert shown.strip() == hashlib.sha256(sent).hexdigest()


def test_every_datagram_arrives_or_is_counted_as_lost(labs, tmp_path):
    """A full line loses frames, as a card does, and the switch says how many."""
    file = tmp_path / "lab.toml"
    file.write_text("link = { rate = '2mbit', limit = 4000, delay = '1ms' }\n"
                    "[[host]]\nname = 'a'\n[[host]]\nname = 'b'\n")
    labs.up(str(file))
    receive = """
import socket
got = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
got.bind(("a", 7000)); got.settimeout(60)
print("ready", flush=True)
data, who = got.recvfrom(2000); got.sendto(data, who)
count = 0
while data != b"end":
    data, who = got.recvfrom(2000)
    count += data != b"end"
got.sendto(data, who)
print(count)
"""
    # The first exchange finds the address; the pause lets the line become free for the end.
    send = """
import socket, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.settimeout(30); out.connect(("a", 7000)); out.send(b"first"); out.recv(99)
for _ in range(300):
    out.send(bytes(1000))
time.sleep(0.5)
out.send(b"end"); out.recv(99)
"""
    receiver = labs.start("exec", "--lab", labs.name, "a", "--", sys.executable, "-S", "-c",
                          receive)
    try:
        assert receiver.stdout.readline() == "ready\n"
        labs.inside("b", sys.executable, "-S", "-c", send)
        arrived = int(receiver.communicate(timeout=60)[0])
    finally:
        end(receiver)
    lost = json.loads(labs.call("down", "--json").stdout)["lost_frames"]
    assert 0 < arrived < 300
    assert arrived + lost == 300


def test_a_sender_that_a_quota_stops_says_so(xenrr_server):
    """A tenth of a CPU is used up in the first ms of each period."""
    groups = find_groups()
    if groups is None:  # no cgroup to write to
        return
    group = Share(f"xrr-{uuid.uuid4().hex[:8]}", (), CpuShare(0.1, 20_000))
    folders = make_share(groups, group)
    program = ("import os, json, xenrr\n"
               f"open({folders[1]!r} + '/cgroup.procs', 'w').write(str(os.getpid()))\n"
               f"run = xenrr.measure({LOOPBACK!r}, port={xenrr_server.port}, duration_s=0.5)\n"
               "print(json.dumps(run.to_plain()))")
    try:
        shown = subprocess.run([sys.executable, "-c", program], env=clean_environment(),
                               stdout=subprocess.PIPE, timeout=60, check=True).stdout
    finally:
        assert remove_shares(folders) == []
    run = Run.from_plain(json.loads(shown))
    assert run.throttling["throttled"] > 0
    assert "throttled" in [doubt.code for doubt in doubts_of(run)]


def test_so_does_one_in_a_lab(labs, tmp_path):
    """There /sys is the namespace's own, and shows no control groups."""
    file = tmp_path / "lab.toml"
    file.write_text("[[host]]\nname = 'a'\n[[host]]\nname = 'b'\n"
                    "cpu = { quota = 0.1, period = '20ms' }\n")
    if labs.up(str(file))["notes"]:  # no cgroup to write to
        return
    server = serving(labs, "a")
    try:
        run = Run.from_plain(measured(labs, "b", "a", "TCP_RR", 0.5))
    finally:
        end(server)
    assert "throttled" in [doubt.code for doubt in doubts_of(run)]
