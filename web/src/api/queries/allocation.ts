import { queryOptions } from "@tanstack/react-query";
import { WINDOW_MS } from "@/lib/window";
import { get } from "../client";
import type { Window } from "../types";

/** The window slides: its ends are computed at every poll, so they are not part of the key. */
export const allocation = (window: Window) =>
  queryOptions({
    queryKey: ["neural", "allocation", window],
    queryFn: ({ signal }) => {
      const now = Date.now();
      const query = {
        from: new Date(now - WINDOW_MS[window]).toISOString(),
        to: new Date(now).toISOString(),
      };
      return get("/api/neural/allocation", { query, signal });
    },
  });
