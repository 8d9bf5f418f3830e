// Simulates large values: nodes store some, most nodes vanish at the same moment, and other nodes read them. Before the
// nodes vanish, the pieces that each node holds show whether the values would survive the loss of other sets of nodes.

import type { Millis } from "../dht/deadlines.ts";
import { immutableItem } from "../dht/items/item.ts";
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
  /** Share of nodes that vanish at the same moment, after all values are stored. */
  readonly kill: number;
  /**
   * The number of further random sets of nodes of the same size. For each set and each value, the
   * simulation computes whether the value would survive the loss of the set.
   */
  readonly sets: number;
  readonly seed: number;
  readonly k: number;
  readonly alpha: number;
  readonly healthCheckIntervalMs: number;
}

export interface LargeResult {
  /**
   * In how many of `sets` times `values` cases the value would survive the loss of the set. A value
   * survives if the other nodes hold its root and, for each stripe, as many different correct
   * pieces as the stripe has data pieces.
   */
  readonly judgedIntact: number;
  /** How many values could be read, byte for byte, after nodes had vanished. */
  readonly readIntact: number;
  /** Why each of the other values could not be read. */
  readonly failures: readonly string[];
  /** The bytes of all items on all nodes before nodes vanished, as a multiple of the values' bytes. */
  readonly multiple: number;
  /** The number of items, including all copies. */
  readonly items: number;
  /** The lowest `replicas` that a store reported. */
  readonly replicas: number;
  /** The mean time of a store and of a read, in virtual milliseconds. */
  readonly storeMs: number;
  readonly readMs: number;
}

export type LargeProgress = (phase: string, done: number, total: number) => void;

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

/** The number of rounds in which promises may wait for each other before virtual time advances. */
const MICROTASKS = 40;

/** Each store or read that has not ended after this time has failed. */
const LIMIT_MS = 3_600_000;

export async function runLargeScenario(
  scenario: LargeScenario,
  progress: LargeProgress = () => {},
): Promise<LargeResult> {
  const { nodes, values: count, bytes, kill, sets, seed } = scenario;
  const random = new SeededRandom(seed);
  const network = new Network(scenario, random);
  progress("joining", 0, nodes);
  network.grow(nodes);
  const stored: { root: Id; ids: Uint8Array; seed: number }[] = [];
  let replicas = Infinity, storeMs = 0, readMs = 0;
  for (let i = 0; i < count; i++) {
    progress("storing", i, count);
    const startedAt = network.now, valueSeed = random.word();
    const { ids, tree } = await network.store(network.pick(), valueOf(valueSeed, bytes));
    replicas = Math.min(replicas, tree.replicas);
    storeMs += network.now - startedAt;
    stored.push({ root: tree.root.target, ids, seed: valueSeed });
  }
  const { itemBytes, items } = network, holders = network.holders();
  const held = stored.map(({ root, ids }): HeldValue => ({
    layout: new Layout(bytes),
    root: holders.get(root) ?? [],
    pieces: Array.from(
      { length: ids.length / ID_BYTES },
      (_, number) => holders.get(Id.read(ids, number * ID_BYTES)) ?? [],
    ),
  }));
  let judgedIntact = 0;
  for (let i = 0; i < sets; i++) {
    progress("judging", i, sets);
    const vanished = network.choose(kill);
    judgedIntact += held.filter((value) => isIntact(value, vanished)).length;
  }
  network.vanish(kill);
  const failures: string[] = [];
  for (const [i, { root, seed }] of stored.entries()) {
    progress("reading", i, count);
    const startedAt = network.now;
    const failure = await network.read(network.pick(), root, valueOf(seed, bytes));
    if (failure !== undefined) failures.push(failure);
    readMs += network.now - startedAt;
  }
  return {
    judgedIntact,
    readIntact: count - failures.length,
    failures,
    multiple: itemBytes / (count * bytes),
    items,
    replicas,
    storeMs: storeMs / count,
    readMs: readMs / count,
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
  const countLeft = (first: number, count: number) =>
    pieces.slice(first, first + count).filter(isLeft).length;
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
  /** Whether an operation has ended, so that other code should run before virtual time advances. */
  #hasNews = false;

  constructor(scenario: LargeScenario, random: SeededRandom) {
    this.#scenario = scenario;
    this.#random = random;
    this.#world = new World(scenario, scenario.seed);
  }

  get now(): Millis {
    return this.#world.now;
  }

  /** The bytes of the values of all items on all nodes. */
  get itemBytes(): number {
    return this.#world.nodes.reduce((sum, { items }) => sum + items.bytes, 0);
  }

  get items(): number {
    return this.#world.nodes.reduce((sum, { items }) => sum + items.count, 0);
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

  /** Chooses a share of all nodes at random. */
  choose(share: number): Set<SimNode> {
    const { nodes } = this.#world, others = nodes.slice(BOOTSTRAP_NODES);
    const chosen = Array.from(
      { length: Math.round(share * nodes.length) },
      () => others.splice(this.#random.below(others.length), 1)[0],
    );
    return new Set(chosen);
  }

  /** Removes a share of all nodes without notice. */
  vanish(share: number): void {
    for (const node of this.choose(share)) this.#world.depart(node);
  }

  /** The nodes that hold each immutable item. Leaves out items whose bytes don't have the hash that they should. */
  holders(): IdMap<SimNode[]> {
    const holders = new IdMap<SimNode[]>(this.#random.word());
    for (const node of this.#world.nodes) {
      for (const { target, value } of node.items.entries()) {
        if (!immutableItem(dataCrypto, value).target.equals(target)) continue;
        const known = holders.get(target);
        if (known === undefined) holders.set(target, [node]);
        else known.push(node);
      }
    }
    return holders;
  }

  /** Stores a value, and also returns the ids of its pieces. */
  async store(sim: SimNode, bytes: AsyncIterable<Uint8Array>) {
    const blobs = new OneBlob();
    const tree = await this.#end(this.#valuesOf(sim, blobs).store(bytes));
    return { tree, ids: blobs.bytes.get(tree.blobs.ids)!.slice() };
  }

  /** Reads a value. Returns the problem if the value is not `expected`. */
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
