// Simulates watched values: each value has one owner and one watcher. The run measures the queries at rest, and the
// time from a change to the watcher's event: first in a healthy network, then after many nodes have vanished.

import type { Millis } from "../dht/deadlines.ts";
import { newestHeld } from "../dht/items/held.ts";
import { bencodeBytes } from "../krpc/bencode.ts";
import { hex } from "../krpc/hex.ts";
import { Identity } from "../runtime/identity/crypto.ts";
import { sha1 } from "../runtime/identity/sha1.ts";
import { versionOf } from "../runtime/values/reader.ts";
import { isNewer, Watches } from "../runtime/values/watch.ts";
import { CLIENT } from "../version.ts";
import { distribution } from "./measures.ts";
import { drawNat } from "./nat.ts";
import { SeededRandom } from "./random.ts";
import type { Progress, ProgressListener } from "./scenario.ts";
import { SimValue } from "./values.ts";
import { type LinkOptions, type SimNode, World } from "./world.ts";

export interface WatchScenario extends LinkOptions {
  readonly nodes: number;
  /** Number of watched values. Each has one watcher, and the watchers are a tenth of the nodes. */
  readonly watch: number;
  /**
   * Share of the nodes other than watchers that run other software. Such nodes send no notices of new versions, and are
   * not asked to.
   */
  readonly foreign: number;
  /** Share of watchers behind a NAT. */
  readonly nat: number;
  /** Share of nodes that vanish at the same moment, before the second round of changes. Owners and watchers stay. */
  readonly kill: number;
  /** Virtual hours for which traffic is measured while no value changes; 0 means a quarter of an hour. */
  readonly hours: number;
  readonly seed: number;
  readonly k: number;
  readonly alpha: number;
  readonly healthCheckIntervalMs: number;
}

export type WatchResult = Awaited<ReturnType<typeof runWatchScenario>>;

const BOOTSTRAP_NODES = 3;

/** The share of nodes that watch values. */
const WATCHER_SHARE = 0.1;

const JOIN_MS = 60_000;

/** The time between the last join and the first store. Meanwhile, the routing tables settle. */
const CALM_MS = 120_000;

/**
 * The time from the start of the watches to the measurement at rest: longer than the longest interval between polls.
 */
const SETTLE_MS = 5 * 60_000;

const REST_MS = 15 * 60_000;

/** In the healthy network, each value changes this many times, with this time in between. */
const CHANGES = 2, CHANGE_INTERVAL_MS = 3 * 60_000;

/** The time over which the changes of one round are spread, and the time that watchers have to notice them. */
const ROUND_MS = 60_000, NOTICE_MS = 2 * 60_000;

const VALUE_BYTES = 100;

/** Length of the seed of an Ed25519 key pair (RFC 8032). */
const SEED_BYTES = 32;

/** The client of nodes with other software. */
const FOREIGN_CLIENT = 0x58580001;

/** Turns of the microtask queue before virtual time advances. In these turns, settled promises continue. */
const MICROTASKS = 20;

/** A change of a value, and when its watcher noticed it. */
interface Change {
  readonly putAt: Millis;
  /** The time when the owner received the acknowledgements; NaN before that. */
  ackAt: Millis;
  /** The time when the watcher received the new version; NaN before that. */
  heardAt: Millis;
}

interface Watched {
  readonly value: SimValue;
  readonly owner: SimNode;
  readonly watcher: SimNode;
  /** The changes so far. The change at index i creates the version with seq i + 2. */
  readonly changes: Change[];
}

export async function runWatchScenario(
  scenario: WatchScenario,
  progress: ProgressListener = () => {},
) {
  return await new WatchRun(scenario, progress).run();
}

class WatchRun {
  readonly #random: SeededRandom;
  readonly #world: World;
  readonly #watched: Watched[] = [];
  readonly #watches = new Map<SimNode, Watches>();
  #reads = 0;
  #readQueries = 0;
  /** Whether a promise has settled. The code that waits for it should then run before virtual time advances. */
  #hasNews = false;

  constructor(
    private readonly scenario: WatchScenario,
    private readonly progress: (progress: Progress) => void,
  ) {
    this.#random = new SeededRandom(scenario.seed);
    this.#world = new World(scenario, scenario.seed);
    this.#world.onEvent = (sim, event) => {
      if (event.type === "watch.version") {
        this.#noteVersion(sim, `${event.item.target}`, versionOf(event.item));
      } else if (event.type === "watch.read") {
        this.#watches.get(sim)?.noteNewer(`${event.target}`);
      } else if (event.type === "data.store" || event.type === "data.adopt") {
        this.#noteVersion(sim, `${event.item.target}`, versionOf(event.item));
      }
    };
  }

  async run() {
    const world = this.#world, { watch, kill, hours } = this.scenario;
    await this.#grow();
    await this.#start(watch);
    await this.#pass("settling", SETTLE_MS);
    const before = this.#counts();
    const restMs = hours > 0 ? hours * 3_600_000 : REST_MS;
    await this.#pass("at rest", restMs);
    const after = this.#counts();
    const perHour = (of: keyof typeof before) =>
      (after[of] - before[of]) / (watch * restMs / 3_600_000);
    const rest = {
      queries: perHour("readQueries") + perHour("renewals") + perHour("pings"),
      polls: perHour("reads"),
      renewals: perHour("renewals"),
      pings: perHour("pings"),
      subscriptions: after.subscriptions / watch,
      pushed:
        this.#watched.filter(({ watcher, value }) => watcher.node.watching.isPushed(value.target))
          .length / watch,
    };
    const healthy: Change[] = [], troubled: Change[] = [];
    for (let i = 0; i < CHANGES; i++) {
      healthy.push(...await this.#change("changing", CHANGE_INTERVAL_MS));
    }
    if (kill > 0) {
      this.#vanish(kill);
      troubled.push(...await this.#change("changing after the loss", NOTICE_MS));
    }
    await this.#pass("waiting", NOTICE_MS);
    const { sent, acknowledged, received, unknown, refused } = this.#counts();
    return {
      rest,
      healthy: measured(healthy),
      troubled: kill > 0 ? measured(troubled) : undefined,
      notices: { sent, acknowledged, received, unknown, refused },
      virtualMs: world.now,
      digest: this.#digest(),
    };
  }

  async #grow(): Promise<void> {
    const world = this.#world,
      { nodes, foreign, nat, k, alpha, healthCheckIntervalMs } = this.scenario;
    for (let i = 0; i < nodes; i++) {
      world.at(JOIN_MS * i / nodes, () => {
        const through = world.nodes.slice(0, BOOTSTRAP_NODES).map(({ endpoint }) => endpoint);
        // The watchers come last.
        const isWatcher = i >= nodes - this.#watchers;
        const isForeign = this.#random.fraction() < foreign && !isWatcher;
        const client = isForeign ? FOREIGN_CLIENT : CLIENT;
        const options = { client, k, alpha, healthCheckIntervalMs, readOnly: false };
        const isNat = this.#random.fraction() < nat && isWatcher, drawn = drawNat(this.#random);
        const sim = world.add(options, isNat ? { nat: drawn } : {});
        world.act(sim, (node, now) => node.membership.join(through, [], now));
      });
    }
    await this.#pass("joining", JOIN_MS + CALM_MS);
  }

  /** The number of nodes that watch values. */
  get #watchers(): number {
    return Math.ceil(this.scenario.nodes * WATCHER_SHARE);
  }

  /** Stores the values, and starts a watch of each. */
  async #start(count: number): Promise<void> {
    const world = this.#world;
    const watchers = world.nodes.slice(-this.#watchers),
      owners = world.nodes.slice(0, -this.#watchers);
    for (let i = 0; i < count; i++) {
      world.at(world.now + i * ROUND_MS / count, () => {
        const signer = new Identity(this.#random.bytes(SEED_BYTES));
        const value = new SimValue(this.#content(), signer);
        const owner = this.#random.pick(owners);
        this.#put({ value, owner }, () => {
          // A watcher that holds the value itself would learn each change from the put.
          const others = watchers.filter((sim) =>
            newestHeld(sim, value.target, world.now) === undefined
          );
          const watcher = this.#random.pick(others.length > 0 ? others : watchers);
          const watched: Watched = { value, owner, watcher, changes: [] };
          this.#watched.push(watched);
          this.#open(watched);
        });
      });
    }
    await this.#pass("storing", ROUND_MS + CALM_MS);
  }

  #content(): Uint8Array {
    return bencodeBytes(this.#random.bytes(VALUE_BYTES));
  }

  #put({ value, owner }: Pick<Watched, "value" | "owner">, done: () => void): void {
    const { item } = value, { target, signed } = item;
    const put = { target, salt: signed?.salt, isOwn: true, make: () => item };
    this.#world.act(owner, (node, now) =>
      node.items.put(put, now, ({ stored }, at) => {
        node.replicator.keepPublished({ item, replicas: stored.length }, at);
        done();
      }));
  }

  #open({ value, watcher }: Watched): void {
    const hash = `${value.target}`;
    if (!this.#watches.has(watcher)) this.#watches.set(watcher, this.#watchesOf(watcher));
    this.#watches.get(watcher)!.open(hash, null, null);
  }

  /** The code with which a real node watches values, on the virtual clock. */
  #watchesOf(sim: SimNode): Watches {
    const world = this.#world, { watching } = sim.node;
    const byHash = (hash: string) => this.#watched.find(({ value }) => `${value.target}` === hash)!;
    const settled = () => void (this.#hasNews = true);
    return new Watches({
      read: async (hash, _key, known) => {
        const { value: { target } } = byHash(hash);
        const { item, asked } = await new Promise<
          Parameters<Parameters<typeof sim.node.items.get>[2]>[0]
        >((resolve) =>
          world.act(sim, (node, now) =>
            node.items.get({ target }, now, (result) => {
              settled();
              resolve(result);
            }))
        );
        this.#reads++;
        this.#readQueries += asked.length;
        const version = item && versionOf(item);
        if (version === undefined || !isNewer(version, known)) return undefined;
        this.#noteHeard(sim, hash, version.seq);
        return version;
      },
      holders: {
        start: (hash) => watching.start(byHash(hash).value.target),
        stop: (hash) => watching.stop(byHash(hash).value.target),
        isPushed: (hash) => watching.isPushed(byHash(hash).value.target),
      },
      clock: {
        now: () => world.now,
        wall: (at) => at,
        sleep: (ms) =>
          new Promise((resolve) => {
            world.at(world.now + ms, () => {
              settled();
              resolve();
            });
          }),
      },
      random: () => this.#random.fraction(),
    });
  }

  #noteVersion(sim: SimNode, hash: string, version: ReturnType<typeof versionOf>): void {
    const watches = this.#watches.get(sim);
    if (!watches?.has(hash)) return;
    watches.noteVersion(hash, version);
    this.#noteHeard(sim, hash, version.seq);
  }

  #noteHeard(sim: SimNode, hash: string, seq: ReturnType<typeof versionOf>["seq"]): void {
    const watched = this.#watched.find(({ value, watcher }) =>
      watcher === sim && `${value.target}` === hash
    );
    for (let i = Number(seq) - 2; watched !== undefined && i >= 0; i--) {
      const change = watched.changes[i];
      if (!Number.isNaN(change.heardAt)) return;
      change.heardAt = this.#world.now;
    }
  }

  /** Changes each value once, and lets `ms` pass, but at least ROUND_MS. Returns the changes. */
  async #change(phase: string, ms: Millis): Promise<Change[]> {
    const world = this.#world, changes: Change[] = [];
    this.#watched.forEach((watched, i) => {
      world.at(world.now + i * ROUND_MS / this.#watched.length, () => {
        const change: Change = { putAt: world.now, ackAt: NaN, heardAt: NaN };
        changes.push(change);
        watched.changes.push(change);
        watched.value.renew(this.#content());
        this.#put(watched, () => change.ackAt = world.now);
      });
    });
    await this.#pass(phase, Math.max(ROUND_MS, ms));
    return changes;
  }

  /** Removes a share of the nodes without notice, but no bootstrap nodes, owners or watchers. */
  #vanish(share: number): void {
    const staying = new Set(this.#watched.flatMap(({ owner, watcher }) => [owner, watcher]));
    const nodes = this.#world.nodes.slice(BOOTSTRAP_NODES).filter((sim) => !staying.has(sim));
    const count = Math.min(nodes.length, Math.round(share * this.#world.nodes.length));
    for (let i = 0; i < count; i++) {
      this.#world.depart(nodes.splice(this.#random.below(nodes.length), 1)[0]);
    }
  }

  /** The totals of all nodes so far. */
  #counts() {
    const counts = {
      reads: this.#reads,
      readQueries: this.#readQueries,
      renewals: this.#world.totals().sent.get("dm_subscribe.query")?.messages ?? 0,
      pings: 0,
      subscriptions: 0,
      sent: 0,
      acknowledged: 0,
      received: 0,
      unknown: 0,
      refused: 0,
    };
    for (const { node: { watching, responder: { subscriptions } } } of this.#world.nodes) {
      counts.subscriptions += subscriptions.size;
      counts.pings += watching.counts.pings;
      counts.received += watching.counts.received;
      counts.unknown += watching.counts.unknown;
      counts.sent += subscriptions.counts.sent;
      counts.acknowledged += subscriptions.counts.acknowledged;
      counts.refused += subscriptions.counts.refused;
    }
    return counts;
  }

  /** A hash of the times of all changes. */
  #digest(): string {
    const lines = this.#watched.flatMap(({ value, changes }) =>
      changes.map(({ putAt, ackAt, heardAt }) => [value.target, putAt, ackAt, heardAt].join(" "))
    );
    return hex(sha1(new TextEncoder().encode(lines.join("\n"))));
  }

  /** Lets virtual time pass, and runs the continuations of promises in between. */
  async #pass(phase: string, ms: Millis): Promise<void> {
    const world = this.#world, startedAt = world.now, until = startedAt + ms;
    const report = () =>
      this.progress({ phase, done: world.now - startedAt, total: ms, now: world.now });
    for (let reportedAt = world.now; world.now < until || this.#hasNews;) {
      this.#hasNews = false;
      world.run(until, () => this.#hasNews);
      for (let i = 0; i < MICROTASKS; i++) await Promise.resolve();
      if (world.now - reportedAt < ms / 100) continue;
      reportedAt = world.now;
      report();
    }
    report();
  }
}

function measured(changes: readonly Change[]) {
  const heard = changes.filter(({ heardAt }) => !Number.isNaN(heardAt));
  const over = (from: "putAt" | "ackAt") =>
    distribution(heard.map((change) => change.heardAt - change[from]));
  return {
    count: changes.length,
    heard: heard.length,
    /** Statistics of the time in milliseconds from the start of a put to the watcher's event. */
    afterPut: over("putAt"),
    /**
     * Statistics of the time in milliseconds from the end of a put to the watcher's event. A time is negative if the
     * event came first.
     */
    afterAck: over("ackAt"),
  };
}
