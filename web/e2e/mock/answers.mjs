// Answers of the API, computed from the simulated traffic.

import { LEVELS, MODELS, NAMES, VALUE_USD } from "./traffic.mjs";

const HOUR_MS = 3_600_000;
const WINDOW_MS = { "1h": HOUR_MS, "24h": 24 * HOUR_MS, "7d": 168 * HOUR_MS };
const BUCKETS = 60;

const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
const sum = (values) => values.reduce((a, b) => a + b, 0);

function percentile(values, fraction) {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(fraction * sorted.length))];
}

function reward(decision) {
  const score = decision.feedback[0]?.score;
  if (score === undefined) return null;
  const value = VALUE_USD[decision.level];
  const waited = (decision.outcome.latency_ms / 1000) * value * 0.02;
  return score * value - decision.outcome.cost_usd - waited;
}

const rewardsOf = (rows) => rows.map(reward).filter((value) => value !== null);
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
    leader_probability: leader ? 1 - 0.5 * Math.exp(-leader.n / 180) : null,
    exploration_share: rows.length ? mean(rows.map((row) => (row.explored ? 1 : 0))) : null,
    updates: rewards.length,
  };
}

function series(rows, from, bucketMs) {
  return Array.from({ length: BUCKETS }, (_, index) => {
    const start = from + index * bucketMs;
    const inside = rows.filter((row) => {
      const at = Date.parse(row.created_at);
      return at >= start && at < start + bucketMs;
    });
    return {
      at: new Date(start).toISOString(),
      requests: inside.length,
      cost_usd: inside.length ? sum(inside.map((row) => row.outcome.cost_usd)) : null,
      latency_p95_ms: percentile(latencies(inside), 0.95),
      reward_mean_usd: mean(rewardsOf(inside)),
      success_rate: inside.length ? inside.filter(isSuccess).length / inside.length : null,
    };
  });
}

export function learningMetrics(decisions, window, now) {
  const span = WINDOW_MS[window] ?? WINDOW_MS["24h"];
  const bucketMs = span / BUCKETS;
  // Buckets begin at round times; the newest is still filling.
  const end = Math.floor(now / bucketMs) * bucketMs + bucketMs;
  const rows = decisions.filter((row) => Date.parse(row.created_at) >= end - span);
  const explored = rows.filter((row) => row.explored);
  return {
    requests: rows.length,
    successes: rows.filter(isSuccess).length,
    cost_usd: rows.length ? sum(rows.map((row) => row.outcome.cost_usd)) : null,
    latency_p50_ms: percentile(latencies(rows), 0.5),
    latency_p95_ms: percentile(latencies(rows), 0.95),
    latency_p99_ms: percentile(latencies(rows), 0.99),
    reward_mean_usd: mean(rewardsOf(rows)),
    regret_vs_best_fixed_usd: rows.length ? -0.000_214 : null,
    exploration_share: rows.length ? explored.length / rows.length : null,
    exploration_usd: rows.length ? sum(explored.map((row) => row.outcome.cost_usd)) : null,
    updates: rewardsOf(decisions).length,
    state_age_s: (now / 1000) % 7,
    levels: LEVELS.map((level) => learnLevel(level, rows)),
    series: rows.length ? series(rows, end - span, bucketMs) : [],
  };
}

const probabilityOf = (row, id) => row.candidates.find(({ model }) => model === id).probability;

export function allocation(decisions, from, to) {
  const rows = decisions.filter(({ created_at }) => created_at >= from && created_at <= to);
  const items = LEVELS.flatMap((level) => {
    const inLevel = rows.filter((row) => row.level === level);
    return MODELS.map(({ id }) => {
      const count = inLevel.filter((row) => row.model === id).length;
      return {
        level,
        model: id,
        planned_share: mean(inLevel.map((row) => probabilityOf(row, id))),
        actual_share: inLevel.length ? count / inLevel.length : null,
        decisions: count,
      };
    });
  });
  return { items: decisions.length ? items : [] };
}

const POLICY = { name: "replay", version: 3 };

export function neuralStatus(decisions, now) {
  return {
    levels: LEVELS.map((level) => ({
      level,
      name: NAMES[level],
      primary: "replay/llama-3.1-8b-instruct",
      eligible_models: MODELS.map(({ id }) => id),
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
    levels: LEVELS,
    models: { operational: 8, degraded: 1, down: 0 },
    policy: POLICY,
    queues: [
      { name: "learning", depth: 3, oldest_age_s: 0.4, dead: 0 },
      { name: "performance", depth: 0, oldest_age_s: null, dead: 0 },
      { name: "webhooks", depth: 12, oldest_age_s: 41, dead: 2 },
    ],
  };
}
