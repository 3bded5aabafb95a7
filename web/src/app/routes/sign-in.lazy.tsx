import { createLazyRoute, useRouter, useSearch } from "@tanstack/react-router";
import { session } from "@/api/session";
import { Mark } from "@/components/mark";
import { LanguageControl, ThemeControl } from "@/components/preference-controls";
import { SignInForm } from "@/features/sign-in/sign-in-form";
import { text } from "@/features/sign-in/text";
import { useText } from "@/i18n/language";

export const Route = createLazyRoute("/login")({ component: SignInPage });

function SignInPage() {
  const words = useText(text);
  const router = useRouter();
  const { next } = useSearch({ from: "/login" });
  const signIn = async (email: string, password: string) => {
    await session.signIn(email, password);
    router.history.push(next ?? "/");
  };
  return (
    <div className="flex min-h-dvh flex-col">
      <header className="flex justify-end gap-0.5 p-3">
        <ThemeControl />
        <LanguageControl />
      </header>
      <main className="mx-auto flex w-full max-w-sm flex-1 flex-col justify-center px-5 pb-24">
        <p className="flex items-center gap-2.5 text-lg font-semibold tracking-tight">
          <Mark className="size-8" />
          Da Vinci
        </p>
        <p className="mt-2 mb-6 text-sm text-pretty text-ink-2">{words.promise}</p>
        <section className="rounded-lg border border-line bg-surface p-6 shadow-card">
          <h1 className="mb-4 text-base font-semibold">{words.title}</h1>
          <SignInForm signIn={signIn} />
        </section>
      </main>
    </div>
  );
}
