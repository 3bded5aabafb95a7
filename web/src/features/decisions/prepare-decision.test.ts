import { expect, it } from "vitest";
import { createFormat } from "@/i18n/format";
import { makeDecision, makeFeedback } from "@/testing/fixtures";
import {
  answerText,
  chosenUtility,
  latestScore,
  marginAmount,
  neighbours,
  outcomeHealth,
  promptText,
  rankCandidates,
} from "./prepare-decision";

const format = createFormat("en");

it("ranks candidates by utility and puts the ineligible last", () => {
  const ranked = rankCandidates(makeDecision().candidates);
  expect(ranked.map(({ model }) => model)).toEqual([
    "replay/qwen2.5-7b-instruct",
    "replay/gemma-2-9b-it",
    "replay/llama3-chatqa-1.5-70b",
  ]);
});

it("reads the predicted utility of the chosen model", () => {
  expect(chosenUtility(makeDecision())).toBe(0.0132);
  expect(chosenUtility(makeDecision({ candidates: [] }))).toBeNull();
});

it("takes the latest score, and none from nobody", () => {
  const early = makeFeedback({ score: 0.2, created_at: "2026-02-07T12:00:00Z" });
  const late = makeFeedback({ score: 0.9, created_at: "2026-02-07T12:05:00Z" });
  expect(latestScore(makeDecision({ feedback: [late, early] }))).toBe(0.9);
  expect(latestScore(makeDecision({ feedback: [] }))).toBeNull();
});

it("tells a fallback from the chosen model and from a failure", () => {
  const { outcome, model } = makeDecision();
  if (!outcome) throw new Error("the fixture has an outcome");
  expect(outcomeHealth(outcome, model)).toBe("operational");
  expect(outcomeHealth({ ...outcome, model: "another" }, model)).toBe("degraded");
  expect(outcomeHealth({ ...outcome, status: "error" }, model)).toBe("down");
});

it("reads stored prompts and answers, and knows when nothing is stored", () => {
  expect(promptText({ prompt: "Why?" })).toBe("Why?");
  expect(promptText({ messages: [{ role: "user", content: "Why?" }] })).toBe("Why?");
  const parts = [
    { type: "text", text: "See" },
    { type: "image_url" },
    { type: "text", text: "this" },
  ];
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: parts },
  ];
  expect(promptText({ messages })).toBe("system: Be brief.\n\nuser: See\nthis");
  expect(answerText({ choices: [{ message: { content: "42" } }] })).toBe("42");
  expect([promptText(null), answerText(null), answerText({ choices: [] })]).toEqual([
    null,
    null,
    null,
  ]);
});

it("writes a margin in the unit of what changes", () => {
  const margin = { runner_up: "m", gap_usd: 0.01 };
  const write = (change: string, amount: number) =>
    marginAmount({ ...margin, change, amount }, format).replace("\u00a0", " ");
  expect(write("quality", 0.0536)).toBe("+0.054");
  expect(write("cost_usd", -0.00012)).toBe("−$0.000120");
  expect(write("latency_ms", -300)).toBe("−300 ms");
});

it("finds the newer and the older decision in the list", () => {
  const ids = ["c", "b", "a"];
  expect(neighbours(ids, "b")).toEqual({ newer: "c", older: "a" });
  expect(neighbours(ids, "c")).toEqual({ newer: null, older: "b" });
  expect(neighbours(ids, "gone")).toEqual({ newer: null, older: null });
});
