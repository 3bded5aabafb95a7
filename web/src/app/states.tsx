import { type ErrorComponentProps, Link, useRouter } from "@tanstack/react-router";
import { toApiError } from "@/api/problem";
import { Failure } from "@/components/failure";
import { defineText, useText } from "@/i18n/language";

const text = defineText(
  { missing: "There is no such page.", home: "Back to the overview" },
  { missing: "없는 페이지입니다.", home: "개요로 돌아가기" },
);

/** The page could not even start: mostly a server that is away. */
export function Unreachable({ error, reset }: ErrorComponentProps) {
  const router = useRouter();
  const retry = () => {
    reset();
    void router.invalidate();
  };
  return (
    <main className="flex min-h-dvh">
      <Failure error={toApiError(error)} onRetry={retry} />
    </main>
  );
}

export function NotFound() {
  const words = useText(text);
  return (
    <main className="flex min-h-dvh flex-col items-center justify-center gap-3">
      <h1 className="text-base font-semibold">{words.missing}</h1>
      <Link to="/" className="text-accent underline underline-offset-4">
        {words.home}
      </Link>
    </main>
  );
}
