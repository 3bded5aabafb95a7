import { createMemoryHistory, createRouter, RouterProvider } from "@tanstack/react-router";
import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { HttpResponse, http } from "msw";
import { beforeEach, expect, it } from "vitest";
import { browserHint, session } from "@/api/session";
import {
  makeAllocation,
  makeDecision,
  makeMetrics,
  makeNeuralStatus,
  makeStatus,
} from "@/testing/fixtures";
import { renderLive } from "@/testing/render";
import { server } from "@/testing/server";
import { routeTree } from "./router";

const decisions = ["dec_3", "dec_2", "dec_1"].map((decision_id) => makeDecision({ decision_id }));

const page = <Item,>(items: Item[]) => HttpResponse.json({ items, next_cursor: null });

beforeEach(() => {
  session.end();
  browserHint.write(true);
  server.use(
    http.post("/api/auth/refresh", () =>
      HttpResponse.json({ access_token: "t", token_type: "Bearer", expires_in: 900 }),
    ),
    http.get("/api/auth/verify", () =>
      HttpResponse.json({ name: "admin@davinci.local", kind: "user", role: "admin" }),
    ),
    http.get("/api/status", () => HttpResponse.json(makeStatus())),
    http.get("/api/neural/status", () => HttpResponse.json(makeNeuralStatus())),
    http.get("/api/neural/allocation", () => page([makeAllocation()])),
    http.get("/api/neural/history", ({ request }) => {
      const level = new URL(request.url).searchParams.get("level");
      return page(decisions.filter((item) => !level || item.level === level));
    }),
    http.get("/api/neural/decisions/:id", ({ params }) =>
      HttpResponse.json(makeDecision({ decision_id: String(params.id) })),
    ),
    http.get("/api/learning/metrics", () => HttpResponse.json(makeMetrics())),
  );
});

async function open(path = "/", options: { language?: string } = {}) {
  const router = createRouter({
    routeTree,
    history: createMemoryHistory({ initialEntries: [path] }),
  });
  renderLive(<RouterProvider router={router as never} />, options);
  await screen.findByRole("heading", { level: 1 });
  return router;
}

const region = async (name: string) => within(await screen.findByRole("region", { name }));

it("shows what happened, what was learned and how the parts are", async () => {
  await open();
  const figures = await region("Key figures");
  expect(await figures.findByText("1,200")).toBeInTheDocument();
  expect(figures.getByText("99.00 %")).toBeInTheDocument();
  expect(figures.getByText("1,904 ms")).toBeInTheDocument();
  expect(figures.getByText("Ahead of the best fixed model")).toBeInTheDocument();

  const traffic = await region("Traffic share");
  expect(await traffic.findByText("88.0 %")).toBeInTheDocument();
  expect(traffic.getByText("90.0 %")).toBeInTheDocument();

  const learning = await region("Learning");
  expect(await learning.findByText("qwen2.5-7b-instruct")).toBeInTheDocument();
  expect(learning.getByText("gemma-2-9b-it")).toBeInTheDocument();

  const health = await region("Components");
  expect(await health.findByText("v0.1.0, environment up 2 h 15 min")).toBeInTheDocument();
  expect(screen.getByText("admin@davinci.local (admin)")).toBeInTheDocument();
});

it("speaks Korean, with the same figures", async () => {
  await open("/", { language: "ko" });
  const figures = await region("핵심 지표");
  expect(await figures.findByText("1,200")).toBeInTheDocument();
  expect(await screen.findByRole("heading", { name: "개요" })).toBeInTheDocument();
});

it("keeps what is shown in the URL", async () => {
  const router = await open();
  await userEvent.click(await screen.findByRole("button", { name: "Show Cost over time" }));
  await userEvent.click(screen.getByRole("button", { name: "7 d" }));
  await waitFor(() =>
    expect(router.state.location.search).toEqual({ metric: "cost", window: "7d" }),
  );
  expect(await screen.findByRole("heading", { name: "Cost" })).toBeInTheDocument();
});

it("opens a decision from a link and moves to the next without closing it", async () => {
  const router = await open("/?decision=dec_2");
  const drawer = within(await screen.findByRole("dialog", { name: "Decision" }));
  expect(await drawer.findByText("highest utility for L3")).toBeInTheDocument();
  expect(drawer.getByText(/model is down/)).toBeInTheDocument();
  expect(drawer.getByText("92.50 %")).toBeInTheDocument();

  await waitFor(() => expect(drawer.getByRole("button", { name: "Older decision" })).toBeEnabled());
  await userEvent.click(drawer.getByRole("button", { name: "Older decision" }));
  await waitFor(() => expect(router.state.location.search).toEqual({ decision: "dec_1" }));
  expect(drawer.getByRole("button", { name: "Older decision" })).toBeDisabled();

  await userEvent.keyboard("{Escape}");
  await waitFor(() => expect(router.state.location.search).toEqual({}));
  expect(screen.queryByRole("dialog")).toBeNull();
});

it("says that a level has no decisions", async () => {
  await open("/?level=L1");
  expect(await screen.findByText("No decision of L1 Brainstem yet.")).toBeInTheDocument();
});

it("shows a measured nothing as a dash and not as a zero", async () => {
  const nothing = { latency_p95_ms: null, reward_mean_usd: null, regret_vs_best_fixed_usd: null };
  server.use(http.get("/api/learning/metrics", () => HttpResponse.json(makeMetrics(nothing))));
  await open();
  const figures = await region("Key figures");
  await figures.findByText("1,200");
  expect(figures.getAllByText("–")).toHaveLength(3);
});

it("keeps the other parts when one source fails", async () => {
  server.use(http.get("/api/neural/allocation", () => new HttpResponse(null, { status: 500 })));
  await open();
  const traffic = await region("Traffic share");
  expect(await traffic.findByRole("alert")).toHaveTextContent("This could not be loaded");
  const figures = await region("Key figures");
  expect(await figures.findByText("1,200")).toBeInTheDocument();
});

it("sends those who are not signed in to the sign-in page, and back afterwards", async () => {
  browserHint.write(false);
  const router = await open("/?window=7d");
  expect(router.state.location.pathname).toBe("/login");
  expect(router.state.location.search).toEqual({ next: "/?window=7d" });
  server.use(
    http.post("/api/auth/login", () =>
      HttpResponse.json({ access_token: "t", token_type: "Bearer", expires_in: 900 }),
    ),
  );
  await userEvent.type(screen.getByLabelText("E-mail"), "admin@davinci.local");
  await userEvent.type(screen.getByLabelText("Password"), "secret");
  await userEvent.click(screen.getByRole("button", { name: "Sign in" }));
  await waitFor(() => expect(router.state.location.search).toEqual({ window: "7d" }));
});
