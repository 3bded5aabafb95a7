import { expect, it } from "vitest";
import { timeTicks } from "./time-ticks";

const HOUR_MS = 3_600_000;
const local = (hour: number, minute = 0) => new Date(2026, 1, 7, hour, minute).getTime();

it("puts ticks on round local hours of a day", () => {
  const ticks = timeTicks(local(2, 24), local(23, 59), 8);
  expect(ticks.map((at) => new Date(at).getHours())).toEqual([3, 6, 9, 12, 15, 18, 21]);
});

it("puts ticks on round minutes of an hour", () => {
  const ticks = timeTicks(local(9, 3), local(10, 3), 8);
  expect(ticks.map((at) => new Date(at).getMinutes())).toEqual([10, 20, 30, 40, 50, 0]);
});

it("puts ticks on days of a week and is never crowded", () => {
  const ticks = timeTicks(local(0), local(0) + 7 * 24 * HOUR_MS, 8);
  expect(ticks).toHaveLength(8);
});

it("survives a span of nothing", () => {
  expect(timeTicks(local(9), local(9), 8)).toEqual([local(9)]);
});
