import { Moon, Sun } from "lucide-react";
import { defineText, useText } from "@/i18n/language";
import { usePreferences } from "@/preferences/preferences";
import { IconButton } from "./button";

const text = defineText(
  { toDark: "Switch to dark theme", toLight: "Switch to light theme" },
  { toDark: "어두운 테마로 바꾸기", toLight: "밝은 테마로 바꾸기" },
);

export function ThemeControl() {
  const { theme, change } = usePreferences();
  const { toDark, toLight } = useText(text);
  const isDark = theme === "dark";
  return (
    <IconButton
      label={isDark ? toLight : toDark}
      onClick={() => change({ theme: isDark ? "light" : "dark" })}
    >
      {isDark ? <Sun size={16} aria-hidden /> : <Moon size={16} aria-hidden />}
    </IconButton>
  );
}

const NAMES = { en: "English", ko: "한국어" } as const;

/** Names the other language in that language, for those who cannot read this one. */
export function LanguageControl() {
  const { language, change } = usePreferences();
  const other = language === "en" ? "ko" : "en";
  return (
    <button
      type="button"
      lang={other}
      onClick={() => change({ language: other })}
      className="h-8 rounded-md px-2 text-xs font-medium whitespace-nowrap text-ink-2 transition-colors hover:bg-sunken hover:text-ink"
    >
      {NAMES[other]}
    </button>
  );
}
