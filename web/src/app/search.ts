import type { LevelId, Window } from "@/api/types";
import { LEVELS } from "@/lib/level";
import { METRICS, type MetricId } from "@/lib/metric";
import { WINDOWS } from "@/lib/window";

/** What the overview shows, as it stands in the URL. Defaults are left out of it. */
export interface OverviewSearch {
  window?: Window;
  metric?: MetricId;
  view?: "table";
  level?: LevelId;
  /** The decision that is open in the drawer. */
  decision?: string;
}

function oneOf<Value extends string>(values: readonly Value[], input: unknown): Value | undefined {
  return values.find((value) => value === input);
}

const text = (input: unknown) => (typeof input === "string" && input !== "" ? input : undefined);

/** Reads the search parameters; what is not understood is dropped, never an error. */
export function parseOverviewSearch(search: Record<string, unknown>): OverviewSearch {
  return {
    window: oneOf(WINDOWS, search.window),
    metric: oneOf(METRICS, search.metric),
    view: oneOf(["table"] as const, search.view),
    level: oneOf(LEVELS, search.level),
    decision: text(search.decision),
  };
}

export interface SignInSearch {
  /** Where to go afterwards: a path of this site. */
  next?: string;
}

/** Accepts only paths, so that a crafted link cannot send a signed-in user elsewhere. */
export function parseSignInSearch(search: Record<string, unknown>): SignInSearch {
  const next = text(search.next);
  return { next: next && /^\/(?![/\\])/.test(next) ? next : undefined };
}
