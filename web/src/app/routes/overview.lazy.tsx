import { createLazyRoute, useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback } from "react";
import { neuralStatus } from "@/api/queries/neural-status";
import { Segments } from "@/components/segments";
import { DecisionPeek } from "@/features/decisions/decision-peek";
import { DecisionsPanel } from "@/features/decisions/decisions-panel";
import { HealthPanel } from "@/features/health/health-panel";
import { LearningPanel } from "@/features/learning/learning-panel";
import { Tiles } from "@/features/metrics/tiles";
import { Trend } from "@/features/metrics/trend";
import { TrafficPanel } from "@/features/traffic/traffic-panel";
import { common } from "@/i18n/common";
import { useFormat, useText } from "@/i18n/language";
import { WINDOWS } from "@/lib/window";
import { useLive } from "@/live/live";
import type { OverviewSearch } from "../search";
import { text } from "../text";

export const Route = createLazyRoute("/signed-in/")({ component: OverviewPage });

/** What the page shows when the URL does not say. */
const DEFAULTS = { window: "1h", metric: "requests" } as const;

function OverviewPage() {
  const search = useSearch({ from: "/signed-in/" });
  const { window = DEFAULTS.window, metric = DEFAULTS.metric, view, level, decision } = search;
  const navigate = useNavigate({ from: "/" });
  const change = useCallback(
    (changes: OverviewSearch, replace = true) =>
      void navigate({
        search: (current) => ({ ...current, ...changes }),
        replace,
        resetScroll: false,
      }),
    [navigate],
  );
  const close = useCallback(() => change({ decision: undefined }), [change]);
  // Opening is a step of its own in the history, so that "back" closes the drawer.
  const open = useCallback(
    (id: string) => change({ decision: id }, decision !== undefined),
    [change, decision],
  );

  return (
    <div className="flex flex-col gap-4">
      <PageHeader
        window={window}
        onWindow={(next) => change({ window: next === DEFAULTS.window ? undefined : next })}
      />
      <Tiles
        window={window}
        metric={metric}
        onMetric={(next) => change({ metric: next === DEFAULTS.metric ? undefined : next })}
      />
      <div className="grid gap-4 lg:grid-cols-3">
        <Trend
          className="lg:col-span-2"
          window={window}
          metric={metric}
          view={view ?? "chart"}
          onView={(next) => change({ view: next === "table" ? next : undefined })}
        />
        <HealthPanel />
      </div>
      <TrafficPanel window={window} />
      <LearningPanel window={window} />
      <DecisionsPanel
        level={level}
        onLevel={(next) => change({ level: next })}
        selected={decision}
        onSelect={open}
      />
      {decision && <DecisionPeek id={decision} level={level} onSelect={open} onClose={close} />}
    </div>
  );
}

interface PageHeaderProps {
  window: NonNullable<OverviewSearch["window"]>;
  onWindow: (window: NonNullable<OverviewSearch["window"]>) => void;
}

function PageHeader({ window, onWindow }: PageHeaderProps) {
  const words = useText(text);
  const shared = useText(common);
  const format = useFormat();
  const policy = useLive(neuralStatus()).data?.policy;
  return (
    <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
      <h1 className="text-lg font-semibold tracking-tight">{words.overview}</h1>
      {policy && (
        <p className="text-xs text-ink-2">
          {words.policy}{" "}
          <span className="figures font-medium text-ink">
            {shared.policyVersion(policy.name, format.countExact(policy.version))}
          </span>
        </p>
      )}
      <div className="ml-auto">
        <Segments
          label={words.window}
          value={window}
          onChange={onWindow}
          options={WINDOWS.map((value) => ({ value, label: shared.windowsShort[value] }))}
        />
      </div>
    </div>
  );
}
