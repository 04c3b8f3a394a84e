from __future__ import annotations

import os
import socket
import threading

import pytest

from xenrr.errors import EngineUnavailable
from xenrr.netperf.command import server_command
from xenrr.netperf.serve import serve
from xenrr.netperf.server_options import parse_server
from xenrr.session import dataoptions, target


@pytest.fixture
def served(monkeypatch):
    """What a server would have served, without serving it."""
    calls = []

    def serve_until_stopped(policy, listeners, log):
        calls.append((policy, [listener.getsockname() for listener in listeners], log))
        for listener in listeners:
            listener.close()

    monkeypatch.setattr(target, "serve_until_stopped", serve_until_stopped)
    return calls


@pytest.mark.parametrize(("line", "ends"), [
    ("-p 0", "'IN(6)ADDR_ANY' port '0' and family AF_UNSPEC"),
    ("-p 0 -4", "'IN(6)ADDR_ANY' port '0' and family AF_INET"),
    ("-p 0 -L 127.0.0.1", "'127.0.0.1' port '0' and family AF_UNSPEC"),
    ("-p 0 -L 127.0.0.1,inet", "'127.0.0.1' port '0' and family AF_INET")])
def test_the_start_line(served, capsys, line, ends):
    assert server_command(["-D", *line.split()]) == 0
    assert capsys.readouterr() == (f"Starting netserver with host {ends}\n", "")
    assert len(served) == 1


def test_options_reach_the_policy(served, capfd):
    line = "-D -p 0 -L 127.0.0.1,4 -Z word --engine pure -v 1"
    assert serve(parse_server(line.split())) == 0
    policy, addresses, log = served[0]
    assert (policy.host, policy.family, policy.passphrase, policy.engine) == (
        "127.0.0.1", 4, "word", "pure")
    assert addresses[0][0] == "127.0.0.1"
    capfd.readouterr()
    log("one test")
    assert capfd.readouterr().err == "one test\n"


def test_one_at_a_time_debug_and_cpus_reach_the_policy(served):
    serve(parse_server(["-D", "-p", "0", "-L", "127.0.0.1", "-f", "-d", "-n", "7"]))
    policy, _, log = served[0]
    assert (policy.one_at_a_time, policy.debug, policy.cpus) == (True, True, 7)
    assert log is not None


@pytest.mark.parametrize("granted", [True, False])
def test_polling_reaches_the_policy_and_a_refusal_is_said(served, capsys, monkeypatch, granted):
    monkeypatch.setattr(dataoptions, "may_busy_poll", lambda usec: granted)
    line = "-D -p 0 -L 127.0.0.1 --spin --busy-poll 30"
    assert serve(parse_server(line.split())) == 0
    policy = served[0][0]
    assert (policy.spin, policy.busy_poll_us) == (True, 30)
    said = f"netserver: {dataoptions.BUSY_POLL_REFUSED}\n"
    assert capsys.readouterr().err == ("" if granted else said)


@pytest.fixture
def standard_input(monkeypatch):
    """Puts a descriptor in the place of standard input for a while."""
    kept = os.dup(0)
    yield lambda sock: os.dup2(sock.fileno(), 0)
    os.dup2(kept, 0)
    os.close(kept)


def test_a_connection_on_standard_input_is_served_and_nothing_printed(standard_input, capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener, \
            socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            standard_input(accepted)
        codes = []
        # A server in the main thread of this process would take its signals.
        thread = threading.Thread(target=lambda: codes.append(server_command([])))
        thread.start()
        client.sendall(bytes([0, 0, 2, 88]) + b"\xff" * 4 + bytes(248))
        assert client.recv(8) == bytes([0, 0, 2, 89, 0, 0, 0, 0])
        client.shutdown(socket.SHUT_WR)
        thread.join(10)
    assert codes == [0]
    assert capsys.readouterr() == ("", "")


def test_a_listener_on_standard_input_is_not_ours(standard_input, served):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        standard_input(listener)
        options = parse_server(["-L", "127.0.0.1", "-p", "0"])
        options.placed, options.daemon = False, False
        assert serve(options) == 0
    assert len(served) == 1


def test_without_a_level_nothing_is_logged(served):
    serve(parse_server(["-D", "-p", "0", "-L", "127.0.0.1"]))
    assert served[0][2] is None


@pytest.mark.parametrize(("line", "ends"), [
    ("-L 127.0.0.1,inet6 -p 5", "'127.0.0.1' port '5' and family AF_INET6"),
    ("-p nosvc", "'IN(6)ADDR_ANY' port 'nosvc' and family AF_UNSPEC"),
    ("-p 99999", "'IN(6)ADDR_ANY' port '99999' and family AF_UNSPEC"),
    ("-L 192.0.2.1 -p 5", "'192.0.2.1' port '5' and family AF_UNSPEC")])
def test_addresses_that_cannot_be_had(served, capsys, line, ends):
    assert server_command(["-D", *line.split()]) == 1
    out, err = capsys.readouterr()
    assert out == "" and not served
    assert err.startswith(f"Unable to start netserver with  {ends}\n")


def test_a_port_that_is_taken(served, capsys):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert server_command(["-L", "127.0.0.1", "-p", str(port)]) == 1
    assert "Unable to start netserver" in capsys.readouterr().err


def test_an_engine_that_is_missing_is_found_out_before_anything_is_promised(
        served, capsys, monkeypatch):
    def load_engine(wanted):
        raise EngineUnavailable("the C engine does not load")

    monkeypatch.setattr("xenrr.engine.load.load_engine", load_engine)
    assert server_command(["-p", "0"]) == 1
    assert capsys.readouterr() == ("", "netserver: the C engine does not load\n")
