import {
  QueryCache,
  QueryClient,
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
import type { AnyQuery, Backoff } from "./backoff";
import { isLive, type LiveStatus, liveStatus, sameStatus } from "./status";

/** A query client whose failures feed the back-off. The poll is the retry, so nothing else is. */
export function createLiveClient(backoff: Backoff): QueryClient {
  return new QueryClient({
    queryCache: new QueryCache({
      onSuccess: (_, query) => backoff.succeeded(query),
      onError: (error, query) => backoff.failed(query, error),
    }),
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

/**
 * A query that polls: every 5 s, slower after failures, not while paused or while the tab is
 * hidden, and at once when the tab comes back with old figures.
 */
export function useLive<Data, Key extends QueryKey>(
  options: UseQueryOptions<Data, Error, Data, Key>,
): UseQueryResult<Data, Error> {
  const { backoff, isPaused } = useLiveControl();
  return useQuery<Data, Error, Data, Key>({
    ...options,
    meta: { live: true },
    refetchInterval: (query) => (isPaused ? false : backoff.delayMs(query)),
    refetchIntervalInBackground: false,
    refetchOnWindowFocus: !isPaused,
  });
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
