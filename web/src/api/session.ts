import axios, { type AxiosInstance } from "axios";
import { type ApiError, toApiError } from "./problem";
import type { AccessGrant } from "./types";

/** Renewed this long before it expires, so that no call leaves with a token that dies on the way. */
const RENEW_BEFORE_MS = 30_000;
const CSRF = { "x-davinci-csrf": "1" };

const isRefusal = ({ status }: ApiError) => status === 401 || status === 403;

/** Remembers *that* someone signed in (never a token), and tells other tabs when that ends. */
export interface SignedInHint {
  read(): boolean;
  write(signedIn: boolean): void;
}

export interface SessionParts {
  http: AxiosInstance;
  hint: SignedInHint;
  now: () => number;
  /** Runs the task while no other tab does: the refresh cookie may be spent only once. */
  exclusively: <T>(task: () => Promise<T>) => Promise<T>;
}

/**
 * Holds the access token in memory and nowhere else. A reload gets a new one from the refresh
 * cookie, which scripts cannot read.
 */
export class Session {
  #token: string | null = null;
  #expiresAt = 0;
  #renewal: Promise<string | null> | null = null;
  readonly #lostListeners = new Set<() => void>();

  constructor(private readonly parts: SessionParts) {}

  async signIn(email: string, password: string): Promise<void> {
    try {
      const { data } = await this.parts.http.post<AccessGrant>(
        "/api/auth/login",
        { email, password },
        { headers: { "x-davinci-client": "browser" } },
      );
      this.#keep(data);
    } catch (error) {
      throw toApiError(error);
    }
  }

  /** Ends the session on the server first: until it agrees, the user is still signed in. */
  async signOut(): Promise<void> {
    const headers = this.#token ? { ...CSRF, authorization: `Bearer ${this.#token}` } : CSRF;
    try {
      await this.parts.http.post("/api/auth/logout", null, { headers });
    } catch (error) {
      const problem = toApiError(error);
      if (!isRefusal(problem)) throw problem;
    }
    this.end();
  }

  /** A token that is good for the next half minute, or null when nobody is signed in. */
  async token(): Promise<string | null> {
    if (this.#token && this.parts.now() < this.#expiresAt - RENEW_BEFORE_MS) return this.#token;
    return this.renew();
  }

  /** Whether someone is signed in; asks the server once after a reload. */
  async isSignedIn(): Promise<boolean> {
    return (await this.token()) !== null;
  }

  /** Trades the refresh cookie for a new token. Concurrent callers share one request. */
  renew(): Promise<string | null> {
    if (!this.parts.hint.read()) return Promise.resolve(null);
    this.#renewal ??= this.parts
      .exclusively(() => this.#requestToken())
      .finally(() => {
        this.#renewal = null;
      });
    return this.#renewal;
  }

  /** Forgets the token, here and in other tabs. */
  end(): void {
    this.#token = null;
    this.#expiresAt = 0;
    this.parts.hint.write(false);
    for (const listener of this.#lostListeners) listener();
  }

  /** Calls back when the session ends, by sign-out or because the server refused to renew it. */
  onLost(listener: () => void): () => void {
    this.#lostListeners.add(listener);
    return () => this.#lostListeners.delete(listener);
  }

  #keep(grant: AccessGrant): string {
    this.#token = grant.access_token;
    this.#expiresAt = this.parts.now() + grant.expires_in * 1000;
    this.parts.hint.write(true);
    return grant.access_token;
  }

  async #requestToken(): Promise<string | null> {
    try {
      const { data } = await this.parts.http.post<AccessGrant>("/api/auth/refresh", null, {
        headers: CSRF,
      });
      return this.#keep(data);
    } catch (error) {
      const problem = toApiError(error);
      // Only a refusal ends the session; a server that is away may come back.
      if (!isRefusal(problem)) throw problem;
      this.end();
      return null;
    }
  }
}

const HINT_KEY = "davinci.signed-in";

export const browserHint: SignedInHint = {
  read: () => localStorage.getItem(HINT_KEY) === "1",
  write: (signedIn) => {
    if (signedIn) localStorage.setItem(HINT_KEY, "1");
    else localStorage.removeItem(HINT_KEY);
  },
};

/** Ends this tab's session when another tab signs out. */
export function followOtherTabs(session: Session): () => void {
  const listener = (event: StorageEvent) => {
    if (event.key === HINT_KEY && event.newValue === null) session.end();
  };
  addEventListener("storage", listener);
  return () => removeEventListener("storage", listener);
}

export function exclusivelyAcrossTabs<T>(task: () => Promise<T>): Promise<T> {
  // `navigator.locks` exists in secure contexts only; without it the tabs are not coordinated.
  return navigator.locks ? navigator.locks.request("davinci.refresh", task) : task();
}

export const session = new Session({
  http: axios.create({ timeout: 10_000 }),
  hint: browserHint,
  now: Date.now,
  exclusively: exclusivelyAcrossTabs,
});
