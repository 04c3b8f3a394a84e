"""Real netperf measures against xenrr.server and must not be able to tell the difference."""

from __future__ import annotations

import math
import re
import socket
import subprocess
import sys
import time

import pytest
from accounting import NAMES
from peers import Server, clean_environment, running_xenrr_server

pytestmark = pytest.mark.peer("netperf")

HOSTS = ("127.0.0.1", "::1")
TCP_SIZES = ((1, 1), (64, 64), (1, 1400), (8192, 8192), (60000, 1))
CASES = [("TCP_RR", *sizes) for sizes in TCP_SIZES] + [("UDP_RR", *s) for s in TCP_SIZES[:4]]
SELECTORS = ("THROUGHPUT,ELAPSED_TIME,LOCAL_BYTES_SENT,LOCAL_BYTES_RECVD,REMOTE_BYTES_SENT,"
             "REMOTE_BYTES_RECVD,REMOTE_RECV_CALLS,REMOTE_SEND_CALLS,RSS_SIZE,RSS_SIZE_END")


@pytest.fixture(params=["pure", pytest.param("hot", marks=pytest.mark.c_engine)])
def server(request):
    with running_xenrr_server("--engine", request.param) as running:
        yield running


def netperf(command, server: Server, host, test, *options, specific=(), limit_s=60):
    words = [command, "-H", host, "-p", str(server.port), "-t", test, *options, "--", *specific]
    return subprocess.run(words, capture_output=True, text=True, timeout=limit_s)


def keyvals(done):
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    pairs = re.findall(r"^([A-Z0-9_]+)=(.*)$", done.stdout, re.MULTILINE)
    return {name: float(value) for name, value in pairs}


def log_of(server: Server):
    """Ends the server; the lines that it logged."""
    server.process.terminate()
    return server.wait(limit_s=10)[1].splitlines()


def finish(server: Server):
    """What the server counted, a number a finished round-trip test."""
    return [int(count) for count in re.findall(r"RR (\d+) transactions",
                                               "\n".join(log_of(server)))]


def check_ends_agree(values, counted, request_bytes, response_bytes, in_flight):
    """Every request that reached the server was answered, and both ends say so."""
    sent = values["LOCAL_BYTES_SENT"] / request_bytes
    answered = values["LOCAL_BYTES_RECVD"] / response_bytes
    # A response on its way when the client's time was over is counted at the server only;
    # netperf leaves the requests of the first burst out of its own count.
    assert math.floor(answered) <= counted <= math.ceil(sent) + in_flight - 1
    assert sent - answered <= in_flight
    assert values["REMOTE_BYTES_SENT"] == counted * response_bytes
    assert values["REMOTE_BYTES_RECVD"] >= counted * request_bytes
    assert values["THROUGHPUT"] == pytest.approx(answered / values["ELAPSED_TIME"], rel=0.02)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("test", "request_bytes", "response_bytes"), CASES)
def test_timed_and_counted(netperf_command, xenrr_server, host, test, request_bytes,
                           response_bytes):
    sizes = ("-r", f"{request_bytes},{response_bytes}", "-k", SELECTORS)
    length = "2" if request_bytes == response_bytes == 1 else "1"
    timed = keyvals(netperf(netperf_command, xenrr_server, host, test, "-l", length,
                            specific=sizes))
    counted = keyvals(netperf(netperf_command, xenrr_server, host, test, "-l", "-1000",
                              specific=sizes))
    by_server = finish(xenrr_server)
    assert len(by_server) == 2
    assert timed["ELAPSED_TIME"] == pytest.approx(float(length), abs=0.5)
    assert timed["THROUGHPUT"] > 50
    check_ends_agree(timed, by_server[0], request_bytes, response_bytes, in_flight=1)
    assert by_server[1] == 1000
    assert counted["LOCAL_BYTES_RECVD"] == 1000 * response_bytes
    assert counted["REMOTE_BYTES_RECVD"] == 1000 * request_bytes


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_each_engine_serves(netperf_command, server, test):
    values = keyvals(netperf(netperf_command, server, "127.0.0.1", test, "-l", "1",
                             specific=("-k", SELECTORS)))
    counted = finish(server)
    check_ends_agree(values, counted[0], 1, 1, in_flight=1)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_first_burst(netperf_command, xenrr_server, host, test):
    values = keyvals(netperf(netperf_command, xenrr_server, host, test, "-l", "1",
                             specific=("-b", "16", "-k", SELECTORS)))
    check_ends_agree(values, finish(xenrr_server)[0], 1, 1, in_flight=17)


def test_counted_burst_ends(netperf_command, xenrr_server):
    done = netperf(netperf_command, xenrr_server, "127.0.0.1", "TCP_RR", "-l", "-1000",
                   specific=("-b", "16"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert finish(xenrr_server) == [1000]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_confidence_iterations_reuse_the_data_port(netperf_command, xenrr_server, host, test):
    done = netperf(netperf_command, xenrr_server, host, test, "-l", "1", "-i", "3,3", "-I",
                   "95,10", specific=("-k", "THROUGHPUT,CONFIDENCE_ITERATION"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CONFIDENCE_ITERATION=3" in done.stdout
    assert len(finish(xenrr_server)) == 3


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_data_port_given(netperf_command, xenrr_server, test):
    from peers import free_port

    # 127.0.0.2, because a client bound to the port it connects to would meet itself.
    port = free_port("127.0.0.2")
    values = keyvals(netperf(netperf_command, xenrr_server, "127.0.0.2", test, "-l", "1",
                             specific=("-P", f",{port}", "-k", SELECTORS)))
    assert values["THROUGHPUT"] > 50
    assert len(finish(xenrr_server)) == 1


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_socket_buffers_are_applied(netperf_command, xenrr_server, test):
    values = keyvals(netperf(netperf_command, xenrr_server, "127.0.0.1", test, "-l", "1",
                             specific=("-S", "32K,32K", "-k", SELECTORS)))
    assert values["RSS_SIZE"] == 65536  # Linux doubles what is asked


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_passphrase(netperf_command, test):
    with running_xenrr_server("-Z", "sesame") as server:
        right = netperf(netperf_command, server, "127.0.0.1", test, "-l", "1", "-Z", "sesame")
        assert right.returncode == 0, right.stdout + right.stderr
        for words in (("-Z", "wrong"), ()):
            wrong = netperf(netperf_command, server, "127.0.0.1", test, "-l", "1", *words)
            assert wrong.returncode == 1
            assert "recv_response" in wrong.stderr
        again = netperf(netperf_command, server, "127.0.0.1", test, "-l", "-10", "-Z", "sesame")
        assert again.returncode == 0


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("test", NAMES)
def test_every_test(netperf_command, server, host, test):
    counted = "-1000000" if test in ("TCP_STREAM", "TCP_MAERTS", "TCP_SENDFILE") else "-100"
    lengths = ["1"] if test == "UDP_STREAM" else ["1", counted]
    for length in lengths:
        done = netperf(netperf_command, server, host, test, "-l", length, "-P", "0", "-v", "0")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        assert float(done.stdout) > 0
    assert sum(" engine, " in line for line in log_of(server)) == len(lengths)


@pytest.mark.parametrize("words", [
    "-d send", "-d recv", "-d rr", "-c -d 0", "-c -d rr", "-T udp -d rr", "-T udp -d send",
    "-T udp -d recv"])
def test_omni(netperf_command, server, words):
    done = netperf(netperf_command, server, "127.0.0.1", "omni", "-l", "1", "-c", "-C",
                   specific=(*words.split(), "-k", "THROUGHPUT,ELAPSED_TIME,REMOTE_CPU_UTIL,"
                             "REMOTE_BYTES_SENT,REMOTE_BYTES_RECVD"))
    values = keyvals(done)
    assert values["THROUGHPUT"] > 0
    assert 0 <= values["REMOTE_CPU_UTIL"] <= 100
    # netperf prints it with two places, so that 0.00 would do for 4 s too late as well.
    assert values["ELAPSED_TIME"] < 3
    if "0" not in words:
        assert values["REMOTE_BYTES_SENT"] + values["REMOTE_BYTES_RECVD"] > 0


@pytest.mark.parametrize("test", NAMES)
def test_every_test_with_cpu_and_options(netperf_command, xenrr_server, test):
    words = ("-c", "-C", "-T", "0,0", "-A", "64,64", "-O", "3,3", "-S", "-y", "4,4", "-Y",
             "0x10,0x10")
    if test == "UDP_STREAM":
        words = ("-c", "-C")
    done = netperf(netperf_command, xenrr_server, "127.0.0.1", test, "-l", "1", "-P", "0",
                   *words, specific=("-s", "60000", "-S", "60000"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "-1.00" not in done.stdout


def test_confidence_asks_for_the_same_port_again(netperf_command, xenrr_server):
    for test in ("TCP_STREAM", "TCP_CRR", "UDP_STREAM", "TCP_CC"):
        done = netperf(netperf_command, xenrr_server, "127.0.0.1", test, "-l", "1", "-i", "3,3",
                       "-I", "95,50", "-P", "0")
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_remote_fill_file_is_not_read(netperf_command, xenrr_server):
    done = netperf(netperf_command, xenrr_server, "127.0.0.1", "TCP_MAERTS", "-l", "1", "-F",
                   ",/etc/passwd")
    assert done.returncode == 0
    assert any("/etc/passwd" in line for line in log_of(xenrr_server))


def test_inetd(netperf_command):
    """A listener that hands each connection over as standard input, as inetd does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = subprocess.Popen(
            [netperf_command, "-H", "127.0.0.1", "-p", str(listener.getsockname()[1]), "-l",
             "-100", "-t", "TCP_RR", "-P", "0", "-v", "0"], stdout=subprocess.PIPE, text=True)
        accepted, _ = listener.accept()
        with accepted:
            server = subprocess.Popen([sys.executable, "-m", "xenrr.server"], stdin=accepted,
                                      stdout=accepted, stderr=accepted,
                                      env=clean_environment())
    output, _ = client.communicate(timeout=30)
    assert client.returncode == 0
    assert float(output) > 0
    assert server.wait(10) == 0


def test_one_at_a_time(netperf_command):
    with running_xenrr_server("-f") as server, socket.create_connection(
            (server.host, server.port)) as holder:
        client = subprocess.Popen(
            [netperf_command, "-H", server.host, "-p", str(server.port), "-l", "-10", "-t",
             "TCP_RR"], stdout=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(1.5)
        holder.close()
        assert client.wait(20) == 0


def test_twelve_at_once(netperf_command, xenrr_server):
    """The study's load: every client finishes, none is starved."""
    words = [netperf_command, "-H", "127.0.0.1", "-p", str(xenrr_server.port), "-l", "2",
             "-P", "0", "-v", "0", "-t"]
    clients = [subprocess.Popen([*words, test], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
               for test in ("TCP_RR", "UDP_RR") * 6]
    for client in clients:
        output, errors = client.communicate(timeout=60)
        assert client.returncode == 0, errors
        assert float(output) > 50
    assert len(finish(xenrr_server)) == 12


def test_a_test_that_is_not_served_is_refused_and_the_next_one_runs(netperf_command,
                                                                    xenrr_server):
    refused = netperf(netperf_command, xenrr_server, "127.0.0.1", "omni", "-l", "1",
                      specific=("-T", "udplite"))
    assert refused.returncode != 0
    assert "remote error 93" in refused.stdout
    fine = netperf(netperf_command, xenrr_server, "127.0.0.1", "TCP_RR", "-l", "-10")
    assert fine.returncode == 0


def test_client_killed_in_the_middle_leaves_the_server_serving(netperf_command, xenrr_server):
    words = [netperf_command, "-H", "127.0.0.1", "-p", str(xenrr_server.port), "-l", "30", "-t"]
    for test in ("TCP_RR", "UDP_RR"):
        client = subprocess.Popen([*words, test], stdout=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(0.7)
        client.kill()
        client.wait()
    fine = netperf(netperf_command, xenrr_server, "127.0.0.1", "UDP_RR", "-l", "-10")
    assert fine.returncode == 0
    time.sleep(1)  # for the server to see that the killed one has gone
    assert len(finish(xenrr_server)) == 3


def test_sleep_before_the_data_phase(netperf_command, xenrr_server):
    done = netperf(netperf_command, xenrr_server, "127.0.0.1", "TCP_RR", "-l", "1", "-s", "5",
                   specific=("-k", "THROUGHPUT,ELAPSED_TIME"))
    values = keyvals(done)
    assert values["ELAPSED_TIME"] == pytest.approx(1.0, abs=0.2)
    assert values["THROUGHPUT"] > 50
