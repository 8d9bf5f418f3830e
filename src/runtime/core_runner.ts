// Runs one DHT core: passes it the time and its packets, runs its timer, and delivers its events.

import { getLogger } from "logtape";
import type { Millis } from "../dht/deadlines.ts";
import type { Host, NodeEvent } from "../dht/host.ts";
import { DhtNode, type NodeOptions } from "../dht/node.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import type { NodeClock } from "./clock.ts";

/** The longest delay that setTimeout accepts, in milliseconds. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export interface CoreRunnerOptions {
  /** All functions that the core needs, except `emit`, which the runner provides. */
  readonly host: Omit<Host, "emit">;
  readonly node: NodeOptions;
  readonly clock: NodeClock;
  /**
   * Called with each event once the core call that caused it has returned. The function may
   * therefore call the core.
   */
  readonly onEvent: (event: NodeEvent) => void;
}

export class CoreRunner {
  readonly node: DhtNode;
  readonly clock: NodeClock;
  readonly #log = getLogger(["dmnode", "node"]);
  readonly #onEvent: (event: NodeEvent) => void;
  readonly #events: NodeEvent[] = [];
  #isDelivering = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #closed = false;

  constructor({ host, node, clock, onEvent }: CoreRunnerOptions) {
    this.clock = clock;
    this.#onEvent = onEvent;
    const emit = (event: NodeEvent) => void this.#events.push(event);
    this.node = new DhtNode({ ...host, emit }, node, this.clock.now());
  }

  receive(datagram: Uint8Array, from: Endpoint): void {
    try {
      this.node.receive(datagram, from, this.clock.now());
    } catch (error) {
      // Log an error in a packet handler, which is a bug, and keep serving other peers.
      this.#log.error("Failed on a packet from {from}: {error}", { from: `${from}`, error });
    }
    this.#settle();
  }

  /** Reports to the core for how long a receive has waited for a datagram. */
  noteReceive(waitedMs: Millis): void {
    this.node.gate.note(waitedMs, this.clock.now());
  }

  /** Calls `run` with the current time, then delivers the core events that this call caused. */
  do<T>(run: (at: Millis) => T): T {
    const result = run(this.clock.now());
    this.#settle();
    return result;
  }

  /** Starts an operation of the core, and resolves with its result. */
  ask<T>(start: (at: Millis, done: (result: T) => void) => void): Promise<T> {
    return new Promise((resolve) => this.do((at) => start(at, resolve)));
  }

  /** Stops the timer. Pending operations of the core will never complete. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /** Delivers the events of the core call that has just returned, and sets the timer to the next deadline. */
  #settle(): void {
    if (this.#events.length > 0 && !this.#isDelivering) this.#deliver();
    this.#setTimer();
  }

  #deliver(): void {
    this.#isDelivering = true;
    // Loop by iterator: event handlers may call the core, which may append events to this list during the loop.
    for (const event of this.#events) {
      try {
        this.#onEvent(event);
      } catch (error) {
        this.#log.error("Failed on event {type}: {error}", { type: event.type, error });
      }
    }
    this.#events.length = 0;
    this.#isDelivering = false;
  }

  #setTimer(): void {
    const next = this.node.nextDeadline;
    if (next >= this.#timerAt || this.#closed) return;
    clearTimeout(this.#timer);
    this.#timerAt = next;
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      try {
        this.node.tick(this.clock.now());
      } catch (error) {
        this.#log.error("Failed in a timer: {error}", { error });
      }
      this.#settle();
    }, Math.min(MAX_TIMER_MS, Math.max(0, next - this.clock.now())));
  }
}
