// Serves nodes that strangers can't reach: introduces strangers to them, forwards single messages,
// and arranges probes. Stores nothing about these nodes except their announcements (BEP 5).

import { byteStringContent } from "../../krpc/bencode.ts";
import { type Endpoint, mayRefer } from "../../krpc/endpoint.ts";
import { decode, ErrorCode, type Message } from "../../krpc/message.ts";
import { Allowance, SharedAllowance } from "../allowance.ts";
import type { Millis } from "../deadlines.ts";
import type { Outbox, OutgoingQuery } from "../outbox.ts";
import type { Random } from "../random.ts";
import type { Contact } from "../routing/contact.ts";
import { isSameSubnet, ownerOf } from "../routing/diversity.ts";
import type { Tables } from "../routing/tables.ts";
import type { PeerStore } from "../serving/peer_store.ts";
import type { Responder } from "../serving/responder.ts";
import type { Tokens } from "../tokens.ts";

/**
 * The maximum size of a forwarded message. It is enough for the largest item, and the message still fits in one packet.
 */
export const MAX_FORWARDED_BYTES = 1_250;

/** The maximum size of an introduction, and of the answer to an introduction. */
const MAX_INTRODUCTION_BYTES = 160;

/**
 * Limits on the introductions that we forward, at about 300 bytes each. In a large network, each node gets few such
 * requests.
 */
const INTRODUCTIONS_PER_SECOND = 8, INTRODUCTION_BURST = 40;

/**
 * The largest burst of forwarded bytes, as seconds at the relay rate. By default, it is 16 kB, enough for several
 * items.
 */
const RELAY_BURST_S = 8;

/**
 * Limits on the probes that we request on behalf of nodes behind NATs. Each such node needs about nine probes in half
 * an hour.
 */
const ASKED_PER_SECOND = 2, ASKED_BURST = 20;

const PROBES_PER_SECOND = 1, PROBE_BURST = 20;

interface IntroducerOptions {
  readonly responder: Responder;
  readonly tables: Tables;
  readonly random: Random;
  /** The limit on forwarded bytes per second, not counting introductions; 0 disables forwarding. */
  readonly relayRate: number;
}

export class Introducer {
  readonly #outbox: Outbox;
  readonly #tokens: Tokens;
  readonly #peers: PeerStore;
  readonly #tables: Tables;
  readonly #random: Random;
  readonly #introductions = new SharedAllowance(INTRODUCTIONS_PER_SECOND, INTRODUCTION_BURST);
  readonly #asked = new SharedAllowance(ASKED_PER_SECOND, ASKED_BURST);
  readonly #probes = new Allowance(PROBES_PER_SECOND, PROBE_BURST);
  /** The budget for forwarded bytes, not counting introductions. */
  readonly #relayed: Allowance;

  constructor({ responder, tables, random, relayRate }: IntroducerOptions) {
    this.#outbox = responder.outbox;
    this.#tokens = responder.tokens;
    this.#peers = responder.peers;
    this.#tables = tables;
    this.#random = random;
    this.#relayed = new Allowance(relayRate, RELAY_BURST_S * relayRate);
  }

  /**
   * Handles a `dm_pass` with a token. A `dm_pass` with a target carries a query for the node with that id, which must
   * have announced itself here at the endpoint in `values`. A `dm_pass` without a target carries the answer to such a
   * query.
   */
  pass(query: Message, from: Endpoint, now: Millis): void {
    const { target, token, values, value } = query;
    const to = values?.[0];
    const payload = value && byteStringContent(value);
    const isQuery = target !== undefined;
    if (to === undefined || to.family !== from.family || payload === undefined) {
      return this.#refuse(query, from, "no endpoint of the same family, or no message");
    }
    const isAllowed = isQuery
      ? this.#tokens.verify(token!, from, now)
      : this.#tokens.verifyReturn(token!, { to, from }, now);
    if (!isAllowed) return this.#refuse(query, from, "bad token");
    const inner = payload.length <= MAX_FORWARDED_BYTES ? decode(payload) : undefined;
    if (typeof inner !== "object" || (inner.type === "q") !== isQuery) {
      return this.#refuse(query, from, "not a message that is passed on");
    }
    if (isQuery && (!mayRefer(from, to) || !this.#peers.has(target, to, now))) {
      return this.#error(query, from, { code: ErrorCode.generic, text: "not announced here" });
    }
    const isIntroduction = payload.length <= MAX_INTRODUCTION_BYTES &&
      (!isQuery || inner.method === "dm_punch");
    const isWithin = isIntroduction
      ? this.#introductions.take(ownerOf(from), now)
      : this.#relayed.take(now, query.packet.length);
    if (!isWithin) {
      this.#outbox.traffic.drop("over_budget");
      if (isQuery) this.#error(query, from, OVER_BUDGET);
      return;
    }
    const returnToken = isQuery ? this.#tokens.issueReturn(from, to, now) : undefined;
    const args = { values: [from], value, returnToken };
    if (!this.#send({ method: "dm_pass", to, args }, query)) return;
    if (isQuery) this.#reply(query, from);
  }

  /**
   * Handles a `dm_probe` with a token: asks another node to probe the sender, and probes the sender from an extra
   * port.
   */
  askProbe(query: Message, from: Endpoint, now: Millis): void {
    if (!this.#tokens.verify(query.token!, from, now)) {
      return this.#refuse(query, from, "bad token");
    }
    if (!this.#asked.take(ownerOf(from), now)) {
      this.#outbox.traffic.drop("over_budget");
      return this.#error(query, from, OVER_BUDGET);
    }
    const to = this.#prober(from, now)?.endpoint;
    if (to !== undefined) {
      if (!this.#send({ method: "dm_probe", to, args: { values: [from] } }, query)) return;
      this.#reply(query, from, [to]);
      return void this.#sendProbe(from, query);
    }
    // Without another node, the only possible probe is from an extra port of ours.
    if (this.#sendProbe(from, query)) return this.#reply(query, from);
    return this.#error(query, from, { code: ErrorCode.server, text: "nobody to probe from" });
  }

  /** Handles a `dm_probe` with an endpoint: sends a probe to that endpoint if the sender of the query is a contact. */
  probe(query: Message, from: Endpoint, now: Millis): void {
    const to = query.values?.[0];
    const isFit = to !== undefined && to.family === from.family && mayRefer(from, to) &&
      query.id !== undefined && this.#tables.at(from, query.id) !== undefined;
    if (!isFit) return this.#outbox.traffic.drop("not_introduced");
    if (!this.#probes.take(now)) return this.#outbox.traffic.drop("over_budget");
    if (!this.#sendProbe(to, query)) this.#send({ method: "dm_probe", to, args: {} }, query);
  }

  /**
   * Sends a probe from an extra port, to which the receiver has sent nothing. Returns false if no port can be opened.
   */
  #sendProbe(to: Endpoint, cause: Message): boolean {
    const sockets = this.#outbox.transport.openSockets(1, () => {});
    if (sockets === undefined) return false;
    const socket = { sockets, index: 0 };
    this.#send({ method: "dm_probe", to, args: {}, socket }, cause);
    sockets.close();
    return true;
  }

  /** Returns a random contact that can send a probe, if possible outside the asker's subnet. */
  #prober(asker: Endpoint, now: Millis): Contact | undefined {
    let chosen: Contact | undefined, fit = 0, isFar = false;
    for (const contact of this.#tables.contactsOf(asker.family)) {
      const { endpoint, client } = contact;
      if (endpoint.sameAddress(asker)) continue;
      if (!this.#outbox.self.isSameSoftware(client) || !contact.isGood(now)) continue;
      const isFarther = !isSameSubnet(endpoint, asker);
      if (isFarther && !isFar) isFar = true, fit = 0;
      else if (isFarther !== isFar) continue;
      if (this.#random.fraction() < 1 / ++fit) chosen = contact;
    }
    return chosen;
  }

  /**
   * Sends a query that the query `cause` requested, and doesn't wait for a reply. Drops the query if it is longer than
   * `cause`, so that nobody can use us to amplify traffic.
   */
  #send(query: Omit<OutgoingQuery, "tid" | "maxBytes">, cause: Message): boolean {
    const tid = this.#random.word();
    return this.#outbox.send({ ...query, tid, maxBytes: cause.packet.length });
  }

  #reply(query: Message, from: Endpoint, values?: readonly Endpoint[]): void {
    this.#outbox.sendReply(query, from, this.#outbox.writeResponse(query, from, { values }));
  }

  #refuse(query: Message, from: Endpoint, text: string): void {
    // The sender of a forwarded answer expects no reply.
    if (query.method === "dm_pass" && query.target === undefined) {
      this.#outbox.traffic.drop("not_introduced");
    } else this.#error(query, from, { code: ErrorCode.protocol, text });
  }

  #error(query: Message, from: Endpoint, error: { code: number; text: string }): void {
    this.#outbox.sendReply(query, from, this.#outbox.writeError(query, from, error));
  }
}

const OVER_BUDGET = { code: ErrorCode.server, text: "over budget" };
