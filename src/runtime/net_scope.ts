// Whom the node may exchange packets with: `--allow-net`, enforced for every packet.

import { lookup } from "node:dns/promises";
import { cidrIncludes, type HostPort, type NetScope } from "../config.ts";
import { Endpoint, type Family } from "../krpc/endpoint.ts";

/** Decides by address alone; host names of a list count as the addresses they had when last resolved. */
export class NetFilter {
  readonly #scope: NetScope;
  #resolved: ReadonlySet<string> = new Set();

  constructor(scope: NetScope) {
    this.#scope = scope;
  }

  /** Looks the list's host names up, again. Names that can't be resolved are returned; they allow nobody. */
  async resolve(): Promise<string[]> {
    if (this.#scope.mode !== "list") return [];
    const names = this.#scope.entries.flatMap((entry) => entry.kind === "host" ? [entry.name] : []);
    const resolved = new Set<string>();
    const failed: string[] = [];
    for (const name of names) {
      const hosts = await resolveHost(name);
      if (hosts.length === 0) failed.push(name);
      for (const host of hosts) resolved.add(host);
    }
    this.#resolved = resolved;
    return failed;
  }

  allows(endpoint: Endpoint): boolean {
    const scope = this.#scope;
    if (scope.mode === "any") return true;
    if (scope.mode === "loopback") {
      return endpoint.family === 4 ? endpoint.a >>> 24 === 127 : endpoint.scope === "loopback";
    }
    return this.#resolved.has(endpoint.host) ||
      scope.entries.some((entry) => entry.kind === "cidr" && cidrIncludes(entry, endpoint));
  }
}

/** The endpoints behind a list of names and addresses; names that have none are reported. */
export async function resolveAll(
  nodes: readonly HostPort[],
  families: readonly Family[],
): Promise<{ endpoints: Endpoint[]; unresolved: HostPort[] }> {
  const endpoints: Endpoint[] = [];
  const unresolved: HostPort[] = [];
  await Promise.all(nodes.map(async (node) => {
    const hosts = await resolveHost(node.host);
    const found = hosts.flatMap((host) => Endpoint.parse(host, node.port) ?? [])
      .filter((endpoint) => families.includes(endpoint.family));
    if (found.length === 0) unresolved.push(node);
    endpoints.push(...found);
  }));
  return { endpoints, unresolved };
}

/** The addresses of a name, of both families and from the hosts file too; an address is its own. */
async function resolveHost(name: string): Promise<string[]> {
  const literal = Endpoint.parse(name, 1);
  if (literal !== undefined) return [literal.host];
  const answers = await lookup(name, { all: true }).catch(() => []);
  return answers.flatMap(({ address }) => Endpoint.parse(address, 1)?.host ?? []);
}
