import { expect, test } from "vitest";
import { significantSign } from "@/lib/significance";

test.each([
  [null, 0.1, 0],
  [0.1, 0.1, 0],
  [0.3, 0.1, 1],
  [-0.3, 0.1, -1],
  [0.3, null, 1],
  [0, null, 0],
] as const)("the sign of %s with standard error %s is %s", (value, error, sign) => {
  expect(significantSign(value, error)).toBe(sign);
});
