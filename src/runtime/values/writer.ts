// Stores values of any size and kind on the network, and keeps them published.

import {
  immutableItem,
  isItemError,
  type Item,
  ITEM_LIFE_MS,
  MAX_SALT_BYTES,
  MAX_VALUE_BYTES,
  mutableItem,
  refusal,
} from "../../dht/items/item.ts";
import type { PutResult } from "../../dht/items/item_operations.ts";
import { bencodeBytes, isCanonical } from "../../krpc/bencode.ts";
import type { Id } from "../../krpc/id.ts";
import { ErrorCode } from "../../krpc/message.ts";
import { nextSeq, type Seq } from "../../krpc/seq.ts";
import {
  type LargeValues,
  pieceLifeOf,
  type StoredTree,
  wholeOrStream,
} from "../../large_values/large_values.ts";
import { encodeReference } from "../../large_values/manifest.ts";
import { TransferError } from "../../large_values/transfers.ts";
import type { NodeService, SignedItem, StoreOptions, StoreOutcome } from "../../node_service.ts";
import { timeText } from "../../reports/time.ts";
import { clock } from "../clock.ts";
import { type Identity, itemCrypto } from "../identity/crypto.ts";
import type { NetworkItems, RoomAnswer } from "./items.ts";
import { OwnVersions, Turns } from "./own_versions.ts";
import type { Publications, StoredPart } from "./publications.ts";
import { summaryOf } from "./puts.ts";

type Stored = Extract<StoreOutcome, { outcome: "stored" }>;
type Failed = Exclude<StoreOutcome, Stored>;

export interface ValueWriterOptions {
  readonly items: NetworkItems;
  readonly largeValues: LargeValues;
  readonly publications: Publications;
  readonly identity: Identity;
  readonly bucketSize: number;
  readonly onStored: (item: Item) => void;
  /** The time in milliseconds since 1970. */
  readonly wall: () => number;
}

export class ValueWriter implements Pick<NodeService, "store" | "storeSigned"> {
  readonly #turns = new Turns();
  readonly #versions: OwnVersions;

  constructor(private readonly options: ValueWriterOptions) {
    this.#versions = new OwnVersions({ ...options, turns: this.#turns });
  }

  async store(
    value: Uint8Array | AsyncIterable<Uint8Array>,
    key: string | null,
    options: StoreOptions = {},
  ): Promise<StoreOutcome> {
    const salt = key === null ? undefined : new TextEncoder().encode(key);
    if (salt !== undefined && salt.length > MAX_SALT_BYTES) {
      return { outcome: "key_too_long", size: salt.length, limit: MAX_SALT_BYTES };
    }
    const startedAt = clock.now(), terms = { ...options, lifeMs: lifeOf(options) };
    const isWhole = value instanceof Uint8Array;
    const given = await wholeOrStream(isWhole ? piecesOf(value) : value);
    if (!(given instanceof Uint8Array)) {
      const sized = isWhole ? { ...terms, totalBytes: value.length } : terms;
      return await this.#storeLarge(given, { key, salt }, sized);
    }
    const bencoded = bencodeBytes(given);
    const { minReplicas = 1, lifeMs } = terms,
      kept = { key, size: given.length, startedAt, lifeMs };
    if (salt !== undefined) {
      const result = await this.#putVersion(salt, bencoded, terms);
      return "outcome" in result ? result : await this.#keep(result, kept);
    }
    const item = immutableItem(itemCrypto, bencoded), { target } = item;
    const put = { target, item, minReplicas, lifeMs };
    const result = await this.options.items.put(put, () => item);
    return this.#tooFew(target, result, minReplicas) ?? await this.#keep(result, kept);
  }

  /** Like `store` with a key, but the value is already bencoded, instead of a byte string. */
  async storeBencoded(
    bencoded: Uint8Array,
    key: string,
    options: StoreOptions,
  ): Promise<StoreOutcome> {
    const salt = new TextEncoder().encode(key);
    if (salt.length > MAX_SALT_BYTES) {
      return { outcome: "key_too_long", size: salt.length, limit: MAX_SALT_BYTES };
    }
    const startedAt = clock.now(), lifeMs = lifeOf(options);
    const result = await this.#putVersion(salt, bencoded, { ...options, lifeMs });
    if ("outcome" in result) return result;
    return await this.#keep(result, { key, size: bencoded.length, startedAt, lifeMs });
  }

  async #storeLarge(
    value: AsyncIterable<Uint8Array>,
    { key, salt }: { readonly key: string | null; readonly salt: Uint8Array | undefined },
    options: StoreOptions,
  ): Promise<StoreOutcome> {
    const startedAt = clock.now(), { lifeMs } = options;
    const conflict = salt === undefined ? undefined : await this.#conflict(salt, options.cas);
    if (conflict !== undefined) return conflict;
    const { minReplicas: wanted = 1 } = options;
    let room: RoomAnswer | undefined;
    const hasRoom = async (bytes: number, copies: number) => {
      const request = { bytes, copies, lifeMs: pieceLifeOf(lifeMs), wanted };
      room = await this.options.items.roomFor(request);
      return room.fits;
    };
    let tree: StoredTree;
    try {
      tree = await this.options.largeValues.store(value, options, hasRoom);
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      if (room?.fits === false) return { outcome: "no_room", room };
      return this.#transferFailed(error, salt, options);
    }
    const { root, size, nodes, blobs, isPlaced } = tree;
    const { target } = root;
    // If no other node has the pieces yet, the node publishes them as soon as there are other nodes.
    const large = { ...blobs, next: isPlaced ? 0 : 1 };
    const others = isPlaced ? this.#others(nodes) : 0;
    const part = { item: root, replicas: nodes.length, others, lifeMs, large };
    let life = this.#lifeOf({ startedAt, others, lifeMs });
    let { replicas } = tree, hash = `${target}`, seq: Seq | null = null;
    if (salt === undefined) {
      const isSaved = await this.options.publications.keep(part);
      const failed = this.#unsaved(target, nodes, isSaved);
      if (failed !== undefined) return failed;
      this.options.onStored(root);
    } else {
      const result = await this.#putVersion(salt, encodeReference(target), options);
      if ("outcome" in result) {
        this.options.largeValues.discard(blobs);
        return result;
      }
      const kept = await this.#keep(result, { key, size, parts: [part], startedAt, lifeMs });
      if (kept.outcome !== "stored") return kept;
      ({ hash, seq } = kept.report);
      if (kept.report.this_node_only) life = this.#lifeOf({ startedAt, others: 0, lifeMs });
      replicas = Math.min(replicas, kept.report.replicas);
    }
    const report = { hash, key, seq, size, replicas, nodes: nodes.map(String), ...life };
    return {
      outcome: "stored",
      report: { ...report, kind: "chunked", elapsed_ms: clock.now() - startedAt },
    };
  }

  /**
   * Checks that a new version is possible. Call this before the pieces of a large value are stored, which would
   * otherwise be useless.
   */
  async #conflict(salt: Uint8Array, cas: Seq | undefined): Promise<Failed | undefined> {
    const { item } = await this.options.items.get(this.#versions.target(salt), salt);
    const seq = item?.signed?.seq ?? 0;
    if (cas !== undefined && seq !== cas) return { outcome: "cas_mismatch", seq };
    return nextSeq(seq) === undefined ? { outcome: "seq_exhausted", seq } : undefined;
  }

  #transferFailed(
    { failure, message, acknowledged }: TransferError,
    salt: Uint8Array | undefined,
    { minReplicas: wanted = 1 }: StoreOptions,
  ): Failed {
    if (failure === "no_room") return { outcome: "no_room", room: null };
    if (failure !== "not_stored") {
      return { outcome: failure === "busy" ? "busy" : "unreachable", detail: message };
    }
    // Leave `isPublished` undefined without a key: the target is then the value's hash, which is not known yet.
    const isPublished = salt && this.options.publications.has(this.#versions.target(salt));
    return {
      outcome: "too_few",
      acknowledged,
      wanted,
      ...this.#knownIfFewer(wanted),
      refusals: [],
      isFull: false,
      isPublished,
    };
  }

  async #putVersion(
    salt: Uint8Array,
    bencoded: Uint8Array,
    options: StoreOptions,
  ): Promise<PutResult | Failed> {
    const result = await this.#versions.put(salt, bencoded, options);
    if ("outcome" in result) return result;
    return this.#tooFew(this.#versions.target(salt), result, options.minReplicas ?? 1) ?? result;
  }

  async storeSigned(
    hash: string,
    given: SignedItem,
    { minReplicas = 1, ttl }: Pick<StoreOptions, "minReplicas" | "ttl"> = {},
  ): Promise<StoreOutcome> {
    const startedAt = clock.now(), lifeMs = lifeOf({ ttl });
    const item = signedItem(given);
    if ("outcome" in item) return item;
    const { target } = item, cas = given.cas ?? undefined;
    if (`${target}` !== hash) return { outcome: "wrong_target", hash: `${target}` };
    return await this.#turns.take(hash, async () => {
      let newestSeq = given.seq;
      const put = { target, salt: item.signed!.salt, cas, minReplicas, lifeMs };
      const result = await this.options.items.put(put, (newest) => {
        newestSeq = newest?.signed?.seq ?? given.seq;
        return refusal(newest, item, cas) ?? item;
      });
      const isRefused = result.item === undefined || result.stored.length === 0;
      const codes = isRefused ? result.refusals.map(({ code }) => code) : [];
      if (codes.includes(ErrorCode.casMismatch)) return { outcome: "cas_mismatch", seq: newestSeq };
      if (codes.includes(ErrorCode.seqTooLow)) return { outcome: "seq_too_old", seq: newestSeq };
      return this.#tooFew(target, result, minReplicas) ??
        await this.#keep(result, { key: null, size: given.value.length, startedAt, lifeMs });
    });
  }

  /** Keeps a stored value published. `parts` are the items that the value's top item refers to. */
  async #keep(
    { item, stored: acknowledged, elapsed }: PutResult,
    { key, size, parts, startedAt, lifeMs }: {
      readonly key: string | null;
      readonly size: number;
      readonly parts?: readonly StoredPart[];
      /** The time at which the store operation began, on the monotonic clock. */
      readonly startedAt: number;
      readonly lifeMs: number | undefined;
    },
  ): Promise<Stored | Failed> {
    const { target, signed } = item!, others = this.#others(acknowledged);
    const top = { item: item!, replicas: acknowledged.length, others, lifeMs };
    const isSaved = await this.options.publications.keep(top, parts);
    const failed = this.#unsaved(target, acknowledged, isSaved);
    if (failed !== undefined) return failed;
    // Our own copy counts only if it is on disk.
    const stored = isSaved ? acknowledged : this.options.items.others(acknowledged);
    const replicas = stored.length;
    this.options.onStored(item!);
    return {
      outcome: "stored",
      report: {
        hash: `${target}`,
        kind: signed === undefined ? "immutable" : "mutable",
        key,
        seq: signed?.seq ?? null,
        size,
        replicas,
        nodes: stored.map(String),
        ...this.#lifeOf({ startedAt, others, lifeMs }),
        elapsed_ms: elapsed,
      },
    };
  }

  /**
   * Returns until when a value lives if this node leaves. `others` is the number of other nodes that have the value.
   */
  #lifeOf(
    { startedAt, others, lifeMs = ITEM_LIFE_MS }: {
      readonly startedAt: number;
      readonly others: number;
      readonly lifeMs: number | undefined;
    },
  ): Pick<Stored["report"], "lives_until" | "this_node_only"> {
    const until = this.options.wall() - (clock.now() - startedAt) + lifeMs;
    return { lives_until: others > 0 ? timeText(until) : null, this_node_only: others === 0 };
  }

  #others(nodes: readonly Id[]): number {
    return this.options.items.others(nodes).length;
  }

  /** Returns a failure if a value is stored only on this node, and could not be saved to disk. */
  #unsaved(target: Id, stored: readonly Id[], isSaved: boolean): Failed | undefined {
    if (isSaved || this.#others(stored) > 0) return undefined;
    const refusals = [{ code: ErrorCode.server, text: "could not store" }];
    return this.#tooFew(target, { stored: [], refusals }, 1);
  }

  /** Returns a failure if fewer than `wanted` nodes have acknowledged the put. */
  #tooFew(
    target: Id,
    { stored, refusals }: Pick<PutResult, "stored" | "refusals">,
    wanted: number,
  ): Failed | undefined {
    if (stored.length >= wanted) return undefined;
    return {
      outcome: "too_few",
      acknowledged: stored.length,
      wanted,
      ...this.#knownIfFewer(wanted),
      refusals: summaryOf(refusals),
      isFull: refusals.length > 0 && refusals.every(({ code }) => code === ErrorCode.server),
      isPublished: this.options.publications.has(target),
    };
  }

  #knownIfFewer(wanted: number): { known?: number } {
    const known = this.options.items.knownNodes;
    return known < wanted ? { known } : {};
  }
}

/** Returns the item that a client signed, or a failure if the item is too large or its signature is invalid. */
function signedItem({ publicKey, signature, seq, value, ...given }: SignedItem): Item | Failed {
  const salt = given.salt ?? new Uint8Array(0);
  if (salt.length > MAX_SALT_BYTES) {
    return { outcome: "key_too_long", size: salt.length, limit: MAX_SALT_BYTES };
  }
  const bencoded = bencodeBytes(value);
  if (bencoded.length > MAX_VALUE_BYTES) {
    return { outcome: "too_large", size: bencoded.length, limit: MAX_VALUE_BYTES };
  }
  const signed = { publicKey, signature, salt, seq };
  let item = mutableItem(itemCrypto, bencoded, signed);
  // The bytes may already be bencoded: the client may have signed the value in this form. So try the bytes as they
  // are.
  if (isItemError(item) && isCanonical(value)) item = mutableItem(itemCrypto, value, signed);
  return isItemError(item) ? { outcome: "bad_signature" } : item;
}

function lifeOf({ ttl }: Pick<StoreOptions, "ttl">): number | undefined {
  return ttl === undefined ? undefined : ttl * 1000;
}

async function* piecesOf(value: Uint8Array): AsyncGenerator<Uint8Array> {
  yield value;
}
