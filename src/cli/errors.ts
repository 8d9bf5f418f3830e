// Failures that are the user's to mend: told in one line, without a stack trace.

export class UserError extends Error {
  override readonly name = "UserError";

  /** `isUsage`: the command itself was wrong, not what it met. */
  constructor(message: string, readonly isUsage = false, options?: ErrorOptions) {
    super(message, options);
  }
}
