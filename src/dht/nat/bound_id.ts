// Binds the node's id to the address at which peers see the node (BEP 42).

import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import { ID_BYTES } from "../../krpc/id.ts";
import type { Random } from "../random.ts";
import { isSecureId, secureId } from "../routing/secure_id.ts";
import type { Tables } from "../routing/tables.ts";
import type { Self } from "../self.ts";
import type { Transport } from "../transport.ts";
import type { OwnAddresses } from "./own_address.ts";

/**
 * We change our id only if voters in at least this many networks report the same address. One voter is enough if this
 * machine has the address, or if no node knows our current id yet.
 */
const VOTES_TO_BIND = 3;

interface BoundIdParts {
  readonly own: OwnAddresses;
  readonly transport: Transport;
  readonly tables: Tables;
  readonly self: Self;
  readonly random: Random;
}

export class BoundId {
  readonly #parts: BoundIdParts;
  /** The address family to which the id is bound; undefined before the id is first bound. */
  #family: Family | undefined;

  constructor(parts: BoundIdParts) {
    this.#parts = parts;
  }

  /**
   * If our settled address and our id don't match, changes the id and returns the address. Otherwise, returns
   * undefined.
   */
  update(): Endpoint | undefined {
    const { self, random } = this.#parts;
    const address = this.#address();
    if (address === undefined) return undefined;
    this.#family = address.family;
    if (isSecureId(self.id, address)) return undefined;
    self.id = secureId(address, random.bytes(ID_BYTES));
    return address;
  }

  /**
   * The address that our id should match. One id can't match both an IPv4 and an IPv6 address, so IPv4 has priority if
   * IPv4 nodes answer. Once the id is bound to a family, it stays bound to that family.
   */
  #address(): Endpoint | undefined {
    const { own, tables, transport, self } = this.#parts;
    for (const family of this.#family === undefined ? tables.families : [this.#family]) {
      const { tally, isSettled } = own[family]!;
      if (tally === undefined) {
        if (tables.of(family).size >= VOTES_TO_BIND) return undefined;
        continue;
      }
      const { endpoint, votes } = tally;
      const isSure = isSettled &&
        (votes >= VOTES_TO_BIND || self.isUnbound || transport.isLocal(endpoint));
      return isSure && endpoint.scope === "global" ? endpoint : undefined;
    }
    return undefined;
  }
}
