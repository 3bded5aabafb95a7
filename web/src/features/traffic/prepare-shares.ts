import type { AllocationItem, LevelId } from "@/api/types";
import { LEVELS } from "@/lib/level";

export interface Share {
  /** Null stands for all models that are not shown by themselves. */
  model: string | null;
  /** How many models this row stands for. */
  models: number;
  planned: number;
  actual: number;
  decisions: number;
}

export interface LevelShares {
  level: LevelId;
  decisions: number;
  shares: Share[];
}

const SHOWN = 5;

const weight = (share: Share) => Math.max(share.actual, share.planned);

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

/** Groups the allocation by level, largest share first, and folds the tail into one row. */
export function prepareShares(items: readonly AllocationItem[]): LevelShares[] {
  return LEVELS.map((level) => {
    const all = items
      .filter((item) => item.level === level)
      .map((item) => ({
        model: item.model,
        models: 1,
        planned: item.planned_share,
        actual: item.actual_share,
        decisions: item.decisions,
      }))
      .sort((a, b) => weight(b) - weight(a) || a.model.localeCompare(b.model));
    const decisions = total(all.map((share) => share.decisions));
    return { level, decisions, shares: foldTail(all) };
  });
}

function foldTail(all: Share[]): Share[] {
  if (all.length <= SHOWN + 1) return all;
  const tail = all.slice(SHOWN);
  const other: Share = {
    model: null,
    models: tail.length,
    planned: total(tail.map((share) => share.planned)),
    actual: total(tail.map((share) => share.actual)),
    decisions: total(tail.map((share) => share.decisions)),
  };
  return [...all.slice(0, SHOWN), other];
}
