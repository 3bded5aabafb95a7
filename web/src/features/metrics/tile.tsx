import type { ReactNode } from "react";
import { sparkPath } from "./prepare-series";

const SPARK = { width: 96, height: 24 };

export interface TileProps {
  label: string;
  value: string;
  /** The unit or basis of the value, when it is not part of it. */
  basis?: string;
  detail: ReactNode;
  detailTone?: "plain" | "good" | "bad";
  hint?: string;
  /** The course of the figure, drawn small. */
  values?: readonly (number | null)[];
  /** A second line of detail, in the place of the course. */
  more?: string;
  /** Present on figures with a course over time: the tile then chooses what the chart shows. */
  choose?: { label: string; isChosen: boolean; onChoose: () => void };
}

const DETAIL_TONES = { plain: "text-ink-3", good: "text-ok", bad: "text-warn" } as const;

export function Tile(props: TileProps) {
  const { label, value, basis, detail, detailTone = "plain", hint, values, more, choose } = props;
  const path = values ? sparkPath(values, SPARK.width, SPARK.height) : "";
  return (
    <li
      title={hint}
      className={`relative flex min-w-0 flex-col gap-0.5 rounded-lg border bg-surface px-4 py-3 shadow-card transition-colors ${
        choose?.isChosen ? "border-accent-fill ring-1 ring-accent-fill" : "border-line"
      } ${choose ? "hover:border-line-strong" : ""}`}
    >
      <div className="flex items-baseline justify-between gap-2 text-xs font-medium text-ink-2">
        {choose ? (
          <button
            type="button"
            aria-pressed={choose.isChosen}
            aria-label={choose.label}
            onClick={choose.onChoose}
            className="text-left after:absolute after:inset-0 after:rounded-lg"
          >
            {label}
          </button>
        ) : (
          <span>{label}</span>
        )}
        {basis && (
          <span className="text-2xs font-normal whitespace-nowrap text-ink-3">{basis}</span>
        )}
      </div>
      <p className="figures text-xl leading-7 font-semibold tracking-tight whitespace-nowrap">
        {value}
      </p>
      <p className={`figures text-2xs ${DETAIL_TONES[detailTone]}`}>{detail}</p>
      {more && <p className="figures text-2xs text-ink-3">{more}</p>}
      {values && (
        <svg
          viewBox={`0 -2 ${SPARK.width} ${SPARK.height + 4}`}
          preserveAspectRatio="none"
          aria-hidden="true"
          className="mt-1 h-6 w-full"
        >
          <path
            d={path}
            fill="none"
            stroke="var(--accent-fill)"
            strokeWidth="1.25"
            strokeLinejoin="round"
            vectorEffect="non-scaling-stroke"
          />
        </svg>
      )}
    </li>
  );
}
