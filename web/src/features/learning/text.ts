import { defineText } from "@/i18n/language";

export const text = defineText(
  {
    title: "Learning",
    state: (age: string, updates: string) => `state ${age} old · ${updates} updates`,
    level: "Level",
    leader: "Best single model",
    leaderHint: "The one model that would have earned most in this window, served alone",
    quality: "Quality",
    regret: "Regret",
    regretHint:
      "Reward of the best single model minus the reward earned, per decision; below zero routing earns more",
    reward: "Reward per decision, 95 % interval",
    exploration: "Exploration",
    updates: "Updates",
    primary: "Preferred now",
    primaryHint: "The model with the largest probability at this moment",
    noLeader: "none yet",
    empty:
      "Nothing has been learned yet. Feedback on decisions starts it: POST /api/learning/feedback.",
  },
  {
    title: "학습",
    state: (age, updates) => `상태 나이 ${age} · 갱신 ${updates}회`,
    level: "레벨",
    leader: "최고 단일 모델",
    leaderHint: "이 기간에 혼자 처리했다면 가장 많은 보상을 얻었을 모델",
    quality: "품질",
    regret: "후회",
    regretHint:
      "최고 단일 모델의 보상에서 실제 보상을 뺀 값(결정당). 0보다 작으면 라우팅이 더 많이 얻음",
    reward: "결정당 보상, 95% 구간",
    exploration: "탐색",
    updates: "갱신",
    primary: "현재 선호 모델",
    primaryHint: "지금 선택될 확률이 가장 높은 모델",
    noLeader: "아직 없음",
    empty:
      "아직 학습된 것이 없습니다. 결정에 대한 피드백(POST /api/learning/feedback)으로 시작됩니다.",
  },
);
