import { HttpResponse, http } from "msw";
import { beforeEach, expect, it } from "vitest";
import { makeDecision } from "@/testing/fixtures";
import { server } from "@/testing/server";
import { get } from "./client";
import { ApiError } from "./problem";
import { session } from "./session";

let served: string;

beforeEach(async () => {
  let serial = 0;
  const grant = () => {
    serial += 1;
    served = `token-${serial}`;
    return HttpResponse.json({ access_token: served, token_type: "Bearer", expires_in: 900 });
  };
  server.use(http.post("/api/auth/login", grant), http.post("/api/auth/refresh", grant));
  await session.signIn("a@b.c", "secret");
});

it("sends the access token, the query and the escaped path", async () => {
  server.use(
    http.get("/api/neural/decisions/:id", ({ request, params }) => {
      expect(request.headers.get("authorization")).toBe(`Bearer ${served}`);
      return HttpResponse.json(makeDecision({ decision_id: String(params.id) }));
    }),
    http.get("/api/neural/history", ({ request }) => {
      expect(new URL(request.url).search).toBe("?limit=5&level=L2");
      return HttpResponse.json({ items: [], next_cursor: null });
    }),
  );
  const path = { decision_id: "dec_a/b" };
  const decision = await get("/api/neural/decisions/{decision_id}", { path });
  expect(decision.decision_id).toBe("dec_a/b");
  await get("/api/neural/history", { query: { limit: 5, level: "L2" } });
});

it("renews a revoked token once and repeats the call", async () => {
  server.use(
    http.get("/api/status", ({ request }) =>
      request.headers.get("authorization") === "Bearer token-2"
        ? HttpResponse.json({ version: "0.1.0" })
        : new HttpResponse(null, { status: 401 }),
    ),
  );
  expect(await get("/api/status", {})).toEqual({ version: "0.1.0" });
});

it("gives up when the new token is refused as well", async () => {
  let calls = 0;
  server.use(
    http.get("/api/status", () => {
      calls += 1;
      return new HttpResponse(null, { status: 401 });
    }),
  );
  await expect(get("/api/status", {})).rejects.toMatchObject({ status: 401 });
  expect(calls).toBe(2);
});

it("turns a problem document into an error that carries it", async () => {
  const problem = {
    type: "about:blank",
    title: "Unavailable",
    status: 503,
    detail: "database away",
  };
  server.use(
    http.get("/api/status", () =>
      HttpResponse.json(problem, { status: 503, headers: { "retry-after": "7" } }),
    ),
  );
  const failure = await get("/api/status", {}).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(ApiError);
  expect(failure).toMatchObject({ status: 503, message: "database away", retryAfterMs: 7_000 });
});

it("calls a missing answer status 0", async () => {
  server.use(http.get("/api/status", () => HttpResponse.error()));
  await expect(get("/api/status", {})).rejects.toMatchObject({ status: 0 });
});
