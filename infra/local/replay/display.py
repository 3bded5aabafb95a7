"""The replay on a screen: live tables on a terminal, one line every few seconds elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from infra.local.replay.summary import Comparison, Summary
from infra.local.replay.traffic import MODEL_PREFIX

_WIDTH = 120
_NAMES = {
    "served": "served by Da Vinci",
    "random": "a random model",
    "best_fixed": "best single model in hindsight",
    "best_fixed_per_level": "best model per level in hindsight",
    "oracle": "oracle (best model of each request)",
}


def as_json(summary: Summary, *, batch_requests: int, batch_done: int) -> str:
    """Return the summary as one JSON document."""
    body: dict[str, Any] = {
        "batch": {"requests": batch_requests, "done": batch_done},
        "latency": "simulated",
        **asdict(summary),
    }
    return json.dumps(body, indent=2) + "\n"


def one_line(summary: Summary, *, batch_requests: int, batch_done: int) -> str:
    """Return the state of a replay in one line."""
    parts = [
        f"replay {batch_done:,}/{batch_requests:,}",
        " ".join(f"{name} {_percent(level.share)}" for name, level in summary.levels.items()),
    ]
    if summary.comparison is not None:
        utility = summary.comparison.utility_usd
        parts.append(
            f"utility {_mills(utility['served'])} (random {_mills(utility['random'])}, best single "
            f"{_mills(utility['best_fixed'])}, oracle {_mills(utility['oracle'])}) USD per 1,000"
        )
    parts.append(f"p50 {_ms(summary.wall_ms.p50)} p99 {_ms(summary.wall_ms.p99)}")
    parts.append(f"cost ${summary.cost_usd:.4f}")
    if summary.refused:
        parts.append(f"{summary.refused} refused")
    return " | ".join(parts)


def tables(summary: Summary) -> RenderableType:
    """Return the tables of a summary."""
    parts: list[RenderableType] = [_traffic_table(summary)]
    if summary.comparison is not None:
        parts.append(_comparison_table(summary.comparison))
    if len(summary.stages) > 1:
        parts.append(_stage_table(summary))
    parts.append(_facts(summary))
    return Group(*parts)


class Display:
    """Shows the progress of one batch; ``update`` is cheap and may be called at any time."""

    def __init__(
        self,
        console: Console,
        batch_requests: int,
        *,
        line_every_s: float = 5.0,
        live: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._batch_requests = batch_requests
        self._line_every_s = line_every_s
        self._monotonic = monotonic
        self._next_line_at = monotonic() + line_every_s
        self._progress = Progress(
            TextColumn("recorded requests"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("replay", total=batch_requests)
        self._live = (
            Live(console=console, auto_refresh=False, transient=True)
            if live and console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, summary: Callable[[], Summary], batch_done: int) -> None:
        """Redraw, or print a line if one is due; the summary is made only then."""
        if self._live is not None:
            self._progress.update(self._task, completed=batch_done)
            self._live.update(Group(self._progress, tables(summary())), refresh=True)
        elif self._monotonic() >= self._next_line_at:
            self._next_line_at = self._monotonic() + self._line_every_s
            self.line(summary(), batch_done)

    def line(self, summary: Summary, batch_done: int) -> None:
        """Print one line."""
        text = one_line(summary, batch_requests=self._batch_requests, batch_done=batch_done)
        say(self._console, text)


def make_console(*, stderr: bool) -> Console:
    """Return a console that does not squeeze tables when nobody's terminal sets a width."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_WIDTH)


def say(console: Console, text: str) -> None:
    """Print a plain line, neither wrapped nor coloured by what it happens to contain."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _traffic_table(summary: Summary) -> Table:
    table = Table(title="Requests by level and model", title_justify="left")
    table.add_column("model", overflow="fold")
    for column in ["all", *summary.levels]:
        table.add_column(column, justify="right")
    cells: dict[str, list[str]] = {name: [] for name in ["all models", *summary.models]}
    for level in [None, *summary.levels.values()]:
        models = summary.models if level is None else level.models
        count = summary.requests if level is None else level.requests
        cells["all models"].append(f"{count:,}")
        for name in summary.models:
            cells[name].append(_percent(models[name].share) if name in models else "-")
    for name, row in cells.items():
        # On 80 columns the prefix, the same everywhere, would cost the end of the name.
        table.add_row(name.removeprefix(MODEL_PREFIX), *row)
    return table


def _comparison_table(comparison: Comparison) -> Table:
    table = Table(
        title=f"The same {comparison.requests:,} requests, per 1,000", title_justify="left"
    )
    table.add_column("chosen by", overflow="fold")
    for column in ("utility USD", "correct", "cost USD"):
        table.add_column(column, justify="right")
    best = comparison.best_fixed_model.removeprefix(MODEL_PREFIX)
    for name, label in _NAMES.items():
        table.add_row(
            f"{label}: {best}" if name == "best_fixed" else label,
            _mills(comparison.utility_usd[name]),
            f"{comparison.quality[name] * 1000:.0f}",
            _mills(comparison.cost_usd[name]),
        )
    return table


def _stage_table(summary: Summary) -> Table:
    table = Table(title="Utility over time, USD per 1,000 requests", title_justify="left")
    table.add_column("quarter")
    for name in ("served", "random", "best_fixed", "oracle"):
        table.add_column(name.replace("_", " "), justify="right")
    for number, stage in enumerate(summary.stages, start=1):
        values = [
            _mills(stage.utility_usd[name]) for name in ("served", "random", "best_fixed", "oracle")
        ]
        table.add_row(str(number), *values)
    return table


def _facts(summary: Summary) -> Table:
    agreement = summary.level_agreement
    facts = {
        "feedback acknowledged": f"{summary.feedback_acknowledged:,} of {summary.requests:,}",
        "whole request, wall": f"p50 {_ms(summary.wall_ms.p50)}, p99 {_ms(summary.wall_ms.p99)}",
        "upstream latency (simulated)": f"p50 {_ms(summary.simulated_upstream_ms.p50)}, "
        f"p99 {_ms(summary.simulated_upstream_ms.p99)}",
        "cost": f"${summary.cost_usd:.4f}",
        "level as recorded": "-" if agreement is None else _percent(agreement),
        "answered after a retry": f"{summary.retried:,}",
        "refused": f"{summary.refused:,}",
    }
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _mills(usd: float) -> str:
    return f"{usd * 1000:.3f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"
