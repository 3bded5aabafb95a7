import { Eye, EyeOff } from "lucide-react";
import { type FormEvent, type InputHTMLAttributes, useId, useState } from "react";
import type { ApiError } from "@/api/problem";
import { toApiError } from "@/api/problem";
import { Button, IconButton } from "@/components/button";
import { useFormat, useText } from "@/i18n/language";
import { text } from "./text";

interface SignInFormProps {
  signIn: (email: string, password: string) => Promise<void>;
}

/** Asks for e-mail and password; says what went wrong and keeps what was typed. */
export function SignInForm({ signIn }: SignInFormProps) {
  const words = useText(text);
  const describe = useFailureText();
  const [failure, setFailure] = useState<ApiError | null>(null);
  const [isSending, setSending] = useState(false);
  const [isShown, setShown] = useState(false);
  const failureId = useId();

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setSending(true);
    setFailure(null);
    try {
      await signIn(String(form.get("email")), String(form.get("password")));
    } catch (error) {
      setFailure(toApiError(error));
      setSending(false);
    }
  };

  return (
    <form onSubmit={submit} className="flex flex-col gap-4" aria-describedby={failureId}>
      <Field label={words.email} name="email" type="email" autoComplete="username" required />
      <div className="relative">
        <Field
          label={words.password}
          name="password"
          type={isShown ? "text" : "password"}
          autoComplete="current-password"
          required
        />
        <IconButton
          label={isShown ? words.hide : words.show}
          aria-pressed={isShown}
          onClick={() => setShown(!isShown)}
          className="absolute right-1 bottom-1"
        >
          {isShown ? <EyeOff size={16} aria-hidden /> : <Eye size={16} aria-hidden />}
        </IconButton>
      </div>
      <p id={failureId} role="alert" className="text-bad empty:hidden">
        {failure && describe(failure)}
      </p>
      <Button type="submit" tone="accent" disabled={isSending} className="h-10">
        {isSending ? words.submitting : words.submit}
      </Button>
    </form>
  );
}

function Field({ label, ...input }: InputHTMLAttributes<HTMLInputElement> & { label: string }) {
  const id = useId();
  return (
    <div className="flex flex-col gap-1.5">
      <label htmlFor={id} className="text-xs font-medium text-ink-2">
        {label}
      </label>
      <input
        id={id}
        className="h-10 rounded-md border border-line-strong bg-surface px-3 text-sm text-ink"
        {...input}
      />
    </div>
  );
}

function useFailureText() {
  const words = useText(text);
  const format = useFormat();
  return ({ status, retryAfterMs, message }: ApiError) => {
    if (status === 401 || status === 422) return words.wrong;
    if (status === 429) {
      return retryAfterMs === null
        ? words.limitedSoon
        : words.limited(format.duration(retryAfterMs / 1_000));
    }
    return status === 0 || status >= 500 ? words.away : message;
  };
}
