import { useMemo } from "react";
import type { LearningMetrics } from "@/api/types";
import { type Axis, windowAxis } from "./prepare-series";

/** The axis of the figures, the same object until a new bucket begins. */
export function useAxis(metrics: LearningMetrics): Axis {
  const { fromMs, bucketMs, buckets } = windowAxis(metrics);
  return useMemo(() => ({ fromMs, bucketMs, buckets }), [fromMs, bucketMs, buckets]);
}
