import { allocation } from "@/api/queries/allocation";
import type { AllocationItem, Window } from "@/api/types";
import { LevelTag } from "@/components/level-tag";
import { Panel } from "@/components/panel";
import { SkeletonRows } from "@/components/skeleton";
import { useFormat, useText } from "@/i18n/language";
import { modelLabels } from "@/lib/model-labels";
import { useLive } from "@/live/live";
import { type LevelShares, prepareShares, type Share } from "./prepare-shares";
import { text } from "./text";

/** Where the traffic of each level goes: the bar is what happened, the tick what was planned. */
export function TrafficPanel({ window }: { window: Window }) {
  const words = useText(text);
  const query = useLive(allocation(window));
  return (
    <Panel
      title={words.title}
      note={words.note}
      actions={<Legend />}
      query={query}
      isEmpty={(data) => data.items.length === 0}
      empty={words.empty}
      skeleton={<SkeletonRows rows={6} />}
    >
      {(data) => <Levels items={data.items} />}
    </Panel>
  );
}

function Levels({ items }: { items: readonly AllocationItem[] }) {
  const labels = modelLabels(items.map((item) => item.model));
  return (
    <div className="grid gap-px overflow-hidden rounded-b-lg bg-line sm:grid-cols-2 xl:grid-cols-4">
      {prepareShares(items).map((level) => (
        <LevelShare key={level.level} {...level} labels={labels} />
      ))}
    </div>
  );
}

function Legend() {
  const words = useText(text);
  return (
    <p aria-hidden="true" className="flex items-center gap-3 text-2xs text-ink-3">
      <span className="flex items-center gap-1.5">
        <span className="h-1.5 w-4 rounded-sm bg-accent-fill" />
        {words.actual}
      </span>
      <span className="flex items-center gap-1.5">
        <span className="h-3 w-0.5 bg-ink" />
        {words.planned}
      </span>
    </p>
  );
}

type LevelShareProps = LevelShares & { labels: Map<string, string> };

function LevelShare({ level, decisions, shares, labels }: LevelShareProps) {
  const words = useText(text);
  const format = useFormat();
  return (
    <div className="min-w-0 bg-surface px-4 pt-3 pb-4">
      <h3 className="flex items-baseline justify-between gap-2 pb-2 text-sm font-medium">
        <LevelTag level={level} />
        <span className="figures text-2xs font-normal text-ink-3">
          {words.decisions(format.count(decisions))}
        </span>
      </h3>
      {shares.length === 0 ? (
        <p className="py-2 text-xs text-ink-3">{words.noTraffic}</p>
      ) : (
        <ul className="flex flex-col gap-2">
          {shares.map((share) => (
            <ShareRow key={share.model ?? "other"} share={share} labels={labels} />
          ))}
        </ul>
      )}
    </div>
  );
}

function ShareRow({ share, labels }: { share: Share; labels: Map<string, string> }) {
  const words = useText(text);
  const format = useFormat();
  const { model, models, planned, actual, decisions } = share;
  const name = model === null ? words.other(format.count(models)) : (labels.get(model) ?? model);
  const exact = words.exact(
    model ?? name,
    format.percent(actual, 2),
    format.percent(planned, 2),
    format.countExact(decisions),
  );
  return (
    <li title={exact}>
      <div className="flex items-baseline justify-between gap-3">
        <span className={`truncate text-xs ${model === null ? "text-ink-3" : "text-ink"}`}>
          {name}
        </span>
        <span className="figures shrink-0 text-xs">
          <span className="font-medium">{format.percent(actual)}</span>
          <span className="ml-2 inline-flex min-w-13 items-baseline justify-between gap-1 text-2xs text-ink-3">
            <span className="sr-only">{words.planned} </span>
            <span aria-hidden="true" className="h-2 w-px bg-ink-3" />
            {format.percent(planned)}
          </span>
        </span>
      </div>
      <div aria-hidden="true" className="relative mt-1 h-1.5 rounded-sm bg-sunken">
        <div
          className="h-full rounded-sm bg-accent-fill"
          style={{ width: `${Math.min(actual, 1) * 100}%` }}
        />
        <div
          className="absolute -inset-y-[3px] w-0.5 bg-ink"
          style={{ left: `calc(${Math.min(planned, 1) * 100}% - 1px)` }}
        />
      </div>
    </li>
  );
}
