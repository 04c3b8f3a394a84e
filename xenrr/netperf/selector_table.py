"""Every output selector: its name, its titles, its format, and where its value comes from.

The order is that of ``all``. Titles stand in up to four lines, cut here at the bars; joined
by blanks they are the column name of CSV output. A value is a constant or taken from an
``Outcome``; constants are what netperf prints where it has nothing (much of it has been
"Deprecated" since 2.7.0) and where xenrr has nothing yet.

Source: netperf 2.7.0's own lists (``-k ?`` and ``-O`` of each name), 174 of them; the formats
of src/nettest_omni.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

from xenrr.netperf.outcome import Outcome
from xenrr.netperf.output_units import byte_rate_in, sd_unit, unit_name

__all__ = ["EXTRA", "LAST_OF_BLOCK", "NETPERF", "Value"]

Plain = Union[str, int, float, None]
Value = Union[Plain, Callable[[Outcome], Plain]]

GONE = "Deprecated"
UNSET = 0xFFFFFFFF
NO_ID = 0xFFFFFFFE


def _width(outcome: Outcome, width: float | None) -> float:
    """A confidence width in %, -1 where confidence was not asked for."""
    return -1.0 if outcome.width is None or width is None else 100 * width


def _byte_rate(outcome: Outcome, count: int) -> float:
    elapsed_s = outcome.run.elapsed_s
    return byte_rate_in(outcome.options.unit, count / elapsed_s) if elapsed_s else 0.0


def _per_call(count: int, calls: int) -> float:
    return count / calls if calls > 0 else 0.0


def _new_uuid() -> str:
    from uuid import uuid1  # rarely asked for, and slow to import

    return str(uuid1())


# fmt: off
NETPERF: tuple[tuple[str, str, str, Value], ...] = (
    ("OUTPUT_NONE", "", "%s", " "),
    ("SOCKET_TYPE", "Socket|Type", "%s",
     lambda o: "Datagram" if o.run.spec.is_datagram else "Stream"),
    ("PROTOCOL", "Protocol", "%s", lambda o: o.run.spec.test[:3]),
    ("DIRECTION", "Direction", "%s", "Send|Recv"),
    ("ELAPSED_TIME", "Elapsed|Time|(sec)", "%.2f", lambda o: o.elapsed_s),
    ("THROUGHPUT", "Throughput", "%.2f", lambda o: o.rate),
    ("THROUGHPUT_UNITS", "Throughput|Units", "%s/s", lambda o: unit_name(o.options.unit)),
    ("LSS_SIZE_REQ", "Local|Send Socket|Size|Requested", "%d",
     lambda o: o.run.spec.local.send_buffer),
    ("LSS_SIZE", "Local|Send Socket|Size|Initial", "%d", lambda o: o.run.local.send_buffer),
    ("LSS_SIZE_END", "Local|Send Socket|Size|Final", "%d",
     lambda o: o.run.local.send_buffer_end),
    ("LSR_SIZE_REQ", "Local|Recv Socket|Size|Requested", "%d",
     lambda o: o.run.spec.local.receive_buffer),
    ("LSR_SIZE", "Local|Recv Socket|Size|Initial", "%d", lambda o: o.run.local.receive_buffer),
    ("LSR_SIZE_END", "Local|Recv Socket|Size|Final", "%d",
     lambda o: o.run.local.receive_buffer_end),
    ("RSS_SIZE_REQ", "Remote|Send Socket|Size|Requested", "%d",
     lambda o: o.run.spec.remote.send_buffer),
    ("RSS_SIZE", "Remote|Send Socket|Size|Initial", "%d", lambda o: o.run.remote.send_buffer),
    ("RSS_SIZE_END", "Remote|Send Socket|Size|Final", "%d",
     lambda o: o.run.remote.send_buffer_end),
    ("RSR_SIZE_REQ", "Remote|Recv Socket|Size|Requested", "%d",
     lambda o: o.run.spec.remote.receive_buffer),
    ("RSR_SIZE", "Remote|Recv Socket|Size|Initial", "%d",
     lambda o: o.run.remote.receive_buffer),
    ("RSR_SIZE_END", "Remote|Recv Socket|Size|Final", "%d",
     lambda o: o.run.remote.receive_buffer_end),
    ("LOCAL_SEND_SIZE", "Local|Send|Size", "%d", 0),
    ("LOCAL_RECV_SIZE", "Local|Recv|Size", "%d", 0),
    ("REMOTE_SEND_SIZE", "Remote|Send|Size", "%d", lambda o: o.run.spec.response_bytes),
    ("REMOTE_RECV_SIZE", "Remote|Recv|Size", "%d", lambda o: o.run.spec.request_bytes),
    ("REQUEST_SIZE", "Request|Size|Bytes", "%d", lambda o: o.run.spec.request_bytes),
    ("RESPONSE_SIZE", "Response|Size|Bytes", "%d", lambda o: o.run.spec.response_bytes),
    ("LOCAL_CPU_UTIL", "Local|CPU|Util|%", "%.2f", -1.0),
    ("LOCAL_CPU_PERCENT_USER", "Local|CPU|User|%", "%.2f", 0.0),
    ("LOCAL_CPU_PERCENT_SYSTEM", "Local|CPU|System|%", "%.2f", 0.0),
    ("LOCAL_CPU_PERCENT_IOWAIT", "Local|CPU|I/O|%", "%.2f", 0.0),
    ("LOCAL_CPU_PERCENT_IRQ", "Local|CPU|IRQ|%", "%.2f", 0.0),
    ("LOCAL_CPU_PERCENT_SWINTR", "Local|CPU|swintr|%", "%.2f", 0.0),
    ("LOCAL_CPU_METHOD", "Local|CPU|Util|Method", "%s", "U"),
    ("LOCAL_SD", "Local|Service|Demand", "%.3f", -1.0),
    ("REMOTE_CPU_UTIL", "Remote|CPU|Util|%", "%.2f", -1.0),
    ("REMOTE_CPU_PERCENT_USER", "Remote|CPU|User|%", "%.2f", 0.0),
    ("REMOTE_CPU_PERCENT_SYSTEM", "Remote|CPU|System|%", "%.2f", 0.0),
    ("REMOTE_CPU_PERCENT_IOWAIT", "Remote|CPU|I/O|%", "%.2f", 0.0),
    ("REMOTE_CPU_PERCENT_IRQ", "Remote|CPU|IRQ|%", "%.2f", 0.0),
    ("REMOTE_CPU_PERCENT_SWINTR", "Remote|CPU|swintr|%", "%.2f", 0.0),
    ("REMOTE_CPU_METHOD", "Remote|CPU|Util|Method", "%s", "U"),
    ("REMOTE_SD", "Remote|Service|Demand", "%.3f", -1.0),
    ("SD_UNITS", "Service|Demand|Units", "%s", lambda o: sd_unit(o.options.unit)),
    ("CONFIDENCE_LEVEL", "Confidence|Level|Percent", "%d",
     lambda o: o.options.confidence_level),
    ("CONFIDENCE_INTERVAL", "Confidence|Width|Target", "%f",
     lambda o: _width(o, o.options.confidence_width)),
    ("CONFIDENCE_ITERATION", "Confidence|Iterations|Run", "%d", lambda o: len(o.runs)),
    ("THROUGHPUT_CONFID", "Throughput|Confidence|Width (%)", "%.3f",
     lambda o: _width(o, o.width)),
    ("LOCAL_CPU_CONFID", "Local|CPU|Confidence|Width (%)", "%.3f", lambda o: _width(o, 0.0)),
    ("REMOTE_CPU_CONFID", "Remote|CPU|Confidence|Width (%)", "%.3f", lambda o: _width(o, 0.0)),
    ("TRANSACTION_RATE", "Transaction|Rate|Tran/s", "%.3f", lambda o: o.run.rate_tps),
    ("RT_LATENCY", "Round|Trip|Latency|usec/tran", "%.3f",
     lambda o: o.run.latency_from_rate_us),
    ("BURST_SIZE", "Initial|Burst|Requests", "%d", lambda o: o.run.spec.burst),
    ("LOCAL_TRANSPORT_RETRANS", "Local|Transport|Retransmissions", "%d", -1),
    ("REMOTE_TRANSPORT_RETRANS", "Remote|Transport|Retransmissions", "%d", -1),
    ("TRANSPORT_MSS", "Transport|MSS|bytes", "%d", lambda o: o.run.local.mss),
    ("LOCAL_SEND_THROUGHPUT", "Local|Send|Throughput", "%.2f",
     lambda o: _byte_rate(o, o.run.bytes_sent)),
    ("LOCAL_RECV_THROUGHPUT", "Local|Recv|Throughput", "%.2f",
     lambda o: _byte_rate(o, o.run.bytes_received)),
    ("REMOTE_SEND_THROUGHPUT", "Remote|Send|Throughput", "%.2f",
     lambda o: _byte_rate(o, o.run.target_tally.bytes_sent)),
    ("REMOTE_RECV_THROUGHPUT", "Remote|Recv|Throughput", "%.2f",
     lambda o: _byte_rate(o, o.run.target_tally.bytes_received)),
    ("LOCAL_CPU_BIND", "Local|CPU|Bind", "%d", -1),
    ("LOCAL_CPU_COUNT", "Local|CPU|Count", "%d", 0),
    ("LOCAL_CPU_PEAK_UTIL", "Local|Peak|Per CPU|Util %", "%.2f", -1.0),
    ("LOCAL_CPU_PEAK_ID", "Local|Peak|Per CPU|ID", "%d", -1),
    ("LOCAL_CPU_MODEL", "Local|CPU|Model", "%s", GONE),
    ("LOCAL_CPU_FREQUENCY", "Local|CPU|Frequency|MHz", "%d", 0),
    ("REMOTE_CPU_BIND", "Remote|CPU|Bind", "%d", -1),
    ("REMOTE_CPU_COUNT", "Remote|CPU|Count", "%d", 0),
    ("REMOTE_CPU_PEAK_UTIL", "Remote|Peak|Per CPU|Util %", "%.2f", 0.0),
    ("REMOTE_CPU_PEAK_ID", "Remote|Peak|Per CPU|ID", "%d", 0),
    ("REMOTE_CPU_MODEL", "Remote|CPU|Model", "%s", GONE),
    ("REMOTE_CPU_FREQUENCY", "Remote|CPU|Frequency|MHz", "%d", 0),
    ("SOURCE_PORT", "Source|Port", "%s", lambda o: o.ends.local_port_text),
    ("SOURCE_ADDR", "Source|Address", "%s", lambda o: o.ends.local_host),
    ("SOURCE_FAMILY", "Source|Family", "%d", lambda o: int(o.ends.asked_local_family)),
    ("DEST_PORT", "Destination|Port", "%s", lambda o: o.ends.remote_port_text),
    ("DEST_ADDR", "Destination|Address", "%s", lambda o: o.ends.remote_host),
    ("DEST_FAMILY", "Destination|Family", "%d", lambda o: int(o.ends.family)),
    ("LOCAL_SEND_CALLS", "Local|Send|Calls", "%d", lambda o: o.run.send_calls),
    ("LOCAL_RECV_CALLS", "Local|Recv|Calls", "%d", lambda o: o.run.recv_calls),
    ("LOCAL_BYTES_PER_RECV", "Local|Bytes|Per|Recv", "%.2f",
     lambda o: _per_call(o.run.bytes_received, o.run.recv_calls)),
    ("LOCAL_BYTES_PER_SEND", "Local|Bytes|Per|Send", "%.2f",
     lambda o: _per_call(o.run.bytes_sent, o.run.send_calls)),
    ("LOCAL_BYTES_SENT", "Local|Bytes|Sent", "%d", lambda o: o.run.bytes_sent),
    ("LOCAL_BYTES_RECVD", "Local|Bytes|Received", "%d", lambda o: o.run.bytes_received),
    ("LOCAL_BYTES_XFERD", "Local|Bytes|Xferred", "%.0f",
     lambda o: o.run.bytes_sent + o.run.bytes_received),
    ("LOCAL_SEND_OFFSET", "Local|Send|Offset", "%d", 0),
    ("LOCAL_RECV_OFFSET", "Local|Recv|Offset", "%d", 0),
    ("LOCAL_SEND_ALIGN", "Local|Send|Alignment", "%d", 8),
    ("LOCAL_RECV_ALIGN", "Local|Recv|Alignment", "%d", 8),
    ("LOCAL_SEND_WIDTH", "Local|Send|Width", "%d", 1),
    ("LOCAL_RECV_WIDTH", "Local|Recv|Width", "%d", 1),
    ("LOCAL_SEND_DIRTY_COUNT", "Local|Send|Dirty|Count", "%d", -1),
    ("LOCAL_RECV_DIRTY_COUNT", "Local|Recv|Dirty|Count", "%d", -1),
    ("LOCAL_RECV_CLEAN_COUNT", "Local|Recv|Clean|Count", "%d", -1),
    ("LOCAL_NODELAY", "Local|NODELAY", "%d", lambda o: int(o.run.local.nodelay)),
    ("LOCAL_CORK", "Local|Cork", "%d", 0),
    ("REMOTE_SEND_CALLS", "Remote|Send|Calls", "%d", lambda o: o.run.target_tally.send_calls),
    ("REMOTE_RECV_CALLS", "Remote|Recv|Calls", "%d", lambda o: o.run.target_tally.recv_calls),
    ("REMOTE_BYTES_PER_RECV", "Remote|Bytes|Per|Recv", "%.2f",
     lambda o: _per_call(o.run.target_tally.bytes_received, o.run.target_tally.recv_calls)),
    ("REMOTE_BYTES_PER_SEND", "Remote|Bytes|Per|Send", "%.2f",
     lambda o: _per_call(o.run.target_tally.bytes_sent, o.run.target_tally.send_calls)),
    ("REMOTE_BYTES_SENT", "Remote|Bytes|Sent", "%d", lambda o: o.run.target_tally.bytes_sent),
    ("REMOTE_BYTES_RECVD", "Remote|Bytes|Received", "%d",
     lambda o: o.run.target_tally.bytes_received),
    ("REMOTE_BYTES_XFERD", "Remote|Bytes|Xferred", "%.0f",
     lambda o: o.run.target_tally.bytes_sent + o.run.target_tally.bytes_received),
    ("REMOTE_SEND_OFFSET", "Remote|Send|Offset", "%d", 0),
    ("REMOTE_RECV_OFFSET", "Remote|Recv|Offset", "%d", 0),
    ("REMOTE_SEND_ALIGN", "Remote|Send|Alignment", "%d", 8),
    ("REMOTE_RECV_ALIGN", "Remote|Recv|Alignment", "%d", 8),
    ("REMOTE_SEND_WIDTH", "Remote|Send|Width", "%d", 1),
    ("REMOTE_RECV_WIDTH", "Remote|Recv|Width", "%d", 1),
    ("REMOTE_SEND_DIRTY_COUNT", "Remote|Send|Dirty|Count", "%d", -1),
    ("REMOTE_RECV_DIRTY_COUNT", "Remote|Recv|Dirty|Count", "%d", -1),
    ("REMOTE_RECV_CLEAN_COUNT", "Remote|Recv|Clean|Count", "%d", -1),
    ("REMOTE_NODELAY", "Remote|NODELAY", "%d", lambda o: int(o.run.remote.nodelay)),
    ("REMOTE_CORK", "Remote|Cork", "%d", 0),
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
    ("LOCAL_INTERVAL_USECS", "Local|Interval|Usecs", "%d", 0),
    ("LOCAL_INTERVAL_BURST", "Local|Interval|Burst", "%d", 0),
    ("REMOTE_INTERVAL_USECS", "Remote|Interval|Usecs", "%d", 0),
    ("REMOTE_INTERVAL_BURST", "Remote|Interval|Burst", "%d", 0),
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
    ("LOCAL_SOCKET_PRIO", "Local|Socket|Priority", "%d", -1),
    ("REMOTE_SOCKET_PRIO", "Remote|Socket|Priority", "%d", -1),
    ("LOCAL_SOCKET_TOS", "Local|Socket|TOS", "0x%.2x", UNSET),
    ("REMOTE_SOCKET_TOS", "Remote|Socket|TOS", "0x%.2x", UNSET),
    ("LOCAL_CONG_CONTROL", "Local|Congestion|Control|Algorithm", "%s", ""),
    ("REMOTE_CONG_CONTROL", "Remote|Congestion|Control|Algorithm", "%s", ""),
    ("LOCAL_FILL_FILE", "Local|Fill|File", "%s", ""),
    ("REMOTE_FILL_FILE", "Remote|Fill|File", "%s", ""),
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
    ("LOST_TRANSACTIONS", "Lost|Transactions", "%d", lambda o: o.run.lost),
)
