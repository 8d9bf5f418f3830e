// The addresses that the node may exchange packets with: `--allow-net`, enforced for every packet.

import { lookup } from "node:dns/promises";
import type { HostPort, NetScope } from "../../config/addresses.ts";
import { cidrIncludes } from "../../krpc/address_range.ts";
import { Endpoint, type Family } from "../../krpc/endpoint.ts";
import { DenyList } from "./deny_list.ts";

/** Looks up the addresses of a name. Returns an empty list if there are none. Never rejects. */
export type ResolveName = (name: string) => Promise<string[]>;

/** Resolves names through the system, for both address families and with the hosts file. */
export const systemNames: ResolveName = async (name) =>
  (await lookup(name, { all: true }).catch(() => [])).map(({ address }) => address);

/** Allows or refuses addresses. A host name in the list allows the addresses that its latest lookup found. */
export class NetFilter {
  /** The deny list, which takes precedence over the allowed addresses. */
  denied = new DenyList();
  #resolved: ReadonlySet<string> = new Set();

  constructor(
    private readonly scope: NetScope,
    private readonly resolveName: ResolveName = systemNames,
  ) {}

  /** Looks up the host names in the list. Returns the names that have no address and therefore allow nobody. */
  async resolve(): Promise<string[]> {
    if (this.scope.mode !== "list") return [];
    const found = new Map<string, string[]>();
    for (const entry of this.scope.entries) {
      if (entry.kind !== "host") continue;
      found.set(entry.name, await resolveHost(entry.name, this.resolveName));
    }
    this.#resolved = new Set([...found.values()].flat());
    return [...found.keys()].filter((name) => found.get(name)!.length === 0);
  }

  allows(endpoint: Endpoint): boolean {
    const scope = this.scope;
    if (this.denied.has(endpoint)) return false;
    if (scope.mode === "any") return true;
    if (scope.mode === "loopback") {
      return endpoint.family === 4 ? endpoint.a >>> 24 === 127 : endpoint.scope === "loopback";
    }
    return (this.#resolved.size > 0 && this.#resolved.has(endpoint.host)) ||
      scope.entries.some((entry) => entry.kind === "cidr" && cidrIncludes(entry, endpoint));
  }
}

/**
 * A node in a list that has no usable address: DNS has none for its name, or only addresses of a
 * family without a socket.
 */
export interface Unresolved {
  readonly node: HostPort;
  readonly cause: "dns" | "family";
}

/** Resolves a list of names and addresses to endpoints. */
export async function resolveAll(
  nodes: readonly HostPort[],
  families: readonly Family[],
  resolve: ResolveName = systemNames,
): Promise<{ endpoints: Endpoint[]; unresolved: Unresolved[] }> {
  const endpoints: Endpoint[] = [];
  const unresolved: Unresolved[] = [];
  await Promise.all(nodes.map(async (node) => {
    const hosts = await resolveHost(node.host, resolve);
    const found = hosts.flatMap((host) => Endpoint.parse(host, node.port) ?? [])
      .filter((endpoint) => families.includes(endpoint.family));
    if (found.length === 0) unresolved.push({ node, cause: hosts.length === 0 ? "dns" : "family" });
    endpoints.push(...found);
  }));
  return { endpoints, unresolved };
}

/** Returns the addresses of a name. If `name` is an address, returns only this address. */
async function resolveHost(name: string, resolve: ResolveName): Promise<string[]> {
  const literal = Endpoint.parse(name, 1);
  if (literal !== undefined) return [literal.host];
  return (await resolve(name)).flatMap((address) => Endpoint.parse(address, 1)?.host ?? []);
}
