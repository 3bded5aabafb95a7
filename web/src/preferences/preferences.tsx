import { createContext, type ReactNode, useCallback, useContext, useMemo, useState } from "react";

export type Theme = "light" | "dark";
type Language = "en" | "ko";

interface Preferences {
  theme: Theme;
  language: Language;
}

interface PreferencesControl extends Preferences {
  change: (change: Partial<Preferences>) => void;
}

const STORAGE_KEY = "davinci.preferences";

const PreferencesContext = createContext<PreferencesControl>({
  theme: "light",
  language: "en",
  change: () => undefined,
});

/** What `public/preferences.js` decided before the first paint. */
function initial(): Preferences {
  const root = document.documentElement;
  return {
    theme: root.dataset.theme === "dark" ? "dark" : "light",
    language: root.lang === "ko" ? "ko" : "en",
  };
}

function keep(preferences: Preferences): void {
  document.documentElement.dataset.theme = preferences.theme;
  document.documentElement.lang = preferences.language;
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(preferences));
  } catch {
    // Storage is blocked: the choice lasts until the page is left.
  }
}

/** Theme and language of this browser; kept in local storage and on the root element. */
export function PreferencesProvider({ children }: { children: ReactNode }) {
  const [preferences, setPreferences] = useState(initial);
  const change = useCallback((changes: Partial<Preferences>) => {
    setPreferences((current) => {
      const next = { ...current, ...changes };
      keep(next);
      return next;
    });
  }, []);
  const control = useMemo(() => ({ ...preferences, change }), [preferences, change]);
  return <PreferencesContext value={control}>{children}</PreferencesContext>;
}

export function usePreferences(): PreferencesControl {
  return useContext(PreferencesContext);
}
