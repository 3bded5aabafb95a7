import { focusManager } from "@tanstack/react-query";
import { act, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { renderLive } from "@/testing/render";
import { useLive, useLiveControl, useLiveStatus } from "./live";

let calls = 0;
let fails = false;

function Figure() {
  const { data } = useLive({
    queryKey: ["figure"],
    queryFn: () => {
      calls += 1;
      return fails ? Promise.reject(new Error("away")) : Promise.resolve(calls);
    },
  });
  return <output>{data ?? "none"}</output>;
}

function Controls() {
  const { isPaused, setPaused } = useLiveControl();
  const { failing, total, refresh } = useLiveStatus();
  return (
    <>
      <button type="button" onClick={() => setPaused(!isPaused)}>
        pause
      </button>
      <button type="button" onClick={refresh}>
        refresh
      </button>
      <p>{`${failing} of ${total} failing`}</p>
    </>
  );
}

const pass = (ms: number) => act(() => vi.advanceTimersByTimeAsync(ms));

beforeEach(() => {
  calls = 0;
  fails = false;
  vi.useFakeTimers();
});

afterEach(() => {
  focusManager.setFocused(undefined);
  vi.useRealTimers();
});

it("asks again every 5 s, once for all who look at the same figure", async () => {
  renderLive([<Figure key="a" />, <Figure key="b" />]);
  await pass(100);
  expect(calls).toBe(1);
  await pass(15_000);
  expect(calls).toBe(4);
});

it("slows down while the server fails and recovers with the first answer", async () => {
  renderLive([<Figure key="a" />, <Controls key="b" />]);
  await pass(100);
  fails = true;
  await pass(5_000);
  expect(calls).toBe(2);
  expect(screen.getByText("1 of 1 failing")).toBeInTheDocument();
  expect(screen.getByRole("status")).toHaveTextContent("1");
  await pass(9_000);
  expect(calls).toBe(2);
  fails = false;
  await pass(1_500);
  expect(calls).toBe(3);
  expect(screen.getByText("0 of 1 failing")).toBeInTheDocument();
  await pass(5_100);
  expect(calls).toBe(4);
});

it("is silent while paused, except for a refresh by hand", async () => {
  renderLive([<Figure key="a" />, <Controls key="b" />]);
  await pass(100);
  act(() => screen.getByText("pause").click());
  await pass(60_000);
  expect(calls).toBe(1);
  act(() => screen.getByText("refresh").click());
  await pass(100);
  expect(calls).toBe(2);
});

it("stops while the tab is hidden and catches up when it is back", async () => {
  renderLive([<Figure key="a" />]);
  await pass(100);
  act(() => focusManager.setFocused(false));
  await pass(60_000);
  expect(calls).toBe(1);
  act(() => focusManager.setFocused(true));
  await pass(100);
  expect(calls).toBe(2);
});
