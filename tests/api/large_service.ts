// A NodeService with items in memory. Large values are trees of items.

import { type Clock } from "../../src/large_values/item_network.ts";
import { LargeValues } from "../../src/large_values/large_values.ts";
import { decodeRoot } from "../../src/large_values/manifest.ts";
import { Id } from "../../src/krpc/id.ts";
import { dataCrypto } from "../../src/runtime/identity/crypto.ts";
import { TransferError } from "../../src/large_values/transfers.ts";
import type {
  FetchOutcome,
  LargeValue,
  StoreOptions,
  StoreOutcome,
} from "../../src/node_service.ts";
import { InstantClock, MemoryNetwork, SimpleBlobs } from "../large_values/memory_network.ts";
import { FakeService } from "./fake_service.ts";

export class LargeService extends FakeService {
  readonly network = new MemoryNetwork();
  readonly blobs = new SimpleBlobs();
  /** Stores large values as if under a key. */
  seq: number | null = null;
  /** The hints that the clients of stores gave about their values. */
  readonly announced: StoreOptions[] = [];
  readonly #large: LargeValues;

  constructor(clock: Clock = new InstantClock()) {
    super();
    const { network } = this;
    this.#large = new LargeValues({
      network,
      blobs: this.blobs,
      crypto: dataCrypto,
      clock,
      onProgress: () => {},
      ownValue: () => undefined,
    });
  }

  override async store(
    value: Uint8Array | AsyncIterable<Uint8Array>,
    key: string | null,
    options: StoreOptions = {},
  ): Promise<StoreOutcome> {
    if (value instanceof Uint8Array) return await super.store(value, key);
    this.announced.push(options);
    try {
      const { root, size, replicas, nodes } = await this.#large.store(value, options);
      return {
        outcome: "stored",
        report: {
          hash: `${root.target}`,
          kind: "chunked",
          key,
          seq: this.seq,
          size,
          replicas,
          nodes: nodes.map(String),
          lives_until: null,
          this_node_only: true,
          elapsed_ms: 1,
        },
      };
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      const outcome = error.failure === "busy" ? "busy" : "unreachable";
      return { outcome, detail: error.message };
    }
  }

  override async fetch(hash: string, key: string | null): Promise<FetchOutcome> {
    const item = this.network.items.get(hash);
    if (item === undefined) return await super.fetch(hash, key);
    const root = decodeRoot(item.value);
    if (root === undefined) return { outcome: "invalid", detail: `Item ${hash} is no root.` };
    return {
      outcome: "large",
      value: {
        hash,
        root: hash,
        size: root.size,
        hint: root.hint,
        seq: this.seq,
        publicKey: this.seq === null ? null : new Uint8Array(32).fill(0xab),
        manifest: item.value,
      },
    };
  }

  override openDownload(value: LargeValue, start: number, end: number): Promise<number> {
    const target = Id.parse(value.root)!, root = decodeRoot(value.manifest)!;
    return Promise.resolve(
      this.streams.openDownload((signal) => this.#large.read(target, root, { start, end, signal })),
    );
  }
}
