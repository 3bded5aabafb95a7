import { defineText } from "@/i18n/language";

export const text = defineText(
  {
    title: "Sign in",
    promise: "See why every model was chosen, what it cost and what it taught.",
    email: "E-mail",
    password: "Password",
    show: "Show password",
    hide: "Hide password",
    submit: "Sign in",
    submitting: "Signing in…",
    wrong: "E-mail or password is not right.",
    limited: (wait: string) => `Too many attempts. Try again in ${wait}.`,
    limitedSoon: "Too many attempts. Wait a moment and try again.",
    away: "The server did not answer. Try again in a moment.",
  },
  {
    title: "로그인",
    promise: "어떤 모델이 왜 선택되었고, 비용은 얼마였으며, 무엇을 배웠는지 볼 수 있습니다.",
    email: "이메일",
    password: "비밀번호",
    show: "비밀번호 표시",
    hide: "비밀번호 숨기기",
    submit: "로그인",
    submitting: "로그인 중…",
    wrong: "이메일 또는 비밀번호가 올바르지 않습니다.",
    limited: (wait) => `시도가 너무 많습니다. ${wait} 후 다시 시도하세요.`,
    limitedSoon: "시도가 너무 많습니다. 잠시 후 다시 시도하세요.",
    away: "서버가 응답하지 않았습니다. 잠시 후 다시 시도하세요.",
  },
);
