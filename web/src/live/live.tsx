import {
  hashKey,
  QueryClient,
  type QueryFunctionContext,
  type QueryKey,
  type UseQueryOptions,
  type UseQueryResult,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import {
  createContext,
  type ReactNode,
  useCallback,
  useContext,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import { FRESH_FOR_MS } from "@/config/polling";
import type { Backoff } from "./backoff";
import { type AnyQuery, isLive, type LiveStatus, liveStatus, sameStatus } from "./status";

/** A query client for pages that poll. The poll is the retry, so nothing else is. */
export function createLiveClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: { retry: false, staleTime: FRESH_FOR_MS, networkMode: "always" },
    },
  });
}

interface Live {
  backoff: Backoff;
  isPaused: boolean;
  setPaused: (paused: boolean) => void;
}

const LiveContext = createContext<Live | null>(null);

export function LiveProvider({ backoff, children }: { backoff: Backoff; children: ReactNode }) {
  const [isPaused, setPaused] = useState(false);
  const live = useMemo(() => ({ backoff, isPaused, setPaused }), [backoff, isPaused]);
  return <LiveContext value={live}>{children}</LiveContext>;
}

export function useLiveControl(): Live {
  const live = useContext(LiveContext);
  if (!live) throw new Error("useLiveControl needs a LiveProvider above it");
  return live;
}

type LiveOptions<Data, Key extends QueryKey> = UseQueryOptions<Data, Error, Data, Key>;

/**
 * A query that polls: every 5 s, slower after failures, not while paused or while the tab is
 * hidden, and at once when the tab comes back with old figures.
 */
export function useLive<Data, Key extends QueryKey>(
  options: LiveOptions<Data, Key>,
): UseQueryResult<Data, Error> {
  const { backoff, isPaused } = useLiveControl();
  return useQuery<Data, Error, Data, Key>({
    ...options,
    queryFn: reporting(options.queryFn, backoff),
    meta: { live: true },
    refetchInterval: (query) => (isPaused ? false : backoff.delayMs(query.queryHash)),
    refetchIntervalInBackground: false,
    refetchOnWindowFocus: !isPaused,
  });
}

/**
 * Tells the back-off how each call went, before the query does: a query draws its next delay
 * while it publishes the result.
 */
function reporting<Data, Key extends QueryKey>(
  queryFn: LiveOptions<Data, Key>["queryFn"],
  backoff: Backoff,
) {
  if (typeof queryFn !== "function") return queryFn;
  return async (context: QueryFunctionContext<Key>): Promise<Data> => {
    const query = hashKey(context.queryKey);
    try {
      const data = await queryFn(context);
      backoff.succeeded(query);
      return data;
    } catch (error) {
      if (!context.signal.aborted) backoff.failed(query, error);
      throw error;
    }
  };
}

/** The live queries of the page as one status; changes only when the status does. */
export function useLiveStatus(): LiveStatus & { refresh: () => void } {
  const client = useQueryClient();
  const last = useRef<LiveStatus>(liveStatus([]));
  const subscribe = useCallback(
    (changed: () => void) => client.getQueryCache().subscribe(changed),
    [client],
  );
  const read = useCallback(() => {
    const next = liveStatus(client.getQueryCache().getAll() as AnyQuery[]);
    if (!sameStatus(last.current, next)) last.current = next;
    return last.current;
  }, [client]);
  const refresh = useCallback(() => {
    void client.refetchQueries({ predicate: (query) => isLive(query as AnyQuery) });
  }, [client]);
  const status = useSyncExternalStore(subscribe, read);
  return { ...status, refresh };
}
