// The public keys that peers have proven to hold. Only nodes of a private network ask for them, and answer.
//
// A ping with a challenge asks for the key. The answer contains the key and a signature over the challenge, both node
// ids, and the endpoint from which the asker's ping came. The asker checks that this endpoint is its own. So a node
// that forwards the challenge to another node can't pass off the other node's answer as its own.

import { SharedAllowance } from "../dht/allowance.ts";
import { BoundedMap } from "../dht/bounded_map.ts";
import type { Millis } from "../dht/deadlines.ts";
import type { IdentityAnswer } from "../dht/node.ts";
import type { Contact } from "../dht/routing/contact.ts";
import { ownerOf } from "../dht/routing/diversity.ts";
import type { Endpoint } from "../krpc/endpoint.ts";
import { hex } from "../krpc/hex.ts";
import type { Id } from "../krpc/id.ts";
import { CHALLENGE_BYTES } from "../krpc/message.ts";
import type { CoreRunner } from "./core_runner.ts";
import { type Identity, randomBytes, verify } from "./identity/crypto.ts";

/**
 * Maximum signatures per second. A signature takes about 0.1 ms of processor time. One asker gets at most a quarter of
 * the signatures.
 */
const SIGNATURES_PER_SECOND = 40;

/**
 * The number of contacts that are asked for their keys at a time. With one round every two seconds, a node with 160
 * contacts knows all their keys within 40 s.
 */
const ASKED_AT_A_TIME = 8;

/** A contact is asked for its key again after this time, whether or not it has answered. */
const ASK_AGAIN_MS = 10 * 60_000;

/** Maximum number of contacts whose keys are remembered. Routing tables usually have fewer contacts. */
const MAX_PEERS = 4_096;

const CONTEXT = new TextEncoder().encode("dmnode identity 1\n");

export interface PeerKeysOptions {
  readonly core: CoreRunner;
  readonly identity: Identity;
  /** Whether other nodes may receive this node's packets from this endpoint. */
  readonly isOwn: (endpoint: Endpoint) => boolean;
  /** Called when a peer has proven this key, in hex. */
  readonly onProven: (key: string) => void;
}

export class PeerKeys {
  readonly #options: PeerKeysOptions;
  readonly #signatures = new SharedAllowance(SIGNATURES_PER_SECOND, SIGNATURES_PER_SECOND);
  /** The keys that peers have proven, by id and endpoint. */
  readonly #proven = new BoundedMap<string, string>(MAX_PEERS);
  readonly #askedAt = new BoundedMap<string, Millis>(MAX_PEERS);

  constructor(options: PeerKeysOptions) {
    this.#options = options;
  }

  /** Signs a challenge; undefined if too many challenges have arrived. */
  prove(
    challenge: Uint8Array,
    asker: Id,
    { seenAs, now }: { readonly seenAs: Endpoint; readonly now: Millis },
  ): { publicKey: Uint8Array; signature: Uint8Array } | undefined {
    const { core, identity } = this.#options;
    if (!this.#signatures.take(ownerOf(seenAs), now)) return undefined;
    const statement = statementOf({ challenge, asker, prover: core.node.id, seenAs });
    return { publicKey: identity.publicKey, signature: identity.sign(statement) };
  }

  /** Asks the next contacts for their keys. */
  ask(now: Millis): void {
    const { core } = this.#options, chosen: Contact[] = [];
    for (const contact of core.node.tables.contacts()) {
      const askedAt = this.#askedAt.get(nameOf(contact)) ?? -Infinity;
      if (now - askedAt >= ASK_AGAIN_MS) chosen.push(contact);
      if (chosen.length === ASKED_AT_A_TIME) break;
    }
    for (const contact of chosen) this.#ask(contact, now);
  }

  /** The key that a contact has proven, in hex; null if it has not. */
  keyOf(contact: Pick<Contact, "id" | "endpoint">): string | null {
    return this.#proven.get(nameOf(contact)) ?? null;
  }

  /**
   * The nodes that have proven one of these keys, each as its id, a space and its endpoint. The id
   * alone is not enough: a node with a denied key could claim the id of another node, and so get it
   * denied.
   */
  nodesOf(keys: ReadonlySet<string>): string[] {
    return [...this.#proven].filter(([, key]) => keys.has(key)).map(([name]) => name);
  }

  #ask(contact: Contact, now: Millis): void {
    this.#askedAt.set(nameOf(contact), now);
    const challenge = randomBytes(CHALLENGE_BYTES), asker = this.#options.core.node.id;
    this.#options.core.node.askIdentity(contact, challenge, {
      now,
      done: (answer) => {
        if (answer === undefined || !this.#options.isOwn(answer.seenAs)) return;
        const { publicKey, signature, seenAs } = answer;
        const statement = statementOf({ challenge, asker, prover: contact.id, seenAs });
        if (!verify(publicKey, statement, signature)) return;
        const key = hex(publicKey);
        this.#proven.set(nameOf(contact), key);
        this.#options.onProven(key);
      },
    });
  }
}

function nameOf({ id, endpoint }: Pick<Contact, "id" | "endpoint">): string {
  return `${id} ${endpoint}`;
}

/**
 * Returns the bytes that a node signs to prove its key. `prover` holds the key, and `asker` sent its challenge from
 * the endpoint `seenAs`.
 */
function statementOf(
  { challenge, asker, prover, seenAs }: {
    readonly challenge: Uint8Array;
    readonly asker: Id;
    readonly prover: Id;
    readonly seenAs: IdentityAnswer["seenAs"];
  },
): Uint8Array {
  const text = new TextEncoder().encode(`${hex(challenge)} ${asker} ${prover} ${seenAs}`);
  const statement = new Uint8Array(CONTEXT.length + text.length);
  statement.set(CONTEXT);
  statement.set(text, CONTEXT.length);
  return statement;
}
