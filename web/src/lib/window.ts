import type { Window } from "@/api/types";

export const WINDOWS = ["1h", "24h", "7d"] as const satisfies readonly Window[];

const HOUR_MS = 3_600_000;
export const WINDOW_MS: Record<Window, number> = {
  "1h": HOUR_MS,
  "24h": 24 * HOUR_MS,
  "7d": 7 * 24 * HOUR_MS,
};
