"""What a run was made under, as its sender sees it: read before and after, never during.

Everything is read twice and the difference kept: CPU times, the quota of our control groups,
TCP's own view of the connection. None of it lies between the first request and the last
response, and the readings that need longest come before the connection is made or after its
end; only the CPUs and TCP_INFO are read between the two, about 0.2 ms before the first request.
"""

from __future__ import annotations

from collections.abc import Mapping

from xenrr.cpu.meter import load_meter
from xenrr.cpu.throttle import read_throttling
from xenrr.cpu.usage import CpuUsage
from xenrr.session.sockets import host_of

__all__ = ["Conditions"]


class Conditions:
    """Watches one run; made before its connection, ``begin`` just before its first request.

    Attributes:
        tcp_info_start: TCP_INFO when the data connection had been made.
        local_cpu: The sender's CPUs during the run, ``None`` before ``end``.
    """

    def __init__(self) -> None:
        from xenrr.results.hostfacts import load_average

        self._load = load_average()
        self._throttling = read_throttling()
        self._meter = load_meter()
        self.tcp_info_start: Mapping[str, int] = {}
        self.local_cpu: CpuUsage | None = None

    def begin(self, tcp_info: Mapping[str, int]) -> None:
        """The data connection stands and nothing has been sent."""
        self.tcp_info_start = tcp_info
        self._meter.start()

    def end(self) -> None:
        """The data connection has ended."""
        self.local_cpu = self._meter.stop()

    def facts(self, target_address: str, local_address: str) -> dict[str, object]:
        """What the record says of the sender's side, by the names of ``Run``.

        Args:
            target_address, local_address: The two ends of the data connection, as texts.
        """
        return {"tcp_info_start": self.tcp_info_start, "local_cpu": self.local_cpu,
                "throttling": self._throttled(),
                "host": self._host(target_address, local_address)}

    def _throttled(self) -> dict[str, int]:
        """How often a CPU quota stopped this process; empty where nobody counts."""
        now = read_throttling()
        if now is None or self._throttling is None:
            return {}
        return vars(now.since(self._throttling)).copy()

    def _host(self, target_address: str, local_address: str) -> dict[str, str]:
        """Facts about the sender's machine and about the interface to the target."""
        # Imported when a test is over: nothing of it belongs on the way to the first request.
        from xenrr.results.hostfacts import collect_host_facts
        from xenrr.results.pathfacts import collect_path_facts

        facts = collect_host_facts()
        after = facts.pop("load_average", "")
        facts.update(collect_path_facts(host_of(target_address), host_of(local_address)))
        loads = (("load_average", self._load), ("load_average_after", after))
        facts.update((name, load) for name, load in loads if load)
        return facts
