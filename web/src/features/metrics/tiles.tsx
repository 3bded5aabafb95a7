import { useMemo } from "react";
import { learningMetrics } from "@/api/queries/learning-metrics";
import type { LearningMetrics, Window } from "@/api/types";
import { Failure } from "@/components/failure";
import { StaleBadge } from "@/components/stale-badge";
import { common } from "@/i18n/common";
import { useFormat, useText } from "@/i18n/language";
import { METRICS, type MetricId } from "@/lib/metric";
import { significantSign } from "@/lib/significance";
import { WINDOW_MS } from "@/lib/window";
import { useLive } from "@/live/live";
import { prepareSeries, sparkValues } from "./prepare-series";
import { text } from "./text";
import { Tile, type TileProps } from "./tile";
import { useAxis } from "./use-axis";

interface TilesProps {
  window: Window;
  metric: MetricId;
  onMetric: (metric: MetricId) => void;
}

/** Six figures of the window; five of them choose what the chart below shows. */
export function Tiles({ window, metric, onMetric }: TilesProps) {
  const words = useText(text);
  const query = useLive(learningMetrics(window));
  if (query.data === undefined && query.isError) {
    return (
      <div className="rounded-lg border border-line bg-surface shadow-card">
        <Failure error={query.error} onRetry={() => void query.refetch()} />
      </div>
    );
  }
  return (
    <section aria-label={words.title} aria-busy={query.isPending}>
      {query.data && query.isError && (
        <div className="mb-2 flex justify-end">
          <StaleBadge updatedAt={query.dataUpdatedAt} />
        </div>
      )}
      <ul className="grid grid-cols-2 gap-3 sm:grid-cols-3 xl:grid-cols-6">
        {query.data ? (
          <Figures metrics={query.data} window={window} metric={metric} onMetric={onMetric} />
        ) : (
          <Waiting />
        )}
      </ul>
    </section>
  );
}

function Waiting() {
  const { loading } = useText(common);
  return [...METRICS, "regret"].map((id) => (
    <li key={id} className="h-[7.125rem] rounded-lg border border-line bg-surface p-4 shadow-card">
      <span className="sr-only">{loading}</span>
      <div className="skeleton h-3 w-16" />
      <div className="skeleton mt-3 h-6 w-24" />
      <div className="skeleton mt-3 h-3 w-20" />
    </li>
  ));
}

type FiguresProps = TilesProps & { metrics: LearningMetrics };

function Figures({ metrics, window, metric, onMetric }: FiguresProps) {
  const words = useText(text);
  const format = useFormat();
  // The sparkline leaves out the bucket that is still filling: its dip would mean nothing.
  const axis = useAxis(metrics);
  const sparks = useMemo(() => {
    const values = (id: MetricId) => sparkValues(prepareSeries(metrics.series, id, axis).points);
    return new Map(METRICS.map((id) => [id, values(id)]));
  }, [metrics.series, axis]);

  const { requests, successes, failures } = metrics;
  // Decisions that nobody had served here have no outcome: they are neither of the two.
  const served = successes + failures;
  const of = (part: number, whole: number) => (whole === 0 ? null : part / whole);
  const minutes = WINDOW_MS[window] / 60_000;
  const details: Record<MetricId, Pick<TileProps, "value" | "basis" | "detail">> = {
    requests: {
      value: format.count(requests),
      detail: words.perMinute(format.rate(requests / minutes)),
    },
    success: {
      value: format.percent(of(successes, served), 2),
      detail: words.failed(format.count(failures)),
    },
    latency: {
      value: format.ms(metrics.latency_p95_ms),
      detail: words.otherPercentiles(
        format.ms(metrics.latency_p50_ms),
        format.ms(metrics.latency_p99_ms),
      ),
    },
    cost: {
      value: format.usd(metrics.cost_usd),
      detail: words.perRequest(format.usd(of(metrics.cost_usd, served))),
    },
    reward: {
      value: format.usd(metrics.reward_mean_usd),
      basis: words.perDecision,
      detail: words.quality(format.score(metrics.quality_mean)),
    },
  };
  const regret = metrics.regret_vs_best_fixed_usd;
  const sign = significantSign(regret, metrics.regret_se_usd);
  return (
    <>
      {METRICS.map((id) => (
        <Tile
          key={id}
          label={words[id]}
          {...details[id]}
          values={sparks.get(id)}
          choose={{
            label: words.chartOf(words[id]),
            isChosen: id === metric,
            onChoose: () => onMetric(id),
          }}
        />
      ))}
      <Tile
        label={words.regret}
        value={format.usdSigned(regret)}
        basis={words.perDecision}
        hint={words.regretHint}
        more={words.explored(
          format.percent(metrics.exploration_share),
          format.usd(metrics.exploration_usd),
        )}
        detail={
          regret === null ? "" : sign < 0 ? words.ahead : sign > 0 ? words.behind : words.level
        }
        detailTone={sign === 0 ? "plain" : sign < 0 ? "good" : "bad"}
      />
    </>
  );
}
