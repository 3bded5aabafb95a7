import { defineText } from "@/i18n/language";

export const text = defineText(
  {
    title: "Learning",
    state: (age: string, updates: string) => `state ${age} old · ${updates} updates`,
    level: "Level",
    requests: "Requests",
    leader: "Leading model",
    best: "P(best)",
    bestHint: "Probability that the leading model is the best of this level",
    reward: "Reward per decision, 95 % interval",
    exploration: "Exploration",
    updates: "Updates",
    fixed: "Fixed model",
    fixedHint: "Served while the evidence for the learner's choice is too weak",
    noLeader: "none yet",
    empty:
      "Nothing has been learned yet. Feedback on decisions starts it: POST /api/learning/feedback.",
  },
  {
    title: "학습",
    state: (age, updates) => `상태 나이 ${age} · 갱신 ${updates}회`,
    level: "레벨",
    requests: "요청",
    leader: "선두 모델",
    best: "최선일 확률",
    bestHint: "선두 모델이 이 레벨에서 가장 좋은 모델일 확률",
    reward: "결정당 보상, 95 % 구간",
    exploration: "탐색",
    updates: "갱신",
    fixed: "고정 모델",
    fixedHint: "학습기의 선택을 뒷받침할 증거가 부족한 동안 제공되는 모델",
    noLeader: "아직 없음",
    empty:
      "아직 학습된 것이 없습니다. 결정에 대한 피드백(POST /api/learning/feedback)으로 시작됩니다.",
  },
);
