import type { UseQueryResult } from "@tanstack/react-query";
import { type ReactNode, useId } from "react";
import { common } from "@/i18n/common";
import { useText } from "@/i18n/language";
import { Failure } from "./failure";
import { StaleBadge } from "./stale-badge";

interface PanelProps<Data> {
  title: string;
  /** What the figures are and over which time; beside the title. */
  note?: ReactNode;
  /** Controls at the right end of the header. */
  actions?: ReactNode;
  query: UseQueryResult<Data, Error>;
  isEmpty: (data: Data) => boolean;
  /** What to do so that this fills: shown instead of the content when there is none. */
  empty: ReactNode;
  skeleton: ReactNode;
  children: (data: Data) => ReactNode;
  className?: string;
}

/** A titled part of a page in one of its states: loading, failed, empty, stale or current. */
export function Panel<Data>(props: PanelProps<Data>) {
  const { title, note, actions, query, className = "" } = props;
  const titleId = useId();
  const isStale = query.data !== undefined && query.isError;
  return (
    <section
      aria-labelledby={titleId}
      aria-busy={query.isPending}
      className={`flex min-w-0 flex-col rounded-lg border border-line bg-surface shadow-card ${className}`}
    >
      <header className="flex min-h-10 flex-wrap items-center gap-x-3 gap-y-1 border-b border-line px-4 py-1.5">
        <h2 id={titleId} className="text-sm font-semibold text-ink">
          {title}
        </h2>
        {note && <p className="text-xs text-ink-3">{note}</p>}
        <div className="ml-auto flex items-center gap-2">
          {isStale && <StaleBadge updatedAt={query.dataUpdatedAt} />}
          {actions}
        </div>
      </header>
      <Content {...props} />
    </section>
  );
}

function Content<Data>({ query, isEmpty, empty, skeleton, children }: PanelProps<Data>) {
  const text = useText(common);
  if (query.data === undefined) {
    if (query.isError) {
      return <Failure error={query.error} onRetry={() => void query.refetch()} />;
    }
    return (
      <div role="status" className="p-4">
        <span className="sr-only">{text.loading}</span>
        {skeleton}
      </div>
    );
  }
  if (isEmpty(query.data)) {
    return (
      <div className="flex flex-1 items-center justify-center px-6 py-8 text-center text-ink-2">
        <div className="max-w-prose">{empty}</div>
      </div>
    );
  }
  return children(query.data);
}
