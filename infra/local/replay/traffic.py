"""Recorded prompts with the true result of every recorded model.

The order of sending is a pure function of the seed and the position, so a driver that stops can
go on exactly where it was, and a second look at the same position finds the same prompt.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from infra.local.replay.latency import simulated_latency_ms
from shared.routing.types import LEVELS, Level

DATA_DIR = Path(__file__).resolve().parents[1] / "traffic"
MODEL_PREFIX = "replay/"
# The recordings hold no answers, hence no lengths: their README assumes 150 tokens out.
TOKENS_OUT = 150
CHARACTERS_PER_TOKEN = 4

LEVEL_OF_TASK: Mapping[str, Level] = {
    "trivia_qa": "L1",
    "natural_qa": "L1",
    "openbook_qa": "L1",
    "commonsense_qa": "L2",
    "arc_challenge": "L3",
    "mmlu": "L3",
    "gsm8k": "L3",
    "math": "L3",
    "gpqa": "L3",
    "agentverse-mgsm": "L3",
    "agentverse-logicgrid": "L3",
    "mbpp": "L4",
    "human_eval": "L4",
    "commongen": "L4",
}


class TrafficError(ValueError):
    """The recorded data cannot be used; the message names the file and the row."""


@dataclass(frozen=True, slots=True)
class RecordedModel:
    """One model of the recordings, with its list price in USD per million tokens."""

    name: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float

    @property
    def id(self) -> str:
        """Id of the model in the registry."""
        return MODEL_PREFIX + self.name


@dataclass(frozen=True, slots=True)
class RecordedRow:
    """One prompt and the quality in [0, 1] of each model, in the order of ``Traffic.models``."""

    id: str
    task: str
    level: Level
    prompt: str
    quality: tuple[float, ...]

    @property
    def tokens_in(self) -> int:
        """Estimated tokens of the prompt."""
        return estimate_tokens(self.prompt)


@dataclass(frozen=True, slots=True)
class Weights:
    """What a right answer and a second are worth at one level, from the default policy."""

    quality_value_usd: float
    latency_cost_usd_per_s: float

    def utility_usd(self, quality: float, cost_usd: float, latency_ms: float) -> float:
        """Return the utility of one request in dollars."""
        seconds = latency_ms / 1000
        return quality * self.quality_value_usd - cost_usd - seconds * self.latency_cost_usd_per_s


@dataclass(frozen=True)
class Traffic:
    """All recorded rows and models; ``sha256`` names the data a journal belongs to."""

    models: tuple[RecordedModel, ...]
    rows: tuple[RecordedRow, ...]
    sha256: str
    _model_index: Mapping[str, int] = field(init=False, repr=False, compare=False)
    _row_by_id: Mapping[str, RecordedRow] = field(init=False, repr=False, compare=False)
    _row_by_prompt: Mapping[str, RecordedRow] = field(init=False, repr=False, compare=False)
    _orders: dict[tuple[int, int], tuple[int, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        names = {model.name: place for place, model in enumerate(self.models)}
        object.__setattr__(self, "_model_index", names)
        object.__setattr__(self, "_row_by_id", {row.id: row for row in self.rows})
        object.__setattr__(self, "_row_by_prompt", {_key(row.prompt): row for row in self.rows})

    def model_index(self, model: str) -> int | None:
        """Return the place of a model, by name or registry id, or None if it is not recorded."""
        return self._model_index.get(model.removeprefix(MODEL_PREFIX))

    def row(self, row_id: str) -> RecordedRow | None:
        """Return a row by its id."""
        return self._row_by_id.get(row_id)

    def row_of_prompt(self, prompt: str) -> RecordedRow | None:
        """Return the row with this prompt, white space around it ignored."""
        return self._row_by_prompt.get(_key(prompt))

    def cost_usd(self, row: RecordedRow, model_index: int) -> float:
        """Return the price of answering ``row`` with 150 tokens."""
        return request_cost_usd(self.models[model_index], row.tokens_in, TOKENS_OUT)

    def latency_ms(self, row: RecordedRow, model_index: int) -> int:
        """Return the simulated latency of the whole answer."""
        return simulated_latency_ms(row.id, self.models[model_index].name, TOKENS_OUT)

    def at(self, sequence: int, seed: int) -> RecordedRow:
        """Return the row to send at ``sequence``: 0, 1, ...; each pass has its own order."""
        number, place = divmod(sequence, len(self.rows))
        order = self._orders.get((seed, number))
        if order is None:
            levels = [row.level for row in self.rows]
            order = self._orders[seed, number] = _shuffled_order(levels, f"{seed}/{number}")
        return self.rows[order[place]]


def request_cost_usd(model: RecordedModel, tokens_in: int, tokens_out: int) -> float:
    """Return the list price of one request."""
    usd = tokens_in * model.input_usd_per_mtok + tokens_out * model.output_usd_per_mtok
    return usd / 1_000_000


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text as a quarter of its characters, rounded up, at least one."""
    return max(1, -(-len(text) // CHARACTERS_PER_TOKEN))


def load_traffic(folder: Path = DATA_DIR, name: str = "llmrouter9") -> Traffic:
    """Load ``<name>.csv.gz`` and ``<name>_prices.json``.

    Rows with the same prompt become one with the mean quality: an upstream sees the prompt alone
    and can hold one truth for it. The first row's id and task stay.

    Raises
    ------
    TrafficError
        If a task has no level, a model no price, or a quality is missing or outside [0, 1].
    """
    path = folder / f"{name}.csv.gz"
    content = gzip.decompress(path.read_bytes())
    prices = json.loads((folder / f"{name}_prices.json").read_bytes())
    reader = csv.DictReader(io.StringIO(content.decode(), newline=""))
    columns = [column for column in reader.fieldnames or () if column.startswith("q|")]
    models = tuple(_model(column.removeprefix("q|"), prices, path) for column in columns)
    rows = _merge_equal_prompts(_row(record, columns, path) for record in reader)
    return Traffic(models, rows, hashlib.sha256(content).hexdigest())


def _model(name: str, prices: Mapping[str, Mapping[str, float]], path: Path) -> RecordedModel:
    if name not in prices:
        raise TrafficError(f"{path.name}: model {name} has no price")
    return RecordedModel(name, prices[name]["usd_per_M_in"], prices[name]["usd_per_M_out"])


def _row(record: Mapping[str, str], columns: list[str], path: Path) -> RecordedRow:
    task = record["task"]
    if task not in LEVEL_OF_TASK:
        raise TrafficError(f"{path.name}, row {record['id']}: task {task!r} has no level")
    try:
        quality = tuple(float(record[column]) for column in columns)
    except ValueError as error:
        raise TrafficError(f"{path.name}, row {record['id']}: {error}") from error
    if not all(0.0 <= value <= 1.0 for value in quality):
        raise TrafficError(f"{path.name}, row {record['id']}: a quality is outside [0, 1]")
    return RecordedRow(record["id"], task, LEVEL_OF_TASK[task], record["prompt"], quality)


def _merge_equal_prompts(rows: Iterable[RecordedRow]) -> tuple[RecordedRow, ...]:
    groups: dict[str, list[RecordedRow]] = {}
    for row in rows:
        groups.setdefault(_key(row.prompt), []).append(row)
    return tuple(_merged(group) for group in groups.values())


def _merged(group: list[RecordedRow]) -> RecordedRow:
    first = group[0]
    if len(group) == 1:
        return first
    columns = zip(*(row.quality for row in group), strict=True)
    quality = tuple(sum(values) / len(group) for values in columns)
    return RecordedRow(first.id, first.task, first.level, first.prompt, quality)


def _key(prompt: str) -> str:
    return prompt.strip()


def _shuffled_order(levels: Sequence[Level], seed: str) -> tuple[int, ...]:
    """Return a shuffle in which every stretch holds each level in its share of the whole.

    Sorted by hashes, not by a generator, so that it is the same on every Python.
    """

    def lot(place: int) -> bytes:
        return blake2b(f"{seed}/{place}".encode(), digest_size=8).digest()

    spread: list[tuple[float, bytes, int]] = []
    for level in LEVELS:
        drawn = sorted((lot(place), place) for place, found in enumerate(levels) if found == level)
        spread += [
            ((turn + 0.5) / len(drawn), ticket, place) for turn, (ticket, place) in enumerate(drawn)
        ]
    return tuple(place for _, _, place in sorted(spread))
