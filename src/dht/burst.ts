// Meeting a node behind a symmetric NAT, whose port towards us nobody knows: one side opens many ports, the other tries
// many, until two meet. By the birthday paradox some hundred of each are enough.

import type { Writer } from "../krpc/bencode.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import { decode, type Method, writeQuery } from "../krpc/message.ts";
import type { Deadline, Deadlines, Millis } from "./deadlines.ts";
import type { Host, SpareSockets } from "./host.ts";
import type { Random } from "./random.ts";
import type { Self } from "./self.ts";

/** Ports that the symmetric side opens: few enough for the table of any router, and for a process's files. */
export const OPENED_PORTS = 384;

/** Ports that NATs give out: those from 1024 on. */
const FIRST_PORT = 1_024, PORTS = 65_536 - FIRST_PORT;

/** A step through them that meets each once: prime to their number, 2^10 * 3^2 * 7. */
const STRIDE = 40_507;

/** Ports that the other side tries at most: 1 - (1 - 384 / 64512)^1400 = 99.98 % of all times one of them is open. */
export const TRIED_PORTS = 1_400;

/** So many at a time, so often: a thousand a second, a megabit of any line for at most 1.4 seconds. */
const TRIED_AT_A_TIME = 10, TRY_EVERY_MS = 10;

/** Late timers are made up for, the other side's ports being open for a while only; by so many steps at once. */
const MAX_STEPS = 4;

/** Where the other side has got through it is pinged, and again after these times. */
const MET_AGAIN_MS = [150, 400];

/** What both sides need of the node. */
export interface BurstNode {
  readonly host: Host;
  readonly self: Self;
  readonly client: number;
  /** Counts the query that the writer holds, and sends it, by a spare socket where some are given. */
  sendWritten(method: Method, to: Endpoint, sockets?: SpareSockets, index?: number): void;
  /** Takes in a datagram like any other. */
  receive(datagram: Uint8Array, from: Endpoint, now: Millis): void;
}

/**
 * The symmetric side: opens ports towards an endpoint, and keeps the one at which the node there gets through, of which
 * `onMet` hears. Undefined where no ports can be opened.
 */
export function openPorts(
  node: BurstNode,
  to: Endpoint,
  other: Id,
  writer: Writer,
  random: Random,
  onMet: (now: Millis) => void,
): SpareSockets | undefined {
  let isMet = false;
  const sockets = node.host.openSockets(OPENED_PORTS, (index, datagram, from, now) => {
    if (isMet || !from.equals(to)) return;
    const message = decode(datagram);
    if (typeof message === "string" || !message.id?.equals(other)) return;
    isMet = true;
    sockets!.keep(index, to);
    onMet(now);
    node.receive(datagram, from, now);
  });
  if (sockets === undefined) return undefined;
  for (let i = 0; i < sockets.count; i++) {
    writeQuery(writer, "dm_punch", random.word(), node.self.id, node.client, true, {});
    node.sendWritten("dm_punch", to, sockets, i);
  }
  return sockets;
}

/** The other side: pings one port of an address after the other. */
export class PortProbes {
  readonly to: Endpoint;
  /** The transaction of all of its pings. */
  readonly tid: number;
  readonly #node: BurstNode;
  readonly #writer: Writer;
  readonly #deadlines: Deadlines;
  readonly #onEnd: () => void;
  readonly #first: number;
  #tried = 0;
  #next: Deadline | undefined;

  /** `onEnd` hears when it has stopped, or tried them all. */
  constructor(
    node: BurstNode,
    to: Endpoint,
    writer: Writer,
    deadlines: Deadlines,
    random: Random,
    onEnd: () => void,
  ) {
    this.#node = node;
    this.to = to;
    this.#writer = writer;
    this.#deadlines = deadlines;
    this.tid = random.word();
    this.#first = Math.floor(random.fraction() * PORTS);
    this.#onEnd = onEnd;
  }

  start(now: Millis): void {
    this.#tryNext(now, now);
  }

  #tryNext(due: Millis, now: Millis): void {
    const steps = Math.min(MAX_STEPS, 1 + Math.floor((now - due) / TRY_EVERY_MS));
    for (let i = steps * TRIED_AT_A_TIME; i > 0 && this.#tried < TRIED_PORTS; i--) {
      this.#try(FIRST_PORT + (this.#first + this.#tried++ * STRIDE) % PORTS);
    }
    if (this.#tried >= TRIED_PORTS) return this.stop();
    const next = Math.max(now, due + steps * TRY_EVERY_MS);
    this.#next = this.#deadlines.schedule(next, (at) => this.#tryNext(next, at));
  }

  #try(port: number): void {
    const { self: { id }, client } = this.#node;
    writeQuery(this.#writer, "ping", this.tid, id, client, true, {});
    this.#node.sendWritten("ping", this.to.withPort(port));
  }

  /**
   * A packet from this port of the other side has come through. It may not know: a hole of an earlier attempt lets in
   * what nobody answers.
   */
  meet({ port }: Endpoint, now: Millis): void {
    this.stop();
    this.#try(port);
    for (const ms of MET_AGAIN_MS) this.#deadlines.schedule(now + ms, () => this.#try(port));
  }

  stop(): void {
    this.#deadlines.cancel(this.#next);
    this.#next = undefined;
    this.#onEnd();
  }
}
