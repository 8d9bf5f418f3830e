// A connection that is meant to last: what breaks it is told, and it is made again until the command ends.

import { NodeGone, Refused } from "./api_client.ts";
import { UserError } from "./errors.ts";
import { sleep } from "./sleep.ts";

/** The first wait and the longest: a node starts within seconds, and one that does not is not to be hammered. */
const FIRST_WAIT_MS = 500, LONGEST_WAIT_MS = 10_000;

export interface Connection {
  /** Connects, calls `opened`, and returns when the other side has ended it. */
  run(signal: AbortSignal, opened: () => void): Promise<void>;
  /** It broke, and is made again after so many milliseconds. */
  lost(why: string, waitMs: number): void;
  /** It is there again. */
  regained(): void;
}

/**
 * Keeps a connection until the signal. The first has to work.
 *
 * @throws {UserError} where it does not, or where the node refuses it for good
 */
export async function keepConnected(signal: AbortSignal, connection: Connection): Promise<never> {
  let wasOpen = false, waitMs = FIRST_WAIT_MS;
  for (;;) {
    let why = "the node ended it";
    try {
      await connection.run(signal, () => {
        if (wasOpen) connection.regained();
        wasOpen = true;
        waitMs = FIRST_WAIT_MS;
      });
    } catch (error) {
      signal.throwIfAborted();
      if (!wasOpen || !isPassing(error)) throw error;
      why = error.message;
    }
    signal.throwIfAborted();
    connection.lost(why, waitMs);
    await sleep(waitMs, signal);
    waitMs = Math.min(LONGEST_WAIT_MS, 2 * waitMs);
  }
}

/** Whether it may be another time. */
function isPassing(error: unknown): error is UserError {
  return error instanceof NodeGone ||
    (error instanceof Refused && (error.status >= 500 || error.status === 429));
}
