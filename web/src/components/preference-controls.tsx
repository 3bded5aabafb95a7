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

/** Names the other language in that language, for those who cannot read this one. */
export function LanguageControl() {
  const { language, change } = usePreferences();
  const other = language === "en" ? "ko" : "en";
  return (
    <IconButton
      label={other === "ko" ? "한국어로 보기" : "Switch to English"}
      lang={other}
      onClick={() => change({ language: other })}
    >
      <span aria-hidden="true" className="text-xs font-semibold">
        {other === "ko" ? "한" : "EN"}
      </span>
    </IconButton>
  );
}
