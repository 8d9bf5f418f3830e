// Finds the node's network: through the configured bootstrap nodes, and the contacts saved by the previous run.

import { getLogger } from "logtape";
import { type HostPort, hostPortText } from "../config/addresses.ts";
import type { BootstrapEvent, Seed } from "../dht/membership/membership.ts";
import type { PingResult } from "../dht/node.ts";
import type { Endpoint, Family } from "../krpc/endpoint.ts";
import { clock, within } from "./clock.ts";
import type { CoreRunner } from "./core_runner.ts";
import { LogThrottle } from "./journal.ts";
import { type NetFilter, resolveAll, type ResolveName, type Unresolved } from "./net/net_scope.ts";
import type { Standing } from "./reports/readiness.ts";
import { problemOf } from "./reports/unusable_reply.ts";

/**
 * Timeout of the ping that tests whether a bootstrap address is our own. A short timeout is enough, as we answer our
 * own ping fast.
 */
const OWN_ANSWER_MS = 300;

export interface JoiningOptions {
  readonly core: CoreRunner;
  readonly bootstrapNodes: readonly HostPort[];
  readonly families: readonly Family[];
  readonly port: number;
  readonly filter: NetFilter;
  readonly resolve: ResolveName;
  /** Whether the node has a network key. */
  readonly isSealed: boolean;
  /** Returns an address to which the system refuses to send packets, and the reason; null if there is none. */
  readonly unsent: () => string | null;
}

/** For each reason why the address of a bootstrap node can't be used, the text for the log. */
const CAUSES = {
  dns: "DNS gives no address for its name",
  family: "this node has no socket for its addresses (IPv4 or IPv6)",
} as const satisfies Record<Unresolved["cause"], string>;

export class Joining {
  readonly nodesText: string;
  readonly #log = getLogger(["dmnode", "node"]);
  readonly #throttle = new LogThrottle();
  /** Bootstrap addresses that turned out to be this node. */
  readonly #ownAddresses = new Set<string>();
  #state: "joining" | "joined" | "failed" = "joining";
  /** The problem with the answers of the bootstrap nodes; undefined if there is none. */
  #problem: string | undefined;
  /** Whether the settings name no bootstrap node, apart from this node. */
  #namesNobody: boolean;
  #isFirst = false;
  /** The bootstrap nodes for which the latest name lookup found no address. */
  #unresolved: readonly string[] = [];
  #isResolving = false;
  /** The endpoints of bootstrap nodes that were last passed to the core. */
  #endpoints: readonly Endpoint[] = [];
  /** The endpoints of the nodes on the local network through which this node has joined, one for each family. */
  readonly #met = new Map<Family, Endpoint>();
  #closed = false;

  constructor(private readonly options: JoiningOptions) {
    this.nodesText = options.bootstrapNodes.map(hostPortText).join(", ") || "none configured";
    this.#namesNobody = options.bootstrapNodes.length === 0;
  }

  /** Joins through the bootstrap nodes and `seeds`. While names are looked up, the node already answers queries. */
  start(seeds: readonly Seed[]): void {
    this.#isFirst = this.#namesNobody && seeds.length === 0;
    void this.#join(seeds);
  }

  /**
   * Looks up the names in `--allow-net`. If the latest lookup found no address for a bootstrap node, looks up all
   * bootstrap nodes too.
   */
  async resolveMissing(): Promise<void> {
    await this.resolveScope();
    // The node may already have joined through saved contacts, but not yet through the bootstrap
    // nodes that had no address.
    if (this.#unresolved.length > 0) await this.#join([]);
  }

  /** If the node has no contacts, looks up all names again. */
  async resolveIfAlone(): Promise<void> {
    const { core, bootstrapNodes } = this.options;
    if (core.node.tables.size > 0 || bootstrapNodes.length === 0) return;
    await this.resolveScope();
    await this.#join([]);
  }

  /** Looks up the names in `--allow-net`. */
  async resolveScope(): Promise<void> {
    for (const name of await this.options.filter.resolve()) {
      this.#log.warning("--allow-net: {name} has no address, so it allows nobody", { name });
    }
  }

  /** Records the outcome of the core's latest attempt to join. */
  note({ state, unusable }: BootstrapEvent): void {
    this.#state = state;
    this.#problem = unusable && problemOf(unusable);
  }

  /** Whether this endpoint is the address of a bootstrap node. */
  isBootstrap(endpoint: Endpoint): boolean {
    return this.#endpoints.some((known) => known.equals(endpoint));
  }

  /**
   * Pings a node that was found on the local network. If it answers and there is no other contact
   * of its address family, joins through it. A beacon may be replayed, so the join waits for the answer.
   */
  meet(endpoint: Endpoint): void {
    const { core } = this.options, { node } = core;
    const table = node.tables.byFamily[endpoint.family];
    if (table === undefined || table.at(endpoint) !== undefined) return;
    // Prefer other contacts to a link-local address, which is valid only on one link.
    if (endpoint.isLinkLocal && table.size > 0) return;
    core.do((at) =>
      node.ping(endpoint, at, ({ kind }, now) => {
        // Join only if the node answers and is the only contact. Don't pass the same endpoint to the core again: the
        // core retries it by itself.
        if (
          kind !== "pong" || table.size > 1 || this.#met.get(endpoint.family)?.equals(endpoint)
        ) return;
        this.#met.set(endpoint.family, endpoint);
        node.membership.join([...this.#endpoints, ...this.#met.values()], [], now);
      })
    );
  }

  /** Joins through a node that has answered a ping. */
  connect(endpoint: Endpoint): void {
    const { core } = this.options,
      others = this.#endpoints.filter((each) => !each.equals(endpoint));
    core.do((at) => core.node.membership.join([endpoint, ...others], [], at));
  }

  close(): void {
    this.#closed = true;
  }

  /** Returns whether this node is the first of its network, and the reason to report if no peer has answered yet. */
  standing(): Standing {
    const unsent = this.options.unsent();
    const reason = this.#isFirst
      ? "first node of its network: no other bootstrap nodes are configured, so only this node stores the values"
      : this.#unresolved.length > 0
      ? `no peer answers; bootstrap nodes that can't be reached: ${this.#unresolved.join(", ")}`
      : this.#state === "joining"
      ? "still joining the network"
      : this.#problem !== undefined
      ? `no peer gives a usable answer: ${this.#problem}`
      : unsent !== null
      ? `no peer answers; the system refuses to send packets to ${unsent}`
      : `no peer answers; bootstrap nodes: ${this.nodesText} (${
        this.options.isSealed
          ? "they must have the network key of this node"
          : "nodes with a network key answer only nodes that have it"
      })`;
    return { isFirst: this.#isFirst, reason };
  }

  async #join(seeds: readonly Seed[]): Promise<void> {
    if (this.#isResolving) return;
    this.#isResolving = true;
    const endpoints = await this.#resolveNodes();
    this.#isResolving = false;
    if (this.#closed) return;
    const { core } = this.options;
    if (this.#namesNobody && seeds.length === 0 && this.#state === "joining") this.#isFirst = true;
    // The core already has these endpoints, and retries them by itself.
    if (seeds.length === 0 && endpoints.join() === this.#endpoints.join()) return;
    this.#endpoints = endpoints;
    core.do((at) => core.node.membership.join(endpoints, seeds, at));
  }

  /** Returns the addresses of all bootstrap nodes except this one. Logs a warning for each node that can't be used. */
  async #resolveNodes(): Promise<Endpoint[]> {
    const { bootstrapNodes, families, resolve, filter } = this.options;
    const { endpoints, unresolved } = await resolveAll(bootstrapNodes, families, resolve);
    this.#unresolved = unresolved.map(({ node, cause }) =>
      `${hostPortText(node)} (${CAUSES[cause]})`
    );
    for (const { node: listed, cause } of unresolved) {
      const node = hostPortText(listed);
      if (!this.#throttle.isDue(node, "no address", clock.now())) continue;
      this.#log.warning(`Bootstrap node {node} can't be reached: ${CAUSES[cause]}`, { node });
    }
    for (const endpoint of endpoints) {
      const node = `${endpoint}`;
      if (filter.allows(endpoint) || !this.#throttle.isDue(node, "not allowed", clock.now())) {
        continue;
      }
      this.#log.warning(
        "Bootstrap node {node} is not permitted by --allow-net: it can't be reached",
        { node },
      );
    }
    const isOwn = await Promise.all(endpoints.map((endpoint) => this.#isOwn(endpoint)));
    const others = endpoints.filter((_, i) => !isOwn[i]);
    this.#namesNobody = unresolved.length === 0 && others.length === 0;
    return others;
  }

  /**
   * Whether an address is this node's own. If all nodes of a network have the same list of bootstrap nodes, the list
   * may name this node.
   */
  async #isOwn(endpoint: Endpoint): Promise<boolean> {
    const { core, port, filter } = this.options, node = `${endpoint}`;
    if (endpoint.port !== port || !filter.allows(endpoint)) return false;
    const answer = await within(
      clock,
      OWN_ANSWER_MS,
      core.ask<PingResult>((at, done) => core.node.ping(endpoint, at, done)),
    );
    if (answer?.kind !== "pong" || !answer.id.equals(core.node.id)) return false;
    if (!this.#ownAddresses.has(node)) {
      this.#ownAddresses.add(node);
      this.#log.info("Bootstrap node {node} is this node itself: the node skips it", { node });
    }
    return true;
  }
}
