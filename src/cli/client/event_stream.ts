// Receives server-sent events from a node until the command ends. Reconnects when the connection is lost.

import { parseJson } from "../../web/json.js";
import { reason } from "../terminal/errors.ts";
import { sleep } from "../terminal/interrupt.ts";
import { stderr } from "../terminal/terminal.ts";
import { type Api, NodeGone, Refused } from "./api_client.ts";

/** The first and the longest wait before reconnecting. Each wait is twice as long as the previous one. */
const FIRST_WAIT_MS = 500, MAX_WAIT_MS = 10_000;

/** An event that a node has sent. docs/api.md describes the fields. */
export interface NodeEvent {
  /** The id that lets a new connection continue after this event; null if there is none. */
  readonly id: number | null;
  readonly type: string;
  readonly at: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface EventStream {
  /** Returns the URL and headers for the next connection, which should continue after the last received event. */
  request(): { readonly url: string; readonly headers?: Readonly<Record<string, string>> };
  onData(text: string): void | Promise<void>;
  /** Called each time a connection opens. `isFirst` is false for reconnections. */
  onOpen?(isFirst: boolean): void;
  /** Called when the connection is lost. The next attempt to connect follows after `waitMs`. */
  onLost?(reason: string, waitMs: number): void;
}

/**
 * Receives events until aborted. Throws a UserError if the first connection fails, or the node refuses a later one for
 * a lasting reason.
 */
export async function receiveEvents(
  api: Api,
  {
    request,
    onData,
    onOpen = (isFirst) => void (isFirst || stderr.write("dmnode: connected again\n")),
    onLost = (reason) =>
      stderr.write(`dmnode: the connection was lost (${reason}); trying again\n`),
  }: EventStream,
  signal: AbortSignal,
): Promise<never> {
  let isFirst = true, waitMs = FIRST_WAIT_MS;
  for (;;) {
    let reason = "the node ended it";
    try {
      const { url, headers } = request();
      await api.request(url, { headers, signal }, async (response) => {
        onOpen(isFirst);
        isFirst = false;
        waitMs = FIRST_WAIT_MS;
        for await (const text of dataOf(response)) await onData(text);
      });
    } catch (error) {
      signal.throwIfAborted();
      const isTemporary = error instanceof NodeGone ||
        (error instanceof Refused && (error.status >= 500 || error.status === 429));
      if (isFirst || !isTemporary) throw error;
      reason = error.message;
    }
    signal.throwIfAborted();
    onLost(reason, waitMs);
    await sleep(waitMs, signal);
    waitMs = Math.min(MAX_WAIT_MS, 2 * waitMs);
  }
}

/** @throws {NodeGone} if the text is not an event */
export function parseEvent(text: string): NodeEvent {
  try {
    const event = parseJson(text);
    if (typeof event.type === "string" && typeof event.data === "object") return event;
  } catch {
    // Ignore the error here: text that is not JSON is reported below.
  }
  throw new NodeGone("a message is not an event of a dmnode");
}

/** Yields the data of each server-sent event in a response (HTML standard, section 9.2). */
export async function* dataOf(response: Response): AsyncGenerator<string> {
  let rest = "";
  try {
    for await (const text of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) if (line.startsWith("data: ")) yield line.slice("data: ".length);
    }
  } catch (error) {
    throw new NodeGone(reason(error), false, { cause: error });
  }
}
