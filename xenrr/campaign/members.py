"""A sender in a round, whatever it is that sends: get ready, go, tell what happened.

``AgentMember`` is a xenrr agent; ``NetperfMember`` an unmodified netperf. A shell waits for GO
in its place, so that an ssh connection stands by then; but netperf connects to the target only
when it is started, and its true start comes after GO by as long as that takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from xenrr.campaign.launchers.base import Launcher
from xenrr.campaign.link import AgentLink, LinkLost, end_process, start_process
from xenrr.campaign.spec import Machine, check_for_netperf
from xenrr.errors import SpecError
from xenrr.results.record import SECOND_NS, InterimPoint, Run, TestSpec
from xenrr.session.frames import Message
from xenrr.stats.histogram import Histogram

__all__ = ["AgentMember", "Member", "NetperfMember", "Part", "make_member", "netperf_words",
           "run_of_netperf"]

CALL_OFF_LIMIT_S = 5.0
START_LIMIT_S = 10.0
# Ends without a netperf when whoever should say GO has gone.
WAITING_SHELL = ("sh", "-c", 'echo ready; read -r go && exec "$@"', "xenrr")
# Not known: netperf tells wall-clock times of a machine whose clock nobody asked for.
UNKNOWN_NS = -1
OnInterim = Callable[[str, "InterimPoint"], None]


@dataclass(frozen=True)
class Part:
    """What became of one sender in a round.

    Attributes:
        start_ns, end_ns: On the coordinator's clock, from GO on.
        uncertainty_ns: How well that is known; -1 when it is not.
        run: Its record.
    """

    start_ns: int
    end_ns: int
    uncertainty_ns: int
    run: Run


class Member(Protocol):
    """A sender in the hands of the coordinator."""

    name: str

    async def come_up(self, limit_s: float) -> None:
        """Be there.

        Raises:
            LinkLost: It is not, within the limit.
        """

    async def prepare(self, address: str, port: int, spec: TestSpec, engine: str,
                      limit_s: float) -> None:
        """Be ready to send.

        Raises:
            LinkLost: It cannot.
        """

    async def read_clock(self, limit_s: float) -> None:
        """Know the clock there.

        Raises:
            LinkLost: It does not answer.
        """

    def go(self, at_ns: int, early_ns: int) -> None:
        """Begin at an instant of the coordinator's clock.

        Args:
            at_ns: The instant.
            early_ns: How long before it what takes time is to begin.
        """

    async def finish(self, limit_s: float) -> Part:
        """Wait for the record.

        Raises:
            LinkLost: There is none.
        """

    def stop(self) -> None:
        """End early, with a record of what was measured."""

    async def call_off(self) -> None:
        """Undo ``prepare``."""

    async def close(self) -> None:
        """Leave nothing running."""


def make_member(machine: Machine, launcher: Launcher, on_interim: OnInterim) -> Member:
    """The kind of member that a machine's declaration asks for."""
    if machine.facts.sender == "netperf":
        return NetperfMember(machine, launcher, on_interim)
    return AgentMember(machine, launcher, on_interim)


class AgentMember:
    """A machine with a xenrr agent on it.

    Args:
        machine: The machine.
        launcher: How processes are started there.
        on_interim: Told the machine's name and each interim result.
    """

    def __init__(self, machine: Machine, launcher: Launcher, on_interim: OnInterim) -> None:
        self.name = machine.name
        self.link: AgentLink | None = None
        self._machine = machine
        self._launcher = launcher
        self._on_interim = on_interim
        self._go_ns = 0
        self._asked = False

    async def come_up(self, limit_s: float) -> None:
        if self.link is not None and self.link.alive:
            return
        await self.close()
        link = AgentLink(self.name, self._launcher.agent(self._machine), self._interim)
        self.link = link
        try:
            await link.open(limit_s, self._launcher.same_clock)
        except BaseException:
            await self.close()  # what began to start is no agent
            raise

    async def prepare(self, address: str, port: int, spec: TestSpec, engine: str,
                      limit_s: float) -> None:
        link = self._connected()
        link.forget()
        self._asked = True
        link.say("prepare", target=address, port=port, spec=asdict(spec), engine=engine,
                 timeout_s=limit_s)
        await link.hear(("ready",), limit_s, "get ready")

    async def read_clock(self, limit_s: float) -> None:
        if not self._launcher.same_clock:
            await self._connected().read_clock(limit_s)

    def go(self, at_ns: int, early_ns: int) -> None:
        link = self._connected()
        self._go_ns = at_ns
        link.say("go", at_ns=at_ns + link.clock.offset_ns, early_ns=early_ns)

    async def finish(self, limit_s: float) -> Part:
        link = self._connected()
        told = await link.hear(("record",), limit_s, "end")
        self._asked = False
        run = Run.from_plain(told["run"])
        started_ns = int(told.get("started_ns", 0))
        if started_ns <= 0:
            raise LinkLost("was stopped before its first request")
        start_ns = started_ns - link.clock.offset_ns - self._go_ns
        return Part(start_ns, start_ns + run.elapsed_ns, link.clock.uncertainty_ns, run)

    def stop(self) -> None:
        if self.link is not None:
            self.link.say("stop")

    async def call_off(self) -> None:
        if self.link is None or not self._asked:
            return
        self._asked = False
        self.link.say("stop")
        try:
            await self.link.hear(("record",), CALL_OFF_LIMIT_S, "stop")
        except LinkLost as exc:
            if not hasattr(exc, "reason"):  # it did not even say that it was called off
                await self.close()

    async def close(self) -> None:
        link, self.link = self.link, None
        if link is not None:
            await link.close()

    def _connected(self) -> AgentLink:
        if self.link is None:
            raise LinkLost("is not connected")
        return self.link

    def _interim(self, message: Message) -> None:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            self._on_interim(self.name, InterimPoint(
                **{key: int(message[key]) for key in (
                    "end_ns", "interval_ns", "transactions", "bytes", "p50_ns", "p99_ns",
                    "max_ns")}, at_epoch_s=time.time()))


class NetperfMember:
    """A machine with an unmodified netperf on it; see ``AgentMember``."""

    def __init__(self, machine: Machine, launcher: Launcher, on_interim: OnInterim) -> None:
        self.name = machine.name
        self._machine = machine
        self._launcher = launcher
        self._on_interim = on_interim
        self._spec = TestSpec()
        self._target = ("", 0)
        self._task: asyncio.Task[Part] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._stopped = False

    async def come_up(self, limit_s: float) -> None:
        launch = self._launcher.program(self._machine, [self._machine.program, "-V"])
        process = await start_process(launch)
        try:
            said, errors = await asyncio.wait_for(process.communicate(), limit_s)
        except asyncio.TimeoutError:
            raise LinkLost(f"did not run netperf within {limit_s:g} s") from None
        finally:
            await end_process(process)
        if process.returncode or b"etperf" not in said:
            raise LinkLost(f"{self._machine.program} does not run there: "
                           f"{_last_line(errors) or 'it is no netperf'}")

    async def prepare(self, address: str, port: int, spec: TestSpec, engine: str,
                      limit_s: float) -> None:
        try:
            words = netperf_words(self._machine.program, address, port, spec)
        except SpecError as exc:
            raise LinkLost(str(exc)) from exc
        self._spec, self._target, self._stopped = spec, (address, port), False
        await self._end()
        self._process = await start_process(self._launcher.program(
            self._machine, [*WAITING_SHELL, *words]))
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        try:
            said = await asyncio.wait_for(self._process.stdout.readline(), limit_s)
        except asyncio.TimeoutError:
            raise LinkLost(f"did not get ready within {limit_s:g} s") from None
        if said != b"ready\n":
            errors = await asyncio.wait_for(self._process.stderr.read(), limit_s)
            raise LinkLost(f"its shell ended: {_last_line(errors) or 'it said nothing'}")

    async def read_clock(self, limit_s: float) -> None:
        return

    def go(self, at_ns: int, early_ns: int) -> None:
        self._task = asyncio.ensure_future(self._measure(at_ns))

    async def finish(self, limit_s: float) -> Part:
        assert self._task is not None
        try:
            return await asyncio.wait_for(self._task, limit_s)
        except asyncio.TimeoutError:
            raise LinkLost(f"did not end within {limit_s:g} s") from None
        finally:
            await self._end()

    def stop(self) -> None:
        # netperf shows nothing of a test that was cut short; its interim results are here.
        self._stopped = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def call_off(self) -> None:
        await self.close()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await end_process(process)

    async def _measure(self, at_ns: int) -> Part:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        await asyncio.sleep(max(at_ns - time.monotonic_ns(), 0) / SECOND_NS)
        with contextlib.suppress(ConnectionError, RuntimeError):
            process.stdin.write(b"go\n")
        errors = asyncio.ensure_future(process.stderr.read())
        values: dict[str, str] = {}
        points: list[InterimPoint] = []
        arrived_s: list[float] = []
        while line := await process.stdout.readline():
            name, _, value = line.decode(errors="replace").strip().partition("=")
            values[name] = value
            if name.startswith("NETPERF_ENDING["):
                arrived_s.append(time.time())
                if (point := _netperf_point(values, len(points), points)) is not None:
                    points.append(point)
                    self._on_interim(self.name, point)
        await process.wait()
        said = _last_line(await errors)
        epoch_s = time.time() - time.monotonic()
        lag_s, uncertainty_ns = 0.0, 0
        if not self._launcher.same_clock:
            # The fastest line tells most about the clock there.
            lag_s = min((arrived - point.at_epoch_s
                         for arrived, point in zip(arrived_s, points)), default=0.0)
            uncertainty_ns = UNKNOWN_NS
        run = run_of_netperf(self._spec, self._target, values, points, said,
                             stopped=self._stopped)
        if run is None:
            raise LinkLost(f"netperf measured nothing: {said or 'it said nothing'}")
        start_ns = round((run.started_epoch_s + lag_s - epoch_s) * SECOND_NS) - at_ns
        return Part(start_ns, start_ns + run.elapsed_ns, uncertainty_ns, run)


def netperf_words(program: str, address: str, port: int, spec: TestSpec) -> list[str]:
    """The command line of a netperf that measures a test.

    Raises:
        SpecError: It cannot be asked for with netperf.
    """
    check_for_netperf(spec)
    assert spec.duration_s is not None
    words = [program, "-H", address, "-p", str(port), "-t", spec.test,
             "-l", str(math.ceil(spec.duration_s)), "-D", f"{spec.interim_s or 1:g}", "--",
             "-r", f"{spec.request_bytes},{spec.response_bytes}",
             "-k", "THROUGHPUT,ELAPSED_TIME,THROUGHPUT_UNITS"]
    if spec.burst:
        words += ["-b", str(spec.burst)]
    return [*words, "-D"] if spec.nodelay else words


def run_of_netperf(spec: TestSpec, target: tuple[str, int], values: dict[str, str],
                   points: list[InterimPoint], said: str, *, stopped: bool) -> Run | None:
    """A record of what netperf printed; without a distribution, it shows none.

    Args:
        spec: The test.
        target: Address and control port.
        values: Its ``NAME=value`` lines.
        points: Its interim results.
        said: The last line of its stderr.
        stopped: Whether it was stopped.

    Returns:
        ``None`` when nothing was measured.
    """
    rate_tps, elapsed_s = _number(values, "THROUGHPUT"), _number(values, "ELAPSED_TIME")
    error = ""
    if rate_tps is None or not elapsed_s:
        if not points:
            return None
        elapsed_s = points[-1].end_ns / SECOND_NS
        rate_tps = sum(point.transactions for point in points) / elapsed_s
        error = "" if stopped else f"netperf ended early: {said or 'it said nothing'}"
    count = round(rate_tps * elapsed_s)
    began_s = (points[0].at_epoch_s - points[0].interval_ns / SECOND_NS if points
               else time.time() - elapsed_s)
    return Run(
        spec=spec, target=target[0], target_address=f"{target[0]}:{target[1]}",
        local_address="", peer="", engine="netperf", started_epoch_s=began_s,
        elapsed_ns=round(elapsed_s * SECOND_NS), transactions=count, requests_sent=count,
        in_flight=0, lost=0, late=0, malformed=0, drained=0,
        bytes_sent=count * spec.request_bytes, bytes_received=count * spec.response_bytes,
        send_calls=-1, recv_calls=-1, ended="stopped" if stopped else
        "error" if error else "time", error=error, latency_ns=Histogram(),
        interims=tuple(points))


def _netperf_point(values: dict[str, str], number: int, before: list[InterimPoint]
                   ) -> InterimPoint | None:
    rate_tps = _number(values, f"NETPERF_INTERIM_RESULT[{number}]")
    interval_s = _number(values, f"NETPERF_INTERVAL[{number}]")
    ending_s = _number(values, f"NETPERF_ENDING[{number}]")
    if rate_tps is None or not interval_s or ending_s is None:
        return None
    interval_ns = round(interval_s * SECOND_NS)
    first_s = (before[0].at_epoch_s - before[0].interval_ns / SECOND_NS if before
               else ending_s - interval_s)
    return InterimPoint(
        max(round((ending_s - first_s) * SECOND_NS), 0), interval_ns,
        round(rate_tps * interval_s), 0, 0, 0, 0, ending_s)


def _number(values: dict[str, Any], name: str) -> float | None:
    text = values.get(name, "")
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text) else None


def _last_line(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
