"""Models and policies: what operators configure, without losing anybody's change."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import sqlalchemy as sa

from shared.db.tables import prices
from tests.fakes.lambda_client import LambdaClient
from tests.fakes.threads import at_once

MODEL: dict[str, Any] = {
    "id": "openai/gpt-4o-mini",
    "provider": "openai",
    "base_url": "https://api.openai.com/v1/",
    "upstream_name": "gpt-4o-mini",
    "input_usd_per_mtok": 0.15,
    "output_usd_per_mtok": 0.6,
    "context_tokens": 128_000,
}
URL = "/api/models/openai/gpt-4o-mini"
LEVEL = {"quality_value_usd": 0.01, "latency_cost_usd_per_s": 0.0001}
DOCUMENT: dict[str, Any] = {"levels": {f"L{n}": dict(LEVEL) for n in range(1, 5)}}


def pointers(answer: Any) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]


def resolve(document: Any, pointer: str) -> Any:
    """Follow an RFC 6901 pointer; KeyError or IndexError where there is nothing."""
    for part in pointer.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


class TestModels:
    def test_a_new_model_is_listed_as_registered(self, admin: LambdaClient) -> None:
        created = admin.post("/api/models", MODEL)
        assert created.status == 201, created.body
        body = created.json()
        assert {k: body[k] for k in MODEL} == {**MODEL, "base_url": "https://api.openai.com/v1"}
        assert admin.get("/api/models").json() == {"items": [body], "next_cursor": None}
        got = admin.get(URL)
        assert got.json() == body and got.headers["etag"] == created.headers["etag"] == '"1"'

    @pytest.mark.usefixtures("many_connections")
    def test_an_id_is_taken_once_even_at_once(self, admin: LambdaClient) -> None:
        answers = at_once(8, lambda _: admin.post("/api/models", MODEL))
        assert sorted(a.status for a in answers) == [201] + [409] * 7
        assert {a.json()["type"].rpartition("/")[2] for a in answers if a.status == 409} == {
            "model-exists"
        }

    def test_what_is_not_registered_is_404(self, admin: LambdaClient) -> None:
        for path in ("/api/models/nope", "/api/models/a/b/c", "/api/models/x'--"):
            assert admin.get(path).status == 404
            assert admin.patch(path, {"enabled": False}, headers={"if-match": "*"}).status == 404

    def test_a_change_needs_the_state_that_it_changes(self, admin: LambdaClient) -> None:
        admin.post("/api/models", MODEL)
        blind = admin.patch(URL, {"enabled": False})
        assert (blind.status, blind.json()["title"]) == (428, "Precondition required")
        for stale in ('"0"', '"2"', 'W/"1"', "1", ""):
            assert admin.patch(URL, {"enabled": False}, headers={"if-match": stale}).status == 412
        changed = admin.patch(URL, {"enabled": False}, headers={"if-match": '"0", "1"'})
        assert changed.status == 200 and changed.headers["etag"] == '"2"'
        assert changed.json()["enabled"] is False

    @pytest.mark.usefixtures("many_connections")
    def test_of_20_writers_nobodys_change_is_lost(self, admin: LambdaClient) -> None:
        admin.post("/api/models", {**MODEL, "context_tokens": 1})

        def increment(_: int) -> int:
            refused = 0
            while True:
                seen = admin.get(URL)
                wanted = {"context_tokens": seen.json()["context_tokens"] + 1}
                done = admin.patch(URL, wanted, headers={"if-match": seen.headers["etag"]})
                if done.status == 200:
                    return refused
                assert done.status == 412, done.body
                refused += 1

        refusals = at_once(20, increment)
        assert admin.get(URL).json()["context_tokens"] == 21
        assert sum(refusals) > 0  # they did meet

    def test_prices_are_history_and_the_newest_is_in_force(
        self, admin: LambdaClient, engine: sa.Engine
    ) -> None:
        admin.post("/api/models", MODEL)
        one = admin.patch(URL, {"output_usd_per_mtok": 0.5}, headers={"if-match": '"1"'}).json()
        assert (one["input_usd_per_mtok"], one["output_usd_per_mtok"]) == (0.15, 0.5)
        admin.patch(URL, {"upstream_name": "other"}, headers={"if-match": '"2"'})
        with engine.connect() as connection:
            history = connection.execute(
                sa.select(prices.c.input_usd_per_mtok, prices.c.output_usd_per_mtok).order_by(
                    prices.c.id
                )
            ).all()
        assert [tuple(row) for row in history] == [(0.15, 0.6), (0.15, 0.5)]

    def test_an_unknown_price_is_null_never_zero(self, admin: LambdaClient) -> None:
        body = {k: v for k, v in MODEL.items() if not k.endswith("usd_per_mtok")}
        assert admin.post("/api/models", body).json()["input_usd_per_mtok"] is None
        free = admin.patch(URL, {"input_usd_per_mtok": 0}, headers={"if-match": "*"}).json()
        assert (free["input_usd_per_mtok"], free["output_usd_per_mtok"]) == (0, None)
        forgotten = admin.patch(URL, {"input_usd_per_mtok": None}, headers={"if-match": "*"}).json()
        assert forgotten["input_usd_per_mtok"] is None

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"id": "has space"}, "#/id"),
            ({"id": "x" * 129}, "#/id"),
            ({"base_url": "ftp://x"}, "#/base_url"),
            ({"base_url": "https://user:pw@host/v1"}, "#/base_url"),
            ({"base_url": "https://"}, "#/base_url"),
            ({"input_usd_per_mtok": -1}, "#/input_usd_per_mtok"),
            ({"input_usd_per_mtok": float("nan")}, "#/input_usd_per_mtok"),
            ({"output_usd_per_mtok": float("inf")}, "#/output_usd_per_mtok"),
            ({"context_tokens": 0}, "#/context_tokens"),
            ({"context_tokens": 10**30}, "#/context_tokens"),
            ({"max_tokens_out": 10**12}, "#/max_tokens_out"),
            ({"modalities": []}, "#/modalities"),
            ({"modalities": ["smell"]}, "#/modalities/0"),
            ({"secret_ref": "sk-live-key"}, "#/secret_ref"),
            ({"latency_source": "guessed"}, "#/latency_source"),
            ({"labels": {"k" * 65: "v"}}, "#/labels/" + "k" * 65),
            ({"revision": 7}, "#/revision"),
        ],
    )
    def test_a_bad_member_is_named(
        self, admin: LambdaClient, change: dict[str, Any], pointer: str
    ) -> None:
        refused = admin.post("/api/models", {**MODEL, **change})
        assert refused.status == 422, refused.body
        assert pointers(refused) == [pointer]

    @pytest.mark.parametrize(
        "url",
        [
            "http://[", "https://[::1", "https://[zz]/v1", "https://[1.2.3.4]", "https://",
            "https://:443/v1", "https://host:65536/v1", "https://host:0", "https://host:port/v1",
            "https://a..b/v1", f"https://{'a' * 64}/v1", "https://user:key@host/v1",
            "https://host/v1#part", "https://host\\v1", "https://h\u00f6st/v1", "ftp://host/v1",
            "//host/v1", "https://host/v1\n",
        ],
    )  # fmt: skip
    def test_an_address_that_cannot_be_called_is_refused(
        self, admin: LambdaClient, url: str
    ) -> None:
        refused = admin.post("/api/models", {**MODEL, "base_url": url})
        assert refused.status == 422, refused.body
        (error,) = refused.json()["errors"]
        assert error["pointer"] == "#/base_url"
        assert error["detail"].startswith(("use http(s)://", "what is in brackets"))

    @pytest.mark.parametrize(
        "url",
        [
            "http://[::1]:8000/v1", "https://localhost", "https://host:65535/v1",
            "https://eu.host.example./v1?api-version=1", "http://my_service:80/a@b/v1",
        ],
    )  # fmt: skip
    def test_an_address_that_can_be_called_is_kept(self, admin: LambdaClient, url: str) -> None:
        made = admin.post("/api/models", {**MODEL, "base_url": url})
        assert made.status == 201, made.body
        assert made.json()["base_url"] == url

    def test_what_must_be_there_cannot_be_removed(self, admin: LambdaClient) -> None:
        admin.post("/api/models", MODEL)
        nulls = {"base_url": None, "enabled": None, "region": None}
        refused = admin.patch(URL, nulls, headers={"if-match": "*"})
        assert refused.status == 422 and pointers(refused) == ["#/base_url", "#/enabled"]

    def test_text_that_cannot_be_stored_is_422(self, admin: LambdaClient) -> None:
        refused = admin.post("/api/models", {**MODEL, "region": "eu\x00west"})
        assert refused.status == 422, refused.body
        assert admin.get("/api/models").json()["items"] == []

    def test_pages_are_in_order_of_id(self, admin: LambdaClient) -> None:
        ids = ["b/2", "a/1", "c/3", "a/0"]
        for model_id in ids:
            admin.post("/api/models", {**MODEL, "id": model_id})
        first = admin.get("/api/models", {"limit": 3}).json()
        rest = admin.get("/api/models", {"limit": 3, "cursor": first["next_cursor"]}).json()
        assert [m["id"] for m in first["items"] + rest["items"]] == sorted(ids)
        assert rest["next_cursor"] is None


class TestPolicies:
    def test_the_first_policy_serves_auto(self, admin: LambdaClient) -> None:
        first = admin.post("/api/policies", {"name": "first", "document": DOCUMENT})
        assert first.status == 201, first.body
        second = admin.post("/api/policies", {"name": "second", "document": DOCUMENT})
        assert (first.json()["is_default"], second.json()["is_default"]) == (True, False)
        listed = admin.get("/api/policies").json()["items"]
        assert [p["name"] for p in listed] == ["second", "first"]
        assert admin.get(f"/api/policies/{first.json()['id']}").json() == first.json()

    @pytest.mark.usefixtures("many_connections")
    def test_of_several_first_policies_at_once_one_becomes_the_default(
        self, admin: LambdaClient
    ) -> None:
        answers = at_once(
            6, lambda n: admin.post("/api/policies", {"name": f"p{n}", "document": DOCUMENT})
        )
        assert {a.status for a in answers} <= {201, 409}, [a.body for a in answers]
        listed = admin.get("/api/policies").json()["items"]
        assert [p["is_default"] for p in listed].count(True) == 1

    @pytest.mark.usefixtures("many_connections")
    def test_a_name_is_taken_once(self, admin: LambdaClient) -> None:
        body = {"name": "p", "document": DOCUMENT}
        answers = at_once(4, lambda _: admin.post("/api/policies", body))
        assert sorted(a.status for a in answers) == [201, 409, 409, 409], [a.body for a in answers]

    def test_a_policy_that_is_not_there_is_404(self, admin: LambdaClient) -> None:
        for policy_id in ("pol_" + "0" * 32, "pol_x", "first", "key_" + "0" * 32):
            assert admin.get(f"/api/policies/{policy_id}").status == 404

    @pytest.mark.parametrize(
        ("path", "value", "pointer"),
        [
            (["levels", "L1", "epsilon"], 1.5, "#/document/levels/L1/epsilon"),
            (["levels", "L1", "epsilon"], float("nan"), "#/document/levels/L1/epsilon"),
            (["levels", "L2", "quality_value_usd"], 0, "#/document/levels/L2/quality_value_usd"),
            (["levels", "L3", "strategy"], "yolo", "#/document/levels/L3/strategy"),
            (["levels", "L3", "models"], [], "#/document/levels/L3/models"),
            (["levels", "L4", "surprise"], 1, "#/document/levels/L4/surprise"),
            (["levels", "L5"], LEVEL, "#/document/levels/L5"),
            (["levels"], {}, "#/document"),
            (["levels"], [], "#/document/levels"),
            (["task_levels", "a/b"], "L1", "#/document/task_levels/a~1b"),
            (["task_levels", "chat"], "L9", "#/document/task_levels/chat"),
            (["default_level"], "L0", "#/document/default_level"),
            (["min_level_confidence"], "high", "#/document/min_level_confidence"),
        ],
    )
    def test_each_fault_has_a_pointer_into_the_document(
        self, admin: LambdaClient, path: list[str], value: object, pointer: str
    ) -> None:
        document = copy.deepcopy({**DOCUMENT, "task_levels": {}})
        place = document
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        body = {"name": "p", "document": document}
        refused = admin.post("/api/policies", body)
        assert refused.status == 422, refused.body
        assert pointers(refused) == [pointer]
        resolve(body, pointer)

    def test_a_missing_member_is_pointed_at_where_it_belongs(self, admin: LambdaClient) -> None:
        document = copy.deepcopy(DOCUMENT)
        del document["levels"]["L2"]["quality_value_usd"]
        refused = admin.post("/api/policies", {"name": "p", "document": document})
        assert pointers(refused) == ["#/document/levels/L2/quality_value_usd"]

    def test_unregistered_models_are_pointed_at_one_by_one(
        self, admin: LambdaClient, registry: list[str]
    ) -> None:
        document = copy.deepcopy(DOCUMENT)
        known, unknown = registry[0], "no/such"
        document["levels"]["L1"] |= {"models": [known, unknown], "primary": known}
        document["levels"]["L4"] |= {"fallbacks": [unknown], "primary": unknown}
        refused = admin.post("/api/policies", {"name": "p", "document": document})
        assert refused.status == 422
        places = [p.removeprefix("#/document/levels/") for p in pointers(refused)]
        assert sorted(places) == ["L1/models/1", "L4/fallbacks/0", "L4/primary"]

    def test_primary_must_be_listed(self, admin: LambdaClient, registry: list[str]) -> None:
        document = copy.deepcopy(DOCUMENT)
        document["levels"]["L1"] |= {"models": [registry[0]], "primary": registry[1]}
        refused = admin.post("/api/policies", {"name": "p", "document": document})
        assert pointers(refused) == ["#/document/levels/L1"]

    def test_a_new_policy_serves_its_name_at_once(
        self, admin: LambdaClient, registry: list[str]
    ) -> None:
        document = copy.deepcopy(DOCUMENT)
        for level in document["levels"].values():
            level |= {"models": ["test/large"], "strategy": "greedy"}
        admin.post("/api/policies", {"name": "large-only", "document": document})
        decided = admin.post("/api/neural/route", {"prompt": "x", "policy": "large-only"}).json()
        assert decided["model"] == "test/large"
        assert decided["policy"] == {"name": "large-only", "version": 1}
        assert admin.post("/api/neural/route", {"prompt": "x", "policy": "nope"}).status == 404
