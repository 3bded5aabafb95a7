import type { Health } from "@/api/types";

const FILLS: Record<Health, string> = {
  operational: "bg-ok-fill",
  degraded: "bg-warn-fill",
  down: "bg-bad-fill",
};

/** The colour of a state; always beside the word that says the same. */
export function HealthDot({ health }: { health: Health }) {
  return (
    <span
      aria-hidden="true"
      className={`inline-block size-2 shrink-0 rounded-full ${FILLS[health]}`}
    />
  );
}
