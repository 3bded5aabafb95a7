import { queryOptions } from "@tanstack/react-query";
import { get } from "../client";

export const systemStatus = () =>
  queryOptions({
    queryKey: ["system", "status"],
    queryFn: ({ signal }) => get("/api/status", { signal }),
  });
