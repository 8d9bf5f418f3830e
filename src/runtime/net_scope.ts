// Whom the node may exchange packets with: `--allow-net`, enforced for every packet.

import { lookup } from "node:dns/promises";
import type { HostPort, NetScope } from "../config.ts";
import { cidrIncludes } from "../krpc/address_range.ts";
import { Endpoint, type Family } from "../krpc/endpoint.ts";

/** The addresses of a name, none where it has none; never rejects. */
export type ResolveName = (name: string) => Promise<string[]>;

/** As the system resolves names: of both families, and from the hosts file too. */
export const systemNames: ResolveName = async (name) =>
  (await lookup(name, { all: true }).catch(() => [])).map(({ address }) => address);

/** Decides by address alone; host names of a list count as the addresses they had when last resolved. */
export class NetFilter {
  readonly #scope: NetScope;
  readonly #resolve: ResolveName;
  #resolved: ReadonlySet<string> = new Set();

  constructor(scope: NetScope, resolve: ResolveName = systemNames) {
    this.#scope = scope;
    this.#resolve = resolve;
  }

  /** Looks the list's host names up, again. Names that can't be resolved are returned; they allow nobody. */
  async resolve(): Promise<string[]> {
    if (this.#scope.mode !== "list") return [];
    const names = this.#scope.entries.flatMap((entry) => entry.kind === "host" ? [entry.name] : []);
    const resolved = new Set<string>();
    const failed: string[] = [];
    for (const name of names) {
      const hosts = await resolveHost(name, this.#resolve);
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
    return (this.#resolved.size > 0 && this.#resolved.has(endpoint.host)) ||
      scope.entries.some((entry) => entry.kind === "cidr" && cidrIncludes(entry, endpoint));
  }
}

/** The endpoints behind a list of names and addresses; names that have none are reported. */
export async function resolveAll(
  nodes: readonly HostPort[],
  families: readonly Family[],
  resolve: ResolveName = systemNames,
): Promise<{ endpoints: Endpoint[]; unresolved: HostPort[] }> {
  const endpoints: Endpoint[] = [];
  const unresolved: HostPort[] = [];
  await Promise.all(nodes.map(async (node) => {
    const hosts = await resolveHost(node.host, resolve);
    const found = hosts.flatMap((host) => Endpoint.parse(host, node.port) ?? [])
      .filter((endpoint) => families.includes(endpoint.family));
    if (found.length === 0) unresolved.push(node);
    endpoints.push(...found);
  }));
  return { endpoints, unresolved };
}

/** The addresses of a name; an address is its own. */
async function resolveHost(name: string, resolve: ResolveName): Promise<string[]> {
  const literal = Endpoint.parse(name, 1);
  if (literal !== undefined) return [literal.host];
  return (await resolve(name)).flatMap((address) => Endpoint.parse(address, 1)?.host ?? []);
}
