// A NodeService whose values are items of a network in memory, large ones as trees of them.

import { type Clock } from "../../src/data/item_network.ts";
import { LargeValues } from "../../src/data/large_values.ts";
import { decodeRoot } from "../../src/data/manifest.ts";
import { Id } from "../../src/krpc/id.ts";
import { dataCrypto } from "../../src/runtime/crypto.ts";
import type { FetchOutcome, StoreOptions, StoreOutcome } from "../../src/runtime/service.ts";
import { TransferError } from "../../src/runtime/service.ts";
import { InstantClock, MemoryNetwork } from "../data/memory_network.ts";
import { FakeService } from "./fake_service.ts";

export class LargeService extends FakeService {
  readonly network = new MemoryNetwork();
  /** Pretends that large values are under a key. */
  seq: number | null = null;
  /** What the client of each store said of the value. */
  readonly announced: StoreOptions[] = [];
  readonly #large: LargeValues;

  constructor(clock: Clock = new InstantClock()) {
    super();
    const { network } = this;
    this.#large = new LargeValues({ network, crypto: dataCrypto, clock, onProgress: () => {} });
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
          hash: `${root}`,
          kind: "chunked",
          key,
          seq: this.seq,
          size,
          replicas,
          nodes: nodes.map(String),
          elapsedMs: 1,
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
        read: (start, end, signal) => this.#large.read(Id.parse(hash)!, root, start, end, signal),
      },
    };
  }
}
