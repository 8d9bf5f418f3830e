// Ways between nodes of which one or both can't be reached by strangers: through holes in NATs, or by way of a node
// that both talk to.

import { bencodeBytes, byteStringContent, type Writer } from "../krpc/bencode.ts";
import { type Endpoint, type Family, mayRefer } from "../krpc/endpoint.ts";
import { type Id, word } from "../krpc/id.ts";
import {
  decode,
  type Message,
  type Method,
  type QueryArguments,
  writeQuery,
  writeResponse,
} from "../krpc/message.ts";
import { Allowance } from "./allowance.ts";
import { type BurstNode, openPorts, PortProbes } from "./burst.ts";
import type { Contact } from "./contact.ts";
import type { Deadline, Deadlines, Millis } from "./deadlines.ts";
import { MAX_PASSED_BYTES } from "./introducer.ts";
import type { QueryOutcome } from "./lookup.ts";
import type { Nat, NatState } from "./nat.ts";
import type { Query } from "./queries.ts";
import type { Random } from "./random.ts";
import { type Found, Registration, type RegistrationNode } from "./registration.ts";
import { isSecureId } from "./secure_id.ts";
import type { Self } from "./self.ts";
import type { Tokens } from "./tokens.ts";
import type { Drop } from "./traffic.ts";

/**
 * How a node was reached. direct: at its endpoint; punched: there, once it had opened its NAT for us; relayed: by way
 * of another node.
 */
export type Way = "direct" | "punched" | "relayed";

/** What became of the search for a node. */
export type ReachResult =
  | {
    readonly kind: "reached";
    readonly endpoint: Endpoint;
    readonly rtt: number;
    readonly way: Way;
  }
  /** Nobody knows of it. */
  | { readonly kind: "unknown" }
  | { readonly kind: "timeout"; readonly endpoint: Endpoint };

/** Introductions that are acted on: each costs a packet to a stranger, and one to whoever passed it on. */
const INTRODUCED_PER_SECOND = 4, INTRODUCED_BURST = 16;

/** Who was introduced is answered for so long after its latest query; so many are remembered. */
const INTRODUCED_MS = 60_000, MAX_INTRODUCED = 64;

/** After the answer to an introduction, which is sent when the other's hole is open, pings go out at these times. */
const PINGS_MS = [0, 60, 200, 500, 1_000];

/** An introduction that has not been answered is tried again after this, at another node where there is one. */
const AGAIN_MS = 700, MAX_INTRODUCTIONS = 3;

/** A hole is open within this of an introduction, or never. */
const PUNCH_MS = 2_000;

/** Where both sides are symmetric hardly any hole can open: so much is left to the pings. */
const HARDLY_MS = 400;

/** Trying many ports takes up to 1.4 seconds, and a round trip; the ports that it is to meet are open for longer. */
const BURST_MS = 1_800, OPEN_MS = 5_000;

/** Bursts of many packets to one address, ours and those that others ask of us: one at a time, and so many a minute. */
const BURSTS_A_MINUTE = 3;

/** Ports that were opened are closed after this, the one that has met the other too. */
const PORTS_OPEN_MS = 120_000;

/** A message that is passed on is sent again after this, if no answer has come, and given up after that. */
const PASS_AGAIN_MS = 500, PASSED_MS = 2_000;

/** Endpoints that are pinged for one node, and of one introducer's: strangers tell of them. */
const MAX_ENDPOINTS = 4, ENDPOINTS_OF_ONE = 2;

/** Further ports of these that are pinged because packets of the node came from there; and again after these times. */
const MAX_MET = 4, MET_PINGS_MS = [150, 400];

/** A way that was used within this still stands; so many are remembered. */
const WAY_MS = 25_000, MAX_WAYS = 64;

/** What the wire's `nt` says of a node. */
const NAT_CODE = { unknown: 0, reachable: 1, endpoint_independent: 2, symmetric: 3 } as const;

/** What this part needs of the node. */
export interface PunchingNode extends RegistrationNode, BurstNode {
  readonly self: Self;
  readonly client: number;
  readonly nat: Nat;
  readonly tokens: Tokens;
  contact(id: Id): Contact | undefined;
  drop(reason: Drop): void;
  send(query: Query, now: Millis, done: (outcome: QueryOutcome, now: Millis) => void): void;
  /** Our reply to a query from `from`, valid until the next message is written; undefined where it takes its time. */
  answer(query: Message, from: Endpoint, now: Millis): Uint8Array | undefined;
}

/** A node that may introduce us to another. */
interface Introducer {
  readonly id: Id;
  readonly endpoint: Endpoint;
  readonly token: Uint8Array;
  /** Where it sees the other. */
  readonly sees: Endpoint;
}

/** A query that was passed on, and waits for its answer. */
interface Passed {
  readonly via: Endpoint;
  deadline: Deadline;
  readonly done: (answer: Message | undefined, now: Millis) => void;
}

/** A message that was passed on to us: whom it is from, who passed it on, and with what we answer by that way. */
interface Sender {
  readonly sender: Endpoint;
  readonly via: Endpoint;
  readonly token: Uint8Array;
}

/** Many packets to one address, under way. */
interface Burst {
  /** Whom it is for. */
  readonly other: Id;
  readonly address: Endpoint;
  readonly probes: PortProbes | undefined;
  stop(): void;
}

/** How a node was reached last. */
interface KnownWay {
  readonly way: Way;
  readonly endpoint: Endpoint;
  /** Where it is relayed. */
  readonly via: Introducer | undefined;
  readonly at: Millis;
}

/** A search for a way to one node. */
class Attempt {
  /** Where others say that it is, and where its own queries came from. */
  readonly endpoints: Endpoint[] = [];
  readonly met: Endpoint[] = [];
  /** Endpoints to which its id is not bound (BEP 42), each with who tells of it: anybody could say so. */
  readonly doubtful: [Found, Endpoint][] = [];
  readonly introducers: Introducer[] = [];
  readonly timers = new Set<Deadline>();
  /** That of them which ends the waiting for a hole. */
  relay: Deadline | undefined = undefined;
  introductions = 0;
  /** The introducer by way of which it answered. */
  answered: Introducer | undefined = undefined;
  isSearched = false;
  isOver = false;
  /** Pings and passed messages without an outcome. */
  open = 0;

  constructor(
    readonly target: Id,
    readonly listeners: ((result: ReachResult, now: Millis) => void)[],
  ) {}
}

export class Punching {
  readonly #node: PunchingNode;
  readonly #writer: Writer;
  readonly #deadlines: Deadlines;
  readonly #random: Random;
  readonly #registrations: { readonly [F in Family]?: Registration };
  readonly #allowance = new Allowance(INTRODUCED_PER_SECOND, INTRODUCED_BURST);
  /** Addresses of those that were introduced to us, and until when they are answered. */
  readonly #introduced = new Map<string, Millis>();
  readonly #attempts = new Map<string, Attempt>();
  readonly #passed = new Map<number, Passed>();
  readonly #ways = new Map<string, KnownWay>();
  readonly #bursts = new Allowance(BURSTS_A_MINUTE / 60, BURSTS_A_MINUTE);
  #burst: Burst | undefined;
  /** Of the latest burst, also when it is over: of several ports that meet the other side keeps one, maybe not the first. */
  #latestProbes: PortProbes | undefined;

  constructor(
    node: PunchingNode,
    families: readonly Family[],
    writer: Writer,
    deadlines: Deadlines,
    random: Random,
  ) {
    this.#node = node;
    this.#writer = writer;
    this.#deadlines = deadlines;
    this.#random = random;
    this.#registrations = Object.fromEntries(
      families.map((family) => [family, new Registration(node, family, deadlines, random)]),
    );
  }

  /** Where we are registered, for those who want to reach us. */
  get places(): number {
    return Object.values(this.#registrations).reduce((sum, { places }) => sum + places.length, 0);
  }

  /** Registers while strangers can't reach us, and no longer. */
  noteNat({ family, reachable }: NatState, now: Millis): void {
    const registration = this.#registrations[family];
    if (reachable === false) registration?.start(now);
    else registration?.stop();
  }

  /** Our id is another one. */
  noteId(now: Millis): void {
    for (const registration of Object.values(this.#registrations)) registration.restart(now);
  }

  // ---- being reached

  /** Whether we answer a query though strangers get no answers: its sender was introduced to us. */
  admits({ id, method, token, keeps }: Message, from: Endpoint, now: Millis): boolean {
    if (this.#burst !== undefined && id !== undefined) this.#hasMet(id, from, now);
    if (method === "dm_pass" && token === undefined) return true;
    if (this.#introduced.size === 0) return false;
    // Whoever keeps us as a contact has to find out that we are none: its checks would keep us in its table for ever.
    if (method === "ping" && keeps === true) return false;
    const { host } = from;
    const until = this.#introduced.get(host);
    if (until === undefined || until < now) return false;
    this.#introduced.set(host, now + INTRODUCED_MS);
    return true;
  }

  /** `dm_pass` without a token: what another node has passed on to us. */
  deliver(outer: Message, from: Endpoint, now: Millis): void {
    const { values, value, returnToken } = outer;
    const sender = values?.[0];
    const payload = value && byteStringContent(value);
    const inner = payload && decode(payload);
    if (sender === undefined || typeof inner !== "object") return this.#node.drop("malformed");
    if (inner.type !== "q") return this.#takeAnswer(inner, from, now);
    const isFit = this.#registrations[from.family]?.at(from) !== undefined &&
      returnToken !== undefined && sender.family === from.family && mayRefer(from, sender);
    if (!isFit) return this.#node.drop("not_introduced");
    if (!this.#allowance.take(now)) return this.#node.drop("over_budget");
    const back = { sender, via: from, token: returnToken.slice() };
    if (inner.method === "dm_punch") this.#meet(inner, outer, back, now);
    else if (inner.method === "ping" || inner.method === "get") {
      const answer = this.#node.answer(inner, sender, now);
      if (answer !== undefined) this.#passBack(answer, back);
    } else this.#node.drop("not_introduced");
  }

  /** Opens our NAT for whoever wants to meet us, and says so. */
  #meet(
    inner: Message,
    outer: Message,
    back: Sender,
    now: Millis,
  ): void {
    const { sender, via } = back;
    const { self: { id }, client, nat, tokens } = this.#node;
    this.#admit(sender, now);
    // One, and small: whoever made us send it has sent more.
    writeQuery(this.#writer, "dm_punch", this.#random.word(), id, client, true, {});
    if (this.#writer.done().length <= outer.packet.length) {
      nat.noteSent(sender);
      this.#node.sendWritten("dm_punch", sender);
    } else this.#node.drop("would_amplify");
    const natType = this.#natCode(sender.family);
    const isLopsided = (natType === NAT_CODE.symmetric) !== (inner.natType === NAT_CODE.symmetric);
    let token: Uint8Array | undefined, values: Endpoint[] | undefined;
    // Many packets go only to who proves, by another node that we choose, that its address is its own.
    const claimed = sender.withPort(0);
    if (isLopsided && inner.token === undefined) {
      const witness = this.#registrations[sender.family]!.witness(via)?.endpoint;
      if (witness !== undefined) {
        token = tokens.issueReturn(claimed, witness, now);
        values = [witness];
      }
    } else if (isLopsided && tokens.verifyReturn(inner.token!, claimed, via, now)) {
      const isUnderWay = this.#burst?.other.equals(inner.id!) ?? false;
      const proof = inner.token!.slice(), isSymmetric = natType === NAT_CODE.symmetric;
      if (isUnderWay || this.#startBurst(inner.id!, sender, isSymmetric, now)) token = proof;
    }
    writeResponse(this.#writer, inner, sender, id, client, { natType, token, values }, true);
    this.#passBack(this.#writer.done(), back);
  }

  /** Opens many ports towards `to`, or tries many of that address; false where it can't, or not now. */
  #startBurst(other: Id, to: Endpoint, isSymmetric: boolean, now: Millis): boolean {
    if (this.#burst !== undefined || !this.#bursts.take(now)) return false;
    const writer = this.#writer, deadlines = this.#deadlines, random = this.#random;
    const end = () => {
      if (this.#burst?.other === other) this.#burst = undefined;
    };
    if (!isSymmetric) {
      const probes = new PortProbes(this.#node, to, writer, deadlines, random, end);
      this.#burst = { other, address: to, probes, stop: () => probes.stop() };
      this.#latestProbes = probes;
      probes.start(now);
      return true;
    }
    const isMet = { yet: false };
    const sockets = openPorts(this.#node, to, other, writer, random, () => {
      isMet.yet = true;
      end();
    });
    if (sockets === undefined) return false;
    const stop = () => {
      end();
      if (!isMet.yet) sockets.close();
    };
    this.#burst = { other, address: to, probes: undefined, stop };
    deadlines.schedule(now + OPEN_MS, stop);
    deadlines.schedule(now + PORTS_OPEN_MS, () => {
      sockets.close();
      this.#ways.delete(other.toString());
    });
    return true;
  }

  #admit({ host }: Endpoint, now: Millis): void {
    this.#introduced.delete(host);
    this.#introduced.set(host, now + INTRODUCED_MS);
    if (this.#introduced.size > MAX_INTRODUCED) {
      this.#introduced.delete(this.#introduced.keys().next().value!);
    }
  }

  #passBack(answer: Uint8Array, { sender, via, token }: Sender): void {
    if (answer.length > MAX_PASSED_BYTES) return;
    const { self: { id }, client } = this.#node;
    const args = { token, values: [sender], value: bencodeBytes(answer) };
    writeQuery(this.#writer, "dm_pass", this.#random.word(), id, client, true, args);
    this.#node.sendWritten("dm_pass", via);
  }

  #natCode(family: Family): number {
    const { type, reachable } = this.#node.nat.standing(family);
    if (reachable) return NAT_CODE.reachable;
    switch (type) {
      case "symmetric":
        return NAT_CODE.symmetric;
      // A firewall without a NAT maps nothing.
      case "none":
      case "endpoint_independent":
        return NAT_CODE.endpoint_independent;
      default:
        return NAT_CODE.unknown;
    }
  }

  /** A packet has come from a node for which a burst is under way: enough of that, and ready for the next. */
  #hasMet(id: Id, from: Endpoint, now: Millis): void {
    const burst = this.#burst!, { probes, other, address } = burst;
    if (!other.equals(id) || !address.sameAddress(from)) return;
    if (probes !== undefined) probes.meet(from, now);
    else burst.stop();
  }

  // ---- reaching others

  /** Whether queries that come in are to be shown to `noteQuery`. */
  get isReaching(): boolean {
    return this.#attempts.size > 0;
  }

  /** A query that came in: where it is of a node that we try to reach, its hole is open, maybe at another port. */
  noteQuery({ id }: Message, from: Endpoint, now: Millis): void {
    const attempt = id && this.#attempts.get(id.toString());
    if (attempt !== undefined) this.#meetAt(attempt, from, now);
  }

  /** A reply that no query waits for: one of the ports that were tried is that of the other side. */
  noteReply({ id, packet, tidStart, tidEnd }: Message, from: Endpoint, now: Millis): boolean {
    const probes = this.#latestProbes;
    if (probes === undefined || id === undefined || tidEnd - tidStart !== 4) return false;
    if (word(packet, tidStart) !== probes.tid || !probes.to.sameAddress(from)) return false;
    const attempt = this.#attempts.get(id.toString());
    if (attempt !== undefined) this.#meetAt(attempt, from, now);
    return attempt !== undefined;
  }

  #meetAt(attempt: Attempt, from: Endpoint, now: Millis): void {
    const { endpoints, met } = attempt;
    if (!endpoints.some((endpoint) => endpoint.sameAddress(from))) return;
    if (met.length >= MAX_MET || met.some((endpoint) => endpoint.equals(from))) return;
    met.push(from);
    this.#burst?.probes?.stop();
    // The way is open: what is lost on it is sent again.
    for (const ms of MET_PINGS_MS) {
      this.#later(attempt, ms, now, (due) => this.#ping(attempt, from, false, due));
    }
    this.#ping(attempt, from, false, now);
  }

  /** Finds a way to a node, wherever it is, and pings it. */
  reach(target: Id, now: Millis, done: (result: ReachResult, now: Millis) => void): void {
    const name = target.toString();
    const known = this.#attempts.get(name);
    if (known !== undefined) return void known.listeners.push(done);
    const attempt = new Attempt(target, [done]);
    this.#attempts.set(name, attempt);
    const way = this.#freshWay(target, now);
    if (way?.via !== undefined) {
      attempt.endpoints.push(way.endpoint);
      return this.#relay(attempt, [way.via], now, (at) => this.#search(attempt, at));
    }
    const endpoint = way?.endpoint ?? this.#node.contact(target)?.endpoint;
    if (endpoint === undefined) return this.#search(attempt, now);
    const query = { method: "ping", to: endpoint, args: {}, expected: target } as const;
    this.#node.send(query, now, (outcome, at) => {
      if (attempt.isOver) return;
      if (outcome.kind === "response" && outcome.message.id?.equals(target)) {
        return this.#reached(attempt, endpoint, outcome.rtt, way?.way ?? "direct", undefined, at);
      }
      attempt.endpoints.push(endpoint);
      this.#search(attempt, at);
    });
  }

  /** Asks a node, wherever it is. */
  ask(
    target: Id,
    method: "ping" | "get",
    args: QueryArguments,
    now: Millis,
    done: (answer: Message | undefined, now: Millis) => void,
  ): void {
    this.reach(target, now, (result, at) => {
      if (result.kind !== "reached") return done(undefined, at);
      const via = this.#ways.get(target.toString())?.via;
      if (via !== undefined) return this.#pass(via, target, method, args, at, done);
      const query = { method, to: result.endpoint, args, expected: target };
      this.#node.send(query, at, (outcome, end) => {
        done(outcome.kind === "response" ? outcome.message : undefined, end);
      });
    });
  }

  #freshWay(target: Id, now: Millis): KnownWay | undefined {
    const way = this.#ways.get(target.toString());
    return way !== undefined && now - way.at < WAY_MS ? way : undefined;
  }

  #search(attempt: Attempt, now: Millis): void {
    const { target } = attempt;
    this.#node.seek(undefined, target, now, (found, at) => {
      if (attempt.isOver) return true;
      if (found.id.equals(target)) {
        this.#reached(attempt, found.endpoint, found.rtt, "direct", undefined, at);
        return true;
      }
      const told = found.values.filter((endpoint) => mayRefer(found.endpoint, endpoint));
      const bound = told.filter((endpoint) => isSecureId(target, endpoint));
      for (const endpoint of bound.slice(0, ENDPOINTS_OF_ONE)) {
        this.#hear(attempt, found, endpoint, at);
      }
      if (bound.length === 0) {
        for (const endpoint of told.slice(0, ENDPOINTS_OF_ONE)) {
          attempt.doubtful.push([found, endpoint]);
        }
      }
      return attempt.isOver;
    }, (at) => {
      if (attempt.isOver) return;
      attempt.isSearched = true;
      if (attempt.introducers.length === 0) {
        for (const [found, endpoint] of attempt.doubtful) this.#hear(attempt, found, endpoint, at);
      }
      this.#settle(attempt, at);
    });
  }

  /** One more node that sees the one we look for at `endpoint`. */
  #hear(
    attempt: Attempt,
    { id, endpoint: at, token, isOurs }: Found,
    endpoint: Endpoint,
    now: Millis,
  ) {
    const { endpoints, introducers } = attempt;
    if (!endpoints.some((known) => known.equals(endpoint))) {
      if (endpoints.length >= MAX_ENDPOINTS) return;
      endpoints.push(endpoint);
      this.#ping(attempt, endpoint, true, now);
    }
    if (!isOurs || token === undefined) return;
    introducers.push({ id, endpoint: at, token, sees: endpoint });
    if (introducers.length === 1) this.#introduce(attempt, now);
  }

  #ping(attempt: Attempt, to: Endpoint, isFirst: boolean, now: Millis): void {
    const { target } = attempt;
    attempt.open++;
    const query = { method: "ping", to, args: {}, expected: target, isOnce: true } as const;
    this.#node.send(query, now, (outcome, at) => {
      attempt.open--;
      if (outcome.kind === "response" && outcome.message.id?.equals(target)) {
        this.#reached(attempt, to, outcome.rtt, isFirst ? "direct" : "punched", undefined, at);
      } else this.#settle(attempt, at);
    });
  }

  /** Has the next introducer tell the other of us. */
  #introduce(attempt: Attempt, now: Millis): void {
    const { introducers, target } = attempt;
    const introducer = introducers[attempt.introductions++ % introducers.length];
    const { family } = introducer.endpoint;
    const args = { natType: this.#natCode(family) };
    attempt.open++;
    this.#pass(introducer, target, "dm_punch", args, now, (answer, at) => {
      attempt.open--;
      const isAnswer = answer?.type === "r" && answer.id?.equals(target);
      if (attempt.isOver || !isAnswer || attempt.answered !== undefined) {
        return this.#settle(attempt, at);
      }
      attempt.answered = introducer;
      const areSymmetric = answer.natType === NAT_CODE.symmetric &&
        args.natType === NAT_CODE.symmetric;
      this.#askWitness(attempt, introducer, answer, args.natType, at);
      const limit = areSymmetric ? HARDLY_MS : PUNCH_MS;
      for (const ms of PINGS_MS) {
        if (ms < limit) {
          this.#later(attempt, ms, at, (due) => {
            for (const endpoint of [...attempt.endpoints]) {
              this.#ping(attempt, endpoint, false, due);
            }
          });
        }
      }
      this.#relayLater(attempt, limit, at);
    });
    if (attempt.introductions >= MAX_INTRODUCTIONS) return;
    this.#later(attempt, AGAIN_MS, now, (due) => {
      if (attempt.answered === undefined) this.#introduce(attempt, due);
    });
  }

  /** Takes the way by a third node, if no other has been found by then. */
  #relayLater(attempt: Attempt, ms: Millis, now: Millis): void {
    const { answered, introducers } = attempt;
    if (attempt.relay !== undefined) this.#deadlines.cancel(attempt.relay);
    attempt.timers.delete(attempt.relay!);
    attempt.relay = this.#later(attempt, ms, now, (due) => {
      const others = introducers.filter((other) => other !== answered);
      this.#relay(attempt, [answered!, ...others], due, (end) => this.#fail(attempt, end));
    });
  }

  /**
   * The other can be met if one of us tries many ports. It wants us introduced by a node of its own choice first, which
   * tells us as well whether its address is its own: two nodes have verified that then.
   */
  #askWitness(
    attempt: Attempt,
    { endpoint: introducer, sees }: Introducer,
    { token: proof, values }: Message,
    natType: number,
    now: Millis,
  ): void {
    const { target } = attempt;
    const witness = values?.[0];
    if (witness === undefined || proof === undefined || this.#burst !== undefined) return;
    if (witness.family !== introducer.family || witness.sameAddress(introducer)) return;
    if (!mayRefer(introducer, witness)) return;
    const isSymmetric = natType === NAT_CODE.symmetric;
    const kept = proof.slice();
    attempt.open++;
    this.#node.query("get_peers", witness, { infoHash: target }, undefined, now, (outcome, at) => {
      attempt.open--;
      // Whoever has come through needs no burst: others could ask for one meanwhile.
      const hasMet = attempt.met.length > 0;
      if (attempt.isOver || hasMet || outcome.kind !== "response") return this.#settle(attempt, at);
      const { id, token, values } = outcome.message;
      const there = values?.find((endpoint) => endpoint.sameAddress(sees));
      if (id === undefined || token === undefined || there === undefined) return;
      // First our ports are opened, or the other would try them too soon.
      if (isSymmetric && !this.#startBurst(target, sees, true, at)) return;
      const via = { id, endpoint: witness, token: token.slice(), sees: there };
      this.#relayLater(attempt, PASSED_MS + BURST_MS, at);
      attempt.open++;
      this.#pass(via, target, "dm_punch", { natType, token: kept }, at, (answer, end) => {
        attempt.open--;
        if (attempt.isOver) return;
        const isWilling = answer?.type === "r" && answer.token !== undefined;
        this.#relayLater(attempt, isWilling ? BURST_MS : 0, end);
        if (isWilling && !isSymmetric) this.#startBurst(target, sees, false, end);
      });
    });
  }

  /** Pings by way of one introducer after the other. */
  #relay(
    attempt: Attempt,
    [introducer, ...others]: readonly Introducer[],
    now: Millis,
    otherwise: (now: Millis) => void,
  ): void {
    if (introducer === undefined) return otherwise(now);
    const { target } = attempt;
    attempt.open++;
    this.#pass(introducer, target, "ping", {}, now, (answer, at) => {
      attempt.open--;
      if (attempt.isOver) return;
      if (answer?.type === "r" && answer.id?.equals(target)) {
        return this.#reached(attempt, introducer.sees, at - now, "relayed", introducer, at);
      }
      this.#relay(attempt, others.slice(0, 1), at, otherwise);
    });
  }

  /** Sends a query by way of an introducer; `done` hears of the answer, undefined where none comes. */
  #pass(
    via: Introducer,
    target: Id,
    method: Method,
    args: QueryArguments,
    now: Millis,
    done: (answer: Message | undefined, now: Millis) => void,
  ): void {
    const { self: { id }, client, nat } = this.#node;
    let tid = this.#random.word();
    while (this.#passed.has(tid)) tid = this.#random.word();
    const end = (answer: Message | undefined, at: Millis) => {
      const passed = this.#passed.get(tid);
      if (passed === undefined) return;
      this.#passed.delete(tid);
      this.#deadlines.cancel(passed.deadline);
      done(answer, at);
    };
    const { endpoint: to, token, sees } = via;
    writeQuery(this.#writer, method, tid, id, client, nat.isReadOnly(to.family), args);
    const value = bencodeBytes(this.#writer.done());
    const outer = { target, token, value, values: [sees] };
    const send = (at: Millis) => {
      const query = { method: "dm_pass", to, args: outer, expected: via.id } as const;
      this.#node.send(query, at, (outcome, refusedAt) => {
        if (outcome.kind === "error") end(undefined, refusedAt);
      });
    };
    const wait = (ms: Millis, then: (at: Millis) => void) =>
      this.#deadlines.schedule(now + ms, then);
    const passed: Passed = {
      via: to,
      deadline: wait(PASS_AGAIN_MS, (at) => {
        passed.deadline = wait(PASSED_MS, (late) => end(undefined, late));
        send(at);
      }),
      done: end,
    };
    this.#passed.set(tid, passed);
    send(now);
  }

  #takeAnswer(inner: Message, from: Endpoint, now: Millis): void {
    const isOurs = inner.tidEnd - inner.tidStart === 4;
    const passed = isOurs ? this.#passed.get(word(inner.packet, inner.tidStart)) : undefined;
    if (passed === undefined || !passed.via.equals(from)) return this.#node.drop("unmatched");
    passed.done(inner, now);
  }

  #later(attempt: Attempt, ms: Millis, now: Millis, run: (now: Millis) => void): Deadline {
    const timer = this.#deadlines.schedule(now + ms, (due) => {
      attempt.timers.delete(timer);
      if (!attempt.isOver) run(due);
    });
    attempt.timers.add(timer);
    return timer;
  }

  /** Ends an attempt of which nothing more is to be expected. */
  #settle(attempt: Attempt, now: Millis): void {
    const { isOver, isSearched, open, timers } = attempt;
    if (!isOver && isSearched && open === 0 && timers.size === 0) this.#fail(attempt, now);
  }

  #reached(
    attempt: Attempt,
    endpoint: Endpoint,
    rtt: number,
    way: Way,
    via: Introducer | undefined,
    now: Millis,
  ): void {
    if (attempt.isOver) return;
    const name = attempt.target.toString();
    this.#ways.delete(name);
    this.#ways.set(name, { way, endpoint, via, at: now });
    if (this.#ways.size > MAX_WAYS) this.#ways.delete(this.#ways.keys().next().value!);
    this.#end(attempt, { kind: "reached", endpoint, rtt, way }, now);
  }

  #fail(attempt: Attempt, now: Millis): void {
    const [endpoint] = attempt.endpoints;
    this.#ways.delete(attempt.target.toString());
    const result = endpoint === undefined
      ? { kind: "unknown" } as const
      : { kind: "timeout", endpoint } as const;
    this.#end(attempt, result, now);
  }

  #end(attempt: Attempt, result: ReachResult, now: Millis): void {
    if (attempt.isOver) return;
    attempt.isOver = true;
    this.#attempts.delete(attempt.target.toString());
    for (const timer of attempt.timers) this.#deadlines.cancel(timer);
    if (this.#burst?.other === attempt.target) this.#burst.stop();
    for (const listener of attempt.listeners) listener(result, now);
  }
}
