import { chromium } from "playwright-core";

const url = process.env.DAVINCI_URL ?? "http://127.0.0.1:8123";
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-background-networking"],
});
for (const [name, width, height, theme, lang] of [
  ["w-light-en", 1280, 900, "light", "en"],
  ["w-dark-ko", 1280, 900, "dark", "ko"],
  ["n-light-en", 390, 844, "light", "en"],
  ["n-dark-ko", 390, 844, "dark", "ko"],
]) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: theme,
    locale: lang === "ko" ? "ko-KR" : "en-US",
  });
  const page = await context.newPage();
  page.on("console", (m) => console.log(name, m.type(), m.text()));
  page.on("pageerror", (e) => console.log(name, "pageerror", e.message));
  await page.goto(url);
  await page.waitForSelector("input[name=email]");
  await page.screenshot({ path: `/tmp/shots/${name}-login.png` });
  await page.fill("input[name=email]", "admin@davinci.local");
  await page.fill("input[name=password]", process.env.DAVINCI_ADMIN_PASSWORD ?? "davinci");
  await page.click("button[type=submit]");
  await page.waitForSelector("table tbody tr");
  await page.waitForTimeout(1500);
  await page.screenshot({ path: `/tmp/shots/${name}.png`, fullPage: true });
  const sw = await page.evaluate(() => document.documentElement.scrollWidth);
  if (sw > width) console.log(name, "overflow", sw);
  await page.locator("section:has(h2) tbody tr button").first().click();
  await page.waitForTimeout(800);
  await page.screenshot({ path: `/tmp/shots/${name}-peek.png` });
  await context.close();
}
await browser.close();
