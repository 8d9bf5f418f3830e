// The addresses of the bootstrap nodes: names looked up, this node itself left out, and what is odd told.

import type { Logger } from "logtape";
import type { HostPort } from "../config.ts";
import type { Endpoint, Family } from "../krpc/endpoint.ts";
import { resolveAll, type ResolveName } from "./net_scope.ts";
import { StateLog } from "./state_log.ts";

export interface BootstrapOptions {
  readonly nodes: readonly HostPort[];
  readonly families: readonly Family[];
  readonly resolve: ResolveName;
  /** Whether packets may go there. */
  allows(endpoint: Endpoint): boolean;
  /** Whether it is this node that answers there. */
  isOurselves(endpoint: Endpoint): Promise<boolean>;
  readonly now: () => number;
  readonly log: Logger;
}

export class BootstrapNodes {
  readonly #options: BootstrapOptions;
  readonly #state = new StateLog();
  readonly #ourselves = new Set<string>();
  /** As they were told for the log and the like. */
  readonly text: string;
  /** Whether no other node than this one is named. */
  isAlone: boolean;
  /** Those that had no address when they were looked up last. */
  unresolved: readonly string[] = [];

  constructor(options: BootstrapOptions) {
    this.#options = options;
    this.text = options.nodes.map(hostPortText).join(", ") || "none configured";
    this.isAlone = options.nodes.length === 0;
  }

  /** Looks all names up. */
  async resolve(): Promise<Endpoint[]> {
    const { nodes, families, resolve, allows, now, log } = this.#options;
    const { endpoints, unresolved } = await resolveAll(nodes, families, resolve);
    this.unresolved = unresolved.map(hostPortText);
    for (const node of this.unresolved) {
      if (!this.#state.isDue(node, "no address", now())) continue;
      log.warning("Bootstrap node {node} has no address that this node can use", { node });
    }
    for (const endpoint of endpoints) {
      const node = `${endpoint}`;
      if (allows(endpoint) || !this.#state.isDue(node, "not allowed", now())) continue;
      log.warning(
        "Bootstrap node {node} is outside of what --allow-net permits: it can't be reached",
        { node },
      );
    }
    const others = await this.#withoutOurselves(endpoints);
    this.isAlone = unresolved.length === 0 && others.length === 0;
    return others;
  }

  /** Who names all nodes of a network to each of them names each to itself. */
  async #withoutOurselves(endpoints: readonly Endpoint[]): Promise<Endpoint[]> {
    const own = await Promise.all(endpoints.map((to) => this.#options.isOurselves(to)));
    endpoints.forEach((endpoint, i) => {
      const node = `${endpoint}`;
      if (!own[i] || this.#ourselves.has(node)) return;
      this.#ourselves.add(node);
      this.#options.log.info("Bootstrap node {node} is this node itself: it is left out", { node });
    });
    return endpoints.filter((_, i) => !own[i]);
  }
}

function hostPortText({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
