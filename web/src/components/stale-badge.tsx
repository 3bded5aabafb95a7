import { common } from "@/i18n/common";
import { useFormat, useText } from "@/i18n/language";
import { useNow } from "@/lib/use-now";

/** Marks figures whose last refresh failed, with their age. */
export function StaleBadge({ updatedAt }: { updatedAt: number }) {
  const text = useText(common);
  const format = useFormat();
  const age = format.duration((useNow(1_000) - updatedAt) / 1_000);
  return (
    <span
      className="figures rounded bg-warn-soft px-1.5 py-0.5 text-2xs font-medium text-warn"
      title={text.staleHint(age)}
    >
      {text.stale} · {age}
    </span>
  );
}
