import { expect, it } from "vitest";
import { modelLabels } from "./model-labels";

it("leaves the provider out", () => {
  expect(modelLabels(["openai/gpt-4o-mini", "local"]).get("openai/gpt-4o-mini")).toBe(
    "gpt-4o-mini",
  );
});

it("keeps the provider where two serve the same name", () => {
  const labels = modelLabels(["openai/gpt-4o", "azure/gpt-4o", "openai/gpt-4o"]);
  expect([...labels.values()]).toEqual(["openai/gpt-4o", "azure/gpt-4o"]);
});
