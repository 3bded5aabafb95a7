import type { Health, NeuralStatus, Queue, Status } from "@/api/types";

/** Messages older than this are late: consumers normally take them within a second or two. */
const LATE_AFTER_S = 30;

export function modelsHealth({ operational, degraded, down }: Status["models"]): Health {
  if (operational + degraded === 0) return "down";
  return degraded + down > 0 ? "degraded" : "operational";
}

export function queueHealth({ dead, oldest_age_s }: Queue): Health {
  return (dead ?? 0) > 0 || (oldest_age_s ?? 0) > LATE_AFTER_S ? "degraded" : "operational";
}

/** Learned state may lag behind by this much before the routing that uses it is out of date. */
const LEARNER_LATE_AFTER_S = 120;

export function learnerHealth(learner: NeuralStatus["learner"]): Health {
  if (learner.age_s === null) return "degraded";
  return learner.age_s > LEARNER_LATE_AFTER_S ? "degraded" : "operational";
}

export function availabilityHealth(availability: number | null): Health {
  if (availability === null || availability >= 0.999) return "operational";
  return availability >= 0.99 ? "degraded" : "down";
}

const SEVERITY: Record<Health, number> = { operational: 0, degraded: 1, down: 2 };

export function worst(states: readonly Health[]): Health {
  return states.reduce<Health>((a, b) => (SEVERITY[b] > SEVERITY[a] ? b : a), "operational");
}
