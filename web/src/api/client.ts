import axios, { type InternalAxiosRequestConfig } from "axios";
import { toApiError } from "./problem";
import { session } from "./session";
import type { paths } from "./types";

type GetPath = { [P in keyof paths]: paths[P] extends { get: unknown } ? P : never }[keyof paths];
type Operation<P extends GetPath> = paths[P] extends { get: infer O } ? O : never;
type Parameter<P extends GetPath, In extends "query" | "path"> =
  Operation<P> extends { parameters: { [K in In]?: infer V } } ? NonNullable<V> : never;
type PathOption<P extends GetPath> = [Parameter<P, "path">] extends [never]
  ? { path?: never }
  : { path: Parameter<P, "path"> };
type GetOptions<P extends GetPath> = PathOption<P> & {
  query?: Parameter<P, "query">;
  signal?: AbortSignal;
};
/** The JSON that a GET route answers with. */
export type Answer<P extends GetPath> =
  Operation<P> extends { responses: { 200: { content: { "application/json": infer B } } } }
    ? B
    : never;

type Attempt = InternalAxiosRequestConfig & { isSecondAttempt?: boolean };

const http = axios.create({ timeout: 10_000, headers: { accept: "application/json" } });

http.interceptors.request.use(async (request) => {
  const token = await session.token();
  if (token) request.headers.set("authorization", `Bearer ${token}`);
  return request;
});

// A token can be revoked before it expires: renew once, then believe the server.
http.interceptors.response.use(undefined, async (error) => {
  const request = error?.config as Attempt | undefined;
  if (error?.response?.status !== 401 || !request || request.isSecondAttempt) throw error;
  if ((await session.renew()) === null) throw error;
  request.isSecondAttempt = true;
  return http.request(request);
});

function fill(path: string, values: Record<string, string> | undefined): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values?.[name] ?? ""));
}

/** GETs a route of the API; a wrong path, parameter or field does not compile. */
export async function get<P extends GetPath>(path: P, options: GetOptions<P>): Promise<Answer<P>> {
  try {
    const response = await http.get(fill(path, options.path), {
      params: options.query,
      signal: options.signal,
    });
    return response.data;
  } catch (error) {
    // An aborted call is not a failure: the caller went away.
    if (axios.isCancel(error)) throw error;
    throw toApiError(error);
  }
}
