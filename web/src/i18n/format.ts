import type { Language } from "./language";

type Nullable = number | null | undefined;

/** Shown where a figure is not known. Never 0: a gap is not a measurement. */
export const NO_VALUE = "–";

const UNITS = {
  en: { d: " d", h: " h", min: " min", s: " s" },
  ko: { d: "일", h: "시간", min: "분", s: "초" },
} as const;

/** Formatters for one language. Each takes null and answers with a dash. */
export function createFormat(language: Language) {
  const locale = language === "ko" ? "ko-KR" : "en-US";
  const number = (options: Intl.NumberFormatOptions) => new Intl.NumberFormat(locale, options);
  const whole = number({ maximumFractionDigits: 0 });
  const compact = number({ notation: "compact", maximumFractionDigits: 2 });
  const oneDecimal = number({ minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const rate = number({ maximumSignificantDigits: 3 });
  const usdWith = (options: Intl.NumberFormatOptions) =>
    number({ style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", ...options });
  const usdCoarse = usdWith({ minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const usdMedium = usdWith({ minimumFractionDigits: 4, maximumFractionDigits: 4 });
  const usdFine = usdWith({ minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
  const percentWith = (digits: number) =>
    number({ style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits });
  const percents = [percentWith(0), percentWith(1), percentWith(2)] as const;
  const clock = new Intl.DateTimeFormat(locale, {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
  });
  const clockShort = new Intl.DateTimeFormat(locale, {
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
  });
  const day = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric" });
  const full = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "long" });
  const units = UNITS[language];
  const percentSign = language === "ko" ? "%" : "\u00a0%";

  const or = (value: Nullable, format: (value: number) => string) =>
    value === null || value === undefined || Number.isNaN(value) ? NO_VALUE : format(value);
  // Typographic minus; Intl writes a hyphen.
  const minus = (text: string) => text.replace("-", "−");

  const usd = (value: Nullable) =>
    or(value, (v) => {
      const size = Math.abs(v);
      if (size === 0 || size >= 1) return minus(usdCoarse.format(v));
      return minus((size >= 0.01 ? usdMedium : usdFine).format(v));
    });

  return {
    language,
    /** 128,402; from a million on 1.28M. */
    count: (value: Nullable) => or(value, (v) => (v < 1e6 ? whole : compact).format(v)),
    countExact: (value: Nullable) => or(value, (v) => whole.format(v)),
    /** A number of three significant digits, for rates per time. */
    rate: (value: Nullable) => or(value, (v) => rate.format(v)),
    /** $41.37, $0.0412, $0.000312: three digits that mean something at any size. */
    usd,
    usdSigned: (value: Nullable) => or(value, (v) => (v > 0 ? `+${usd(v)}` : usd(v))),
    /** A fraction in [0, 1] as a percentage. */
    percent: (value: Nullable, digits: 0 | 1 | 2 = 1) =>
      or(value, (v) => {
        const step = 10 ** -(digits + 2);
        const text = (fraction: number) =>
          minus(percents[digits].format(fraction)).replace("%", percentSign);
        // Neither 99.98 % becomes "100.0 %" nor 0.01 % "0.0 %": all and nothing are claims.
        if (v < 1 && v > 1 - step / 2) return text(1 - step);
        if (v > 0 && v < step / 2) return `<${text(step)}`;
        return text(v);
      }),
    /** A score or quality in [0, 1], without unit, two decimals. */
    score: (value: Nullable) => or(value, (v) => v.toFixed(2)),
    /** 812 ms, 1,904 ms, 12.3 s. */
    ms: (value: Nullable) =>
      or(value, (v) =>
        v < 10_000 ? `${whole.format(v)}\u00a0ms` : `${oneDecimal.format(v / 1000)}${units.s}`,
      ),
    /** The two largest units of a duration: 4 min 12 s. */
    duration: (seconds: Nullable) =>
      or(seconds, (value) => {
        const total = Math.max(0, Math.round(value));
        const parts: [number, string][] = [
          [Math.floor(total / 86_400), units.d],
          [Math.floor((total % 86_400) / 3_600), units.h],
          [Math.floor((total % 3_600) / 60), units.min],
          [total % 60, units.s],
        ];
        const first = parts.findIndex(([amount]) => amount > 0);
        if (first === -1) return `0${units.s}`;
        return parts
          .slice(first, first + 2)
          .filter(([amount]) => amount > 0)
          .map(([amount, unit]) => `${whole.format(amount)}${unit}`)
          .join(" ");
      }),
    clock: (at: Date) => clock.format(at),
    /** A tick of a time axis: hours and minutes within a day, the day beyond. */
    axisTime: (at: Date, spanMs: number) => (spanMs > 36 * 3_600_000 ? day : clockShort).format(at),
    dateTime: (at: Date) => full.format(at),
  };
}

export type Format = ReturnType<typeof createFormat>;
