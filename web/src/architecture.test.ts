import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, it } from "vitest";

const SRC = join(process.cwd(), "src");
const LONGEST_FILE = 300;

const files = readdirSync(SRC, { recursive: true, encoding: "utf8" })
  .filter((file) => /\.(ts|tsx|css)$/.test(file) && !file.endsWith(".gen.ts"))
  .map((file) => ({ file, source: readFileSync(join(SRC, file), "utf8") }));

/** The files under `src` that a file imports, as paths relative to it. */
function importsOf({ file, source }: (typeof files)[number]): string[] {
  const targets = [...source.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map(
    ([, path]) => path,
  );
  return targets.flatMap((path) => {
    if (path?.startsWith("@/")) return [path.slice(2)];
    if (path?.startsWith(".")) return [relative(SRC, join(SRC, dirname(file), path))];
    return [];
  });
}

const featureOf = (path: string) => path.match(/^features\/([^/]+)/)?.[1];
const isTest = (file: string) => file.includes(".test.") || file.startsWith("testing/");

it("finds the source", () => {
  expect(files.length).toBeGreaterThan(50);
});

it("keeps every file short", () => {
  const long = files.filter(({ source }) => source.split("\n").length > LONGEST_FILE);
  expect(long.map(({ file }) => file)).toEqual([]);
});

it("lets no feature import another", () => {
  const crossing = files.flatMap((entry) => {
    const feature = featureOf(entry.file);
    if (!feature) return [];
    return importsOf(entry)
      .filter((target) => featureOf(target) && featureOf(target) !== feature)
      .map((target) => `${entry.file} -> ${target}`);
  });
  expect(crossing).toEqual([]);
});

it("imports downwards only: app, then features, then the shared parts", () => {
  const rank = (path: string) =>
    path.startsWith("app/") || path.startsWith("main") ? 2 : featureOf(path) ? 1 : 0;
  const upwards = files
    .filter(({ file }) => !isTest(file))
    .flatMap((entry) =>
      importsOf(entry)
        .filter((target) => rank(target) > rank(entry.file))
        .map((target) => `${entry.file} -> ${target}`),
    );
  expect(upwards).toEqual([]);
});

it("puts tokens into no storage", () => {
  const writers = files.filter(
    ({ file, source }) => !isTest(file) && /(localStorage|sessionStorage)\.setItem/.test(source),
  );
  expect(writers.map(({ file }) => file).sort()).toEqual([
    "api/session.ts",
    "preferences/preferences.tsx",
  ]);
});
