import { QueryClientProvider } from "@tanstack/react-query";
import { render } from "@testing-library/react";
import type { ReactNode } from "react";
import { LanguageProvider } from "@/i18n/language";
import { Backoff } from "@/live/backoff";
import { createLiveClient, LiveProvider } from "@/live/live";
import { PreferencesProvider } from "@/preferences/preferences";

/** Renders a part of the page inside the providers that `main.tsx` puts around all of it. */
export function renderLive(children: ReactNode, { language = "en" }: { language?: string } = {}) {
  document.documentElement.lang = language;
  const backoff = new Backoff(() => 0.5);
  const client = createLiveClient();
  const view = render(
    <PreferencesProvider>
      <LanguageProvider>
        <QueryClientProvider client={client}>
          <LiveProvider backoff={backoff}>{children}</LiveProvider>
        </QueryClientProvider>
      </LanguageProvider>
    </PreferencesProvider>,
  );
  return { ...view, client };
}
