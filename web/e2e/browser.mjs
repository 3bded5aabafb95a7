// The browser of the tests: Debian's Chromium, quiet, with what the page complained about.

import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export async function launch() {
  if (!existsSync(CHROMIUM)) {
    console.error(
      `There is no browser at ${CHROMIUM}. Install one (Debian: apt-get install chromium ` +
        "fonts-noto-cjk) or name it with CHROMIUM=/path/to/chromium.",
    );
    process.exit(2);
  }
  return chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
  });
}

/** A fresh profile and page; `complaints` fills with console errors, exceptions and refusals. */
export async function openPage(browser, { width = 1280, height = 900, theme, language } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: theme ?? "light",
    locale: language === "ko" ? "ko-KR" : "en-US",
    timezoneId: "Asia/Seoul",
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  return { context, page, complaints };
}

/** What axe finds of serious or critical impact. It runs outside the page's own policy. */
export async function seriousFindings(page) {
  const session = await page.context().newCDPSession(page);
  // Evaluated through the debugger, so that the content security policy stays on.
  await session.send("Runtime.evaluate", { expression: AXE });
  const { result, exceptionDetails } = await session.send("Runtime.evaluate", {
    expression: `axe.run(document, { resultTypes: ["violations"] }).then((found) =>
      found.violations
        .filter((rule) => ["serious", "critical"].includes(rule.impact))
        .map((rule) => rule.id + ": " + rule.nodes.slice(0, 3).map((node) => node.target.join(" ")).join(", ") +
          (rule.nodes.length > 3 ? " and " + (rule.nodes.length - 3) + " more" : "")))`,
    awaitPromise: true,
    returnByValue: true,
  });
  await session.detach();
  if (exceptionDetails) throw new Error(`axe failed: ${exceptionDetails.text}`);
  return result.value;
}
