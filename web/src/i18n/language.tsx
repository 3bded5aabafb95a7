import { createContext, type ReactNode, useContext, useMemo } from "react";
import { usePreferences } from "@/preferences/preferences";
import { createFormat, type Format } from "./format";

export const LANGUAGES = ["en", "ko"] as const;
export type Language = (typeof LANGUAGES)[number];

/** The same keys and parameters with any wording: what a translation has to provide. */
type Wording<T> = T extends string
  ? string
  : T extends (...args: infer Args) => string
    ? (...args: Args) => string
    : { readonly [Key in keyof T]: Wording<T[Key]> };

export type Text<T> = { readonly en: T; readonly ko: Wording<T> };

/** Declares the texts of one part of the page; a missing or extra key does not compile. */
export function defineText<const T>(en: T, ko: Wording<NoInfer<T>>): Text<T> {
  return { en, ko };
}

const FormatContext = createContext<Format>(createFormat("en"));

export function LanguageProvider({ children }: { children: ReactNode }) {
  const { language } = usePreferences();
  const format = useMemo(() => createFormat(language), [language]);
  return <FormatContext value={format}>{children}</FormatContext>;
}

export function useText<T>(text: Text<T>): Wording<T> {
  const { language } = usePreferences();
  return text[language] as Wording<T>;
}

/** Formats figures for the chosen language, always with their unit. */
export function useFormat(): Format {
  return useContext(FormatContext);
}
