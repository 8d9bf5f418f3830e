// Runs tasks and waits until they end or a signal arrives.

import { Interrupted } from "./errors.ts";

/** The signals that ask a process to end, with the exit status that shells report for each. */
const STATUSES: readonly (readonly [Deno.Signal, number])[] = Deno.build.os === "windows"
  ? [["SIGINT", 130], ["SIGBREAK", 149]]
  : [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]];

/** The maximum wait for a task to end after a signal. Some operations can't be aborted, such as writing to a pipe. */
const CLEANUP_MS = 1_000;

/** Runs a task. If a signal arrives, aborts the task, gives it a second to clean up, and throws Interrupted. */
export async function interruptible<T>(task: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const { promise: timeout, reject } = Promise.withResolvers<never>();
  const handlers = STATUSES.map(([name, status]) => {
    const handler = () => {
      // A second signal ends the process immediately.
      if (controller.signal.aborted) Deno.exit(status);
      const interrupted = new Interrupted(status);
      controller.abort(interrupted);
      setTimeout(() => reject(interrupted), CLEANUP_MS);
    };
    Deno.addSignalListener(name, handler);
    return [name, handler] as const;
  });
  try {
    const result = await Promise.race([task(controller.signal), timeout]);
    controller.signal.throwIfAborted();
    return result;
  } catch (error) {
    // If a signal aborted the task, throw the reason of the abort, which is the cause of the caught error.
    controller.signal.throwIfAborted();
    throw error;
  } finally {
    for (const [name, handler] of handlers) Deno.removeSignalListener(name, handler);
  }
}

/** Runs a task that only a signal ends. The signal is therefore not an error. */
export async function untilInterrupted(
  task: (signal: AbortSignal) => Promise<unknown>,
): Promise<void> {
  try {
    await interruptible(task);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
  }
}

/** Waits `ms`. If the signal aborts, throws its reason. (In Deno 2.4, node:timers/promises ignores the signal.) */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", resolve);
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", resolve);
  signal.throwIfAborted();
}
