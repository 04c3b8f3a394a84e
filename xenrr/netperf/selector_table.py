"""Every output selector: its name, its titles, its format, and where its value comes from.

The order is that of ``all``. Titles stand in up to four lines, cut here at the bars; joined
by blanks they are the column name of CSV output. A value is a constant or taken from an
``Outcome``; constants are what netperf prints where it has nothing: much of it has been
"Deprecated" since 2.7.0, and dirty counts need a build that Debian's is not.

Source: netperf 2.7.0's own lists (``-k ?`` and ``-O`` of each name), 174 of them; the formats
of src/nettest_omni.c.
"""

from __future__ import annotations

from collections.abc import Callable

from xenrr.lean import Union
from xenrr.netperf.outcome import Outcome
from xenrr.netperf.output_units import (
    byte_rate_in,
    counts_transactions,
    datagrams_sent,
    sd_unit,
    unit_name,
)
from xenrr.results.record import SocketFacts

__all__ = ["EXTRA", "LAST_OF_BLOCK", "NETPERF", "Value"]

Plain = Union[str, int, float, None]
Value = Union[Plain, Callable[[Outcome], Plain]]

GONE = "Deprecated"
NO_ID = 0xFFFFFFFE
DIRECTIONS = {"rr": "Send|Recv", "send": "Send", "receive": "Receive",
              "none": "Connection"}


def _asked(end: str, name: str) -> Value:
    """What was asked of one end."""
    if end == "local":
        return lambda o: getattr(o.run.spec.local, name)
    return lambda o: getattr(o.remote_asked, name)


def _of(outcome: Outcome, end: str) -> SocketFacts:
    """How the socket of one end was really set up."""
    return outcome.run.local if end == "local" else outcome.remote


def _fact(end: str, name: str) -> Value:
    return lambda o: getattr(_of(o, end), name)


def _congestion(end: str) -> Value:
    """Nothing in tests of connections: netperf has none left to ask."""
    return lambda o: "" if o.run.spec.connecting else _of(o, end).congestion


def _flag(end: str, name: str) -> Value:
    return lambda o: int(getattr(_of(o, end), name))


def _cpu(end: str, name: str, unmeasured: float) -> Value:
    """CPU utilisation of one end in the last iteration."""

    def value(outcome: Outcome) -> float:
        usage = getattr(outcome.run, f"{end}_cpu")
        return unmeasured if usage is None else getattr(usage, name)

    return value


def _peak(end: str, name: str) -> Value:
    """The busiest CPU; a target that did not look says 0, one that was not asked nothing."""

    def value(outcome: Outcome) -> float:
        told = end == "remote" and not outcome.run.spec.no_control
        usage = getattr(outcome.run, f"{end}_cpu")
        return getattr(usage, name) if usage is not None else 0 if told else -1

    return value


def _call_size(end: str, kind: str) -> Value:
    """Bytes per call of one end.

    In tests with transactions netperf shows nothing of its own and the messages of the
    target; one way, the end that does not send or receive shows what it would have asked.
    """

    def value(outcome: Outcome) -> int:
        run = outcome.run
        spec = run.spec
        if counts_transactions(spec):
            if end == "local":
                return 0
            if spec.no_control:
                return -1
            return _message(outcome, "response" if kind == "send" else "request")
        near = (spec.direction == "send") == (kind == "send")
        size: int = getattr(_of(outcome, end), f"{kind}_bytes")
        return size if near or end == "remote" else max(size, 0)

    return value


def _message(outcome: Outcome, kind: str) -> int:
    """Size of a request or response, -1 where there is none."""
    spec = outcome.run.spec
    if spec.direction == "rr" or spec.test == "TCP_CC":
        return spec.request_bytes if kind == "request" else spec.response_bytes
    return -1


def _width_of_ring(end: str, kind: str) -> Value:
    def value(outcome: Outcome) -> int:
        width: int = getattr(_of(outcome, end), f"{kind}_width")
        if width >= 0:
            return width
        asked: int = getattr(getattr(outcome.run.spec, end), f"{kind}_width")
        return max(asked, 1) if outcome.run.spec.direction == "rr" else asked

    return value


def _confidence(outcome: Outcome, share: float | None) -> float:
    """A confidence width in %, -1 where confidence was not asked for."""
    return -1.0 if outcome.widths is None or share is None else 100 * share


def _rate_of(outcome: Outcome, count: int) -> float:
    elapsed_s = outcome.run.elapsed_s
    return byte_rate_in(outcome.unit, max(count, 0) / elapsed_s) if elapsed_s else 0.0


def _per_call(count: int, calls: int) -> float:
    return count / calls if calls > 0 else 0.0


def _told(name: str) -> Value:
    """A count of the target, 0 where it does not tell."""
    return lambda o: max(getattr(o.run.target_tally, name), 0)


def _told_bytes(outcome: Outcome) -> int:
    tally = outcome.run.target_tally
    if outcome.run.spec.no_control:
        return outcome.run.bytes_sent
    return max(tally.bytes_sent, 0) + max(tally.bytes_received, 0)


def _send_calls(outcome: Outcome) -> int:
    run = outcome.run
    return datagrams_sent(run) if run.spec.is_datagram and run.spec.is_one_way else (
        run.send_calls)


def _direction(outcome: Outcome) -> str:
    spec = outcome.run.spec
    if spec.direction == "rr" and spec.connecting:
        return "Connect|Send|Recv"
    return DIRECTIONS[spec.direction]


def _round_trip_us(outcome: Outcome) -> float:
    """netperf's round-trip latency; -1 where nothing goes round."""
    run = outcome.run
    return run.latency_from_rate_us if counts_transactions(run.spec) else -1.0


def _destination_family(outcome: Outcome) -> int:
    """That of the control connection; without one, what was asked for."""
    typed = outcome.options
    if outcome.run.spec.no_control and not (typed.data_family or typed.host_family):
        return 0
    return int(outcome.ends.family)


def _bits(value: int) -> int:
    """A C int as the %x of C shows it."""
    return value & 0xFFFFFFFF


def _new_uuid() -> str:
    from uuid import uuid1  # rarely asked for, and slow to import

    return str(uuid1())


# fmt: off
NETPERF: tuple[tuple[str, str, str, Value], ...] = (
    ("OUTPUT_NONE", "", "%s", " "),
    ("SOCKET_TYPE", "Socket|Type", "%s",
     lambda o: "Datagram" if o.run.spec.is_datagram else "Stream"),
    ("PROTOCOL", "Protocol", "%s", lambda o: o.run.spec.protocol.upper()),
    ("DIRECTION", "Direction", "%s", _direction),
    ("ELAPSED_TIME", "Elapsed|Time|(sec)", "%.2f", lambda o: o.elapsed_s),
    ("THROUGHPUT", "Throughput", "%.2f", lambda o: o.rate),
    ("THROUGHPUT_UNITS", "Throughput|Units", "%s/s", lambda o: unit_name(o.unit)),
    ("LSS_SIZE_REQ", "Local|Send Socket|Size|Requested", "%d",
     _asked("local", "send_buffer")),
    ("LSS_SIZE", "Local|Send Socket|Size|Initial", "%d", _fact("local", "send_buffer")),
    ("LSS_SIZE_END", "Local|Send Socket|Size|Final", "%d", _fact("local", "send_buffer_end")),
    ("LSR_SIZE_REQ", "Local|Recv Socket|Size|Requested", "%d",
     _asked("local", "receive_buffer")),
    ("LSR_SIZE", "Local|Recv Socket|Size|Initial", "%d", _fact("local", "receive_buffer")),
    ("LSR_SIZE_END", "Local|Recv Socket|Size|Final", "%d",
     _fact("local", "receive_buffer_end")),
    ("RSS_SIZE_REQ", "Remote|Send Socket|Size|Requested", "%d",
     _asked("remote", "send_buffer")),
    ("RSS_SIZE", "Remote|Send Socket|Size|Initial", "%d", _fact("remote", "send_buffer")),
    ("RSS_SIZE_END", "Remote|Send Socket|Size|Final", "%d",
     _fact("remote", "send_buffer_end")),
    ("RSR_SIZE_REQ", "Remote|Recv Socket|Size|Requested", "%d",
     _asked("remote", "receive_buffer")),
    ("RSR_SIZE", "Remote|Recv Socket|Size|Initial", "%d", _fact("remote", "receive_buffer")),
    ("RSR_SIZE_END", "Remote|Recv Socket|Size|Final", "%d",
     _fact("remote", "receive_buffer_end")),
    ("LOCAL_SEND_SIZE", "Local|Send|Size", "%d", _call_size("local", "send")),
    ("LOCAL_RECV_SIZE", "Local|Recv|Size", "%d", _call_size("local", "receive")),
    ("REMOTE_SEND_SIZE", "Remote|Send|Size", "%d", _call_size("remote", "send")),
    ("REMOTE_RECV_SIZE", "Remote|Recv|Size", "%d", _call_size("remote", "receive")),
    ("REQUEST_SIZE", "Request|Size|Bytes", "%d", lambda o: _message(o, "request")),
    ("RESPONSE_SIZE", "Response|Size|Bytes", "%d", lambda o: _message(o, "response")),
    ("LOCAL_CPU_UTIL", "Local|CPU|Util|%", "%.2f", lambda o: o.local_cpu_percent),
    ("LOCAL_CPU_PERCENT_USER", "Local|CPU|User|%", "%.2f", _cpu("local", "user", 0.0)),
    ("LOCAL_CPU_PERCENT_SYSTEM", "Local|CPU|System|%", "%.2f", _cpu("local", "system", 0.0)),
    ("LOCAL_CPU_PERCENT_IOWAIT", "Local|CPU|I/O|%", "%.2f", _cpu("local", "iowait", 0.0)),
    ("LOCAL_CPU_PERCENT_IRQ", "Local|CPU|IRQ|%", "%.2f", _cpu("local", "irq", 0.0)),
    ("LOCAL_CPU_PERCENT_SWINTR", "Local|CPU|swintr|%", "%.2f", _cpu("local", "softirq", 0.0)),
    ("LOCAL_CPU_METHOD", "Local|CPU|Util|Method", "%s", lambda o: o.local_method),
    ("LOCAL_SD", "Local|Service|Demand", "%.3f", lambda o: o.local_demand),
    ("REMOTE_CPU_UTIL", "Remote|CPU|Util|%", "%.2f", lambda o: o.remote_cpu_percent),
    ("REMOTE_CPU_PERCENT_USER", "Remote|CPU|User|%", "%.2f", _cpu("remote", "user", 0.0)),
    ("REMOTE_CPU_PERCENT_SYSTEM", "Remote|CPU|System|%", "%.2f",
     _cpu("remote", "system", 0.0)),
    ("REMOTE_CPU_PERCENT_IOWAIT", "Remote|CPU|I/O|%", "%.2f", _cpu("remote", "iowait", 0.0)),
    ("REMOTE_CPU_PERCENT_IRQ", "Remote|CPU|IRQ|%", "%.2f", _cpu("remote", "irq", 0.0)),
    ("REMOTE_CPU_PERCENT_SWINTR", "Remote|CPU|swintr|%", "%.2f",
     _cpu("remote", "softirq", 0.0)),
    ("REMOTE_CPU_METHOD", "Remote|CPU|Util|Method", "%s", lambda o: o.remote_method),
    ("REMOTE_SD", "Remote|Service|Demand", "%.3f", lambda o: o.remote_demand),
    ("SD_UNITS", "Service|Demand|Units", "%s", lambda o: sd_unit(o.unit)),
    ("CONFIDENCE_LEVEL", "Confidence|Level|Percent", "%d",
     lambda o: o.options.confidence_level),
    ("CONFIDENCE_INTERVAL", "Confidence|Width|Target", "%f",
     lambda o: 100 * o.options.confidence_width if o.options.max_iterations > 1 else -1.0),
    ("CONFIDENCE_ITERATION", "Confidence|Iterations|Run", "%d", lambda o: len(o.runs)),
    ("THROUGHPUT_CONFID", "Throughput|Confidence|Width (%)", "%.3f",
     lambda o: _confidence(o, o.widths and o.widths.rate)),
    ("LOCAL_CPU_CONFID", "Local|CPU|Confidence|Width (%)", "%.3f",
     lambda o: _confidence(o, o.widths and o.widths.local_cpu)),
    ("REMOTE_CPU_CONFID", "Remote|CPU|Confidence|Width (%)", "%.3f",
     lambda o: _confidence(o, o.widths and o.widths.remote_cpu)),
    ("TRANSACTION_RATE", "Transaction|Rate|Tran/s", "%.3f",
     lambda o: o.run.rate_tps if counts_transactions(o.run.spec) else 1.0),
    ("RT_LATENCY", "Round|Trip|Latency|usec/tran", "%.3f", _round_trip_us),
    ("BURST_SIZE", "Initial|Burst|Requests", "%d", lambda o: o.run.spec.burst),
    ("LOCAL_TRANSPORT_RETRANS", "Local|Transport|Retransmissions", "%d",
     _fact("local", "retransmissions")),
    ("REMOTE_TRANSPORT_RETRANS", "Remote|Transport|Retransmissions", "%d",
     _fact("remote", "retransmissions")),
    ("TRANSPORT_MSS", "Transport|MSS|bytes", "%d", _fact("local", "mss")),
    ("LOCAL_SEND_THROUGHPUT", "Local|Send|Throughput", "%.2f",
     lambda o: _rate_of(o, o.run.bytes_sent)),
    ("LOCAL_RECV_THROUGHPUT", "Local|Recv|Throughput", "%.2f",
     lambda o: _rate_of(o, o.run.bytes_received)),
    ("REMOTE_SEND_THROUGHPUT", "Remote|Send|Throughput", "%.2f",
     lambda o: _rate_of(o, o.run.target_tally.bytes_sent)),
    ("REMOTE_RECV_THROUGHPUT", "Remote|Recv|Throughput", "%.2f",
     lambda o: _rate_of(o, o.run.target_tally.bytes_received)),
    ("LOCAL_CPU_BIND", "Local|CPU|Bind", "%d", _asked("local", "cpu")),
    ("LOCAL_CPU_COUNT", "Local|CPU|Count", "%d", _cpu("local", "cpus", 0)),
    ("LOCAL_CPU_PEAK_UTIL", "Local|Peak|Per CPU|Util %", "%.2f",
     _peak("local", "peak_percent")),
    ("LOCAL_CPU_PEAK_ID", "Local|Peak|Per CPU|ID", "%d", _peak("local", "peak_cpu")),
    ("LOCAL_CPU_MODEL", "Local|CPU|Model", "%s", GONE),
    ("LOCAL_CPU_FREQUENCY", "Local|CPU|Frequency|MHz", "%d", 0),
    ("REMOTE_CPU_BIND", "Remote|CPU|Bind", "%d", _asked("remote", "cpu")),
    ("REMOTE_CPU_COUNT", "Remote|CPU|Count", "%d", _cpu("remote", "cpus", 0)),
    ("REMOTE_CPU_PEAK_UTIL", "Remote|Peak|Per CPU|Util %", "%.2f",
     _peak("remote", "peak_percent")),
    ("REMOTE_CPU_PEAK_ID", "Remote|Peak|Per CPU|ID", "%d", _peak("remote", "peak_cpu")),
    ("REMOTE_CPU_MODEL", "Remote|CPU|Model", "%s", GONE),
    ("REMOTE_CPU_FREQUENCY", "Remote|CPU|Frequency|MHz", "%d", 0),
    ("SOURCE_PORT", "Source|Port", "%s", lambda o: o.ends.local_port_text),
    ("SOURCE_ADDR", "Source|Address", "%s", lambda o: o.ends.local_host),
    ("SOURCE_FAMILY", "Source|Family", "%d", lambda o: int(o.ends.asked_local_family)),
    ("DEST_PORT", "Destination|Port", "%s", lambda o: o.ends.remote_port_text),
    ("DEST_ADDR", "Destination|Address", "%s", lambda o: o.ends.remote_host),
    ("DEST_FAMILY", "Destination|Family", "%d", _destination_family),
    ("LOCAL_SEND_CALLS", "Local|Send|Calls", "%d", _send_calls),
    ("LOCAL_RECV_CALLS", "Local|Recv|Calls", "%d", lambda o: o.run.recv_calls),
    ("LOCAL_BYTES_PER_RECV", "Local|Bytes|Per|Recv", "%.2f",
     lambda o: _per_call(o.run.bytes_received, o.run.recv_calls)),
    ("LOCAL_BYTES_PER_SEND", "Local|Bytes|Per|Send", "%.2f",
     lambda o: _per_call(o.run.bytes_sent, _send_calls(o))),
    ("LOCAL_BYTES_SENT", "Local|Bytes|Sent", "%d", lambda o: o.run.bytes_sent),
    ("LOCAL_BYTES_RECVD", "Local|Bytes|Received", "%d", lambda o: o.run.bytes_received),
    ("LOCAL_BYTES_XFERD", "Local|Bytes|Xferred", "%.0f",
     lambda o: o.run.bytes_sent + o.run.bytes_received),
    ("LOCAL_SEND_OFFSET", "Local|Send|Offset", "%d", _asked("local", "send_offset")),
    ("LOCAL_RECV_OFFSET", "Local|Recv|Offset", "%d", _asked("local", "receive_offset")),
    ("LOCAL_SEND_ALIGN", "Local|Send|Alignment", "%d", _asked("local", "send_alignment")),
    ("LOCAL_RECV_ALIGN", "Local|Recv|Alignment", "%d", _asked("local", "receive_alignment")),
    ("LOCAL_SEND_WIDTH", "Local|Send|Width", "%d", _width_of_ring("local", "send")),
    ("LOCAL_RECV_WIDTH", "Local|Recv|Width", "%d", _width_of_ring("local", "receive")),
    ("LOCAL_SEND_DIRTY_COUNT", "Local|Send|Dirty|Count", "%d", -1),
    ("LOCAL_RECV_DIRTY_COUNT", "Local|Recv|Dirty|Count", "%d", -1),
    ("LOCAL_RECV_CLEAN_COUNT", "Local|Recv|Clean|Count", "%d", -1),
    ("LOCAL_NODELAY", "Local|NODELAY", "%d", _flag("local", "nodelay")),
    ("LOCAL_CORK", "Local|Cork", "%d", _flag("local", "cork")),
    ("REMOTE_SEND_CALLS", "Remote|Send|Calls", "%d", _told("send_calls")),
    ("REMOTE_RECV_CALLS", "Remote|Recv|Calls", "%d", _told("recv_calls")),
    ("REMOTE_BYTES_PER_RECV", "Remote|Bytes|Per|Recv", "%.2f",
     lambda o: _per_call(o.run.target_tally.bytes_received, o.run.target_tally.recv_calls)),
    ("REMOTE_BYTES_PER_SEND", "Remote|Bytes|Per|Send", "%.2f",
     lambda o: _per_call(o.run.target_tally.bytes_sent, o.run.target_tally.send_calls)),
    ("REMOTE_BYTES_SENT", "Remote|Bytes|Sent", "%d", _told("bytes_sent")),
    ("REMOTE_BYTES_RECVD", "Remote|Bytes|Received", "%d", _told("bytes_received")),
    ("REMOTE_BYTES_XFERD", "Remote|Bytes|Xferred", "%.0f", _told_bytes),
    ("REMOTE_SEND_OFFSET", "Remote|Send|Offset", "%d", _asked("remote", "send_offset")),
    ("REMOTE_RECV_OFFSET", "Remote|Recv|Offset", "%d", _asked("remote", "receive_offset")),
    ("REMOTE_SEND_ALIGN", "Remote|Send|Alignment", "%d", _asked("remote", "send_alignment")),
    ("REMOTE_RECV_ALIGN", "Remote|Recv|Alignment", "%d",
     _asked("remote", "receive_alignment")),
    ("REMOTE_SEND_WIDTH", "Remote|Send|Width", "%d", _width_of_ring("remote", "send")),
    ("REMOTE_RECV_WIDTH", "Remote|Recv|Width", "%d", _width_of_ring("remote", "receive")),
    ("REMOTE_SEND_DIRTY_COUNT", "Remote|Send|Dirty|Count", "%d", -1),
    ("REMOTE_RECV_DIRTY_COUNT", "Remote|Recv|Dirty|Count", "%d", -1),
    ("REMOTE_RECV_CLEAN_COUNT", "Remote|Recv|Clean|Count", "%d", -1),
    ("REMOTE_NODELAY", "Remote|NODELAY", "%d",
     lambda o: -1 if o.run.spec.no_control else int(o.remote.nodelay)),
    # No request carries it: netperf shows what was typed.
    ("REMOTE_CORK", "Remote|Cork", "%d", lambda o: int(o.run.spec.cork)),
    ("LOCAL_SYSNAME", "Local|Sysname", "%s", GONE),
    ("LOCAL_SYSTEM_MODEL", "Local|System|Model", "%s", GONE),
    ("LOCAL_RELEASE", "Local|Release", "%s", GONE),
    ("LOCAL_VERSION", "Local|Version", "%s", GONE),
    ("LOCAL_MACHINE", "Local|Machine", "%s", GONE),
    ("REMOTE_SYSNAME", "Remote|Sysname", "%s", GONE),
    ("REMOTE_SYSTEM_MODEL", "Remote|System|Model", "%s", GONE),
    ("REMOTE_RELEASE", "Remote|Release", "%s", GONE),
    ("REMOTE_VERSION", "Remote|Version", "%s", GONE),
    ("REMOTE_MACHINE", "Remote|Machine", "%s", GONE),
    ("LOCAL_INTERFACE_NAME", "Local|Interface|Name", "%s", GONE),
    ("LOCAL_INTERFACE_VENDOR", "Local|Interface|Vendor", "0x%.4x", NO_ID),
    ("LOCAL_INTERFACE_DEVICE", "Local|Interface|Device", "0x%.4x", NO_ID),
    ("LOCAL_INTERFACE_SUBVENDOR", "Local|Interface|Subvendor", "0x%.4x", NO_ID),
    ("LOCAL_INTERFACE_SUBDEVICE", "Local|Interface|Subdevice", "0x%.4x", NO_ID),
    ("LOCAL_DRIVER_NAME", "Local|Driver|Name", "%s", GONE),
    ("LOCAL_DRIVER_VERSION", "Local|Driver|Version", "%s", GONE),
    ("LOCAL_DRIVER_FIRMWARE", "Local|Driver|Firmware", "%s", GONE),
    ("LOCAL_DRIVER_BUS", "Local|Driver|Bus", "%s", GONE),
    ("LOCAL_INTERFACE_SLOT", "Local|Interface|Slot", "%s", GONE),
    ("REMOTE_INTERFACE_NAME", "Remote|Interface|Name", "%s", GONE),
    ("REMOTE_INTERFACE_VENDOR", "Remote|Interface|Vendor", "0x%.4x", NO_ID),
    ("REMOTE_INTERFACE_DEVICE", "Remote|Interface|Device", "0x%.4x", NO_ID),
    ("REMOTE_INTERFACE_SUBVENDOR", "Remote|Interface|Subvendor", "0x%.4x", NO_ID),
    ("REMOTE_INTERFACE_SUBDEVICE", "Remote|Interface|Subdevice", "0x%.4x", NO_ID),
    ("REMOTE_DRIVER_NAME", "Remote|Driver|Name", "%s", GONE),
    ("REMOTE_DRIVER_VERSION", "Remote|Driver|Version", "%s", GONE),
    ("REMOTE_DRIVER_FIRMWARE", "Remote|Driver|Firmware", "%s", GONE),
    ("REMOTE_DRIVER_BUS", "Remote|Driver|Bus", "%s", GONE),
    ("REMOTE_INTERFACE_SLOT", "Remote|Interface|Slot", "%s", GONE),
    ("LOCAL_INTERVAL_USECS", "Local|Interval|Usecs", "%d", _asked("local", "pace_us")),
    ("LOCAL_INTERVAL_BURST", "Local|Interval|Burst", "%d", _asked("local", "pace_burst")),
    ("REMOTE_INTERVAL_USECS", "Remote|Interval|Usecs", "%d", _asked("remote", "pace_us")),
    ("REMOTE_INTERVAL_BURST", "Remote|Interval|Burst", "%d", _asked("remote", "pace_burst")),
    ("LOCAL_SECURITY_TYPE_ID", "Local|OS|Security|Type ID", "%d", 0),
    ("LOCAL_SECURITY_TYPE", "Local|OS|Security|Type", "%s", GONE),
    ("LOCAL_SECURITY_ENABLED_NUM", "Local|OS|Security|Enabled Num", "%d", 0),
    ("LOCAL_SECURITY_ENABLED", "Local|OS|Security|Enabled", "%s", GONE),
    ("LOCAL_SECURITY_SPECIFIC", "Local|OS|Security|Specific", "%s", GONE),
    ("REMOTE_SECURITY_TYPE_ID", "Remote|OS|Security|Type", "%d", 0),
    ("REMOTE_SECURITY_TYPE", "Remote|OS|Security|Type", "%s", GONE),
    ("REMOTE_SECURITY_ENABLED_NUM", "Remote|OS|Security|Enabled", "%d", 0),
    ("REMOTE_SECURITY_ENABLED", "Remote|OS|Security|Enabled", "%s", GONE),
    ("REMOTE_SECURITY_SPECIFIC", "Remote|OS|Security|Specific", "%s", GONE),
    ("RESULT_BRAND", "Result|Tag", '"%s"', lambda o: o.options.brand),
    ("UUID", "Test|UUID", "%s", lambda o: o.options.uuid or _new_uuid()),
    ("MIN_LATENCY", "Minimum|Latency|Microseconds", "%d",
     lambda o: o.latency_ns.min_ns // 1000),
    ("MAX_LATENCY", "Maximum|Latency|Microseconds", "%d",
     lambda o: o.latency_ns.max_ns // 1000),
    ("P50_LATENCY", "50th|Percentile|Latency|Microseconds", "%d",
     lambda o: o.latency_ns.percentile(50) // 1000),
    ("P90_LATENCY", "90th|Percentile|Latency|Microseconds", "%d",
     lambda o: o.latency_ns.percentile(90) // 1000),
    ("P99_LATENCY", "99th|Percentile|Latency|Microseconds", "%d",
     lambda o: o.latency_ns.percentile(99) // 1000),
    ("MEAN_LATENCY", "Mean|Latency|Microseconds", "%.2f", lambda o: o.latency_ns.mean() / 1000),
    ("STDDEV_LATENCY", "Stddev|Latency|Microseconds", "%.2f",
     lambda o: o.latency_ns.stddev() / 1000),
    ("LOCAL_SOCKET_PRIO", "Local|Socket|Priority", "%d", _fact("local", "priority")),
    ("REMOTE_SOCKET_PRIO", "Remote|Socket|Priority", "%d", _fact("remote", "priority")),
    ("LOCAL_SOCKET_TOS", "Local|Socket|TOS", "0x%.2x", lambda o: _bits(o.run.local.tos)),
    ("REMOTE_SOCKET_TOS", "Remote|Socket|TOS", "0x%.2x", lambda o: _bits(o.remote.tos)),
    ("LOCAL_CONG_CONTROL", "Local|Congestion|Control|Algorithm", "%s",
     _congestion("local")),
    ("REMOTE_CONG_CONTROL", "Remote|Congestion|Control|Algorithm", "%s",
     _congestion("remote")),
    ("LOCAL_FILL_FILE", "Local|Fill|File", "%s", _asked("local", "fill_file")),
    ("REMOTE_FILL_FILE", "Remote|Fill|File", "%s", _asked("remote", "fill_file")),
    ("COMMAND_LINE", "Command|Line", '"%s"', lambda o: o.options.command_line),
)
# fmt: on

# Names that end the first, second and third block of ``-O all``.
LAST_OF_BLOCK = ("RESPONSE_SIZE", "TRANSPORT_MSS", "REMOTE_CORK")

# Ours, beside netperf's; ``all`` leaves them out, so that it stays netperf's list.
EXTRA: tuple[tuple[str, str, str, Value], ...] = (
    ("P999_LATENCY", "99.9th|Percentile|Latency|Microseconds", "%.2f",
     lambda o: o.latency_ns.percentile(99.9) / 1000),
    ("P9999_LATENCY", "99.99th|Percentile|Latency|Microseconds", "%.2f",
     lambda o: o.latency_ns.percentile(99.99) / 1000),
    ("LOCAL_STEAL", "Local|CPU|Steal|%", "%.2f", _cpu("local", "steal", -1.0)),
    ("REMOTE_STEAL", "Remote|CPU|Steal|%", "%.2f", _cpu("remote", "steal", -1.0)),
    ("LOST_TRANSACTIONS", "Lost|Transactions", "%d", lambda o: o.run.lost),
)
