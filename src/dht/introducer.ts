// What a node that can be reached does for those that can't: introduces them to each other, passes single messages on,
// has them probed. It keeps nothing of any of them beyond what BEP 5 has.

import { byteStringContent, type Writer } from "../krpc/bencode.ts";
import { type Endpoint, type Family, mayRefer } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import {
  decode,
  ErrorCode,
  type Message,
  type Method,
  type QueryArguments,
  writeError,
  writeQuery,
  writeResponse,
} from "../krpc/message.ts";
import { Allowance } from "./allowance.ts";
import type { Contact } from "./contact.ts";
import type { Millis } from "./deadlines.ts";
import { isSameSubnet, ownerOf } from "./diversity.ts";
import type { Host, SpareSockets } from "./host.ts";
import type { PeerStore } from "./peer_store.ts";
import type { Random } from "./random.ts";
import type { Self } from "./self.ts";
import { Shares } from "./shares.ts";
import type { Tokens } from "./tokens.ts";
import type { Drop } from "./traffic.ts";

/** Bytes of a message that is passed on: the reply with the largest item, and all of it in one packet. */
export const MAX_PASSED_BYTES = 1_250;

/** An introduction, and the answer to it, are smaller than this. */
export const MAX_INTRODUCTION_BYTES = 160;

/** Introductions passed on, for all: each takes some 300 bytes. A node of a large network has a few at a time. */
const INTRODUCTIONS_PER_SECOND = 8, INTRODUCTION_BURST = 40;

/** How many seconds' worth of other messages may be passed on at once: one of the largest items, at the default rate. */
const RELAY_BURST_S = 8;

/** Probes asked of others, and sent for others. A node behind a NAT asks for some nine in half an hour. */
const ASKED_PER_SECOND = 2, ASKED_BURST = 20;
const PROBES_PER_SECOND = 1, PROBE_BURST = 20;

/** Whether a contact's `v` says that it is of this project: others are not asked for what they can't do. */
export function isOurs(client: number, own: number): boolean {
  return client >>> 16 === own >>> 16;
}

/** What this part needs of the node. */
export interface IntroducerNode {
  readonly host: Host;
  readonly self: Self;
  readonly client: number;
  readonly tokens: Tokens;
  readonly peers: PeerStore;
  contacts(family: Family): Iterable<Contact>;
  contactAt(at: Endpoint, id: Id): Contact | undefined;
  drop(reason: Drop): void;
  /** Counts the query that the writer holds, and sends it, by a spare socket where some are given. */
  sendWritten(method: Method, to: Endpoint, sockets?: SpareSockets, index?: number): void;
  sendReply(to: Endpoint, query: Message, kind: "response" | "error"): void;
}

export class Introducer {
  readonly #node: IntroducerNode;
  readonly #writer: Writer;
  readonly #random: Random;
  readonly #introductions = new Shares(INTRODUCTIONS_PER_SECOND, INTRODUCTION_BURST);
  readonly #asked = new Shares(ASKED_PER_SECOND, ASKED_BURST);
  readonly #probes = new Allowance(PROBES_PER_SECOND, PROBE_BURST);
  /** In bytes. */
  readonly #relayed: Allowance;

  /** `relayRate`: bytes a second of other messages than introductions that are passed on; 0: none. */
  constructor(node: IntroducerNode, relayRate: number, writer: Writer, random: Random) {
    this.#node = node;
    this.#writer = writer;
    this.#random = random;
    this.#relayed = new Allowance(relayRate, RELAY_BURST_S * relayRate);
  }

  /**
   * `dm_pass` with a token. With a target: a query for a node that has announced itself under that id here, at the
   * endpoint that is named; without one: the answer to it, by the way that the query came.
   */
  pass(query: Message, from: Endpoint, now: Millis): void {
    const { target, token, values, value } = query;
    const { tokens, peers } = this.#node;
    const to = values?.[0];
    const payload = value && byteStringContent(value);
    const isQuery = target !== undefined;
    if (to === undefined || to.family !== from.family || payload === undefined) {
      return this.#refuse(query, from, "no endpoint of the same family, or no message");
    }
    const isAllowed = isQuery
      ? tokens.verify(token!, from, now)
      : tokens.verifyReturn(token!, to, from, now);
    if (!isAllowed) return this.#refuse(query, from, "bad token");
    const inner = payload.length <= MAX_PASSED_BYTES ? decode(payload) : undefined;
    if (typeof inner !== "object" || (inner.type === "q") !== isQuery) {
      return this.#refuse(query, from, "not a message that is passed on");
    }
    if (isQuery && (!mayRefer(from, to) || !peers.has(target, to, now))) {
      return this.#error(query, from, ErrorCode.generic, "not announced here");
    }
    const isIntroduction = payload.length <= MAX_INTRODUCTION_BYTES &&
      (!isQuery || inner.method === "dm_punch");
    const isWithin = isIntroduction
      ? this.#introductions.take(ownerOf(from), now)
      : this.#relayed.take(now, query.packet.length);
    if (!isWithin) {
      this.#node.drop("over_budget");
      // Who answers does not wait for an answer.
      if (isQuery) this.#error(query, from, ErrorCode.server, "over budget");
      return;
    }
    const returnToken = isQuery ? tokens.issueReturn(from, to, now) : undefined;
    if (!this.#tell("dm_pass", to, { values: [from], value, returnToken }, query)) return;
    if (isQuery) this.#reply(query, from, []);
  }

  /** `dm_probe` with a token: has another node probe the asker, names it, and sends a probe from another port as well. */
  askProbe(query: Message, from: Endpoint, now: Millis): void {
    if (!this.#node.tokens.verify(query.token!, from, now)) {
      return this.#refuse(query, from, "bad token");
    }
    if (!this.#asked.take(ownerOf(from), now)) {
      this.#node.drop("over_budget");
      return this.#error(query, from, ErrorCode.server, "over budget");
    }
    const prober = this.#prober(from, now);
    if (prober !== undefined) {
      if (!this.#tell("dm_probe", prober.endpoint, { values: [from] }, query)) return;
      this.#reply(query, from, [prober.endpoint]);
      return void this.#sendProbe(from, query);
    }
    // Nobody else is there: another port of ours is the best there is.
    if (this.#sendProbe(from, query)) return this.#reply(query, from, []);
    return this.#error(query, from, ErrorCode.server, "nobody to probe from");
  }

  /** `dm_probe` with an endpoint: sends a probe there, if a contact asks for it. */
  probe(query: Message, from: Endpoint, now: Millis): void {
    const { contactAt } = this.#node;
    const to = query.values?.[0];
    const isFit = to !== undefined && to.family === from.family && mayRefer(from, to) &&
      query.id !== undefined && contactAt(from, query.id) !== undefined;
    if (!isFit) return this.#node.drop("not_introduced");
    if (!this.#probes.take(now)) return this.#node.drop("over_budget");
    if (!this.#sendProbe(to, query)) this.#tell("dm_probe", to, {}, query);
  }

  /**
   * Sends a probe from a port of its own, which tells something even to whom our address is known. False where there
   * is none to send it from.
   */
  #sendProbe(to: Endpoint, cause: Message): boolean {
    const { host, self: { id }, client } = this.#node;
    const socket = host.openSockets(1, () => {});
    if (socket === undefined) return false;
    writeQuery(this.#writer, "dm_probe", this.#random.word(), id, client, false, {});
    if (this.#writer.done().length <= cause.packet.length) {
      this.#node.sendWritten("dm_probe", to, socket);
    } else this.#node.drop("would_amplify");
    socket.close();
    return true;
  }

  /** A contact to probe from, at random: none of the asker's subnet, if there is another. */
  #prober(asker: Endpoint, now: Millis): Contact | undefined {
    let chosen: Contact | undefined, fit = 0, isFar = false;
    for (const contact of this.#node.contacts(asker.family)) {
      const { endpoint, client } = contact;
      if (endpoint.sameAddress(asker)) continue;
      if (!isOurs(client, this.#node.client) || !contact.isGood(now)) continue;
      const isFarther = !isSameSubnet(endpoint, asker);
      if (isFarther && !isFar) isFar = true, fit = 0;
      else if (isFarther !== isFar) continue;
      if (this.#random.fraction() < 1 / ++fit) chosen = contact;
    }
    return chosen;
  }

  /** Sends a message that nobody answers, because of `cause`: never more than that was. */
  #tell(method: Method, to: Endpoint, args: QueryArguments, cause: Message): boolean {
    const { self: { id }, client } = this.#node;
    writeQuery(this.#writer, method, this.#random.word(), id, client, false, args);
    if (this.#writer.done().length > cause.packet.length) {
      this.#node.drop("would_amplify");
      return false;
    }
    this.#node.sendWritten(method, to);
    return true;
  }

  #reply(query: Message, from: Endpoint, values: readonly Endpoint[]): void {
    const { self: { id }, client } = this.#node;
    const named = values.length > 0 ? { values } : {};
    writeResponse(this.#writer, query, from, id, client, named);
    this.#node.sendReply(from, query, "response");
  }

  #refuse(query: Message, from: Endpoint, text: string): void {
    // An answer on its way back has no transaction: nobody waits for what became of it.
    if (query.method === "dm_pass" && query.target === undefined) this.#node.drop("not_introduced");
    else this.#error(query, from, ErrorCode.protocol, text);
  }

  #error(query: Message, from: Endpoint, code: number, text: string): void {
    writeError(this.#writer, query, from, this.#node.client, code, text);
    this.#node.sendReply(from, query, "error");
  }
}
