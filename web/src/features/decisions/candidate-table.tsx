import type { Candidate, Decision } from "@/api/types";
import { useFormat, useText } from "@/i18n/language";
import { modelLabels } from "@/lib/model-labels";
import { rankCandidates } from "./prepare-decision";
import { text } from "./text";

const HEAD = "py-1 pl-3 text-right font-medium whitespace-nowrap";
const NUMBER = "figures py-1.5 pl-3 text-right align-top whitespace-nowrap";

/** All models as the decision saw them: predictions, utility, probability, or why not. */
export function CandidateTable({ decision }: { decision: Decision }) {
  const words = useText(text);
  const ranked = rankCandidates(decision.candidates);
  const labels = modelLabels(ranked.map(({ model }) => model));
  return (
    <table className="w-full text-left text-xs">
      <thead className="text-2xs text-ink-3">
        <tr>
          <th className="py-1 font-medium">{words.model}</th>
          <th className={HEAD}>{words.quality}</th>
          <th className={`${HEAD} hidden sm:table-cell`}>{words.cost}</th>
          <th className={`${HEAD} hidden sm:table-cell`}>{words.latency}</th>
          <th className={HEAD}>{words.utility}</th>
          <th className={HEAD}>{words.probability}</th>
        </tr>
      </thead>
      <tbody>
        {ranked.map((candidate) => (
          <CandidateRow
            key={candidate.model}
            candidate={candidate}
            label={labels.get(candidate.model) ?? candidate.model}
            isChosen={candidate.model === decision.model}
          />
        ))}
      </tbody>
    </table>
  );
}

interface CandidateRowProps {
  candidate: Candidate;
  label: string;
  isChosen: boolean;
}

function CandidateRow({ candidate, label, isChosen }: CandidateRowProps) {
  const words = useText(text);
  const format = useFormat();
  const { quality, quality_sd, cost_usd, latency_ms, utility_usd, probability } = candidate;
  const name = (
    <span className="block truncate" title={candidate.model}>
      {isChosen && (
        <span
          aria-hidden="true"
          className="mr-1.5 inline-block size-1.5 rounded-full bg-accent align-middle"
        />
      )}
      {label}
      {isChosen && <span className="sr-only"> ({words.chosen})</span>}
      {candidate.flags.length > 0 && (
        <span className="ml-1.5 text-2xs font-normal text-warn">{candidate.flags.join(", ")}</span>
      )}
    </span>
  );
  if (!candidate.eligible) {
    return (
      <tr className="border-t border-line text-ink-3">
        <td className="max-w-0 py-1.5">{name}</td>
        <td colSpan={5} className="py-1.5 pl-3 text-right">
          {words.rejected}
          {candidate.why_not && `: ${candidate.why_not}`}
        </td>
      </tr>
    );
  }
  return (
    <tr className={`border-t border-line ${isChosen ? "font-semibold" : ""}`}>
      <td className="w-full max-w-0 py-1.5 align-top">{name}</td>
      <td className={NUMBER}>
        {format.score(quality)}
        {quality_sd !== null && (
          <span className="font-normal text-ink-3"> ±{format.score(quality_sd)}</span>
        )}
      </td>
      <td className={`${NUMBER} hidden sm:table-cell`}>{format.usd(cost_usd)}</td>
      <td className={`${NUMBER} hidden sm:table-cell`}>{format.ms(latency_ms)}</td>
      <td className={NUMBER}>{format.usd(utility_usd)}</td>
      <td className={NUMBER}>{format.percent(probability)}</td>
    </tr>
  );
}
