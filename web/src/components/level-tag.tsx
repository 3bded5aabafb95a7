import type { LevelId } from "@/api/types";
import { common } from "@/i18n/common";
import { useText } from "@/i18n/language";

/** `L3 Neocortex`; the name is left out where there is no room for it. */
export function LevelTag({ level, short = false }: { level: LevelId; short?: boolean }) {
  const name = useText(common).levels[level];
  return (
    <span className="inline-flex items-baseline gap-1.5 whitespace-nowrap" title={name}>
      <span className="rounded bg-sunken px-1 text-2xs font-semibold text-ink-2">{level}</span>
      {!short && <span>{name}</span>}
    </span>
  );
}
