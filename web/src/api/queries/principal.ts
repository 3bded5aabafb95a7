import { queryOptions } from "@tanstack/react-query";
import { get } from "../client";

/** Who is signed in; changes only with a new session. */
export const principal = () =>
  queryOptions({
    queryKey: ["auth", "verify"],
    queryFn: ({ signal }) => get("/api/auth/verify", { signal }),
    staleTime: Number.POSITIVE_INFINITY,
  });
