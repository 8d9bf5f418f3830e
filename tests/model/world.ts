// A small network of real nodes, in which a chooser decides what happens next: deliveries, losses, crashes, partitions,
// commits to disk and reads from disk.

import { DurableItemStore } from "../../src/storage/item_store.ts";
import { DurablePublishedStore } from "../../src/storage/published.ts";
import { type Changes, CommitQueue } from "../../src/storage/commit_queue.ts";
import {
  itemOf,
  type ItemRow,
  publishedOf,
  type PublishedRow,
  storedItem,
} from "../../src/storage/rows.ts";
import type { Millis } from "../../src/dht/deadlines.ts";
import type { NodeEvent } from "../../src/dht/host.ts";
import type { Item } from "../../src/dht/items/item.ts";
import { recordOf } from "../../src/dht/items/item_table.ts";
import type { ReadResult } from "../../src/storage/item_reads.ts";
import { DhtNode } from "../../src/dht/node.ts";
import type { Endpoint } from "../../src/krpc/endpoint.ts";
import { hex } from "../../src/krpc/hex.ts";
import { Id } from "../../src/krpc/id.ts";
import { sha1 } from "../../src/runtime/identity/sha1.ts";
import { randomSource } from "../dht/virtual_network.ts";
import { endpoint } from "../packets.ts";
import type { Chooser } from "./explorer.ts";
import { Fingerprint } from "./fingerprint.ts";

/** The time that a packet takes. */
const DELAY_MS = 5;

/** How long a crashed machine stays down unless the chooser restarts it earlier. */
const DOWN_MS = 5_000;

/** How many of the oldest packets in flight the chooser may deliver or lose. */
const REORDERED = 3;

/** The bytes of many packets are in one buffer: a buffer for each packet took a tenth of the time. */
const CHUNK_BYTES = 32_768;

/** Caps on what may go wrong in one run. */
const MAX_LOSSES = 2, MAX_CRASHES = 1, MAX_PARTITIONS = 1, MAX_FAILED_READS = 1;

export interface WorldOptions {
  readonly nodes: number;
  readonly k: number;
  /** Bytes of others' items that each node may hold; 1 MB by default. */
  readonly limitBytes?: number;
}

/** An operation of a scenario. It also ends if its machine crashes. */
export interface Operation {
  /** The number of the machine that runs it. */
  readonly by: number;
  /** Whether it begins only after the operations before it have ended. */
  readonly isLast?: boolean;
  /** Calls `done` when the operation has ended. */
  run(world: World, machine: Machine, done: () => void): void;
}

interface Packet {
  readonly from: Machine;
  readonly to: Machine;
  readonly datagram: Uint8Array;
  readonly arrivesAt: Millis;
  /** Whether it belongs to a get or put. The chooser decides only about these packets. */
  readonly isChosen: boolean;
  readonly fingerprint: Fingerprint;
}

interface Commit {
  readonly changes: Changes;
  readonly end: () => void;
}

interface Read {
  readonly target: Id;
  readonly end: (result: ReadResult) => void;
}

/** The stores' tables, as they are on disk. */
class Disk {
  readonly items = new Map<string, ItemRow>();
  readonly published = new Map<string, PublishedRow>();

  read(target: Id): ReadResult {
    const row = this.items.get(hex(target.toBytes()));
    return row === undefined ? "missing" : itemOf(row);
  }

  apply({ deletedItems, items, published }: Changes): void {
    for (const target of deletedItems) this.items.delete(hex(target));
    for (const row of items) this.items.set(hex(row.target), row);
    for (const row of published) {
      if ("value" in row) this.published.set(hex(row.target), row);
      else this.published.delete(hex(row.target));
    }
  }
}

/** An acknowledgement: `holder` has promised to keep `item`. */
export interface Acknowledgement {
  readonly holder: Machine;
  readonly item: Item;
  /** Whether the holder publishes the item itself. */
  readonly isOwn: boolean;
}

/** What happens to a machine. */
type Input =
  | "boot"
  | "packet"
  | "tick"
  | "commit"
  | "read"
  | "failed read"
  | "begin"
  | "crash"
  | "crash after commit"
  | "off";

const INPUTS: readonly Input[] = [
  "boot",
  "packet",
  "tick",
  "commit",
  "read",
  "failed read",
  "begin",
  "crash",
  "crash after commit",
  "off",
];

/** A computer with a disk, which runs a node while it is up. */
export class Machine {
  readonly disk = new Disk();
  /** A source of its own, so that a machine's state depends only on what has happened to this machine. */
  readonly randomBytes: (length: number) => Uint8Array;
  /** Everything that has happened to this machine. Machines with equal histories are in equal states. */
  readonly history = new Fingerprint();
  readonly endpoint: Endpoint;
  node!: DhtNode;
  items!: DurableItemStore;
  published!: DurablePublishedStore;
  isUp = false;
  /** When it starts again by itself. */
  restartAt: Millis = Infinity;
  /** The commit that the disk has not finished yet. */
  commit: Commit | undefined;
  /** The reads that the disk has not finished yet, oldest first. */
  reads: Read[] = [];
  /** The calls that the commit queue has scheduled. */
  timers: (() => void)[] = [];

  constructor(readonly world: World, readonly number: number, readonly id: Id) {
    this.endpoint = endpoint(`10.0.${number}.1:6881`);
    this.randomBytes = randomSource(number);
  }

  note(input: Input, now: Millis): Fingerprint {
    return this.history.add(INPUTS.indexOf(input)).addTime(now);
  }
}

export class World {
  now: Millis = 1_000_000_000_000;
  /** The machines that have not left for good. */
  machines: readonly Machine[];
  /** Every item that a holder or an owner has acknowledged. */
  acknowledged: readonly Acknowledgement[] = [];
  /** The items that an owner no longer publishes. */
  readonly withdrawn: Acknowledgement[] = [];
  /** What happened, in short lines, for the report of a violation. */
  readonly log: string[] = [];
  /** What went wrong while the operations ran. */
  readonly problems: string[] = [];
  /** All machines, also those that have left. */
  readonly #everyone: readonly Machine[];
  readonly #chooser: Chooser;
  readonly #options: WorldOptions;
  #flight: Packet[] = [];
  /** Room for the packets of this world. */
  #free = new Uint8Array(CHUNK_BYTES);
  #isChosen = false;
  /** Whether the operations run. Only then there are choices, and states to tell apart. */
  #isOperating = false;
  #isolated: Machine | undefined;
  /** The operations that have begun and not ended. */
  readonly #open = new Set<Operation>();
  /** Targets that their owner has begun to withdraw. */
  readonly #released = new Set<string>();
  readonly #spent = { losses: 0, crashes: 0, partitions: 0, failedReads: 0 };
  /** The machine whose code runs now. */
  #running: Machine | undefined;

  constructor(options: WorldOptions, chooser: Chooser) {
    this.#options = options;
    this.#chooser = chooser;
    const randomBytes = randomSource(7);
    this.#everyone = this.machines = Array.from({ length: options.nodes }, (_, i) => {
      return new Machine(this, i, Id.read(randomBytes(20)));
    });
  }

  /** Runs `body` with the clock and the timers of this world in place of the real ones. */
  async within<T>(body: () => Promise<T>): Promise<T> {
    const { setTimeout, clearTimeout } = globalThis, { now } = performance;
    const fakes = {
      setTimeout: (run: () => void) => this.#running!.timers.push(run),
      clearTimeout: () => {},
    };
    Object.assign(globalThis, fakes);
    performance.now = () => this.now;
    try {
      return await body();
    } finally {
      Object.assign(globalThis, { setTimeout, clearTimeout });
      performance.now = now;
    }
  }

  /** Starts all nodes and lets them meet. */
  async start(): Promise<void> {
    for (const machine of this.machines) this.#boot(machine);
    await this.settle(3_000);
  }

  /**
   * Runs the operations. The chooser decides about packets, commits and faults until all have ended. Returns false if
   * it ended the run, because everything that may follow is covered.
   */
  async operate(operations: readonly Operation[]): Promise<boolean> {
    this.#isOperating = true;
    try {
      return await this.#operate(operations);
    } finally {
      this.#isOperating = false;
    }
  }

  async #operate(operations: readonly Operation[]): Promise<boolean> {
    const waiting = [...operations];
    const begin = () => {
      const operation = waiting.shift()!;
      const machine = this.machines.find(({ number }) => number === operation.by);
      if (!machine?.isUp) return;
      this.#open.add(operation);
      machine.note("begin", this.now).add(waiting.length);
      this.run(machine, () => operation.run(this, machine, () => this.#open.delete(operation)));
    };
    for (let step = 0; step < 2_000; step++) {
      const isBusy = this.#flight.some(({ isChosen }) => isChosen) ||
        this.machines.some(({ commit, reads }) => commit !== undefined || reads.length > 0);
      const isEnd = !isBusy && this.#open.size === 0 && waiting.length === 0;
      if (this.#chooser.isCovered(this.#fingerprint(waiting.length), isEnd)) return false;
      if (isEnd) return true;
      const actions = this.#actions();
      if (waiting.length > 0) {
        if (!isBusy && this.#open.size === 0) actions.unshift(begin);
        else if (!waiting[0].isLast || this.#open.size === 0) actions.push(begin);
      }
      const action = actions[actions.length > 1 ? this.#chooser.choose(actions.length) : 0];
      await action();
    }
    throw new Error("the operations do not end");
  }

  /** Ends the partition, and restarts the machines that are down. */
  endFaults(): void {
    this.#isolated = undefined;
    for (const machine of this.machines) if (!machine.isUp) this.#boot(machine);
  }

  /** Switches a machine off and on again. */
  restart(machine: Machine): void {
    this.log.push(`node ${machine.number} restarts`);
    this.#switchOff(machine);
    this.#boot(machine);
  }

  /** Switches a machine off for good. */
  remove(machine: Machine): void {
    this.log.push(`node ${machine.number} leaves`);
    this.#switchOff(machine);
    this.machines = this.machines.filter((other) => other !== machine);
  }

  /** Lets `ms` pass in the normal course: packets arrive in order, and commits succeed at once. */
  async settle(ms: Millis): Promise<void> {
    const end = this.now + ms;
    for (;;) {
      const busy = this.machines.find(({ commit }) => commit !== undefined);
      if (busy !== undefined) await this.#endCommit(busy);
      else if (this.#flight.length > 0) this.#deliver(this.#flight[0]);
      else {
        const next = this.#nextDeadline;
        if (next > end) break;
        this.#advance(next);
      }
    }
    this.now = end;
  }

  /** Runs an operation to its end in the normal course. */
  async complete<T>(start: (done: (result: T) => void) => void): Promise<T> {
    const results: T[] = [];
    start((result) => results.push(result));
    for (let s = 0; results.length === 0 && s < 60; s++) await this.settle(1_000);
    return results[0];
  }

  acknowledge(holder: Machine, item: Item, isOwn = false): void {
    this.log.push(`node ${holder.number} acknowledges ${nameOf(item)}`);
    // The owner may have withdrawn the item meanwhile.
    if (isOwn && this.#released.has(`${item.target}`)) return;
    this.acknowledged = [...this.acknowledged, { holder, item, isOwn }];
  }

  /** Notes that an owner need not keep an item any longer. */
  release(owner: Machine, { target }: Item): void {
    this.#released.add(`${target}`);
    this.acknowledged = this.acknowledged.filter(({ holder, item, isOwn }) =>
      !isOwn || holder !== owner || !item.target.equals(target)
    );
  }

  /** Notes that an owner has acknowledged that it no longer publishes an item. */
  withdraw(holder: Machine, item: Item): void {
    this.withdrawn.push({ holder, item, isOwn: true });
    this.log.push(`node ${holder.number} withdraws ${nameOf(item)}`);
  }

  /** Checks the result of a put by `teller`: the node with this id must have acknowledged the item. */
  confirm(teller: Machine, id: Id, item: Item): void {
    const holder = this.#everyone.find((machine) => machine.id.equals(id))!;
    const isTrue = holder === teller ||
      this.acknowledged.some((one) => one.holder === holder && nameOf(one.item) === nameOf(item));
    if (!isTrue) {
      this.problems.push(`told: node ${holder.number} never acknowledged ${nameOf(item)}`);
    }
  }

  /** Calls code of a machine's node, and then the calls that its commit queue has scheduled. */
  run(machine: Machine, call: () => void): void {
    const outer = this.#running;
    this.#running = machine;
    call();
    for (const run of machine.timers.splice(0)) run();
    this.#running = outer;
  }

  /** What may happen next. The first one is the normal course. */
  #actions(): (() => void | Promise<void>)[] {
    const normal = this.#flight.find(({ isChosen }) => !isChosen);
    if (normal !== undefined) return [() => this.#deliver(normal)];
    const flight = this.#flight.slice(0, REORDERED);
    const committing = this.machines.filter(({ commit }) => commit !== undefined);
    const reading = this.machines.filter(({ reads }) => reads.length > 0);
    const actions = [
      ...flight.map((packet) => () => this.#deliver(packet)),
      ...reading.map((machine) => () => this.#endRead(machine)),
      ...committing.map((machine) => () => this.#endCommit(machine)),
      () => this.#advance(),
    ];
    if (this.#spent.losses < MAX_LOSSES) {
      actions.push(...flight.map((one) => () => this.#lose(one)));
    }
    if (this.#spent.failedReads < MAX_FAILED_READS) {
      actions.push(...reading.map((machine) => () => this.#failRead(machine)));
    }
    if (this.#spent.crashes < MAX_CRASHES) {
      for (const machine of this.machines) actions.push(() => this.#crash(machine));
      // The disk may have finished the commit although the program did not hear of it.
      for (const machine of committing) {
        actions.push(() => {
          machine.disk.apply(machine.commit!.changes);
          this.#crash(machine, "crash after commit");
        });
      }
    }
    for (const machine of this.machines) if (!machine.isUp) actions.push(() => this.#boot(machine));
    if (this.#isolated !== undefined) {
      actions.push(() => void (this.#isolated = undefined));
    } else if (this.#spent.partitions < MAX_PARTITIONS) {
      for (const machine of this.machines) actions.push(() => this.isolate(machine));
    }
    return actions;
  }

  /** Cuts a machine off from all others. */
  isolate(machine: Machine): void {
    this.log.push(`node ${machine.number} is cut off`);
    this.#spent.partitions++;
    this.#isolated = machine;
  }

  #boot(machine: Machine): void {
    const { k, limitBytes = 1_000_000 } = this.#options, { disk, id } = machine;
    machine.isUp = true;
    machine.restartAt = Infinity;
    machine.note("boot", this.now);
    const queue = new CommitQueue((changes) =>
      new Promise((end) => {
        machine.commit = { changes, end };
      }), { failed: () => {}, recovered: () => {} });
    this.run(machine, () => {
      const items = machine.items = new DurableItemStore({
        own: id,
        limitBytes,
        seed: 1,
        queue,
        saved: [...disk.items.values()].map((row) => recordOf(storedItem(row))),
        readItem: (target, end) => {
          if (this.#isOperating) machine.reads.push({ target, end });
          else end(disk.read(target));
        },
        clock: () => this.now,
      }, this.now);
      const published = machine.published = new DurablePublishedStore(
        { queue, saved: [...disk.published.values()].map(publishedOf), seed: 1 },
        this.now,
      );
      const node = machine.node = new DhtNode({
        sha1,
        verify: () => true,
        items,
        published,
        randomBytes: machine.randomBytes,
        emit: (event: NodeEvent) => {
          if (event.type === "data.store") this.acknowledge(machine, event.item);
        },
        send: (datagram, to) => this.#send(machine, datagram, to),
        isLocal: (address) => address.sameAddress(machine.endpoint),
        openSockets: () => undefined,
      }, {
        id,
        k,
        alpha: 3,
        healthCheckIntervalMs: 30 * 60_000,
        families: [4],
        readOnly: false,
        nat: false,
        perSubnet: 0,
        client: 0x444d0100,
      }, this.now);
      const others = this.machines.filter((other) => other !== machine);
      node.membership.join([], others, this.now);
    });
  }

  #crash(machine: Machine, how: "crash" | "crash after commit" = "crash"): void {
    this.log.push(`node ${machine.number} crashes`);
    this.#spent.crashes++;
    machine.note(how, this.now);
    this.#switchOff(machine);
    machine.restartAt = this.now + DOWN_MS;
  }

  #switchOff(machine: Machine): void {
    machine.isUp = false;
    machine.note("off", this.now);
    machine.commit = undefined;
    machine.reads = [];
    machine.timers = [];
    this.#endOperations(machine);
  }

  #endOperations({ number }: Machine): void {
    for (const operation of this.#open) {
      if (operation.by === number) this.#open.delete(operation);
    }
  }

  #send(from: Machine, datagram: Uint8Array, address: Endpoint): void {
    const to = this.machines.find(({ endpoint }) => endpoint.equals(address));
    if (to === undefined) return;
    const isChosen = this.#isOperating && (this.#isChosen || isAboutItems(datagram));
    const fingerprint = new Fingerprint();
    if (this.#isOperating) {
      fingerprint.add(from.number).add(to.number).add(isChosen ? 1 : 0).addBytes(datagram);
    }
    const arrivesAt = this.now + DELAY_MS, copy = this.#copy(datagram);
    this.#flight.push({ from, to, datagram: copy, arrivesAt, isChosen, fingerprint });
  }

  /** Copies bytes to the free part of a chunk. */
  #copy(bytes: Uint8Array): Uint8Array {
    if (bytes.length > this.#free.length) this.#free = new Uint8Array(CHUNK_BYTES);
    const copy = this.#free.subarray(0, bytes.length);
    this.#free = this.#free.subarray(bytes.length);
    copy.set(bytes);
    return copy;
  }

  #deliver(packet: Packet): void {
    const { from, to, datagram, isChosen } = packet;
    this.#flight.splice(this.#flight.indexOf(packet), 1);
    // Packets that were sent together arrive together, so that their order makes no difference to other machines.
    this.now = Math.max(this.now, packet.arrivesAt);
    const isCut = this.#isolated === from || this.#isolated === to;
    if (isCut || !to.isUp) return;
    to.note("packet", this.now).addFingerprint(packet.fingerprint);
    // The reply to a chosen packet is chosen too.
    this.#isChosen = isChosen;
    this.run(to, () => to.node.receive(datagram, from.endpoint, this.now));
    this.#isChosen = false;
    this.#tick();
  }

  #lose(packet: Packet): void {
    this.log.push(`a packet from ${packet.from.number} to ${packet.to.number} is lost`);
    this.#spent.losses++;
    this.#flight.splice(this.#flight.indexOf(packet), 1);
  }

  async #endCommit(machine: Machine): Promise<void> {
    const { changes, end } = machine.commit!;
    machine.commit = undefined;
    machine.note("commit", this.now);
    machine.disk.apply(changes);
    this.#running = machine;
    this.#isChosen = true;
    end();
    // The queue calls back after a few promises have settled.
    for (let i = 0; i < 6; i++) await undefined;
    this.#isChosen = false;
    this.#running = undefined;
    this.run(machine, () => {});
  }

  /** Ends the oldest read of a machine. */
  #endRead(machine: Machine, input: "read" | "failed read" = "read"): void {
    const { target, end } = machine.reads.shift()!;
    machine.note(input, this.now);
    const result = input === "read" ? machine.disk.read(target) : "failed";
    this.#isChosen = true;
    this.run(machine, () => end(result));
    this.#isChosen = false;
  }

  #failRead(machine: Machine): void {
    this.log.push(`node ${machine.number} can't read from its disk`);
    this.#spent.failedReads++;
    this.#endRead(machine, "failed read");
  }

  /** The state of this world: two worlds with the same fingerprint go on in the same way. */
  #fingerprint(waiting: number): Fingerprint {
    const { losses, crashes, partitions, failedReads } = this.#spent;
    const state = new Fingerprint().addTime(this.now).add(waiting).add(losses).add(crashes)
      .add(partitions).add(failedReads).add(this.#isolated?.number ?? -1).add(this.problems.length);
    for (const { history } of this.#everyone) state.addFingerprint(history);
    for (const { fingerprint, arrivesAt } of this.#flight) {
      state.addFingerprint(fingerprint).addTime(arrivesAt);
    }
    return state;
  }

  get #nextDeadline(): Millis {
    let next = Infinity;
    for (const { isUp, node, restartAt } of this.machines) {
      next = Math.min(next, isUp ? node.nextDeadline : restartAt);
    }
    return next;
  }

  /** Lets time pass until the next deadline. */
  #advance(next = this.#nextDeadline): void {
    this.now = Math.max(this.now, next);
    this.#tick();
  }

  #tick(): void {
    for (const machine of this.machines) {
      if (!machine.isUp) {
        if (machine.restartAt <= this.now) this.#boot(machine);
      } else if (machine.node.nextDeadline <= this.now) {
        machine.note("tick", this.now);
        this.run(machine, () => machine.node.tick(this.now));
      }
    }
  }
}

const GET = [..."1:q3:get"].map((c) => c.charCodeAt(0));
const PUT = [..."1:q3:put"].map((c) => c.charCodeAt(0));

/** Whether a packet is a get or put query. */
function isAboutItems(datagram: Uint8Array): boolean {
  return contains(datagram, GET) || contains(datagram, PUT);
}

function contains(bytes: Uint8Array, part: readonly number[]): boolean {
  for (let i = bytes.indexOf(part[0]); i >= 0; i = bytes.indexOf(part[0], i + 1)) {
    if (part.every((byte, j) => bytes[i + j] === byte)) return true;
  }
  return false;
}

export function nameOf({ value, signed }: Item): string {
  const text = new TextDecoder().decode(value);
  return signed === undefined ? text : `${text} (seq ${signed.seq})`;
}
