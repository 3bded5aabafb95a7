import { createRootRoute, createRoute, createRouter, redirect } from "@tanstack/react-router";
import { session } from "@/api/session";
import { parseOverviewSearch, parseSignInSearch } from "./search";
import { Shell } from "./shell";
import { NotFound, Unreachable } from "./states";

const rootRoute = createRootRoute({ errorComponent: Unreachable, notFoundComponent: NotFound });

const signInRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/login",
  validateSearch: parseSignInSearch,
  beforeLoad: async ({ search }) => {
    if (await session.isSignedIn()) throw redirect({ to: search.next ?? "/" });
  },
}).lazy(() => import("./routes/sign-in.lazy").then((module) => module.Route));

/** Everything below needs someone who is signed in; others are sent to the sign-in page. */
const signedInRoute = createRoute({
  getParentRoute: () => rootRoute,
  id: "signed-in",
  component: Shell,
  beforeLoad: async ({ location }) => {
    if (await session.isSignedIn()) return;
    const next = location.href === "/" ? undefined : location.href;
    throw redirect({ to: "/login", search: { next } });
  },
});

const overviewRoute = createRoute({
  getParentRoute: () => signedInRoute,
  path: "/",
  validateSearch: parseOverviewSearch,
}).lazy(() => import("./routes/overview.lazy").then((module) => module.Route));

export const routeTree = rootRoute.addChildren([
  signInRoute,
  signedInRoute.addChildren([overviewRoute]),
]);

export const router = createRouter({ routeTree, defaultPreload: "intent" });

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
