// Measures the built dashboard as a browser loads it and fails when a page has grown too heavy.

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
const KIB = 1024;
const CHARTS = "src/features/metrics/trend-chart.tsx";
// KiB of script and style, gzip. "own" is what a page adds to the shell;
// charts come later, by a dynamic import.
const BUDGETS = { shell: 150, overviewWithCharts: 280, ownOfAnyPage: 60 };

if (!existsSync(`${DIST}.vite/manifest.json`)) {
  console.error("There is no build to measure: run `npm run build` first.");
  process.exit(1);
}
const manifest = JSON.parse(readFileSync(`${DIST}.vite/manifest.json`, "utf8"));

/** All files that a browser loads for a chunk: itself, what it imports, and their styles. */
function filesOf(key, seen = new Set()) {
  const chunk = manifest[key];
  if (seen.has(chunk.file)) return seen;
  seen.add(chunk.file);
  for (const style of chunk.css ?? []) seen.add(style);
  for (const imported of chunk.imports ?? []) filesOf(imported, seen);
  return seen;
}

const gzipSize = (file) => gzipSync(readFileSync(DIST + file), { level: 9 }).length / KIB;
const weigh = (files) => [...files].reduce((sum, file) => sum + gzipSize(file), 0);
const union = (...sets) => new Set(sets.flatMap((set) => [...set]));
const without = (set, other) => new Set([...set].filter((file) => !other.has(file)));

const shell = union(filesOf("index.html"), new Set(["preferences.js"]));
const pages = Object.keys(manifest).filter((key) => key.startsWith("src/app/routes/"));
const overview = union(shell, filesOf("src/app/routes/overview.lazy.tsx"), filesOf(CHARTS));

const measured = [
  ["shell", weigh(shell), BUDGETS.shell],
  ["overview with charts", weigh(overview), BUDGETS.overviewWithCharts],
  ...pages.map((key) => {
    const name = key.replace("src/app/routes/", "").replace(".lazy.tsx", "");
    const own = without(filesOf(key), shell);
    return [`own chunk of ${name}`, weigh(own), BUDGETS.ownOfAnyPage];
  }),
];

const html = readFileSync(`${DIST}index.html`, "utf8");
const inlineScripts = [...html.matchAll(/<script(?![^>]*\bsrc=)/g)].length;

for (const [name, size, budget] of measured) {
  const verdict = size <= budget ? "ok" : "TOO HEAVY";
  console.log(
    `${name.padEnd(28)} ${size.toFixed(1).padStart(6)} of ${budget} KiB gzip  ${verdict}`,
  );
}
console.log(`${"inline scripts".padEnd(28)} ${String(inlineScripts).padStart(6)} of 0`);
const isTooHeavy = measured.some(([, size, budget]) => size > budget);
process.exit(isTooHeavy || inlineScripts > 0 ? 1 : 0);
