import { lazy, Suspense, useMemo } from "react";
import { learningMetrics } from "@/api/queries/learning-metrics";
import type { LearningMetrics, Window } from "@/api/types";
import { Panel } from "@/components/panel";
import { Segments } from "@/components/segments";
import { common } from "@/i18n/common";
import { useFormat, useText } from "@/i18n/language";
import type { MetricId } from "@/lib/metric";
import { BUCKET_MS } from "@/lib/window";
import { useLive } from "@/live/live";
import { prepareSeries } from "./prepare-series";
import { text } from "./text";
import { TrendTable } from "./trend-table";
import { useAxis } from "./use-axis";
import { useMetricFormat } from "./use-metric-format";

const TrendChart = lazy(() => import("./trend-chart"));

const ChartPlace = () => <div className="skeleton h-56" aria-hidden="true" />;

interface TrendProps {
  window: Window;
  metric: MetricId;
  view: "chart" | "table";
  onView: (view: "chart" | "table") => void;
  className?: string;
}

/** One figure over the window, as a chart or as the table behind it. */
export function Trend({ window, metric, view, onView, className }: TrendProps) {
  const words = useText(text);
  const shared = useText(common);
  const query = useLive(learningMetrics(window));
  return (
    <Panel
      className={className}
      title={words[metric]}
      note={<TrendNote window={window} metric={metric} />}
      query={query}
      isEmpty={(data) => data.series.length === 0}
      empty={
        <>
          <p className="font-medium">{words.emptyTitle}</p>
          <p className="mt-1 text-xs">{words.emptyHint}</p>
        </>
      }
      skeleton={<ChartPlace />}
      actions={
        <Segments
          label={words.trend}
          value={view}
          onChange={onView}
          options={[
            { value: "chart", label: shared.chart },
            { value: "table", label: shared.table },
          ]}
        />
      }
    >
      {(data) => <Series data={data} metric={metric} view={view} />}
    </Panel>
  );
}

type SeriesProps = Pick<TrendProps, "metric" | "view"> & { data: LearningMetrics };

function Series({ data, metric, view }: SeriesProps) {
  const words = useText(text);
  const axis = useAxis(data);
  const series = useMemo(
    () => prepareSeries(data.series, metric, axis),
    [data.series, metric, axis],
  );
  if (view === "table") return <TrendTable series={series} metric={metric} />;
  if (series.points.every(({ value, filling }) => value === null && filling === null)) {
    return <p className="m-auto px-6 py-8 text-ink-2">{words.trendEmpty}</p>;
  }
  return (
    <div className="min-h-60 flex-1 p-3 pl-1">
      <Suspense fallback={<ChartPlace />}>
        <TrendChart series={series} metric={metric} />
      </Suspense>
    </div>
  );
}

function TrendNote({ window, metric }: Pick<TrendProps, "window" | "metric">) {
  const words = useText(text);
  const format = useFormat();
  const { basis } = useMetricFormat(metric);
  const bucket = words.perBucket(format.duration(BUCKET_MS[window] / 1_000));
  return basis ? `${basis}, ${bucket}` : bucket;
}
