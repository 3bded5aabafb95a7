"""Coming in: logins, refresh families, access tokens under attack."""

from __future__ import annotations

import base64
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import jwt
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.db.tables import refresh_tokens, users
from tests.fakes.lambda_client import Answer, LambdaClient
from tests.fakes.threads import at_once
from tests.integration.conftest import ADMIN

COOKIE = "__Host-davinci-refresh"


def log_in(api: LambdaClient, **headers: str) -> Answer:
    body = {"email": ADMIN[0], "password": ADMIN[1]}
    return api.post(
        "/api/auth/login", body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def refresh(api: LambdaClient, token: str) -> Answer:
    return api.post("/api/auth/refresh", {"refresh_token": token})


@pytest.fixture
def anonymous(admin: LambdaClient) -> LambdaClient:
    return admin.with_token(None)


def test_login_gives_a_token_that_says_who_one_is(admin: LambdaClient) -> None:
    who = admin.get("/api/auth/verify").json()
    assert (who["kind"], who["name"], who["role"]) == ("user", ADMIN[0], "admin")
    assert datetime.fromisoformat(who["expires_at"]) <= datetime.now(UTC) + timedelta(minutes=15)


def test_email_is_compared_without_case(anonymous: LambdaClient) -> None:
    body = {"email": f" {ADMIN[0].upper()} ", "password": ADMIN[1]}
    assert anonymous.post("/api/auth/login", body).status == 200


def test_wrong_password_and_unknown_user_answer_alike(anonymous: LambdaClient) -> None:
    tries = [
        {"email": ADMIN[0], "password": "wrong"},
        {"email": "nobody@davinci.local", "password": ADMIN[1]},
        {"email": ADMIN[0], "password": ADMIN[1] + "\x00"},
        {"email": ADMIN[0], "password": "é" * 1_000},
    ]
    answers = [anonymous.post("/api/auth/login", body) for body in tries]
    assert {a.status for a in answers} == {401}
    assert len({a.body for a in answers}) == 1


def test_an_unknown_user_costs_as_long_as_a_wrong_password(anonymous: LambdaClient) -> None:
    times: dict[str, list[float]] = {ADMIN[0]: [], "nobody@davinci.local": []}
    for email in list(times) * 9:
        started_at = time.perf_counter()
        anonymous.post("/api/auth/login", {"email": email, "password": "wrong"})
        times[email].append(time.perf_counter() - started_at)
    known, unknown = (statistics.median(t) for t in times.values())
    # Without the dummy hash the unknown user would answer five times as fast.
    assert 0.6 < known / unknown < 1.6


def test_a_locked_out_user_can_neither_log_in_nor_refresh_nor_go_on(
    admin: LambdaClient, anonymous: LambdaClient, engine: sa.Engine
) -> None:
    token = log_in(anonymous).json()["refresh_token"]
    with engine.begin() as connection:
        connection.execute(sa.update(users).values(is_active=False))
    assert log_in(anonymous).status == 401
    assert refresh(anonymous, token).status == 401
    assert admin.get("/api/auth/verify").status == 401


def test_refresh_rotates(anonymous: LambdaClient) -> None:
    first = log_in(anonymous).json()
    second = refresh(anonymous, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    who = anonymous.with_token(second["access_token"]).get("/api/auth/verify")
    assert who.json()["name"] == ADMIN[0]


def test_reuse_of_a_spent_token_ends_the_whole_family(anonymous: LambdaClient) -> None:
    first = log_in(anonymous).json()
    second = refresh(anonymous, first["refresh_token"]).json()
    other_session = log_in(anonymous).json()
    assert refresh(anonymous, first["refresh_token"]).status == 401
    assert refresh(anonymous, second["refresh_token"]).status == 401
    assert anonymous.with_token(second["access_token"]).get("/api/auth/verify").status == 401
    assert refresh(anonymous, other_session["refresh_token"]).status == 200


@pytest.mark.usefixtures("many_connections")
def test_of_50_refreshes_at_once_exactly_one_succeeds(
    anonymous: LambdaClient, engine: sa.Engine
) -> None:
    token = log_in(anonymous).json()["refresh_token"]
    answers = at_once(50, lambda _: refresh(anonymous, token))
    statuses = [a.status for a in answers]
    assert statuses.count(200) == 1, statuses
    assert statuses.count(401) == 49, statuses
    with engine.connect() as connection:
        issued = connection.scalar(sa.select(sa.func.count()).select_from(refresh_tokens))
    assert issued == 3  # the fixture's login, this login, one successor


def test_the_family_expires_when_it_was_meant_to(
    anonymous: LambdaClient, engine: sa.Engine
) -> None:
    token = log_in(anonymous).json()["refresh_token"]
    refresh(anonymous, token)
    with engine.connect() as connection:
        ends = connection.scalars(
            sa.select(refresh_tokens.c.expires_at).order_by(refresh_tokens.c.created_at.desc())
        ).all()
    assert ends[0] == ends[1]


def test_an_expired_refresh_token_is_refused(anonymous: LambdaClient, engine: sa.Engine) -> None:
    token = log_in(anonymous).json()["refresh_token"]
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE refresh_tokens SET expires_at = now() - interval '1s'"))
    assert refresh(anonymous, token).status == 401


def test_refresh_tokens_are_stored_hashed(anonymous: LambdaClient, engine: sa.Engine) -> None:
    token = log_in(anonymous).json()["refresh_token"]
    with engine.connect() as connection:
        dump = connection.scalars(sa.text("SELECT t::text FROM refresh_tokens t")).all()
    assert dump and not any(token in row or token.encode().hex() in row for row in dump)


def test_a_browser_gets_the_refresh_token_in_a_host_cookie_only(anonymous: LambdaClient) -> None:
    answer = log_in(anonymous, x_davinci_client="browser")
    assert answer.json()["refresh_token"] is None
    (cookie,) = answer.cookies
    name_value, *attributes = (part.strip() for part in cookie.split(";"))
    kept = {a.partition("=")[0].lower() for a in attributes}
    assert name_value.startswith(f"{COOKIE}=")
    assert {"secure", "httponly", "path", "samesite"} <= kept and "domain" not in kept
    assert "SameSite=strict" in attributes and "Path=/" in attributes


def test_a_cookie_refreshes_only_with_the_csrf_header(anonymous: LambdaClient) -> None:
    cookie = log_in(anonymous, x_davinci_client="browser").cookies[0].partition(";")[0]
    for body in (None, {}, {"refresh_token": ""}, {"refresh_token": None}):
        forged = anonymous.post("/api/auth/refresh", body, cookies=(cookie,))
        assert forged.status == 403, body
        assert forged.json()["type"].endswith("/csrf")
    honest = anonymous.post("/api/auth/refresh", cookies=(cookie,), headers={"x-davinci-csrf": "1"})
    assert honest.status == 200 and honest.json()["refresh_token"] is None
    assert honest.cookies[0].partition(";")[0] not in {"", cookie}


def test_refresh_without_a_token_says_what_is_missing(anonymous: LambdaClient) -> None:
    assert anonymous.post("/api/auth/refresh").status == 401
    assert refresh(anonymous, "x" * 43).status == 401


def test_logout_ends_refresh_and_access_and_clears_the_cookie(anonymous: LambdaClient) -> None:
    session = log_in(anonymous).json()
    client = anonymous.with_token(session["access_token"])
    answer = client.post("/api/auth/logout")
    assert answer.status == 204 and answer.body == ""
    assert "Max-Age=0" in answer.cookies[0]
    assert refresh(anonymous, session["refresh_token"]).status == 401
    assert client.get("/api/auth/verify").status == 401


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
        from shared.auth.tokens import _signing_keys
        from shared.config import get_settings

        self.token = token
        self.key = _signing_keys(get_settings())[0]
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
    "100 KB": lambda f: f.sign(padding="x" * 100_000),
    "not base64": lambda f: "é.é.é",
    "dots": lambda f: "..",
    "empty parts": lambda f: ".......",
    **{
        f"without {claim}": partial(_without, claim)
        for claim in ("exp", "iat", "iss", "aud", "sub", "jti", "fid", "role")
    },
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_token_is_401_never_500(admin: LambdaClient, name: str) -> None:
    assert admin.token is not None
    forger = Forger(admin.token)
    assert admin.with_token(forger.sign()).get("/api/auth/verify").status == 200
    answer = admin.with_token(FORGERIES[name](forger)).get("/api/auth/verify")
    assert answer.status == 401, answer.body
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


def test_clock_skew_below_the_leeway_passes(admin: LambdaClient) -> None:
    assert admin.token is not None
    forger = Forger(admin.token)
    slow = forger.sign(iat=int(time.time()) + 25)
    late = forger.sign(exp=int(time.time()) - 25)
    assert admin.with_token(slow).get("/api/auth/verify").status == 200
    assert admin.with_token(late).get("/api/auth/verify").status == 200
    assert (
        admin.with_token(forger.sign(exp=int(time.time()) - 61)).get("/api/auth/verify").status
        == 401
    )


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "bearer\tx", "Bearer  ", "Token abc"]
)
def test_credentials_of_another_kind_are_401(anonymous: LambdaClient, header: str) -> None:
    answer = anonymous.get("/api/auth/verify", headers={"authorization": header})
    assert answer.status == 401


def test_roles_only_grow_upwards(admin: LambdaClient, anonymous: LambdaClient) -> None:
    from functions.auth.service import ensure_user
    from shared.db.engine import get_engine, transaction

    with transaction(get_engine()) as connection:
        for role in ("viewer", "operator"):
            ensure_user(connection, f"{role}@davinci.local", "long enough password", role=role)
    key = {"name": "k", "scopes": ["read"]}
    expected = {"viewer": (200, 403), "operator": (200, 201)}
    for role, (reading, writing) in expected.items():
        body = {"email": f"{role}@davinci.local", "password": "long enough password"}
        token = anonymous.post("/api/auth/login", body).json()["access_token"]
        client = anonymous.with_token(token)
        assert client.get("/api/models").status == reading
        refused = client.post("/api/keys", key)
        assert refused.status == writing, refused.body
