import { queryOptions } from "@tanstack/react-query";
import { WINDOW_MS } from "@/lib/window";
import { get } from "../client";
import type { Window } from "../types";

/** The window slides: its start is computed at every poll, so it is not part of the key. */
export const allocation = (window: Window) =>
  queryOptions({
    queryKey: ["neural", "allocation", window],
    queryFn: ({ signal }) => {
      const from = new Date(Date.now() - WINDOW_MS[window]).toISOString();
      return get("/api/neural/allocation", { query: { from }, signal });
    },
  });
