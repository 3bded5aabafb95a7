import type { Candidate, Decision, Health, Margin, Outcome } from "@/api/types";
import type { Format } from "@/i18n/format";

/** Eligible candidates by utility, then those that were ruled out, by name. */
export function rankCandidates(candidates: readonly Candidate[]): Candidate[] {
  return candidates.toSorted((a, b) => {
    if (a.eligible !== b.eligible) return a.eligible ? -1 : 1;
    const byUtility = (b.utility_usd ?? -Infinity) - (a.utility_usd ?? -Infinity);
    return byUtility || b.probability - a.probability || a.model.localeCompare(b.model);
  });
}

const isSuccess = (status: string) => ["success", "ok", "succeeded"].includes(status);

export function outcomeHealth(outcome: Outcome): Health {
  return isSuccess(outcome.status) && outcome.error_class === null ? "operational" : "down";
}

/** The utility that the chosen model was predicted to have. */
export function chosenUtility({ model, candidates }: Decision): number | null {
  return candidates.find((candidate) => candidate.model === model)?.utility_usd ?? null;
}

/** The latest score that somebody gave. */
export function latestScore({ feedback }: Decision): number | null {
  return (
    feedback.toSorted((a, b) => a.created_at.localeCompare(b.created_at)).at(-1)?.score ?? null
  );
}

/** The signed amount of a margin's change, in the unit of what changes. */
export function marginAmount({ change, amount }: Margin, format: Format): string {
  const sign = amount > 0 ? "+" : "−";
  const size = Math.abs(amount);
  if (change.includes("usd")) return sign + format.usd(size);
  if (change.endsWith("_ms")) return sign + format.ms(size);
  return sign + size.toPrecision(2);
}

/** The decisions before and after one in a list that is sorted newest first. */
export function neighbours(ids: readonly string[], id: string) {
  const index = ids.indexOf(id);
  if (index === -1) return { newer: null, older: null };
  return { newer: ids[index - 1] ?? null, older: ids[index + 1] ?? null };
}
