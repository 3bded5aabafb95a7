import { expect, it } from "vitest";
import {
  availabilityHealth,
  learnerHealth,
  modelsHealth,
  queueHealth,
  worst,
} from "./prepare-health";

const queue = { name: "learning", depth: 0, oldest_age_s: null, dead: 0 };
const learner = { version: 1, updated_at: null, age_s: 1, updates: 1 };

it("calls the models degraded when some are not up, and down when none is", () => {
  expect(modelsHealth({ operational: 9, degraded: 0, down: 0 })).toBe("operational");
  expect(modelsHealth({ operational: 8, degraded: 0, down: 1 })).toBe("degraded");
  expect(modelsHealth({ operational: 0, degraded: 0, down: 9 })).toBe("down");
});

it("calls a queue degraded when messages are late or dead", () => {
  expect(queueHealth({ ...queue, depth: 500, oldest_age_s: 2 })).toBe("operational");
  expect(queueHealth({ ...queue, depth: 1, oldest_age_s: 31 })).toBe("degraded");
  expect(queueHealth({ ...queue, dead: 1 })).toBe("degraded");
});

it("calls a learner degraded when its state is old or missing", () => {
  expect(learnerHealth(learner)).toBe("operational");
  expect(learnerHealth({ ...learner, age_s: 121 })).toBe("degraded");
  expect(learnerHealth({ ...learner, age_s: null })).toBe("degraded");
});

it("judges availability by nines", () => {
  expect([null, 1, 0.999, 0.995, 0.9].map(availabilityHealth)).toEqual([
    "operational",
    "operational",
    "operational",
    "degraded",
    "down",
  ]);
});

it("is as well as its worst part", () => {
  expect(worst(["operational", "down", "degraded"])).toBe("down");
  expect(worst([])).toBe("operational");
});
