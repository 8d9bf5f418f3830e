// Gets items from the network, puts them on enough nodes, counts their copies and keeps them published.

import type {
  GetResult,
  PutResult,
  ReplicasResult,
  Room,
} from "../../dht/items/item_operations.ts";
import type { Item, ItemError } from "../../dht/items/item.ts";
import type { Id } from "../../krpc/id.ts";
import type { Seq } from "../../krpc/seq.ts";
import type { ItemBatch, ItemNetwork } from "../../large_values/item_network.ts";
import { clock } from "../clock.ts";
import type { CoreRunner } from "../core_runner.ts";
import { randomId } from "../identity/crypto.ts";
import type { StoredPart } from "./publications.ts";
import { putRepeatedly } from "./puts.ts";

/**
 * The root item of a large value is stored on this many times k nodes. A lost piece can be computed from other pieces,
 * but a lost root item can't. With k = 20, the root item is on 40 nodes. If 60 % of the network vanishes, the
 * probability that these 40 nodes all vanish is 10^-9. A lookup still finds the remaining nodes with the root item.
 */
const ROOT_COPIES = 2;

export interface PutRequest {
  readonly target: Id;
  readonly salt?: Uint8Array;
  /** The item to put, if it does not depend on the newest version on the network. Such an item is stored sooner. */
  readonly item?: Item;
  /** The seq of the version that the put may replace (BEP 44). */
  readonly cas?: Seq;
  /**
   * Whether each node may replace only the version that it returned before the put. We then notice if another node puts
   * a value in the meantime.
   */
  readonly isGuarded?: boolean;
  /** The number of nodes that should acknowledge the put. */
  readonly minReplicas: number;
  /** The time for which the nodes should keep the item; a day by default. */
  readonly lifeMs?: number;
}

/** Receives the newest version on the network. Returns the item to put, or an error. */
export type MakeItem = (newest: Item | undefined) => Item | ItemError;

/**
 * For a value of at least this size, more nodes are asked for room. For a smaller value, the additional lookups would
 * cost too much: each sends about 20 kB.
 */
const MUCH_BYTES = 1 << 20;

/** The number of random targets around which nodes are asked for room, for small and for large values. */
const FEW_PLACES = 1, MORE_PLACES = 3;

/** Whether the network has room for a value, and the figures from which this follows. */
export interface RoomAnswer extends Room {
  readonly fits: boolean;
}

/** The core of a node, and its clock. */
export interface ItemCore extends Pick<CoreRunner, "node" | "ask"> {
  readonly clock: Pick<CoreRunner["clock"], "now">;
}

export class NetworkItems implements ItemNetwork {
  readonly #closing = new AbortController();

  constructor(private readonly core: ItemCore) {}

  get ownId(): Id {
    return this.core.node.id;
  }

  /** The number of nodes that this node knows, itself included. */
  get knownNodes(): number {
    return this.core.node.tables.size + 1;
  }

  /** Returns the given nodes without this node. */
  others(nodes: readonly Id[]): Id[] {
    return nodes.filter((id) => !id.equals(this.ownId));
  }

  get(target: Id, salt?: Uint8Array): Promise<GetResult> {
    return this.core.ask((at, done) => this.core.node.items.get({ target, salt }, at, done));
  }

  put({ minReplicas, ...request }: PutRequest, make: MakeItem): Promise<PutResult> {
    const options = { wanted: minReplicas, clock, signal: this.#closing.signal };
    return putRepeatedly(
      options,
      () =>
        this.core.ask((at, done) =>
          this.core.node.items.put({ ...request, make, isOwn: true }, at, done)
        ),
    );
  }

  /** Waits for `ms`, or until the node closes. */
  sleep(ms: number): Promise<void> {
    return clock.sleep(ms, this.#closing.signal);
  }

  replicas(target: Id, salt?: Uint8Array): Promise<ReplicasResult> {
    return this.core.ask((at, done) => this.core.node.items.replicas({ target, salt }, at, done));
  }

  /**
   * Asks nodes whether they have room for a value. One copy of all its items needs `bytes` bytes (`itemCost`). Each
   * item should be on `copies` nodes for `lifeMs`. At least `wanted` nodes, including this one, must acknowledge the
   * value.
   *
   * In a small network, `wanted` nodes must have room for the whole value. In a larger network, half of the asked nodes
   * must have room for their share of the value. A node without peers always has room for its own values.
   */
  async roomFor(
    { bytes, copies, lifeMs, wanted }: {
      readonly bytes: number;
      readonly copies: number;
      readonly lifeMs?: number;
      readonly wanted: number;
    },
  ): Promise<RoomAnswer> {
    const places = bytes < MUCH_BYTES ? FEW_PLACES : MORE_PLACES;
    const targets = Array.from({ length: places }, randomId);
    const room = await this.core.ask<Room>((at, done) =>
      this.core.node.items.room({ bytes, copies, lifeMs, targets }, at, done)
    );
    const { asked, withRoom, isAll } = room;
    const enough = isAll ? Math.min(asked, Math.max(1, wanted - 1)) : asked / 2;
    return { ...room, fits: withRoom >= enough };
  }

  /** Keeps an item published. Resolves once the item is saved to disk, or saving has failed. */
  keepPublished(part: StoredPart): Promise<boolean> {
    return this.core.ask((at, done) => this.core.node.replicator.keepPublished(part, at, done));
  }

  /** Drops the copy of an item that this node holds for the network. */
  drop(target: Id): void {
    this.core.node.host.items.remove(target);
  }

  /** The estimated number of nodes in the network. With fewer than k contacts, the number of contacts. */
  size(): number {
    const { node, clock } = this.core, { size, k } = node.tables;
    const estimate = node.searches.networkSize(clock.now());
    return size < k ? size : Math.max(k, Math.round(estimate ?? size));
  }

  batch({ lifeMs, purpose }: Parameters<ItemNetwork["batch"]>[0] = {}): ItemBatch {
    const batch = this.core.node.batch(purpose);
    return {
      putPiece: (item, copies) =>
        this.core.ask((at, done) =>
          this.core.node.items.putPart({ item, batch, copies, lifeMs }, at, done)
        ),
      putRoot: (item) => {
        const copies = ROOT_COPIES * this.core.node.tables.k;
        return this.core.ask((at, done) =>
          this.core.node.items.putPart({ item, batch, copies, lifeMs }, at, done)
        );
      },
      get: (target) =>
        this.core.ask((at, done) => this.core.node.items.getPart({ target, batch }, at, done)),
      close: () => {},
    };
  }

  /** Stops the retries of all puts. */
  close(): void {
    this.#closing.abort();
  }
}
