import { setupServer } from "msw/node";

/** Answers the HTTP requests of the tests; each test says what the API answers. */
export const server = setupServer();
