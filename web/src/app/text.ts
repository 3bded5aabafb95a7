import { defineText } from "@/i18n/language";

export const text = defineText(
  {
    overview: "Overview",
    pages: "Pages",
    skip: "Skip to the content",
    window: "Time window",
    policy: "Active policy",
    connecting: "Connecting",
    updated: (age: string) => `Updated ${age} ago`,
    paused: (age: string) => `Paused, ${age} old`,
    failing: (age: string) => `Not updating, ${age} old`,
    failingHint: (failing: string, total: string) =>
      `${failing} of ${total} sources did not answer. Trying again with growing pauses.`,
    pause: "Pause updates",
    resume: "Resume updates",
    refresh: "Refresh now",
    signOut: "Sign out",
    signedInAs: (name: string, role: string) => `${name} (${role})`,
    signOutFailed: "Signing out failed: the server did not answer. You are still signed in.",
  },
  {
    overview: "개요",
    pages: "페이지",
    skip: "본문으로 건너뛰기",
    window: "기간",
    policy: "활성 정책",
    connecting: "연결 중",
    updated: (age) => `${age} 전 갱신`,
    paused: (age) => `일시 정지, ${age} 전 값`,
    failing: (age) => `갱신 안 됨, ${age} 전 값`,
    failingHint: (failing, total) =>
      `${total}개 중 ${failing}개가 응답하지 않았습니다. 간격을 늘려 가며 다시 시도합니다.`,
    pause: "갱신 일시 정지",
    resume: "갱신 다시 시작",
    refresh: "지금 새로 고침",
    signOut: "로그아웃",
    signedInAs: (name, role) => `${name} (${role})`,
    signOutFailed: "로그아웃하지 못했습니다. 서버가 응답하지 않아 아직 로그인되어 있습니다.",
  },
);
