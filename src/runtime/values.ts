// The values of a node: stored, kept published, fetched, counted and watched, whatever their size and kind.

import type { Logger } from "logtape";
import type { Clock, ItemBatch, ItemNetwork } from "../data/item_network.ts";
import {
  LargeValues,
  type Progress,
  type StoredTree,
  wholeOrStream,
} from "../data/large_values.ts";
import {
  decodeReference,
  decodeRoot,
  encodeReference,
  isMarked,
  type Root,
} from "../data/manifest.ts";
import { TransferError } from "../data/transfers.ts";
import type { Batch } from "../dht/batch.ts";
import type { Millis } from "../dht/deadlines.ts";
import {
  immutableItem,
  isItemError,
  type Item,
  type ItemError,
  MAX_SALT_BYTES,
  MAX_VALUE_BYTES,
  mutableItem,
  mutableTarget,
  refusal,
  signedBytes,
} from "../dht/item.ts";
import type { DhtNode, GetResult, PutResult, ReplicasResult } from "../dht/node.ts";
import type { PublishedStore } from "../dht/published.ts";
import { bencodeBytes, byteStringContent, isCanonical } from "../krpc/bencode.ts";
import type { Id } from "../krpc/id.ts";
import { ErrorCode } from "../krpc/message.ts";
import { dataCrypto, type Identity, itemCrypto } from "./crypto.ts";
import type { ServiceEvent } from "./events.ts";
import { hex, parseId } from "./hex.ts";
import { Publications, type StoredPart } from "./publications.ts";
import { hasMajority, isRival, putOften, summaryOf } from "./puts.ts";
import type {
  FetchOutcome,
  LargeValue,
  NodeService,
  PublishedValue,
  ReplicasOutcome,
  ReplicasReport,
  SignedItem,
  StoreOptions,
  StoreOutcome,
} from "./service.ts";
import { survey } from "./survey.ts";
import { type Version, type Watch, Watches } from "./watch.ts";

/** A put under a key on which holders have another version of the same number is tried with so many numbers. */
const PUT_ROUNDS = 8;

/** Large values whose copies are counted at a time: each is hundreds of lookups. */
const MAX_SURVEYS = 2;

/** Why a store came to nothing. */
type Failed = Exclude<StoreOutcome, { outcome: "stored" }>;

/** The part of `NodeService` that is about values. */
type ValueService = Pick<
  NodeService,
  | "store"
  | "storeSigned"
  | "published"
  | "forget"
  | "fetch"
  | "replicas"
  | "watch"
  | "transfers"
  | "onProgress"
>;

/** What values need of the node. */
export interface ValuesOptions {
  /** Its operations are started by `ask` alone: it sees to the deadlines that they set. */
  readonly core: Pick<
    DhtNode,
    "id" | "batch" | "get" | "put" | "putPart" | "replicas" | "keepPublished"
  >;
  /** Starts an operation of the core, and resolves with its result. */
  ask<T>(start: (at: Millis, done: (result: T) => void) => void): Promise<T>;
  /** Signs what is stored under a key. */
  readonly identity: Identity;
  /** How many nodes a value belongs on. */
  readonly bucketSize: number;
  /** The items that are kept published, those of an earlier run among them. */
  readonly published: PublishedStore;
  /** Any 32-bit integer that strangers don't know. */
  readonly seed: number;
  /** Its `now` is milliseconds since 1970. */
  readonly clock: Clock;
  readonly log: Logger;
  /** Stores, fetches and the progress of large values are told. */
  tell(event: ServiceEvent): void;
}

/** Values of one node, as `NodeService` describes them. To large values it is the network that they are moved on. */
export class Values implements ValueService, ItemNetwork {
  readonly #options: ValuesOptions;
  readonly #core: ValuesOptions["core"];
  readonly #clock: Clock;
  readonly #publications: Publications;
  readonly #watches: Watches;
  readonly #largeValues: LargeValues;
  readonly #progressListeners = new Set<(progress: Progress) => void>();
  /** Highest seq that was signed here, by target: two stores under one key at once must not share a seq. */
  readonly #signedSeq = new Map<string, number>();
  /** Puts under one key run one after the other. */
  readonly #putting = new Map<string, Promise<unknown>>();
  readonly #stopping = new AbortController();
  #surveys = 0;

  constructor(options: ValuesOptions) {
    const { core, clock, published, seed } = options;
    this.#options = options;
    this.#core = core;
    this.#clock = clock;
    this.#largeValues = new LargeValues({
      network: this,
      crypto: dataCrypto,
      clock,
      onProgress: (progress) => {
        this.#progressListeners.forEach((tell) => tell(progress));
        options.tell({ type: "data.progress", progress });
      },
    });
    this.#publications = new Publications(
      published,
      ({ item, replicas }) =>
        options.ask((at, done) => core.keepPublished(item, replicas, at, done)),
      seed,
    );
    this.#watches = new Watches({
      read: (hash, key, seen) => this.#readVersion(hash, key, seen),
      now: clock.now,
      random: Math.random,
      later: (ms, run) => {
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
    });
  }

  /** Ends watches and what moves large values; puts are not repeated any more. */
  close(): void {
    this.#stopping.abort();
    this.#watches.close();
    this.#largeValues.close();
  }

  /** How many values are kept published. */
  get publishedCount(): number {
    return this.#publications.count;
  }

  /** How many items those are. */
  get publishedItems(): number {
    return this.#publications.items;
  }

  async store(...given: Parameters<NodeService["store"]>): Promise<StoreOutcome> {
    return this.#told(await this.#store(...given));
  }

  #told(outcome: StoreOutcome): StoreOutcome {
    if (outcome.outcome === "stored") {
      this.#options.tell({ type: "data.publish", report: outcome.report });
    }
    return outcome;
  }

  async #store(
    value: Uint8Array | AsyncIterable<Uint8Array>,
    key: string | null,
    options: StoreOptions = {},
  ): Promise<StoreOutcome> {
    const salt = key === null ? undefined : new TextEncoder().encode(key);
    if (salt !== undefined && salt.length > MAX_SALT_BYTES) {
      return { outcome: "key_too_long", size: salt.length, limit: MAX_SALT_BYTES };
    }
    const isWhole = value instanceof Uint8Array;
    const given = await wholeOrStream(isWhole ? piecesOf(value) : value);
    if (!(given instanceof Uint8Array)) {
      const sized = isWhole ? { ...options, totalBytes: value.length } : options;
      return await this.#storeLarge(given, key, salt, sized);
    }
    const bencoded = bencodeBytes(given);
    const { minReplicas = 1 } = options;
    if (salt !== undefined) {
      const result = await this.#putNext(salt, bencoded, options);
      return "outcome" in result ? result : await this.#stored(result, key, given.length);
    }
    const item = immutableItem(itemCrypto, bencoded);
    const result = await this.#putOften(item.target, undefined, undefined, () => item, minReplicas);
    return this.#tooFew(item.target, result, minReplicas) ??
      await this.#stored(result, null, given.length);
  }

  async #storeLarge(
    value: AsyncIterable<Uint8Array>,
    key: string | null,
    salt: Uint8Array | undefined,
    options: StoreOptions,
  ): Promise<StoreOutcome> {
    const startedAt = this.#clock.now(), { cas, minReplicas = 1 } = options;
    if (salt !== undefined && cas !== undefined) {
      // Before all of its parts are stored for nothing.
      const target = mutableTarget(itemCrypto, this.#options.identity.publicKey, salt);
      const { item } = await this.#get(target, salt);
      const seq = item?.signed?.seq ?? 0;
      if (seq !== cas) return { outcome: "cas_mismatch", seq };
    }
    const parts: StoredPart[] = [];
    let tree: StoredTree;
    try {
      tree = await this.#largeValues.store(value, options, (item, replicas) => {
        parts.push({ item, replicas });
      });
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      if (error.failure === "not_stored") {
        const { acknowledged } = error;
        // Of a value without a key that failed nobody knows the hash.
        const isPublished = salt === undefined
          ? undefined
          : this.#isPublished(mutableTarget(itemCrypto, this.#options.identity.publicKey, salt));
        const wanted = minReplicas;
        return { outcome: "too_few", acknowledged, wanted, refusals: [], isPublished };
      }
      return { outcome: error.failure === "busy" ? "busy" : "unreachable", detail: error.message };
    }
    let hash = tree.root, replicas = tree.replicas, seq: number | null = null;
    if (salt === undefined) {
      const root = parts.pop()!;
      await this.#publications.keep(root, parts);
      this.noteVersion(root.item);
    } else {
      const result = await this.#putNext(salt, encodeReference(tree.root), options);
      if ("outcome" in result) return result;
      const { report } = await this.#stored(result, key, tree.size, parts);
      hash = result.item!.target;
      replicas = Math.min(replicas, report.replicas);
      seq = report.seq;
    }
    return {
      outcome: "stored",
      report: {
        hash: hash.toString(),
        kind: "chunked",
        key,
        seq,
        size: tree.size,
        replicas,
        nodes: tree.nodes.map(String),
        elapsedMs: this.#clock.now() - startedAt,
      },
    };
  }

  /**
   * Puts a value of this node's own under a key, as its next version. Where another node of the same identity does so at
   * the same time, both may sign one seq. Whoever meets holders that have the other's then goes on to a next seq, so
   * that one of both is the newest everywhere; under `cas` only if most of the closest nodes have its own.
   */
  async #putNext(
    salt: Uint8Array,
    bencoded: Uint8Array,
    { cas, minReplicas = 1 }: StoreOptions,
  ): Promise<PutResult | Failed> {
    const { publicKey } = this.#options.identity;
    const target = mutableTarget(itemCrypto, publicKey, salt);
    const hash = target.toString();
    let expected = cas, signed: Item | undefined, newestSeq = 0;
    const sign = (seq: number): Item => {
      this.#signedSeq.set(hash, Math.max(seq, this.#signedSeq.get(hash) ?? 0));
      const signature = this.#options.identity.sign(signedBytes(salt, seq, bencoded));
      return { target, value: bencoded, signed: { publicKey, signature, salt, seq } };
    };
    const make = (newest: Item | undefined): Item | ItemError => {
      newestSeq = newest?.signed?.seq ?? 0;
      // When it is repeated it is what it was, unless that has been overtaken.
      if (signed !== undefined && refusal(newest, signed, undefined) === undefined) return signed;
      if (expected === undefined) {
        return signed = sign(Math.max(newestSeq, this.#signedSeq.get(hash) ?? 0) + 1);
      }
      if (signed !== undefined || newestSeq !== expected) {
        return { code: ErrorCode.casMismatch, text: "cas mismatch" };
      }
      return signed = sign(expected + 1);
    };
    return await this.#inTurn(hash, async () => {
      for (let round = 1;; round++) {
        // The seq alone keeps others' versions: a cas would be refused by every holder that has missed some.
        const result = await this.#putOften(target, salt, undefined, make, minReplicas);
        if (result.item === undefined) {
          return { outcome: signed === undefined ? "cas_mismatch" : "overtaken", seq: newestSeq };
        }
        const isContested = result.refusals.some(isRival);
        const { bucketSize } = this.#options;
        const hasWon = !isContested || hasMajority(result, target, this.#core.id, bucketSize);
        if (!isContested || (hasWon && round === PUT_ROUNDS)) {
          return this.#tooFew(target, result, minReplicas) ?? result;
        }
        if (!hasWon && (expected !== undefined || round === PUT_ROUNDS)) {
          const { item } = await this.#get(target, salt);
          return { outcome: "overtaken", seq: item?.signed?.seq ?? newestSeq };
        }
        // In step with the other it would meet it again each time.
        const pause = 2 * Math.random() * result.elapsed;
        if (!hasWon) await this.#clock.sleep(pause, this.#stopping.signal);
        signed = expected = undefined;
      }
    });
  }

  async storeSigned(...given: Parameters<NodeService["storeSigned"]>): Promise<StoreOutcome> {
    return this.#told(await this.#storeSigned(...given));
  }

  async #storeSigned(
    hash: string,
    given: SignedItem,
    { minReplicas = 1 }: Pick<StoreOptions, "minReplicas"> = {},
  ): Promise<StoreOutcome> {
    const salt = given.salt ?? new Uint8Array(0);
    if (salt.length > MAX_SALT_BYTES) {
      return { outcome: "key_too_long", size: salt.length, limit: MAX_SALT_BYTES };
    }
    const bencoded = bencodeBytes(given.value);
    if (bencoded.length > MAX_VALUE_BYTES) {
      return { outcome: "too_large", size: bencoded.length, limit: MAX_VALUE_BYTES };
    }
    const { publicKey, signature, seq } = given;
    const signed = { publicKey, signature, salt, seq };
    let item = mutableItem(itemCrypto, bencoded, signed);
    // Owners may store lists and the like: then their value is bencode already, and the signature says so.
    if (isItemError(item) && isCanonical(given.value)) {
      item = mutableItem(itemCrypto, given.value, signed);
    }
    if (isItemError(item)) return { outcome: "bad_signature" };
    if (item.target.toString() !== hash) {
      return { outcome: "wrong_target", hash: item.target.toString() };
    }
    const checked = item, cas = given.cas ?? undefined;
    return await this.#inTurn(hash, async () => {
      let newestSeq = seq;
      const make = (newest: Item | undefined) => {
        newestSeq = newest?.signed?.seq ?? seq;
        return refusal(newest, checked, cas) ?? checked;
      };
      const result = await this.#putOften(checked.target, salt, cas, make, minReplicas);
      const isRefused = result.item === undefined || result.stored.length === 0;
      const refused = isRefused ? result.refusals : [];
      if (refused.some(({ code }) => code === ErrorCode.casMismatch)) {
        return { outcome: "cas_mismatch", seq: newestSeq };
      }
      if (refused.some(({ code }) => code === ErrorCode.seqTooLow)) {
        return { outcome: "seq_too_old", seq: newestSeq };
      }
      return this.#tooFew(checked.target, result, minReplicas) ??
        await this.#stored(result, null, given.value.length);
    });
  }

  published(offset: number, limit: number): { total: number; values: PublishedValue[] } {
    return {
      total: this.#publications.count,
      values: this.#publications.list(offset, limit),
    };
  }

  forget(hash: string): boolean {
    return this.#publications.forget(parseId(hash));
  }

  async replicas(hash: string, key: string | null): Promise<ReplicasOutcome> {
    const target = parseId(hash);
    const salt = key === null ? undefined : new TextEncoder().encode(key);
    // Counted first: reading a mutable value brings old copies of it up to date.
    const { replicas } = await this.#options.ask<ReplicasResult>((at, done) =>
      this.#core.replicas(target, at, done)
    );
    const { item, saltUnknown } = await this.#get(target, salt);
    if (item === undefined) return { outcome: saltUnknown ? "key_needed" : "not_found" };
    const isMutable = item.signed !== undefined;
    const report: ReplicasReport = {
      hash,
      kind: isMutable ? "mutable" : "immutable",
      seq: item.signed?.seq ?? null,
      holders: replicas.map(({ id, endpoint, seq, ageMs }) => ({
        nodeId: id.toString(),
        address: endpoint?.toString() ?? null,
        seq: isMutable ? seq ?? null : null,
        ageS: ageMs === undefined ? null : ageMs / 1000,
      })),
      wanted: this.#options.bucketSize,
      parts: null,
    };
    const rootTarget = isMutable ? decodeReference(item.value) : target;
    const top = isMutable && rootTarget ? (await this.#get(rootTarget)).item : item;
    const root = top && decodeRoot(top.value);
    if (rootTarget === undefined || root === undefined) return { outcome: "found", report };
    if (this.#surveys >= MAX_SURVEYS) return { outcome: "busy" };
    this.#surveys++;
    try {
      const batch = this.#core.batch();
      const network = {
        get: async (part: Id) => (await this.#get(part, undefined, batch)).item,
        copies: async (part: Id) => {
          const { replicas, elapsed } = await this.#options.ask<ReplicasResult>((at, done) =>
            this.#core.replicas(part, at, done)
          );
          return { count: replicas.length, elapsed };
        },
      };
      const parts = await survey(rootTarget, root, top!.value, network, Math.random);
      return { outcome: "found", report: { ...report, kind: "chunked", parts } };
    } finally {
      this.#surveys--;
    }
  }

  watch(hash: string, key: string | null, after: number | null): Watch | undefined {
    return this.#watches.open(hash, key, after);
  }

  /** The newest version on the network where it is over `seen`. */
  async #readVersion(
    hash: string,
    key: string | null,
    seen: number | null,
  ): Promise<Version | undefined> {
    const salt = key === null ? undefined : new TextEncoder().encode(key);
    const { item } = await this.#get(parseId(hash), salt);
    if (item === undefined || (seen !== null && (item.signed?.seq ?? 0) <= seen)) return undefined;
    if (!isMarked(item.value)) return versionOf(item);
    const outcome = await this.#fetchLarge(item);
    return outcome.outcome === "large"
      ? { ...versionOf(item), size: outcome.value.size }
      : undefined;
  }

  /** Tells those who watch a value of a version that is held here, or has been put from here. */
  noteVersion(item: Item): void {
    if (this.#watches.size === 0) return;
    const hash = item.target.toString();
    if (!this.#watches.has(hash)) return;
    // Of a large value the size is not here.
    if (isMarked(item.value)) this.#watches.noteNewer(hash);
    else this.#watches.noteVersion(hash, versionOf(item));
  }

  async fetch(hash: string, key: string | null): Promise<FetchOutcome> {
    const startedAt = this.#clock.now();
    const outcome = await this.#fetch(hash, key);
    const value = outcome.outcome === "found"
      ? { kind: outcome.value.kind, size: outcome.value.bytes.length }
      : outcome.outcome === "large"
      ? { kind: "chunked" as const, size: outcome.value.size }
      : undefined;
    this.#options.tell({
      type: "data.fetch",
      hash,
      kind: value?.kind ?? null,
      size: value?.size ?? null,
      found: value !== undefined,
      elapsedMs: this.#clock.now() - startedAt,
    });
    return outcome;
  }

  async #fetch(hash: string, key: string | null): Promise<FetchOutcome> {
    const target = parseId(hash);
    const salt = key === null ? undefined : new TextEncoder().encode(key);
    const { item, saltUnknown } = await this.#get(target, salt);
    if (item === undefined) return { outcome: saltUnknown ? "key_needed" : "not_found" };
    if (isMarked(item.value)) return await this.#fetchLarge(item);
    return {
      outcome: "found",
      value: {
        hash,
        kind: item.signed === undefined ? "immutable" : "mutable",
        bytes: byteStringContent(item.value) ?? item.value,
        seq: item.signed?.seq ?? null,
        publicKey: item.signed?.publicKey ?? null,
      },
    };
  }

  async #fetchLarge({ target, value, signed }: Item): Promise<FetchOutcome> {
    let top: Uint8Array | undefined = value, rootTarget: Id | undefined = target;
    if (signed !== undefined) {
      rootTarget = decodeReference(value);
      if (rootTarget === undefined) {
        return { outcome: "invalid", detail: `Item ${target} is no valid reference to a value.` };
      }
      const { item } = await this.#get(rootTarget);
      if (item === undefined) {
        const detail = `Value ${target} refers to ${rootTarget}, which was not found.`;
        return { outcome: "not_found", detail };
      }
      // What somebody may change is no root.
      top = item.signed === undefined ? item.value : undefined;
    }
    const root = top && decodeRoot(top);
    if (root === undefined) {
      const detail = `Item ${rootTarget} is no valid root of a large value.`;
      return { outcome: "invalid", detail };
    }
    const { size, hint } = root;
    return {
      outcome: "large",
      value: {
        hash: target.toString(),
        root: rootTarget.toString(),
        size,
        hint,
        seq: signed?.seq ?? null,
        publicKey: signed?.publicKey ?? null,
        read: (start, end, signal) => this.#readLarge(rootTarget, root, start, end, signal),
      },
    };
  }

  async *#readLarge(
    target: Id,
    root: Root,
    ...range: Parameters<LargeValue["read"]>
  ): AsyncGenerator<Uint8Array> {
    try {
      yield* this.#largeValues.read(target, root, ...range);
    } catch (error) {
      const isTransfer = error instanceof TransferError;
      if (!isTransfer || (error.failure !== "aborted" && error.failure !== "busy")) {
        const reason = isTransfer ? error.message : error;
        this.#options.log.warning("Reading value {hash} failed: {reason}", {
          hash: `${target}`,
          reason,
        });
      }
      throw error;
    }
  }

  transfers(): Progress[] {
    return this.#largeValues.progress();
  }

  onProgress(listener: (progress: Progress) => void): () => void {
    this.#progressListeners.add(listener);
    return () => this.#progressListeners.delete(listener);
  }

  batch(): ItemBatch {
    const batch = this.#core.batch();
    return {
      put: (item) => this.#options.ask((at, done) => this.#core.putPart(item, batch, at, done)),
      get: async (target) => (await this.#get(target, undefined, batch)).item,
      close: () => {},
    };
  }

  #get(target: Id, salt?: Uint8Array, batch?: Batch): Promise<GetResult> {
    return this.#options.ask((at, done) => this.#core.get(target, salt, at, done, batch));
  }

  #put(
    target: Id,
    salt: Uint8Array | undefined,
    cas: number | undefined,
    make: (newest: Item | undefined) => Item | ItemError,
  ): Promise<PutResult> {
    return this.#options.ask((at, done) => this.#core.put(target, salt, cas, make, at, done));
  }

  #putOften(
    target: Id,
    salt: Uint8Array | undefined,
    cas: number | undefined,
    make: (newest: Item | undefined) => Item | ItemError,
    wanted: number,
  ): Promise<PutResult> {
    const put = () => this.#put(target, salt, cas, make);
    return putOften(put, wanted, this.#clock, this.#stopping.signal);
  }

  /** Sees to what an acknowledged value needs from now on, and reports it. */
  async #stored(
    result: PutResult,
    key: string | null,
    size: number,
    parts: readonly StoredPart[] = [],
  ): Promise<Extract<StoreOutcome, { outcome: "stored" }>> {
    const item = result.item!;
    await this.#publications.keep({ item, replicas: result.stored.length }, parts);
    this.noteVersion(item);
    return {
      outcome: "stored",
      report: {
        hash: item.target.toString(),
        kind: item.signed === undefined ? "immutable" : "mutable",
        key,
        seq: item.signed?.seq ?? null,
        size,
        replicas: result.stored.length,
        nodes: result.stored.map(String),
        elapsedMs: result.elapsed,
      },
    };
  }

  /** The refusal where fewer than `wanted` have acknowledged. */
  #tooFew(target: Id, { stored, refusals }: PutResult, wanted: number): Failed | undefined {
    if (stored.length >= wanted) return undefined;
    return {
      outcome: "too_few",
      acknowledged: stored.length,
      wanted,
      refusals: summaryOf(refusals),
      isPublished: this.#isPublished(target),
    };
  }

  #isPublished(target: Id): boolean {
    return this.#options.published.get(target) !== undefined;
  }

  async #inTurn<T>(key: string, run: () => Promise<T>): Promise<T> {
    const before = this.#putting.get(key);
    const mine = (async () => {
      await before;
      return await run();
    })();
    this.#putting.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#putting.get(key) === mine) this.#putting.delete(key);
    }
  }
}

async function* piecesOf(value: Uint8Array): AsyncGenerator<Uint8Array> {
  yield value;
}

function versionOf({ value, signed }: Item): Version {
  return {
    seq: signed?.seq ?? null,
    size: (byteStringContent(value) ?? value).length,
    publicKey: signed === undefined ? null : hex(signed.publicKey),
  };
}
