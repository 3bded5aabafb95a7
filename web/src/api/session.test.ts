import axios from "axios";
import { HttpResponse, http } from "msw";
import { expect, it, vi } from "vitest";
import { server } from "@/testing/server";
import { ApiError } from "./problem";
import { browserHint, followOtherTabs, Session } from "./session";

const grant = (token: string) => ({ access_token: token, token_type: "Bearer", expires_in: 900 });

function makeSession(clock = { now: 0 }) {
  return new Session({
    http: axios.create(),
    hint: browserHint,
    now: () => clock.now,
    exclusively: (task) => task(),
  });
}

/** Answers refreshes with token-1, token-2, ... and counts them. */
function answerRefreshes() {
  const seen: Headers[] = [];
  server.use(
    http.post("/api/auth/refresh", ({ request }) => {
      seen.push(request.headers);
      return HttpResponse.json(grant(`token-${seen.length}`));
    }),
  );
  return seen;
}

const answerSignIn = () =>
  server.use(
    http.post("/api/auth/login", async ({ request }) => {
      expect(request.headers.get("x-davinci-client")).toBe("browser");
      expect(await request.json()).toEqual({ email: "a@b.c", password: "secret" });
      return HttpResponse.json(grant("from-sign-in"));
    }),
  );

it("keeps the access token in memory and only a hint in storage", async () => {
  answerSignIn();
  const session = makeSession();
  await session.signIn("a@b.c", "secret");
  expect(await session.token()).toBe("from-sign-in");
  expect(JSON.stringify({ ...localStorage, ...sessionStorage })).not.toContain("from-sign-in");
});

it("does not ask for a token when nobody has signed in here", async () => {
  const refreshes = answerRefreshes();
  expect(await makeSession().isSignedIn()).toBe(false);
  expect(refreshes).toHaveLength(0);
});

it("gets a token from the refresh cookie after a reload", async () => {
  const refreshes = answerRefreshes();
  browserHint.write(true);
  expect(await makeSession().token()).toBe("token-1");
  expect(refreshes[0]?.get("x-davinci-csrf")).toBe("1");
});

it("renews once for many callers, and before the token expires", async () => {
  const refreshes = answerRefreshes();
  browserHint.write(true);
  const clock = { now: 0 };
  const session = makeSession(clock);
  const tokens = await Promise.all([session.token(), session.token(), session.token()]);
  expect(new Set(tokens)).toEqual(new Set(["token-1"]));
  expect(refreshes).toHaveLength(1);
  clock.now = 869_000;
  expect(await session.token()).toBe("token-1");
  clock.now = 871_000;
  expect(await session.token()).toBe("token-2");
});

it("ends when the server refuses to renew, and says so", async () => {
  server.use(http.post("/api/auth/refresh", () => new HttpResponse(null, { status: 401 })));
  browserHint.write(true);
  const session = makeSession();
  const lost = vi.fn();
  session.onLost(lost);
  expect(await session.token()).toBeNull();
  expect(lost).toHaveBeenCalledOnce();
  expect(browserHint.read()).toBe(false);
});

it("survives a server that is away", async () => {
  server.use(http.post("/api/auth/refresh", () => new HttpResponse(null, { status: 503 })));
  browserHint.write(true);
  const session = makeSession();
  await expect(session.token()).rejects.toBeInstanceOf(ApiError);
  expect(browserHint.read()).toBe(true);
  answerRefreshes();
  expect(await session.token()).toBe("token-1");
});

it("signs out on the server first and stays signed in when that fails", async () => {
  answerSignIn();
  const session = makeSession();
  await session.signIn("a@b.c", "secret");
  server.use(http.post("/api/auth/logout", () => new HttpResponse(null, { status: 503 })));
  await expect(session.signOut()).rejects.toBeInstanceOf(ApiError);
  expect(await session.token()).toBe("from-sign-in");

  server.use(
    http.post("/api/auth/logout", ({ request }) => {
      expect(request.headers.get("x-davinci-csrf")).toBe("1");
      expect(request.headers.get("authorization")).toBe("Bearer from-sign-in");
      return new HttpResponse(null, { status: 204 });
    }),
  );
  await session.signOut();
  expect(await session.token()).toBeNull();
});

it("ends when another tab signs out", async () => {
  answerSignIn();
  const session = makeSession();
  await session.signIn("a@b.c", "secret");
  const stop = followOtherTabs(session);
  localStorage.clear();
  dispatchEvent(new StorageEvent("storage", { key: "davinci.signed-in", newValue: null }));
  expect(await session.token()).toBeNull();
  stop();
});

it("tells why signing in failed", async () => {
  server.use(
    http.post("/api/auth/login", () =>
      HttpResponse.json(
        { title: "Too many requests", status: 429 },
        { status: 429, headers: { "retry-after": "30" } },
      ),
    ),
  );
  const failure = await makeSession()
    .signIn("a@b.c", "secret")
    .catch((error: unknown) => error);
  expect(failure).toMatchObject({ status: 429, retryAfterMs: 30_000 });
});
