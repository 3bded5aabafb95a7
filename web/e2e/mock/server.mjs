// A stand-in for the control plane: serves web/dist and the routes of the overview, with the
// headers and cookies of the real one. For development and for the browser test; never shipped.
//
//   npm run build && npm run mock        http://127.0.0.1:8123, admin@davinci.local / davinci

import { createHash, randomUUID } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { allocation, learningMetrics, neuralStatus, systemStatus } from "./answers.mjs";
import { createTraffic } from "./traffic.mjs";

const PORT = Number(process.env.PORT ?? 8123);
const EMAIL = "admin@davinci.local";
const IDENTITY = {
  id: "usr_1",
  kind: "user",
  name: EMAIL,
  role: "admin",
  scopes: [],
  expires_at: null,
};
const PASSWORD = process.env.DAVINCI_ADMIN_PASSWORD ?? "davinci";
const DIST = fileURLToPath(new URL("../../dist/", import.meta.url));
const COOKIE = "__Host-davinci-refresh";
const TOKEN_LIFE_S = Number(process.env.TOKEN_LIFE_S ?? 900);
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};
const SECURITY = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; " +
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
};

const traffic = process.env.MOCK_EMPTY ? null : createTraffic();
const tokens = new Map();
const refreshTokens = new Set();
const hash = (text) => createHash("sha256").update(text).digest("base64url");

function json(response, status, body, headers = {}) {
  const type = status >= 400 ? "application/problem+json" : "application/json";
  response.writeHead(status, {
    "content-type": type,
    "cache-control": "no-store",
    ...SECURITY,
    ...headers,
  });
  response.end(status === 204 ? undefined : JSON.stringify(body));
}

const problem = (response, status, title, detail) =>
  json(response, status, { type: "about:blank", title, status, detail });

function grant(response) {
  const access = `mock.${randomUUID()}`;
  const refresh = hash(randomUUID());
  tokens.set(access, Date.now() + TOKEN_LIFE_S * 1000);
  refreshTokens.add(refresh);
  const cookie = `${COOKIE}=${refresh}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=604800`;
  json(
    response,
    200,
    { access_token: access, token_type: "Bearer", expires_in: TOKEN_LIFE_S },
    { "set-cookie": cookie },
  );
}

function refreshCookie(request) {
  const pairs = (request.headers.cookie ?? "").split("; ").map((pair) => pair.split("="));
  return new Map(pairs).get(COOKIE);
}

async function bodyOf(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text ? JSON.parse(text) : {};
}

async function authRoutes(request, response, path) {
  if (path === "/api/auth/login") {
    const { email, password } = await bodyOf(request);
    if (email === EMAIL && password === PASSWORD) return grant(response);
    return problem(response, 401, "Unauthorized", "e-mail or password is wrong");
  }
  if (request.headers["x-davinci-csrf"] !== "1") {
    return problem(response, 403, "Forbidden", "x-davinci-csrf is missing");
  }
  const isKnown = refreshTokens.delete(refreshCookie(request));
  if (path === "/api/auth/refresh") {
    return isKnown
      ? grant(response)
      : problem(response, 401, "Unauthorized", "refresh token is spent");
  }
  return json(response, 204, null, {
    "set-cookie": `${COOKIE}=; Path=/; Secure; HttpOnly; Max-Age=0`,
  });
}

function readRoutes(url, response) {
  const now = Date.now();
  const decisions = traffic?.advance(now) ?? [];
  const query = url.searchParams;
  const path = url.pathname;
  if (path === "/api/auth/verify") return json(response, 200, IDENTITY);
  if (path === "/api/status") {
    return json(response, 200, systemStatus(now, traffic?.startedAt ?? now));
  }
  if (path === "/api/neural/status") return json(response, 200, neuralStatus(decisions, now));
  if (path === "/api/learning/metrics") {
    return json(response, 200, learningMetrics(decisions, query.get("window"), now));
  }
  if (path === "/api/neural/allocation") {
    return json(response, 200, allocation(decisions, query.get("from") ?? ""));
  }
  if (path === "/api/neural/history") {
    const level = query.get("level");
    const limit = Number(query.get("limit") ?? 50);
    const items = decisions
      .filter((row) => !level || row.level === level)
      .slice(-limit)
      .reverse();
    return json(response, 200, { items, next_cursor: null });
  }
  const id = path.match(/^\/api\/neural\/decisions\/(.+)$/)?.[1];
  const found = id && decisions.find((row) => row.decision_id === id);
  if (found) return json(response, 200, found);
  return problem(response, 404, "Not found", `nothing at ${path}`);
}

function serveFile(path, response) {
  const wanted = join(DIST, normalize(path));
  const isFile = wanted.startsWith(DIST) && existsSync(wanted) && statSync(wanted).isFile();
  const file = isFile ? wanted : join(DIST, "index.html");
  response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "text/plain", ...SECURITY });
  response.end(readFileSync(file));
}

createServer(async (request, response) => {
  const url = new URL(request.url, "http://mock");
  if (!url.pathname.startsWith("/api/")) return serveFile(url.pathname, response);
  if (request.method === "POST") return authRoutes(request, response, url.pathname);
  const token = request.headers.authorization?.replace("Bearer ", "");
  if ((tokens.get(token) ?? 0) < Date.now()) {
    return problem(response, 401, "Unauthorized", "the access token is missing or expired");
  }
  return readRoutes(url, response);
}).listen(PORT, "127.0.0.1", () => console.log(`mock control plane on http://127.0.0.1:${PORT}`));
