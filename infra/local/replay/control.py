"""The replay's own needs of the control plane: session, models, key, weights."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from infra.local.replay.calls import Caller, problem
from infra.local.replay.settings import ADMIN_EMAIL, admin_password
from infra.local.replay.traffic import RecordedModel, Weights
from shared.routing.types import LEVELS

KEY_FILE = "replay-key"
KEY_NAME = "replay"
KEY_SCOPES = ("chat", "feedback", "route", "read")
# Requests a minute: a key that asks for none gets what an ordinary application needs.
KEY_RPM = 60_000
_PATCH_TRIES = 5


class ControlError(RuntimeError):
    """The control plane refused something the replay cannot do without."""


class ControlPlane:
    """An administrator's session; logs in again when the access token has expired."""

    def __init__(self, caller: Caller, *, home: Path, password: str | None) -> None:
        self._caller = caller
        self._home = home
        self._password = password
        self._token: str | None = None

    async def wait_until_healthy(self) -> None:
        """Return when ``/health`` answers 200.

        Raises
        ------
        GaveUpError
            If it does not within the patience.
        ControlError
            If it answers something that waiting does not mend.
        """
        answer = await self._caller.call("GET", "/health")
        if answer.response.status_code != 200:
            raise ControlError(f"/health: {problem(answer.response)}")

    async def wait_for_upstream(self, base_url: str) -> None:
        """Return when the replay upstream lists its models; raises as for the system itself."""
        answer = await self._caller.call("GET", f"{base_url}/models")
        if answer.response.status_code != 200:
            raise ControlError(f"nothing replays at {base_url}: {problem(answer.response)}")

    async def register(self, models: Iterable[RecordedModel], base_url: str) -> None:
        """Make every recorded model known, reachable at ``base_url``.

        What an operator changed on a model stays, except a base URL that has moved.
        """
        for model in models:
            response = await self.request("POST", "/api/models", model_body(model, base_url))
            if response.status_code == 409:
                await self._move(model, base_url)
            elif response.status_code != 201:
                raise ControlError(f"cannot register {model.id}: {problem(response)}")

    async def weights(self) -> Mapping[str, Weights]:
        """Return the weights per level of the default policy's active version."""
        cursor: str | None = None
        while True:
            page = f"/api/policies?cursor={quote(cursor)}" if cursor else "/api/policies"
            response = await self.request("GET", page)
            if response.status_code != 200:
                raise ControlError(f"cannot read the policies: {problem(response)}")
            found = response.json()
            for policy in found["items"]:
                if policy.get("is_default"):
                    return _weights(policy["document"])
            cursor = found.get("next_cursor")
            if not cursor:
                raise ControlError("there is no default policy")

    async def create_key(self) -> str:
        """Create an API key for the replay and return its secret."""
        body = {"name": KEY_NAME, "scopes": list(KEY_SCOPES), "rpm": KEY_RPM}
        response = await self.request("POST", "/api/keys", body)
        if response.status_code != 201:
            raise ControlError(f"cannot create an API key: {problem(response)}")
        return str(response.json()["secret"])

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send one authenticated request."""
        for retry in (False, True):
            token = self._token or await self._log_in()
            sent = {"authorization": f"Bearer {token}", **(headers or {})}
            answer = await self._caller.call(method, path, headers=sent, body=body)
            if answer.response.status_code != 401 or retry:
                break
            self._token = None
        return answer.response

    async def _log_in(self) -> str:
        body = {"email": ADMIN_EMAIL, "password": admin_password(self._password, self._home)}
        answer = await self._caller.call("POST", "/api/auth/login", body=body)
        if answer.response.status_code != 200:
            raise ControlError(f"cannot log in as {ADMIN_EMAIL}: {problem(answer.response)}")
        self._token = str(answer.response.json()["access_token"])
        return self._token

    async def _move(self, model: RecordedModel, base_url: str) -> None:
        path = f"/api/models/{quote(model.id, safe='')}"
        for _ in range(_PATCH_TRIES):
            found = await self.request("GET", path)
            if found.status_code != 200:
                raise ControlError(f"cannot read {model.id}: {problem(found)}")
            if found.json()["base_url"] == base_url:
                return
            match = {"if-match": found.headers.get("etag", "*")}
            changed = await self.request("PATCH", path, {"base_url": base_url}, match)
            if changed.status_code == 200:
                return
            if changed.status_code != 412:  # 412: somebody else was faster; look again
                raise ControlError(f"cannot move {model.id}: {problem(changed)}")
        raise ControlError(f"cannot move {model.id}: it changes faster than it can be read")


class ApiKey:
    """The replay's API key, kept in the home folder, made anew when the system refuses it."""

    def __init__(self, control: ControlPlane, gateway: Caller, path: Path) -> None:
        self._control = control
        self._gateway = gateway
        self._path = path
        self._lock = asyncio.Lock()
        self.secret = ""

    async def ensure(self) -> None:
        """Load the kept key and try it; create one if there is none or it is refused."""
        with suppress(OSError):
            self.secret = self._path.read_text().strip()
        if self.secret:
            answer = await self._gateway.call("GET", "/v1/models", headers=self.headers())
            if answer.response.status_code == 200:
                return
            if answer.response.status_code not in {401, 403}:
                raise ControlError(f"cannot try the API key: {problem(answer.response)}")
        await self.renew(self.secret)

    async def renew(self, refused: str) -> None:
        """Replace the refused secret, once, however many workers ask."""
        async with self._lock:
            if self.secret == refused:
                self.secret = await self._control.create_key()
                write_private(self._path, self.secret + "\n")

    def headers(self) -> dict[str, str]:
        """Return the header that shows the key."""
        return {"authorization": f"Bearer {self.secret}"}


def model_body(model: RecordedModel, base_url: str) -> dict[str, Any]:
    """Return the registry entry of a recorded model."""
    return {
        "id": model.id,
        "provider": "replay",
        "base_url": base_url,
        "upstream_name": model.name,
        "secret_ref": None,
        "input_usd_per_mtok": model.input_usd_per_mtok,
        "output_usd_per_mtok": model.output_usd_per_mtok,
        "context_tokens": 8192,
        "max_tokens_out": 4096,
        "modalities": ["text"],
        "region": None,
        # The upstream states the simulated latency in a header; what is measured is the replay.
        "latency_source": "reported",
        "labels": {"latency": "simulated"},
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)


def _weights(document: Mapping[str, Any]) -> Mapping[str, Weights]:
    levels = document["levels"]
    missing = [level for level in LEVELS if level not in levels]
    if missing:
        raise ControlError(f"the default policy has no {', '.join(missing)}")
    return {
        level: Weights(
            float(levels[level]["quality_value_usd"]),
            float(levels[level]["latency_cost_usd_per_s"]),
        )
        for level in LEVELS
    }
