"""Everything that is printed about one finished command, gathered in one place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from xenrr.cpu.usage import CpuUsage
from xenrr.frozen import dataclass, replace
from xenrr.netperf.names import DataEnds
from xenrr.netperf.options import ClientOptions
from xenrr.netperf.output_units import service_demand, throughput, unit_of
from xenrr.results.record import EndSpec, Run, SocketFacts
from xenrr.stats.histogram import Histogram

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from xenrr.netperf.iterations import Widths

__all__ = ["Outcome"]

# What netperf shows of a target that it has no control connection to.
UNTOLD = SocketFacts(send_buffer=0, receive_buffer=0, send_width=0, receive_width=0,
                     retransmissions=-2)


@dataclass(frozen=True)
class Outcome:
    """The iterations of one command.

    As netperf has it: rate, elapsed time, CPU utilisation and service demand are means over
    the iterations, latencies pile up over all of them, everything else is that of the last
    one.

    Attributes:
        options: What was typed.
        ends: Addresses of the data connection as they are shown.
        runs: One record per iteration, at least one.
    """

    options: ClientOptions
    ends: DataEnds
    runs: tuple[Run, ...]

    @property
    def run(self) -> Run:
        """The last iteration."""
        return self.runs[-1]

    @property
    def test(self) -> str:
        """The test as it was named: its layout stays, whatever its own options made of it."""
        return self.options.test

    @property
    def unit(self) -> str:
        """Letter of the unit that the main result is printed in."""
        return unit_of(self.options.unit, self.run.spec)

    @property
    def brand(self) -> str:
        """The text of -B where it ends a line: headers take its place."""
        tag = self.options.brand
        return "" if tag is None or self.options.headers else tag

    @property
    def rate(self) -> float:
        """Mean of the main result in the unit of -f."""
        return self._mean(lambda run: throughput(self.unit, run))

    @property
    def elapsed_s(self) -> float:
        """Mean length of the data phase in s."""
        return self._mean(lambda run: run.elapsed_s)

    @cached_property
    def widths(self) -> Widths | None:
        """Confidence reached, ``None`` where nothing can be said."""
        if self.options.max_iterations == 1:
            return None
        from xenrr.netperf.iterations import widths_of

        return widths_of(self.options, self.runs)

    @property
    def measures_cpu(self) -> bool:
        """Whether CPU utilisation of either end was asked for."""
        spec = self.run.spec
        return spec.local.measure_cpu or (spec.remote.measure_cpu and not spec.no_control)

    @property
    def remote_asked(self) -> EndSpec:
        """What the target was asked for; most of it is -1 where nobody could be asked."""
        spec = self.run.spec
        if not spec.no_control:
            return spec.remote
        return replace(spec.remote, send_buffer=-1, receive_buffer=-1, send_alignment=-1,
                       receive_alignment=-1, send_offset=-1, receive_offset=-1)

    @property
    def remote(self) -> SocketFacts:
        """How the target's socket was set up."""
        return UNTOLD if self.run.spec.no_control else self.run.remote

    @property
    def local_cpu_percent(self) -> float:
        """Mean utilisation of the sender in %, -1.0 when it was not measured."""
        return self._mean(lambda run: _percent(run.local_cpu))

    @property
    def remote_cpu_percent(self) -> float:
        """Mean utilisation of the target in %, -1.0 when it was not measured."""
        return self._mean(lambda run: _percent(run.remote_cpu))

    @property
    def local_demand(self) -> float:
        """Mean service demand of the sender in µs per unit, -1.0 when not measured."""
        return self._mean(lambda run: service_demand(self.unit, run, run.local_cpu))

    @property
    def remote_demand(self) -> float:
        """Mean service demand of the target in µs per unit, -1.0 when not measured."""
        return self._mean(lambda run: service_demand(self.unit, run, run.remote_cpu))

    @property
    def local_method(self) -> str:
        """Letter of how the sender's CPU was measured."""
        return _method(self.run.local_cpu)

    @property
    def remote_method(self) -> str:
        """Letter of how the target's CPU was measured."""
        return _method(self.run.remote_cpu)

    @cached_property
    def latency_ns(self) -> Histogram:
        """Samples of all iterations."""
        if len(self.runs) == 1:
            return self.run.latency_ns
        merged = Histogram()
        for run in self.runs:
            merged.merge(run.latency_ns)
        return merged

    def _mean(self, value: Callable[[Run], float]) -> float:
        return sum(value(run) for run in self.runs) / len(self.runs)


def _percent(usage: CpuUsage | None) -> float:
    return -1.0 if usage is None else usage.percent


def _method(usage: CpuUsage | None) -> str:
    return "U" if usage is None else usage.method
