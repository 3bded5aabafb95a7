import type { Query } from "@tanstack/react-query";

export type AnyQuery = Query<unknown, Error, unknown, readonly unknown[]>;

/** What the live queries of the page amount to, for the indicator in the header. */
export interface LiveStatus {
  /** When the oldest figure on the page was fetched; null before the first answer. */
  updatedAt: number | null;
  isFetching: boolean;
  /** How many live queries failed at their last poll. */
  failing: number;
  total: number;
}

export const isLive = (query: AnyQuery) => query.meta?.live === true && query.isActive();

export function liveStatus(queries: readonly AnyQuery[]): LiveStatus {
  const live = queries.filter(isLive);
  const answered = live.map((query) => query.state.dataUpdatedAt).filter((at) => at > 0);
  return {
    updatedAt: answered.length > 0 ? Math.min(...answered) : null,
    isFetching: live.some((query) => query.state.fetchStatus === "fetching"),
    failing: live.filter((query) => query.state.status === "error").length,
    total: live.length,
  };
}

export function sameStatus(a: LiveStatus, b: LiveStatus): boolean {
  return (
    a.updatedAt === b.updatedAt &&
    a.isFetching === b.isFetching &&
    a.failing === b.failing &&
    a.total === b.total
  );
}
