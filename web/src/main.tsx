import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { followOtherTabs, session } from "@/api/session";
import { router } from "@/app/router";
import { LanguageProvider } from "@/i18n/language";
import { Backoff } from "@/live/backoff";
import { createLiveClient, LiveProvider } from "@/live/live";
import { PreferencesProvider } from "@/preferences/preferences";
import "@/app/styles.css";

const backoff = new Backoff();
const queryClient = createLiveClient();

followOtherTabs(session);
session.onLost(() => {
  // Nothing that was read with the old session may be seen without it.
  queryClient.clear();
  void router.invalidate();
});

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root element");

createRoot(root).render(
  <StrictMode>
    <PreferencesProvider>
      <LanguageProvider>
        <QueryClientProvider client={queryClient}>
          <LiveProvider backoff={backoff}>
            <RouterProvider router={router} />
          </LiveProvider>
        </QueryClientProvider>
      </LanguageProvider>
    </PreferencesProvider>
  </StrictMode>,
);
