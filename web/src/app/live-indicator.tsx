import { Pause, Play, RefreshCw } from "lucide-react";
import { IconButton } from "@/components/button";
import { useFormat, useText } from "@/i18n/language";
import { useNow } from "@/lib/use-now";
import { useLiveControl, useLiveStatus } from "@/live/live";
import { text } from "./text";

/** How old the figures are, with pause and refresh. */
export function LiveIndicator() {
  const words = useText(text);
  const { isPaused, setPaused } = useLiveControl();
  const { refresh, isFetching } = useLiveStatus();
  return (
    <div className="flex items-center gap-0.5">
      <Age />
      <IconButton
        label={isPaused ? words.resume : words.pause}
        aria-pressed={isPaused}
        onClick={() => {
          setPaused(!isPaused);
          if (isPaused) refresh();
        }}
      >
        {isPaused ? <Play size={15} aria-hidden /> : <Pause size={15} aria-hidden />}
      </IconButton>
      <span className="hidden sm:block">
        <IconButton label={words.refresh} onClick={refresh}>
          <RefreshCw size={14} aria-hidden className={isFetching ? "text-accent" : ""} />
        </IconButton>
      </span>
    </div>
  );
}

function Age() {
  const words = useText(text);
  const format = useFormat();
  const now = useNow(1_000);
  const { isPaused } = useLiveControl();
  const { updatedAt, failing, total } = useLiveStatus();
  if (updatedAt === null) {
    return <span className="text-xs text-ink-3">{words.connecting}</span>;
  }
  const age = format.duration((now - updatedAt) / 1_000);
  const state = isPaused ? "paused" : failing > 0 ? "failing" : "updated";
  const fills = { paused: "bg-ink-3", failing: "bg-warn-fill", updated: "bg-ok-fill" } as const;
  return (
    <span
      data-testid="live-age"
      data-state={state}
      className={`figures flex items-center gap-1.5 text-xs whitespace-nowrap ${state === "failing" ? "text-warn" : "text-ink-2"}`}
      title={
        state === "failing"
          ? words.failingHint(format.count(failing), format.count(total))
          : words[state](age)
      }
    >
      <span aria-hidden="true" className={`size-1.5 rounded-full ${fills[state]}`} />
      <span className="hidden sm:inline">{words[state](age)}</span>
      <span className="sm:hidden">{age}</span>
    </span>
  );
}
