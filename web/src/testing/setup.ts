import "@testing-library/jest-dom/vitest";
import { cleanup, configure } from "@testing-library/react";
import { afterAll, afterEach, beforeAll } from "vitest";
import { server } from "./server";

// Busy machines are slow: waiting longer costs nothing when the answer is there.
configure({ asyncUtilTimeout: 10_000 });

// happy-dom does no layout: without a size the charts would draw nothing.
Element.prototype.getBoundingClientRect = () => new DOMRect(0, 0, 640, 240);

// A request that no test expects is a fault of the test or of the page, never ignored.
beforeAll(() => server.listen({ onUnhandledRequest: "error" }));
afterEach(() => {
  cleanup();
  server.resetHandlers();
  localStorage.clear();
});
afterAll(() => server.close());
