// Seals packets with the network key: only nodes with the key can read or write them.
//
//   packet = nonce (16) | XChaCha20-Poly1305 of: proof (4) | offer (4) | message, with its tag (16)
//
// The nonce is random. A proof is the number that we last offered to the sender's address. It shows
// that the packet was made for us, recently, and at this address. A packet that is replayed from
// another address, to another node or later has no valid proof. A message without a valid proof is
// not delivered. Its sender gets an empty packet with an offer, and sends its query again. Clocks
// play no role. docs/decisions/0087-network-key.md gives the reasons.

import { hkdfSync } from "node:crypto";
import type { NetworkKey } from "../../config/network_key.ts";
import { SharedAllowance } from "../../dht/allowance.ts";
import type { Millis } from "../../dht/deadlines.ts";
import { ownerOf } from "../../dht/routing/diversity.ts";
import { sipHash, type SipKey } from "../../dht/siphash.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";
import { putWord, word } from "../../krpc/id.ts";
import { Cipher, TAG_BYTES } from "./cipher.ts";

/**
 * The size of the nonce's random part in bytes. The rest of the nonce is zero. Among 2^48 packets, the probability that
 * two have the same random part is 2^-33.
 */
const SENT_NONCE_BYTES = 16;

const HEADER_BYTES = 8;

/** The number of bytes that sealing adds to a message. */
export const SEAL_BYTES = SENT_NONCE_BYTES + HEADER_BYTES + TAG_BYTES;

/** A longer packet is dropped unread: the socket truncates it. */
const MAX_PACKET_BYTES = 2_047;

/** The number of keys that can be valid at a time: the key in use, and one that is being introduced or retired. */
export const MAX_KEYS = 2;

/**
 * The interval at which the secret of the proofs should change. Two secrets are valid at a time, so a proof is valid
 * for 5 to 10 minutes.
 */
export const PROOF_ROTATION_MS = 5 * 60_000;

/**
 * The number of peers whose offers are remembered, as an exponent of two. A forgotten offer costs
 * one round trip.
 */
const PEER_BITS = 12;

/** The number of 32-bit words for each remembered peer. They contain its address, port and offer. */
const PEER_WORDS = 6;

/**
 * The last byte but one of a response and of an error, which end with `1:y1:re` and `1:y1:ee`. A padded query has a
 * different byte there.
 */
const RESPONSE = 0x72, ERROR = 0x65;

/**
 * The number of sent messages that are kept in case the receiver asks for a proof. In one round trip, a node usually
 * sends fewer.
 */
const KEPT_MESSAGES = 128;

/**
 * A kept message is not sent again after this time, because nobody waits for the answer any more.
 */
const KEPT_MS = 2_000;

/**
 * Maximum number of offers per second that are sent to senders without a proof. Packets replayed from one address can
 * use up at most a quarter of these offers.
 */
const OFFERS_PER_SECOND = 1_000;

/** Random bytes are requested from the system in chunks of this size. */
const POOL_BYTES = 4_096;

/** The reason why a packet was not delivered. */
export type SealDrop = "undecipherable" | "unproven";

interface KeptMessage {
  readonly message: Uint8Array;
  readonly to: Endpoint;
  readonly at: Millis;
}

export interface PacketSealOptions {
  readonly now: () => Millis;
  readonly drop: (reason: SealDrop, packet: Uint8Array, from: Endpoint) => void;
}

/** Sends a sealed packet back to the sender of the packet that is being opened. */
export type Answer = (packet: Uint8Array) => void;

export class PacketSeal {
  readonly #cipher: Cipher;
  readonly #options: PacketSealOptions;
  readonly #pool = new Uint8Array(POOL_BYTES);
  #poolAt = POOL_BYTES;
  #keys = 0;
  #secret: SipKey = randomSecret();
  #formerSecret: SipKey = randomSecret();
  /**
   * The offers of other nodes, in a table of fixed size. Each address has one place, which another
   * address may take over.
   */
  readonly #peers = new Int32Array(PEER_WORDS << PEER_BITS);
  readonly #kept: (KeptMessage | undefined)[] = [];
  #nextKept = 0;
  readonly #offers = new SharedAllowance(OFFERS_PER_SECOND, OFFERS_PER_SECOND);
  /** The sender of the packet that was opened last, and our offer to it. */
  #from: Endpoint | undefined;
  #ourOffer = 0;

  /** Loads the cipher. Packets are sealed with the first key, and opened with any of the keys. */
  static async create(
    keys: readonly NetworkKey[],
    options: PacketSealOptions,
  ): Promise<PacketSeal> {
    const seal = new PacketSeal(await Cipher.load(MAX_KEYS), options);
    seal.setKeys(keys);
    return seal;
  }

  private constructor(cipher: Cipher, options: PacketSealOptions) {
    this.#cipher = cipher;
    this.#options = options;
  }

  setKeys(keys: readonly NetworkKey[]): void {
    this.#keys = Math.min(keys.length, MAX_KEYS);
    for (let i = 0; i < this.#keys; i++) this.#cipher.setKey(i, packetKey(keys[i]));
  }

  /** Makes a new secret for the proofs. The present one stays valid until the next call. */
  rotateSecret(): void {
    this.#formerSecret = this.#secret;
    this.#secret = randomSecret();
    this.#from = undefined;
  }

  /** Seals a message. The packet is valid until the next one is sealed. */
  seal(message: Uint8Array, to: Endpoint): Uint8Array {
    // A reply need not be kept: its receiver has just proved its address, so we have the receiver's offer. Keep the
    // reply only if another node has taken over the place of that offer in the table meanwhile.
    const kind = message[message.length - 2], proof = this.#offerOf(to);
    if (proof === 0 || (kind !== RESPONSE && kind !== ERROR)) this.#keep(message, to);
    return this.#seal(message, to, proof);
  }

  /** Opens a packet. Returns the message, which is valid until the next one is opened, or undefined if there is none. */
  open(packet: Uint8Array, from: Endpoint, answer: Answer): Uint8Array | undefined {
    const length = packet.length - SENT_NONCE_BYTES;
    const opened = this.#cipher.decrypted;
    if (packet.length < SEAL_BYTES || packet.length > MAX_PACKET_BYTES || !this.#decrypt(packet)) {
      return void this.#options.drop("undecipherable", packet, from);
    }
    const proof = word(opened, 0), offer = word(opened, 4);
    const isProven = this.#isOurOffer(proof, from);
    if (length === HEADER_BYTES + TAG_BYTES) {
      // An empty packet answers a message that had no proof. An empty packet without a valid proof is a replay.
      if (!isProven) return void this.#options.drop("unproven", packet, from);
      this.#remember(from, offer);
      return void this.#sendAgain(from, answer);
    }
    if (!isProven) {
      this.#options.drop("unproven", packet, from);
      const isAffordable = this.#offers.take(ownerOf(from), this.#options.now());
      if (isAffordable) answer(this.#seal(EMPTY, from, offer));
      return undefined;
    }
    this.#remember(from, offer);
    return opened.subarray(HEADER_BYTES, length - TAG_BYTES);
  }

  #seal(message: Uint8Array, to: Endpoint, proof: number): Uint8Array {
    const { outgoing, nonce } = this.#cipher;
    if (this.#poolAt === POOL_BYTES) {
      crypto.getRandomValues(this.#pool);
      this.#poolAt = 0;
    }
    for (let i = 0; i < SENT_NONCE_BYTES; i++) outgoing[i] = nonce[i] = this.#pool[this.#poolAt++];
    putWord(outgoing, SENT_NONCE_BYTES, proof);
    putWord(outgoing, SENT_NONCE_BYTES + 4, this.#offerTo(to));
    outgoing.set(message, SENT_NONCE_BYTES + HEADER_BYTES);
    this.#cipher.encrypt(0, SENT_NONCE_BYTES, HEADER_BYTES + message.length);
    return outgoing.subarray(0, SEAL_BYTES + message.length);
  }

  #decrypt(packet: Uint8Array): boolean {
    const { incoming, nonce } = this.#cipher, { length } = packet;
    incoming.set(packet);
    for (let i = 0; i < SENT_NONCE_BYTES; i++) nonce[i] = packet[i];
    for (let i = 0; i < this.#keys; i++) {
      if (this.#cipher.decrypt(i, SENT_NONCE_BYTES, length - SENT_NONCE_BYTES)) return true;
    }
    return false;
  }

  /** The number that a node at `to` has to present as a proof. */
  #offerTo(to: Endpoint): number {
    return to === this.#from ? this.#ourOffer : hash(this.#secret, to);
  }

  #isOurOffer(proof: number, from: Endpoint): boolean {
    this.#from = from;
    this.#ourOffer = hash(this.#secret, from);
    return proof === this.#ourOffer || proof === hash(this.#formerSecret, from);
  }

  #remember(from: Endpoint, offer: number): void {
    const peers = this.#peers, at = placeOf(from);
    peers[at] = from.a;
    peers[at + 1] = from.b;
    peers[at + 2] = from.c;
    peers[at + 3] = from.d;
    peers[at + 4] = from.port;
    peers[at + 5] = offer;
  }

  /** The number that `to` last offered to us; 0 if unknown. */
  #offerOf(to: Endpoint): number {
    const peers = this.#peers, at = placeOf(to);
    const isKnown = peers[at] === to.a && peers[at + 4] === to.port && peers[at + 1] === to.b &&
      peers[at + 2] === to.c && peers[at + 3] === to.d;
    return isKnown ? peers[at + 5] : 0;
  }

  #keep(message: Uint8Array, to: Endpoint): void {
    this.#kept[this.#nextKept] = { message: message.slice(), to, at: this.#options.now() };
    this.#nextKept = (this.#nextKept + 1) % KEPT_MESSAGES;
  }

  /** Sends the messages that were kept for the node at `to` a second time. No message is sent a third time. */
  #sendAgain(to: Endpoint, answer: Answer): void {
    for (let i = 0; i < this.#kept.length; i++) {
      const kept = this.#kept[i];
      if (kept === undefined || !kept.to.equals(to)) continue;
      this.#kept[i] = undefined;
      if (this.#options.now() - kept.at > KEPT_MS) continue;
      answer(this.#seal(kept.message, to, this.#offerOf(to)));
    }
  }
}

const EMPTY = new Uint8Array(0);

/** Derives the key for packets from the network key. Other uses of the network key derive different keys. */
function packetKey(key: NetworkKey): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", key.secret(), EMPTY, "dmnode packets 1", 32));
}

function randomSecret(): SipKey {
  const [a, b, c, d] = crypto.getRandomValues(new Int32Array(4));
  return [a, b, c, d];
}

const IPV4 = [0, 0], IPV6 = [0, 0, 0, 0, 0];

function hash(secret: SipKey, { family, a, b, c, d, port }: Endpoint): number {
  const words = family === 4 ? IPV4 : IPV6;
  words[0] = port;
  words[1] = a;
  if (family === 6) words[2] = b, words[3] = c, words[4] = d;
  return sipHash(secret, words)[0];
}

function placeOf({ a, b, c, d, port }: Endpoint): number {
  const mixed = Math.imul(a ^ Math.imul(b ^ c ^ d, 0x85ebca6b) ^ (port << 16 | port), 0x9e3779b1);
  return (mixed >>> (32 - PEER_BITS)) * PEER_WORDS;
}
