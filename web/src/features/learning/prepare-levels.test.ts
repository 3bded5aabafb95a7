import { expect, it } from "vitest";
import type { LevelMetrics } from "@/api/types";
import { makeMetrics, makeNeuralStatus } from "@/testing/fixtures";
import { position, prepareLevels } from "./prepare-levels";

const [base] = makeMetrics().levels as [LevelMetrics];

it("puts levels in order and adds the fixed model of each", () => {
  const learning = [base, { ...base, level: "L1" as const }];
  const { rows } = prepareLevels(learning, makeNeuralStatus().levels);
  expect(rows.map(({ level, primary }) => [level, primary])).toEqual([
    ["L1", null],
    ["L3", "replay/gemma-2-9b-it"],
  ]);
});

it("spans one axis over all intervals and zero", () => {
  const learning = [
    base,
    { ...base, level: "L1" as const, reward_ci_usd: [-0.002, 0.004] as [number, number] },
  ];
  const { axis } = prepareLevels(learning, undefined);
  expect(axis).toEqual({ low: -0.002, high: 0.0143 });
  expect(position(axis.low, axis)).toBe(0);
  expect(position(axis.high, axis)).toBe(100);
});

it("has no interval without evidence", () => {
  const { rows, axis } = prepareLevels([{ ...base, reward_ci_usd: null }], undefined);
  expect(rows[0]?.interval).toBeNull();
  expect(position(0, axis)).toBe(50);
});
