import type { ReactNode } from "react";
import type { Decision, Feedback } from "@/api/types";
import { LevelTag } from "@/components/level-tag";
import { ScrollRegion } from "@/components/scroll-region";
import { common } from "@/i18n/common";
import { useFormat, useText } from "@/i18n/language";
import { CandidateTable } from "./candidate-table";
import { ExploredTag } from "./decision-row";
import { OutcomeState } from "./outcome-state";
import { answerText, marginAmount, promptText } from "./prepare-decision";
import { text } from "./text";

/** Everything that is known of one decision: the choice, its reasons, and what came of it. */
export function DecisionCard({ decision }: { decision: Decision }) {
  const words = useText(text);
  return (
    <div className="flex flex-col">
      <Choice decision={decision} />
      <Section title={words.why}>
        <Reasons decision={decision} />
      </Section>
      <Section title={words.candidates}>
        <CandidateTable decision={decision} />
      </Section>
      <Section title={words.outcome}>
        <OutcomeFacts decision={decision} />
      </Section>
      <Section title={words.feedback}>
        <FeedbackList feedback={decision.feedback} />
      </Section>
      <StoredText title={words.prompt} text={promptText(decision.text)} />
      <StoredText title={words.answer} text={answerText(decision.answer)} />
    </div>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="border-t border-line px-4 py-3">
      <h3 className="pb-1.5 text-xs font-semibold text-ink-2">{title}</h3>
      {children}
    </section>
  );
}

/** Prompts and answers are there only where the operator chose to store them. */
function StoredText({ title, text }: { title: string; text: string | null }) {
  if (text === null) return null;
  return (
    <Section title={title}>
      <ScrollRegion label={title} className="max-h-72 rounded bg-sunken p-3">
        <p className="text-xs break-words whitespace-pre-wrap">{text}</p>
      </ScrollRegion>
    </Section>
  );
}

function Facts({ children }: { children: ReactNode }) {
  return <dl className="grid grid-cols-2 gap-x-4 gap-y-2">{children}</dl>;
}

interface FactProps {
  name: string;
  children: ReactNode;
  title?: string;
  isWide?: boolean;
}

function Fact({ name, children, title, isWide = false }: FactProps) {
  return (
    <div className={`min-w-0 ${isWide ? "col-span-2" : ""}`}>
      <dt className="text-2xs text-ink-3" title={title}>
        {name}
      </dt>
      <dd className="figures break-words">{children}</dd>
    </div>
  );
}

function Choice({ decision }: { decision: Decision }) {
  const words = useText(text);
  const shared = useText(common);
  const format = useFormat();
  const { level_confidence, level_source, policy, task_type, strategy, track } = decision;
  return (
    <div className="px-4 pt-3 pb-4">
      <p className="text-2xs text-ink-3">{words.chosen}</p>
      <p className="flex flex-wrap items-center gap-2 pb-3 text-base font-semibold break-all">
        {decision.model}
        {decision.explored && <ExploredTag />}
      </p>
      <Facts>
        <Fact name={words.level}>
          <LevelTag level={decision.level} />
          <p className="text-2xs text-ink-3">
            {words.confidence(format.percent(level_confidence, 0), words.sources[level_source])}
          </p>
        </Fact>
        <Fact name={words.propensity} title={words.propensityHint}>
          {format.percent(decision.propensity, 2)}
          {decision.regret_usd > 0 && (
            <p className="text-2xs text-ink-3">{words.givenUp(format.usd(decision.regret_usd))}</p>
          )}
        </Fact>
        <Fact name={words.policy}>
          {shared.policyVersion(policy.name, format.countExact(policy.version))}
          <p className="text-2xs text-ink-3">
            {strategy} · {track}
          </p>
        </Fact>
        <Fact name={words.time}>{format.dateTime(new Date(decision.created_at))}</Fact>
        {task_type && <Fact name={words.task}>{task_type}</Fact>}
      </Facts>
    </div>
  );
}

function Reasons({ decision }: { decision: Decision }) {
  const words = useText(text);
  const format = useFormat();
  const { why, margin } = decision;
  const changes: Record<string, (amount: string) => string> = words.changes;
  const describe = (change: string, amount: string) =>
    changes[change]?.(amount) ?? `${change} ${amount}`;
  return (
    <>
      <p className="break-words">{why}</p>
      {margin && (
        <p className="figures mt-1.5 text-xs text-ink-2">
          {words.flips(
            margin.runner_up,
            describe(margin.change, marginAmount(margin, format)),
            format.usd(margin.gap_usd),
          )}
        </p>
      )}
    </>
  );
}

function OutcomeFacts({ decision }: { decision: Decision }) {
  const words = useText(text);
  const format = useFormat();
  const { outcome, fallbacks, model } = decision;
  const fallbackNames = fallbacks.length > 0 ? fallbacks.join(", ") : words.none;
  if (!outcome) {
    return (
      <>
        <p className="pb-2 text-ink-2">{words.noOutcome}</p>
        <Facts>
          <Fact name={words.fallbacks} isWide>
            {fallbackNames}
          </Fact>
        </Facts>
      </>
    );
  }
  return (
    <Facts>
      <Fact name={words.outcome}>
        <OutcomeState outcome={outcome} chosen={model} />
      </Fact>
      <Fact name={words.latency}>{format.ms(outcome.latency_ms)}</Fact>
      <Fact name={words.cost}>{format.usd(outcome.cost_usd)}</Fact>
      <Fact name={words.tokens}>
        {words.tokenCounts(
          format.countExact(outcome.tokens_in),
          format.countExact(outcome.tokens_out),
        )}
      </Fact>
      {outcome.model !== model && <Fact name={words.servedBy}>{outcome.model}</Fact>}
      {outcome.error_class && <Fact name={words.error}>{outcome.error_class}</Fact>}
      <Fact name={words.fallbacks} isWide>
        {fallbackNames}
      </Fact>
    </Facts>
  );
}

function FeedbackList({ feedback }: { feedback: readonly Feedback[] }) {
  const words = useText(text);
  const format = useFormat();
  if (feedback.length === 0) return <p className="text-ink-2">{words.noFeedback}</p>;
  return (
    <ul className="flex flex-col gap-1">
      {feedback.map((item) => (
        <li key={`${item.source} ${item.created_at}`} className="figures flex gap-3">
          <span className="min-w-0 flex-1 truncate">{item.source}</span>
          {item.label && <span className="text-ink-2">{item.label}</span>}
          <span className="text-ink-3">{format.clock(new Date(item.created_at))}</span>
          <span title={words.reward}>
            <span className="sr-only">{words.reward} </span>
            {format.usd(item.reward_usd)}
          </span>
          <span className="font-medium">
            <span className="sr-only">{words.score} </span>
            {format.score(item.score)}
          </span>
        </li>
      ))}
    </ul>
  );
}
