// Connects two nodes if one of them is behind a symmetric NAT. The other node can't know to which
// port it should send. So the symmetric side opens hundreds of ports, and the other side tries many
// ports until one of them is open (the birthday paradox).

import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Id } from "../../krpc/id.ts";
import { decode } from "../../krpc/message.ts";
import { Allowance } from "../allowance.ts";
import type { Deadline, Deadlines, Millis } from "../deadlines.ts";
import type { Outbox } from "../outbox.ts";
import type { Random } from "../random.ts";

/**
 * The number of ports that the symmetric side opens. It must not exceed a router's NAT table or the limit on open
 * files.
 */
const OPENED_PORTS = 384;

/** The first port that NATs assign, and the number of ports from there up. */
const FIRST_PORT = 1_024, PORTS = 65_536 - FIRST_PORT;

/** The step between tried ports. It is coprime to the number of ports, 2^10 * 3^2 * 7, so no port is tried twice. */
const STRIDE = 40_507;

/**
 * The number of ports that the side without a symmetric NAT tries. With probability 1 - (1 - 384 / 64512)^1400 = 99.98
 * %, at least one of them is open.
 */
export const TRIED_PORTS = 1_400;

/**
 * The number of ports tried in one step, and the time between steps. Together, they mean 1,000 ports and about one
 * megabit per second.
 */
const PORTS_PER_STEP = 10, STEP_MS = 10;

/**
 * Cap on the delayed steps that run at once if the timer fires late. With this cap, all ports are still tried before
 * the symmetric side closes its ports.
 */
const MAX_STEPS = 4;

/** Delays after a packet from the other node, in ms, at which we ping that node's endpoint again. */
const MET_AGAIN_MS = [150, 400];

/** The maximum number of bursts per minute, including those that other nodes request. Only one burst runs at a time. */
const BURSTS_A_MINUTE = 3;

/**
 * How long the opened ports wait for a packet from the other node. Trying all ports, plus one round trip, takes less
 * time.
 */
const OPEN_MS = 5_000;

/** All opened ports are closed after this time, even the port through which the other node got in. */
const PORTS_OPEN_MS = 120_000;

interface Burst {
  /** The node to meet. */
  readonly other: Id;
  readonly to: Endpoint;
  /** The transaction id that all pings to the tried ports share; undefined on the symmetric side. */
  readonly tid: number | undefined;
  readonly stop: () => void;
}

interface BurstsOptions {
  readonly outbox: Outbox;
  readonly deadlines: Deadlines;
  readonly random: Random;
  /** Called with the first datagram from the other node that arrives at an opened port. */
  readonly onDatagram: (datagram: Uint8Array, from: Endpoint, now: Millis) => void;
}

/** Runs the bursts of a node, one at a time. */
export class Bursts {
  /** Called when the ports that we opened for the node `other` are closed. */
  onClosed: ((other: Id) => void) | undefined;
  readonly #options: BurstsOptions;
  readonly #allowance = new Allowance(BURSTS_A_MINUTE / 60, BURSTS_A_MINUTE);
  #burst: Burst | undefined;
  /**
   * The latest burst in which this node tried ports. It is kept after the burst ends, because further replies may
   * arrive from other open ports.
   */
  #latestTrying: Burst | undefined;

  constructor(options: BurstsOptions) {
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#burst !== undefined;
  }

  isFor(other: Id): boolean {
    return this.#burst?.other.equals(other) ?? false;
  }

  /**
   * Starts our side of a burst towards `to`. Returns false if another burst is running, if too many have run recently,
   * or if no port could be opened.
   */
  start(
    { other, to, isSymmetric }: { other: Id; to: Endpoint; isSymmetric: boolean },
    now: Millis,
  ): boolean {
    if (this.#burst !== undefined || !this.#allowance.take(now)) return false;
    if (isSymmetric) return this.#openPorts(other, to, now);
    this.#tryPorts(other, to, now);
    return true;
  }

  /**
   * Runs the symmetric side: opens ports, and keeps the one that the other node reaches. Returns false if no port could
   * be opened.
   */
  #openPorts(other: Id, to: Endpoint, now: Millis): boolean {
    const { outbox, deadlines, random, onDatagram } = this.#options;
    let isMet = false;
    const sockets = outbox.transport.openSockets(OPENED_PORTS, (index, datagram, from, at) => {
      if (isMet || !from.equals(to)) return;
      const message = decode(datagram);
      if (typeof message === "string" || !message.id?.equals(other)) return;
      isMet = true;
      sockets!.keep(index, to);
      this.#end(burst);
      onDatagram(datagram, from, at);
    });
    if (sockets === undefined) return false;
    const stop = () => {
      this.#end(burst);
      if (!isMet) sockets.close();
    };
    const burst = this.#burst = { other, to, tid: undefined, stop };
    for (let index = 0; index < sockets.count; index++) {
      const tid = random.word(), socket = { sockets, index };
      outbox.send({ method: "dm_punch", tid, to, args: {}, isReadOnly: true, socket });
    }
    deadlines.schedule(now + OPEN_MS, stop);
    deadlines.schedule(now + PORTS_OPEN_MS, () => {
      sockets.close();
      this.onClosed?.(other);
    });
    return true;
  }

  /** Runs the side without a symmetric NAT: pings many ports of one address, one step after another. */
  #tryPorts(other: Id, to: Endpoint, now: Millis): void {
    const { deadlines, random } = this.#options;
    const tid = random.word();
    const first = Math.floor(random.fraction() * PORTS);
    let tried = 0, next: Deadline | undefined;
    const stop = () => {
      deadlines.cancel(next);
      this.#end(burst);
    };
    const tryNext = (due: Millis, at: Millis) => {
      const steps = Math.min(MAX_STEPS, 1 + Math.floor((at - due) / STEP_MS));
      for (let i = steps * PORTS_PER_STEP; i > 0 && tried < TRIED_PORTS; i--) {
        this.#ping(to.withPort(FIRST_PORT + (first + tried++ * STRIDE) % PORTS), tid);
      }
      if (tried >= TRIED_PORTS) return stop();
      const nextAt = Math.max(at, due + steps * STEP_MS);
      next = deadlines.schedule(nextAt, (late) => tryNext(nextAt, late));
    };
    const burst = this.#burst = this.#latestTrying = { other, to, tid, stop };
    tryNext(now, now);
  }

  #ping(to: Endpoint, tid: number): void {
    this.#options.outbox.send({ method: "ping", tid, to, args: {}, isReadOnly: true });
  }

  #end(burst: Burst): void {
    if (this.#burst === burst) this.#burst = undefined;
  }

  /**
   * Records a packet from the node `id`. If it is the node that the burst tries to reach, ends the burst and pings the
   * node.
   */
  meet(id: Id, from: Endpoint, now: Millis): void {
    const burst = this.#burst;
    if (burst === undefined || !burst.other.equals(id) || !burst.to.sameAddress(from)) return;
    burst.stop();
    const { tid } = burst;
    if (tid === undefined) return;
    // The other node may not know that its packet reached us, so ping it.
    this.#ping(from, tid);
    for (const ms of MET_AGAIN_MS) {
      this.#options.deadlines.schedule(now + ms, () => this.#ping(from, tid));
    }
  }

  /** Whether a reply answers a ping of the latest burst in which this node tried ports. */
  isAnswer(tid: number, from: Endpoint): boolean {
    const trying = this.#latestTrying;
    return trying !== undefined && tid === trying.tid && trying.to.sameAddress(from);
  }

  stopTrying(): void {
    if (this.#burst?.tid !== undefined) this.#burst.stop();
  }

  stop(other: Id): void {
    if (this.#burst?.other === other) this.#burst.stop();
  }
}
