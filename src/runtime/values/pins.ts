// Pins: fetches the values of other owners, so that this node can keep them published.

import { getLogger } from "logtape";
import { type Item, mutableTarget } from "../../dht/items/item.ts";
import { unhex } from "../../krpc/hex.ts";
import { Id } from "../../krpc/id.ts";
import type { LargeValues } from "../../large_values/large_values.ts";
import { isMarked, type Root } from "../../large_values/manifest.ts";
import { TransferError } from "../../large_values/transfers.ts";
import type { PinOutcome, PinRequest } from "../../node_service.ts";
import { itemCrypto } from "../identity/crypto.ts";
import type { NetworkItems } from "./items.ts";
import type { Publications, StoredPart } from "./publications.ts";
import { findRoot, saltOf } from "./reader.ts";

type Failed = Exclude<PinOutcome, { outcome: "pinned" }>;

/**
 * The pause after fetching a new version, so that an owner can't keep us busy by publishing new versions all the time.
 * The pause doubles after each repeated failure, up to an hour.
 */
const PAUSE_MS = 60_000, MAX_PAUSE_MS = 3_600_000;

/** An attempt to fetch a new version of a pinned value. */
interface Attempt {
  /** The time at which the next attempt may begin. */
  readonly nextAt: number;
  readonly pauseMs: number;
  readonly hasFailed: boolean;
}

export interface PinsOptions {
  readonly items: NetworkItems;
  readonly largeValues: LargeValues;
  readonly publications: Publications;
  /** This node's public key, which is the default owner of a key. */
  readonly publicKey: Uint8Array;
  /** Maximum size of a value in bytes. */
  readonly maxValueSize: number;
  readonly now: () => number;
  /** Resolves with true once all changes so far are on disk, or with false if that fails. */
  readonly sync: () => Promise<boolean>;
}

export class Pins {
  readonly #log = getLogger(["dmnode", "node"]);
  readonly #options: PinsOptions;
  /** The latest attempts, by the hash of the pinned value. */
  readonly #attempts = new Map<string, Attempt>();
  #isFollowing = false;

  constructor(options: PinsOptions) {
    this.#options = options;
  }

  async pin({ hash, key, publicKey, ttl }: PinRequest): Promise<PinOutcome> {
    const { items, publications, publicKey: ownKey } = this.#options;
    const salt = saltOf(key) ?? (publicKey === undefined ? undefined : new Uint8Array(0));
    const owner = publicKey === undefined ? ownKey : unhex(publicKey);
    const target = hash === undefined ? mutableTarget(itemCrypto, owner, salt!) : Id.from(hash);
    const isNew = !publications.isPinned(target);
    const { item, saltUnknown } = await items.get(target, salt);
    if (item === undefined) return { outcome: saltUnknown ? "key_needed" : "not_found" };
    const lifeMs = ttl === undefined ? publications.lifeOf(target) : ttl * 1000;
    const parts = await this.#partsOf(item, lifeMs);
    if ("outcome" in parts) return parts;
    const top = parts.pop()!;
    const isSaved = await publications.pin(top, parts);
    if (!isSaved && isNew) {
      publications.unpin(target);
      return { outcome: "no_disk" };
    }
    return { outcome: "pinned", report: publications.get(target)!, isNew };
  }

  /** Ends a pin. Resolves with false if the value was not pinned. Rejects if the disk can't save the change. */
  async unpin(hash: string): Promise<boolean> {
    if (!this.#options.publications.unpin(Id.from(hash))) return false;
    this.#attempts.delete(hash);
    if (await this.#options.sync()) return true;
    throw new Error(`${hash} is no longer pinned, but the disk can't save that yet`);
  }

  /** Fetches new versions of large pinned values, and removes their old versions. Call this regularly. */
  async follow(): Promise<void> {
    if (this.#isFollowing) return;
    this.#isFollowing = true;
    try {
      for (const target of this.#options.publications.incompletePins()) {
        await this.#complete(target);
      }
      this.#options.publications.tidy();
    } finally {
      this.#isFollowing = false;
    }
  }

  async #complete(target: Id): Promise<void> {
    const { now } = this.#options, name = `${target}`, last = this.#attempts.get(name);
    if (last !== undefined && now() < last.nextAt) return;
    const failed = await this.#fetchVersion(target);
    const isRepeated = failed !== undefined && last?.hasFailed === true;
    const pauseMs = isRepeated ? Math.min(MAX_PAUSE_MS, 2 * last.pauseMs) : PAUSE_MS;
    const hasFailed = failed !== undefined;
    this.#attempts.set(name, { nextAt: now() + pauseMs, pauseMs, hasFailed });
    if (!hasFailed || isRepeated) return;
    this.#log.warning("The new version of pinned value {hash} can't be fetched: {reason}", {
      hash: name,
      reason: textOf(failed),
    });
  }

  async #fetchVersion(target: Id): Promise<Failed | undefined> {
    const { publications } = this.#options, item = publications.itemOf(target);
    if (item === undefined) return undefined;
    const parts = await this.#partsOf(item, publications.lifeOf(target));
    if ("outcome" in parts) return parts;
    if (publications.itemOf(target)?.signed?.seq !== item.signed?.seq) {
      // In the meantime, the value was unpinned or got yet another version, so drop the bytes that were fetched.
      for (const { item, large } of parts) {
        const isCopy = large && large.value !== publications.contentOf(item.target)?.value;
        if (isCopy) this.#options.largeValues.discard(large);
      }
      return undefined;
    }
    const top = parts.pop()!;
    return await publications.pin(top, parts) ? undefined : { outcome: "no_disk" };
  }

  /** Fetches a value, puts its items on the closest nodes, and returns the items. The last of them is `item`. */
  async #partsOf(item: Item, lifeMs: number | undefined): Promise<StoredPart[] | Failed> {
    if (!isMarked(item.value)) return [await this.#put(item, lifeMs)];
    const found = await findRoot(this.#options.items, item);
    if ("outcome" in found) return found;
    const { top, root } = found, large = await this.#contentOf(top.target, root);
    if ("outcome" in large) return large;
    const parts = [{ ...await this.#put(top, lifeMs), large }];
    return item.signed === undefined ? parts : [...parts, await this.#put(item, lifeMs)];
  }

  /** Copies the bytes of a large value to this node's disk, unless the disk already has them. */
  async #contentOf(
    target: Id,
    root: Root,
  ): Promise<NonNullable<StoredPart["large"]> | Failed> {
    const { publications, largeValues, maxValueSize: limit } = this.#options;
    const kept = publications.contentOf(target);
    if (kept !== undefined) return kept;
    if (root.size > limit) return { outcome: "too_large", size: root.size, limit };
    try {
      return { ...await largeValues.copy(target, root), next: 0 };
    } catch (error) {
      // Any error other than a TransferError comes from the disk.
      if (!(error instanceof TransferError)) return { outcome: "no_disk" };
      const { failure, message: detail } = error;
      switch (failure) {
        case "missing":
          return { outcome: "not_found", detail };
        case "invalid":
        case "mismatch":
          return { outcome: "invalid", detail };
        case "busy":
          return { outcome: "busy", detail };
        default:
          return { outcome: "unreachable", detail };
      }
    }
  }

  /**
   * Puts an item on the closest nodes, which may have a newer version. The item is pinned even if
   * no node accepts it.
   */
  async #put(item: Item, lifeMs: number | undefined): Promise<StoredPart> {
    const { items } = this.#options, { target, signed } = item;
    const put = { target, salt: signed?.salt, minReplicas: 0, lifeMs };
    const { stored } = await items.put(put, () => item);
    return { item, replicas: stored.length, others: items.others(stored).length, lifeMs };
  }
}

function textOf(failed: Failed): string {
  switch (failed.outcome) {
    case "too_large":
      return `it has ${failed.size} bytes, and MAX_VALUE_SIZE is ${failed.limit}`;
    case "no_disk":
      return "the disk can't be written";
    case "key_needed":
      return "its key is not known";
    default:
      return failed.detail ?? "it was not found";
  }
}
