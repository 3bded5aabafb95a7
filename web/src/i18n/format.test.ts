import { describe, expect, it } from "vitest";
import { createFormat, NO_VALUE } from "./format";

const en = createFormat("en");
const ko = createFormat("ko");
const plain = (text: string) => text.replaceAll("\u00a0", " ");

it("shows a dash for what is not known, never a zero", () => {
  const { language: _, clock: _c, axisTime: _a, dateTime: _d, ...numeric } = en;
  for (const format of Object.values(numeric)) expect(format(null)).toBe(NO_VALUE);
});

describe("money", () => {
  it.each([
    [41.369, "$41.37"],
    [12_345.6, "$12,345.60"],
    [0.0412, "$0.0412"],
    [0.000312, "$0.000312"],
    [0.0000000812, "$0.0000000812"],
    [0, "$0.00"],
    [-0.000214, "−$0.000214"],
  ])("writes %f with digits that mean something", (value, text) => {
    expect(en.usd(value)).toBe(text);
    expect(ko.usd(value)).toBe(text);
  });

  it("writes the sign of a difference", () => {
    expect(en.usdSigned(0.002)).toBe("+$0.00200");
    expect(en.usdSigned(-0.002)).toBe("−$0.00200");
  });
});

describe("percentages", () => {
  it.each([
    [0.9921, 2, "99.21 %"],
    [0.5, 0, "50 %"],
    [1, 1, "100.0 %"],
    [0, 1, "0.0 %"],
    [0.99996, 2, "99.99 %"],
    [0.0001, 1, "<0.1 %"],
  ] as const)("writes %f without claiming all or nothing", (value, digits, text) => {
    expect(plain(en.percent(value, digits))).toBe(text);
  });

  it("follows the habit of the language", () => {
    expect(ko.percent(0.125)).toBe("12.5%");
  });
});

it("writes latency in milliseconds up to ten seconds", () => {
  expect(plain(en.ms(812))).toBe("812 ms");
  expect(plain(en.ms(1_904.4))).toBe("1,904 ms");
  expect(en.ms(12_340)).toBe("12.3 s");
  expect(ko.ms(12_340)).toBe("12.3초");
});

it("writes durations with their two largest units", () => {
  expect(en.duration(3.4)).toBe("3 s");
  expect(en.duration(252)).toBe("4 min 12 s");
  expect(en.duration(3_600)).toBe("1 h");
  expect(en.duration(93_600)).toBe("1 d 2 h");
  expect(en.duration(0)).toBe("0 s");
  expect(ko.duration(252)).toBe("4분 12초");
});

it("keeps counts exact below a million", () => {
  expect(en.count(128_402)).toBe("128,402");
  expect(en.count(1_284_020)).toBe("1.28M");
  expect(ko.count(1_284_020)).toBe("128.4만");
});
