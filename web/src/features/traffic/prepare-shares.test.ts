import { expect, it } from "vitest";
import { makeAllocation } from "@/testing/fixtures";
import { prepareShares } from "./prepare-shares";

const item = (model: string, planned: number, actual: number, decisions = 1) =>
  makeAllocation({ model, planned_share: planned, actual_share: actual, decisions });

const level3 = (items: ReturnType<typeof item>[]) => {
  const found = prepareShares(items).find(({ level }) => level === "L3");
  if (!found) throw new Error("L3 is missing");
  return found;
};

it("always names the four levels, also those without traffic", () => {
  const levels = prepareShares([item("a", 1, 1)]);
  expect(levels.map(({ level }) => level)).toEqual(["L1", "L2", "L3", "L4"]);
  expect(levels.map(({ shares }) => shares.length)).toEqual([0, 0, 1, 0]);
});

it("puts the largest share first, planned or actual", () => {
  const { shares } = level3([item("a", 0.1, 0.1), item("b", 0.2, 0.9), item("c", 0.7, 0)]);
  expect(shares.map(({ model }) => model)).toEqual(["b", "c", "a"]);
});

it("folds a long tail into one row whose shares are the sums", () => {
  const many = Array.from({ length: 9 }, (_, index) => item(`m${index}`, 0.1, 0.05, 2));
  const { shares, decisions } = level3(many);
  expect(shares).toHaveLength(6);
  expect(shares.at(-1)).toMatchObject({ model: null, models: 4, decisions: 8 });
  expect(shares.at(-1)?.planned).toBeCloseTo(0.4);
  expect(decisions).toBe(18);
});

it("does not fold a single model away", () => {
  const six = Array.from({ length: 6 }, (_, index) => item(`m${index}`, 0.1, 0.1));
  expect(level3(six).shares.every(({ model }) => model !== null)).toBe(true);
});
