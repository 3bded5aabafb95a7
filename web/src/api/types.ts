/**
 * The shapes of the API that the dashboard reads, in the form `openapi-typescript` writes them.
 * Fractions are in [0, 1], money in US dollars, latency in milliseconds; null is "not known".
 */

export type LevelId = "L1" | "L2" | "L3" | "L4";
export type Health = "operational" | "degraded" | "down";
export type Window = "1h" | "24h" | "7d";

export interface PolicyRef {
  name: string;
  version: number;
}

export interface Queue {
  name: string;
  depth: number;
  oldest_age_s: number | null;
  dead: number;
}

export interface Status {
  version: string;
  uptime_s: number;
  availability_24h: number | null;
  models: { operational: number; degraded: number; down: number };
  policy: PolicyRef | null;
  queues: Queue[];
}

export interface LevelStatus {
  level: LevelId;
  name: string;
  primary: string | null;
  eligible_models: string[];
  health: Health;
  exploration_share: number | null;
}

export interface NeuralStatus {
  levels: LevelStatus[];
  learner: {
    version: number | null;
    updated_at: string | null;
    age_s: number | null;
    updates: number;
  };
  policy: PolicyRef | null;
}

export interface AllocationItem {
  level: LevelId;
  model: string;
  planned_share: number | null;
  actual_share: number | null;
  decisions: number;
}

export interface LevelLearning {
  level: LevelId;
  requests: number;
  reward_mean_usd: number | null;
  reward_ci_usd: [number, number] | null;
  leader: string | null;
  leader_probability: number | null;
  exploration_share: number | null;
  updates: number;
}

export interface MetricsBucket {
  at: string;
  requests: number | null;
  cost_usd: number | null;
  latency_p95_ms: number | null;
  reward_mean_usd: number | null;
  success_rate: number | null;
}

export interface LearningMetrics {
  requests: number;
  successes: number;
  cost_usd: number | null;
  latency_p50_ms: number | null;
  latency_p95_ms: number | null;
  latency_p99_ms: number | null;
  reward_mean_usd: number | null;
  regret_vs_best_fixed_usd: number | null;
  exploration_share: number | null;
  exploration_usd: number | null;
  updates: number;
  state_age_s: number | null;
  levels: LevelLearning[];
  series: MetricsBucket[];
}

export interface Candidate {
  model: string;
  quality: number | null;
  quality_sd?: number | null;
  cost_usd: number | null;
  latency_ms: number | null;
  utility_usd: number | null;
  probability: number;
  eligible: boolean;
  why_not: string | null;
}

export interface Margin {
  runner_up: string;
  gap_usd: number;
  change: string;
  amount: number;
}

export interface Outcome {
  status: string;
  latency_ms: number | null;
  tokens_in: number | null;
  tokens_out: number | null;
  cost_usd: number | null;
  model: string | null;
  error_class: string | null;
}

export interface Feedback {
  source: string;
  score: number;
  created_at: string;
}

export interface Decision {
  decision_id: string;
  created_at: string;
  level: LevelId;
  level_confidence?: number | null;
  level_source?: string | null;
  task_type?: string | null;
  model: string;
  propensity: number;
  strategy?: string | null;
  explored?: boolean | null;
  fallbacks: string[];
  candidates: Candidate[];
  policy: PolicyRef | null;
  why: string | null;
  margin: Margin | null;
  outcome: Outcome | null;
  feedback: Feedback[];
}

export interface Principal {
  email?: string | null;
  role?: string | null;
}

export interface AccessGrant {
  access_token: string;
  token_type: string;
  expires_in: number;
}

/** RFC 9457 problem details, the body of every error under `/api`. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string | null;
  instance?: string | null;
  errors?: { pointer: string; detail: string }[];
}

interface Get<Body, Query = never, Path = never> {
  get: {
    parameters: { query?: Query; path: Path };
    responses: { 200: { content: { "application/json": Body } } };
  };
}

export interface paths {
  "/api/status": Get<Status>;
  "/api/auth/verify": Get<Principal>;
  "/api/neural/status": Get<NeuralStatus>;
  "/api/neural/allocation": Get<{ items: AllocationItem[] }, { from?: string; to?: string }>;
  "/api/neural/history": Get<
    { items: Decision[]; next_cursor: string | null },
    { limit?: number; cursor?: string; level?: LevelId; model?: string }
  >;
  "/api/neural/decisions/{decision_id}": Get<Decision, never, { decision_id: string }>;
  "/api/learning/metrics": Get<LearningMetrics, { window?: Window }>;
}
