// The operations of a simulation: puts, lookups, fetches, and pings of nodes behind NATs, each by a random node.

import type { Millis } from "../dht/deadlines.ts";
import { newestHeld } from "../dht/items/held.ts";
import { sameBytes } from "../dht/items/item.ts";
import type { Way } from "../dht/nat/reaching.ts";
import type { FindResult } from "../dht/search/searches.ts";
import { hex } from "../krpc/hex.ts";
import { compareDistance, Id, ID_BYTES } from "../krpc/id.ts";
import { sha1 } from "../runtime/identity/sha1.ts";
import type { Sample, StoreSample } from "./measures.ts";
import type { SeededRandom } from "./random.ts";
import type { SimValue } from "./values.ts";
import type { SimNode, World } from "./world.ts";

export type Outcome = Omit<Sample, "at">;

/** A store's time is measured until the number of nodes that have acknowledged the value is this share of k. */
const ENOUGH_SHARE = 3 / 4;

/** The result of pinging a node behind a NAT. */
export interface Reached {
  readonly asker: SimNode;
  readonly target: SimNode;
  /** How the ping got through; undefined if there was no answer. */
  readonly way: Way | undefined;
  readonly elapsed: number;
}

/** The maximum number of attempts to pick a suitable node at random. */
const MAX_DRAWS = 1_000;

export class Operations {
  /** The operations in progress. If the node that runs one departs, the operation starts again on another node. */
  readonly #running = new Set<{ readonly asker: SimNode; restart(): void }>();
  /** The values that each node has fetched, and may therefore have cached. */
  readonly #fetched = new Map<SimNode, Set<SimValue>>();
  #digest: Uint8Array = new Uint8Array(20);

  constructor(private readonly world: World, private readonly random: SeededRandom) {}

  /** A hash of the outcomes of all operations, in the order in which they ended. */
  get digest(): string {
    return hex(this.#digest);
  }

  /** Restarts, on other nodes, the operations of a node that has departed. */
  abandon(sim: SimNode): void {
    this.#fetched.delete(sim);
    for (const operation of [...this.#running]) {
      if (operation.asker !== sim) continue;
      this.#running.delete(operation);
      operation.restart();
    }
  }

  store(value: SimValue, done: (sample: StoreSample) => void): void {
    this.#run(() => this.#asker(), (sim, ended) => this.put(sim, value, ended), done);
  }

  /** Puts the newest version of a value. The node then keeps the value published, as a real node does. */
  put(sim: SimNode, value: SimValue, done: (sample: StoreSample) => void): void {
    const { item } = value, { target } = item;
    value.owner = sim;
    this.world.act(sim, (node, now) => {
      const enough = Math.ceil(ENOUGH_SHARE * node.tables.k);
      let enoughMs = NaN;
      const onAcknowledged = (count: number, at: Millis) => {
        if (count === enough) enoughMs = at - now;
      };
      // Only an immutable value can be sent before the network's newest version is known.
      const given = item.signed === undefined ? item : undefined;
      const put = {
        target,
        salt: item.signed?.salt,
        isOwn: true,
        item: given,
        make: () => item,
        onAcknowledged,
      };
      node.items.put(put, now, (result, at) => {
        const { stored, asked } = result;
        node.replicator.keepPublished({ item, replicas: stored.length }, at);
        this.#foldResult(["put", target, stored.length], result, stored);
        done({ replicas: stored.length, queries: asked.length, enoughMs, elapsed: at - now });
      });
    });
  }

  lookup(done: (outcome: Outcome) => void): void {
    const start = (sim: SimNode, ended: (outcome: Outcome) => void) => {
      const target = Id.read(this.random.bytes(ID_BYTES));
      this.world.act(sim, (node, now) =>
        node.find(target, now, (result) => {
          const [nearest] = result.closest;
          const found = nearest !== undefined &&
            this.#isClosest(nearest.id, { target, asker: sim, startedAt: now });
          ended(this.#outcome(["find", target, found], result, sim));
        }));
    };
    this.#run(() => this.#asker(), start, done);
  }

  /** Whether a lookup has found the closest of the honest, reachable nodes that were up during the whole lookup. */
  #isClosest(
    id: Id,
    { target, asker, startedAt }: {
      readonly target: Id;
      readonly asker: SimNode;
      readonly startedAt: Millis;
    },
  ): boolean {
    for (const sim of this.world.nodes) {
      if (compareDistance(sim.node.id, id, target) >= 0 || sim === asker) continue;
      const isThere = sim.state === "up" && sim.side === asker.side && sim.joinedAt <= startedAt;
      if (isThere && isReachable(sim)) return false;
    }
    return true;
  }

  /**
   * Makes a random node fetch a value. The node neither holds the value nor has fetched it before.
   */
  fetch(value: SimValue, done: (outcome: Outcome) => void, onNoAsker: () => void): void {
    const { target } = value;
    const draw = () => {
      for (let i = 0; i < MAX_DRAWS; i++) {
        const asker = this.#asker();
        const holds = newestHeld(asker, target, this.world.now) !== undefined;
        if (!holds && !this.#fetched.get(asker)?.has(value)) return asker;
      }
      return undefined;
    };
    const start = (sim: SimNode, ended: (outcome: Outcome) => void) => {
      if (!this.#fetched.has(sim)) this.#fetched.set(sim, new Set());
      this.#fetched.get(sim)!.add(value);
      const { item } = value;
      this.world.act(
        sim,
        (node, now) =>
          node.items.get({ target, salt: item.signed?.salt }, now, (result) => {
            const found = result.item !== undefined && sameBytes(result.item.value, item.value);
            ended(this.#outcome(["get", target, found], result, sim));
          }),
      );
    };
    this.#run(draw, start, done, onNoAsker);
  }

  /** Makes a random node ping `target`, which is behind a NAT. */
  reach(target: SimNode, done: (reached: Reached) => void): void {
    const world = this.world, startedAt = world.now;
    const draw = () => {
      const asker = this.#asker();
      return asker === target ? world.nodes[0] : asker;
    };
    const start = (asker: SimNode, ended: (reached: Reached) => void) =>
      world.act(
        asker,
        (node, now) =>
          node.hidden.cross().reaching.reach(target.node.id, now, (result, at) => {
            const way = result.kind === "reached" ? result.way : undefined;
            ended({ asker, target, way, elapsed: at - startedAt });
          }),
      );
    this.#run(draw, start, (reached: Reached) => {
      const { way, elapsed } = reached;
      this.fold(["reach", target.node.id, way, elapsed].join(" "));
      done(reached);
    });
  }

  fold(line: string): void {
    this.#digest = sha1(new TextEncoder().encode(`${this.digest} ${line}`));
  }

  /** Runs an operation at the node that `draw` returns. If that node departs, draws another node and starts over. */
  #run<T>(
    draw: () => SimNode | undefined,
    start: (asker: SimNode, ended: (outcome: T) => void) => void,
    done: (outcome: T) => void,
    onNoAsker: () => void = () => {},
  ): void {
    const asker = draw();
    if (asker === undefined) return onNoAsker();
    const operation = { asker, restart: () => this.#run(draw, start, done, onNoAsker) };
    this.#running.add(operation);
    start(asker, (outcome) => {
      if (this.#running.delete(operation)) done(outcome);
    });
  }

  /**
   * Picks a random honest node that is up and has joined. If none is found, returns the first node,
   * which is always suitable.
   */
  #asker(): SimNode {
    for (let i = 0; i < MAX_DRAWS; i++) {
      const sim = this.random.pick(this.world.nodes);
      const isIn = sim.state === "up" && sim.joinedAt <= this.world.now;
      if (isIn && sim.traits.impostor === undefined) return sim;
    }
    return this.world.nodes[0];
  }

  #outcome(
    operation: [kind: string, target: Id, found: boolean],
    result: FindResult,
    asker: SimNode,
  ): Outcome {
    this.#foldResult(operation, result, result.closest.map(({ id }) => id));
    const { hops, asked, elapsed } = result;
    const { extraDelayMs = 0, extraLoss = 0 } = asker.traits;
    const isAskerFlaky = extraDelayMs > 0 || extraLoss > 0;
    return { found: operation[2], hops, queries: asked.length, elapsed, isAskerFlaky };
  }

  #foldResult(
    operation: readonly unknown[],
    { hops, asked, elapsed }: FindResult,
    ids: readonly Id[],
  ): void {
    this.fold([...operation, hops, asked.length, elapsed, ...ids].join(" "));
  }
}

/**
 * Whether the node is honest and strangers can reach it. A node behind a full cone NAT must already
 * know that strangers can reach it.
 */
export function isReachable({ traits: { nat, impostor }, node }: SimNode): boolean {
  if (impostor !== undefined) return false;
  return nat === undefined || (nat.kind === "full_cone" && !node.self.isReadOnly(4));
}
