"""The client's course of things over a fake session: streams, order, exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from uuid import UUID

import pytest

from xenrr import lean
from xenrr.errors import ConnectionLost, EngineUnavailable, PeerRefused, RemoteProtocolError
from xenrr.results.record import FlowRecord, Run, SocketFacts

RR = "-H 127.0.0.1 -t TCP_RR"
TITLE = "MIGRATED TCP REQUEST/RESPONSE TEST from "


def test_a_plain_run(netperf, records):
    sender = records.FakeSender()
    said = netperf(f"{RR} -l 1", sender)
    assert (said.code, said.err) == (0, "")
    lines = said.out.split("\n")
    assert lines[0].startswith(TITLE) and len(lines) == 9 and lines[-1] == ""
    assert lines[6].split() == ["16384", "131072", "1", "1", "1.00", "72016.00"]
    assert sender.specs[0].duration_s == 1 and sender.closed == 1


def test_remarks_and_notices_come_first(netperf):
    said = netperf(f"{RR} -k 5 -v 0 -P 0 -- -x")
    assert said.out == "I don't know how to get dirty.\n72016.00 \n"
    assert (said.code, said.err) == (0, "netperf: invalid option -- 'x'\n")


@pytest.mark.parametrize("in_effect", [-3, -2, -1, 20])
def test_busy_polling_that_was_refused_is_said_once(netperf, records, in_effect):
    run = records.run(local=SocketFacts(busy_poll_us=in_effect))
    said = netperf(f"{RR} --busy-poll 20 -i 3 -I 99,1", records.FakeSender(run))
    note = "netperf: this system does not let us busy-poll"
    assert (said.code, said.err.count(note)) == (0, int(in_effect < -1))


@pytest.mark.parametrize(("rate", "said"), [
    ("900k", "netperf: 900000 requests/s were asked for and 72016 were answered\n"),
    ("72100", "")])
def test_a_rate_that_was_missed_is_said(netperf, rate, said):
    assert netperf(f"{RR} -l 1 --rate {rate}").err == said


@pytest.mark.parametrize(("ended", "flows", "said"), [
    ("time", ["time", "peer"], "netperf: 1 of 2 flows ended before the others\n"),
    ("peer", ["stopped", "peer"], ""),
    ("peer", ["error", "error"], "netperf: all 2 flows ended early\n")])
def test_flows_that_ended_early_are_said(netperf, records, ended, flows, said):
    run = records.run(ended=ended, flows=tuple(FlowRecord("h:1", flow) for flow in flows))
    assert netperf(RR, records.FakeSender(run)).err == said


def test_interim_results_stand_between_header_and_table(netperf, records):
    run = records.run(interims=(records.point(0.6, 0.6, 43210),))
    said = netperf(f"{RR} -D 0.6 -v 0", records.FakeSender(run))
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines] == ["MIGRATED", "Interim", "Interim", "72016.00"]
    assert "over 0.600 seconds" in lines[1] and "over 0.400 seconds" in lines[2]


@pytest.mark.parametrize(("form", "first"), [
    ("-o PROTOCOL", "Protocol"), ("-k PROTOCOL", "PROTOCOL=TCP"), ("-O PROTOCOL", "Protocol ")])
def test_forms(netperf, form, first):
    assert netperf(f"{RR} -v 0 -- {form}").out.splitlines()[1] == first


def test_percentiles_follow_the_results(netperf):
    said = netperf(f"{RR} -P 0 -v 0 --percentiles 99.9")
    assert said.out == "72016.00 \n13.000  90.000  90.000\n"


def test_json_and_nothing_else(netperf):
    said = netperf(f"{RR} --json -i 3 -I 99,1 -- -D -k")
    documents = [Run.from_plain(json.loads(line)) for line in said.out.splitlines()]
    assert [run.transactions for run in documents] == [72016] * 3
    assert documents[0].spec.nodelay and said.err == ""


def test_confidence_stops_when_it_is_reached(netperf, records):
    sender = records.FakeSender()
    said = netperf(f"{RR} -i 10,4 -I 95,5 -v 0", sender)
    assert len(sender.specs) == 4
    assert "WARNING" not in said.out


def test_confidence_not_reached_warns_above_the_table(netperf, records):
    rates = [records.run(transactions=number) for number in (1000, 2000, 4000)]
    said = netperf(f"{RR} -i 3 -P 0 -v 0", records.FakeSender(*rates))
    lines = said.out.splitlines()
    assert lines[0] == "!!! WARNING" and lines[-1] == "2333.33 " and said.code == 0
    assert "WARNING" not in netperf(f"{RR} -i 3 -- -k", records.FakeSender(*rates)).out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM])
def test_a_signal_ends_the_test_with_full_output(netperf, records, number):
    class Interrupted(records.FakeSender):
        def stop(self):
            super().stop()
            return True

        def run(self, spec, *, on_start=None, on_interim=None, conditions=True):
            on_start()
            os.kill(os.getpid(), number)
            assert self.stopped == 1
            return records.run(spec, ended="stopped")

    before = signal.getsignal(number)
    sender = Interrupted()
    said = netperf(f"{RR} -P 0 -v 0 -i 3", sender)
    assert (said.code, said.out, sender.stopped) == (0, "72016.00 \n", 1)
    assert signal.getsignal(number) is before


def test_from_another_thread_there_are_no_signals_to_take(netperf):
    said = []
    thread = threading.Thread(target=lambda: said.append(netperf(f"{RR} -P 0 -v 0")))
    thread.start()
    thread.join()
    assert said[0].code == 0


def test_a_peer_that_dies_midway_leaves_what_was_measured(netperf, records):
    run = records.run(ended="peer", error="the peer ended the data connection")
    said = netperf(f"{RR} -P 0 -v 0", records.FakeSender(run))
    assert (said.code, said.out, said.err) == (
        1, "72016.00 \n", "netperf: the peer ended the data connection\n")


@pytest.mark.parametrize("when", ["connecting", "running"])
@pytest.mark.parametrize(("error", "code", "out", "err"), [
    (ConnectionLost("the peer closed the control connection"), 1, "",
     "recv_response: partial response received: 0 bytes\n"),
    (RemoteProtocolError("it said HTTP"), 1, "",
     "netperf: what listens on 127.0.0.1 port 12865 does not talk like a netserver: "
     "it said HTTP\n"),
    (EngineUnavailable("the C engine does not load"), 1, "",
     "netperf: the C engine does not load\n"),
])
def test_what_can_go_wrong(netperf, records, when, error, code, out, err):
    sender = error if when == "connecting" else records.FakeSender(error)
    said = netperf(f"{RR} -P 0", sender)
    assert (said.code, said.out) == (code, out)
    assert said.err.startswith(err)


def test_a_reset_control_connection_says_so(netperf, records):
    lost = ConnectionLost("the control connection broke")
    lost.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    said = netperf(RR, records.FakeSender(lost))
    assert said.code == 1 and said.out.startswith(TITLE)
    assert said.err.startswith("recv_response: Connection reset by peer\n")


@pytest.mark.parametrize(("omni", "code"), [(True, 255), (None, 255), (False, 1)])
def test_remote_errors(netperf, records, omni, code):
    sender = records.FakeSender(PeerRefused("the peer refused", 13))
    sender.dialect.omni = omni
    said = netperf(f"{RR} -P 0", sender)
    assert (said.code, said.out) == (code, "netperf: remote error 13")
    assert said.err == "Permission denied\nnetperf: the peer refused\n"


def test_a_data_connection_that_fails(netperf, records):
    said = netperf(f"{RR} -P 0", records.FakeSender(OSError(111, "Connection refused")))
    assert (said.code, said.out, said.err) == (
        1, "", "netperf: send_omni: connect_data_socket failed: Connection refused\n")


def test_a_connection_that_fails(netperf):
    said = netperf(f"{RR} -p 24020", ConnectionRefusedError(111, "Connection refused"))
    assert (said.code, said.out) == (255, (
        "establish control: are you sure there is a netserver listening on 127.0.0.1 at port "
        "24020?\nestablish_control could not establish the control connection from 0.0.0.0 "
        "port 0 address family AF_UNSPEC to 127.0.0.1 port 24020 address family AF_INET\n"))


def test_an_unknown_test_is_found_out_after_connecting(netperf, records):
    sender = records.FakeSender()
    said = netperf("-H 127.0.0.1 -t TCP_RRX", sender)
    assert (said.code, said.out, said.err) == (
        1, "The test you requested (TCP_RRX) is unknown to this netperf.\n"
           "Please verify that you have the correct test name, \n"
           "and that test family has been compiled into this netperf.\n",
        "netperf: did you mean TCP_RR?\n")
    assert sender.closed == 1 and not sender.specs
    refused = netperf("-H 127.0.0.1 -t FOO", ConnectionRefusedError(111, "refused"))
    assert refused.code == 255
    assert netperf("-H 127.0.0.1 -t FOO", sender).err == ""


@pytest.mark.parametrize("test", ["SCTP_RR", "SDP_STREAM", "XTI_TCP_RR", "STREAM_STREAM"])
def test_tests_of_other_builds_are_no_slips(netperf, test):
    said = netperf(f"-H 127.0.0.1 -t {test} -- -h")
    assert (said.code, said.err) == (1, "")
    assert said.out.startswith(f"The test you requested ({test}) is unknown to this netperf.\n")


@pytest.mark.parametrize(("line", "out"), [
    ("-t UUID -- -u mine", "mine"), ("-t loc_cpu", "100"),
    ("-t REM_CPU -v 2", "100\nThere are 4 remote cpus\n"),
    ("-t REM_CPU --json", '{"rate": 100.0, "cpus": 4}\n'),
    ("-t UUID --json -- -u mine", '{"uuid": "mine"}\n'),
    ("-t TCP_MSS -P 0", "1448 \n"), ("-t TCP_MSS -P 0 -v 0 -B tag", "1448 tag\n"),
    ("-t TCP_MSS --json", '{"mss": 1448}\n')])
def test_tests_that_answer_at_once(netperf, records, line, out):
    sender = records.FakeSender()
    said = netperf(f"-H 127.0.0.1 {line}", sender)
    assert (said.code, said.out, said.err, sender.closed) == (0, out, "", 1)


def test_a_uuid_is_made_up(netperf):
    made = netperf("-H 127.0.0.1 -t UUID").out
    assert UUID(made).version == 1 and made != netperf("-H 127.0.0.1 -t UUID").out


def test_tcp_mss_has_a_header_line(netperf, records):
    sender = records.FakeSender()
    said = netperf("-H 127.0.0.1 -t TCP_MSS -- -s 1000", sender)
    assert said.out.startswith("TCP MSS TEST from ")
    assert said.out.endswith(" : demo\nMaximum\nSegment\nSize (bytes)\n\n1448 \n")
    assert sender.specs[0].local.send_buffer == 1000


def test_what_a_calibration_may_meet(netperf, records):
    class Refusing(records.FakeSender):
        def calibrate(self):
            raise PeerRefused("the peer does not know this test (error 998)", 998)

    said = netperf("-H 127.0.0.1 -t REM_CPU", Refusing())
    assert (said.code, said.out) == (255, "netperf: remote error 998")


@pytest.mark.parametrize("test", ["TCP_STREAM", "TCP_MAERTS", "TCP_SENDFILE", "UDP_STREAM",
                                  "TCP_CRR", "TCP_CC", "omni"])
def test_every_test_is_run(netperf, records, test):
    sender = records.FakeSender()
    said = netperf(f"-H 127.0.0.1 -t {test} -l 1", sender)
    assert (said.code, said.err, len(sender.specs)) == (0, "", 1)
    assert sender.specs[0].test == test.upper()


@pytest.mark.parametrize(("protocol", "code", "out", "err"), [
    ("sctp", 1, "netperf: create_data_socket: socket: errno 93 fam AF_INET type SOCK_STREAM "
                "prot IPPROTO_SCTP errmsg Protocol not supported\n", ""),
    ("dccp", 1, "netperf: create_data_socket: socket: errno 94 fam AF_INET type SOCK_DCCP prot "
                "IPPROTO_DCCP errmsg Socket type not supported\n", ""),
    ("udplite", 255, "netperf: remote error 95", "Operation not supported\n")])
def test_protocols_that_there_are_not(netperf, records, protocol, code, out, err):
    sender = records.FakeSender()
    said = netperf(f"-H 127.0.0.1 -t omni -P 0 -- -T {protocol}", sender)
    assert (said.code, said.out, said.err, sender.specs) == (code, out, err, [])


def test_a_fill_file_is_looked_for_before_the_test(netperf, records):
    sender = records.FakeSender()
    said = netperf("-H 127.0.0.1 -t TCP_RR -P 0 -F /nosuch", sender)
    assert (said.code, said.out, said.err, sender.specs) == (
        1, "Could not open requested fill file: No such file or directory\n",
        "netperf: -F: '/nosuch' cannot be read, nothing was measured\n", [])
    said = netperf("-H 127.0.0.1 -t TCP_SENDFILE -P 0 -F /nosuch", sender)
    assert (said.code, said.out, said.err, sender.specs) == (
        1, "", "alloc_sendfile_buf_ring: Could not open requested file: No such file or "
               "directory\n", [])
    assert netperf("-H 127.0.0.1 -t TCP_RR -P 0 -F /a\0b", sender).code == 1
    # Who only receives opens none.
    assert netperf("-H 127.0.0.1 -t TCP_MAERTS -F /nosuch", sender).code == 0


def test_a_file_for_sendfile_holds_a_ring_of_blocks(netperf, records, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3000)
    line = f"-H 127.0.0.1 -t TCP_SENDFILE -P 0 -F {path} -- -m 1000 -W"
    sender = records.FakeSender()
    said = netperf(f"{line} 4", sender)
    assert (said.code, said.out, sender.specs) == (1, "", [])
    assert said.err == ("alloc_sendfile_buf_ring: specified file too small.\n"
                        "file must be larger than send_width * send_size\n"
                        "netperf: here that is 4000 bytes\n")
    assert netperf(f"{line} 3", sender).code == 0
    path.write_bytes(b"x" * 300)
    assert netperf(f"-H 127.0.0.1 -t TCP_SENDFILE -F {path} -- -s 4K", sender).code == 1
    assert netperf(f"-H 127.0.0.1 -t TCP_STREAM -F {path} -- -s 4K", sender).code == 0


def test_masks_give_each_iteration_an_address(netperf, records):
    sender = records.FakeSender()
    netperf("-H 127.0.0.1 -t TCP_RR -i 5,5 -- -H 127.0.0.0/8", sender)
    hosts = [spec.data_host for spec in sender.specs]
    assert len(hosts) == 5 and len(set(hosts)) > 1
    assert all(host.startswith("127.") for host in hosts)
    said = netperf("-H 127.0.0.1 -t TCP_RR -- -H 127.0.0.0/33")
    assert said.code == 255 and said.out.startswith(TITLE)
    assert said.out.endswith("\nMask length must be between 0 and 32 inclusive for AF_INET\n")


def test_the_older_tests_count_iterations_their_own_way(netperf, records):
    for test, count in (("TCP_CC", 1), ("TCP_SENDFILE", 4), ("TCP_STREAM", 5)):
        runs = [records.run(transactions=number)
                for number in (1000, 2000, 4000, 9000, 100)]
        sender = records.FakeSender(*runs)
        netperf(f"-H 127.0.0.1 -t {test} -i 5,3 -I 99,0.001", sender)
        assert len(sender.specs) == count, test


def test_without_control_connection_nothing_is_said_of_one(netperf, records):
    sender = records.FakeSender(ConnectionLost("10 requests in a row were lost"))
    said = netperf("-H 127.0.0.1 -t UDP_RR -N -P 0", sender)
    assert (said.code, said.err) == (1, "netperf: 10 requests in a row were lost\n")


@pytest.mark.parametrize(("test", "who"), [
    ("TCP_CC", "data socket connect failed"), ("TCP_MSS", "send_tcp_mss: data socket connect"),
    ("TCP_SENDFILE", "send_tcp_stream: data socket connect failed")])
def test_a_data_connection_of_an_older_test_that_fails(netperf, records, test, who):
    class Failing(records.FakeSender):
        def mss(self, spec):
            raise OSError(111, "the data connection to somewhere failed: Connection refused")

        def run(self, spec, *, on_start=None, on_interim=None, conditions=True):
            self.mss(spec)

    said = netperf(f"-H 127.0.0.1 -t {test} -P 0", Failing())
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"netperf: {who}") and said.err.endswith(
        ": Connection refused\n")


def test_an_older_test_that_is_refused_ends_with_1(netperf, records):
    sender = records.FakeSender(PeerRefused("the peer refused", 13))
    assert netperf("-H 127.0.0.1 -t TCP_CC -P 0", sender).code == 1


def test_datagrams_that_are_too_long(netperf, records):
    sender = records.FakeSender()
    said = netperf("-H 127.0.0.1 -t UDP_RR -P 0 -- -r 65508", sender)
    assert (said.code, said.out, said.err, sender.specs) == (
        1, "send_data: data send error: Message too long (errno 90)\n",
        "netperf: send_omni: send_data failed: Message too long\n", [])
    stream = netperf("-H 127.0.0.1 -t UDP_STREAM -P 0 -- -m 65508", sender)
    assert (stream.code, stream.out, sender.specs) == (1, said.out, [])
    only_response = netperf("-H 127.0.0.1 -t UDP_RR -P 0 -- -r 1,65508", sender)
    assert (only_response.code, only_response.out) == (1, "")
    assert "response size" in only_response.err


@pytest.mark.parametrize("sizes", ["0", "1,0", "-5", "3g", "x"])
def test_sizes_that_would_hang(netperf, sizes):
    said = netperf(f"{RR} -- -r {sizes}", AssertionError("nothing is to be connected to"))
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("netperf: ") and said.err.count("\n") == 1


def test_unknown_selectors_are_named_before_the_test(netperf, records):
    said = netperf(f"{RR} -P 0 -- -k THROUGHPUT,P99_LATENCIE")
    assert (said.code, said.out) == (0, "THROUGHPUT=72016.00\n")
    assert said.err == ("netperf: there is no output selector P99_LATENCIE "
                        "(did you mean P99_LATENCY?)\n")
    sender = records.FakeSender()
    assert netperf(f"{RR} -- -o bogus,THROUGHPUT", sender).code == 1
    assert not sender.specs


def test_messages_too_large_for_this_machine(netperf, records):
    said = netperf(f"{RR} -P 0 -- -r 1g", records.FakeSender(MemoryError()))
    assert said.code == 255 and "memory" in said.err


def test_a_name_server_that_is_down(netperf, monkeypatch):
    def getaddrinfo(*args):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(lean.socket, "getaddrinfo", getaddrinfo)
    said = netperf("-H somewhere -t TCP_RR")
    assert said.code == 255
    assert "getaddrinfo returned -3 Temporary failure in name resolution" in said.out


@pytest.mark.parametrize(("flags", "shown"), [
    ("", ["-1.00", "-1.00"]), ("-c", ["50.00", "-1.00"]), ("-c -C", ["50.00", "50.00"])])
def test_utilisation_that_nobody_asked_for_is_not_printed(netperf, records, flags, shown):
    """A sender always measures, and a xenrr target is always asked; netperf shows neither."""
    sender = records.FakeSender(records.run(local_cpu=records.busy, remote_cpu=records.busy))
    said = netperf(f"{RR} {flags} -- -o LOCAL_CPU_UTIL,REMOTE_CPU_UTIL", sender)
    assert said.out.splitlines()[-1].split(",") == shown


def test_tcp_info_goes_to_stderr_when_the_environment_asks(netperf, records, monkeypatch):
    sender = records.FakeSender(records.run(tcp_info={"tcpi_rto": 204000}))
    assert netperf(f"{RR} -P 0 -v 0", sender).err == ""
    monkeypatch.setenv("DUMP_TCP_INFO", "1")
    assert netperf(f"{RR} -P 0 -v 0", sender).err.startswith("tcpi_rto 204000 tcpi_ato 0 ")
    assert netperf(f"{RR} -P 0 -v 0").err == ""


@pytest.mark.parametrize(("line", "wanted"), [
    ("-t TCP_RR", False), ("-t TCP_RR -v 2", False), ("-t TCP_RR -- -o all", False),
    ("-t TCP_RR -c", True), ("-t TCP_RR -C", True), ("-t TCP_RR --json", True)])
def test_conditions_are_read_where_they_are_told(records, netperf, line, wanted):
    sender = records.FakeSender()
    netperf(f"-H 127.0.0.1 {line}", sender)
    assert sender.conditions == [wanted]
