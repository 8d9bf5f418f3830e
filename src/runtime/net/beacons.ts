// Beacons: nodes with a network key find each other on a local network, without a bootstrap node.
//
//   beacon = nonce (16) | XChaCha20-Poly1305 of the P2P port (2), with its tag (16)
//
// Beacons are sent by multicast over IPv4 and IPv6, from each address of this machine. Other nodes join through the
// endpoint that consists of the sender's address and the port in the beacon. If a beacon is replayed, a receiving node
// only sends one sealed ping to the sender of the replay.

import { hkdfSync } from "node:crypto";
import type { NetworkKey } from "../../config/network_key.ts";
import { Allowance } from "../../dht/allowance.ts";
import type { Millis } from "../../dht/deadlines.ts";
import { Endpoint } from "../../krpc/endpoint.ts";
import { type BeaconAddress, BeaconSockets, type BeaconSocketsOptions } from "./beacon_sockets.ts";
import { Cipher, TAG_BYTES } from "./cipher.ts";
import { isLinkLocal } from "./own_addresses.ts";
import { MAX_KEYS } from "./packet_seal.ts";

const NONCE_BYTES = 16, PORT_BYTES = 2;
const BEACON_BYTES = NONCE_BYTES + PORT_BYTES + TAG_BYTES;

/**
 * Delays before the first beacons, and the interval between later ones. Early repeats make up for lost packets. Later
 * beacons reach machines that were asleep.
 */
const FIRST_MS = [100, 1_000, 2_000], INTERVAL_MS = 30_000;

/** Maximum number of beacons to decrypt, per second and in a burst. Anyone on the network can send beacons. */
const OPENED_PER_SECOND = 20, OPENED_AT_ONCE = 50;

export interface BeaconOptions {
  readonly keys: readonly NetworkKey[];
  /** The port of this node's P2P socket. */
  readonly port: number;
  /** The addresses of this machine. They are read before each beacon. */
  readonly addresses: () => readonly BeaconAddress[];
  /** Whether the node sends no beacons and only listens, because others should not look for it. */
  readonly isSilent: boolean;
  readonly groupPort?: BeaconSocketsOptions["groupPort"];
  readonly allows: (endpoint: Endpoint) => boolean;
  readonly now: () => Millis;
  /**
   * Called with the sender of each valid beacon, even if this node already knows the sender, and with the interface if
   * the beacon arrived over IPv6.
   */
  readonly onNode: (endpoint: Endpoint, interfaceName?: string) => void;
}

export class Beacons {
  readonly #options: BeaconOptions;
  readonly #cipher: Cipher;
  readonly #sockets: BeaconSockets;
  readonly #opened = new Allowance(OPENED_PER_SECOND, OPENED_AT_ONCE);
  #keys = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sent = 0;
  #closed = false;

  /** Starts to send and receive beacons. */
  static async start(options: BeaconOptions): Promise<Beacons> {
    return new Beacons(options, await Cipher.load());
  }

  private constructor(options: BeaconOptions, cipher: Cipher) {
    const { groupPort } = options;
    this.#options = options;
    this.#cipher = cipher;
    this.#sockets = new BeaconSockets({
      groupPort,
      maxBytes: BEACON_BYTES,
      receive: (...received) => this.#open(...received),
    });
    this.setKeys(options.keys);
    this.#schedule();
  }

  setKeys(keys: readonly NetworkKey[]): void {
    this.#keys = Math.min(keys.length, MAX_KEYS);
    this.#cipher.setKeys(keys.slice(0, MAX_KEYS).map(beaconKey));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#sockets.close();
  }

  #schedule(): void {
    const delay = FIRST_MS[this.#sent] ?? INTERVAL_MS;
    this.#timer = setTimeout(async () => {
      await this.#sendAll();
      this.#sent++;
      if (!this.#closed) this.#schedule();
    }, delay);
  }

  async #sendAll(): Promise<void> {
    const { port, addresses, isSilent, allows } = this.#options;
    const allowed = addresses().filter(({ host }) => {
      const from = Endpoint.parse(host, port);
      return from !== undefined && allows(from);
    });
    await this.#sockets.listen(allowed);
    if (isSilent || this.#closed) return;
    const senders = this.#sent === 0 ? preferred(allowed) : allowed;
    await Promise.all(senders.map((from) => this.#sockets.send(this.#beacon(), from)));
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

  #open(beacon: Uint8Array, from: Endpoint, interfaceName?: string): void {
    const { allows, now, onNode } = this.#options;
    if (beacon.length !== BEACON_BYTES || !allows(from)) return;
    if (!this.#opened.take(now())) return;
    const { incoming, nonce, decrypted } = this.#cipher;
    incoming.set(beacon);
    nonce.set(beacon.subarray(0, NONCE_BYTES));
    for (let i = 0; i < this.#keys; i++) {
      if (!this.#cipher.decrypt(i, NONCE_BYTES, PORT_BYTES + TAG_BYTES)) continue;
      const port = (decrypted[0] << 8) | decrypted[1];
      if (port !== 0) onNode(from.withPort(port), interfaceName);
      return;
    }
  }
}

/**
 * The addresses from which to send the first beacon. Leaves out the link-local address of an interface that has another
 * IPv6 address, so that other nodes first learn an address that is valid beyond the link.
 */
function preferred(addresses: readonly BeaconAddress[]): BeaconAddress[] {
  const isRouted = (own: BeaconAddress) => own.family === 6 && !isLinkLocal(own.host);
  const routed = new Set(addresses.filter(isRouted).map(interfaceOf));
  return addresses.filter((own) =>
    own.family === 4 || isRouted(own) || !routed.has(interfaceOf(own))
  );
}

function interfaceOf(own: BeaconAddress): string | undefined {
  return own.family === 6 ? own.interfaceName : undefined;
}

/** Derives the key for beacons from the network key. */
function beaconKey(key: NetworkKey): Uint8Array {
  const none = new Uint8Array(0);
  return new Uint8Array(hkdfSync("sha256", key.secret(), none, "dmnode beacons 1", 32));
}
