import type { ReactNode } from "react";
import { neuralStatus } from "@/api/queries/neural-status";
import { systemStatus } from "@/api/queries/system-status";
import type { Health, NeuralStatus, Queue, Status } from "@/api/types";
import { HealthDot } from "@/components/health-dot";
import { Panel } from "@/components/panel";
import { SkeletonRows } from "@/components/skeleton";
import { common } from "@/i18n/common";
import { useFormat, useText } from "@/i18n/language";
import { useLive } from "@/live/live";
import {
  availabilityHealth,
  learnerHealth,
  modelsHealth,
  queueHealth,
  worst,
} from "./prepare-health";
import { text } from "./text";

/** Whether the parts that serve traffic and learn from it are well. */
export function HealthPanel({ className }: { className?: string }) {
  const words = useText(text);
  const query = useLive(systemStatus());
  const neural = useLive(neuralStatus());
  return (
    <Panel
      className={className}
      title={words.title}
      query={query}
      isEmpty={() => false}
      empty={words.empty}
      skeleton={<SkeletonRows rows={6} />}
    >
      {(status) => (
        <dl>
          <SystemRows status={status} />
          {neural.data && <NeuralRows neural={neural.data} />}
          <QueueRows queues={status.queues} />
        </dl>
      )}
    </Panel>
  );
}

interface RowProps {
  health: Health;
  name: string;
  children: ReactNode;
  isNested?: boolean;
}

function Row({ health, name, children, isNested = false }: RowProps) {
  const states = useText(common).health;
  return (
    <div
      className={`flex items-baseline gap-2.5 px-4 py-1.5 ${isNested ? "pl-8" : "border-t border-line first:border-t-0"}`}
    >
      <dt className="flex shrink-0 items-baseline gap-2">
        <HealthDot health={health} />
        <span className={`${isNested ? "text-xs text-ink-2" : "font-medium"}`}>{name}</span>
      </dt>
      <dd className="figures ml-auto text-right text-xs text-ink-2">
        <span className={health === "operational" ? "sr-only" : "font-medium text-ink"}>
          {states[health]}
          {" · "}
        </span>
        {children}
      </dd>
    </div>
  );
}

function SystemRows({ status }: { status: Status }) {
  const words = useText(text);
  const format = useFormat();
  const { models } = status;
  const registered = models.operational + models.degraded + models.down;
  return (
    <>
      <Row health="operational" name={words.service}>
        {words.uptime(status.version, format.duration(status.uptime_s))}
      </Row>
      <Row health={availabilityHealth(status.availability_24h)} name={words.availability}>
        {format.percent(status.availability_24h, 2)}
      </Row>
      <Row health={modelsHealth(models)} name={words.models}>
        {registered === 0
          ? words.noModels
          : words.modelCounts(
              format.count(models.operational),
              format.count(models.degraded),
              format.count(models.down),
            )}
      </Row>
    </>
  );
}

function NeuralRows({ neural }: { neural: NeuralStatus }) {
  const words = useText(text);
  const shared = useText(common);
  const format = useFormat();
  const { learner, levels } = neural;
  return (
    <>
      <Row health={worst(levels.map(({ health }) => health))} name={words.levels}>
        <span className="inline-flex gap-2.5">
          {levels.map(({ level, health }) => (
            <span
              key={level}
              className="inline-flex items-baseline gap-1"
              title={`${shared.levels[level]}: ${shared.health[health]}`}
            >
              <HealthDot health={health} />
              {level}
              <span className="sr-only">{shared.health[health]}</span>
            </span>
          ))}
        </span>
      </Row>
      <Row health={learnerHealth(learner)} name={words.learner}>
        {learner.age_s === null
          ? words.learnerNone
          : words.learnerState(format.countExact(learner.version), format.duration(learner.age_s))}
      </Row>
    </>
  );
}

function QueueRows({ queues }: { queues: readonly Queue[] }) {
  const words = useText(text);
  const format = useFormat();
  const waiting = queues.reduce((sum, queue) => sum + queue.depth, 0);
  const ages = queues.flatMap((queue) => (queue.oldest_age_s === null ? [] : [queue.oldest_age_s]));
  return (
    <>
      <Row health={worst(queues.map(queueHealth))} name={words.queues}>
        {waiting === 0
          ? words.queueIdle
          : words.queue(format.count(waiting), format.duration(Math.max(0, ...ages)))}
      </Row>
      {queues.map((queue) => (
        <Row key={queue.name} isNested health={queueHealth(queue)} name={queue.name}>
          {queue.depth === 0
            ? words.queueIdle
            : words.queue(format.count(queue.depth), format.duration(queue.oldest_age_s))}
          {queue.dead ? ` · ${words.dead(format.count(queue.dead))}` : ""}
        </Row>
      ))}
    </>
  );
}
