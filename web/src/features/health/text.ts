import { defineText } from "@/i18n/language";

export const text = defineText(
  {
    title: "Components",
    service: "Control plane",
    uptime: (version: string, uptime: string) => `v${version}, environment up ${uptime}`,
    availability: "Availability, 24 h",
    models: "Models",
    modelCounts: (operational: string, degraded: string, down: string) =>
      `${operational} up · ${degraded} degraded · ${down} down`,
    noModels: "none registered",
    levels: "Levels",
    learner: "Learner",
    learnerState: (version: string, age: string) => `v${version}, ${age} old`,
    learnerNone: "no state yet",
    queues: "Queues",
    queue: (depth: string, age: string) => `${depth} waiting, oldest ${age}`,
    queueIdle: "empty",
    dead: (count: string) => `${count} dead`,
    empty: "No component has reported yet.",
  },
  {
    title: "구성 요소",
    service: "컨트롤 플레인",
    uptime: (version, uptime) => `v${version}, 실행 환경 가동 ${uptime}`,
    availability: "가용성, 24시간",
    models: "모델",
    modelCounts: (operational, degraded, down) =>
      `정상 ${operational} · 저하 ${degraded} · 중단 ${down}`,
    noModels: "등록된 모델 없음",
    levels: "레벨",
    learner: "학습기",
    learnerState: (version, age) => `v${version}, ${age} 전 상태`,
    learnerNone: "아직 상태 없음",
    queues: "큐",
    queue: (depth, age) => `대기 ${depth}건, 최장 ${age}`,
    queueIdle: "비어 있음",
    dead: (count) => `폐기 ${count}건`,
    empty: "아직 보고된 구성 요소가 없습니다.",
  },
);
