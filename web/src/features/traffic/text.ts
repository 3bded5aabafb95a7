import { defineText } from "@/i18n/language";

export const text = defineText(
  {
    title: "Traffic share",
    note: "per level and model",
    actual: "actual",
    planned: "planned",
    other: (models: string) => `${models} others`,
    decisions: (count: string) => `${count} decisions`,
    model: "Model",
    noTraffic: "No traffic in this window",
    empty: "No allocation yet: register models and activate a policy, then shares appear here.",
    exact: (model: string, actual: string, planned: string, decisions: string) =>
      `${model}: ${actual} actual, ${planned} planned, ${decisions} decisions`,
  },
  {
    title: "트래픽 비중",
    note: "레벨과 모델별",
    actual: "실제",
    planned: "계획",
    other: (models) => `그 외 ${models}개`,
    decisions: (count) => `결정 ${count}건`,
    model: "모델",
    noTraffic: "이 기간에 트래픽 없음",
    empty: "아직 배분이 없습니다. 모델을 등록하고 정책을 활성화하면 여기에 비중이 나타납니다.",
    exact: (model, actual, planned, decisions) =>
      `${model}: 실제 ${actual}, 계획 ${planned}, 결정 ${decisions}건`,
  },
);
