// Asks nodes for samples of the info-hashes that they store (BEP 51): one node, or many on a walk through the network.

import { type Endpoint, mayRefer } from "../../krpc/endpoint.ts";
import { Id, ID_BYTES } from "../../krpc/id.ts";
import { type Message, readCompactNodes, WANT_N4, WANT_N6 } from "../../krpc/message.ts";
import { Allowance } from "../allowance.ts";
import { BoundedMap } from "../bounded_map.ts";
import type { Deadlines, Millis } from "../deadlines.ts";
import type { Random } from "../random.ts";
import { isCounted, ownerOf } from "../routing/diversity.ts";
import type { Queries } from "./queries.ts";
import { whenDone } from "./query.ts";

/**
 * The rate of a walk's queries. It limits our own traffic. Each node gets only one query anyway.
 */
const QUERIES_PER_SECOND = 20, QUERY_BURST = 8;

const MAX_IN_FLIGHT = 8;

/** Cap on the nodes that a walk knows but has not asked. */
const MAX_HEARD = 5_000;

/**
 * Cap on the nodes of one address (IPv6: /64) that a walk asks. The owner of an address could
 * invent any number of nodes.
 */
const MAX_PER_OWNER = 4;

/** Cap on the info-hashes that one walk collects. */
const MAX_INFO_HASHES = 50_000;

/** The longest interval that BEP 51 permits. */
const MAX_INTERVAL_S = 21_600;

/** Cap on the nodes whose intervals are remembered. */
const MAX_REMEMBERED = 10_000;

/** A node's sample of the info-hashes that it stores. */
export interface Sample {
  readonly id: Id;
  readonly endpoint: Endpoint;
  readonly infoHashes: readonly Id[];
  /** How many info-hashes the node says that it stores. */
  readonly count: number;
  /** For how many seconds the node returns the same sample. */
  readonly intervalS: number;
}

export type SampleOutcome =
  | { readonly kind: "sample"; readonly sample: Sample }
  /** The node answered without a sample, or with an error. */
  | { readonly kind: "unsupported" }
  | { readonly kind: "timeout" };

export interface WalkResult {
  readonly infoHashes: readonly Id[];
  readonly queries: number;
  /** How many nodes answered. */
  readonly answered: number;
  /** How many nodes answered with a sample. */
  readonly sampled: number;
  /**
   * The sum of the numbers of info-hashes that the sampled nodes say they store. An info-hash on
   * several nodes counts more than once.
   */
  readonly stored: number;
  readonly elapsed: Millis;
}

interface SamplerOptions {
  readonly queries: Queries;
  readonly deadlines: Deadlines;
  readonly random: Random;
}

export class Sampler {
  readonly #options: SamplerOptions;
  /** For each node, the time until which it would return the same sample again. */
  readonly #sameUntil = new BoundedMap<string, Millis>(MAX_REMEMBERED);

  constructor(options: SamplerOptions) {
    this.#options = options;
  }

  /**
   * Asks one node. If the answer is late, asks the node again, unless `isOnce` is set. `answer` is
   * valid only while `done` runs.
   */
  sample(
    { endpoint, isOnce = false }: { readonly endpoint: Endpoint; readonly isOnce?: boolean },
    now: Millis,
    done: (outcome: SampleOutcome, now: Millis, answer?: Message) => void,
  ): void {
    const { queries, random } = this.#options;
    // A random target makes the node name nodes from all over the network.
    const target = random.id();
    const want = queries.tables.families.length > 1 ? WANT_N4 | WANT_N6 : undefined;
    const method = "sample_infohashes" as const;
    // Expect no id, so that silence does not count against a contact: some implementations ignore this query.
    const query = { method, to: endpoint, args: { target, want }, expected: undefined, isOnce };
    const watcher = whenDone((outcome, at) => {
      if (outcome.kind === "timeout") return done({ kind: "timeout" }, at);
      if (outcome.kind === "error") return done({ kind: "unsupported" }, at);
      const sample = sampleOf(outcome.message, endpoint);
      if (sample === undefined) return done({ kind: "unsupported" }, at, outcome.message);
      this.#sameUntil.set(`${endpoint}`, at + 1000 * sample.intervalS);
      done({ kind: "sample", sample }, at, outcome.message);
    });
    queries.send(query, now, watcher);
  }

  /** Whether the node at this endpoint would still return the sample that it has already sent us. */
  isKnown(endpoint: Endpoint, now: Millis): boolean {
    return (this.#sameUntil.get(`${endpoint}`) ?? -Infinity) > now;
  }

  /** Asks up to `budget` nodes, each once: first our contacts, then nodes that others name. */
  walk(budget: number, now: Millis, done: (result: WalkResult, now: Millis) => void): void {
    new Walk(this, { ...this.#options, budget, done }, now).step(now);
  }
}

interface WalkOptions extends SamplerOptions {
  readonly budget: number;
  readonly done: (result: WalkResult, now: Millis) => void;
}

class Walk {
  readonly #sampler: Sampler;
  readonly #options: WalkOptions;
  readonly #startedAt: Millis;
  readonly #allowance = new Allowance(QUERIES_PER_SECOND, QUERY_BURST);
  readonly #heard: Endpoint[] = [];
  /** The endpoints that the walk knows. */
  readonly #endpoints = new Set<string>();
  /**
   * The number of known endpoints per IPv4 address or IPv6 /64 (see `ownerOf`), because the owner of an address can
   * invent any number of nodes.
   */
  readonly #perOwner = new Map<string, number>();
  readonly #found = new Map<string, Id>();
  #inFlight = 0;
  #queries = 0;
  #answered = 0;
  #sampled = 0;
  #stored = 0;
  #isWaiting = false;
  #hasEnded = false;

  constructor(sampler: Sampler, options: WalkOptions, now: Millis) {
    this.#sampler = sampler;
    this.#options = options;
    this.#startedAt = now;
    for (const { id, endpoint } of options.queries.tables.contacts()) this.#hear(id, endpoint, now);
  }

  step(now: Millis): void {
    while (this.#queries < this.#options.budget && this.#inFlight < MAX_IN_FLIGHT) {
      if (this.#heard.length === 0) break;
      if (!this.#allowance.take(now)) return this.#wait(now);
      this.#askNext(now);
    }
    if (this.#inFlight > 0 || this.#hasEnded || this.#isWaiting) return;
    this.#hasEnded = true;
    this.#options.done({
      infoHashes: [...this.#found.values()],
      queries: this.#queries,
      answered: this.#answered,
      sampled: this.#sampled,
      stored: this.#stored,
      elapsed: now - this.#startedAt,
    }, now);
  }

  #wait(now: Millis): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#options.deadlines.schedule(now + this.#allowance.waitFor(now), (at) => {
      this.#isWaiting = false;
      this.step(at);
    });
  }

  #askNext(now: Millis): void {
    const heard = this.#heard;
    const index = Math.floor(this.#options.random.fraction() * heard.length);
    const endpoint = heard[index];
    heard[index] = heard[heard.length - 1];
    heard.pop();
    this.#queries++;
    this.#inFlight++;
    this.#sampler.sample({ endpoint, isOnce: true }, now, (outcome, at, answer) => {
      this.#inFlight--;
      if (outcome.kind !== "timeout") this.#answered++;
      if (outcome.kind === "sample") this.#note(outcome.sample);
      if (answer !== undefined) this.#hearFrom(answer, endpoint, at);
      this.step(at);
    });
  }

  #note({ infoHashes, count }: Sample): void {
    this.#sampled++;
    // A node may report any number, so limit the sum.
    this.#stored = Math.min(Number.MAX_SAFE_INTEGER, this.#stored + count);
    for (const infoHash of infoHashes) {
      if (this.#found.size < MAX_INFO_HASHES) this.#found.set(`${infoHash}`, infoHash);
    }
  }

  #hearFrom({ nodes, nodes6 }: Message, from: Endpoint, now: Millis): void {
    for (const [family, bytes] of [[4, nodes], [6, nodes6]] as const) {
      if (bytes === undefined) continue;
      readCompactNodes(bytes, family, (id, endpoint) => {
        if (mayRefer(from, endpoint)) this.#hear(id, endpoint, now);
      });
    }
  }

  #hear(id: Id, endpoint: Endpoint, now: Millis): void {
    const { queries: { tables, outbox: { self } } } = this.#options;
    const name = `${endpoint}`, owner = isCounted(endpoint) ? ownerOf(endpoint) : name;
    const count = this.#perOwner.get(owner) ?? 0;
    const isOther = !id.equals(self.id) && tables.families.includes(endpoint.family);
    if (!isOther || this.#endpoints.has(name) || count >= MAX_PER_OWNER) return;
    if (this.#heard.length >= MAX_HEARD || this.#sampler.isKnown(endpoint, now)) return;
    this.#endpoints.add(name);
    this.#perOwner.set(owner, count + 1);
    this.#heard.push(endpoint);
  }
}

/** The sample in an answer; undefined if there is none, or if it is malformed. */
function sampleOf({ id, samples, num, interval }: Message, endpoint: Endpoint): Sample | undefined {
  if (id === undefined || samples === undefined || samples.length % ID_BYTES !== 0) {
    return undefined;
  }
  const infoHashes = Array.from(
    { length: samples.length / ID_BYTES },
    (_, i) => Id.read(samples, i * ID_BYTES),
  );
  return {
    id,
    endpoint,
    infoHashes,
    count: num >= 0 ? num : infoHashes.length,
    intervalS: interval >= 0 ? Math.min(interval, MAX_INTERVAL_S) : 0,
  };
}
