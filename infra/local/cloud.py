"""A small faithful AWS on loopback, driven by ``template.yaml``.

::

    HTTP -> gateway (CloudFront, API Gateway) -> pool -> environment: the real Lambda handler
    HTTP -> gateway (REST API that streams) -> pool -> server: the command behind the Web Adapter
    functions -> internal listener -> bus (EventBridge) -> queues (SQS) -> consumers -> pool
    schedules (Scheduler), POST /invoke -> queues -> consumers (asynchronous Invoke) -> pool

It fails where AWS would: unknown routes, missing permission to a rule's target, payloads, time.
Left out, because one process on one machine cannot tell or need not: IAM of functions, memory
and CPU limits, throttling rates, FIFO queues, retention, host names of several APIs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from infra.local.bus import Bus
from infra.local.clock import Clock, SystemClock
from infra.local.consumers import AsyncConsumer, Consumer, SourceConsumer, async_queue
from infra.local.database import Database
from infra.local.environments import Environment, FunctionPool
from infra.local.faults import FaultInjector, Faults
from infra.local.gateway import Gateway
from infra.local.internal import InternalApi
from infra.local.intrinsics import REGION
from infra.local.listener import DRAIN_S, Listener
from infra.local.queues import Outgoing, QueueStore
from infra.local.routes import RouteTable
from infra.local.schedules import Scheduler, StoredAnchors
from infra.local.servers import Server, ServerPool
from infra.local.static import StaticSite
from infra.local.system import Function, Schedule
from infra.local.template import load_system

LOOPBACK = "127.0.0.1"
_CHECKOUT = Path(__file__).resolve().parents[2]
_IDLE_S = 300.0
_MAX_LOG_BYTES = 16 * 1024 * 1024
# As on Lambda a function sees its own variables, not somebody's shell. From the shell it gets
# what a process needs to live, and settings of Da Vinci, which beat the template's.
_INHERITED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE",
    "SSL_CERT_DIR", "PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS",
)  # fmt: skip
_log = logging.getLogger(__name__)


class LocalCloud:
    """Runs the system that a template describes.

    Parameters
    ----------
    template_path : Path
        The SAM template; functions are imported from its folder.
    database_url : str
        PostgreSQL for the functions and, in the schema ``localcloud``, for the queues.
    home : Path
        State and logs: what functions print goes to ``<home>/logs/<Function>.log``.
    public_port : int
        0 takes a free one; see ``url``.
    static_dir : Path, optional
        The built dashboard; by default ``web/dist`` beside the template.
    environment : mapping, optional
        Variables for every function; they win over all others.
    max_environments : int
        Largest number of processes per function; ``ReservedConcurrentExecutions`` may lower it.
    faults : Faults, optional
        By default what ``DAVINCI_LOCAL_FAULTS`` says, else none.
    parameters : mapping, optional
        Values of template parameters; the others take their defaults.

    Raises
    ------
    TemplateError
        If the template holds something that AWS refuses or that does not run locally.
    """

    def __init__(
        self,
        template_path: Path,
        *,
        database_url: str,
        home: Path,
        public_host: str = LOOPBACK,
        public_port: int = 8000,
        static_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
        max_environments: int = 4,
        clock: Clock | None = None,
        faults: Faults | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        clock = clock or SystemClock()
        injector = FaultInjector(faults or Faults.parse(os.environ.get("DAVINCI_LOCAL_FAULTS", "")))
        self.token = secrets.token_urlsafe(32)
        self._directory = template_path.resolve().parent
        self._home = home.resolve()
        self._given = environment or {}
        self._ours = {
            "DATABASE_URL": database_url,
            "DAVINCI_BUS": "local",
            "DAVINCI_ENVIRONMENT": "local",
            "DAVINCI_HOME": str(self._home),
            "DAVINCI_LOCAL_CLOUD_TOKEN": self.token,
            "DAVINCI_LOCAL_CLOUD_URL": "",  # known once the port is bound
            "DAVINCI_SIGNING_KEYS": f"file:{self._home / 'signing-keys.json'}",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }
        overridden = {*self._ours, *self._given}
        system = load_system(template_path, parameters=parameters, overridden=overridden)
        self.system = system

        self._database = Database(database_url)
        self._store = QueueStore(self._database, clock, system.queues)
        anchors = StoredAnchors(self._database)
        self._scheduler = Scheduler(system.schedules, clock, anchors, self._fire)
        self.pools = {
            name: FunctionPool(function, self._start_environment, max_environments)
            for name, function in system.functions.items()
            if not function.serves_http
        }
        self.servers = {
            name: ServerPool(function, self._start_server, max_environments)
            for name, function in system.functions.items()
            if function.serves_http
        }
        self._consumers: list[Consumer] = [
            AsyncConsumer(pool, self._store, clock) for pool in self.pools.values()
        ]
        for source in system.sources:
            queue, pool = system.queues[source.queue], self.pools[source.function]
            consumer = SourceConsumer(source, queue, pool, self._store, clock, injector)
            self._consumers.append(consumer)

        site = StaticSite(static_dir or self._directory / "web" / "dist")
        gateway = Gateway(
            RouteTable(system.routes), self.pools, site,
            streams=RouteTable(system.streams), servers=self.servers,
        )  # fmt: skip
        bus = Bus(system, self._store, clock, injector)
        internal = InternalApi(
            self.token, bus, self._store, {name: pool.function for name, pool in self.pools.items()}
        )
        self._public = Listener(gateway, public_host, public_port)
        self._internal = Listener(internal, LOOPBACK, 0)
        self._consuming: list[asyncio.Task[None]] = []
        self._recurring: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """Where the public port answers."""
        return self._public.url

    @property
    def internal_url(self) -> str:
        """Where functions reach the bus; every request there carries ``token``."""
        return self._internal.url

    async def serve(self) -> None:
        """Run until SIGINT or SIGTERM."""
        asked_to_stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, asked_to_stop.set)
        try:
            await self.start()
            await asked_to_stop.wait()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)  # a second Ctrl-C interrupts the orderly stop
            await self.stop()

    async def start(self) -> None:
        """Bind the ports, then start everything; requests are answered when this returns.

        Raises
        ------
        OSError
            If the public port is taken.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        _log.info("serving %s", self.url)

    async def _start(self) -> None:
        self._public.bind()
        self._internal.bind()
        self._ours["DAVINCI_LOCAL_CLOUD_URL"] = self.internal_url
        self._trim_logs()
        await self._database.create_tables()
        await self._internal.start()
        self._consuming = [asyncio.create_task(consumer.run()) for consumer in self._consumers]
        jobs = (self._scheduler.run(), self._keep_house())
        self._recurring = [asyncio.create_task(job) for job in jobs]
        await self._public.start()

    async def stop(self) -> None:
        """Stop accepting, let what runs finish for a few seconds, then kill the rest."""
        for recurring in self._recurring:
            recurring.cancel()
        for consumer in self._consumers:
            consumer.stop()
        await self._public.stop()
        if self._consuming:
            _, late = await asyncio.wait(self._consuming, timeout=DRAIN_S)
            for consuming in late:
                consuming.cancel()
        await asyncio.gather(*self._consuming, *self._recurring, return_exceptions=True)
        await asyncio.gather(*(pool.close() for pool in self._all_pools()))
        await self._internal.stop()  # last, because functions that finish still send events
        await asyncio.to_thread(self._database.close)

    async def _start_environment(self, function: Function) -> Environment:
        return await Environment.start(
            function,
            variables=self._variables(function),
            directory=self._directory,
            log=self._home / "logs" / f"{function.name}.log",
        )

    async def _start_server(self, function: Function) -> Server:
        return await Server.start(
            function,
            variables=self._variables(function),
            directory=self._directory,
            log=self._home / "logs" / f"{function.name}.log",
        )

    def _all_pools(self) -> tuple[FunctionPool | ServerPool, ...]:
        return (*self.pools.values(), *self.servers.values())

    def _variables(self, function: Function) -> dict[str, str]:
        search = [str(self._directory), str(_CHECKOUT), os.environ.get("PYTHONPATH", "")]
        return {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            **function.environment,
            "DAVINCI_STORE_TEXT": "1",
            **{name: v for name, v in os.environ.items() if name.startswith("DAVINCI_")},
            **self._ours,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "NO_PROXY": f"{os.environ.get('NO_PROXY', '')},{LOOPBACK},localhost".lstrip(","),
            "PYTHONPATH": os.pathsep.join(filter(None, search)),
            "TZ": "UTC",
            **self._given,
        }

    async def _fire(self, schedule: Schedule, event: str) -> None:
        function = self.system.functions[schedule.function]
        await self._store.send([Outgoing(queue=async_queue(function).name, body=event)])

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_IDLE_S / 5)
            await asyncio.to_thread(self._trim_logs)
            for pool in self._all_pools():
                await pool.reap(_IDLE_S)

    def _trim_logs(self) -> None:
        logs = self._home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        for log in logs.glob("*.log"):
            if log.stat().st_size > _MAX_LOG_BYTES:
                # Environments hold the file open for appending, so it is emptied, not replaced.
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)
