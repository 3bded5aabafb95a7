import { queryOptions } from "@tanstack/react-query";
import { get } from "../client";
import type { LevelId } from "../types";

export interface HistoryFilter {
  level?: LevelId;
  limit: number;
}

export const decisionHistory = (filter: HistoryFilter) =>
  queryOptions({
    queryKey: ["neural", "history", filter],
    queryFn: ({ signal }) => get("/api/neural/history", { query: filter, signal }),
  });
