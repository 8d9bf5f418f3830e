// Write tokens (BEP 5): proof that whoever stores at this node receives packets at the address it sends from.

import { putWord, word } from "../krpc/id.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import type { Millis } from "./deadlines.ts";
import { sipHash, type SipKey } from "./siphash.ts";

/** Bytes of a token: too many to guess within its life. */
export const TOKEN_BYTES = 8;

/** How often the secret changes. With three secrets kept, a token passes for 10 to 15 minutes (BEP 5 asks for 10). */
export const TOKEN_ROTATION_MS = 5 * 60_000;

const SECRETS_KEPT = 3;

// One for all nodes of a process: what is in them is used before the next call.
const TOKEN = new Uint8Array(TOKEN_BYTES), IPV4 = [0], IPV6 = [0, 0, 0, 0];

/**
 * Makes and checks tokens without remembering any: a keyed hash of the address under a secret that rotates. Not a
 * CRC, which is linear and thus forgeable.
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

  /** The token for an address, valid until the next call of any node's. */
  issue(to: Endpoint, now: Millis): Uint8Array {
    this.#keepFresh(now);
    return hash(this.#secrets[0], addressOf(to));
  }

  /** Whether `token` was issued to this address within the last 10 to 15 minutes. */
  verify(token: Uint8Array, from: Endpoint, now: Millis): boolean {
    return this.#verify(token, addressOf(from), now);
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

  /** The token with which whoever is at `from` may have a message passed on to `to`; valid until the next call. */
  issueReturn(to: Endpoint, from: Endpoint, now: Millis): Uint8Array {
    this.#keepFresh(now);
    return hash(this.#secrets[0], wayBack(to, from));
  }

  /** Whether `token` was issued for this way within the last 10 to 15 minutes. */
  verifyReturn(token: Uint8Array, to: Endpoint, from: Endpoint, now: Millis): boolean {
    return this.#verify(token, wayBack(to, from), now);
  }

  #keepFresh(now: Millis): void {
    if (now - this.#rotated < TOKEN_ROTATION_MS) return;
    const missed = Math.floor((now - this.#rotated) / TOKEN_ROTATION_MS);
    for (let i = 0; i < Math.min(missed, SECRETS_KEPT); i++) this.#rotate();
    this.#rotated += missed * TOKEN_ROTATION_MS;
  }

  #rotate(): void {
    const bytes = this.#randomBytes(16);
    this.#secrets.unshift([word(bytes, 0), word(bytes, 4), word(bytes, 8), word(bytes, 12)]);
    if (this.#secrets.length > SECRETS_KEPT) this.#secrets.pop();
  }
}

function hash(secret: SipKey, words: readonly number[]): Uint8Array {
  const [low, high] = sipHash(secret, words);
  putWord(TOKEN, 0, low);
  putWord(TOKEN, 4, high);
  return TOKEN;
}

/** Of different lengths, so that the families don't share tokens; valid until the next call. */
function addressOf({ family, a, b, c, d }: Endpoint): readonly number[] {
  const address = family === 4 ? IPV4 : IPV6;
  address[0] = a;
  if (family === 6) address[1] = b, address[2] = c, address[3] = d;
  return address;
}

/** Three words, or nine: other tokens are of one or four. */
function wayBack(to: Endpoint, from: Endpoint): readonly number[] {
  return [...addressOf(to), ...addressOf(from), (to.port << 16) | from.port];
}
