import { queryOptions } from "@tanstack/react-query";
import { get } from "../client";

export const decision = (id: string) =>
  queryOptions({
    queryKey: ["neural", "decision", id],
    queryFn: ({ signal }) =>
      get("/api/neural/decisions/{decision_id}", { path: { decision_id: id }, signal }),
  });
