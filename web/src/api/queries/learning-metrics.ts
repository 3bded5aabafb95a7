import { queryOptions } from "@tanstack/react-query";
import { get } from "../client";
import type { Window } from "../types";

export const learningMetrics = (window: Window) =>
  queryOptions({
    queryKey: ["learning", "metrics", window],
    queryFn: ({ signal }) => get("/api/learning/metrics", { query: { window }, signal }),
  });
