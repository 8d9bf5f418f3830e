// The multicast sockets for beacons: one that receives over IPv4, one for each interface that receives over IPv6, and
// one for each beacon that is sent.

import { Endpoint, type Family } from "../../krpc/endpoint.ts";
import {
  type LinkAddress,
  linkAddresses,
  type OwnAddress,
  systemAddresses,
} from "./own_addresses.ts";

/**
 * The multicast groups for beacons. Routers don't forward packets to these groups: the IPv4 group is in the
 * administratively scoped range (RFC 2365), and the IPv6 group is link-local and not assigned by IANA (RFC 4291,
 * section 2.7).
 */
const GROUPS: Readonly<Record<Family, string>> = {
  4: "239.255.104.116",
  6: "ff12::646d:6e6f:6465",
};

/** The UDP port for beacons. Tests use another port. */
const GROUP_PORT = 8_787;

/** Maximum number of interfaces at which IPv6 beacons are received. A host with many containers has many interfaces. */
const MAX_LINKS = 32;

/** Pause after a failed receive, so that a socket that keeps failing does not use up the CPU. */
const RECEIVE_PAUSE_MS = 1_000;

/** An address from which beacons are sent. */
export type BeaconAddress = (OwnAddress & { readonly family: 4 }) | LinkAddress;

/** The addresses of this machine that can send beacons. */
export function beaconAddresses(): BeaconAddress[] {
  const ipv4 = systemAddresses().filter((own): own is BeaconAddress => own.family === 4);
  return [...ipv4, ...linkAddresses()];
}

export interface BeaconSocketsOptions {
  readonly groupPort?: number;
  /** Maximum size of a datagram in bytes. Longer datagrams arrive truncated to one byte more. */
  readonly maxBytes: number;
  /**
   * Called with each datagram, with the address of its sender and, if the datagram arrived over IPv6, with the
   * interface. The bytes are overwritten after the call.
   */
  readonly receive: (datagram: Uint8Array, from: Endpoint, interfaceName?: string) => void;
}

export class BeaconSockets {
  readonly #options: BeaconSocketsOptions;
  readonly #port: number;
  /** The socket that receives over IPv4, and those that receive over IPv6, by interface. */
  #ipv4: Deno.DatagramConn | undefined;
  readonly #links = new Map<string, Deno.DatagramConn>();
  /** The IPv4 addresses at which the group was joined. */
  readonly #joined = new Set<string>();
  #closed = false;

  constructor(options: BeaconSocketsOptions) {
    this.#options = options;
    this.#port = options.groupPort ?? GROUP_PORT;
  }

  /** Receives beacons at these addresses from now on, and no longer at other ones. */
  async listen(addresses: readonly BeaconAddress[]): Promise<void> {
    const keys = new Set(addresses.map(keyOf));
    for (const key of this.#joined) if (!keys.has(key)) this.#joined.delete(key);
    for (const [key, conn] of this.#links) {
      if (keys.has(key)) continue;
      this.#links.delete(key);
      conn.close();
    }
    for (const address of addresses) {
      if (this.#closed) return;
      // Ignore errors: the machine may have just lost the address, or can't use it yet. The next call tries again.
      try {
        if (address.family === 4) await this.#joinIpv4(address.host);
        else await this.#joinIpv6(address);
      } catch { /* see above */ }
    }
  }

  /** Sends a beacon from an address, through its interface. A beacon that can't be sent is lost. */
  async send(beacon: Uint8Array, from: BeaconAddress): Promise<void> {
    const group = from.family === 4 ? GROUPS[4] : `${GROUPS[6]}%${from.interfaceName}`;
    let conn: Deno.DatagramConn | undefined;
    try {
      const bound = { transport: "udp", hostname: from.host, port: 0, loopback: true } as const;
      conn = Deno.listenDatagram(bound);
      await conn.send(beacon, { transport: "udp", hostname: group, port: this.#port });
    } catch {
      // Ignore the error: the machine has just lost the address, or its network has no multicast.
    } finally {
      conn?.close();
    }
  }

  close(): void {
    this.#closed = true;
    this.#ipv4?.close();
    for (const conn of this.#links.values()) conn.close();
  }

  async #joinIpv4(address: string): Promise<void> {
    if (this.#joined.has(address)) return;
    if (this.#ipv4 === undefined) {
      this.#ipv4 = this.#open("0.0.0.0");
      void this.#receive(this.#ipv4);
    }
    try {
      await this.#ipv4.joinMulticastV4(GROUPS[4], address);
      this.#joined.add(address);
    } catch (error) {
      // Ignore this error: the socket has already joined through another address of this interface, which is enough.
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }

  /** Opens a socket that receives at one interface: Deno does not report the interface at which a packet arrives. */
  async #joinIpv6(address: LinkAddress): Promise<void> {
    const { interfaceName, interfaceIndex } = address, key = keyOf(address);
    if (this.#links.has(key) || this.#links.size >= MAX_LINKS) return;
    // Bind to the group, so that the socket receives only packets to the group.
    const conn = this.#open(`${GROUPS[6]}%${interfaceName}`);
    this.#links.set(key, conn);
    try {
      await conn.joinMulticastV6(GROUPS[6], interfaceIndex);
      void this.#receive(conn, interfaceName);
    } catch {
      this.#links.delete(key);
      conn.close();
    }
  }

  /**
   * Opens a socket at the port for beacons. Several nodes of one machine share the port, and each gets every beacon.
   */
  #open(hostname: string): Deno.DatagramConn {
    const address = { transport: "udp", hostname, port: this.#port } as const;
    return Deno.listenDatagram({ ...address, reuseAddress: true });
  }

  async #receive(conn: Deno.DatagramConn, interfaceName?: string): Promise<void> {
    const buffer = new Uint8Array(this.#options.maxBytes + 1);
    while (this.#isOpen(conn)) {
      try {
        const [datagram, address] = await conn.receive(buffer);
        const from = Endpoint.parse((address as Deno.NetAddr).hostname, 1);
        if (from !== undefined) this.#options.receive(datagram, from, interfaceName);
      } catch {
        if (!this.#isOpen(conn)) return;
        await new Promise((resolve) => setTimeout(resolve, RECEIVE_PAUSE_MS));
      }
    }
  }

  #isOpen(conn: Deno.DatagramConn): boolean {
    return !this.#closed &&
      (conn === this.#ipv4 || this.#links.values().some((link) => link === conn));
  }
}

/** Names a place at which beacons are received: an IPv4 address, or an interface with IPv6. */
function keyOf(address: BeaconAddress): string {
  return address.family === 4 ? address.host : `${address.interfaceName} ${address.interfaceIndex}`;
}
