import { describe, expect, it } from "vitest";
import { MINUTE_MS, makeBucket, makeMetrics, NOON } from "@/testing/fixtures";
import {
  type Axis,
  isAlone,
  prepareSeries,
  sparkPath,
  sparkValues,
  valueRange,
  windowAxis,
} from "./prepare-series";

const at = (minute: number) => NOON + minute * MINUTE_MS;
const axis = (buckets: number): Axis => ({ fromMs: NOON, bucketMs: MINUTE_MS, buckets });

describe("windowAxis", () => {
  it("spans the window from its start to the bucket that is filling", () => {
    expect(windowAxis(makeMetrics({ series: [makeBucket(40)] }))).toEqual(axis(61));
    expect(windowAxis(makeMetrics({ series: [] }))).toEqual(axis(61));
    expect(windowAxis(makeMetrics({ window: "24h", series: [] })).buckets).toBe(25);
  });

  it("starts its buckets where the API starts them", () => {
    const late = { ...makeBucket(0), at: "2026-02-07T18:00:00Z" };
    const since = "2026-02-07T13:00:00Z";
    const found = windowAxis(makeMetrics({ window: "7d", since, series: [late] }));
    // From noon of the first day to noon of the last, when the window ends at one o'clock.
    expect(found).toMatchObject({ fromMs: NOON, buckets: 29 });
  });
});

describe("prepareSeries", () => {
  it("keeps a null as a gap and a zero as a zero", () => {
    const measured = [makeBucket(0, { requests: 0 }), makeBucket(1)];
    const { points } = prepareSeries(measured, "requests", axis(4));
    expect(points.map((point) => point.value)).toEqual([0, 10, null, null]);
    expect(points.map((point) => point.at)).toEqual([0, 1, 2, 3].map(at));
  });

  it("takes the open bucket out of the bars", () => {
    const { points, shape } = prepareSeries([makeBucket(0), makeBucket(1)], "requests", axis(2));
    expect(shape).toBe("bar");
    expect(points).toEqual([
      { at: at(0), value: 10, filling: null },
      { at: at(1), value: null, filling: 10 },
    ]);
  });

  it("joins the open end of a line to the last full bucket", () => {
    const measured = [makeBucket(0), makeBucket(1, { latency_p95_ms: 1_200 })];
    const { points, shape } = prepareSeries(measured, "latency", axis(2));
    expect(shape).toBe("line");
    expect(points.map((point) => point.filling)).toEqual([900, 1_200]);
    expect(points.map((point) => point.value)).toEqual([900, null]);
  });

  it("ignores what lies outside the axis", () => {
    const { points } = prepareSeries([makeBucket(-3), makeBucket(9)], "cost", axis(2));
    expect(points.every(({ value, filling }) => value === null && filling === null)).toBe(true);
  });
});

it("finds points that a line cannot show", () => {
  const { points } = prepareSeries([makeBucket(1)], "latency", axis(4));
  expect([0, 1, 2].map((index) => isAlone(points, index))).toEqual([false, true, false]);
  const open = prepareSeries([makeBucket(3)], "latency", axis(4)).points;
  expect(isAlone(open, 3, "filling")).toBe(true);
});

describe("valueRange", () => {
  const success = (rate: number) =>
    prepareSeries([makeBucket(0, { success_rate: rate })], "success", axis(3)).points;

  it("looks closely at success, just below the worst bucket", () => {
    expect(valueRange("success", success(0.994))).toEqual([0.98, 1]);
    expect(valueRange("success", success(1))).toEqual([0.99, 1]);
    expect(valueRange("success", success(0))).toEqual([0, 1]);
  });

  it("starts at zero, except for rewards, which may lie below", () => {
    expect(valueRange("latency", [])[0]).toBe(0);
    expect(valueRange("reward", [])[0]).toBeUndefined();
  });
});

describe("sparkValues", () => {
  it("leaves out the open bucket and the time before anything was measured", () => {
    const measured = Array.from({ length: 20 }, (_, index) => makeBucket(20 + index));
    const values = sparkValues(prepareSeries(measured, "requests", axis(40)).points);
    expect(values).toHaveLength(19);
    expect(values[0]).toBe(10);
  });

  it("does not make a curve out of two points", () => {
    const measured = [makeBucket(37), makeBucket(38), makeBucket(39)];
    const values = sparkValues(prepareSeries(measured, "requests", axis(40)).points);
    expect(values).toHaveLength(12);
  });
});

describe("sparkPath", () => {
  it("spans the box from the lowest to the highest value", () => {
    expect(sparkPath([0, 10, 5], 100, 20)).toBe("M0.0 20.0L50.0 0.0L100.0 10.0");
  });

  it("is interrupted at gaps", () => {
    expect(sparkPath([1, 2, null, 1, 2], 100, 10)).toBe("M0.0 10.0L25.0 0.0M75.0 10.0L100.0 0.0");
  });

  it("lies in the middle when nothing changes, and is empty without a course", () => {
    expect(sparkPath([3, 3], 10, 20)).toBe("M0.0 10.0L10.0 10.0");
    expect(sparkPath([3, null], 10, 20)).toBe("");
  });
});
