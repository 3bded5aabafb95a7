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

/** Everything that scripts can read back: storages, cookies, databases and caches, as text. */
export const readable = (page) =>
  page.evaluate(async () => {
    const done = (request) =>
      new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
    const kept = [{ ...localStorage }, { ...sessionStorage }, document.cookie];
    for (const { name } of await indexedDB.databases()) {
      const database = await done(indexedDB.open(name));
      for (const store of database.objectStoreNames) {
        kept.push(name, store, await done(database.transaction(store).objectStore(store).getAll()));
      }
      database.close();
    }
    for (const name of await caches.keys()) {
      const cache = await caches.open(name);
      for (const request of await cache.keys()) {
        kept.push(request.url, await (await cache.match(request)).text());
      }
    }
    return JSON.stringify(kept);
  });

/** Keeps a text in each place that `readable` looks into; answers with the places. */
export const keepEverywhere = (page, text) =>
  page.evaluate(async (kept) => {
    localStorage.setItem("probe", `local ${kept}`);
    sessionStorage.setItem("probe", `session ${kept}`);
    // biome-ignore lint/suspicious/noDocumentCookie: the place that is looked into
    document.cookie = `probe=cookie ${kept}`;
    const opening = indexedDB.open("probe", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("store");
    await new Promise((resolve) => {
      opening.onsuccess = resolve;
    });
    const writing = opening.result.transaction("store", "readwrite");
    writing.objectStore("store").put(`database ${kept}`, 1);
    await new Promise((resolve) => {
      writing.oncomplete = resolve;
    });
    opening.result.close();
    await (await caches.open("probe")).put("/probe", new Response(`cache ${kept}`));
    return ["local", "session", "cookie", "database", "cache"];
  }, text);
