// Asks the local router to map the P2P port and maintains the mapping, with one keeper for each address family.

import type { Family } from "../../krpc/endpoint.ts";
import { receive } from "./datagrams.ts";
import { Keeper, type KeeperOptions, type MappingState, OFF } from "./keeper.ts";

/** The address to listen on for announcements, which routers multicast when they start (RFC 6886, section 3.2.1). */
const ALL_HOSTS = "0.0.0.0";

/** The port mappings of one node. */
export class PortMapping {
  readonly #keepers = new Map<Family, Keeper>();
  readonly #closing = new AbortController();

  constructor(private readonly options: KeeperOptions) {}

  /** Starts looking for routers. `port` is the bound P2P port. */
  start(port: number, families: readonly Family[]): void {
    for (const family of families) {
      const keeper = new Keeper(family, port, this.options);
      this.#keepers.set(family, keeper);
      keeper.start();
    }
    this.#listen();
  }

  state(family: Family): MappingState {
    return this.#keepers.get(family)?.state ?? OFF;
  }

  /** Checks the mappings soon, because the network or the router may have changed. */
  recheck(): void {
    for (const keeper of this.#keepers.values()) keeper.recheck();
  }

  /**
   * Requests `externalPort`, at which peers see this node, instead of the mapped port. The two may differ if several
   * nodes behind one router use the same port, and the router translates incoming and outgoing packets differently.
   */
  prefer(family: Family, externalPort: number): void {
    this.#keepers.get(family)?.prefer(externalPort);
  }

  /** Releases the mappings. Settles within 2.5 s, even if the routers don't answer. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(Array.from(this.#keepers.values(), (keeper) => keeper.close()));
  }

  /** Listens for announcements of routers. Anybody on the network can send one, so it only triggers a check. */
  #listen(): void {
    const { host } = this.options, port = host.ports.announcements;
    let conn: Deno.DatagramConn;
    try {
      const address = { hostname: ALL_HOSTS, port, reuseAddress: true };
      conn = Deno.listenDatagram({ transport: "udp", ...address });
    } catch {
      return; // another program uses the port, so rely on the regular checks
    }
    void receive(conn, { host, closing: this.#closing.signal }, (_, from) => {
      for (const keeper of this.#keepers.values()) {
        if (keeper.state.lease?.gateway === from.host) keeper.noteAnnouncement();
      }
    });
  }
}
