"""The recordings: what is loaded, in which order it is sent."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from infra.local.replay.pack import CHECKSUMS, checksums, compress, pack
from infra.local.replay.traffic import (
    DATA_DIR,
    LEVEL_OF_TASK,
    Traffic,
    TrafficError,
    Weights,
    estimate_tokens,
    load_traffic,
)

FIRST_ROWS = ["3214", "4619", "4591", "2711", "4386"]
HEADER = "id,task,prompt,q|one-7b,q|two-70b\n"


def write_table(
    folder: Path, rows: str, *, models: tuple[str, ...] = ("one-7b", "two-70b")
) -> None:
    prices = {model: {"usd_per_M_in": 0.2, "usd_per_M_out": 0.4} for model in models}
    (folder / "table.csv.gz").write_bytes(compress((HEADER + rows).encode()))
    (folder / "table_prices.json").write_text(json.dumps(prices))


class TestLoad:
    def test_holds_every_recorded_row_and_model_with_its_price(self, traffic: Traffic) -> None:
        assert len(traffic.rows) == 3488
        assert len(traffic.models) == 9
        prices = {model.name: model.input_usd_per_mtok for model in traffic.models}
        assert prices["gemma-2-9b-it"] == 0.1
        assert prices["llama3-chatqa-1.5-70b"] == 0.9

    def test_every_row_has_the_level_of_its_task(self, traffic: Traffic) -> None:
        assert {row.task for row in traffic.rows} == set(LEVEL_OF_TASK)
        assert all(row.level == LEVEL_OF_TASK[row.task] for row in traffic.rows)

    def test_rows_with_the_same_prompt_become_one_with_the_mean_quality(
        self, tmp_path: Path
    ) -> None:
        write_table(tmp_path, "x,mmlu,Same?,1,0\ny,gsm8k, Same? ,0,0.5\nz,mmlu,Other?,1,1\n")
        rows = load_traffic(tmp_path, "table").rows
        assert [row.id for row in rows] == ["x", "z"]
        assert (rows[0].task, rows[0].quality) == ("mmlu", (0.5, 0.25))

    @pytest.mark.parametrize(
        ("row", "complaint"),
        [
            ("x,poetry,P,1,0\n", "'poetry' has no level"),
            ("x,mmlu,P,1,\n", "row x"),
            ("x,mmlu,P,1,1.5\n", "outside"),
            ("x,mmlu,P,1,nan\n", "outside"),
        ],
    )
    def test_a_row_that_cannot_be_used_is_named(
        self, tmp_path: Path, row: str, complaint: str
    ) -> None:
        write_table(tmp_path, row)
        with pytest.raises(TrafficError, match=complaint):
            load_traffic(tmp_path, "table")

    def test_a_model_without_a_price_is_refused(self, tmp_path: Path) -> None:
        write_table(tmp_path, "x,mmlu,P,1,0\n", models=("one-7b",))
        with pytest.raises(TrafficError, match="two-70b has no price"):
            load_traffic(tmp_path, "table")

    def test_finds_models_by_name_and_by_registry_id(self, traffic: Traffic) -> None:
        index = traffic.model_index("qwen2.5-7b-instruct")
        assert index is not None
        assert traffic.models[index].id == "replay/qwen2.5-7b-instruct"
        assert traffic.model_index("replay/qwen2.5-7b-instruct") == index
        assert traffic.model_index("openai/gpt-4o") is None

    def test_finds_rows_by_id_and_by_prompt(self, traffic: Traffic) -> None:
        row = traffic.rows[17]
        assert traffic.row(row.id) is row
        assert traffic.row_of_prompt(f"\n{row.prompt} ") is row
        assert traffic.row_of_prompt("never asked") is None


class TestOrder:
    def test_one_pass_sends_every_row_once(self, traffic: Traffic) -> None:
        sent = Counter(traffic.at(sequence, 7).id for sequence in range(len(traffic.rows)))
        assert len(sent) == len(traffic.rows)
        assert set(sent.values()) == {1}

    def test_the_order_is_a_function_of_the_seed(self, traffic: Traffic) -> None:
        again = load_traffic()
        first = [traffic.at(sequence, 7).id for sequence in range(100)]
        assert first == [again.at(sequence, 7).id for sequence in range(100)]
        assert first != [traffic.at(sequence, 8).id for sequence in range(100)]

    def test_a_second_pass_has_another_order(self, traffic: Traffic) -> None:
        n = len(traffic.rows)
        first = [traffic.at(sequence, 7).id for sequence in range(100)]
        assert first != [traffic.at(n + sequence, 7).id for sequence in range(100)]

    def test_every_stretch_holds_all_levels_in_their_share(self, traffic: Traffic) -> None:
        whole = Counter(row.level for row in traffic.rows)
        for start in range(0, 3400, 100):
            part = Counter(traffic.at(start + place, 7).level for place in range(100))
            for level, count in whole.items():
                assert abs(part[level] - 100 * count / len(traffic.rows)) <= 2

    def test_the_first_rows_stay_what_they_are_on_every_python(self, traffic: Traffic) -> None:
        assert [traffic.at(sequence, 7).id for sequence in range(5)] == FIRST_ROWS


class TestAccounts:
    def test_four_characters_make_a_token_rounded_up(self) -> None:
        assert [estimate_tokens(text) for text in ("", "abcd", "abcde")] == [1, 1, 2]

    def test_cost_is_prompt_tokens_and_150_tokens_out(self, small_traffic: Traffic) -> None:
        row = small_traffic.rows[1]  # 9 characters: 3 tokens
        assert small_traffic.cost_usd(row, 1) == pytest.approx((3 + 150) * 0.9e-6)

    def test_utility_is_quality_less_cost_and_time_in_dollars(self) -> None:
        weights = Weights(quality_value_usd=0.01, latency_cost_usd_per_s=0.001)
        assert weights.utility_usd(0.5, 0.0002, 2500) == pytest.approx(0.005 - 0.0002 - 0.0025)


class TestCommittedCopies:
    def test_match_their_checksums(self) -> None:
        assert checksums(DATA_DIR) == (DATA_DIR / CHECKSUMS).read_text()

    def test_carry_neither_name_nor_time(self) -> None:
        for path in DATA_DIR.glob("*.csv.gz"):
            head = path.read_bytes()[:10]
            assert head[3] == 0, path  # no flags: no file name
            assert head[4:8] == bytes(4), path

    def test_packing_them_again_changes_nothing(self, tmp_path: Path) -> None:
        pack(DATA_DIR, tmp_path / "first")
        pack(tmp_path / "first", tmp_path / "second")
        first = {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()}
        assert first == {path.name: path.read_bytes() for path in (tmp_path / "second").iterdir()}
        assert first[CHECKSUMS] == (DATA_DIR / CHECKSUMS).read_bytes()
