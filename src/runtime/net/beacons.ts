// Beacons: nodes with a network key find each other on a local network, without a bootstrap node.
//
//   beacon = nonce (16) | XChaCha20-Poly1305 of the P2P port (2), with its tag (16)
//
// They are sent by IPv4 multicast, from each address of this machine. The sender's address and the
// port in the beacon are the endpoint of a node to join through. A replayed beacon only makes a
// node send one sealed ping to the beacon's sender.

import { hkdfSync } from "node:crypto";
import type { NetworkKey } from "../../config/network_key.ts";
import { Allowance } from "../../dht/allowance.ts";
import type { Millis } from "../../dht/deadlines.ts";
import { Endpoint } from "../../krpc/endpoint.ts";
import { Cipher, TAG_BYTES } from "./cipher.ts";
import { MAX_KEYS } from "./packet_seal.ts";

/** A group of the administratively scoped range, which routers don't forward (RFC 2365). */
const GROUP = "239.255.104.116";

/** The port of the group. Tests use another port. */
const GROUP_PORT = 8_787;

const NONCE_BYTES = 16, PORT_BYTES = 2;
const BEACON_BYTES = NONCE_BYTES + PORT_BYTES + TAG_BYTES;

/**
 * The first beacons follow each other quickly, because packets get lost. Later ones reach machines
 * that were asleep.
 */
const FIRST_MS = [100, 1_000, 2_000], INTERVAL_MS = 30_000;

/** Limits on the beacons that we decrypt, because anyone on the network can send some. */
const OPENED_PER_SECOND = 20, OPENED_AT_ONCE = 50;

/** Pause after a failed receive, so that a socket that keeps failing does not use up the CPU. */
const RECEIVE_PAUSE_MS = 1_000;

export interface BeaconOptions {
  readonly keys: readonly NetworkKey[];
  /** The port of this node's P2P socket. */
  readonly port: number;
  /** The IPv4 addresses of this machine. They are read before each beacon. */
  readonly addresses: () => readonly string[];
  /** Whether the node sends no beacons and only listens, because others should not look for it. */
  readonly isSilent: boolean;
  readonly groupPort?: number;
  readonly allows: (endpoint: Endpoint) => boolean;
  readonly now: () => Millis;
  /**
   * Called with the sender of each beacon that arrives, even if this node already knows the sender.
   */
  readonly onNode: (endpoint: Endpoint) => void;
}

export class Beacons {
  readonly #options: BeaconOptions;
  readonly #cipher: Cipher;
  readonly #receiver: Deno.DatagramConn;
  readonly #joined = new Set<string>();
  readonly #opened = new Allowance(OPENED_PER_SECOND, OPENED_AT_ONCE);
  #keys = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sent = 0;
  #closed = false;

  /** Starts to send and receive beacons. Undefined if the system doesn't permit the socket. */
  static async start(options: BeaconOptions): Promise<Beacons | undefined> {
    const cipher = await Cipher.load(), { groupPort: port = GROUP_PORT } = options;
    try {
      // Several nodes of one machine share the port: each of them gets a copy of every beacon.
      const address = { transport: "udp", hostname: "0.0.0.0", port } as const;
      const receiver = Deno.listenDatagram({ ...address, reuseAddress: true });
      return new Beacons(options, cipher, receiver);
    } catch {
      return undefined;
    }
  }

  private constructor(options: BeaconOptions, cipher: Cipher, receiver: Deno.DatagramConn) {
    this.#options = options;
    this.#cipher = cipher;
    this.#receiver = receiver;
    this.setKeys(options.keys);
    void this.#receive();
    this.#schedule();
  }

  setKeys(keys: readonly NetworkKey[]): void {
    this.#keys = Math.min(keys.length, MAX_KEYS);
    this.#cipher.setKeys(keys.slice(0, MAX_KEYS).map(beaconKey));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#receiver.close();
  }

  #schedule(): void {
    const delay = FIRST_MS[this.#sent++] ?? INTERVAL_MS;
    this.#timer = setTimeout(async () => {
      await Promise.all(this.#options.addresses().map((address) => this.#send(address)));
      if (!this.#closed) this.#schedule();
    }, delay);
  }

  /** Joins the group at one address, and sends a beacon through the interface with this address. */
  async #send(address: string): Promise<void> {
    const { port, isSilent, groupPort = GROUP_PORT } = this.#options;
    const from = Endpoint.parse(address, port);
    if (from === undefined || !this.#options.allows(from)) return;
    let conn: Deno.DatagramConn | undefined;
    try {
      if (!this.#joined.has(address)) {
        this.#joined.add(address);
        await this.#receiver.joinMulticastV4(GROUP, address).catch(() => {}); // joined through another address
      }
      if (isSilent) return;
      const bound = { transport: "udp", hostname: address, port: 0, loopback: true } as const;
      conn = Deno.listenDatagram(bound);
      await conn.send(this.#beacon(), { transport: "udp", hostname: GROUP, port: groupPort });
    } catch {
      // The machine has just lost the address, or its network has no multicast. The next beacon
      // tries again.
    } finally {
      conn?.close();
    }
  }

  #beacon(): Uint8Array {
    const { outgoing, nonce } = this.#cipher, { port } = this.#options;
    const random = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    nonce.set(random);
    outgoing.set(random);
    outgoing[NONCE_BYTES] = port >>> 8;
    outgoing[NONCE_BYTES + 1] = port;
    this.#cipher.encrypt(0, NONCE_BYTES, PORT_BYTES);
    return outgoing.slice(0, BEACON_BYTES);
  }

  async #receive(): Promise<void> {
    const buffer = new Uint8Array(BEACON_BYTES + 1);
    while (!this.#closed) {
      try {
        const [beacon, from] = await this.#receiver.receive(buffer);
        this.#open(beacon, from as Deno.NetAddr);
      } catch {
        if (this.#closed) return;
        await new Promise((resolve) => setTimeout(resolve, RECEIVE_PAUSE_MS));
      }
    }
  }

  #open(beacon: Uint8Array, { hostname }: Deno.NetAddr): void {
    const { allows, now, onNode } = this.#options, from = Endpoint.parse(hostname, 1);
    if (beacon.length !== BEACON_BYTES || from === undefined || !allows(from)) return;
    if (!this.#opened.take(now())) return;
    const { incoming, nonce, decrypted } = this.#cipher;
    incoming.set(beacon);
    nonce.set(beacon.subarray(0, NONCE_BYTES));
    for (let i = 0; i < this.#keys; i++) {
      if (!this.#cipher.decrypt(i, NONCE_BYTES, PORT_BYTES + TAG_BYTES)) continue;
      const port = (decrypted[0] << 8) | decrypted[1];
      if (port !== 0) onNode(from.withPort(port));
      return;
    }
  }
}

/** Derives the key for beacons from the network key. */
function beaconKey(key: NetworkKey): Uint8Array {
  const none = new Uint8Array(0);
  return new Uint8Array(hkdfSync("sha256", key.secret(), none, "dmnode beacons 1", 32));
}
