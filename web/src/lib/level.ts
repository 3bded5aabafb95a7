import type { LevelId } from "@/api/types";

export const LEVELS = ["L1", "L2", "L3", "L4"] as const satisfies readonly LevelId[];
