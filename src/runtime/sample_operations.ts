// Implements NodeService's methods that sample the info-hashes of other nodes (BEP 51).

import type { SampleOutcome as CoreOutcome, WalkResult } from "../dht/search/sampler.ts";
import type { FindResult } from "../dht/search/searches.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import { Id } from "../krpc/id.ts";
import type { NodeService, SampleOutcome, WalkOutcome } from "../node_service.ts";
import type { CoreRunner } from "./core_runner.ts";

/** Cap on the walks that run at the same time. Each sends 20 queries a second. */
const MAX_WALKS = 2;

export class SampleOperations implements Pick<NodeService, "sampleNode" | "sampleNetwork"> {
  #walks = 0;

  constructor(private readonly core: CoreRunner) {}

  async sampleNode(id: string): Promise<SampleOutcome> {
    const expected = Id.from(id), endpoint = await this.#find(expected);
    if (endpoint === undefined) return { outcome: "unknown" };
    const result = await this.core.ask<CoreOutcome>((at, done) =>
      this.core.node.sampler.sample({ endpoint }, at, done)
    );
    const address = `${endpoint}`;
    if (result.kind !== "sample") return { outcome: result.kind, address };
    // Report a timeout if another node has taken over the address of the requested node.
    if (!result.sample.id.equals(expected)) return { outcome: "timeout", address };
    const { infoHashes, count, intervalS } = result.sample;
    const report = {
      node_id: `${result.sample.id}`,
      address,
      info_hashes: infoHashes.map(String),
      stored: count,
      interval_s: intervalS,
    };
    return { outcome: "sampled", report };
  }

  /** Returns the endpoint of the node with this id, from the contacts or by a lookup. */
  async #find(id: Id): Promise<Endpoint | undefined> {
    const { node } = this.core;
    const contact = node.tables.find(id);
    if (contact !== undefined) return contact.endpoint;
    const { closest } = await this.core.ask<FindResult>((at, done) => node.find(id, at, done));
    return closest.find((found) => found.id.equals(id))?.endpoint;
  }

  async sampleNetwork(queries: number): Promise<WalkOutcome> {
    if (this.#walks >= MAX_WALKS) return { outcome: "busy" };
    this.#walks++;
    const walked = await this.core.ask<WalkResult>((at, done) =>
      this.core.node.sampler.walk(queries, at, done)
    );
    this.#walks--;
    const report = {
      info_hashes: walked.infoHashes.map(String),
      queries: walked.queries,
      nodes: walked.answered,
      sampled: walked.sampled,
      stored: walked.stored,
      elapsed_ms: walked.elapsed,
    };
    return { outcome: "walked", report };
  }
}
