// What the dashboard promises, checked in a real browser against a running control plane.

import { openPage, seriousFindings } from "./browser.mjs";
import {
  api,
  countCalls,
  figuresShown,
  keepEverywhere,
  overflow,
  readable,
  requestCount,
  signIn,
} from "./page.mjs";

const METRICS = "/api/learning/metrics";
const HEADINGS = { en: "Overview", ko: "개요" };

function expect(condition, otherwise) {
  if (!condition) throw new Error(otherwise);
}

function expectNone(list, what) {
  expect(list.length === 0, `${what}:\n    ${list.join("\n    ")}`);
}

export async function keepsTokensOutOfReach({ browser, url, account }) {
  const { context, page, complaints } = await openPage(browser);
  const token = await signIn(page, url, account);
  const stored = await readable(page);
  expect(!stored.includes(token), "the access token can be read back from storage");
  expect(!/eyJ[\w-]+\.|dv_|whsec_/.test(stored), `something like a secret is stored: ${stored}`);
  const cookies = await context.cookies(url);
  const refresh = cookies.find(({ name }) => name.startsWith("__Host-"));
  expect(refresh, "there is no __Host- cookie after signing in");
  expect(refresh.httpOnly && refresh.secure, "the refresh cookie is not HttpOnly and Secure");
  expect(refresh.sameSite === "Strict", `the refresh cookie is SameSite=${refresh.sameSite}`);
  expect(!stored.includes(refresh.value), "the refresh token can be read back from storage");

  await page.reload();
  await figuresShown(page);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForSelector("input[name=password]");
  await page.reload();
  await page.waitForSelector("input[name=password]");
  expectNone(complaints, "the page complained");

  // Had it been kept anywhere, it would have been seen.
  for (const place of await keepEverywhere(page, token)) {
    expect((await readable(page)).includes(`${place} ${token}`), `${place} was not looked into`);
  }
  await context.close();
}

export async function staysStrict({ browser, url }) {
  const { context, page } = await openPage(browser);
  const answer = await page.goto(url);
  const policy = answer.headers()["content-security-policy"] ?? "";
  expect(policy !== "", "the page has no content security policy");
  const scripts = /script-src ([^;]*)/.exec(policy)?.[1] ?? /default-src ([^;]*)/.exec(policy)?.[1];
  expect(!/unsafe-(inline|eval)/.test(scripts ?? ""), `scripts may be inline: ${policy}`);
  const html = await answer.text();
  expect(!/<script(?![^>]*\bsrc=)/.test(html), "index.html has an inline script");
  await context.close();
}

export async function showsLiveFigures({ browser, url, account, hasTraffic }) {
  const { context, page, complaints } = await openPage(browser);
  await signIn(page, url, account);
  const before = await requestCount(page);
  const calls = await countCalls(page, METRICS, 11_000);
  expect(calls >= 2 && calls <= 3, `expected 2 polls in 11 s, saw ${calls}`);
  if (hasTraffic) {
    for (let tries = 0; tries < 10 && (await requestCount(page)) === before; tries += 1) {
      await page.waitForTimeout(3_000);
    }
    const after = await requestCount(page);
    expect(after !== before, `the requests stayed at ${before} for over 40 s`);
  }
  await page.getByRole("button", { name: "Pause updates" }).click();
  const whilePaused = await countCalls(page, METRICS, 7_000);
  expect(whilePaused === 0, `polled ${whilePaused} times while paused`);
  await page.getByRole("button", { name: "Resume updates" }).click();
  await page.waitForResponse(api(METRICS));
  expectNone(complaints, "the page complained");
  await context.close();
}

export async function explainsADecision({ browser, url, account }) {
  const { context, page, complaints } = await openPage(browser);
  await signIn(page, url, account);
  const row = page.locator("main table").last().locator("tbody tr button");
  await row.first().click();
  const drawer = page.getByRole("dialog", { name: "Decision" });
  await drawer.getByRole("heading", { name: "Candidates" }).waitFor();
  const id = new URL(page.url()).searchParams.get("decision");
  expect(id?.startsWith("dec_"), `the URL does not name the decision: ${page.url()}`);
  expect((await drawer.locator("tbody tr").count()) > 0, "the decision has no candidates");
  await drawer.getByRole("button", { name: "Older decision" }).click();
  await page.waitForURL((next) => next.searchParams.get("decision") !== id);
  expectNone(await seriousFindings(page), "axe found in the drawer");

  const link = page.url();
  await page.goto(link);
  await drawer.getByRole("heading", { name: "Candidates" }).waitFor();
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "detached" });
  expectNone(complaints, "the page complained");
  await context.close();
}

export async function saysWhenItCannotUpdate({ browser, url, account }) {
  const { context, page } = await openPage(browser);
  await signIn(page, url, account);
  const before = await requestCount(page);
  await page.route(`**${METRICS}*`, (route) => route.abort());
  await page.locator("[data-testid=live-age][data-state=failing]").waitFor({ timeout: 15_000 });
  await page
    .getByText(/^Stale/)
    .first()
    .waitFor();
  expect((await requestCount(page)) === before, "old figures vanished when a refresh failed");
  await page.unroute(`**${METRICS}*`);
  await page.getByRole("button", { name: "Refresh now" }).click();
  await page.locator("[data-testid=live-age][data-state=updated]").waitFor();
  await context.close();
}

/** The theme and the language must stand before any of the application has run. */
export async function paintsInTheRightTheme({ browser, url }) {
  const { context, page } = await openPage(browser, { theme: "dark", language: "ko" });
  await page.route("**/assets/*.js", (route) => route.abort());
  await page.goto(url);
  const [theme, language, background] = await page.evaluate(() => [
    document.documentElement.dataset.theme,
    document.documentElement.lang,
    getComputedStyle(document.documentElement).backgroundColor,
  ]);
  expect(theme === "dark" && language === "ko", `painted as ${theme}, ${language}`);
  expect(/^rgb\((\d|[1-4]\d), /.test(background), `the first paint is ${background}`);
  await context.close();
}

/** One combination of language, theme and width: contents, accessibility, layout, picture. */
export async function looksRight({ browser, url, account, shots }, look) {
  const { language, theme, width, height } = look;
  const name = `${language}-${theme}-${width}`;
  const { context, page, complaints } = await openPage(browser, look);
  await page.goto(url);
  await page.waitForSelector("input[name=email]");
  expectNone(await seriousFindings(page), "axe found on the sign-in page");
  await page.screenshot({ path: `${shots}/sign-in-${name}.png` });

  await signIn(page, url, account);
  await page.getByRole("heading", { level: 1, name: HEADINGS[language] }).waitFor();
  expect(
    (await page.locator("html").getAttribute("data-theme")) === theme,
    `the theme of the system (${theme}) was not followed`,
  );
  expect((await overflow(page)) <= 0, `the page is wider than ${width} px`);
  expectNone(await seriousFindings(page), "axe found on the overview");
  await page.screenshot({ path: `${shots}/overview-${name}.png`, fullPage: true });

  await page.locator("main table").last().locator("tbody tr button").first().click();
  await page.locator("dialog h3").first().waitFor();
  expectNone(await seriousFindings(page), "axe found in the drawer");
  await page.setViewportSize({ width, height });
  await page.screenshot({ path: `${shots}/decision-${name}.png` });
  expectNone(complaints, "the page complained");
  await context.close();
}
