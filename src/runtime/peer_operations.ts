// Implements NodeService's methods that ping peers or look them up.

import type { HostPort } from "../config/addresses.ts";
import type { Millis } from "../dht/deadlines.ts";
import type { ReachResult } from "../dht/nat/reaching.ts";
import type { PingResult } from "../dht/node.ts";
import type { FindResult } from "../dht/search/searches.ts";
import type { Candidate } from "../dht/search/lookup.ts";
import type { Endpoint, Family } from "../krpc/endpoint.ts";
import { distanceBits, Id } from "../krpc/id.ts";
import type { AddressPingOutcome, NodeService, PingOutcome } from "../node_service.ts";
import type { Lookup, TraceStep } from "../reports/peers.ts";
import type { CoreRunner } from "./core_runner.ts";
import { type NetFilter, resolveAll, type ResolveName } from "./net/net_scope.ts";

export interface PeerOperationsOptions {
  readonly core: CoreRunner;
  readonly bucketSize: number;
  readonly address: string;
  readonly families: readonly Family[];
  readonly filter: NetFilter;
  readonly resolve: ResolveName;
  /** Joins through a node that has answered a ping. */
  readonly join: (endpoint: Endpoint) => void;
}

export class PeerOperations
  implements Pick<NodeService, "ping" | "pingAddress" | "connect" | "find"> {
  constructor(private readonly options: PeerOperationsOptions) {}

  async ping(id: string): Promise<PingOutcome> {
    const target = Id.from(id), { node } = this.options.core;
    if (target.equals(node.id)) {
      const { address } = this.options;
      const report = { node_id: id, address, rtt_ms: 0, health: "healthy", via: "direct" } as const;
      return { outcome: "pong", report };
    }
    const result = await this.options.core.ask<ReachResult>((at, done) =>
      node.hidden.cross().reaching.reach(target, at, done)
    );
    if (result.kind === "unknown") return { outcome: "unknown" };
    const address = `${result.endpoint}`;
    if (result.kind === "timeout") return { outcome: "timeout", address };
    const health = node.tables.find(target)?.health ?? "healthy";
    const report = { node_id: id, address, rtt_ms: result.rtt, health, via: result.way };
    return { outcome: "pong", report };
  }

  pingAddress(to: HostPort): Promise<AddressPingOutcome> {
    return this.#pingAddress(to);
  }

  connect(to: HostPort): Promise<AddressPingOutcome> {
    return this.#pingAddress(to, this.options.join);
  }

  /** Pings a host. If it answers, calls `onPong`. */
  async #pingAddress(
    to: HostPort,
    onPong: (endpoint: Endpoint) => void = () => {},
  ): Promise<AddressPingOutcome> {
    const { families, filter, resolve } = this.options, { node } = this.options.core;
    const { endpoints } = await resolveAll([to], families, resolve);
    if (endpoints.length === 0) return { outcome: "no_address" };
    const endpoint = endpoints.find((candidate) => filter.allows(candidate));
    if (endpoint === undefined) return { outcome: "not_allowed", address: `${endpoints[0]}` };
    const address = `${endpoint}`;
    const result = await this.options.core.ask<PingResult>((at, done) =>
      node.ping(endpoint, at, done)
    );
    if (result.kind === "timeout") return { outcome: "timeout", address };
    // Skip `onPong` if this node has answered its own ping.
    if (!result.id.equals(node.id)) onPong(endpoint);
    const health = node.tables.find(result.id)?.health ?? "healthy";
    const report = { node_id: `${result.id}`, address, rtt_ms: result.rtt, health };
    return { outcome: "pong", report: { ...report, via: "direct" } };
  }

  async find(id: string): Promise<Lookup> {
    const target = Id.from(id), { node } = this.options.core;
    const result = await this.options.core.ask<FindResult>((at, done) =>
      node.find(target, at, done)
    );
    const nodes = result.closest.slice(0, this.options.bucketSize).map(({ id, endpoint }) => ({
      node_id: `${id}`,
      address: `${endpoint}`,
      distance: distanceBits(id, target),
    }));
    return {
      target: id,
      found: target.equals(node.id) || nodes[0]?.node_id === id,
      nodes,
      hops: result.hops,
      queries: result.asked.length,
      elapsed_ms: result.elapsed,
      trace: result.asked.map((candidate) => traceStep(candidate, result.startedAt)),
    };
  }
}

function traceStep(candidate: Candidate, startedAt: Millis): TraceStep {
  const { id, endpoint, hop, sentAt, rtt, state } = candidate;
  return {
    node_id: id?.toString() ?? null,
    address: `${endpoint}`,
    hop,
    started_ms: sentAt - startedAt,
    rtt_ms: Number.isNaN(rtt) ? null : rtt,
    outcome: state === "responded"
      ? state
      : state !== "failed" && state !== "overdue"
      ? "pending"
      : Number.isNaN(rtt)
      ? "timeout"
      : "error",
  };
}
