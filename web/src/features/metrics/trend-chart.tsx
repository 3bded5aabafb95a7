import { memo } from "react";
import {
  Bar,
  CartesianGrid,
  ComposedChart,
  Line,
  ResponsiveContainer,
  Tooltip,
  XAxis,
  YAxis,
} from "recharts";
import { useFormat, useText } from "@/i18n/language";
import type { MetricId } from "@/lib/metric";
import { isAlone, type Point, type PreparedSeries, valueRange } from "./prepare-series";
import { text } from "./text";
import { timeTicks } from "./time-ticks";
import { useMetricFormat } from "./use-metric-format";

const TICK = { fill: "var(--ink-3)", fontSize: 11 };
const TICKS = 8;
const COLOR = "var(--accent-fill)";

interface TrendChartProps {
  series: PreparedSeries;
  metric: MetricId;
}

function TrendChart({ series, metric }: TrendChartProps) {
  const format = useFormat();
  const words = useText(text);
  const { exact } = useMetricFormat(metric);
  const { points, bucketMs, shape } = series;
  const fromMs = points[0]?.at ?? 0;
  const toMs = points.at(-1)?.at ?? 0;
  const [low = "auto", high = "auto"] = valueRange(metric, points);
  return (
    <ResponsiveContainer width="100%" height="100%" minHeight={220}>
      <ComposedChart
        data={points}
        margin={{ top: 8, right: 8, bottom: 0, left: 0 }}
        title={words[metric]}
      >
        <CartesianGrid vertical={false} stroke="var(--line)" />
        <XAxis
          dataKey="at"
          type="number"
          domain={[(from: number) => from - bucketMs / 2, (to: number) => to + bucketMs / 2]}
          tick={TICK}
          tickLine={false}
          axisLine={{ stroke: "var(--line-strong)" }}
          ticks={timeTicks(fromMs, toMs, TICKS)}
          minTickGap={24}
          tickFormatter={(at: number) => format.axisTime(new Date(at), toMs - fromMs)}
        />
        <YAxis
          width={72}
          tick={TICK}
          tickLine={false}
          axisLine={false}
          domain={[low, high]}
          tickFormatter={(value: number) => exact(value)}
        />
        <Tooltip
          isAnimationActive={false}
          cursor={{ stroke: "var(--line-strong)", fill: "var(--sunken)" }}
          content={({ active, payload }) => {
            const point = payload?.[0]?.payload as Point | undefined;
            return active && point ? (
              <Readout point={point} points={points} metric={metric} />
            ) : null;
          }}
        />
        {shape === "bar" ? (
          <>
            <Bar dataKey="value" stackId="bucket" fill={COLOR} isAnimationActive={false} />
            <Bar
              dataKey="filling"
              stackId="bucket"
              fill={COLOR}
              fillOpacity={0.3}
              stroke={COLOR}
              strokeDasharray="3 3"
              isAnimationActive={false}
            />
          </>
        ) : (
          <>
            <Line
              dataKey="value"
              stroke={COLOR}
              strokeWidth={1.75}
              dot={({ key, cx, cy, index }) => (
                <LonePoint key={key} cx={cx} cy={cy} isShown={isAlone(points, index)} />
              )}
              isAnimationActive={false}
            />
            <Line
              dataKey="filling"
              stroke={COLOR}
              strokeWidth={1.75}
              strokeDasharray="2 4"
              dot={({ key, cx, cy, index }) => (
                <LonePoint key={key} cx={cx} cy={cy} isShown={isAlone(points, index, "filling")} />
              )}
              activeDot={false}
              isAnimationActive={false}
            />
          </>
        )}
      </ComposedChart>
    </ResponsiveContainer>
  );
}

/** A measured bucket between two gaps, which no line would show. */
function LonePoint({ cx, cy, isShown }: { cx?: number; cy?: number; isShown: boolean }) {
  return isShown ? <circle cx={cx} cy={cy} r={2.5} fill={COLOR} stroke="none" /> : <g />;
}

function Readout({ point, points, metric }: { point: Point; points: Point[]; metric: MetricId }) {
  const format = useFormat();
  const words = useText(text);
  const { exact, basis } = useMetricFormat(metric);
  const isFilling = point.filling !== null && point === points.at(-1);
  return (
    <div className="figures rounded-md border border-line-strong bg-surface px-3 py-2 text-xs shadow-lg">
      <p className="text-ink-3">{format.dateTime(new Date(point.at))}</p>
      <p className="mt-0.5 font-semibold text-ink">
        {words[metric]}: {exact(point.value ?? (isFilling ? point.filling : null))} {basis}
      </p>
      {isFilling && <p className="text-ink-3">{words.filling}</p>}
    </div>
  );
}

// The points keep their identity while the data is unchanged, so an unchanged poll draws nothing.
export default memo(TrendChart);
