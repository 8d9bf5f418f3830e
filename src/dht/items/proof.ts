// Proofs that a node has the bytes of a value, without sending them: a hash over the value and a random challenge.

import { type Id, ID_BYTES } from "../../krpc/id.ts";
import { CHALLENGE_BYTES } from "../../krpc/message.ts";
import type { ItemCrypto } from "./item.ts";

/** The length of a proof. A guess is right with a probability of 2^-64. */
export const PROOF_BYTES = 8;

/**
 * The proof that `holder` has `value`: the first bytes of a SHA-1 hash over the challenge, the holder's id and the
 * value. A node can't reuse an older proof. It can't forward the challenge to a holder either, because the holder would
 * hash its own id. But it can fetch the value from a holder, or let a colluder that has the value compute the proof.
 */
export function proofOf(
  crypto: Pick<ItemCrypto, "sha1">,
  { challenge, holder, value }: {
    readonly challenge: Uint8Array;
    readonly holder: Id;
    readonly value: Uint8Array;
  },
): Uint8Array {
  const bytes = new Uint8Array(CHALLENGE_BYTES + ID_BYTES + value.length);
  bytes.set(challenge);
  bytes.set(holder.toBytes(), CHALLENGE_BYTES);
  bytes.set(value, CHALLENGE_BYTES + ID_BYTES);
  return crypto.sha1(bytes).subarray(0, PROOF_BYTES);
}
