import { useFormat, useText } from "@/i18n/language";
import type { MetricId } from "@/lib/metric";
import { text } from "./text";

interface MetricFormat {
  /** With its unit, as exact as the figure is. */
  exact: (value: number | null) => string;
  /** The unit's basis, where the figure is a mean. */
  basis: string | null;
}

export function useMetricFormat(metric: MetricId): MetricFormat {
  const format = useFormat();
  const words = useText(text);
  const formats: Record<MetricId, MetricFormat> = {
    requests: { exact: format.countExact, basis: null },
    success: { exact: (value) => format.percent(value, 2), basis: null },
    latency: { exact: format.ms, basis: null },
    cost: { exact: format.usd, basis: null },
    reward: { exact: format.usd, basis: words.meanPerDecision },
  };
  return formats[metric];
}
