import { memo } from "react";
import type { Decision } from "@/api/types";
import { LevelTag } from "@/components/level-tag";
import { NO_VALUE } from "@/i18n/format";
import { useFormat, useText } from "@/i18n/language";
import { OutcomeState } from "./outcome-state";
import { chosenUtility, latestScore } from "./prepare-decision";
import { text } from "./text";

const CELL = "px-3 py-1.5 whitespace-nowrap first:pl-4 last:pr-4";
const NUMBER = `${CELL} figures text-right`;

interface DecisionRowProps {
  decision: Decision;
  label: string;
  isSelected: boolean;
  onSelect: (id: string) => void;
}

export const DecisionRow = memo(function DecisionRow(props: DecisionRowProps) {
  const { decision, label, isSelected, onSelect } = props;
  const words = useText(text);
  const format = useFormat();
  const createdAt = new Date(decision.created_at);
  const { outcome } = decision;
  return (
    <tr
      className={`relative border-t border-line transition-colors ${isSelected ? "bg-accent-soft" : "hover:bg-sunken"}`}
    >
      <td className={`${CELL} figures text-ink-2`} title={format.dateTime(createdAt)}>
        {format.clock(createdAt)}
      </td>
      <td className={CELL}>
        <span className="hidden lg:inline">
          <LevelTag level={decision.level} />
        </span>
        <span className="lg:hidden">
          <LevelTag level={decision.level} short />
        </span>
      </td>
      <td className={`${CELL} w-full max-w-0`}>
        <span className="flex items-baseline gap-2">
          <button
            type="button"
            aria-label={words.open(decision.model, format.clock(createdAt))}
            aria-expanded={isSelected}
            title={decision.model}
            onClick={() => onSelect(decision.decision_id)}
            className="truncate text-left font-medium after:absolute after:inset-0"
          >
            {label}
          </button>
          {decision.explored && <ExploredTag />}
        </span>
      </td>
      <td className={`${CELL} hidden text-ink-2 lg:table-cell`}>
        {decision.task_type ?? NO_VALUE}
      </td>
      <td className={`${NUMBER} hidden md:table-cell`}>{format.percent(decision.propensity)}</td>
      <td className={`${NUMBER} hidden lg:table-cell`}>{format.usd(chosenUtility(decision))}</td>
      <td className={`${NUMBER} hidden sm:table-cell`}>{format.ms(outcome?.latency_ms)}</td>
      <td className={`${NUMBER} hidden sm:table-cell`}>{format.usd(outcome?.cost_usd)}</td>
      <td className={`${CELL} hidden sm:table-cell`}>
        <OutcomeState outcome={outcome} chosen={decision.model} />
      </td>
      <td className={NUMBER}>{format.score(latestScore(decision))}</td>
    </tr>
  );
});

export function ExploredTag() {
  const words = useText(text);
  return (
    <span
      title={words.exploredHint}
      className="shrink-0 rounded bg-accent-soft px-1 text-2xs font-medium text-accent-strong"
    >
      {words.explored}
    </span>
  );
}
