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

/** A request that another model had to save is a success of the gateway, not of the choice. */
export function outcomeHealth({ status, model }: Outcome, chosen: string): Health {
  if (status !== "success") return "down";
  return model === chosen ? "operational" : "degraded";
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

type Stored = Record<string, unknown> | null;

/** The text of a message's content: plain, or the text parts of a list. */
function contentText(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content
    .map((part) => (typeof part?.text === "string" ? part.text : ""))
    .filter((text) => text !== "")
    .join("\n");
}

/** What was asked, where storing text is switched on: the prompt, or all messages by role. */
export function promptText(stored: Stored): string | null {
  if (typeof stored?.prompt === "string") return stored.prompt;
  if (!Array.isArray(stored?.messages)) return null;
  const messages = stored.messages.map((message) => ({
    role: String(message?.role ?? ""),
    text: contentText(message?.content),
  }));
  if (messages.length === 1) return messages[0]?.text ?? null;
  return messages.map(({ role, text }) => `${role}: ${text}`).join("\n\n");
}

/** What was answered, where storing text is switched on. */
export function answerText(stored: Stored): string | null {
  if (!Array.isArray(stored?.choices)) return null;
  return contentText(stored.choices[0]?.message?.content) || null;
}
