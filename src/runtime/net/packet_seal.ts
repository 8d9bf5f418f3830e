// Seals packets with the network key: only nodes with the key can read or write them.  packet = salt (12) | proof (4),
// masked | check (4) | ciphertext with its tag (16) ciphertext = XChaCha20-Poly1305 of: offer (4) | message  The salt
// is random. Salt and masked proof are the nonce. The check and the mask are a keyed hash of the salt and the packet's
// length, so most packets without the key are dropped without decrypting them.  A proof is the number that we last
// offered to the sender's address. It shows that the packet was made for us, recently, and at this address. A packet
// that is replayed from another address, to another node or later has no valid proof. A message without a valid proof
// is not delivered. Its sender gets an empty packet with an offer, and sends the message again with a proof. This works
// without synchronized clocks.  docs/decisions/0087-network-key.md and 0099-cheap-checks.md give the reasons.

import { hkdfSync } from "node:crypto";
import type { NetworkKey } from "../../config/network_key.ts";
import { ownerOf } from "../../dht/routing/diversity.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";
import { putWord, word } from "../../krpc/id.ts";
import { Cipher, TAG_BYTES } from "./cipher.ts";

/**
 * The sizes in bytes of the unencrypted parts of a packet. The nonce consists of the salt, the masked proof and zeros.
 */
const SALT_BYTES = 12, PROOF_BYTES = 4, CHECK_BYTES = 4;

const NONCE_BYTES = SALT_BYTES + PROOF_BYTES;

/** The number of bytes of a packet that are not encrypted. */
export const HEADER_BYTES = NONCE_BYTES + CHECK_BYTES;

const OFFER_BYTES = 4;

/** The number of bytes that sealing adds to a message. */
export const SEAL_BYTES = HEADER_BYTES + OFFER_BYTES + TAG_BYTES;

/** Maximum packet size. Longer packets are dropped unread, because the socket truncates them. */
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

/** A kept message is not sent again after this number of ticks, because nobody waits for the answer any more. */
const KEPT_TICKS = 2;

/**
 * The interval at which `tick` should be called. The seal reads no clock, because that takes longer than dropping a
 * packet.
 */
export const TICK_MS = 1_000;

/** Maximum number of offers to senders without a proof, per tick. */
const MAX_OFFERS = 1_000;

/** Maximum number of these offers for one address, so that replays from one address don't use up all offers. */
const MAX_OFFERS_PER_OWNER = 250;

/**
 * The number of opened packets whose salts are remembered, as an exponent of two. The table has 64 kB. It still has the
 * salt of a packet after 1,000 more packets with a probability of 99.99 %, and after 4,000 with one of 98 %.
 */
const OPENED_BITS = 14;

/** The number of table slots in which a salt may be stored, as an exponent of two. */
const WAY_BITS = 2;

/** Random bytes are requested from the system in chunks of this size. */
const POOL_BYTES = 4_096;

/** The reason why a packet was not delivered. */
export type SealDrop = "undecipherable" | "unproven" | "replayed";

interface KeptMessage {
  readonly message: Uint8Array;
  readonly to: Endpoint;
  /** The number of `tick` calls before the message was kept. */
  readonly tick: number;
}

export interface PacketSealOptions {
  readonly drop: (reason: SealDrop, packet: Uint8Array, from: Endpoint) => void;
}

/** Sends a sealed packet back to the sender of the packet that is being opened. */
export type Answer = (packet: Uint8Array) => void;

export class PacketSeal {
  readonly #cipher: Cipher;
  readonly #options: PacketSealOptions;
  readonly #pool = new Uint8Array(POOL_BYTES);
  #poolAt = POOL_BYTES;
  /** For each key of the cipher, the key of the hash that contains the check and the mask. */
  #headerKeys: readonly Uint8Array[] = [];
  #secret = randomSecret();
  #formerSecret = randomSecret();
  /**
   * The lowest bit of the offers made with the current secret. Offers made with the former secret have the opposite
   * bit.
   */
  #secretBit = 0;
  /**
   * The offers of other nodes, in a table of fixed size. Each address has one place, which another
   * address may take over.
   */
  readonly #peers = new Int32Array(PEER_WORDS << PEER_BITS);
  /**
   * The salts of the packets with a valid proof that were opened last, to recognize replays: the
   * second word of each salt.
   */
  readonly #opened = new Int32Array(1 << OPENED_BITS);
  readonly #kept: (KeptMessage | undefined)[] = [];
  #nextKept = 0;
  /** For each owner of an address (`ownerOf`), how many offers we have made since the last `tick` to unproven senders. */
  readonly #offersOf = new Map<string, number>();
  #offers = 0;
  #ticks = 0;
  /** The sender of the packet that was opened last, and our offer to it. */
  #from: Endpoint | undefined;
  #ourOffer = 0;

  /** Loads the cipher. Packets are sealed with the first key, and opened with any of the keys. */
  static async create(
    keys: readonly NetworkKey[],
    options: PacketSealOptions,
  ): Promise<PacketSeal> {
    const seal = new PacketSeal(await Cipher.load(), options);
    seal.setKeys(keys);
    return seal;
  }

  private constructor(cipher: Cipher, options: PacketSealOptions) {
    this.#cipher = cipher;
    this.#options = options;
  }

  setKeys(keys: readonly NetworkKey[]): void {
    const derived = keys.slice(0, MAX_KEYS).map(packetKeys);
    this.#cipher.setKeys(derived.map(({ key }) => key));
    this.#headerKeys = derived.map(({ headerKey }) => headerKey);
  }

  /** Creates a new secret for the proofs. The current secret stays valid until the next call. */
  rotateSecret(): void {
    this.#formerSecret = this.#secret;
    this.#secret = randomSecret();
    this.#secretBit ^= 1;
    this.#from = undefined;
  }

  /** Permits more offers, and lets kept messages expire. Call this once a second. */
  tick(): void {
    this.#ticks++;
    this.#offersOf.clear();
    this.#offers = 0;
  }

  /** Seals a message. The packet is valid until the next one is sealed. */
  seal(message: Uint8Array, to: Endpoint): Uint8Array {
    // Keep each query, in case the receiver asks for a proof. The receiver of a reply has just sent us an offer, so
    // keep a reply only if another node's offer has replaced that one in the table.
    const kind = message[message.length - 2], proof = this.#offerOf(to);
    if (proof === undefined || (kind !== RESPONSE && kind !== ERROR)) this.#keep(message, to);
    return this.#seal(message, to, proof);
  }

  /**
   * Opens a packet. Returns the message, or undefined if the packet delivers none. The message is valid until the next
   * packet is opened.
   */
  open(packet: Uint8Array, from: Endpoint, answer: Answer): Uint8Array | undefined {
    const { length } = packet;
    const isPossible = length >= SEAL_BYTES && length <= MAX_PACKET_BYTES;
    const key = isPossible ? this.#keyOf(packet) : -1;
    if (key < 0) return void this.#options.drop("undecipherable", packet, from);
    const proof = word(packet, SALT_BYTES) ^ word(this.#cipher.hashed, CHECK_BYTES);
    if (this.#isOpened(packet)) return void this.#options.drop("replayed", packet, from);
    const isEmpty = length === SEAL_BYTES, isProven = this.#isOurOffer(proof, from);
    // An empty packet answers a message, so it always has a proof: without a valid one, it is a replay. Drop it before
    // the expensive decryption. Also drop packets without a valid proof if too many of them were answered already.
    if (!isProven && (isEmpty || !this.#takeOffer(from))) {
      return void this.#options.drop("unproven", packet, from);
    }
    if (!this.#decrypt(packet, key)) {
      return void this.#options.drop("undecipherable", packet, from);
    }
    const opened = this.#cipher.decrypted, offer = word(opened, 0);
    if (!isProven) {
      this.#options.drop("unproven", packet, from);
      return void answer(this.#seal(EMPTY, from, offer));
    }
    // Remember only packets that came from the right address. Otherwise a copy from another address
    // that arrives before the original would make the original count as a replay.
    this.#noteOpened(packet);
    this.#remember(from, offer);
    if (isEmpty) return void this.#sendAgain(from, answer);
    return opened.subarray(OFFER_BYTES, length - HEADER_BYTES - TAG_BYTES);
  }

  /** @param proof undefined if the receiver has made no offer. Random bits then take its place in the nonce. */
  #seal(message: Uint8Array, to: Endpoint, proof: number | undefined): Uint8Array {
    const { outgoing, nonce } = this.#cipher, length = SEAL_BYTES + message.length;
    if (this.#poolAt + NONCE_BYTES > POOL_BYTES) {
      crypto.getRandomValues(this.#pool);
      this.#poolAt = 0;
    }
    for (let i = 0; i < NONCE_BYTES; i++) outgoing[i] = this.#pool[this.#poolAt++];
    const offer = this.#offerTo(to), { hashed } = this.#cipher;
    this.#hash(0, outgoing, length);
    if (proof !== undefined) putWord(outgoing, SALT_BYTES, proof ^ word(hashed, CHECK_BYTES));
    for (let i = 0; i < NONCE_BYTES; i++) nonce[i] = outgoing[i];
    putWord(outgoing, NONCE_BYTES, word(hashed, 0));
    putWord(outgoing, HEADER_BYTES, offer);
    outgoing.set(message, HEADER_BYTES + OFFER_BYTES);
    this.#cipher.encrypt(0, HEADER_BYTES, OFFER_BYTES + message.length);
    return outgoing.subarray(0, length);
  }

  /**
   * Hashes the salt and the length of a packet with key `i`. The result contains the check, and the mask of the proof.
   */
  #hash(i: number, packet: Uint8Array, length: number): void {
    const { hashInput } = this.#cipher;
    for (let n = 0; n < SALT_BYTES; n++) hashInput[n] = packet[n];
    putWord(hashInput, SALT_BYTES, length);
    this.#cipher.hash(this.#headerKeys[i], i, SALT_BYTES + 4);
  }

  /** The index of the key with which the packet's check was made; -1 if no key matches. */
  #keyOf(packet: Uint8Array): number {
    const check = word(packet, NONCE_BYTES);
    for (let i = 0; i < this.#headerKeys.length; i++) {
      this.#hash(i, packet, packet.length);
      if (word(this.#cipher.hashed, 0) === check) return i;
    }
    return -1;
  }

  #decrypt(packet: Uint8Array, key: number): boolean {
    const { incoming, nonce } = this.#cipher, { length } = packet;
    incoming.set(packet);
    for (let i = 0; i < NONCE_BYTES; i++) nonce[i] = packet[i];
    return this.#cipher.decrypt(key, HEADER_BYTES, length - HEADER_BYTES);
  }

  /** Whether a packet with this salt was opened recently. */
  #isOpened(packet: Uint8Array): boolean {
    const opened = this.#opened, at = saltPlace(packet), salt = word(packet, 4);
    for (let i = at; i < at + (1 << WAY_BITS); i++) if (opened[i] === salt) return true;
    return false;
  }

  /** Remembers the salt of a packet. Replaces the oldest of the salts that share the same slots of the table. */
  #noteOpened(packet: Uint8Array): void {
    const opened = this.#opened, at = saltPlace(packet);
    for (let i = at + (1 << WAY_BITS) - 1; i > at; i--) opened[i] = opened[i - 1];
    opened[at] = word(packet, 4);
  }

  /** The number that a node at `to` has to present as a proof. */
  #offerTo(to: Endpoint): number {
    return to === this.#from ? this.#ourOffer : this.#makeOffer(this.#secretBit, to);
  }

  #isOurOffer(proof: number, from: Endpoint): boolean {
    const bit = proof & 1, offer = this.#makeOffer(bit, from);
    this.#from = bit === this.#secretBit ? from : undefined;
    this.#ourOffer = offer;
    return proof === offer;
  }

  /** Counts an offer to a sender without a proof. Returns false if that would exceed a limit. */
  #takeOffer(to: Endpoint): boolean {
    if (this.#offers >= MAX_OFFERS) return false;
    const owner = ownerOf(to), count = this.#offersOf.get(owner) ?? 0;
    if (count >= MAX_OFFERS_PER_OWNER) return false;
    this.#offersOf.set(owner, count + 1);
    this.#offers++;
    return true;
  }

  /** @param bit the lowest bit of the offer, which says which of the two secrets makes it. */
  #makeOffer(bit: number, { family, a, b, c, d, port }: Endpoint): number {
    const { hashInput, hashed } = this.#cipher;
    putWord(hashInput, 0, port);
    putWord(hashInput, 4, a);
    if (family === 6) {
      putWord(hashInput, 8, b);
      putWord(hashInput, 12, c);
      putWord(hashInput, 16, d);
    }
    const secret = bit === this.#secretBit ? this.#secret : this.#formerSecret;
    this.#cipher.hash(secret, MAX_KEYS + bit, family === 4 ? 8 : 20);
    return word(hashed, 0) & ~1 | bit;
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

  /** The number that `to` last offered to us; undefined if unknown. */
  #offerOf(to: Endpoint): number | undefined {
    const peers = this.#peers, at = placeOf(to);
    const isKnown = peers[at] === to.a && peers[at + 4] === to.port && peers[at + 1] === to.b &&
      peers[at + 2] === to.c && peers[at + 3] === to.d;
    return isKnown ? peers[at + 5] : undefined;
  }

  #keep(message: Uint8Array, to: Endpoint): void {
    this.#kept[this.#nextKept] = { message: message.slice(), to, tick: this.#ticks };
    this.#nextKept = (this.#nextKept + 1) % KEPT_MESSAGES;
  }

  /** Sends the messages that were kept for the node at `to` a second time. No message is sent a third time. */
  #sendAgain(to: Endpoint, answer: Answer): void {
    for (let i = 0; i < this.#kept.length; i++) {
      const kept = this.#kept[i];
      if (kept === undefined || !kept.to.equals(to)) continue;
      this.#kept[i] = undefined;
      if (this.#ticks - kept.tick > KEPT_TICKS) continue;
      answer(this.#seal(kept.message, to, this.#offerOf(to)));
    }
  }
}

const EMPTY = new Uint8Array(0);

/** Derives the keys for packets from the network key. Other uses of the network key derive different keys. */
function packetKeys(key: NetworkKey): { key: Uint8Array; headerKey: Uint8Array } {
  const derived = hkdfSync("sha256", key.secret(), EMPTY, "dmnode packets 2", 48);
  return { key: new Uint8Array(derived, 0, 32), headerKey: new Uint8Array(derived, 32) };
}

function randomSecret(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(16));
}

/** The index of the first slot for a packet's salt in the table of opened packets. */
function saltPlace(packet: Uint8Array): number {
  return word(packet, 0) >>> (32 - OPENED_BITS + WAY_BITS) << WAY_BITS;
}

function placeOf({ a, b, c, d, port }: Endpoint): number {
  const mixed = Math.imul(a ^ Math.imul(b ^ c ^ d, 0x85ebca6b) ^ (port << 16 | port), 0x9e3779b1);
  return (mixed >>> (32 - PEER_BITS)) * PEER_WORDS;
}
