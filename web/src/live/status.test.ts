import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { expect, it } from "vitest";
import { type AnyQuery, liveStatus } from "./status";

const all = (client: QueryClient) => client.getQueryCache().getAll() as AnyQuery[];

function watch(client: QueryClient, name: string, isLive: boolean) {
  const observer = new QueryObserver(client, {
    queryKey: [name],
    queryFn: () => name,
    staleTime: Number.POSITIVE_INFINITY,
    meta: { live: isLive },
  });
  return observer.subscribe(() => undefined);
}

it("is as old as the oldest live figure on the page", () => {
  const client = new QueryClient();
  client.setQueryData(["new"], 1, { updatedAt: 2_000 });
  client.setQueryData(["old"], 1, { updatedAt: 1_000 });
  client.setQueryData(["constant"], 1, { updatedAt: 1 });
  watch(client, "new", true);
  watch(client, "old", true);
  watch(client, "constant", false);
  expect(liveStatus(all(client))).toMatchObject({ updatedAt: 1_000, total: 2, failing: 0 });
});

it("leaves out what nobody looks at any more", () => {
  const client = new QueryClient();
  client.setQueryData(["old"], 1, { updatedAt: 1_000 });
  const leave = watch(client, "old", true);
  leave();
  expect(liveStatus(all(client))).toMatchObject({ updatedAt: null, total: 0 });
});
