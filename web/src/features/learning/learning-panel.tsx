import { learningMetrics } from "@/api/queries/learning-metrics";
import { neuralStatus } from "@/api/queries/neural-status";
import type { LearningMetrics, Window } from "@/api/types";
import { LevelTag } from "@/components/level-tag";
import { Panel } from "@/components/panel";
import { SkeletonRows } from "@/components/skeleton";
import { NO_VALUE } from "@/i18n/format";
import { useFormat, useText } from "@/i18n/language";
import { modelLabels } from "@/lib/model-labels";
import { HALF_WIDTHS_95, significantSign } from "@/lib/significance";
import { useLive } from "@/live/live";
import { type Axis, type LevelRow, position, prepareLevels } from "./prepare-levels";
import { text } from "./text";

/** What the learner knows per level, how sure it is, and what finding out costs. */
export function LearningPanel({ window, className }: { window: Window; className?: string }) {
  const words = useText(text);
  const format = useFormat();
  const query = useLive(learningMetrics(window));
  const data = query.data;
  return (
    <Panel
      className={className}
      title={words.title}
      note={
        data && (
          <span className="figures">
            {words.state(format.duration(data.state_age_s), format.count(data.updates))}
          </span>
        )
      }
      query={query}
      isEmpty={(metrics) => metrics.levels.length === 0}
      empty={words.empty}
      skeleton={<SkeletonRows rows={4} />}
    >
      {(metrics) => <LevelTable metrics={metrics} />}
    </Panel>
  );
}

const HEAD = "px-3 py-2 font-medium whitespace-nowrap first:pl-4 last:pr-4";
const CELL = "px-3 py-2.5 first:pl-4 last:pr-4";
const NUMBER = `${CELL} figures text-right whitespace-nowrap`;

function LevelTable({ metrics }: { metrics: LearningMetrics }) {
  const words = useText(text);
  const statuses = useLive(neuralStatus()).data?.levels;
  const { rows, axis } = prepareLevels(metrics.levels, statuses);
  const named = rows.flatMap(({ leader, primary }) => [leader, primary]);
  const labels = modelLabels(named.filter((model) => model !== null));
  return (
    <table className="w-full text-left">
      <thead className="text-xs text-ink-3">
        <tr>
          <th className={HEAD}>{words.level}</th>
          <th className={HEAD} title={words.leaderHint}>
            {words.leader}
          </th>
          <th className={`${HEAD} hidden xl:table-cell`} title={words.primaryHint}>
            {words.primary}
          </th>
          <th className={`${HEAD} hidden md:table-cell`}>{words.reward}</th>
          <th className={`${HEAD} text-right`} title={words.regretHint}>
            {words.regret}
          </th>
          <th className={`${HEAD} hidden text-right lg:table-cell`}>{words.quality}</th>
          <th className={`${HEAD} hidden text-right sm:table-cell`}>{words.exploration}</th>
          <th className={`${HEAD} hidden text-right lg:table-cell`}>{words.updates}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <Row key={row.level} row={row} axis={axis} labels={labels} />
        ))}
      </tbody>
    </table>
  );
}

interface RowProps {
  row: LevelRow;
  axis: Axis;
  labels: Map<string, string>;
}

function Row({ row, axis, labels }: RowProps) {
  const words = useText(text);
  const format = useFormat();
  const name = (model: string) => labels.get(model) ?? model;
  return (
    <tr className="border-t border-line align-middle">
      <td className={CELL}>
        <span className="hidden sm:inline">
          <LevelTag level={row.level} />
        </span>
        <span className="sm:hidden">
          <LevelTag level={row.level} short />
        </span>
      </td>
      <td className={`${CELL} w-full max-w-0 md:w-1/4`}>
        <p className="truncate font-medium" title={row.leader ?? undefined}>
          {row.leader ? name(row.leader) : words.noLeader}
        </p>
        <p className="figures text-2xs text-ink-2 md:hidden">
          <Reward row={row} />
        </p>
      </td>
      <td
        className={`${CELL} hidden w-1/4 max-w-0 truncate text-ink-2 xl:table-cell`}
        title={row.primary ?? undefined}
      >
        {row.primary ? name(row.primary) : NO_VALUE}
      </td>
      <td className={`${CELL} hidden md:table-cell`}>
        <div className="flex items-center gap-3">
          <Interval row={row} axis={axis} />
          <span className="figures text-xs whitespace-nowrap">
            <Reward row={row} />
          </span>
        </div>
      </td>
      <td className={NUMBER}>
        <Regret usd={row.regret_vs_best_fixed_usd} error={row.regret_se_usd} />
      </td>
      <td className={`${NUMBER} hidden lg:table-cell`}>{format.score(row.quality_mean)}</td>
      <td className={`${NUMBER} hidden sm:table-cell`}>{format.percent(row.exploration_share)}</td>
      <td className={`${NUMBER} hidden lg:table-cell`}>{format.count(row.updates)}</td>
    </tr>
  );
}

function Reward({ row }: { row: LevelRow }) {
  const format = useFormat();
  return (
    <>
      {format.usd(row.reward_mean_usd)}
      {row.interval && (
        <span className="ml-1.5 text-ink-3">
          [{format.usd(row.interval.low)}, {format.usd(row.interval.high)}]
        </span>
      )}
    </>
  );
}

/** Coloured only where the difference is more than its uncertainty. */
function Regret({ usd, error }: { usd: number | null; error: number | null }) {
  const format = useFormat();
  const sign = significantSign(usd, error);
  const tone = sign === 0 ? "" : sign < 0 ? "text-ok" : "text-warn";
  return (
    <span className={tone}>
      {format.usdSigned(usd)}
      {usd !== null && error !== null && (
        <span className="ml-1 hidden text-ink-3 lg:inline">
          ± {format.usd(HALF_WIDTHS_95 * error)}
        </span>
      )}
    </span>
  );
}

/** The mean as a dot on its interval, with a line at zero. */
function Interval({ row, axis }: { row: LevelRow; axis: Axis }) {
  if (!row.interval) return <span className="w-24 shrink-0" />;
  const { mean, low, high } = row.interval;
  const at = (value: number) => `${position(value, axis)}%`;
  return (
    <span aria-hidden="true" className="relative h-4 w-24 shrink-0">
      <span className="absolute inset-y-0 w-px bg-line-strong" style={{ left: at(0) }} />
      <span
        className="absolute top-1.5 h-1 rounded-sm bg-accent-fill opacity-45"
        style={{ left: at(low), right: `${100 - position(high, axis)}%` }}
      />
      <span
        className="absolute top-1 size-2 -translate-x-1/2 rounded-full bg-accent-fill"
        style={{ left: at(mean) }}
      />
    </span>
  );
}
