"""One recorded request after another: ask, keep the answer, report its recorded quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from infra.local.replay.calls import Answer, Caller, HeadersOf, problem
from infra.local.replay.control import ApiKey
from infra.local.replay.journal import Decided, Journal, Judged, Record, Refused
from infra.local.replay.summary import Fold
from infra.local.replay.traffic import RecordedRow, Traffic, Weights
from shared.kit.clock import utc_now

FEEDBACK_SOURCE = "replay"
# So many refusals in a row are not about single requests.
_MOST_REFUSALS = 10
_IN_FLIGHT = frozenset({409})


class RefusedError(RuntimeError):
    """The system refuses every request; the message holds the last reason."""


class Sender:
    """Sends positions of the recorded traffic; counts nothing that is not on disk.

    ``run_id`` and ``seed`` are the journal's: they name the requests and order them.
    """

    def __init__(self, traffic: Traffic, journal: Journal, gateway: Caller, key: ApiKey) -> None:
        self.traffic = traffic
        self.journal = journal
        self._gateway = gateway
        self._key = key
        self._refusals_in_a_row = {"chat": 0, "feedback": 0}
        self.run_id, self.seed = "", 0
        self.weights: Mapping[str, Weights] = {}
        self.fold = Fold(traffic)
        for record in journal.records:
            self.fold.add(record)
        self.finished = self.fold.finished()

    async def request(self, sequence: int) -> None:
        """Send the prompt at one position, journal the answer, report its quality.

        Raises
        ------
        GaveUpError
            If the system does not answer.
        RefusedError
            If it refuses a fresh API key, or request after request.
        """
        row = self.traffic.at(sequence, self.seed)
        body = {"model": "auto", "messages": [{"role": "user", "content": row.prompt}]}
        name = f"replay-{self.run_id}-{sequence}"

        def headers(answered: int) -> Mapping[str, str]:
            return {"x-davinci-task": row.task, "idempotency-key": f"{name}-{answered}"}

        answer = await self._call("/v1/chat/completions", body, headers, _IN_FLIGHT)
        decided = self._decided(sequence, row, answer)
        if decided is None:
            await self._refused(sequence, "chat", answer.response, None)
            return
        await self.record(decided)
        await self.judge(decided)

    async def judge(self, decided: Decided) -> None:
        """Report the recorded quality of the model that answered; safe to repeat."""
        if decided.quality is None:
            return
        body = {
            "decision_id": decided.decision_id,
            "score": decided.quality,
            "source": FEEDBACK_SOURCE,
        }
        answer = await self._call("/api/learning/feedback", body, lambda _: {}, frozenset())
        sequence, decision_id = decided.sequence, decided.decision_id
        if answer.response.status_code in {200, 201}:
            await self.record(Judged(sequence, decision_id, decided.quality, _now()))
        else:
            await self._refused(sequence, "feedback", answer.response, decision_id)

    async def record(self, record: Record) -> None:
        """Count a record, once it is on disk."""
        await self.journal.append(record)
        self.fold.add(record)
        if isinstance(record, Decided | Refused):
            self.finished.add(record.sequence)
        if isinstance(record, Decided):
            self._refusals_in_a_row["chat"] = 0
        elif isinstance(record, Judged):
            self._refusals_in_a_row["feedback"] = 0

    async def _call(
        self,
        url: str,
        body: Mapping[str, Any],
        headers: HeadersOf,
        also_retried: frozenset[int],
    ) -> Answer:
        for renewed in (False, True):
            secret = self._key.secret
            answer = await self._gateway.call(
                "POST",
                url,
                headers=lambda answered: {**self._key.headers(), **headers(answered)},
                body=body,
                also_retried=also_retried,
            )
            if answer.response.status_code not in {401, 403}:
                break
            if renewed:
                raise RefusedError(f"{url} refuses a new API key: {problem(answer.response)}")
            await self._key.renew(secret)
        return answer

    def _decided(self, sequence: int, row: RecordedRow, answer: Answer) -> Decided | None:
        headers = answer.response.headers
        decision_id, model = headers.get("x-davinci-decision-id"), headers.get("x-davinci-model")
        if answer.response.status_code != 200 or not decision_id or not model:
            return None
        weights = self.weights[row.level]
        cost_usd = _price(headers.get("x-davinci-cost-usd"))
        index = self.traffic.model_index(model)
        quality = latency_ms = utility_usd = None
        if index is not None:
            quality, latency_ms = row.quality[index], self.traffic.latency_ms(row, index)
            if cost_usd is not None:
                utility_usd = weights.utility_usd(quality, cost_usd, latency_ms)
        return Decided(
            sequence=sequence,
            row=row.id,
            task=row.task,
            recorded_level=row.level,
            decision_id=decision_id,
            model=model,
            level=headers.get("x-davinci-level", ""),
            cost_usd=cost_usd,
            wall_ms=round(answer.wall_ms, 3),
            attempts=answer.attempts,
            latency_ms=latency_ms,
            quality=quality,
            quality_value_usd=weights.quality_value_usd,
            latency_cost_usd_per_s=weights.latency_cost_usd_per_s,
            utility_usd=utility_usd,
            at=_now(),
        )

    async def _refused(
        self, sequence: int, stage: str, response: httpx.Response, decision_id: str | None
    ) -> None:
        detail = problem(response)
        if response.status_code == 200:
            detail = "the answer lacks x-davinci-decision-id or x-davinci-model"
        await self.record(
            Refused(sequence, stage, response.status_code, detail, decision_id, _now())
        )
        self._refusals_in_a_row[stage] += 1
        if self._refusals_in_a_row[stage] >= _MOST_REFUSALS:
            raise RefusedError(f"{stage}: {_MOST_REFUSALS} refusals in a row; the last: {detail}")


def _price(text: str | None) -> float | None:
    """Read a price header; a price that is not stated is unknown, not zero."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _now() -> str:
    return utc_now().isoformat(timespec="milliseconds")
