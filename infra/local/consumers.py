"""From queues to functions: event source mappings and asynchronous invocations.

Both are the same loop over a queue. They differ in what a failure means: a mapping leaves the
message to its visibility timeout and redrive, an asynchronous invocation is tried again after
one and two minutes and then goes to the function's failure destination.
"""

from __future__ import annotations

import asyncio
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from infra.local.clock import Clock, wait_for_event
from infra.local.environments import FunctionPool
from infra.local.faults import FaultInjector
from infra.local.pool import InvocationError
from infra.local.queues import Message, Outgoing, QueueStore
from infra.local.system import EventSource, Function, Queue

# SQS's long poll. Arrivals wake a consumer at once; this only bounds a missed wake-up.
_POLL_S = 20.0
_DATABASE_RETRY_S = 1.0
_ASYNC_RETRY_S = 60.0
_ASYNC_BATCH = 10
# Lambda starts with five pollers; two are enough to meet the same races on two cores.
_DEFAULT_CONCURRENCY = 2
_log = logging.getLogger(__name__)


def async_queue(function: Function) -> Queue:
    """Return Lambda's internal queue of asynchronous invocations of ``function``."""
    name = f"lambda:{function.name}"  # no SQS name holds a colon
    visibility_s = function.timeout_s + 60
    return Queue(name=name, arn=name, visibility_s=visibility_s, delay_s=0, dead_letter=None,
                 max_receives=None)  # fmt: skip


class Consumer(ABC):
    """Receives batches from one queue and delivers a few of them at a time."""

    def __init__(
        self,
        queue: Queue,
        store: QueueStore,
        clock: Clock,
        *,
        batch_size: int,
        window_s: float,
        concurrency: int,
    ) -> None:
        self._queue = queue
        self._store = store
        self._clock = clock
        self._batch_size = batch_size
        self._window_s = window_s
        self._slots = asyncio.Semaphore(concurrency)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    @abstractmethod
    async def deliver(self, messages: Sequence[Message]) -> None:
        """Hand one batch to the function and settle its messages."""

    async def run(self) -> None:
        """Consume until ``stop``; a database that is away is waited for."""
        try:
            await self._consume()
            await asyncio.gather(*self._deliveries)
        finally:
            for delivery in self._deliveries:
                delivery.cancel()

    async def _consume(self) -> None:
        while not self._stopping.is_set():
            await self._slots.acquire()
            try:
                messages = await self._next_batch()
            except Exception as error:
                self._slots.release()
                _log.error("cannot read %s, trying again: %s", self._queue.name, error)
                await asyncio.sleep(_DATABASE_RETRY_S)
                continue
            delivery = asyncio.create_task(self._deliver_one(messages))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)

    def stop(self) -> None:
        """Receive nothing more; ``run`` returns when the deliveries under way have ended."""
        self._stopping.set()
        self._store.arrived(self._queue.name).set()

    async def _deliver_one(self, messages: Sequence[Message]) -> None:
        try:
            if messages:
                await self.deliver(messages)
        except Exception as error:  # unsettled messages come back after their visibility timeout
            _log.error("cannot settle messages of %s: %s", self._queue.name, error)
        finally:
            self._slots.release()

    async def _next_batch(self) -> list[Message]:
        arrived = self._store.arrived(self._queue.name)
        while not self._stopping.is_set():
            arrived.clear()
            if self._window_s == 0 and (messages := await self._receive()):
                return messages
            backlog = await self._store.peek(self._queue, self._batch_size)
            if backlog.n_due and self._window_s:
                await self._fill(self._batch_size - backlog.n_due)
                return [] if self._stopping.is_set() else await self._receive()
            if not backlog.n_due:
                due_in = _POLL_S
                if backlog.next_due_at:
                    due_in = (backlog.next_due_at - self._clock.now()).total_seconds()
                await wait_for_event(arrived, self._clock, min(due_in, _POLL_S))
        return []

    async def _receive(self) -> list[Message]:
        return await self._store.receive(self._queue, self._batch_size)

    async def _fill(self, n_missing: int) -> None:
        """Wait for the batching window, or until the batch is full.

        The messages wait in the queue, not in our hands, so stopping loses no time with them.
        """
        queue = self._queue.name
        enough = self._store.arrivals[queue] + n_missing
        end = self._clock.now() + timedelta(seconds=self._window_s)
        while self._store.arrivals[queue] < enough and not self._stopping.is_set():
            left_s = (end - self._clock.now()).total_seconds()
            if left_s <= 0:
                return
            arrived = self._store.arrived(queue)
            arrived.clear()
            await wait_for_event(arrived, self._clock, left_s)


class SourceConsumer(Consumer):
    """An event source mapping: batches of an SQS queue become events of a function."""

    def __init__(
        self,
        source: EventSource,
        queue: Queue,
        pool: FunctionPool,
        store: QueueStore,
        clock: Clock,
        faults: FaultInjector,
    ) -> None:
        concurrency = min(source.max_concurrency or _DEFAULT_CONCURRENCY, max(pool.size, 1))
        super().__init__(
            queue, store, clock,
            batch_size=source.batch_size, window_s=source.window_s, concurrency=concurrency,
        )  # fmt: skip
        self._source = source
        self._pool = pool
        self._faults = faults

    async def deliver(self, messages: Sequence[Message]) -> None:
        event = {"Records": [message.record(self._queue.arn) for message in messages]}
        try:
            result = await self._pool.invoke(event)
        except InvocationError as error:
            _log.warning("%d messages of %s come back: %s", len(messages), self._queue.name, error)
            return
        failed: Collection[str] = ()
        if self._source.reports_failures:
            failed = failed_items(result, {message.message_id for message in messages})
        if self._faults.loses_result():
            _log.info("fault: the result of %d messages is lost", len(messages))
            return
        await self._store.delete([m for m in messages if m.message_id not in failed])


class AsyncConsumer(Consumer):
    """Lambda's asynchronous invocations of one function."""

    def __init__(self, pool: FunctionPool, store: QueueStore, clock: Clock) -> None:
        queue = async_queue(pool.function)
        super().__init__(queue, store, clock, batch_size=_ASYNC_BATCH, window_s=0, concurrency=1)
        self._pool = pool

    async def deliver(self, messages: Sequence[Message]) -> None:
        settled = await asyncio.gather(*map(self._invoke, messages))
        await self._store.delete([m for m, done in zip(messages, settled, strict=True) if done])

    async def _invoke(self, message: Message) -> bool:
        """Run one event; return whether it is finished, well or for good."""
        function = self._pool.function
        try:
            await self._pool.invoke(json.loads(message.body))
        except InvocationError as error:
            if message.receive_count <= function.max_retries:
                _log.warning("%s will be tried again: %s", function.name, error)
                await self._store.postpone(message, _ASYNC_RETRY_S * message.receive_count)
                return False
            _log.error("%s failed for good: %s", function.name, error)
            if function.failure_queue:
                report = _failure_report(function, message, error)
                await self._store.send([Outgoing(queue=function.failure_queue, body=report)])
        return True


def failed_items(result: Any, message_ids: Collection[str]) -> Collection[str]:
    """Return the ids that a batch response reports as failed.

    Nothing, ``{}`` and an empty list mean success. A response that is not understood, or names
    a message that is not in the batch, fails the whole batch, as on AWS.
    """
    if not result:
        return ()
    try:
        items = result["batchItemFailures"] or []
        failed = {item["itemIdentifier"] for item in items}
    except (KeyError, TypeError):
        return message_ids
    return failed if failed <= set(message_ids) else message_ids


def _failure_report(function: Function, message: Message, error: InvocationError) -> str:
    return json.dumps(
        {
            "version": "1.0",
            "requestContext": {
                "functionArn": function.arn,
                "condition": "RetriesExhausted",
                "approximateInvokeCount": message.receive_count,
            },
            "requestPayload": json.loads(message.body),
            "responsePayload": {"errorType": type(error).__name__, "errorMessage": str(error)},
        }
    )
