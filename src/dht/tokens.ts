// Write tokens (BEP 5). A token proves that the sender of a write receives packets at its address.

import { putWord, word } from "../krpc/id.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import type { Millis } from "./deadlines.ts";
import { sipHash, type SipKey } from "./siphash.ts";

/** The size of a token in bytes: large enough that nobody can guess a token before it expires. */
export const TOKEN_BYTES = 8;

/**
 * The interval between changes of the secret. Three secrets are valid at a time, so tokens last 10 to 15 minutes (BEP
 * 5: 10).
 */
export const TOKEN_ROTATION_MS = 5 * 60_000;

const ACCEPTED_SECRETS = 3;

// Scratch arrays that all nodes of a process share. They are only used within a call.
const TOKEN = new Uint8Array(TOKEN_BYTES), IPV4 = [0], IPV6 = [0, 0, 0, 0];

/**
 * Issues and verifies tokens without storing them. A token is a keyed hash of the address, with a secret key that
 * changes regularly. A CRC would be unsafe: CRCs are linear, so tokens could be forged.
 */
export class Tokens {
  readonly #secrets: SipKey[] = [];
  readonly #randomBytes: (length: number) => Uint8Array;
  #rotated: Millis;

  constructor(randomBytes: (length: number) => Uint8Array, now: Millis) {
    this.#randomBytes = randomBytes;
    this.#rotated = now;
    this.#rotate();
  }

  /** The token for an address, in an array that the next call overwrites. */
  issue(to: Endpoint, now: Millis): Uint8Array {
    this.#keepFresh(now);
    return hash(this.#secrets[0], addressOf(to));
  }

  /** Whether `token` was issued to this address within the last 10 to 15 minutes. */
  verify(token: Uint8Array, from: Endpoint, now: Millis): boolean {
    return this.#verify(token, addressOf(from), now);
  }

  /** The token that allows `from` to have messages forwarded to `to`, in an array that the next call overwrites. */
  issueReturn(to: Endpoint, from: Endpoint, now: Millis): Uint8Array {
    this.#keepFresh(now);
    return hash(this.#secrets[0], returnPath(to, from));
  }

  /** Whether `token` was issued for this sender and recipient within the last 10 to 15 minutes. */
  verifyReturn(
    token: Uint8Array,
    { to, from }: { readonly to: Endpoint; readonly from: Endpoint },
    now: Millis,
  ): boolean {
    return this.#verify(token, returnPath(to, from), now);
  }

  /** Invalidates all tokens that were issued so far. */
  renew(now: Millis): void {
    this.#rotated = now;
    for (let i = 0; i < ACCEPTED_SECRETS; i++) this.#rotate();
  }

  #verify(token: Uint8Array, words: readonly number[], now: Millis): boolean {
    if (token.length !== TOKEN_BYTES) return false;
    this.#keepFresh(now);
    return this.#secrets.some((secret) => {
      const expected = hash(secret, words);
      let difference = 0;
      for (let i = 0; i < TOKEN_BYTES; i++) difference |= expected[i] ^ token[i];
      return difference === 0;
    });
  }

  #keepFresh(now: Millis): void {
    if (now - this.#rotated < TOKEN_ROTATION_MS) return;
    const missed = Math.floor((now - this.#rotated) / TOKEN_ROTATION_MS);
    for (let i = 0; i < Math.min(missed, ACCEPTED_SECRETS); i++) this.#rotate();
    this.#rotated += missed * TOKEN_ROTATION_MS;
  }

  #rotate(): void {
    const bytes = this.#randomBytes(16);
    this.#secrets.unshift([word(bytes, 0), word(bytes, 4), word(bytes, 8), word(bytes, 12)]);
    if (this.#secrets.length > ACCEPTED_SECRETS) this.#secrets.pop();
  }
}

function hash(secret: SipKey, words: readonly number[]): Uint8Array {
  const [low, high] = sipHash(secret, words);
  putWord(TOKEN, 0, low);
  putWord(TOKEN, 4, high);
  return TOKEN;
}

/** An address as 32-bit integers, one for IPv4 and four for IPv6, in an array that the next call overwrites. */
function addressOf({ family, a, b, c, d }: Endpoint): readonly number[] {
  const address = family === 4 ? IPV4 : IPV6;
  address[0] = a;
  if (family === 6) address[1] = b, address[2] = c, address[3] = d;
  return address;
}

/**
 * A recipient and a sender as 32-bit integers: three for IPv4 and nine for IPv6. An address alone has one or four, so
 * the two can't be confused.
 */
function returnPath(to: Endpoint, from: Endpoint): readonly number[] {
  return [...addressOf(to), ...addressOf(from), (to.port << 16) | from.port];
}
