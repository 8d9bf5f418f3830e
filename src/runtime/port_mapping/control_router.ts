// The common parts of PCP and NAT-PMP: requests that are resent until answered, and the epoch time,
// which reveals router restarts.

import type { Endpoint } from "../../krpc/endpoint.ts";
import type { Clock } from "../../large_values/item_network.ts";
import { receive, send } from "./datagrams.ts";
import {
  type CheckOutcome,
  type Lease,
  leased,
  type MapOutcome,
  type MappingHost,
  MIN_LEASE_S,
  type Router,
  type Wanted,
} from "./router.ts";

/** Delay before a request is resent for the first time. The delay doubles with each retry (RFC 6886, section 3.1). */
const FIRST_REPEAT_MS = 250;

/** The number of times that a request is sent, within 3.75 s. This is enough for a router that is only one hop away. */
const TRIES = 4;

/**
 * The number of times that the release of a mapping is sent. It is lower than for other requests, because the node
 * waits for the release before it stops.
 */
export const RELEASE_TRIES = 2;

/** A router's answer to a request for a mapping. */
export interface Grant {
  /** The result code; 0 means success. */
  readonly result: number;
  readonly epochS: number;
  readonly lifetimeS: number;
  readonly external: Endpoint | undefined;
}

/** A router that speaks PCP or NAT-PMP. */
export abstract class ControlRouter implements Router {
  abstract readonly protocol: "pcp" | "nat-pmp";
  /** The text of each result code, indexed by the code. */
  protected abstract readonly results: readonly string[];
  protected abstract readonly epoch: EpochTime;
  readonly #conn: Deno.DatagramConn;
  readonly #readers = new Set<(reply: Uint8Array) => void>();
  readonly #closing = new AbortController();

  /** Binds a socket to our address on the router's network. Throws if this machine no longer has the address. */
  constructor(
    private readonly server: Endpoint,
    protected readonly wanted: Wanted,
    protected readonly host: MappingHost,
  ) {
    const hostname = wanted.internal.host;
    this.#conn = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    void receive(this.#conn, { host, closing: this.#closing.signal }, (reply, from) => {
      if (from.equals(server)) { for (const read of this.#readers) read(reply); }
    });
  }

  get gateway(): string {
    return this.server.host;
  }

  /** Requests a mapping for `LEASE_S` seconds. `external` is the address that we already have or would prefer. */
  protected abstract request(external: Endpoint | undefined): Promise<Grant | undefined>;
  abstract check(): Promise<CheckOutcome>;
  abstract release(): Promise<void>;

  async map(lease?: Lease): Promise<MapOutcome> {
    const grant = await this.request(lease?.external);
    if (grant === undefined) return { outcome: "silent", reason: "no answer" };
    const { result, external, lifetimeS } = grant, { internal } = this.wanted;
    this.epoch.note(grant.epochS);
    const reason = result !== 0
      ? this.results[result] ?? `error ${result}`
      : lifetimeS < MIN_LEASE_S
      ? `it grants only ${lifetimeS} s`
      : undefined;
    if (reason !== undefined) return { outcome: "refused", reason };
    if (external?.family !== internal.family || external.scope === "none") {
      return { outcome: "refused", reason: "it reports no external address" };
    }
    return leased(this, { internal, external, seconds: lifetimeS });
  }

  /** Resends a request until it is answered. Resolves with the first reply that `read` understands, or undefined. */
  protected async ask<T>(
    request: Uint8Array,
    read: (reply: Uint8Array) => T | undefined,
    tries = TRIES,
  ): Promise<T | undefined> {
    let answer: T | undefined;
    const answered = new AbortController();
    const isOver = AbortSignal.any([answered.signal, this.#closing.signal]);
    const reader = (reply: Uint8Array) => {
      answer ??= read(reply);
      if (answer !== undefined) answered.abort();
    };
    this.#readers.add(reader);
    for (let i = 0, wait = FIRST_REPEAT_MS; i < tries && !isOver.aborted; i++, wait *= 2) {
      await send(this.#conn, { to: this.server, bytes: request }, this.host);
      await this.host.clock.sleep(wait, isOver);
    }
    this.#readers.delete(reader);
    return answer;
  }

  close(): void {
    this.#closing.abort();
  }
}

/**
 * Tolerated difference between the router's epoch time and our clock in seconds, to allow for rounding and packet
 * delays.
 */
const EPOCH_SLACK_S = 2;

/** Tolerated clock drift: 1/16 with PCP (RFC 6887, section 8.5), and 1/8 with NAT-PMP (RFC 6886, section 3.6). */
const EPOCH_DRIFT = { "pcp": 1 / 16, "nat-pmp": 1 / 8 } as const;

/** Compares a router's epoch time, the seconds since it last lost its mappings, with the time passed on our clock. */
export class EpochTime {
  #latest: { readonly epochS: number; readonly at: number } | undefined;

  constructor(
    private readonly protocol: ControlRouter["protocol"],
    private readonly clock: Clock,
  ) {}

  /** Records the epoch time of an answer. False if the router has lost its mappings since the previous answer. */
  note(epochS: number): boolean {
    const at = this.clock.now(), before = this.#latest, drift = EPOCH_DRIFT[this.protocol];
    this.#latest = { epochS, at };
    if (before === undefined) return true;
    const here = (at - before.at) / 1000, there = epochS - before.epochS;
    if (there + EPOCH_SLACK_S < here * (1 - drift)) return false;
    return this.protocol === "nat-pmp" || here + EPOCH_SLACK_S >= there * (1 - drift);
  }
}
