"""Access tokens: what is refused, how much clocks may differ, rotation of the signing keys."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.fakes.lambda_client import LambdaClient
from tests.fakes.threads import at_once
from tests.integration.conftest import ADMIN


def test_jwks_verifies_our_tokens_and_holds_no_private_part(admin: LambdaClient) -> None:
    document = admin.with_token(None).get("/api/auth/jwks").json()
    keys = jwt.PyJWKSet.from_dict(document)
    assert admin.token is not None
    kid = jwt.get_unverified_header(admin.token)["kid"]
    claims = jwt.decode(
        admin.token, keys[kid].key, algorithms=["EdDSA"], audience="davinci-api", issuer="davinci"
    )
    assert claims["email"] == ADMIN[0]
    assert "d" not in document["keys"][0]


def _segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Forger:
    """Makes tokens like ours, signed by us, with one thing wrong."""

    def __init__(self, token: str) -> None:
        from shared.auth.tokens import _derive
        from shared.config import get_settings
        from shared.secrets import read_secret

        self.token = token
        self.key = _derive(read_secret(get_settings().signing_keys))[0]
        self.header = {**jwt.get_unverified_header(token)}
        self.claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})

    def sign(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        said = {k: v for k, v in {**self.claims, **claims}.items() if v is not None}
        return self.sign_raw(_segment({**self.header, **(header or {})}), _segment(said))

    def sign_raw(self, header: str, payload: str) -> str:
        signature = self.key.private.sign(f"{header}.{payload}".encode())
        return f"{header}.{payload}.{_segment(signature)}"

    def unsigned(self, algorithm: str) -> str:
        return f"{_segment({**self.header, 'alg': algorithm})}.{_segment(self.claims)}."

    def hs256_with_public_key(self) -> str:
        import hashlib
        import hmac

        body = f"{_segment({**self.header, 'alg': 'HS256'})}.{_segment(self.claims)}"
        mac = hmac.digest(self.key.public_bytes, body.encode(), hashlib.sha256)
        return f"{body}.{_segment(mac)}"


def _without(claim: str, forger: Forger) -> str:
    return forger.sign(**{claim: None})


NOW = int(time.time())
FORGERIES: dict[str, Callable[[Forger], str]] = {
    "alg none": lambda f: f.unsigned("none"),
    "alg nOnE": lambda f: f.unsigned("nOnE"),
    "HS256 with the public key": lambda f: f.hs256_with_public_key(),
    "alg RS256": lambda f: f.sign({"alg": "RS256"}),
    "tampered payload": lambda f: (
        f.token[:-90] + ("A" if f.token[-90] != "A" else "B") + f.token[-89:]
    ),
    "tampered signature": lambda f: (
        f.token[:-10] + ("A" if f.token[-10] != "A" else "B") + f.token[-9:]
    ),
    "no signature": lambda f: f.token.rpartition(".")[0] + ".",
    "foreign key": lambda f: jwt.encode(
        f.claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=f.header
    ),
    "embedded jwk": lambda f: jwt.encode(
        f.claims,
        Ed25519PrivateKey.generate(),
        algorithm="EdDSA",
        headers={**f.header, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}},
    ),
    "expired": lambda f: f.sign(exp=NOW - 61),
    "issued in the future": lambda f: f.sign(iat=NOW + 3_600),
    "not yet valid": lambda f: f.sign(nbf=NOW + 3_600),
    "typ JWT": lambda f: f.sign({"typ": "JWT"}),
    "typ refresh": lambda f: f.sign({"typ": "refresh+jwt"}),
    "no typ": lambda f: f.sign({"typ": None}),
    "wrong audience": lambda f: f.sign(aud="another-api"),
    "audience list": lambda f: f.sign(aud=["davinci-api", "another-api"]),
    "wrong issuer": lambda f: f.sign(iss="evil"),
    "unknown kid": lambda f: f.sign({"kid": "0" * 16}),
    "kid path traversal": lambda f: f.sign({"kid": "../../dev/null"}),
    "kid not text": lambda f: f.sign({"kid": {"$ne": ""}}),
    "critical extension": lambda f: f.sign({"crit": ["exp"]}),
    "unknown role": lambda f: f.sign(role="root"),
    "subject no id": lambda f: f.sign(sub="admin"),
    "subject a number": lambda f: f.sign(sub=1),
    "expiry a text": lambda f: f.sign(exp="soon"),
    "expiry infinite": lambda f: f.sign_raw(
        _segment(f.header),
        _segment(json.dumps(f.claims).replace(str(f.claims["exp"]), "1e999").encode()),
    ),
    "claims a list": lambda f: f.sign_raw(_segment(f.header), _segment([1, 2])),
    "header a list": lambda f: f.sign_raw(_segment([1]), _segment(f.claims)),
    "header deeply nested": lambda f: f.sign_raw(_segment(b"[" * 2_900), _segment(f.claims)),
    "claims deeply nested": lambda f: f.sign_raw(_segment(f.header), _segment(b"[" * 2_700)),
    "9 KB": lambda f: f.sign(padding="x" * 6_000),
    "ES256 with a key of one's own": lambda f: jwt.encode(
        f.claims,
        generate_private_key(SECP256R1()),
        algorithm="ES256",
        headers={**f.header, "alg": "ES256"},
    ),
    "jku header": lambda f: jwt.encode(
        f.claims,
        Ed25519PrivateKey.generate(),
        algorithm="EdDSA",
        headers={**f.header, "jku": "https://evil.example/jwks.json"},
    ),
    "x5u header": lambda f: jwt.encode(
        f.claims,
        Ed25519PrivateKey.generate(),
        algorithm="EdDSA",
        headers={**f.header, "x5u": "https://evil.example/cert.pem"},
    ),
    "kid SQL": lambda f: f.sign({"kid": "' OR '1'='1"}),
    "kid missing": lambda f: f.sign({"kid": None}),
    "alg twice in the header": lambda f: f.sign_raw(
        _segment(json.dumps(f.header)[:-1].encode() + b', "alg": "none"}'), _segment(f.claims)
    ),
    "exp twice, the later one over": lambda f: f.sign_raw(
        _segment(f.header), _segment(json.dumps(f.claims)[:-1].encode() + b', "exp": 1}')
    ),
    "nested token": lambda f: f.sign_raw(
        _segment({**f.header, "cty": "JWT"}), _segment(f.token.encode())
    ),
    "signature of another token": lambda f: ".".join(
        [*f.sign(role="viewer").split(".")[:2], f.token.rpartition(".")[2]]
    ),
    "a fourth part": lambda f: f.token + ".e30",
    "not base64": lambda f: "é.é.é",
    "dots": lambda f: "..",
    "empty parts": lambda f: ".......",
    **{
        f"without {claim}": partial(_without, claim)
        for claim in ("exp", "iat", "iss", "aud", "sub", "jti", "fid", "role")
    },
}


def test_a1_every_forged_token_is_401_never_500(admin: LambdaClient) -> None:
    assert admin.token is not None and len(FORGERIES) >= 50
    forger = Forger(admin.token)
    assert admin.with_token(forger.sign()).get("/api/auth/verify").status == 200
    wrong = {}
    for name, forge in FORGERIES.items():
        answer = admin.with_token(forge(forger)).get("/api/auth/verify")
        refused = answer.status == 401 and answer.headers["www-authenticate"].startswith("Bearer")
        if not refused or answer.headers["content-type"] != "application/problem+json":
            wrong[name] = answer.body
    assert wrong == {}


def test_a1_a_token_of_100_kb_does_not_get_past_the_door(admin: LambdaClient) -> None:
    assert admin.token is not None
    huge = Forger(admin.token).sign(padding="x" * 100_000)
    assert admin.with_token(huge).get("/api/auth/verify").status == 431


def test_a1_a_refresh_token_is_no_access_token(admin: LambdaClient) -> None:
    body = {"email": ADMIN[0], "password": ADMIN[1]}
    token = admin.with_token(None).post("/api/auth/login", body).json()["refresh_token"]
    assert admin.with_token(token).get("/api/auth/verify").status == 401


@pytest.mark.parametrize(
    ("claim", "skew_s", "status"),
    [("exp", -59, 200), ("exp", -61, 401), ("iat", 59, 200), ("iat", 61, 401),
     ("nbf", 59, 200), ("nbf", 61, 401)],
)  # fmt: skip
def test_a2_clocks_may_differ_by_up_to_a_minute(
    admin: LambdaClient, monkeypatch: pytest.MonkeyPatch, claim: str, skew_s: int, status: int
) -> None:
    now = datetime.now(UTC).replace(microsecond=999_999)

    class Standing(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Standing:
            return cls.fromtimestamp(now.timestamp(), tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Standing)
    assert admin.token is not None
    token = Forger(admin.token).sign(None, **{claim: int(now.timestamp()) + skew_s})
    assert admin.with_token(token).get("/api/auth/verify").status == status


class SigningSecret:
    """The document that every process reads, as a secret store holds it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.path = Path(environment["DAVINCI_SIGNING_KEYS"].removeprefix("file:"))
        self.before = self.path.read_text()

    def write(self, text: str) -> None:
        staged = self.path.with_suffix(".new")
        staged.write_text(text)
        staged.replace(self.path)

    def rotate(self, name: str) -> None:
        current = json.loads(self.path.read_text())["current"]
        self.write(json.dumps({"current": name, "previous": current}))

    def grow_old(self, seconds: float) -> None:
        """Let this process's copy be read so long ago."""
        from shared import secrets

        for reference, (until, value) in secrets._cache.items():
            secrets._cache[reference] = (until - seconds, value)


@pytest.fixture
def signing(environment: dict[str, str]) -> Any:
    from shared import secrets

    secret = SigningSecret(environment)
    yield secret
    secret.write(secret.before)
    secrets._cache.clear()


def _kids(api: LambdaClient) -> list[str]:
    return [key["kid"] for key in api.with_token(None).get("/api/auth/jwks").json()["keys"]]


def _signed_now() -> str:
    """Return a token as another process issues it, which reads the secret afresh."""
    from shared import secrets
    from shared.auth.tokens import issue_access_token
    from shared.config import get_settings
    from shared.kit.ids import uuid7

    kept = dict(secrets._cache)
    secrets._cache.clear()
    token = issue_access_token(
        get_settings(), user_id=uuid7(), email="x@y", role="admin", family_id=uuid7(),
        now=datetime.now(UTC),
    )  # fmt: skip
    secrets._cache.clear()
    secrets._cache.update(kept)
    return token


def test_a5_a_key_that_another_process_rotated_in_is_looked_up(
    admin: LambdaClient, signing: SigningSecret
) -> None:
    (old,) = _kids(admin)
    signing.rotate("the second")
    new = _signed_now()
    assert _kids(admin) == [old]  # this process has not seen it yet
    signing.grow_old(61)
    assert admin.with_token(new).get("/api/auth/verify").status == 200
    assert _kids(admin)[1] == old and len(_kids(admin)) == 2
    assert admin.get("/api/auth/verify").status == 200  # signed by the key before


def test_a5_unknown_keys_make_us_read_the_secret_at_most_once_a_minute(
    admin: LambdaClient, signing: SigningSecret
) -> None:
    assert admin.token is not None
    unknown = Forger(admin.token).sign({"kid": "f" * 16})
    assert admin.with_token(unknown).get("/api/auth/verify").status == 401
    signing.rotate("the second")
    new = _signed_now()
    signing.grow_old(30)
    assert admin.with_token(new).get("/api/auth/verify").status == 401  # read 30 s ago
    signing.grow_old(31)
    assert admin.with_token(new).get("/api/auth/verify").status == 200


def test_a5_a_key_two_rotations_old_is_refused(admin: LambdaClient, signing: SigningSecret) -> None:
    signing.rotate("the second")
    signing.rotate("the third")
    signing.grow_old(301)
    assert len(_kids(admin)) == 2
    assert admin.get("/api/auth/verify").status == 401


@pytest.mark.usefixtures("many_connections")
def test_a5_no_request_fails_while_the_keys_rotate(
    admin: LambdaClient, signing: SigningSecret
) -> None:
    body = {"email": ADMIN[0], "password": ADMIN[1]}
    threads, rotations = 3, 5
    calls: list[int] = []
    refreshed = [0] * threads
    stop = threading.Event()

    def call(n: int) -> None:
        token = admin.with_token(None).post("/api/auth/login", body).json()["refresh_token"]
        while not stop.is_set():
            answer = admin.with_token(None).post("/api/auth/refresh", {"refresh_token": token})
            calls.append(answer.status)
            if answer.status != 200:
                stop.set()
                return
            token = answer.json()["refresh_token"]
            refreshed[n] += 1
            client = admin.with_token(answer.json()["access_token"])
            calls.extend(client.get("/api/auth/verify").status for _ in range(5))

    def rotate() -> None:
        for n in range(rotations):
            # Rotations are further apart than a token lives: each client has refreshed twice.
            wanted = [count + 2 for count in refreshed]
            while any(a < b for a, b in zip(refreshed, wanted, strict=True)):
                if stop.wait(0.002):
                    return
            signing.rotate(f"rotation {n}")
            signing.grow_old(301)
        stop.set()

    rotator = threading.Thread(target=rotate)
    rotator.start()
    try:
        at_once(threads, call)
    finally:
        stop.set()
        rotator.join()
    assert len(calls) >= rotations * threads * 6
    assert set(calls) == {200}
    assert json.loads(signing.path.read_text())["current"] == f"rotation {rotations - 1}"
