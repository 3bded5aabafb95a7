/** The figures of the overview that have a course over time. */
export const METRICS = ["requests", "success", "latency", "cost", "reward"] as const;
export type MetricId = (typeof METRICS)[number];
