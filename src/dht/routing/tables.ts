// What we know about the network: a routing table for each address family, and our own network
// coordinate.

import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import type { Id } from "../../krpc/id.ts";
import type { Millis } from "../deadlines.ts";
import type { Contact } from "./contact.ts";
import { OwnCoordinate } from "./coordinate.ts";
import { Hearsay } from "./hearsay.ts";
import { RoutingTable } from "./routing_table.ts";
import { SubnetLimit } from "./subnet_limit.ts";

export interface TablesOptions {
  readonly id: Id;
  /** The maximum number of contacts in a bucket. */
  readonly k: number;
  readonly families: readonly Family[];
  /** The maximum number of contacts from one /24 or /64 in a bucket; 0 for no limit. */
  readonly perSubnet?: number;
}

export class Tables {
  readonly k: number;
  readonly subnets: SubnetLimit;
  /** The address families that have a table, IPv4 first. */
  readonly families: readonly Family[];
  readonly coordinate = new OwnCoordinate();
  /** For each family with a table, the nodes that others have named. */
  readonly hearsay: { readonly [F in Family]?: Hearsay };
  #byFamily: { readonly [F in Family]?: RoutingTable } = {};

  constructor({ id, k, families, perSubnet }: TablesOptions, now: Millis) {
    this.k = k;
    this.subnets = new SubnetLimit(perSubnet);
    this.families = ([4, 6] as const).filter((family) => families.includes(family));
    this.hearsay = Object.fromEntries(this.families.map((family) => [family, new Hearsay(family)]));
    this.reset(id, now);
  }

  get byFamily(): { readonly [F in Family]?: RoutingTable } {
    return this.#byFamily;
  }

  /** Replaces all tables with empty tables around our new id. */
  reset(id: Id, now: Millis): void {
    const { k, subnets, families } = this;
    this.#byFamily = Object.fromEntries(
      families.map((family) => [family, new RoutingTable(id, { k, subnets }, now)]),
    );
  }

  /** Returns the table of an address family. Throws if there is none. */
  of(family: Family): RoutingTable {
    const table = this.#byFamily[family];
    if (table === undefined) throw new Error(`there is no table of family ${family}`);
    return table;
  }

  *contacts(): Iterable<Contact> {
    for (const family of this.families) yield* this.of(family).contacts();
  }

  /** Returns the contacts of an address family; none if the family has no table. */
  contactsOf(family: Family): Iterable<Contact> {
    return this.#byFamily[family]?.contacts() ?? [];
  }

  get size(): number {
    return (this.#byFamily[4]?.size ?? 0) + (this.#byFamily[6]?.size ?? 0);
  }

  /** Returns the contact with this id, in either address family. */
  find(id: Id): Contact | undefined {
    return this.#byFamily[4]?.find(id) ?? this.#byFamily[6]?.find(id);
  }

  /** The contact with this id, if it has this endpoint. */
  at(endpoint: Endpoint, id: Id): Contact | undefined {
    const contact = this.#byFamily[endpoint.family]?.find(id);
    return contact?.endpoint.equals(endpoint) ? contact : undefined;
  }
}
