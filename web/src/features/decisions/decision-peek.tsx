import { Check, ChevronDown, ChevronUp, Copy, X } from "lucide-react";
import { useId, useState } from "react";
import { decision as decisionQuery } from "@/api/queries/decision";
import { decisionHistory } from "@/api/queries/decision-history";
import type { LevelId } from "@/api/types";
import { IconButton } from "@/components/button";
import { Drawer } from "@/components/drawer";
import { Failure } from "@/components/failure";
import { SkeletonRows } from "@/components/skeleton";
import { StaleBadge } from "@/components/stale-badge";
import { common } from "@/i18n/common";
import { useText } from "@/i18n/language";
import { useLive } from "@/live/live";
import { DecisionCard } from "./decision-card";
import { LIST_LENGTH } from "./decisions-panel";
import { neighbours } from "./prepare-decision";
import { text } from "./text";

interface DecisionPeekProps {
  id: string;
  /** The filter of the list behind, whose order "newer" and "older" follow. */
  level: LevelId | undefined;
  onSelect: (id: string) => void;
  onClose: () => void;
}

/** One decision in a drawer, with a way to the next without closing it. */
export function DecisionPeek({ id, level, onSelect, onClose }: DecisionPeekProps) {
  const words = useText(text);
  const shared = useText(common);
  const titleId = useId();
  const query = useLive(decisionQuery(id));
  // The same query as the table behind: shared, not asked for twice.
  const list = useLive(decisionHistory({ level, limit: LIST_LENGTH }));
  const { newer, older } = neighbours(
    (list.data?.items ?? []).map((item) => item.decision_id),
    id,
  );
  const go = (target: string | null) => target && onSelect(target);
  return (
    <Drawer labelledBy={titleId} onClose={onClose}>
      <header className="sticky top-0 z-10 flex items-center gap-1 border-b border-line bg-surface px-4 py-2">
        <div className="min-w-0 flex-1">
          <h2 id={titleId} className="text-sm font-semibold">
            {words.peek}
          </h2>
          <DecisionId id={id} />
        </div>
        {query.data && query.isError && <StaleBadge updatedAt={query.dataUpdatedAt} />}
        <IconButton label={words.previous} disabled={!newer} onClick={() => go(newer)}>
          <ChevronUp size={16} aria-hidden />
        </IconButton>
        <IconButton label={words.next} disabled={!older} onClick={() => go(older)}>
          <ChevronDown size={16} aria-hidden />
        </IconButton>
        <IconButton label={shared.close} onClick={onClose}>
          <X size={16} aria-hidden />
        </IconButton>
      </header>
      {query.data ? (
        <DecisionCard decision={query.data} />
      ) : query.isError ? (
        <Failure error={query.error} onRetry={() => void query.refetch()} />
      ) : (
        <div role="status" className="p-4">
          <span className="sr-only">{shared.loading}</span>
          <SkeletonRows rows={10} />
        </div>
      )}
    </Drawer>
  );
}

function DecisionId({ id }: { id: string }) {
  const words = useText(text);
  const [copiedId, setCopiedId] = useState<string | null>(null);
  const isCopied = copiedId === id;
  const copy = () => {
    void navigator.clipboard.writeText(id).then(() => setCopiedId(id));
  };
  return (
    <p className="flex items-center gap-1">
      <code className="truncate font-mono text-2xs text-ink-3">{id}</code>
      <button
        type="button"
        onClick={copy}
        aria-label={isCopied ? words.copied : words.copy}
        title={isCopied ? words.copied : words.copy}
        className="rounded p-1 text-ink-3 hover:bg-sunken hover:text-ink"
      >
        {isCopied ? <Check size={12} aria-hidden /> : <Copy size={12} aria-hidden />}
      </button>
    </p>
  );
}
