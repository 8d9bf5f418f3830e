// Errors that end the API or keep it from starting.

/** The API can't listen at its address. The message is a single line to show to the user. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** The API's thread ended unexpectedly. The message is a single line to show to the user. */
export class ApiThreadError extends Error {
  override readonly name = "ApiThreadError";
}

/** Logs errors and requests of the API. A LogTape logger can be used. */
export interface ApiLog {
  debug?(message: string, properties: Record<string, unknown>): void;
  error(message: string, properties: Record<string, unknown>): void;
}
