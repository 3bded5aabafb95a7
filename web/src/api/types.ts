/**
 * Short names for the shapes of the API that the dashboard reads. They are generated from
 * the OpenAPI document (`npm run gen`). Fractions are in [0, 1], money in US dollars, latency in
 * milliseconds; null is "not known".
 */

import type { components, paths } from "./schema.gen";

type Schemas = components["schemas"];

export type { paths };
export type Window = Schemas["LearningMetrics"]["window"];
export type LevelId = Schemas["LevelStatus"]["level"];
export type Health = Schemas["LevelStatus"]["health"];

export type Status = Schemas["Status"];
export type Queue = Schemas["QueueDepth"];
export type NeuralStatus = Schemas["NeuralStatus"];
export type LevelStatus = Schemas["LevelStatus"];
export type AllocationItem = Schemas["AllocationItem"];

export type LearningMetrics = Schemas["LearningMetrics"];
export type LevelMetrics = Schemas["LevelMetrics"];
export type MetricsPoint = Schemas["MetricsPoint"];

export type Decision = Schemas["DecisionDetail"];
export type Candidate = Schemas["CandidateOut"];
export type Margin = Schemas["MarginOut"];
export type Outcome = Schemas["OutcomeOut"];
export type Feedback = Schemas["FeedbackOut"];

export type AccessGrant = Schemas["TokenResponse"];

/** RFC 9457 problem details, the body of every error; proxies before the API may leave out parts. */
export type Problem = Partial<Pick<Schemas["Problem"], "type" | "title" | "status" | "detail">>;
