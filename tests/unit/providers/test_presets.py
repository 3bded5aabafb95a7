"""The providers that are served, and how their keys travel."""

from __future__ import annotations

import pytest

from shared.providers.exchange import _authorization, _endpoint
from shared.providers.failures import UpstreamCallError
from shared.providers.presets import OPENAI, PRESETS, preset_of


def test_every_promised_provider_has_a_preset() -> None:
    assert set(PRESETS) == {
        "openai", "anthropic", "gemini", "groq", "deepseek", "mistral", "sambanova", "cerebras",
        "bedrock", "azure", "vllm", "ollama",
    }  # fmt: skip
    assert preset_of("somebody-else") is OPENAI


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_says_where_its_provider_is_or_what_to_fill_in(name: str) -> None:
    preset = PRESETS[name]
    if preset.base_url is None:
        assert "http" in preset.notes and "<" in preset.notes
    else:
        assert preset.base_url.startswith(("https://", "http://127.0.0.1:"))
        assert not preset.base_url.endswith("/")


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("bearer", ((b"Authorization", b"Bearer sk-1"),)),
        ("api-key", ((b"api-key", b"sk-1"),)),
        ("none", ()),
    ],
)
def test_a_key_travels_as_its_provider_wants_it(
    monkeypatch: pytest.MonkeyPatch, auth: str, expected: object
) -> None:
    monkeypatch.setenv("PRESET_TEST_API_KEY", "sk-1\n")
    assert _authorization("env:PRESET_TEST_API_KEY", auth) == expected  # type: ignore[arg-type]
    assert _authorization(None, auth) == ()  # type: ignore[arg-type]


def test_a_key_that_is_no_header_value_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD_TEST_API_KEY", "ключ")
    with pytest.raises(UpstreamCallError) as caught:
        _authorization("env:ODD_TEST_API_KEY", "bearer")
    assert caught.value.error_class == "secret" and "ключ" not in str(caught.value)


def test_a_query_of_the_base_stays_at_the_end() -> None:
    base = "https://r.openai.azure.com/openai/deployments/d?api-version=2024-10-21"
    endpoint = _endpoint("azure", base, "/chat/completions")
    expected = b"/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert endpoint.target == expected
    assert dict(endpoint.headers)[b"Host"] == b"r.openai.azure.com"


def test_names_and_paths_beyond_ascii_are_encoded() -> None:
    endpoint = _endpoint("vllm", "http://müller.example:8000/v1/ü", "/chat/completions")
    assert endpoint.origin == ("http", "xn--mller-kva.example", 8000)
    assert endpoint.target == b"/v1/%C3%BC/chat/completions"
    assert dict(endpoint.headers)[b"Host"] == b"xn--mller-kva.example:8000"


@pytest.mark.parametrize(
    "base", ["http://[::1", "http://h:99999/v1", "http://h:x/v1", "http://a..b/"]
)
def test_an_address_that_is_none_cannot_be_connected_to(base: str) -> None:
    with pytest.raises(UpstreamCallError) as caught:
        _endpoint("openai", base, "/chat/completions")
    assert caught.value.error_class == "connect"
