import { expect, it } from "vitest";
import { parseOverviewSearch, parseSignInSearch } from "./search";

it("reads the state of the overview from the URL", () => {
  const search = { window: "7d", metric: "cost", view: "table", level: "L3", decision: "dec_1" };
  expect(parseOverviewSearch(search)).toEqual(search);
});

it("drops what it does not understand", () => {
  const search = { window: "9y", metric: 5, view: "cube", level: "L9", decision: "" };
  expect(Object.values(parseOverviewSearch(search)).every((value) => value === undefined)).toBe(
    true,
  );
});

it.each(["//evil.example", "/\\evil.example", "https://evil.example", "", 5])(
  "does not send a signed-in user to %s",
  (next) => {
    expect(parseSignInSearch({ next }).next).toBeUndefined();
  },
);

it("goes back to a page of this site", () => {
  expect(parseSignInSearch({ next: "/?decision=dec_1" }).next).toBe("/?decision=dec_1");
});
