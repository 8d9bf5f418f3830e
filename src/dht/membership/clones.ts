// Finds nodes that share one id, for example because a DATA_DIR was copied. To other nodes, they
// look like one node that keeps moving.

import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Id } from "../../krpc/id.ts";
import type { Message } from "../../krpc/message.ts";
import { Allowance } from "../allowance.ts";
import { BoundedMap, Recent } from "../bounded_map.ts";
import type { Millis } from "../deadlines.ts";
import type { Contact } from "../routing/contact.ts";
import type { Queries } from "../search/queries.ts";
import { whenDone } from "../search/query.ts";

/** The minimum time between two tests of an endpoint. A clone that still runs is reported again after each test. */
const TEST_INTERVAL_MS = 15 * 60_000;

/** Cap on the remembered endpoints that were tested recently. */
const MAX_TESTED = 256;

/** Limits on the tests, because strangers can cause them. */
const TEST_BURST = 8, TESTS_PER_SECOND = 0.1;

/** Cap on the clones in reports, and for how long reports include a clone. */
const MAX_CLONES = 16, REPORTED_MS = 60 * 60_000;

/** Two nodes with one id. */
export interface Clone {
  readonly id: Id;
  /** The endpoints of the two nodes. If this node is one of them, only the endpoint of the other node. */
  readonly endpoints: readonly Endpoint[];
  readonly isOwn: boolean;
  readonly at: Millis;
}

export interface CloneEvent {
  readonly type: "clone";
  readonly clone: Clone;
}

interface ClonesOptions {
  readonly queries: Queries;
  readonly emit: (event: CloneEvent) => void;
}

/** An endpoint's answer to `get_peers`. */
interface Testimony {
  readonly token: Uint8Array;
  /** Our address as the endpoint sees it. */
  readonly seen: string | undefined;
}

export class Clones {
  readonly #options: ClonesOptions;
  readonly #tested = new Recent(TEST_INTERVAL_MS, MAX_TESTED);
  readonly #tests = new Allowance(TESTS_PER_SECOND, TEST_BURST);
  /** Endpoints at which our own queries reach this node itself. */
  readonly #ourselves = new Recent(TEST_INTERVAL_MS, MAX_TESTED);
  readonly #found = new BoundedMap<string, Clone>(MAX_CLONES);

  constructor(options: ClonesOptions) {
    this.#options = options;
  }

  /** The clones found within the last hour. */
  found(now: Millis): Clone[] {
    return [...this.#found.values()].filter(({ at }) => now - at < REPORTED_MS);
  }

  /** Records a query that contains our own id: either our own query came back, or another node has our id. */
  noteOwnQuery(query: Message, from: Endpoint, now: Millis): void {
    const to = this.#options.queries.receiverOf(query);
    if (to !== undefined) this.#ourselves.add(`${to}`, now);
    else this.suspectOwn(from, now);
  }

  /**
   * Tests an endpoint that other nodes know under our id. It may be our own former endpoint, or
   * that of a clone.
   */
  suspectOwn(endpoint: Endpoint, now: Millis): void {
    const { queries } = this.#options;
    if (!this.#mayTest(endpoint, now)) return;
    const id = queries.outbox.self.id;
    const watcher = whenDone((outcome, at) => {
      if (outcome.kind !== "response" || outcome.message.id?.equals(id) !== true) return;
      if (this.#ourselves.has(`${endpoint}`, at)) return;
      this.#report({ id, endpoints: [endpoint], isOwn: true, at });
    });
    const query = { method: "ping", to: endpoint, args: {}, expected: undefined } as const;
    queries.send({ ...query, isVerification: true }, now, watcher);
  }

  /**
   * Tests whether a contact and a second endpoint with the same id are two nodes. A single node
   * with two addresses gives us the same token at both. A second round is needed because a node may
   * change its secret between the two answers.
   */
  suspect({ id, endpoint }: Contact, other: Endpoint, now: Millis): void {
    if (!this.#mayTest(other, now)) return;
    const endpoints = [endpoint, other];
    const test = (rounds: number, at: Millis) =>
      this.#compare(id, endpoints, at, (isSame, then) => {
        if (isSame) return;
        if (rounds > 1) test(rounds - 1, then);
        else this.#report({ id, endpoints, isOwn: false, at: then });
      });
    test(2, now);
  }

  #mayTest(endpoint: Endpoint, now: Millis): boolean {
    if (this.#tested.has(`${endpoint}`, now) || !this.#tests.take(now)) return false;
    this.#tested.add(`${endpoint}`, now);
    return true;
  }

  /**
   * Asks both endpoints for a token. Calls `done` only if both answer with this id and see us at
   * the same address.
   */
  #compare(
    id: Id,
    endpoints: readonly Endpoint[],
    now: Millis,
    done: (isSame: boolean, now: Millis) => void,
  ): void {
    const answers: Testimony[] = [];
    const watcher = whenDone((outcome, at) => {
      if (outcome.kind !== "response" || outcome.message.id?.equals(id) !== true) return;
      const { token, ip } = outcome.message;
      if (token === undefined) return;
      const [first] = answers;
      const answer = { token: token.slice(), seen: ip?.host };
      answers.push(answer);
      if (first === undefined || first.seen !== answer.seen) return;
      done(first.token.toString() === answer.token.toString(), at);
    });
    for (const to of endpoints) {
      const query = { method: "get_peers", to, args: { infoHash: id }, expected: id } as const;
      this.#options.queries.send({ ...query, isVerification: true }, now, watcher);
    }
  }

  #report(clone: Clone): void {
    this.#found.set(`${clone.id}`, clone);
    this.#options.emit({ type: "clone", clone });
  }
}
