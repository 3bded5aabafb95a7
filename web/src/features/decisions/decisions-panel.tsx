import { decisionHistory } from "@/api/queries/decision-history";
import type { Decision, LevelId } from "@/api/types";
import { Panel } from "@/components/panel";
import { Segments } from "@/components/segments";
import { SkeletonRows } from "@/components/skeleton";
import { common } from "@/i18n/common";
import { useFormat, useText } from "@/i18n/language";
import { LEVELS } from "@/lib/level";
import { modelLabels } from "@/lib/model-labels";
import { useLive } from "@/live/live";
import { DecisionRow } from "./decision-row";
import { text } from "./text";

export const LIST_LENGTH = 20;

interface DecisionsPanelProps {
  level: LevelId | undefined;
  onLevel: (level: LevelId | undefined) => void;
  selected: string | undefined;
  onSelect: (id: string) => void;
}

/** The newest decisions; one click shows why. */
export function DecisionsPanel({ level, onLevel, selected, onSelect }: DecisionsPanelProps) {
  const words = useText(text);
  const levels = useText(common).levels;
  const format = useFormat();
  const query = useLive(decisionHistory({ level, limit: LIST_LENGTH }));
  return (
    <Panel
      title={words.title}
      note={query.data?.items.length ? words.note(format.count(query.data.items.length)) : null}
      actions={
        <Segments
          label={words.filter}
          value={level ?? "all"}
          onChange={(value) => onLevel(value === "all" ? undefined : value)}
          options={[
            { value: "all", label: words.all },
            ...LEVELS.map((id) => ({ value: id, label: id })),
          ]}
        />
      }
      query={query}
      isEmpty={(data) => data.items.length === 0}
      empty={level ? words.emptyLevel(`${level} ${levels[level]}`) : words.empty}
      skeleton={<SkeletonRows rows={10} />}
    >
      {(data) => <DecisionTable items={data.items} selected={selected} onSelect={onSelect} />}
    </Panel>
  );
}

const HEAD = "px-3 py-2 font-medium whitespace-nowrap first:pl-4 last:pr-4";
const NUMBER_HEAD = `${HEAD} text-right`;

type TableProps = Pick<DecisionsPanelProps, "selected" | "onSelect"> & { items: Decision[] };

function DecisionTable({ items, selected, onSelect }: TableProps) {
  const words = useText(text);
  const labels = modelLabels(items.map(({ model }) => model));
  return (
    <table className="w-full text-left">
      <thead className="text-xs text-ink-3">
        <tr>
          <th className={HEAD}>{words.time}</th>
          <th className={HEAD}>{words.level}</th>
          <th className={HEAD}>{words.model}</th>
          <th className={`${HEAD} hidden lg:table-cell`}>{words.task}</th>
          <th className={`${NUMBER_HEAD} hidden md:table-cell`} title={words.propensityHint}>
            {words.propensity}
          </th>
          <th className={`${NUMBER_HEAD} hidden lg:table-cell`}>{words.utility}</th>
          <th className={`${NUMBER_HEAD} hidden sm:table-cell`}>{words.latency}</th>
          <th className={`${NUMBER_HEAD} hidden sm:table-cell`}>{words.cost}</th>
          <th className={`${HEAD} hidden sm:table-cell`}>{words.outcome}</th>
          <th className={NUMBER_HEAD}>{words.score}</th>
        </tr>
      </thead>
      <tbody>
        {items.map((decision) => (
          <DecisionRow
            key={decision.decision_id}
            decision={decision}
            label={labels.get(decision.model) ?? decision.model}
            isSelected={decision.decision_id === selected}
            onSelect={onSelect}
          />
        ))}
      </tbody>
    </table>
  );
}
