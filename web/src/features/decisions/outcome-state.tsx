import type { Outcome } from "@/api/types";
import { HealthDot } from "@/components/health-dot";
import { useText } from "@/i18n/language";
import { outcomeHealth } from "./prepare-decision";
import { text } from "./text";

interface OutcomeStateProps {
  outcome: Outcome | null;
  /** The model that was chosen, which need not be the one that served. */
  chosen: string;
}

/** How serving ended: by the chosen model, by a fallback, or with an error in the API's word. */
export function OutcomeState({ outcome, chosen }: OutcomeStateProps) {
  const words = useText(text);
  if (!outcome) return <span className="text-ink-3">{words.pending}</span>;
  return (
    <span className="inline-flex items-baseline gap-1.5">
      <HealthDot health={outcomeHealth(outcome, chosen)} />
      {outcome.error_class ?? (outcome.model === chosen ? words.success : words.fellBack)}
    </span>
  );
}
