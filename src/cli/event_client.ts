// A node's events over its WebSocket, as they come.

import { Buffer } from "node:buffer";
import type { Api } from "./api_client.ts";
import { NodeGone, Refused } from "./api_client.ts";

/** One event, as docs/api.md describes it. */
export interface NodeEvent {
  /** Null where it is none that can be resumed after. */
  readonly id: number | null;
  readonly type: string;
  readonly at: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface Wish {
  /** Such as `peer.*,lookup`; undefined for the usual ones. */
  readonly types: string | undefined;
  /** The last event that was seen. */
  readonly since: number | undefined;
}

/**
 * Listens until the node ends it.
 *
 * @param heard called with each event and its text
 * @throws {NodeGone} where the connection breaks, or the node is silent
 * @throws {Refused} where the node refuses it
 */
export async function listen(
  api: Api,
  wish: Wish,
  signal: AbortSignal,
  opened: () => void,
  heard: (event: NodeEvent, text: string) => void,
): Promise<void> {
  const url = api.at("/ws", { types: wish.types, since: wish.since });
  const socket = new WebSocket(url.replace(/^http/, "ws"), [
    "dmnode",
    // The API has this for those who can't send headers.
    ...(api.token === undefined ? [] : [`bearer.${Buffer.from(api.token).toString("base64url")}`]),
  ]);
  const watchdog = api.watchdog();
  let wasOpen = false;
  try {
    await new Promise<void>((resolve, reject) => {
      const either = AbortSignal.any([signal, watchdog.signal]);
      either.addEventListener("abort", () => reject(either.reason));
      socket.onopen = () => {
        wasOpen = true;
        watchdog.heard();
        opened();
      };
      socket.onmessage = ({ data }) => {
        watchdog.heard();
        try {
          heard(parse(data), data);
        } catch (error) {
          reject(error);
        }
      };
      socket.onerror = () => reject(new NodeGone("the connection broke"));
      socket.onclose = ({ code }) => {
        if (code === SLOW) reject(new NodeGone("what was printed was read too slowly"));
        else resolve();
      };
    });
  } catch (error) {
    if (!wasOpen && error instanceof NodeGone) throw await whyRefused(api, url, signal);
    throw error;
  } finally {
    watchdog.stop();
    socket.onopen =
      socket.onmessage =
      socket.onerror =
      socket.onclose =
        null;
    socket.close();
  }
}

/** The node closes with this where a client reads less than there is. */
const SLOW = 1013;

function parse(text: unknown): NodeEvent {
  try {
    const event = JSON.parse(String(text));
    if (typeof event.type === "string" && typeof event.data === "object") return event;
  } catch {
    // Told below.
  }
  throw new NodeGone("what came is no event of a dmnode");
}

/** A WebSocket does not say why it was refused; a plain request for the same does. */
async function whyRefused(api: Api, url: string, signal: AbortSignal): Promise<unknown> {
  try {
    await api.request("GET", url, { signal }, (response) => response.body?.cancel() ?? DONE);
  } catch (error) {
    const isPlain = error instanceof Refused && /WebSocket/.test(error.message);
    if (!isPlain) return error;
  }
  return new NodeGone(`the node at ${api.url} refused the WebSocket: a proxy may not let it pass`);
}

const DONE = Promise.resolve();
