// The addresses, node ids and public keys whose packets the node drops. The list is checked for every packet.

import { parseDenied } from "../../config/deny_list.ts";
import { network } from "../../krpc/address_range.ts";
import type { Endpoint, Family } from "../../krpc/endpoint.ts";

type Networks = Map<number, Set<number | string>>;

export class DenyList {
  /**
   * The networks of each family, by their prefix length. Lists have thousands of networks, but only a few different
   * prefix lengths.
   */
  readonly #networks: Readonly<Record<Family, Networks>> = { 4: new Map(), 6: new Map() };
  readonly ids: ReadonlySet<string>;
  /** Public keys of nodes, in hex. This node learns which nodes have these keys while it runs. */
  readonly keys: ReadonlySet<string>;

  /** `entries` has the form that `parseDenyList` returns. */
  constructor(entries: readonly string[] = []) {
    const ids = new Set<string>(), keys = new Set<string>();
    for (const entry of entries) {
      const parsed = parseDenied(entry);
      if (typeof parsed === "string") continue;
      if (parsed.kind === "id") {
        ids.add(parsed.id);
        continue;
      }
      if (parsed.kind === "key") {
        keys.add(parsed.key);
        continue;
      }
      const { address, prefix } = parsed, networks = this.#networks[address.family];
      if (!networks.has(prefix)) networks.set(prefix, new Set());
      networks.get(prefix)!.add(network(address, prefix));
    }
    this.ids = ids;
    this.keys = keys;
  }

  /** Whether the list contains the address of `endpoint`. */
  has(endpoint: Endpoint): boolean {
    const networks = this.#networks[endpoint.family];
    if (networks.size === 0) return false;
    for (const [prefix, denied] of networks) {
      if (denied.has(network(endpoint, prefix))) return true;
    }
    return false;
  }
}
