import type { LearningMetrics, MetricsPoint } from "@/api/types";
import type { MetricId } from "@/lib/metric";
import { BUCKET_MS, WINDOW_MS } from "@/lib/window";

/** One bucket of a chart. A null is a gap: nothing was measured, which is not the same as 0. */
export interface Point {
  at: number;
  value: number | null;
  /** The bucket that is still filling, drawn apart; on a line it starts at the last full bucket. */
  filling: number | null;
}

export interface PreparedSeries {
  points: Point[];
  bucketMs: number;
  /** Counts and sums per bucket are bars; ratios, means and percentiles are lines. */
  shape: "bar" | "line";
}

const FIELDS: Record<MetricId, Exclude<keyof MetricsPoint, "at">> = {
  requests: "requests",
  success: "success_rate",
  latency: "latency_p95_ms",
  cost: "cost_usd",
  reward: "reward_mean_usd",
};

const isSum = (metric: MetricId) => metric === "requests" || metric === "cost";

/** The even time axis of a window. It changes once per bucket, not with every poll. */
export interface Axis {
  /** The start of the first bucket. */
  fromMs: number;
  bucketMs: number;
  buckets: number;
}

/**
 * Lays the axis from the start of the window to the bucket that is filling, so that the chart
 * shows the whole window even when little of it was measured. It follows the server's clock: the
 * one of this machine may be wrong.
 */
export function windowAxis({ window, since, series }: LearningMetrics): Axis {
  const bucketMs = BUCKET_MS[window];
  const sinceMs = Date.parse(since);
  const first = series[0];
  // Buckets start where the API starts them, which need not be where the window does.
  const offset = first ? (Date.parse(first.at) - sinceMs) % bucketMs : 0;
  const fromMs = offset > 0 ? sinceMs + offset - bucketMs : sinceMs + offset;
  const buckets = Math.floor((sinceMs + WINDOW_MS[window] - fromMs) / bucketMs) + 1;
  return { fromMs, bucketMs, buckets };
}

/** Puts one metric on the axis. Buckets that the API left out are gaps; the last one is open. */
export function prepareSeries(
  measured: readonly MetricsPoint[],
  metric: MetricId,
  { fromMs, bucketMs, buckets }: Axis,
): PreparedSeries {
  const field = FIELDS[metric];
  const shape = isSum(metric) ? "bar" : "line";
  const points: Point[] = Array.from({ length: buckets }, (_, index) => ({
    at: fromMs + index * bucketMs,
    value: null,
    filling: null,
  }));
  for (const bucket of measured) {
    const point = points[Math.round((Date.parse(bucket.at) - fromMs) / bucketMs)];
    if (point) point.value = bucket[field];
  }
  openLastBucket(points, shape);
  return { points, bucketMs, shape };
}

function openLastBucket(points: Point[], shape: PreparedSeries["shape"]): void {
  const last = points.at(-1);
  if (!last || last.value === null) return;
  last.filling = last.value;
  last.value = null;
  const lastFull = points.at(-2);
  if (shape === "line" && lastFull) lastFull.filling = lastFull.value;
}

/** Whether a line through the points would not show this one, because both neighbours are gaps. */
export function isAlone(
  points: readonly Point[],
  index: number,
  field: "value" | "filling" = "value",
): boolean {
  const has = (at: number) => (points[at]?.[field] ?? null) !== null;
  return has(index) && !has(index - 1) && !has(index + 1);
}

/** The ends of the value axis; undefined lets the chart choose. */
export function valueRange(
  metric: MetricId,
  points: readonly Point[],
): readonly [number | undefined, number | undefined] {
  if (metric === "reward") return [undefined, undefined];
  if (metric !== "success") return [0, undefined];
  // Success lives close to 100 %: start one percentage point below the worst bucket.
  const known = points.flatMap(({ value, filling }) => value ?? filling ?? []);
  const lowest = Math.min(1, ...known);
  return [Math.max(0, Math.floor(lowest * 100 - 1) / 100), 1];
}

/** Fewer buckets than this would make a curve out of nearly nothing. */
const SHORTEST_SPARK = 12;

/** The values of a small curve: full buckets only, without the gap before the first of them. */
export function sparkValues(points: readonly Point[]): (number | null)[] {
  const values = points.slice(0, -1).map(({ value }) => value);
  const first = values.findIndex((value) => value !== null);
  return values.slice(Math.max(0, Math.min(first, values.length - SHORTEST_SPARK)));
}

/** An SVG path through the values in a box of the given size; it is interrupted at gaps. */
export function sparkPath(
  values: readonly (number | null)[],
  width: number,
  height: number,
): string {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return "";
  const low = Math.min(...known);
  const range = Math.max(...known) - low;
  const step = width / Math.max(values.length - 1, 1);
  let isPenDown = false;
  return values
    .flatMap((value, index) => {
      if (value === null) {
        isPenDown = false;
        return [];
      }
      const y = range === 0 ? height / 2 : height - ((value - low) / range) * height;
      const command = isPenDown ? "L" : "M";
      isPenDown = true;
      return `${command}${(index * step).toFixed(1)} ${y.toFixed(1)}`;
    })
    .join("");
}
