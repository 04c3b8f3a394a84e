"""``python -m xenrr.client`` as a process, against our own server on loopback."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time

import pytest
from peers import ROOT, clean_environment

from xenrr.client import main

LIMIT_S = 60


def command(*args):
    return [sys.executable, "-m", "xenrr.client", *args]


def client(server, *args):
    return subprocess.run(
        command("-H", server.host, "-p", str(server.port), *args), capture_output=True,
        text=True, env=clean_environment(), timeout=LIMIT_S, check=False)


def started(server, *args):
    """A client whose test is running: its first interim result has come."""
    process = subprocess.Popen(
        command("-H", server.host, "-p", str(server.port), "-D", "0.05", *args),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
    assert "Interim result" in process.stdout.readline()
    return process


def test_main_takes_arguments(capsys):
    assert main(["-V"]) == 0
    assert capsys.readouterr().out == "Netperf version 2.7.0\n"


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
@pytest.mark.parametrize("engine", ["pure", pytest.param("hot", marks=pytest.mark.c_engine)])
def test_a_counted_test(xenrr_server, test, engine):
    done = client(xenrr_server, "-t", test, "-l", "-200", "--engine", engine, "-P", "0", "--",
                  "-r", "3,5", "-k",
                  "PROTOCOL,LOCAL_BYTES_RECVD,REMOTE_BYTES_SENT,REQUEST_SIZE")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (f"PROTOCOL={test[:3]}\nLOCAL_BYTES_RECVD=1000\n"
                           "REMOTE_BYTES_SENT=1000\nREQUEST_SIZE=3\n")


def test_json(xenrr_server):
    done = client(xenrr_server, "-t", "TCP_RR", "-l", "-100", "--json", "--engine", "pure")
    document = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert (document["transactions"], document["engine"], document["ended"]) == (
        100, "pure", "count")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM])
def test_a_signal_ends_a_test_early_with_full_output(xenrr_server, number):
    process = started(xenrr_server, "-t", "TCP_RR", "-l", "0", "-P", "0", "-v", "1")
    begun_s = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, err) == (0, "")
    table = [line for line in out.splitlines() if not line.startswith("Interim")]
    assert len(table) == 2 and float(table[0].split()[5]) > 0
    assert time.monotonic() - begun_s < LIMIT_S  # and not after 115 days


PROGRAM = """
import os, signal
import xenrr.client

# Whoever started the tests in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def that_drops_exceptions(args):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            pass
    except KeyboardInterrupt:
        return 0

xenrr.client.client_command = that_drops_exceptions
xenrr.client.main()
"""


def test_ctrl_c_before_a_test_cannot_be_lost():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True,
                          env=clean_environment(), timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_reader_that_leaves_is_no_error(xenrr_server):
    process = started(xenrr_server, "-t", "TCP_RR", "-l", "30", "-P", "0")
    process.stdout.close()
    assert process.wait(LIMIT_S) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_nobody_listens():
    with socket.socket() as held:
        held.bind(("127.0.0.2", 0))
        done = subprocess.run(
            command("-H", "127.0.0.2", "-p", str(held.getsockname()[1]), "-t", "TCP_RR"),
            capture_output=True, text=True, env=clean_environment(), timeout=LIMIT_S,
            check=False)
    assert done.returncode == 255
    assert done.stdout.startswith("establish control: are you sure there is a netserver")
    assert "Traceback" not in done.stderr


def test_somebody_else_listens():
    with socket.create_server(("127.0.0.2", 0)) as listener:
        with subprocess.Popen(
                command("-H", "127.0.0.2", "-p", str(listener.getsockname()[1]), "-t",
                        "TCP_RR"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env=clean_environment()) as process:
            with listener.accept()[0] as peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 40)
                out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert out.startswith("MIGRATED TCP REQUEST/RESPONSE TEST") and out.count("\n") == 1
    assert "does not talk like a netserver" in err and "Traceback" not in err


def test_version_needs_no_heavy_modules():
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c",
         f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
         "from xenrr.client import main; main(['-V'])"],
        capture_output=True, text=True, timeout=LIMIT_S, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "xenrr.netperf.options" in loaded
    assert not loaded & {"asyncio", "argparse", "dataclasses", "enum", "inspect", "json", "re",
                         "socket", "typing"}
