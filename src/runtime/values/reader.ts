// Fetches values of any size and kind from the network.

import { getLogger } from "logtape";
import type { Item } from "../../dht/items/item.ts";
import { byteStringContent } from "../../krpc/bencode.ts";
import { hex } from "../../krpc/hex.ts";
import { Id } from "../../krpc/id.ts";
import type { LargeValues } from "../../large_values/large_values.ts";
import { decodeReference, decodeRoot, isMarked, type Root } from "../../large_values/manifest.ts";
import { TransferError } from "../../large_values/transfers.ts";
import type { FetchOutcome, LargeValue } from "../../node_service.ts";
import type { NetworkItems } from "./items.ts";
import { isNewer, type Version } from "./watch.ts";

export class ValueReader {
  readonly #log = getLogger(["dmnode", "node"]);

  constructor(private readonly items: NetworkItems, private readonly largeValues: LargeValues) {}

  async fetch(hash: string, key: string | null): Promise<FetchOutcome> {
    const { item, saltUnknown } = await this.items.get(Id.from(hash), saltOf(key));
    if (item === undefined) {
      if (saltUnknown) return { outcome: "key_needed" };
      if (this.items.knownNodes > 1) return { outcome: "not_found" };
      const detail =
        `No value ${hash} was found: this node has no peers, so nobody else was asked.`;
      return { outcome: "not_found", detail };
    }
    if (isMarked(item.value)) return await this.#fetchLarge(item);
    const content = byteStringContent(item.value);
    return {
      outcome: "found",
      value: {
        hash,
        kind: item.signed === undefined ? "immutable" : "mutable",
        bytes: content ?? item.value,
        isBencode: content === undefined,
        seq: item.signed?.seq ?? null,
        publicKey: item.signed?.publicKey ?? null,
      },
    };
  }

  /** Returns the newest version on the network, or undefined if it is not newer than `known`. */
  async readVersion(
    hash: string,
    key: string | null,
    known: Version | undefined,
  ): Promise<Version | undefined> {
    const { item } = await this.items.get(Id.from(hash), saltOf(key));
    const version = item && versionOf(item);
    if (version === undefined || !isNewer(version, known)) return undefined;
    if (!isMarked(version.value)) return version;
    const large = await this.#fetchLarge(item!);
    return large.outcome === "large" ? { ...version, size: large.value.size } : undefined;
  }

  async #fetchLarge(item: Item): Promise<FetchOutcome> {
    const found = await findRoot(this.items, item);
    if ("outcome" in found) return found;
    const { top, root: { size, hint } } = found,
      { seq = null, publicKey = null } = item.signed ?? {};
    const names = { hash: `${item.target}`, root: `${top.target}`, manifest: top.value };
    return { outcome: "large", value: { ...names, size, hint, seq, publicKey } };
  }

  /** Yields the bytes of a large value from `start` to `end` (exclusive), as they are read. Throws a TransferError. */
  async *read(
    { root: hash, manifest }: Pick<LargeValue, "root" | "manifest">,
    { start, end }: { readonly start: number; readonly end: number },
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    try {
      const root = decodeRoot(manifest)!;
      yield* this.largeValues.read(Id.from(hash), root, { start, end, signal });
    } catch (error) {
      const isTransfer = error instanceof TransferError;
      if (!isTransfer || (error.failure !== "aborted" && error.failure !== "busy")) {
        this.#log.warning("Reading value {hash} failed: {reason}", {
          hash,
          reason: isTransfer ? error.message : error,
        });
      }
      throw error;
    }
  }
}

/** The root of a large value, and the item that contains it. */
export interface FoundRoot {
  readonly top: Item;
  readonly root: Root;
}

/** Finds the root of a large value. `item` is the root item, or refers to the root item. */
export async function findRoot(
  items: Pick<NetworkItems, "get">,
  item: Item,
): Promise<FoundRoot | { outcome: "invalid" | "not_found"; detail: string }> {
  const { target, value, signed } = item;
  const rootTarget = signed === undefined ? target : decodeReference(value);
  if (rootTarget === undefined) {
    return { outcome: "invalid", detail: `Item ${target} is not a valid reference to a value.` };
  }
  const top = signed === undefined ? item : (await items.get(rootTarget)).item;
  if (top === undefined) {
    const detail = `Value ${target} refers to ${rootTarget}, which was not found.`;
    return { outcome: "not_found", detail };
  }
  // Only an immutable item can be the root item of a large value.
  const root = top.signed === undefined ? decodeRoot(top.value) : undefined;
  if (root !== undefined) return { top, root };
  const detail = `Item ${rootTarget} is not a valid root of a large value.`;
  return { outcome: "invalid", detail };
}

/** Describes an item as a version. The size of the version is the size of the item's value. */
export function versionOf({ value, signed }: Item): Version {
  return {
    seq: signed?.seq ?? null,
    size: (byteStringContent(value) ?? value).length,
    public_key: signed === undefined ? null : hex(signed.publicKey),
    value,
  };
}

/** Converts a key to its salt (BEP 44). */
export function saltOf(key: string | null): Uint8Array | undefined {
  return key === null ? undefined : new TextEncoder().encode(key);
}
