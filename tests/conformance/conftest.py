"""A gateway with one model that talks, and OpenAI's client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from openai import OpenAI

from tests.conformance.harness import MODEL, Gateway, running_gateway, says
from tests.fakes.upstream import answer


@pytest.fixture(scope="module")
def running(
    database_url: str, engine: sa.Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("openai")
    with running_gateway(
        database_url, engine, folder, upstream_first_byte_timeout_s="5"
    ) as gateway:
        gateway.register(MODEL)
        gateway.register("acme/embedder", output_usd_per_mtok=0.0, modalities=["embeddings"])
        yield gateway


@pytest.fixture
def gateway(running: Gateway) -> Gateway:
    """The gateway, whose model says hello unless a test says otherwise."""
    running.upstream.reset()
    says(running, answer("Hello there, friend.", prompt_tokens=11, completion_tokens=7))
    return running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client
