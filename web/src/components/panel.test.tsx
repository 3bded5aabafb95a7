import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { HttpResponse, http } from "msw";
import { expect, it } from "vitest";
import { decisionHistory } from "@/api/queries/decision-history";
import { useLive } from "@/live/live";
import { makeDecision } from "@/testing/fixtures";
import { renderLive } from "@/testing/render";
import { server } from "@/testing/server";
import { Panel } from "./panel";

function List() {
  const query = useLive(decisionHistory({ limit: 5 }));
  return (
    <Panel
      title="Decisions"
      query={query}
      isEmpty={(data) => data.items.length === 0}
      empty="Send a request"
      skeleton={<span />}
    >
      {(data) => <p>{data.items.length} decisions</p>}
    </Panel>
  );
}

const answer = (items: unknown[]) =>
  server.use(
    http.get("/api/neural/history", () => HttpResponse.json({ items, next_cursor: null })),
  );
const fail = () =>
  server.use(
    http.get("/api/neural/history", () =>
      HttpResponse.json({ title: "Unavailable", detail: "database away" }, { status: 503 }),
    ),
  );
const panel = () => within(screen.getByRole("region", { name: "Decisions" }));

it("says that it is loading, then shows the figures", async () => {
  answer([makeDecision()]);
  renderLive(<List />);
  expect(panel().getByRole("status")).toHaveTextContent("Loading");
  expect(await panel().findByText("1 decisions")).toBeInTheDocument();
  expect(panel().queryByText(/Stale/)).toBeNull();
});

it("says what to do when there is nothing", async () => {
  answer([]);
  renderLive(<List />);
  expect(await panel().findByText("Send a request")).toBeInTheDocument();
});

it("says what failed and tries again on demand", async () => {
  fail();
  renderLive(<List />);
  expect(await panel().findByRole("alert")).toHaveTextContent("HTTP 503 · database away");
  answer([makeDecision()]);
  await userEvent.click(panel().getByRole("button", { name: "Try again" }));
  expect(await panel().findByText("1 decisions")).toBeInTheDocument();
});

it("keeps old figures when a refresh fails, and marks them", async () => {
  answer([makeDecision()]);
  const { client } = renderLive(<List />);
  await panel().findByText("1 decisions");
  fail();
  await client.refetchQueries();
  await waitFor(() => expect(panel().getByText(/Stale/)).toBeInTheDocument());
  expect(panel().getByText("1 decisions")).toBeInTheDocument();
});
