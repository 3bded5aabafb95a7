"""What is spent on streams that break off equals what the model bills for them."""

from __future__ import annotations

from infra.bench.gateway_cuts import ENDINGS, measure_cuts

STREAMS = 300


def test_the_spend_on_broken_streams_is_the_models_bill() -> None:
    found = measure_cuts(STREAMS, seed=1, durable=False)
    assert set(found["endings"]) == set(ENDINGS)
    assert found["decisions"] == found["outcomes"] == STREAMS
    assert found["unlike"] == 0, found["examples"]
    assert found["difference_nano_usd"] == 0 and found["model_bill_nano_usd"] > 0
    # One number, enforced and reported: the key's spend is the sum of the outcomes.
    assert found["spend_nano_usd"] == found["recorded_nano_usd"]
    assert found["reserved_nano_usd"] == 0
    assert set(found["left_over"].values()) == {0}
