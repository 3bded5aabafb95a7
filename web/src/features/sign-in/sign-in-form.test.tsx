import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it } from "vitest";
import { ApiError } from "@/api/problem";
import { renderLive } from "@/testing/render";
import { SignInForm } from "./sign-in-form";

async function fillIn() {
  await userEvent.type(screen.getByLabelText("E-mail"), "admin@davinci.local");
  await userEvent.type(screen.getByLabelText("Password"), "secret");
  await userEvent.click(screen.getByRole("button", { name: "Sign in" }));
}

it("hands over what was typed", async () => {
  const seen: string[][] = [];
  renderLive(
    <SignInForm
      signIn={async (...typed) => {
        seen.push(typed);
      }}
    />,
  );
  await fillIn();
  expect(seen).toEqual([["admin@davinci.local", "secret"]]);
});

it.each([
  [new ApiError(401, {}), "E-mail or password is not right."],
  [new ApiError(429, {}, 30_000), "Too many attempts. Try again in 30 s."],
  [new ApiError(0, {}), "The server did not answer. Try again in a moment."],
])("explains failure %# and keeps the form usable", async (failure, message) => {
  renderLive(<SignInForm signIn={() => Promise.reject(failure)} />);
  await fillIn();
  expect(await screen.findByText(message)).toBeInTheDocument();
  expect(screen.getByLabelText("E-mail")).toHaveValue("admin@davinci.local");
  expect(screen.getByRole("button", { name: "Sign in" })).toBeEnabled();
});

it("shows the password on request", async () => {
  renderLive(<SignInForm signIn={async () => undefined} />);
  await userEvent.click(screen.getByRole("button", { name: "Show password" }));
  expect(screen.getByLabelText("Password")).toHaveAttribute("type", "text");
});
