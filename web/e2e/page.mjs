// The dashboard as a person uses it.

const TILE = "section[aria-busy] li p";

export const api = (path) => (response) => new URL(response.url()).pathname === path;

/** Signs in and waits until the overview shows figures; answers with the access token. */
export async function signIn(page, url, { email, password }) {
  await page.goto(url);
  await page.fill("input[name=email]", email);
  await page.fill("input[name=password]", password);
  const [answer] = await Promise.all([
    page.waitForResponse(api("/api/auth/login")),
    page.click("button[type=submit]"),
  ]);
  if (!answer.ok()) throw new Error(`signing in failed with HTTP ${answer.status()}`);
  const { access_token: token } = await answer.json();
  await figuresShown(page);
  return token;
}

export async function figuresShown(page) {
  await page.waitForSelector(TILE);
  await page.waitForSelector("main table tbody tr");
  await page.waitForSelector(".recharts-surface");
}

/** The number on the first tile: requests in the window. */
export async function requestCount(page) {
  const text = await page.locator(TILE).first().textContent();
  return Number((text ?? "").replaceAll(",", ""));
}

export async function countCalls(page, path, forMs) {
  let calls = 0;
  const listener = (request) => {
    if (new URL(request.url()).pathname === path) calls += 1;
  };
  page.on("request", listener);
  await page.waitForTimeout(forMs);
  page.off("request", listener);
  return calls;
}

export const overflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** Everything that scripts can read back: storages, cookies and databases. */
export const readable = (page) =>
  page.evaluate(async () => {
    const databases = (await indexedDB.databases?.()) ?? [];
    return JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, databases]);
  });
