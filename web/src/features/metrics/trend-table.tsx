import { ScrollRegion } from "@/components/scroll-region";
import { useFormat, useText } from "@/i18n/language";
import type { MetricId } from "@/lib/metric";
import type { PreparedSeries } from "./prepare-series";
import { text } from "./text";
import { useMetricFormat } from "./use-metric-format";

/** The exact figures behind the chart, newest first. */
export function TrendTable({ series, metric }: { series: PreparedSeries; metric: MetricId }) {
  const words = useText(text);
  const format = useFormat();
  const { exact } = useMetricFormat(metric);
  const lastAt = series.points.at(-1)?.at;
  return (
    <ScrollRegion label={words[metric]} className="h-0 min-h-60 flex-1">
      <table className="w-full text-left">
        <thead className="sticky top-0 bg-surface text-xs text-ink-3">
          <tr>
            <th className="px-4 py-1.5 font-medium">{words.time}</th>
            <th className="px-4 py-1.5 text-right font-medium">{words[metric]}</th>
          </tr>
        </thead>
        <tbody className="figures">
          {series.points.toReversed().map(({ at, value, filling }) => (
            <tr key={at} className="border-t border-line">
              <td className="px-4 py-1 text-ink-2">{format.dateTime(new Date(at))}</td>
              <td className="px-4 py-1 text-right">
                {exact(value ?? (at === lastAt ? filling : null))}
                {at === lastAt && filling !== null && (
                  <span className="ml-2 text-2xs text-ink-3">{words.filling}</span>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollRegion>
  );
}
