// Protocol extensions for nodes behind NATs: makes this node reachable, reaches other nodes behind NATs, and helps
// unreachable nodes.

import { byteStringContent } from "../../krpc/bencode.ts";
import type { Endpoint } from "../../krpc/endpoint.ts";
import { decode, type Message } from "../../krpc/message.ts";
import type { Deadlines, Millis } from "../deadlines.ts";
import type { Random } from "../random.ts";
import type { Searches } from "../search/searches.ts";
import type { Responder } from "../serving/responder.ts";
import { Bursts } from "./burst.ts";
import { Introducer } from "./introducer.ts";
import { Meeting } from "./meeting.ts";
import type { Nats } from "./nat.ts";
import type { NatState } from "./nat_state.ts";
import { Reaching } from "./reaching.ts";
import { Relay } from "./relay.ts";

/** The default relay rate: forwarded bytes per second, enough for an occasional small value. */
export const RELAY_RATE = 2_048;

interface HiddenOptions {
  readonly nats: Nats;
  readonly searches: Searches;
  readonly responder: Responder;
  readonly deadlines: Deadlines;
  readonly random: Random;
  /** The limit on forwarded bytes per second, not counting introductions; 0 disables forwarding. */
  readonly relayRate: number;
  /** Called with a datagram from another node that arrived at an extra socket. */
  readonly onDatagram: (datagram: Uint8Array, from: Endpoint, now: Millis) => void;
}

/** The components for crossing NATs. A node needs them if it may be behind a NAT, or wants to reach a node that is. */
interface Crossing {
  readonly relay: Relay;
  readonly meeting: Meeting;
  readonly reaching: Reaching;
}

export class Hidden {
  /** The components for crossing NATs; undefined until first needed. Most nodes never need them. */
  crossing: Crossing | undefined;
  readonly #options: HiddenOptions;
  #introducer: Introducer | undefined;

  constructor(options: HiddenOptions) {
    this.#options = options;
  }

  /** Returns the components for crossing NATs, and creates them on first use. */
  cross(): Crossing {
    if (this.crossing !== undefined) return this.crossing;
    const { nats, searches, responder, deadlines, random, onDatagram } = this.#options;
    const { queries } = searches;
    const { outbox } = queries;
    const bursts = new Bursts({ outbox, deadlines, random, onDatagram });
    const relay = new Relay({ queries, deadlines, random });
    const meeting = new Meeting({ nats, searches, responder, bursts, deadlines, random });
    const { peers } = responder;
    const reaching = new Reaching({ nats, searches, peers, relay, bursts, deadlines });
    return this.crossing = { relay, meeting, reaching };
  }

  get #introducing(): Introducer {
    const { responder, searches: { tables }, random, relayRate } = this.#options;
    return this.#introducer ??= new Introducer({ responder, tables, random, relayRate });
  }

  /** Keeps this node registered at introducers, unless strangers can reach it without them. */
  noteNat(state: NatState, now: Millis): void {
    const crossing = state.wantsIntroducers ? this.cross() : this.crossing;
    crossing?.meeting.noteNat(state, now);
  }

  /** Handles a query of this project's extensions. Returns false, and does nothing, for any other query. */
  serve(query: Message, from: Endpoint, now: Millis): boolean {
    const { method } = query;
    if (method !== "dm_pass" && method !== "dm_probe" && method !== "dm_punch") return false;
    const { id, token, values } = query;
    // Leave a query without an id to the responder, which refuses it.
    if (id === undefined) return false;
    const { self, traffic } = this.#options.responder.outbox;
    if (method === "dm_pass" && token === undefined) this.#deliver(query, from, now);
    else if (self.isReadOnly(from.family)) traffic.drop("read_only");
    else if (method === "dm_pass") this.#introducing.pass(query, from, now);
    else if (method === "dm_probe" && token !== undefined) {
      this.#introducing.askProbe(query, from, now);
    } else if (method === "dm_probe" && values !== undefined) {
      this.#introducing.probe(query, from, now);
    }
    return true;
  }

  /** Handles a message that another node has forwarded to us: either a query, or the answer to one of our queries. */
  #deliver(outer: Message, from: Endpoint, now: Millis): void {
    const { traffic } = this.#options.responder.outbox;
    const payload = outer.value && byteStringContent(outer.value);
    const inner = payload && decode(payload);
    if (typeof inner !== "object" || outer.values?.[0] === undefined) {
      return traffic.drop("malformed");
    }
    const { meeting, relay } = this.cross();
    if (inner.type === "q") meeting.receive({ inner, outer, via: from }, now);
    else if (!relay.receive(inner, from, now)) traffic.drop("unmatched");
  }
}
