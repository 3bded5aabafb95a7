import type { MetricsBucket } from "@/api/types";
import type { MetricId } from "@/lib/metric";

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
  spanMs: number;
  /** Counts and sums per bucket are bars; ratios, means and percentiles are lines. */
  shape: "bar" | "line";
}

const FIELDS: Record<MetricId, Exclude<keyof MetricsBucket, "at">> = {
  requests: "requests",
  success: "success_rate",
  latency: "latency_p95_ms",
  cost: "cost_usd",
  reward: "reward_mean_usd",
};

const isSum = (metric: MetricId) => metric === "requests" || metric === "cost";

/** The distance of two neighbouring buckets; a single bucket is taken for a minute. */
function bucketLength(times: readonly number[]): number {
  const gaps = times.slice(1).map((at, index) => at - (times[index] ?? at));
  const positive = gaps.filter((gap) => gap > 0);
  return positive.length > 0 ? Math.min(...positive) : 60_000;
}

/** Whether the newest bucket was still filling when the answer came. */
export function isLastBucketOpen(buckets: readonly MetricsBucket[], fetchedAt: number): boolean {
  const times = buckets.map((bucket) => Date.parse(bucket.at)).sort((a, b) => a - b);
  const last = times.at(-1);
  return last !== undefined && last + bucketLength(times) > fetchedAt;
}

/** Puts one metric on an even time axis: left-out buckets become gaps, an open one stands apart. */
export function prepareSeries(
  buckets: readonly MetricsBucket[],
  metric: MetricId,
  isLastOpen: boolean,
): PreparedSeries {
  const field = FIELDS[metric];
  const measured = buckets
    .map((bucket) => ({ at: Date.parse(bucket.at), value: bucket[field] }))
    .sort((a, b) => a.at - b.at);
  const bucketMs = bucketLength(measured.map(({ at }) => at));
  const points: Point[] = [];
  for (const { at, value } of measured) {
    let previous = points.at(-1);
    while (previous && at - previous.at > bucketMs * 1.5) {
      previous = { at: previous.at + bucketMs, value: null, filling: null };
      points.push(previous);
    }
    points.push({ at, value, filling: null });
  }
  const shape = isSum(metric) ? "bar" : "line";
  if (isLastOpen) openLastBucket(points, shape);
  const spanMs = (points.at(-1)?.at ?? 0) - (points[0]?.at ?? 0);
  return { points, bucketMs, spanMs, shape };
}

function openLastBucket(points: Point[], shape: PreparedSeries["shape"]): void {
  const last = points.at(-1);
  if (!last) return;
  last.filling = last.value;
  last.value = null;
  const lastFull = points.at(-2);
  if (shape === "line" && lastFull) lastFull.filling = lastFull.value;
}

/** Whether a line through the points would not show this one, because both neighbours are gaps. */
export function isAlone(points: readonly Point[], index: number): boolean {
  const has = (at: number) => (points[at]?.value ?? null) !== null;
  return has(index) && !has(index - 1) && !has(index + 1);
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
