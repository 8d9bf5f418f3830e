// The errors that end a command early: a user's mistake, a signal, or closed output.

/** A failure that the user can correct. The program prints the message as one line, without a stack trace. */
export class UserError extends Error {
  override readonly name: string = "UserError";

  /** `isUsage` means that the command line itself is wrong. */
  constructor(message: string, readonly isUsage = false, options?: ErrorOptions) {
    super(message, options);
  }
}

/** The reader of standard output, such as `head -1`, has closed the pipe. The command then ends successfully. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

/** Thrown if a signal has ended the command. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";

  /** `status` is the exit status that shells report for a process killed by that signal. */
  constructor(readonly status: number) {
    super("interrupted");
  }
}

/** Returns the first line of an error's message. For a failed `fetch`, uses its cause, which is more precise. */
export function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error).split("\n")[0];
  if (error instanceof Deno.errors.NotCapable && mayAccessFiles()) {
    return "it is in /dev, /proc or /sys: give another path, or - for standard input or output";
  }
  if (error instanceof TypeError && error.cause !== undefined) return reason(error.cause);
  // Remove the error number and the file name that Deno appends. The caller's message names the file anyway.
  return error.message.split("\n")[0].replace(/ \(os error \d+\)(: \w+( '.*')?)?/g, "");
}

/** Whether the program is permitted to access all files. Even with this permission, Deno refuses access to devices. */
function mayAccessFiles(): boolean {
  return (["read", "write"] as const).every((name) =>
    Deno.permissions.querySync({ name }).state === "granted"
  );
}

/** Returns a UserError with the message of `error` if its type is one of `expected`, else `error` itself. */
export function asUserError(error: unknown, ...expected: (new (...args: never[]) => Error)[]) {
  return error instanceof Error && expected.some((type) => error instanceof type)
    ? new UserError(error.message, false, { cause: error })
    : error;
}

/** Runs an operation. If it fails, throws a UserError such as "x can't be read: permission denied". */
export function explaining<T>(problem: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new UserError(`${problem}: ${reason(error)}`, false, { cause: error });
  }
}
