// Stores, publishes, fetches, counts and watches the values of a node.

import { type Item, mutableTarget, sameBytes } from "../../dht/items/item.ts";
import type { PublishedStore } from "../../dht/items/published.ts";
import type { Watching } from "../../dht/serving/watching.ts";
import type { Blobs } from "../../large_values/item_network.ts";
import { LargeValues } from "../../large_values/large_values.ts";
import { isMarked } from "../../large_values/manifest.ts";
import { OwnPieces } from "../../large_values/own_pieces.ts";
import { Republisher } from "../../large_values/republisher.ts";
import { hex } from "../../krpc/hex.ts";
import { Id } from "../../krpc/id.ts";
import { decodePointer, encodePointer, type Magnet, magnetText } from "../../krpc/magnet.ts";
import type {
  FetchOutcome,
  MagnetOutcome,
  MagnetRequest,
  PublishedFilter,
  ReplicasOutcome,
  ResolveOutcome,
  StoreOutcome,
} from "../../node_service.ts";
import type { ServiceEvent } from "../../reports/events.ts";
import type {
  Holders,
  Pins as PinsReport,
  Published,
  PublishedDetail,
  PublishedValue,
  Transfer,
} from "../../reports/values.ts";
import type { Records } from "../records.ts";
import { clock } from "../clock.ts";
import type { CoreRunner } from "../core_runner.ts";
import { dataCrypto, type Identity, itemCrypto, randomId } from "../identity/crypto.ts";
import { NetworkItems } from "./items.ts";
import { PublicationLog } from "./publication_log.ts";
import { Publications } from "./publications.ts";
import { Pins } from "./pins.ts";
import { ValueReader, versionOf } from "./reader.ts";
import { ReplicaCounter } from "./replicas.ts";
import { Watches } from "./watch.ts";
import { ValueWriter } from "./writer.ts";

/** Maximum number of values in the list of holders. */
const MAX_HOLDERS_LISTED = 10_000;

/**
 * A published value has too few copies if less than this share of the nodes that should hold it
 * have acknowledged it.
 */
const ENOUGH_SHARE = 0.8;

export interface ValuesOptions {
  readonly core: CoreRunner;
  /** The key pair that signs the values stored under a key. */
  readonly identity: Identity;
  /** The number of nodes that should hold a value. */
  readonly bucketSize: number;
  /** Maximum size in bytes of a value that can be pinned. */
  readonly maxValueSize: number;
  /** The items that are kept published, including those of earlier runs. */
  readonly published: PublishedStore;
  /** The bytes of the large values that are kept published. */
  readonly blobs: Blobs;
  /** Keeps the past of the published values. */
  readonly records: Records;
  /** Receives the events of stores and fetches, and the progress of large values. */
  tell(event: ServiceEvent): void;
}

export class Values {
  readonly #tell: ValuesOptions["tell"];
  readonly #core: CoreRunner;
  readonly #bucketSize: number;
  readonly #log: PublicationLog;
  readonly #published: PublishedStore;
  readonly #publicKey: Uint8Array;
  readonly #items: NetworkItems;
  readonly #watching: Watching;
  readonly publications: Publications;
  readonly watches: Watches;
  readonly #largeValues: LargeValues;
  readonly #republisher: Republisher;
  readonly reader: ValueReader;
  readonly #writer: ValueWriter;
  readonly #counter: ReplicaCounter;
  readonly pins: Pins;

  constructor(
    { core, identity, bucketSize, maxValueSize, published, blobs, records, tell }: ValuesOptions,
  ) {
    this.#tell = tell;
    this.#core = core;
    this.#bucketSize = bucketSize;
    this.#log = new PublicationLog(records);
    this.#published = published;
    const items = this.#items = new NetworkItems(core);
    const pieces = new OwnPieces({ blobs, crypto: dataCrypto });
    const largeValues = this.#largeValues = new LargeValues({
      network: items,
      blobs,
      crypto: dataCrypto,
      clock,
      onProgress: (data) => tell({ type: "data.progress", data }),
      ownValue: (root) => pieces.get(root)?.value,
    });
    const publications = this.publications = new Publications({
      store: published,
      pieces,
      save: items.keepPublished.bind(items),
      discard: largeValues.discard.bind(largeValues),
      seed: randomId().a,
      clock: core.clock,
      enough: () => ENOUGH_SHARE * Math.min(bucketSize, core.node.tables.size + 1),
    });
    published.pieces = {
      mayHave: (target) => pieces.mayHave(target),
      read: async (target, done) => {
        const item = await pieces.read(target);
        core.do((putAt) => done(item && { item, putAt }));
      },
    };
    this.#republisher = new Republisher({
      network: items,
      own: pieces,
      crypto: itemCrypto,
      clock,
      random: Math.random,
      position: (root) => published.get(root)?.large?.next ?? 0,
      savePosition: (root, next) => {
        const value = published.get(root);
        if (value?.large !== undefined) {
          published.save({ ...value, large: { ...value.large, next } });
        }
      },
      lifeMs: (root) => published.get(root)?.lifeMs,
    });
    this.reader = new ValueReader(items, largeValues);
    const onStored = (item: Item) => this.noteVersion(item);
    const parts = { items, largeValues, publications };
    const wall = () => core.clock.wall(core.clock.now());
    this.#writer = new ValueWriter({ ...parts, identity, bucketSize, onStored, wall });
    const publicKey = this.#publicKey = identity.publicKey;
    const sync = () => this.#sync(), now = () => core.clock.now();
    this.pins = new Pins({ ...parts, publicKey, maxValueSize, now, sync });
    this.#counter = new ReplicaCounter({ items, largeValues, bucketSize });
    this.#watching = core.node.watching;
    this.watches = new Watches({
      read: (...version) => this.reader.readVersion(...version),
      holders: {
        start: (hash) => core.node.watching.start(Id.from(hash)),
        stop: (hash) => core.do(() => core.node.watching.stop(Id.from(hash))),
        isPushed: (hash) => core.node.watching.isPushed(Id.from(hash)),
      },
      clock: core.clock,
      random: Math.random,
    });
  }

  /** Ends watches and transfers, and stops retrying puts. */
  close(): void {
    this.#items.close();
    this.watches.close();
    this.#republisher.close();
    this.#largeValues.close();
  }

  /** Stores a value. A stream is read as fast as the network accepts its bytes. Rejects if the stream fails. */
  async store(...given: Parameters<ValueWriter["store"]>): Promise<StoreOutcome> {
    return this.#report(await this.#writer.store(...given));
  }

  async storeSigned(...given: Parameters<ValueWriter["storeSigned"]>): Promise<StoreOutcome> {
    return this.#report(await this.#writer.storeSigned(...given));
  }

  #report(outcome: StoreOutcome): StoreOutcome {
    if (outcome.outcome === "stored") {
      const { nodes: _nodes, elapsed_ms: _elapsed, ...data } = outcome.report;
      this.#tell({ type: "data.publish", data });
    }
    return outcome;
  }

  async publishMagnet({ infoHash, key, ...options }: MagnetRequest): Promise<MagnetOutcome> {
    const pointer = encodePointer(Id.from(infoHash));
    const outcome = this.#report(await this.#writer.storeBencoded(pointer, key, options));
    if (outcome.outcome !== "stored") return outcome;
    const salt = new TextEncoder().encode(key);
    const magnet = magnetText({ publicKey: this.#publicKey, salt });
    return { outcome: "published", report: { ...outcome.report, magnet, info_hash: infoHash } };
  }

  async resolveMagnet(magnet: Magnet): Promise<ResolveOutcome> {
    const { publicKey, salt } = magnet;
    const target = mutableTarget(itemCrypto, publicKey, salt), hash = `${target}`;
    const { item } = await this.#items.get(target, salt);
    if (item?.signed === undefined) return { outcome: "not_found" };
    const infoHash = decodePointer(item.value);
    if (infoHash === undefined) return { outcome: "invalid", hash };
    const report = {
      magnet: magnetText(magnet),
      info_hash: `${infoHash}`,
      torrent: `magnet:?xt=urn:btih:${infoHash}`,
      hash,
      public_key: hex(publicKey),
      salt: salt.length === 0 ? null : hex(salt),
      seq: item.signed.seq,
    };
    return { outcome: "found", report };
  }

  async fetch(hash: string, key: string | null): Promise<FetchOutcome> {
    const startedAt = clock.now();
    const outcome = await this.reader.fetch(hash, key);
    const value = outcome.outcome === "found"
      ? { kind: outcome.value.kind, size: outcome.value.bytes.length }
      : outcome.outcome === "large"
      ? { kind: "chunked" as const, size: outcome.value.size }
      : { kind: null, size: null };
    const found = value.kind !== null, elapsed_ms = clock.now() - startedAt;
    this.#tell({ type: "data.fetch", data: { hash, ...value, found, elapsed_ms } });
    return outcome;
  }

  published(offset: number, limit: number, filter: PublishedFilter = {}): Published {
    const { text = "", isAtRisk = false } = filter;
    if (text !== "" || isAtRisk) {
      return { offset, ...this.publications.search(filter, offset, limit) };
    }
    const { count: total } = this.publications;
    return { total, offset, published: this.publications.list(offset, limit) };
  }

  /** Describes a published value and its past. Undefined if this node does not publish it. */
  publishedValue(hash: string): PublishedDetail | undefined {
    const target = Id.from(hash), value = this.publications.get(target);
    if (value === undefined) return undefined;
    this.followPublications();
    const holders = this.#holdersOf(target), history = this.#log.of(hash);
    return { ...value, wanted: this.#wanted, holders, history };
  }

  /** Lists the nodes that acknowledged each published value. */
  holders(): Holders {
    const listed = this.publications.list(0, MAX_HOLDERS_LISTED);
    const values = listed.map(({ hash, key, kind }) => {
      return { hash, key, kind, holders: this.#holdersOf(Id.from(hash)) };
    });
    return { wanted: this.#wanted, values };
  }

  /**
   * The number of copies that a value should have: K_BUCKET_SIZE, or fewer if the network has fewer
   * nodes.
   */
  get #wanted(): number {
    return Math.min(this.#bucketSize, this.#core.node.tables.size + 1);
  }

  #holdersOf(target: Id): string[] {
    const words = this.#core.node.holdersOf(target) ?? [];
    return words.map((word) => (word >>> 0).toString(16).padStart(8, "0"));
  }

  /** Adds the publications since the last call to the log of publications. */
  followPublications(): void {
    const { clock } = this.#core;
    this.#log.follow(this.publications.states(), clock.wall(clock.now()));
  }

  /** Counts the copies of a value on the network. */
  async countReplicas(hash: string, key: string | null): Promise<ReplicasOutcome> {
    const outcome = await this.#counter.count(hash, key), { clock } = this.#core;
    if (outcome.outcome === "found") {
      this.followPublications();
      this.#log.noteCount(hash, outcome.report.count, clock.wall(clock.now()));
    }
    return outcome;
  }

  /**
   * Republishes a value now, ahead of schedule. Returns the value's description, or undefined if this node does not
   * publish the value.
   */
  publishNow(hash: string): PublishedValue | undefined {
    const target = Id.from(hash), targets = this.publications.targetsOf(target);
    if (targets.length === 0) return undefined;
    this.#core.do((at) => this.#core.node.replicator.publishNow(targets, at));
    for (const each of targets) {
      if (this.publications.contentOf(each) !== undefined) this.#republisher.hurry(each);
    }
    return this.publications.get(target);
  }

  async forget(hash: string): Promise<boolean> {
    const target = Id.from(hash), signed = this.publications.itemOf(target)?.signed;
    if (!this.publications.forget(target)) return false;
    // This node may also hold a version of its own value as a holder for the network. Drop this copy too.
    const isOwn = signed !== undefined && sameBytes(signed.publicKey, this.#publicKey);
    if (isOwn && !this.publications.has(target)) this.#items.drop(target);
    if (!await this.#sync()) {
      throw new Error(`${hash} is no longer published, but the disk can't save that yet`);
    }
    return true;
  }

  #sync(): Promise<boolean> {
    return new Promise((resolve) => this.#published.sync(resolve));
  }

  listPins(offset: number, limit: number): PinsReport {
    const { pinned: total } = this.publications.counts;
    return { total, offset, pins: this.publications.listPins(offset, limit) };
  }

  transfers(): Transfer[] {
    return this.#largeValues.progress();
  }

  /** Tells the watches about a version that this node has put, has stored for a peer, or was notified of. */
  noteVersion(item: Item): void {
    if (this.watches.size === 0) return;
    const hash = `${item.target}`;
    if (!this.watches.has(hash)) return;
    this.#watching.noteVersion(item);
    // Poll early if the item belongs to a large value: only a poll finds out the value's size.
    if (isMarked(item.value)) this.watches.noteNewer(hash);
    else this.watches.noteVersion(hash, versionOf(item));
  }
}
