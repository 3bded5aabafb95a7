/** Standard errors in half a 95 % interval. */
export const HALF_WIDTHS_95 = 1.96;

/** Return the sign of an estimate, 0 where its 95 % interval holds zero or nothing is known. */
export function significantSign(value: number | null, standardError: number | null): -1 | 0 | 1 {
  if (value === null || Math.abs(value) <= HALF_WIDTHS_95 * (standardError ?? 0)) return 0;
  return value < 0 ? -1 : 1;
}
