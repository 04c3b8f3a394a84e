"""The demo's last part: the study's four experiments in a lab, with short runs.

The lab is a command of its own: whatever goes wrong with it, the demo says so in a sentence
and has still shown the rest.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import xenrr
from xenrr.cli.drawing import count_text
from xenrr.cli.interrupt import Interrupt
from xenrr.cli.screen import Screen

__all__ = ["show_campaign"]

CAMPAIGN, PLAIN = "table1-lab.toml", "table1-lab-plain.toml"
EXPERIMENTS, PLAIN_EXPERIMENT = "12,11,8,6", "12"
CAMPAIGN_S = "2"
PROBE_LIMIT_S, CAMPAIGN_LIMIT_S, PLAIN_LIMIT_S, STOP_LIMIT_S = 20.0, 60.0, 20.0, 15.0
INTERRUPTED = 130
# That of the target.
HOST_1 = "D0.1"


class _Part:
    """A command that a signal is passed on to; ``Interrupt`` takes it for a sender."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def stop(self) -> bool:
        self._process.send_signal(signal.SIGTERM)
        return True


def show_campaign(screen: Screen) -> int:
    """The study's four experiments in a lab, with short runs, and their table.

    Returns:
        0, also when there can be no lab here: then a sentence says why; 130 when interrupted.
    """
    why_not = no_campaign()
    if why_not:
        screen.talk(f"The study's experiments are left out: {why_not}.")
        return 0
    screen.talk("")
    screen.talk("The study's four experiments in a test bed that is emulated on this machine: "
                f"12, 11, 8 and 6 machines send to one, {CAMPAIGN_S} s each.")
    with Interrupt() as interrupt:
        process = _xenrr("campaign", "run", str(examples() / CAMPAIGN), "--repeats", "1",
                         "--duration", CAMPAIGN_S, "--max-skew", "0", "--discard", "--only",
                         EXPERIMENTS)
        interrupt.sender = _Part(process)  # type: ignore[assignment]
        try:
            code = process.wait(CAMPAIGN_LIMIT_S)
        except subprocess.TimeoutExpired:
            screen.talk(f"They were stopped after {CAMPAIGN_LIMIT_S:g} s.")
            process.terminate()
            code = _end(process)
        if not code and not interrupt.seen:
            _show_plain(screen, interrupt)
        if interrupt.seen:
            return INTERRUPTED
    if code:
        screen.talk("Not all of them could be measured here; what is above says why. The demo "
                    "is complete without them.")
    return 0


def _show_plain(screen: Screen, interrupt: Interrupt) -> None:
    """The same senders in a bed that emulates nothing but the cables, in a sentence."""
    process = _xenrr("campaign", "run", str(examples() / PLAIN), "--repeats", "1",
                     "--duration", CAMPAIGN_S, "--max-skew", "0", "--discard", "--only",
                     PLAIN_EXPERIMENT, "--json", stdout=subprocess.PIPE,
                     stderr=subprocess.DEVNULL)
    interrupt.sender = _Part(process)  # type: ignore[assignment]
    try:
        shown, _ = process.communicate(timeout=PLAIN_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        _end(process)
        return
    if process.returncode == 0 and (rates := plain_rates(shown)):
        screen.result()
        for line in screen.wrapped(
                "In a bed that emulates nothing but the cables, the same 12 measure, per "
                f"machine and second: {rates}. What is between this and the table is the "
                "emulation's delays and quota."):
            screen.result(line)


def plain_rates(shown: bytes) -> str:
    """Mean rates of the kinds of machines, from the events of a campaign; empty for none."""
    try:
        table = json.loads(shown.splitlines()[-1])
        places = {each["name"]: (each["host"] == HOST_1, each["domain"])
                  for each in table["machines"]}
        rates: dict[tuple[bool, str], list[float]] = {}
        for entry in table["columns"][0]["entries"]:
            rates.setdefault(places[entry["machine"]], []).append(entry["rate_tps"])
        return ", ".join(
            f"{'own' if own else 'remote'} {domain} {count_text(sum(found) / len(found))}"
            for (own, domain), found in rates.items())
    except (ValueError, LookupError, TypeError):
        return ""


def no_campaign() -> str:
    """Why the study's experiments cannot be run here; empty when they can."""
    if not (examples() / CAMPAIGN).exists():
        return "they are declared in the source tree, and this is an installed xenrr"
    process = _xenrr("lab", "run", str(examples() / "lab-4x3.toml"), "--", "true",
                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, said = process.communicate(timeout=PROBE_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        _end(process)
        return f"making the test bed took more than {PROBE_LIMIT_S:g} s"
    except KeyboardInterrupt:
        process.terminate()
        _end(process)
        raise
    if process.returncode == 0:
        return ""
    lines = said.decode(errors="replace").split("\n")
    text = " ".join(filter(None, map(str.strip, lines)))
    return text.partition("xenrr lab: ")[2] or text or "making the test bed failed"


def examples() -> Path:
    """The folder of examples beside the package."""
    return Path(xenrr.__file__).resolve().parent.parent / "examples"


def _xenrr(*words: str, stdout: int | None = None, stderr: int | None = None
           ) -> subprocess.Popen[bytes]:
    """Start a command of this very xenrr, which a signal reaches only through us."""
    path = os.pathsep.join(filter(None, (str(examples().parent),
                                         os.environ.get("PYTHONPATH"))))
    return subprocess.Popen([sys.executable, "-m", "xenrr", *words], stdin=subprocess.DEVNULL,
                            stdout=stdout, stderr=stderr, start_new_session=True,
                            env={**os.environ, "PYTHONPATH": path})


def _end(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
