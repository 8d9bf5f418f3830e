// The UDP sockets of a node. One socket serves all addresses. On Linux, a host with several
// addresses has an additional socket for each of them.

import { hostPortText } from "../../config/addresses.ts";
import { BoundedMap } from "../../dht/bounded_map.ts";
import type { Endpoint, Family } from "../../krpc/endpoint.ts";
import {
  isLinkLocal,
  mayReadAddresses,
  type OwnAddress,
  systemAddresses,
} from "./own_addresses.ts";
import { type UdpOptions, UdpSocket } from "./udp.ts";

/**
 * Maximum number of sockets for single addresses. A host with many containers has an address for each container
 * network.
 */
const MAX_OWN = 32;

/** Maximum number of nodes for which we remember the socket at which they reached us, or their interface. */
const MAX_ROUTES = 4_096;

/**
 * The interval at which the machine's addresses are read again. Until then, a new address works through the socket
 * that is bound to all addresses.
 */
const SCAN_INTERVAL_MS = 10_000;

export interface NodeSocketsOptions extends Omit<UdpOptions, "reuseAddress" | "onlyFamily"> {
  /** Reads the addresses of this machine. By default, reads the addresses that the system reports. */
  readonly ownAddresses?: () => OwnAddress[];
}

/**
 * Sends each reply through the socket at which the query arrived, so that the reply comes from the queried address.
 * Otherwise, the system would choose the address, and peers ignore replies from any but the queried address. So if a
 * node listens at all addresses, and a family has several, each address has its own socket.
 */
export class NodeSockets {
  readonly families: readonly Family[];
  readonly #options: NodeSocketsOptions;
  /**
   * The sockets that are bound to all addresses: one for both families or, if the system separates the families, one
   * for each.
   */
  readonly #shared: readonly UdpSocket[];
  readonly #sharedOf: { readonly [F in Family]?: UdpSocket };
  /** The sockets that are bound to a single address, by this address. */
  readonly #own = new Map<string, UdpSocket>();
  /** The socket at which each node last reached us, by the node's endpoint. */
  readonly #routes = new BoundedMap<string, UdpSocket>(MAX_ROUTES);
  /** The interfaces of link-local nodes, by the hosts of these nodes. */
  readonly #zones = new BoundedMap<string, string>(MAX_ROUTES);
  /** The sender of the packet that is being handled, and the socket at which it arrived. */
  #sender: Endpoint | undefined;
  #arrivedAt: UdpSocket | undefined;
  #scans: ReturnType<typeof setInterval> | undefined;

  /** `sharesPort`: if true, single addresses may have sockets of their own too. */
  private constructor(
    options: NodeSocketsOptions,
    shared: readonly UdpSocket[],
    private readonly sharesPort = false,
  ) {
    this.#options = options;
    this.#shared = shared;
    this.#sharedOf = Object.fromEntries(
      shared.flatMap((socket) => socket.families.map((family) => [family, socket])),
    );
    this.families = ([4, 6] as const).filter((family) => this.#sharedOf[family] !== undefined);
  }

  /**
   * Binds the sockets. Throws a BindError if the port is in use, or if this machine does not have
   * the address.
   */
  static bind(options: NodeSocketsOptions): NodeSockets {
    const { host } = options;
    // On systems other than Linux, the sockets of single addresses would not receive the packets for these addresses.
    const isForAll = host === "0.0.0.0" || host === "::";
    if (!isForAll || Deno.build.os !== "linux") {
      return new NodeSockets(options, [UdpSocket.bind(options)]);
    }
    const first = UdpSocket.bind({ ...options, inBatches: false });
    // The first socket has shown that no other program uses the port. The sockets that follow share
    // the port with each other.
    const { port } = first;
    const isSeparate = first.hostname === "::" && !isDualStack(port);
    void first.close();
    const sharing = { ...options, port, reuseAddress: true };
    const shared = isSeparate
      ? [
        UdpSocket.bind({ ...sharing, host: "::", onlyFamily: 6 }),
        UdpSocket.bind({ ...sharing, host: "0.0.0.0", onlyFamily: 4 }),
      ]
      : [UdpSocket.bind(sharing)];
    return new NodeSockets(options, shared, true);
  }

  get port(): number {
    return this.#shared[0].port;
  }

  /** The address to which the first socket is bound. `::` and `0.0.0.0` mean all addresses. */
  get hostname(): string {
    return this.#shared[0].hostname;
  }

  /** Whether IPv4 and IPv6 have a socket each, because of `net.ipv6.bindv6only`. */
  get isSeparate(): boolean {
    return this.#shared.length > 1;
  }

  /** The address and port of the first socket, as a user would write them. */
  get address(): string {
    return this.#shared[0].address;
  }

  /** The addresses and ports of all sockets. */
  get addresses(): string[] {
    const own = [...this.#own.keys()].map((host) => hostPortText({ host, port: this.port }));
    return [...this.#shared.map(({ address }) => address), ...own];
  }

  /** Whether an address has a socket of its own, and so belongs to this machine. */
  has({ host }: Endpoint): boolean {
    return this.#own.keys().some((own) => own === host || own.startsWith(`${host}%`));
  }

  /**
   * Whether the node listens at all addresses, but has no permission to read which ones this
   * machine has.
   */
  get isUninformed(): boolean {
    return this.sharesPort && !mayReadAddresses();
  }

  get isInBatches(): boolean {
    return this.#shared[0].isInBatches;
  }

  /** Makes `send` use the interface with this name for a link-local host. */
  setZone(host: string, zone: string): void {
    this.#zones.set(host, zone);
  }

  start(): void {
    for (const socket of this.#shared) socket.start();
    if (!this.sharesPort) return;
    this.#scan();
    this.#scans = setInterval(() => this.#scan(), SCAN_INTERVAL_MS);
  }

  /** Copies a datagram and sends it without waiting. A datagram that can't be sent is lost. */
  send(datagram: Uint8Array, to: Endpoint): void {
    this.#socketFor(to)?.send(datagram, to);
  }

  #socketFor(to: Endpoint): UdpSocket | undefined {
    if (this.#own.size > 0) {
      const route = to === this.#sender ? this.#arrivedAt : this.#routes.get(`${to}`);
      if (route !== undefined) return route;
      if (isLinkLocal(to.host)) return this.#linkLocalSocket(to);
    }
    return this.#sharedOf[to.family];
  }

  /**
   * Returns the socket through which to reach a link-local node: the socket of the node's interface or, if that
   * interface is unknown, the only link-local socket.
   */
  #linkLocalSocket({ host }: Endpoint): UdpSocket | undefined {
    const zone = this.#zones.get(host);
    const candidates = [...this.#own].filter(([own]) =>
      isLinkLocal(own) && (zone === undefined || own.endsWith(`%${zone}`))
    );
    return zone === undefined && candidates.length > 1 ? undefined : candidates[0]?.[1];
  }

  /** Opens and closes sockets as addresses come and go. */
  #scan(): void {
    const wanted = this.#wanted();
    for (const [host, socket] of this.#own) {
      if (wanted.includes(host)) continue;
      this.#own.delete(host);
      for (const [to, route] of this.#routes) if (route === socket) this.#routes.delete(to);
      void socket.close();
    }
    for (const host of wanted) if (!this.#own.has(host)) this.#openOwn(host);
  }

  /**
   * The addresses that need their own socket, at most MAX_OWN: all link-local addresses, and the other addresses of
   * each family that has several of them.
   */
  #wanted(): string[] {
    const addresses = this.#ownAddresses().filter(({ family }) => this.families.includes(family));
    const isLocal = ({ host }: OwnAddress) => isLinkLocal(host);
    const routed = addresses.filter((own) => !isLocal(own));
    const several = this.families.flatMap((family) => {
      const same = routed.filter((own) => own.family === family);
      return same.length > 1 ? same : [];
    });
    return [...several, ...addresses.filter(isLocal)].map(({ host }) => host).slice(0, MAX_OWN);
  }

  #ownAddresses(): OwnAddress[] {
    const { ownAddresses, interfaceName } = this.#options;
    return (ownAddresses ?? (() => systemAddresses(interfaceName)))();
  }

  #openOwn(host: string): void {
    const { receive } = this.#options;
    try {
      const socket = UdpSocket.bind({
        ...this.#options,
        host,
        port: this.port,
        reuseAddress: true,
        // A batch finds its socket by the address, but two links may have the same link-local
        // address.
        inBatches: this.#options.inBatches && !isLinkLocal(host),
        receive: (datagram, from) => {
          const route = `${from}`;
          if (this.#routes.get(route) !== socket) this.#routes.set(route, socket);
          this.#sender = from;
          this.#arrivedAt = socket;
          receive(datagram, from);
          this.#sender = this.#arrivedAt = undefined;
        },
      });
      this.#own.set(host, socket);
      socket.start();
    } catch {
      // Ignore the error: the machine has just lost the address, or can't use it yet. The next scan tries again.
    }
  }

  /** Closes all sockets. Resolves when no more datagrams will be delivered. */
  async close(): Promise<void> {
    clearInterval(this.#scans);
    await Promise.all([...this.#shared, ...this.#own.values()].map((socket) => socket.close()));
  }
}

/** Whether the socket on `::` with this port also receives IPv4. If so, `0.0.0.0` is in use. */
function isDualStack(port: number): boolean {
  try {
    Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port }).close();
    return false;
  } catch (error) {
    return error instanceof Deno.errors.AddrInUse;
  }
}
