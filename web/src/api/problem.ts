import { AxiosError } from "axios";
import type { Problem } from "./types";

/** Why a call failed, in one shape whatever broke: status 0 means that no answer came. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly status: number,
    readonly problem: Problem,
    readonly retryAfterMs: number | null = null,
  ) {
    super(problem.detail || problem.title || `HTTP ${status}`);
  }
}

/** The seconds of a `Retry-After` header in milliseconds; dates are ignored (clock skew). */
function retryAfterMs(header: unknown): number | null {
  const seconds = typeof header === "string" && header.trim() !== "" ? Number(header) : Number.NaN;
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null;
}

function isProblem(body: unknown): body is Problem {
  return typeof body === "object" && body !== null && ("title" in body || "detail" in body);
}

export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof AxiosError && error.response) {
    const { status, statusText, data, headers } = error.response;
    const problem = isProblem(data) ? data : { title: statusText || `HTTP ${status}` };
    return new ApiError(status, problem, retryAfterMs(headers["retry-after"]));
  }
  const title = error instanceof Error ? error.message : String(error);
  return new ApiError(0, { title });
}
