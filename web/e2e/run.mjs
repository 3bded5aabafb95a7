// Browser test of the dashboard against a running control plane.
//
//   DAVINCI_URL             where it runs (http://127.0.0.1:8000)
//   DAVINCI_ADMIN_PASSWORD  password of admin@davinci.local
//   DAVINCI_IDLE=1          there is no traffic: do not expect figures to move
//   CHROMIUM                the browser (/usr/bin/chromium)
//
// Pictures go to web/e2e/shots. Without a server: `npm run build && npm run mock` in another shell,
// then DAVINCI_URL=http://127.0.0.1:8123 DAVINCI_ADMIN_PASSWORD=davinci npm run e2e.

import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { launch } from "./browser.mjs";
import * as checks from "./checks.mjs";

const url = process.env.DAVINCI_URL ?? "http://127.0.0.1:8000";
const password = process.env.DAVINCI_ADMIN_PASSWORD;
const shots = fileURLToPath(new URL("shots", import.meta.url));

if (!password) {
  console.error("Set DAVINCI_ADMIN_PASSWORD to the password of admin@davinci.local.");
  process.exit(2);
}
mkdirSync(shots, { recursive: true });

const browser = await launch();
const world = {
  browser,
  url,
  shots,
  account: { email: process.env.DAVINCI_ADMIN_EMAIL ?? "admin@davinci.local", password },
  hasTraffic: process.env.DAVINCI_IDLE !== "1",
};

const looks = ["en", "ko"].flatMap((language) =>
  ["light", "dark"].flatMap((theme) => [
    { language, theme, width: 1280, height: 900 },
    { language, theme, width: 390, height: 844 },
  ]),
);
const steps = [
  ["content security policy, no inline script", checks.staysStrict],
  ["theme and language stand before the first paint", checks.paintsInTheRightTheme],
  ["tokens stay out of reach; reload and sign-out", checks.keepsTokensOutOfReach],
  ["figures are live and can be paused", checks.showsLiveFigures],
  ["a decision explains itself and has a link", checks.explainsADecision],
  ["failures are said, old figures stay", checks.saysWhenItCannotUpdate],
  ...looks.map((look) => [
    `${look.language}, ${look.theme}, ${look.width} px`,
    (given) => checks.looksRight(given, look),
  ]),
];

let failures = 0;
for (const [name, check] of steps) {
  const startedAt = Date.now();
  try {
    await check(world);
    console.log(`ok    ${name}  (${((Date.now() - startedAt) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failures += 1;
    console.log(`FAIL  ${name}\n    ${error.message}`);
  }
}
await browser.close();
console.log(failures === 0 ? `all ${steps.length} checks passed` : `${failures} checks failed`);
process.exit(failures === 0 ? 0 : 1);
