const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const STEPS_MS = [1, 2, 5, 10, 15, 30]
  .map((minutes) => minutes * MINUTE_MS)
  .concat([1, 2, 3, 4, 6, 12].map((hours) => hours * HOUR_MS))
  .concat([1, 2, 7, 14, 30].map((days) => days * DAY_MS));

/** At most `count` round local times between two instants: 12:00, 15:00, 18:00. */
export function timeTicks(fromMs: number, toMs: number, count: number): number[] {
  const step = STEPS_MS.find((candidate) => (toMs - fromMs) / candidate <= count) ?? 30 * DAY_MS;
  // Midnight of the first day in local time: the steps are counted from there, not from UTC.
  const origin = new Date(fromMs).setHours(0, 0, 0, 0);
  const first = origin + Math.ceil((fromMs - origin) / step) * step;
  const ticks: number[] = [];
  for (let at = first; at <= toMs && ticks.length < count + 1; at += step) ticks.push(at);
  return ticks;
}
