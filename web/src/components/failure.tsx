import { ApiError } from "@/api/problem";
import { common } from "@/i18n/common";
import { useText } from "@/i18n/language";
import { Button } from "./button";

/** Says what failed in the server's own words, and offers to try again. */
export function Failure({ error, onRetry }: { error: Error; onRetry: () => void }) {
  const text = useText(common);
  const status = error instanceof ApiError ? error.status : 0;
  return (
    <div role="alert" className="flex flex-1 flex-col items-center gap-2 px-6 py-8 text-center">
      <p className="font-medium text-bad">{text.failedTitle}</p>
      <p className="max-w-prose break-words text-xs text-ink-2">
        {status === 0 ? text.noAnswer : `${text.errorStatus(String(status))} · ${error.message}`}
      </p>
      <Button onClick={onRetry}>{text.retry}</Button>
    </div>
  );
}
