// A connection for events: opens it, reports each event, and detects a dead connection.

import { authorization } from "./api.js";
import { parseJson } from "./json.js";

/** A connection is dead if it is silent for this long, because statistics arrive every second. */
const SILENCE_MS = 8_000;

/** Timeout for opening a connection. */
const OPEN_WITHIN_MS = 8_000;

/**
 * @typedef {object} LiveEvent
 * @property {number | null} id increases with each event; null for a momentary reading
 * @property {string} type
 * @property {string} at RFC 3339
 * @property {any} data
 *
 * @typedef {object} LiveOptions
 * @property {string} url
 * @property {string[]} protocols
 * @property {(url: string, protocols: string[]) => Connection} open
 * @property {(event: LiveEvent) => void} onEvent
 * @property {() => void} onEnd called once, whatever the reason
 * @property {(run: () => void, ms: number) => Timer} [later]
 * @property {(timer: Timer) => void} [cancel]
 *
 * @typedef {Pick<WebSocket, "readyState" | "close" | "onmessage" | "onclose" | "onerror" | "onopen">} Connection
 * @typedef {ReturnType<typeof setTimeout>} Timer
 */

/** One connection, from opening to closing. */
export class Live {
  /** @param {LiveOptions} options */
  constructor({ url, protocols, open, onEvent, onEnd, later = setLater, cancel = cancelLater }) {
    this.onEvent = onEvent;
    this.onEnd = onEnd;
    this.later = later;
    this.cancel = cancel;
    this.ended = false;
    this.socket = open(url, protocols);
    this.watchdog = later(() => this.abandon(), OPEN_WITHIN_MS);
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = () => this.end();
    // Ignore errors, because a close event follows every error.
    this.socket.onerror = () => {};
  }

  /** @param {unknown} text */
  receive(text) {
    if (this.ended) return;
    this.cancel(this.watchdog);
    this.watchdog = this.later(() => this.close(), SILENCE_MS);
    let event;
    try {
      event = parseJson(String(text));
    } catch {
      return;
    }
    this.onEvent(event);
  }

  close() {
    const { socket } = this;
    // Closing a socket before it is open causes a console warning, so wait until it is open.
    if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
    else socket.close();
    this.end();
  }

  /**
   * Stops opening the connection. Browsers open sockets one after the other, so a pending one would
   * delay others.
   */
  abandon() {
    this.socket.close();
    this.end();
  }

  end() {
    if (this.ended) return;
    this.ended = true;
    this.cancel(this.watchdog);
    this.onEnd();
  }
}

/**
 * Opens a stream of server-sent events that behaves like a WebSocket, for networks that block WebSockets. An
 * EventSource can't send the token.
 *
 * @param {string} url @returns {Connection}
 */
export function openStream(url) {
  const abort = new AbortController();
  /** @type {Connection} */
  const connection = {
    readyState: WebSocket.OPEN,
    onmessage: null,
    onclose: null,
    onerror: null,
    onopen: null,
    close: () => abort.abort(),
  };
  void (async () => {
    try {
      const response = await fetch(url, { headers: authorization(), signal: abort.signal });
      if (!response.ok || response.body === null) return;
      let rest = "";
      const texts = response.body.pipeThrough(new TextDecoderStream());
      for await (
        const text of /** @type {AsyncIterable<string>} */ (/** @type {unknown} */ (texts))
      ) {
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          // The node sends each event as one line that begins with `data:`.
          if (!line.startsWith("data: ")) continue;
          const event = /** @type {MessageEvent} */ ({ data: line.slice(6) });
          connection.onmessage?.call(/** @type {WebSocket} */ (connection), event);
        }
      }
    } catch {
      // Ignore errors: only the end of the stream matters.
    } finally {
      connection.onclose?.call(
        /** @type {WebSocket} */ (connection),
        /** @type {CloseEvent} */ ({}),
      );
    }
  })();
  return connection;
}

/** @param {() => void} run @param {number} ms */
function setLater(run, ms) {
  return setTimeout(run, ms);
}

/** @param {Timer} timer */
function cancelLater(timer) {
  clearTimeout(timer);
}

/** The longest wait between two attempts. A user who returns to a disconnected page waits no longer than this. */
const LONGEST_MS = 15_000;

/**
 * The wait before attempt `n` (from 1). It varies randomly by a fifth, so that pages do not all reconnect at once.
 *
 * @param {number} n @param {number} [random] 0 to 1
 */
export function backoffMs(n, random = Math.random()) {
  return Math.min(LONGEST_MS, 500 * 2 ** (n - 1)) * (0.8 + 0.4 * random);
}
