import type { LevelMetrics, LevelStatus } from "@/api/types";

export interface LevelRow extends LevelMetrics {
  /** The model that the router would choose now. */
  primary: string | null;
  interval: { mean: number; low: number; high: number } | null;
}

/** A common axis for the reward intervals, so that levels can be compared by eye. */
export interface Axis {
  low: number;
  high: number;
}

export function prepareLevels(
  learning: readonly LevelMetrics[],
  statuses: readonly LevelStatus[] | undefined,
): { rows: LevelRow[]; axis: Axis } {
  const rows = learning
    .map((level) => {
      const primary = statuses?.find((status) => status.level === level.level)?.primary ?? null;
      const [low, high] = level.reward_ci_usd ?? [null, null];
      const mean = level.reward_mean_usd;
      const isKnown = mean !== null && low !== null && high !== null;
      return { ...level, primary, interval: isKnown ? { mean, low, high } : null };
    })
    .sort((a, b) => a.level.localeCompare(b.level));
  const ends = rows.flatMap(({ interval }) => (interval ? [interval.low, interval.high] : []));
  return { rows, axis: { low: Math.min(0, ...ends), high: Math.max(0, ...ends) } };
}

/** Where a value lies on the axis, in percent of its length. */
export function position(value: number, { low, high }: Axis): number {
  return high === low ? 50 : ((value - low) / (high - low)) * 100;
}
