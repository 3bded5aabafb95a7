import type { Outcome } from "@/api/types";
import { HealthDot } from "@/components/health-dot";
import { useText } from "@/i18n/language";
import { outcomeHealth } from "./prepare-decision";
import { text } from "./text";

/** How serving ended, in the API's own word. */
export function OutcomeState({ outcome }: { outcome: Outcome | null }) {
  const words = useText(text);
  if (!outcome) return <span className="text-ink-3">{words.pending}</span>;
  return (
    <span className="inline-flex items-baseline gap-1.5">
      <HealthDot health={outcomeHealth(outcome)} />
      {outcome.error_class ?? outcome.status}
    </span>
  );
}
