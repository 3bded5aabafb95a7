// Answers of the API, computed from the simulated traffic.

import { LEVELS, MODELS, NAMES } from "./traffic.mjs";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const WINDOW_MS = { "1h": HOUR_MS, "24h": 24 * HOUR_MS, "7d": 168 * HOUR_MS };
const BUCKET_MS = { "1h": MINUTE_MS, "24h": HOUR_MS, "7d": 6 * HOUR_MS };

const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
const sum = (values) => values.reduce((a, b) => a + b, 0);

function percentile(values, fraction) {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(fraction * sorted.length))];
}

const rewardsOf = (rows) => rows.flatMap((row) => row.feedback.map((item) => item.reward_usd));
const qualityOf = (rows) => mean(rows.flatMap((row) => row.feedback.map((item) => item.score)));
const isSuccess = (row) => row.outcome.status === "success";
const latencies = (rows) => rows.filter(isSuccess).map((row) => row.outcome.latency_ms);

function leaderOf(rows) {
  const means = MODELS.map(({ id }) => {
    const rewards = rewardsOf(rows.filter((row) => row.model === id));
    return { id, value: mean(rewards) ?? Number.NEGATIVE_INFINITY, n: rewards.length };
  }).filter(({ n }) => n >= 5);
  return means.sort((a, b) => b.value - a.value)[0] ?? null;
}

function learnLevel(level, all) {
  const rows = all.filter((row) => row.level === level);
  const rewards = rewardsOf(rows);
  const average = mean(rewards);
  const deviation = Math.sqrt(mean(rewards.map((value) => (value - average) ** 2)) ?? 0);
  const half = (1.96 * deviation) / Math.sqrt(Math.max(rewards.length, 1));
  const leader = leaderOf(rows);
  return {
    level,
    requests: rows.length,
    reward_mean_usd: average,
    reward_ci_usd: average === null ? null : [average - half, average + half],
    leader: leader?.id ?? null,
    quality_mean: qualityOf(rows),
    regret_vs_best_fixed_usd: leader ? leader.value - average : null,
    exploration_share: rows.length ? mean(rows.map((row) => (row.explored ? 1 : 0))) : null,
    updates: rewards.length,
  };
}

/** Buckets without requests are left out, as the API does. */
function series(rows, bucketMs) {
  const buckets = new Map();
  for (const row of rows) {
    const index = Math.floor(Date.parse(row.created_at) / bucketMs);
    buckets.set(index, [...(buckets.get(index) ?? []), row]);
  }
  return [...buckets].map(([index, inside]) => ({
    at: new Date(index * bucketMs).toISOString(),
    requests: inside.length,
    cost_usd: sum(inside.map((row) => row.outcome.cost_usd)),
    latency_p95_ms: percentile(latencies(inside), 0.95),
    reward_mean_usd: mean(rewardsOf(inside)),
    success_rate: inside.filter(isSuccess).length / inside.length,
  }));
}

export function learningMetrics(decisions, wanted, now) {
  const window = wanted in WINDOW_MS ? wanted : "24h";
  const grain = window === "1h" ? MINUTE_MS : HOUR_MS;
  const since = Math.floor((now - WINDOW_MS[window]) / grain) * grain;
  const rows = decisions.filter((row) => Date.parse(row.created_at) >= since);
  const explored = rows.filter((row) => row.explored);
  const successes = rows.filter(isSuccess).length;
  return {
    window,
    since: new Date(since).toISOString(),
    requests: rows.length,
    successes,
    failures: rows.length - successes,
    cost_usd: sum(rows.map((row) => row.outcome.cost_usd)),
    tokens_in: sum(rows.map((row) => row.outcome.tokens_in)),
    tokens_out: sum(rows.map((row) => row.outcome.tokens_out)),
    latency_p50_ms: percentile(latencies(rows), 0.5),
    latency_p95_ms: percentile(latencies(rows), 0.95),
    latency_p99_ms: percentile(latencies(rows), 0.99),
    reward_mean_usd: mean(rewardsOf(rows)),
    quality_mean: qualityOf(rows),
    regret_vs_best_fixed_usd: rows.length ? -0.000_214 : null,
    exploration_share: rows.length ? explored.length / rows.length : null,
    exploration_usd: sum(explored.map((row) => row.outcome.cost_usd)),
    updates: rewardsOf(decisions).length,
    state_version: Math.floor(decisions.length / 10),
    state_age_s: (now / 1000) % 7,
    levels: LEVELS.map((level) => learnLevel(level, rows)),
    series: series(rows, BUCKET_MS[window]),
  };
}

const probabilityOf = (row, id) => row.candidates.find(({ model }) => model === id).probability;

export function allocation(decisions, from) {
  const rows = decisions.filter(({ created_at }) => created_at >= from);
  const items = LEVELS.flatMap((level) => {
    const inLevel = rows.filter((row) => row.level === level);
    if (inLevel.length === 0) return [];
    return MODELS.map(({ id }) => {
      const count = inLevel.filter((row) => row.model === id).length;
      return {
        level,
        model: id,
        planned_share: mean(inLevel.map((row) => probabilityOf(row, id))),
        actual_share: count / inLevel.length,
        decisions: count,
      };
    });
  });
  return { items, next_cursor: null };
}

const POLICY = { name: "replay", version: 3 };

export function neuralStatus(decisions, now) {
  return {
    levels: LEVELS.map((level) => ({
      level,
      name: NAMES[level],
      primary: leaderOf(decisions.filter((row) => row.level === level))?.id ?? null,
      eligible_models: MODELS.length,
      health: level === "L4" ? "degraded" : "operational",
      exploration_share: 0.1,
    })),
    learner: {
      version: Math.floor(decisions.length / 10),
      updated_at: new Date(now - 2_000).toISOString(),
      age_s: (now / 1000) % 7,
      updates: rewardsOf(decisions).length,
    },
    policy: POLICY,
  };
}

export function systemStatus(now, startedAt) {
  return {
    version: "0.1.0",
    uptime_s: (now - startedAt) / 1000 + 8_130,
    availability_24h: 0.99982,
    environment: "local",
    started_at: new Date(startedAt).toISOString(),
    levels: LEVELS.map((level) => ({ level, requests_24h: 0 })),
    models: { operational: 8, degraded: 1, down: 0 },
    policy: POLICY,
    queues: [
      { name: "learning", depth: 3, oldest_age_s: 0.4, dead: 0 },
      { name: "performance", depth: 0, oldest_age_s: null, dead: 0 },
      { name: "webhooks", depth: 12, oldest_age_s: 41, dead: 2 },
    ],
  };
}
