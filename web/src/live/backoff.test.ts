import { expect, it } from "vitest";
import { ApiError } from "@/api/problem";
import { Backoff, nextDelayMs } from "./backoff";

const middle = 0.5;

it("polls every 5 s while all is well", () => {
  expect(nextDelayMs({ failures: 0, retryAfterMs: null, random: middle })).toBe(5_000);
});

it("doubles the pause with every failure, up to a minute", () => {
  const delays = [1, 2, 3, 4, 9].map((failures) =>
    nextDelayMs({ failures, retryAfterMs: null, random: middle }),
  );
  expect(delays).toEqual([10_000, 20_000, 40_000, 60_000, 60_000]);
});

it("spreads clients by a quarter either way", () => {
  expect(nextDelayMs({ failures: 1, retryAfterMs: null, random: 0 })).toBe(7_500);
  expect(nextDelayMs({ failures: 1, retryAfterMs: null, random: 0.9999 })).toBeLessThan(12_501);
});

it("never comes back before the server asked for it", () => {
  expect(nextDelayMs({ failures: 1, retryAfterMs: 90_000, random: middle })).toBe(90_000);
});

it("counts failures per query and forgets them after a success", () => {
  const backoff = new Backoff(() => middle);
  const query = "status";
  backoff.failed(query, new Error("away"));
  backoff.failed(query, new ApiError(503, {}, 30_000));
  expect(backoff.delayMs(query)).toBe(30_000);
  expect(backoff.delayMs("other")).toBe(5_000);
  backoff.succeeded(query);
  expect(backoff.delayMs(query)).toBe(5_000);
});

it("answers the same delay until the next failure, so that timers are not restarted", () => {
  const draws = [0.1, 0.9];
  const backoff = new Backoff(() => draws.shift() ?? 0);
  const query = "status";
  backoff.failed(query, new Error("away"));
  expect(backoff.delayMs(query)).toBe(backoff.delayMs(query));
});
