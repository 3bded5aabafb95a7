import { queryOptions } from "@tanstack/react-query";
import { get } from "../client";

export const neuralStatus = () =>
  queryOptions({
    queryKey: ["neural", "status"],
    queryFn: ({ signal }) => get("/api/neural/status", { signal }),
  });
