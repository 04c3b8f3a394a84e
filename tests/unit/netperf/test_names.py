"""What netperf says about names that lead nowhere; addresses only, so no name server."""

from __future__ import annotations

import socket

import pytest

from xenrr import lean
from xenrr.errors import SpecError
from xenrr.netperf.ending import Ending
from xenrr.netperf.names import ControlEnds, DataEnds, random_address
from xenrr.netperf.options import parse_client

NOT_FOUND = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
END = "establish_control could not establish the control connection from "


def ends(line):
    options = parse_client(line.split())
    return DataEnds(options, ControlEnds(options))


def ending(line):
    with pytest.raises(Ending) as caught:
        ends(line)
    assert caught.value.exit_code == 255 and not caught.value.err
    return caught.value.out


@pytest.mark.parametrize(("line", "sentence"), [
    ("-H 127.0.0.1", "0.0.0.0 port 0 address family AF_UNSPEC to 127.0.0.1 port 12865 address "
                     "family AF_INET\n"),
    ("-4 -H 127.0.0.1 -p 5", "0.0.0.0 port 0 address family AF_INET to 127.0.0.1 port 5 "
                             "address family AF_INET\n"),
    ("-H ::1", "::0 port 0 address family AF_UNSPEC to ::1 port 12865 address family "
               "AF_INET6\n"),
    ("-6", "::0 port 0 address family AF_INET6 to ::1 port 12865 address family AF_INET6\n"),
    ("", "0.0.0.0 port 0 address family AF_UNSPEC to localhost port 12865 address family "
         "AF_UNSPEC\n"),
    ("-H 127.0.0.1 -L 127.0.0.2,4 -p 5,2222", "127.0.0.2 port 2222 address family AF_INET to "
                                              "127.0.0.1 port 5 address family AF_INET\n"),
])
def test_how_a_control_connection_is_named(line, sentence):
    assert ControlEnds(parse_client(line.split())).sentence == END + sentence


def test_a_host_that_does_not_resolve(monkeypatch):
    def getaddrinfo(*args):
        raise NOT_FOUND

    monkeypatch.setattr(lean.socket, "getaddrinfo", getaddrinfo)
    assert ending("-H nosuch.invalid") == (
        "resolve_host: could not resolve host 'nosuch.invalid' port '(null)' af AF_UNSPEC\n"
        "\tgetaddrinfo returned -2 Name or service not known\n"
        "Netperf could not resolve nosuch.invalid as a host name\n")


def test_families_that_do_not_fit():
    assert ending("-4 -H ::1").splitlines()[0] == (
        "resolve_host: could not resolve host '::1' port '(null)' af AF_INET")
    assert ending("-H 127.0.0.1 -L 127.0.0.3,6").splitlines()[::2] == [
        "resolve_host: could not resolve host '127.0.0.3' port '0' af AF_INET6",
        f"{END}127.0.0.3 port 0 address family AF_INET6 to 127.0.0.1 port 12865 address family "
        "AF_INET"]
    assert ending("-H 127.0.0.1 -- -H ::1").splitlines()[0] == (
        "complete_addrinfo: could not resolve '::1' port '0' af 2")


def test_ports_that_are_none():
    assert ending("-H 127.0.0.1 -p nosvc").splitlines()[:2] == [
        "resolve_host: could not resolve host '127.0.0.1' port 'nosvc' af AF_INET",
        "\tgetaddrinfo returned -8 Servname not supported for ai_socktype"]
    assert ending("-H 127.0.0.1 -- -P nosvc").startswith(
        "complete_addrinfo: could not resolve '127.0.0.1' port 'nosvc' af 2\n")
    with pytest.raises(SpecError, match="70000"):
        ends("-H 127.0.0.1 -- -P 70000")


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "a\0b"])
def test_names_that_no_resolver_takes(host):
    with pytest.raises(Ending) as caught:
        ControlEnds(parse_client(["-H", host]))
    assert caught.value.exit_code == 255


def test_data_addresses():
    both = ends("-H ::1 -- -P 5,6")
    assert (both.local_host, both.remote_host, both.local_port, both.remote_port,
            both.local_port_text) == ("::0", "::1", 5, 6, "5")
    assert ends("-H 127.0.0.1 -- -4").asked_local_family == socket.AF_INET
    assert ends("-4 -H 127.0.0.1").asked_local_family == socket.AF_UNSPEC


def test_random_hosts():
    both = ends("-t TCP_RR -H 127.0.0.1 -- -H 127.1.0.0/16 -L 127.0.0.0/24")
    assert both.remote_host == "127.1.0.0"
    hosts = [both.random_hosts() for _ in range(8)]
    assert all(each["data_host"].startswith("127.1.") for each in hosts)
    assert all(each["data_local_host"].startswith("127.0.0.") for each in hosts)
    assert len({each["data_host"] for each in hosts}) > 1
    assert ends("-t TCP_RR -H 127.0.0.1").random_hosts() == {}


@pytest.mark.parametrize(("address", "family", "mask", "start"), [
    ("10.1.2.3", socket.AF_INET, 32, "10.1.2.3"), ("10.1.2.255", socket.AF_INET, 32, "10.1.2."),
    ("fe80::1", socket.AF_INET6, 128, "fe80::1"), ("fe80::1", socket.AF_INET6, 64, "fe80::")])
def test_random_addresses_keep_their_network(address, family, mask, start):
    assert random_address(address, family, mask).startswith(start)


def test_no_address_that_ends_in_255():
    assert not any(random_address("127.0.0.0", socket.AF_INET, 24).endswith(".255")
                   for _ in range(2000))


@pytest.mark.parametrize(("family", "address", "mask", "bits"), [
    (socket.AF_INET, "127.0.0.0", 33, 32), (socket.AF_INET, "127.0.0.0", -1, 32),
    (socket.AF_INET6, "::1", 129, 128)])
def test_masks_longer_than_the_address(family, address, mask, bits):
    with pytest.raises(Ending) as caught:
        random_address(address, family, mask)
    assert (caught.value.exit_code, caught.value.out) == (
        255, f"Mask length must be between 0 and {bits} inclusive for AF_INET\n")
