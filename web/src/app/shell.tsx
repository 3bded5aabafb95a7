import { useQuery } from "@tanstack/react-query";
import { Link, Outlet } from "@tanstack/react-router";
import { LogOut } from "lucide-react";
import { useState } from "react";
import { principal } from "@/api/queries/principal";
import { session } from "@/api/session";
import { IconButton } from "@/components/button";
import { Mark } from "@/components/mark";
import { LanguageControl, ThemeControl } from "@/components/preference-controls";
import { useText } from "@/i18n/language";
import { LiveIndicator } from "./live-indicator";
import { text } from "./text";

/** The frame of every signed-in page. */
export function Shell() {
  const words = useText(text);
  return (
    <div className="min-h-dvh">
      <a
        href="#content"
        className="sr-only focus:not-sr-only focus:absolute focus:z-40 focus:m-2 focus:rounded focus:bg-surface focus:px-3 focus:py-2"
      >
        {words.skip}
      </a>
      <header className="sticky top-0 z-20 border-b border-line bg-surface">
        <div className="mx-auto flex h-12 max-w-[90rem] items-center gap-2 px-3 sm:px-5">
          <Link to="/" className="flex items-center gap-2 text-sm font-semibold tracking-tight">
            <Mark />
            Da Vinci
          </Link>
          <nav aria-label={words.pages} className="ml-4 hidden h-full sm:block">
            <Link
              to="/"
              className="flex h-full items-center border-b-2 border-accent px-1 font-medium text-ink"
            >
              {words.overview}
            </Link>
          </nav>
          <div className="ml-auto flex items-center gap-0.5">
            <LiveIndicator />
            <span aria-hidden="true" className="mx-1.5 hidden h-5 w-px bg-line sm:block" />
            <ThemeControl />
            <LanguageControl />
            <SignOut />
          </div>
        </div>
      </header>
      <main id="content" className="mx-auto max-w-[90rem] px-3 py-4 sm:px-5">
        <Outlet />
      </main>
    </div>
  );
}

function SignOut() {
  const words = useText(text);
  const { data: user } = useQuery(principal());
  const [hasFailed, setFailed] = useState(false);
  const name = user && words.signedInAs(user.name, user.role ?? user.kind);
  const signOut = () => {
    setFailed(false);
    session.signOut().catch(() => setFailed(true));
  };
  return (
    <>
      {name && <span className="mx-2 hidden text-xs text-ink-3 lg:inline">{name}</span>}
      <IconButton label={words.signOut} onClick={signOut}>
        <LogOut size={15} aria-hidden />
      </IconButton>
      {hasFailed && (
        <p
          role="alert"
          className="absolute top-full right-3 mt-2 max-w-xs rounded-md bg-bad-soft px-3 py-2 text-xs text-bad shadow-lg"
        >
          {words.signOutFailed}
        </p>
      )}
    </>
  );
}
