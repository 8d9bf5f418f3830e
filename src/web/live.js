// The WebSocket of events: opens it, notices when it has died, and says what came over it.

/** Statistics come every second: after so much silence nobody is there any more. */
const SILENCE_MS = 8_000;

/** How long a connection may take to come about. */
const OPEN_WITHIN_MS = 8_000;

/**
 * @typedef {object} LiveEvent
 * @property {number | null} id rises from event to event; null for what is of the moment
 * @property {string} type
 * @property {string} at RFC 3339
 * @property {any} data
 *
 * @typedef {object} LiveOptions
 * @property {string} url
 * @property {string[]} protocols
 * @property {(url: string, protocols: string[]) => WebSocket} open
 * @property {(event: LiveEvent) => void} onEvent
 * @property {() => void} onEnd once, however it ended
 * @property {(run: () => void, ms: number) => Timer} [later]
 * @property {(timer: Timer) => void} [cancel]
 *
 * @typedef {ReturnType<typeof setTimeout>} Timer
 */

/** One connection, from its opening to its end. */
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
    // What goes wrong is followed by a close.
    this.socket.onerror = () => {};
  }

  /** @param {unknown} text */
  receive(text) {
    if (this.ended) return;
    this.cancel(this.watchdog);
    this.watchdog = this.later(() => this.close(), SILENCE_MS);
    let event;
    try {
      event = JSON.parse(String(text));
    } catch {
      return;
    }
    this.onEvent(event);
  }

  close() {
    const { socket } = this;
    // To close it before it is open is a warning on the console. A browser opens one after the other, so it soon is.
    if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
    else socket.close();
    this.end();
  }

  /** It does not come about: others would wait for it. */
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

/** @param {() => void} run @param {number} ms */
function setLater(run, ms) {
  return setTimeout(run, ms);
}

/** @param {Timer} timer */
function cancelLater(timer) {
  clearTimeout(timer);
}

/** The longest wait between two attempts: who comes back to a page that lost its node waits no longer. */
const LONGEST_MS = 15_000;

/**
 * How long to wait before attempt `n` (from 1), with a fifth of chance, so that many pages don't come back at once.
 *
 * @param {number} n @param {number} [random] 0 to 1
 */
export function backoffMs(n, random = Math.random()) {
  return Math.min(LONGEST_MS, 500 * 2 ** (n - 1)) * (0.8 + 0.4 * random);
}
