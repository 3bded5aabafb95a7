import type {
  AllocationItem,
  Decision,
  Feedback,
  LearningMetrics,
  MetricsPoint,
  NeuralStatus,
  Status,
} from "@/api/types";

export const MINUTE_MS = 60_000;
export const NOON = Date.parse("2026-02-07T12:00:00Z");

export function makeBucket(minute: number, values: Partial<MetricsPoint> = {}): MetricsPoint {
  return {
    at: new Date(NOON + minute * MINUTE_MS).toISOString(),
    requests: 10,
    cost_usd: 0.01,
    latency_p95_ms: 900,
    reward_mean_usd: 0.002,
    success_rate: 1,
    ...values,
  };
}

export function makeMetrics(values: Partial<LearningMetrics> = {}): LearningMetrics {
  return {
    window: "1h",
    since: new Date(NOON).toISOString(),
    requests: 1_200,
    successes: 1_188,
    failures: 12,
    tokens_in: 240_000,
    tokens_out: 120_000,
    cost_usd: 0.36,
    latency_p50_ms: 640,
    latency_p95_ms: 1_904,
    latency_p99_ms: 3_200,
    reward_mean_usd: 0.0103,
    quality_mean: 0.68,
    regret_vs_best_fixed_usd: -0.0004,
    regret_se_usd: 0.0001,
    exploration_share: 0.098,
    exploration_usd: 0.04,
    updates: 1_050,
    state_version: 12,
    state_age_s: 3,
    levels: [
      {
        level: "L3",
        requests: 500,
        reward_mean_usd: 0.0137,
        reward_ci_usd: [0.0131, 0.0143],
        leader: "replay/qwen2.5-7b-instruct",
        quality_mean: 0.69,
        regret_vs_best_fixed_usd: 0.0006,
        regret_se_usd: 0.0002,
        exploration_share: 0.1,
        updates: 460,
      },
    ],
    series: [makeBucket(0), makeBucket(1), makeBucket(2)],
    ...values,
  };
}

export function makeDecision(values: Partial<Decision> = {}): Decision {
  return {
    decision_id: "dec_1",
    created_at: "2026-02-07T12:00:00Z",
    level: "L3",
    level_confidence: 1,
    level_source: "task",
    task_type: "gsm8k",
    model: "replay/qwen2.5-7b-instruct",
    propensity: 0.925,
    strategy: "epsilon_greedy",
    explored: false,
    fallbacks: ["replay/gemma-2-9b-it"],
    candidates: [
      {
        model: "replay/gemma-2-9b-it",
        quality: 0.55,
        quality_sd: 0.02,
        cost_usd: 0.00004,
        latency_ms: 600,
        utility_usd: 0.0106,
        probability: 0.075,
        eligible: true,
        why_not: null,
        flags: [],
      },
      {
        model: "replay/llama3-chatqa-1.5-70b",
        quality: null,
        quality_sd: null,
        cost_usd: null,
        latency_ms: null,
        utility_usd: null,
        probability: 0,
        eligible: false,
        why_not: "model is down",
        flags: [],
      },
      {
        model: "replay/qwen2.5-7b-instruct",
        quality: 0.67,
        quality_sd: 0.02,
        cost_usd: 0.00008,
        latency_ms: 500,
        utility_usd: 0.0132,
        probability: 0.925,
        eligible: true,
        why_not: null,
        flags: [],
      },
    ],
    policy: { name: "replay", version: 3 },
    why: "highest utility for L3",
    margin: {
      runner_up: "replay/gemma-2-9b-it",
      gap_usd: 0.0026,
      change: "quality",
      amount: 0.13,
    },
    outcome: {
      status: "success",
      latency_ms: 512,
      tokens_in: 210,
      tokens_out: 96,
      cost_usd: 0.000061,
      model: "replay/qwen2.5-7b-instruct",
      error_class: null,
      attempts: [],
      created_at: "2026-02-07T12:00:00.512Z",
    },
    feedback: [makeFeedback()],
    requested_model: "auto",
    regret_usd: 0,
    track: "stable",
    learner_version: 12,
    tokens_in: 210,
    caller: "key_1",
    seed: 7,
    features: [],
    text: null,
    answer: null,
    ...values,
  };
}

export function makeFeedback(values: Partial<Feedback> = {}): Feedback {
  return {
    source: "replay",
    score: 1,
    label: null,
    reward_usd: 0.0148,
    created_at: "2026-02-07T12:00:01Z",
    ...values,
  };
}

export function makeAllocation(values: Partial<AllocationItem> = {}): AllocationItem {
  return {
    level: "L3",
    model: "replay/qwen2.5-7b-instruct",
    planned_share: 0.9,
    actual_share: 0.88,
    decisions: 440,
    ...values,
  };
}

export function makeNeuralStatus(values: Partial<NeuralStatus> = {}): NeuralStatus {
  return {
    levels: [
      {
        level: "L3",
        name: "Neocortex",
        primary: "replay/gemma-2-9b-it",
        eligible_models: 2,
        health: "operational",
        exploration_share: 0.1,
      },
    ],
    learner: { version: 12, updated_at: "2026-02-07T12:00:00Z", age_s: 3, updates: 1_050 },
    policy: { name: "replay", version: 3 },
    ...values,
  };
}

export function makeStatus(values: Partial<Status> = {}): Status {
  return {
    version: "0.1.0",
    environment: "local",
    started_at: "2026-02-07T09:44:30Z",
    uptime_s: 8_130,
    levels: [{ level: "L3", requests_24h: 500 }],
    availability_24h: 0.9998,
    models: { operational: 9, degraded: 0, down: 0 },
    policy: { name: "replay", version: 3 },
    queues: [{ name: "learning", depth: 3, oldest_age_s: 0.4, dead: 0 }],
    ...values,
  };
}
