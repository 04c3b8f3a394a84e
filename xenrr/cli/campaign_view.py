"""A running campaign on a terminal, as plain lines, or as a stream of JSON events."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from xenrr.campaign.plan import Plan
from xenrr.campaign.spec import CampaignSpec
from xenrr.cli.drawing import count_text, duration_text
from xenrr.cli.screen import Screen
from xenrr.units import format_duration

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

__all__ = ["View", "watching"]

Event = Mapping[str, Any]
# Drawing takes CPU from what is measured where both share a machine.
DRAW_EVERY_S = 0.5
# Title (two lines of it on a narrow terminal), heads, the last row, and one to spare.
LINES_AROUND = 5
# Of a round that does not count; a thousand senders may have failed for one reason.
FAILURES = 4
GETTING_READY = "getting ready"


class View:
    """What is known of the running round.

    Args:
        screen: Where to write.
        spec, plan: The campaign.
    """

    def __init__(self, screen: Screen, spec: CampaignSpec, plan: Plan) -> None:
        self.live: Live | None = None
        self._screen = screen
        self._spec = spec
        self._left = len(plan.rounds)
        self._each_s = plan.duration_s / max(len(plan.rounds), 1)
        self._title = ""
        self._began_s = 0.0
        self._rows: dict[str, dict[str, str]] = {}
        self._rates: dict[str, float] = {}
        self._drawn_s = 0.0

    def tell(self, event: Event) -> None:
        """Take one event of the coordinator."""
        kind = event["event"]
        if kind == "round":
            self._begin(event)
        elif kind in ("ready", "failed", "interim", "record"):
            row = self._rows.setdefault(str(event["machine"]), {})
            self._take(row, kind, event)
        elif kind == "go":
            self._began_s = time.monotonic()
        elif kind == "round over":
            self._over(event)
        self._draw(now=kind in ("round", "go", "failed", "round over"))

    def _begin(self, event: Event) -> None:
        self._left = event["of"] - event["round"] + 1
        again = f", try {event['attempt']}" if event["attempt"] > 1 else ""
        name = " ".join(filter(None, (event["experiment"], event["cell"])))
        self._title = (f"{self._spec.name}: {name}, repeat {event['repeat']} (round "
                       f"{event['round']} of {event['of']}{again})")
        self._began_s = 0.0
        self._rates = {}
        self._rows = {sender: {"state": GETTING_READY} for sender in event["senders"]}
        if self.live is None:
            self._screen.talk(self._titled())

    def _take(self, row: dict[str, str], kind: str, event: Event) -> None:
        if kind == "ready":
            row["state"] = "ready"
        elif kind == "failed":
            row["state"] = row["wrong"] = str(event["text"])
            if self.live is None:
                self._screen.talk(f"  {event['machine']}: {event['text']}")
        elif kind == "interim":
            row["state"] = f"{event['end_s']:.1f} s"
            row["rate"] = count_text(event["rate_tps"])
            self._rates[str(event["machine"])] = event["rate_tps"]
            if event["p99_ns"]:
                row["p99"] = duration_text(event["p99_ns"], self._screen.unicode)
        else:
            row["state"] = str(event["error"]) or "done"
            row["wrong"] = str(event["error"])
            row["rate"] = count_text(event["rate_tps"])
            self._rates[str(event["machine"])] = event["rate_tps"]

    def _over(self, event: Event) -> None:
        if event["complete"]:
            text = (f"{count_text(event['total_tps'])}/s in all, skew "
                    f"{duration_text(event['skew_ns'], self._screen.unicode)}, window "
                    f"{event['window_s']:.2f} s")
        elif event["stopped"]:
            text = "stopped"
        else:
            some = [f"{name}: {why}" if name else why
                    for name, why in event["failures"].items()]
            more = [f"and {len(some) - FAILURES} more"] if len(some) > FAILURES else []
            text = "does not count: " + "; ".join([*some[:FAILURES], *more])
        line = f"{event['key']}: {text}"
        if self.live is not None:
            self.live.console.print(line, markup=False, highlight=False)
        else:
            self._screen.talk(f"  {text}")

    def _draw(self, now: bool) -> None:
        if self.live is None:
            return
        now_s = time.monotonic()
        if now or now_s - self._drawn_s >= DRAW_EVERY_S:
            self._drawn_s = now_s
            self.live.update(self._table(self.live.console.height), refresh=True)

    def _titled(self) -> str:
        """The round, and the time that is left with it."""
        left_s = self._left * self._each_s
        if self._began_s:
            left_s -= min(time.monotonic() - self._began_s, self._each_s)
        return f"{self._title}, {format_duration(math.ceil(left_s))} left"

    def _table(self, height: int) -> Group:
        """One row a sender, those with something wrong first where not all have room."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for name in ("machine", "state", "transactions/s", "p99"):
            table.add_column(name, justify="right" if name in ("transactions/s", "p99")
                             else "left", no_wrap=True, overflow="ellipsis")
        rows = list(self._rows.items())
        room = max(height - LINES_AROUND, 1)
        if len(rows) > room:
            rows.sort(key=lambda row: not row[1].get("wrong"))
        for name, row in rows[:room]:
            table.add_row(*(Text(text) for text in (
                name, row.get("state", ""), row.get("rate", ""), row.get("p99", ""))))
        ready = sum(row["state"] != GETTING_READY for row in self._rows.values())
        total_tps = sum(self._rates.values())
        hidden = f"{len(rows) - room} not shown" if len(rows) > room else ""
        table.add_row("all", Text(hidden if total_tps else f"{ready} of {len(rows)} ready"),
                      Text(count_text(total_tps) if total_tps else ""), "")
        return Group(Text(self._titled()), table)


@contextlib.contextmanager
def watching(screen: Screen, spec: CampaignSpec, plan: Plan, as_json: bool
             ) -> Iterator[Callable[[Event], None]]:
    """Show a campaign for as long as it runs.

    Args:
        screen: Where to write.
        spec, plan: The campaign.
        as_json: One JSON object a line on stdout instead.

    Yields:
        A function that takes the coordinator's events.
    """
    if as_json:
        yield lambda event: print(json.dumps(event), flush=True)
        return
    view = View(screen, spec, plan)
    console = screen.live_console
    if console is None:
        yield view.tell
        return
    from rich.live import Live

    # No refresh thread: it would wake up beside the loops that are being timed.
    with Live(console=console, auto_refresh=False, transient=True) as live:
        view.live = live
        yield view.tell
