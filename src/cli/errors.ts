// How a command ends before its end: a user's mistake, a signal, or nobody left to read what it prints.

/** A failure that is the user's to mend: told in one line, without a stack trace. */
export class UserError extends Error {
  override readonly name: string = "UserError";

  /** `isUsage`: the command itself was wrong, not what it met. */
  constructor(message: string, readonly isUsage = false, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Whoever read standard output has gone, as `head -1` does: nothing is wrong, and nothing more can be said. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

/** A signal ended the command. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";

  /** `status`: what shells report of a process that the signal killed. */
  constructor(readonly status: number) {
    super("interrupted");
  }
}

/** What went wrong, in one line. The cause of a failed `fetch` says more than the error itself. */
export function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error).split("\n")[0];
  if (error.message.startsWith("Requires all access to")) {
    return "it is a device; use standard input or output";
  }
  if (error.message === "fetch failed" && error.cause !== undefined) return reason(error.cause);
  // What Deno adds says nothing to a user: ": stat 'name'" with the name that is told anyway, and the system's number.
  return error.message.split("\n")[0].replace(/ \(os error \d+\)(: \w+ '.*')?/g, "");
}
