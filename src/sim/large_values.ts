// Simulates large values: nodes store some, most nodes vanish at the same moment, and other nodes
// read some of them. The pieces that each node holds show which values survive the loss of these
// nodes, and of other sets of nodes.
//
// 200 values of 16 MiB would need 30 GB on the simulated nodes. Each value is therefore judged as
// soon as it is stored. Then the nodes drop the values that nobody will read.

import type { Millis } from "../dht/deadlines.ts";
import { Id, ID_BYTES, IdMap } from "../krpc/id.ts";
import type { Blobs, BlobWriter, Clock } from "../large_values/item_network.ts";
import { LargeValues } from "../large_values/large_values.ts";
import { Layout } from "../large_values/layout.ts";
import { decodeRoot } from "../large_values/manifest.ts";
import { TransferError } from "../large_values/transfers.ts";
import { dataCrypto } from "../runtime/identity/crypto.ts";
import { NetworkItems } from "../runtime/values/items.ts";
import { CLIENT } from "../version.ts";
import { SeededRandom } from "./random.ts";
import { type LinkOptions, type SimNode, World } from "./world.ts";

export interface LargeScenario extends LinkOptions {
  readonly nodes: number;
  readonly values: number;
  /** The size of each value in bytes. */
  readonly bytes: number;
  /**
   * The number of values that are read at the end, namely those that are stored last. Each value of
   * 16 MiB needs 150 MB of memory.
   */
  readonly reads: number;
  /** Share of nodes that vanish at the same moment, after all values are stored. */
  readonly kill: number;
  /**
   * The number of random sets of nodes whose loss is examined, each with the share `kill` of the
   * nodes. The nodes of the first set vanish.
   */
  readonly sets: number;
  readonly seed: number;
  readonly k: number;
  readonly alpha: number;
  readonly healthCheckIntervalMs: number;
}

export interface LargeResult {
  /**
   * For each set of lost nodes, how many values survive. A value survives if the other nodes hold
   * its root and, of each stripe, as many different correct pieces as the stripe has data pieces.
   */
  readonly intact: readonly number[];
  /** How many of the values that were read arrived with all their bytes. */
  readonly readIntact: number;
  /** For each value that could not be read, the reason. */
  readonly failures: readonly string[];
  /** The bytes of all items on all nodes, as a multiple of the values' bytes. */
  readonly multiple: number;
  /** The number of items, including all copies. */
  readonly items: number;
  /** The bytes of the items that the fullest node has received. */
  readonly fullestBytes: number;
  /** The lowest `replicas` that any store reported. */
  readonly replicas: number;
  /** The mean time of a store in virtual milliseconds. */
  readonly storeMs: number;
  /** The mean time of a read in virtual milliseconds. */
  readonly readMs: number;
}

/** `intact`: how many of the values stored so far survive the loss of the first set of nodes. */
export type LargeProgress = (
  progress: { phase: string; done: number; total: number; intact: number },
) => void;

const JOIN_MS = 60_000;

/** The time between the last join and the first store. Meanwhile, the routing tables settle. */
const CALM_MS = 120_000;

/** The number of bootstrap nodes, which never vanish. */
const BOOTSTRAP_NODES = 3;

/** The number of bytes of a value that are generated at a time. */
const PART_BYTES = 64 * 1024;

/**
 * Cap on the virtual time that passes before the simulation checks whether promises have settled.
 */
const STEP_MS = 1_000;

/**
 * The number of turns of the microtask queue before virtual time advances. In these turns, the code
 * that awaited a settled promise continues.
 */
const MICROTASKS = 40;

/** A store or read that has not ended after this time counts as failed. */
const LIMIT_MS = 3_600_000;

export async function runLargeScenario(
  scenario: LargeScenario,
  onProgress: LargeProgress = () => {},
): Promise<LargeResult> {
  const { nodes, values: count, bytes, reads, kill, sets: setCount, seed } = scenario;
  const random = new SeededRandom(seed);
  const network = new Network(scenario, random);
  const intact = Array.from({ length: setCount }, () => 0), layout = new Layout(bytes);
  const progress = (phase: string, done: number, total: number) =>
    onProgress({ phase, done, total, intact: intact[0] });
  progress("joining", 0, nodes);
  network.grow(nodes);
  const sets = intact.map(() => network.choose(kill));
  const toRead: { readonly root: Id; readonly seed: number }[] = [];
  let replicas = Infinity, storeMs = 0, readMs = 0;
  for (let i = 0; i < count; i++) {
    progress("storing", i, count);
    const startedAt = network.now, valueSeed = random.word();
    const { ids, tree } = await network.store(network.pick(), valueOf(valueSeed, bytes));
    replicas = Math.min(replicas, tree.replicas);
    storeMs += network.now - startedAt;
    const { target } = tree.root, value = network.holdersOf({ layout, root: target, ids });
    for (const [set, vanished] of sets.entries()) if (isIntact(value, vanished)) intact[set]++;
    if (i < count - reads) network.dropAll();
    else toRead.push({ root: target, seed: valueSeed });
  }
  const { itemBytes, items, fullestBytes } = network;
  network.vanish(sets[0]);
  const failures: string[] = [];
  for (const [i, { root, seed }] of toRead.entries()) {
    progress("reading", i, reads);
    const startedAt = network.now;
    const failure = await network.read(network.pick(), root, valueOf(seed, bytes));
    if (failure !== undefined) failures.push(failure);
    readMs += network.now - startedAt;
  }
  return {
    intact,
    readIntact: reads - failures.length,
    failures,
    multiple: itemBytes / (count * bytes),
    items,
    fullestBytes,
    replicas,
    storeMs: storeMs / count,
    readMs: readMs / reads,
  };
}

/** The nodes that hold a value. */
interface HeldValue {
  readonly layout: Layout;
  readonly root: readonly SimNode[];
  /** The holders of each piece, by the number of the piece. */
  readonly pieces: readonly (readonly SimNode[])[];
}

/** Whether the remaining nodes hold enough to restore a value after some nodes have vanished. */
function isIntact({ layout, root, pieces }: HeldValue, vanished: ReadonlySet<SimNode>): boolean {
  const isLeft = (holders: readonly SimNode[]) => holders.some((node) => !vanished.has(node));
  const countLeft = (first: number, count: number) => {
    let left = 0;
    for (let i = first; i < first + count; i++) if (isLeft(pieces[i])) left++;
    return left;
  };
  return isLeft(root) && layout.levels.every((level) => {
    for (let i = 0; i < level.stripes; i++) {
      const { columns, parity, firstData, firstParity } = level.stripe(i);
      if (countLeft(firstData, columns) + countLeft(firstParity, parity) < columns) return false;
    }
    return true;
  });
}

/** Yields random bytes, the same ones for the same seed. */
async function* valueOf(seed: number, bytes: number): AsyncGenerator<Uint8Array> {
  const random = new SeededRandom(seed, 2);
  for (let at = 0; at < bytes; at += PART_BYTES) {
    yield await Promise.resolve(random.bytes(Math.min(PART_BYTES, bytes - at)));
  }
}

/** A simulated network, and the promises of its operations. */
class Network {
  readonly #world: World;
  readonly #scenario: LargeScenario;
  readonly #random: SeededRandom;
  /** Whether an operation has ended. The code that waits for it should then run before virtual time advances. */
  #hasNews = false;
  readonly #droppedBytes = new Map<SimNode, number>();
  #droppedItems = 0;

  constructor(scenario: LargeScenario, random: SeededRandom) {
    this.#scenario = scenario;
    this.#random = random;
    this.#world = new World(scenario, scenario.seed);
  }

  get now(): Millis {
    return this.#world.now;
  }

  /** The bytes of all items on all nodes, including those that were dropped. */
  get itemBytes(): number {
    return this.#sum((node) => this.#bytesOf(node));
  }

  /** The number of all items, including those that were dropped. */
  get items(): number {
    return this.#droppedItems + this.#sum(({ items }) => items.count);
  }

  get fullestBytes(): number {
    return Math.max(...this.#world.nodes.map((node) => this.#bytesOf(node)));
  }

  #bytesOf(node: SimNode): number {
    return node.items.bytes + (this.#droppedBytes.get(node) ?? 0);
  }

  #sum(of: (node: SimNode) => number): number {
    return this.#world.nodes.reduce((sum, node) => sum + of(node), 0);
  }

  /** Makes all nodes drop the items that they hold. */
  dropAll(): void {
    this.#droppedItems = this.items;
    for (const node of this.#world.nodes) {
      this.#droppedBytes.set(node, this.#bytesOf(node));
      for (const { target } of [...node.items.entries()]) node.items.remove(target);
    }
  }

  grow(count: number): void {
    const world = this.#world, { k, alpha, healthCheckIntervalMs } = this.#scenario;
    for (let i = 0; i < count; i++) {
      world.at(JOIN_MS * i / count, () => {
        const through = world.nodes.slice(0, BOOTSTRAP_NODES).map(({ endpoint }) => endpoint);
        const sim = world.add({
          k,
          alpha,
          healthCheckIntervalMs,
          readOnly: false,
          client: CLIENT,
        });
        world.act(sim, (node, now) => node.membership.join(through, [], now));
      });
    }
    world.run(JOIN_MS + CALM_MS);
  }

  /** A random node. */
  pick(): SimNode {
    return this.#random.pick(this.#world.nodes);
  }

  /** Chooses random nodes, as many as `share` of all nodes, but no bootstrap nodes. */
  choose(share: number): Set<SimNode> {
    const { nodes } = this.#world, others = nodes.slice(BOOTSTRAP_NODES);
    const chosen = Array.from(
      { length: Math.round(share * nodes.length) },
      () => others.splice(this.#random.below(others.length), 1)[0],
    );
    return new Set(chosen);
  }

  /** Removes nodes without notice. */
  vanish(nodes: Iterable<SimNode>): void {
    for (const node of nodes) this.#world.depart(node);
  }

  /**
   * Finds the nodes that hold a value's items. Damaged items don't count: a node computes an item's
   * target from the item's bytes.
   */
  holdersOf(
    { layout, root, ids }: { readonly layout: Layout; readonly root: Id; readonly ids: Uint8Array },
  ): HeldValue {
    const holders = new IdMap<SimNode[]>(this.#random.word());
    const add = (target: Id): SimNode[] => {
      const nodes: SimNode[] = [];
      holders.set(target, nodes);
      return nodes;
    };
    const pieces = Array.from(
      { length: layout.pieces },
      (_, number) => add(Id.read(ids, number * ID_BYTES)),
    );
    const value = { layout, root: add(root), pieces };
    for (const node of this.#world.nodes) {
      for (const { target } of node.items.entries()) holders.get(target)?.push(node);
    }
    return value;
  }

  /** Stores a value, and also returns the ids of its pieces. */
  async store(sim: SimNode, bytes: AsyncIterable<Uint8Array>) {
    const blobs = new OneBlob();
    const tree = await this.#end(this.#valuesOf(sim, blobs).store(bytes));
    return { tree, ids: blobs.bytes.get(tree.blobs.ids)!.slice() };
  }

  /** Reads a value and compares it with `expected`. Returns the problem if there is one. */
  async read(
    sim: SimNode,
    target: Id,
    expected: AsyncIterable<Uint8Array>,
  ): Promise<string | undefined> {
    const items = this.#itemsOf(sim);
    const { item } = await this.#end(items.get(target));
    const root = item && decodeRoot(item.value);
    if (root === undefined) return `root ${target} was not found`;
    const values = this.#valuesOf(sim, new OneBlob());
    const check = async () => {
      const wanted = dataCrypto.sha256(), found = dataCrypto.sha256();
      for await (const part of expected) wanted.update(part);
      for await (const part of values.read(target, root, { start: 0, end: root.size })) {
        found.update(part);
      }
      const digest = found.digest();
      return wanted.digest().every((byte, i) => byte === digest[i]) ? undefined : "other bytes";
    };
    try {
      return await this.#end(check());
    } catch (error) {
      if (error instanceof TransferError) return error.message;
      throw error;
    }
  }

  #itemsOf(sim: SimNode): NetworkItems {
    const world = this.#world;
    return new NetworkItems({
      node: sim.node,
      clock: { now: () => world.now },
      ask: (start) =>
        new Promise((resolve) => {
          world.act(sim, (_, now) =>
            start(now, (result) => {
              this.#hasNews = true;
              resolve(result);
            }));
        }),
    });
  }

  #valuesOf(sim: SimNode, blobs: Blobs): LargeValues {
    const world = this.#world;
    const clock: Clock = {
      now: () => world.now,
      sleep: (ms) =>
        new Promise((resolve) => {
          world.at(world.now + ms, () => {
            this.#hasNews = true;
            resolve();
          });
        }),
    };
    return new LargeValues({
      network: this.#itemsOf(sim),
      blobs,
      crypto: dataCrypto,
      clock,
      onProgress: () => {},
      ownValue: () => undefined,
    });
  }

  /** Lets virtual time pass until a promise has settled. */
  async #end<T>(promise: Promise<T>): Promise<T> {
    const deadline = this.now + LIMIT_MS;
    let isSettled = false;
    const settle = () => void (isSettled = true);
    promise.then(settle, settle);
    for (;;) {
      for (let i = 0; i < MICROTASKS && !isSettled; i++) await Promise.resolve();
      if (isSettled) return await promise;
      if (this.now > deadline) throw new Error("an operation has not ended within an hour");
      this.#hasNews = false;
      this.#world.run(this.now + STEP_MS, () => this.#hasNews);
    }
  }
}

/** Blobs in memory, for one value at a time. */
class OneBlob implements Blobs {
  readonly bytes = new Map<number, Uint8Array>();
  #count = 0;

  create(): BlobWriter {
    const id = ++this.#count;
    let buffer = new Uint8Array(PART_BYTES), size = 0;
    return {
      id,
      append: (part) => {
        if (size + part.length > buffer.length) {
          const larger = new Uint8Array(2 * (size + part.length));
          larger.set(buffer.subarray(0, size));
          buffer = larger;
        }
        buffer.set(part, size);
        size += part.length;
        return Promise.resolve();
      },
      finish: () => Promise.resolve(void this.bytes.set(id, buffer.subarray(0, size))),
      abandon: () => this.remove(id),
    };
  }

  read(id: number, offset: number, length: number): Promise<Uint8Array> {
    return Promise.resolve(this.bytes.get(id)!.slice(offset, offset + length));
  }

  remove(id: number): void {
    this.bytes.delete(id);
  }
}
