// Signals that end a command in the middle: what it does is broken off, tidied up, and its status says which it was.

import { Interrupted } from "./errors.ts";

/** The signals that ask a process to end, with the status that shells report of one that they killed. */
const STATUSES: readonly (readonly [Deno.Signal, number])[] = Deno.build.os === "windows"
  ? [["SIGINT", 130], ["SIGBREAK", 149]]
  : [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]];

/** What can't be broken off, such as a write that nobody takes, is left alone after this. */
const TIDY_MS = 1_000;

/**
 * Runs something that a signal ends: it is told by the abort of its `AbortSignal`, and gets a moment to tidy up.
 *
 * @throws {Interrupted} where a signal came
 */
export async function interruptible<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const { promise: tidied, reject } = Promise.withResolvers<never>();
  const handlers = STATUSES.map(([name, status]) => {
    const handler = () => {
      // Who asks twice does not want to wait.
      if (controller.signal.aborted) Deno.exit(status);
      const interrupted = new Interrupted(status);
      controller.abort(interrupted);
      setTimeout(() => reject(interrupted), TIDY_MS);
    };
    Deno.addSignalListener(name, handler);
    return [name, handler] as const;
  });
  try {
    const result = await Promise.race([run(controller.signal), tidied]);
    controller.signal.throwIfAborted();
    return result;
  } catch (error) {
    // Whatever it failed with then, the signal was why.
    controller.signal.throwIfAborted();
    throw error;
  } finally {
    for (const [name, handler] of handlers) Deno.removeSignalListener(name, handler);
  }
}
