// Where this node is and whether strangers can reach it: the votes on its address, and probes that it asks for.

import type { Endpoint, Family } from "../krpc/endpoint.ts";
import { isWider } from "../krpc/endpoint.ts";
import type { Id } from "../krpc/id.ts";
import type { Message, Method, QueryArguments } from "../krpc/message.ts";
import type { AddressVotes, Tally } from "./address_votes.ts";
import type { Contact } from "./contact.ts";
import { Contacted } from "./contacted.ts";
import type { Deadline, Deadlines, Millis } from "./deadlines.ts";
import type { Host } from "./host.ts";
import type { QueryOutcome } from "./lookup.ts";
import type { Random } from "./random.ts";

/**
 * How a NAT maps ports (RFC 4787, section 4.1). none: peers see an address of this machine. endpoint_independent: all
 * see one port. symmetric: each sees another one.
 */
export type NatType = "none" | "endpoint_independent" | "symmetric" | "unknown";

/**
 * Whom a NAT or firewall lets in at a port from which packets went out (RFC 4787, section 5). none: everybody. address:
 * whom was written to. address_and_port: whom was written to, from that port of theirs alone.
 */
export type NatFiltering = "none" | "address" | "address_and_port" | "unknown";

/** What is held to be so of one family, and why. */
export interface NatState {
  readonly family: Family;
  /** Where most voters see this node; undefined where nobody has voted. */
  readonly external: Endpoint | undefined;
  readonly type: NatType;
  readonly filtering: NatFiltering;
  /** Whether packets that were not asked for arrive; undefined where that is not known. */
  readonly reachable: boolean | undefined;
  /** Whether this node answers nothing and says so (BEP 43). */
  readonly readOnly: boolean;
  readonly evidence: NatEvidence;
}

export interface NatEvidence {
  /** Voters that see the external address, and all that voted. */
  readonly votes: number;
  readonly voters: number;
  /** The latest of those that see it, and how many of them see its port. */
  readonly portVoters: number;
  readonly samePort: number;
  /** They themselves, the latest first. */
  readonly by: readonly Endpoint[];
  readonly votedAt: Millis | undefined;
  /** Why it is held to be reachable, or not: one sentence. */
  readonly reason: string;
  /** When that was found out. */
  readonly checkedAt: Millis | undefined;
  /** Of the latest check: nodes that were asked for a probe, and probes that did not arrive. */
  readonly asked: number;
  readonly missed: number;
  /** Where packets that nobody was asked for came from, as far as they counted. */
  readonly arrivedFrom: readonly Endpoint[];
}

/** A node that gave us a token, and can be asked for a probe. */
export interface Prober {
  readonly id: Id;
  readonly endpoint: Endpoint;
  readonly token: Uint8Array;
}

/** What this part needs of the node. */
export interface NatNode {
  readonly host: Host;
  readonly votes: AddressVotes;
  contacts(family: Family): Iterable<Contact>;
  /** Looks for nodes of this project that give a token. */
  seekProbers(
    family: Family,
    now: Millis,
    done: (found: readonly Prober[], now: Millis) => void,
  ): void;
  query(
    method: Method,
    to: Endpoint,
    args: QueryArguments,
    expected: Id | undefined,
    now: Millis,
    done: (outcome: QueryOutcome, now: Millis) => void,
  ): void;
  /**
   * Asks from a port of its own, from which nothing ever went out, to have that probed. `hear` hears what arrives there,
   * until what is returned is called; undefined where there are no other ports.
   */
  askAside(
    to: Prober,
    args: QueryArguments,
    hear: (message: Message, from: Endpoint) => void,
  ): (() => void) | undefined;
  /** Something of a family's state has changed. */
  changed(state: NatState, now: Millis): void;
}

/** All of so many votes, or as many of a few, name one port: the NAT maps independently of the endpoint. */
const SAME_PORT = 0.75;
/** If no more than these do, it does not. In between nothing is concluded: some voted before the router began anew. */
const OTHER_PORT = 0.5;

/**
 * How long a NAT or firewall lets answers in at most: RFC 4787 (REQ-5) recommends 5 minutes. Whoever was queried within
 * this may get through without being a proof.
 */
const FILTER_MS = 5 * 60_000;

/** A first check waits until the node has joined, and the nodes of a network that starts don't check all at once. */
const CHECK_AFTER_MS = 3_000;

/** Who has a public address is not asked about at once: within this others' queries show that they arrive. */
const PASSIVE_MS = 2 * 60_000;

/** Unasked queries, each of another address, that prove it without a probe. */
const ENOUGH_UNASKED = 2;

/** Nodes asked for a probe at a time, how long probes are waited for, and how often others are asked instead. */
const PROBERS = 3, ROUND_MS = 4_000, ROUNDS = 3;

/** Probes that have to get lost: a packet in a hundred does without any NAT. */
const ENOUGH_MISSED = 2;

/** Checks are repeated after this, and up to half as long again: NATs and firewalls change when somebody changes them. */
const RECHECK_MS = 40 * 60_000;

/** A check that came to nothing is repeated after this, doubling up to the above. */
const RETRY_MS = 30_000;

/** Where nobody can probe it, a node behind a NAT takes part for this long, and sees whether anybody asks it. */
const TRIAL_MS = 10 * 60_000;

/** Of those that packets came from so many are remembered. */
const MAX_ARRIVED = 8;

const UNCHECKED = "not checked yet";

/** A check under way. */
interface Check {
  round: number;
  probers: Prober[];
  /** Who sends the probes of this round, and has not got through. */
  awaited: Endpoint[];
  /** What has been seen at ports from which nothing went out, except to one node. */
  readonly aside: Aside;
  /** Lets go of the port of this round. */
  close: (() => void) | undefined;
}

interface Aside {
  /** Rounds in which another node was named that sends a probe there. */
  asked: number;
  /** Whether a probe of such a node has arrived: then everybody is let in. */
  hasStranger: boolean;
  /** Whether one of another port of the node that was written to has: then that address is let in. */
  hasPort: boolean;
}

class State {
  external: Endpoint | undefined = undefined;
  type: NatType = "unknown";
  filtering: NatFiltering = "unknown";
  reachable: boolean | undefined = undefined;
  reason = UNCHECKED;
  checkedAt: Millis | undefined = undefined;
  asked = 0;
  missed = 0;
  /** Of the missed ones those that came from addresses that we had not written to. */
  missedStrangers = 0;
  /** Proofs that packets arrive which nobody asked for: from strangers, or from unknown ports of those we know. */
  strangers: Endpoint[] = [];
  ports: Endpoint[] = [];
  isMapped = false;
  isOnTrial = false;
  /** Whom we have queried since; undefined while that does not matter. */
  contacted: Contacted | undefined = new Contacted();
  contactedSince: Millis;
  check: Check | undefined = undefined;
  next: Deadline | undefined = undefined;
  retryMs = RETRY_MS;
  /** Whether a trial at this address came to nothing. */
  hasTried = false;
  /** What was told of it last. */
  told = "";

  constructor(
    readonly family: Family,
    readonly mode: "auto" | "off" | "read_only",
    now: Millis,
  ) {
    this.contactedSince = now;
  }

  /** Whether peers see an address that this machine does not have. */
  get isBehindNat(): boolean {
    return this.external !== undefined && this.type !== "none";
  }

  get readOnly(): boolean {
    if (this.mode !== "auto") return this.mode === "read_only";
    if (this.reachable === false) return true;
    return this.isBehindNat && this.reachable === undefined && !this.isOnTrial;
  }

  /** As it is now, with the votes. */
  snapshot(tally: Tally | undefined): NatState {
    const { family, external, type, filtering, reachable, readOnly } = this;
    const { reason, checkedAt, asked, missed, strangers, ports } = this;
    const evidence = {
      votes: tally?.votes ?? 0,
      voters: tally?.voters ?? 0,
      portVoters: tally?.portVoters ?? 0,
      samePort: tally?.samePort ?? 0,
      by: tally?.by ?? [],
      votedAt: tally?.at,
      reason,
      checkedAt,
      asked,
      missed,
      arrivedFrom: [...strangers, ...ports],
    };
    return { family, external, type, filtering, reachable, readOnly, evidence };
  }
}

export class Nat {
  readonly #node: NatNode;
  readonly #deadlines: Deadlines;
  readonly #random: Random;
  readonly #states: { readonly [F in Family]?: State };
  readonly #isOff: boolean;
  // Asked for twice a packet.
  #isReadOnly4 = false;
  #isReadOnly6 = false;
  /** Whether any family's queries are to be looked at: false nearly always. */
  isWatching: boolean;

  /** `mode`: whether it finds out by itself, takes itself for reachable, or answers nothing whatever it finds. */
  constructor(
    node: NatNode,
    families: readonly Family[],
    mode: "auto" | "off" | "read_only",
    deadlines: Deadlines,
    random: Random,
    now: Millis,
  ) {
    this.#node = node;
    this.#deadlines = deadlines;
    this.#random = random;
    this.#isOff = mode !== "auto";
    this.#states = Object.fromEntries(
      families.map((family) => [family, new State(family, mode, now)]),
    );
    if (this.#isOff) { for (const state of this.#all) state.contacted = undefined; }
    this.isWatching = !this.#isOff;
    this.#isReadOnly4 = this.#isReadOnly6 = mode === "read_only";
  }

  get #all(): State[] {
    return Object.values(this.#states);
  }

  /** What is held to be so of each family. */
  get states(): readonly NatState[] {
    return this.#all.map((state) => state.snapshot(this.#node.votes.tally(state.family)));
  }

  /** The kind of NAT of a family, and whether strangers can reach us in it. */
  standing(family: Family): { readonly type: NatType; readonly reachable: boolean | undefined } {
    return this.#states[family] ?? { type: "unknown", reachable: undefined };
  }

  /** Whether queries of this family get no answers, and ours say so. */
  isReadOnly(family: Family): boolean {
    return family === 4 ? this.#isReadOnly4 : this.#isReadOnly6;
  }

  // ---- what is seen

  /** Notes where the node at `voter` sees us. */
  noteVote(voter: Endpoint, seen: Endpoint, now: Millis): void {
    const isNews = this.#node.votes.add(voter, seen, now);
    const state = this.#states[voter.family];
    if (state !== undefined && (isNews || !state.external?.equals(seen))) this.#look(state, now);
  }

  /** Notes that a query of ours goes there. */
  noteSent(to: Endpoint): void {
    this.#states[to.family]?.contacted?.add(to);
  }

  /** Notes a query that came in; to be called while `isWatching`. `isProbe`: it was sent from a port of its own. */
  noteArrived(from: Endpoint, isProbe: boolean, now: Millis): void {
    const state = this.#states[from.family];
    if (state?.contacted === undefined) return;
    const { external, contacted, check, isOnTrial } = state;
    if (state.reachable === true && check === undefined && !isOnTrial) return;
    // Neighbours on this side of the router, and what it sends back to where it came from, prove nothing.
    if (external !== undefined && (isWider(external, from) || external.sameAddress(from))) return;
    if (!this.#isContacted(state, from)) remember(state.strangers, from);
    else if (isProbe && !contacted.hasEndpoint(from)) remember(state.ports, from);
    else return;
    if (check !== undefined) {
      check.awaited = check.awaited.filter((awaited) => !awaited.sameAddress(from));
      // Filters of an earlier run may still be open: so soon it takes what is seen at other ports as well.
      const isMature = !state.isBehindNat || now >= state.contactedSince + FILTER_MS;
      if (isMature && state.strangers.length > 0) this.#judge(state, now);
    } else if (external !== undefined && state.strangers.length >= ENOUGH_UNASKED) {
      this.#judge(state, now);
    }
  }

  /** Whether any packet from this address may be an answer, or be taken for one by a NAT. */
  #isContacted({ family, contacted }: State, from: Endpoint): boolean {
    if (contacted === undefined || contacted.hasAddress(from)) return true;
    // All contacts are pinged now and then, also before we began to note whom we query.
    for (const { endpoint } of this.#node.contacts(family)) {
      if (endpoint.sameAddress(from)) return true;
    }
    return false;
  }

  /** Takes the votes into account. */
  #look(state: State, now: Millis): void {
    const tally = this.#node.votes.tally(state.family);
    if (tally === undefined) return;
    const { external: before, type: formerType } = state;
    const { endpoint } = tally;
    const isOurs = !this.#isOff && this.#node.host.isLocal(endpoint);
    const isNew = before === undefined || !before.sameAddress(endpoint) ||
      (formerType === "none") !== isOurs;
    state.external = endpoint;
    if (this.#isOff) return this.#tell(state, now);
    state.type = isOurs ? "none" : mappingOf(tally, isNew ? "unknown" : formerType);
    if (isNew) this.#begin(state, before === undefined, now);
    else if (state.reachable && state.type === "endpoint_independent" && !before.equals(endpoint)) {
      // Another port: the router may have started anew.
      this.#watch(state, now);
      this.#checkAt(state, now + CHECK_AFTER_MS);
    }
    this.#tell(state, now);
  }

  /** Tells of changes, once. */
  #tell(state: State, now: Millis): void {
    const { external, type, reachable, readOnly } = state;
    if (state.family === 4) this.#isReadOnly4 = readOnly;
    else this.#isReadOnly6 = readOnly;
    // Behind a symmetric NAT each peer sees another port: that is no news.
    const seen = type === "symmetric" ? external?.host : external;
    const told = `${seen} ${type} ${reachable} ${readOnly}`;
    if (told === state.told) return;
    state.told = told;
    this.#node.changed(state.snapshot(this.#node.votes.tally(state.family)), now);
  }

  /** The address is new: whether packets arrive there is another question, unless it is the first that we hear of. */
  #begin(state: State, isFirst: boolean, now: Millis): void {
    if (!isFirst) this.#forget(state);
    this.#watch(state, now);
    state.isOnTrial = state.hasTried = false;
    if (state.type === "none" && state.external!.scope !== "global") {
      return this.#conclude(
        state,
        true,
        "there is no NAT: peers of this network see an address of this machine",
        now,
      );
    }
    if (state.strangers.length >= ENOUGH_UNASKED) return this.#judge(state, now);
    state.reachable = undefined;
    state.filtering = "unknown";
    state.reason = UNCHECKED;
    const wait = state.type === "none" ? PASSIVE_MS : CHECK_AFTER_MS;
    this.#checkAt(state, now + wait * (1 + this.#random.fraction()));
  }

  #forget(state: State): void {
    this.#endCheck(state);
    state.strangers = [];
    state.ports = [];
    state.asked = 0;
    state.missed = 0;
    state.missedStrangers = 0;
  }

  #endCheck(state: State): void {
    state.check?.close?.();
    state.check = undefined;
  }

  // ---- checks

  /** Finds out anew whether strangers can reach us: the router may let them in now, or no more. */
  recheck(now: Millis): void {
    if (this.#isOff) return;
    for (const state of this.#all) {
      if (state.external === undefined || this.#isTrivial(state)) continue;
      state.hasTried = false;
      this.#watch(state, now);
      this.#checkAt(state, now);
    }
  }

  /** A router was asked to let strangers in (`true`), or does so no more: that is checked. */
  noteMapping(family: Family, isMapped: boolean, now: Millis): void {
    const state = this.#states[family];
    if (state === undefined || this.#isOff || state.isMapped === isMapped) return;
    state.isMapped = isMapped;
    state.hasTried = false;
    if (state.external === undefined || this.#isTrivial(state)) return;
    this.#watch(state, now);
    this.#checkAt(state, now);
  }

  #isTrivial({ type, external }: State): boolean {
    return type === "none" && external!.scope !== "global";
  }

  /** Notes from now on whom we query. */
  #watch(state: State, now: Millis): void {
    if (state.contacted !== undefined) return;
    state.contacted = new Contacted();
    state.contactedSince = now;
    this.isWatching = true;
  }

  #unwatch(state: State): void {
    state.contacted = undefined;
    this.isWatching = this.#all.some(({ contacted }) => contacted !== undefined);
  }

  #checkAt(state: State, at: Millis): void {
    this.#deadlines.cancel(state.next);
    state.next = this.#deadlines.schedule(at, (now) => this.#check(state, now));
  }

  /** A later check: whom we query before it must be known for so long as a NAT may let answers in. */
  #recheckAt(state: State, at: Millis): void {
    this.#deadlines.cancel(state.next);
    state.next = this.#deadlines.schedule(at - FILTER_MS, (now) => {
      this.#watch(state, now);
      this.#checkAt(state, at);
    });
  }

  #check(state: State, now: Millis): void {
    this.#forget(state);
    const aside = { asked: 0, hasStranger: false, hasPort: false };
    const check: Check = { round: 0, probers: [], awaited: [], aside, close: undefined };
    state.check = check;
    this.#node.seekProbers(state.family, now, (found, at) => {
      if (state.check !== check) return;
      check.probers = [...found];
      this.#random.shuffle(check.probers);
      this.#ask(state, check, at);
    });
  }

  /** Asks some to have us probed, each round others where there are enough, and waits. */
  #ask(state: State, check: Check, now: Millis): void {
    check.awaited = [];
    const { probers } = check;
    const count = Math.min(PROBERS, probers.length);
    for (let i = 0; i < count; i++) {
      const { endpoint, id, token } = probers[(check.round * PROBERS + i) % probers.length];
      // Where we are goes along, so that no node that acts on it sends more than it was sent.
      const args = { token, values: [state.external!] };
      this.#node.query("dm_probe", endpoint, args, id, now, (outcome) => {
        if (state.check !== check || outcome.kind !== "response") return;
        // Who names nobody has sent the probe itself.
        const prober = outcome.message.values?.[0] ?? endpoint;
        if (prober.family !== state.family) return;
        state.asked++;
        // The probe may have been faster than its announcement.
        const hasCome = [...state.strangers, ...state.ports].some((at) => at.sameAddress(prober));
        if (!hasCome) check.awaited.push(prober);
      });
    }
    if (count > 0) this.#askAside(state, check, probers[check.round * PROBERS % probers.length]);
    check.round++;
    this.#deadlines.cancel(state.next);
    state.next = this.#deadlines.schedule(now + ROUND_MS, (at) => {
      state.missed += check.awaited.length;
      state.missedStrangers += check.awaited.filter((one) => !this.#isContacted(state, one)).length;
      check.close?.();
      const hasAside = check.close !== undefined;
      check.close = undefined;
      state.filtering = filteringOf(check.aside);
      const { strangers, ports, missed, missedStrangers, filtering } = state;
      const isSeen = hasAside ? filtering !== "unknown" : missedStrangers >= ENOUGH_MISSED;
      const isClear = strangers.length > 0 || (isSeen && ports.length > 0) ||
        (ports.length === 0 && missed >= ENOUGH_MISSED);
      if (isClear || check.round >= ROUNDS || probers.length === 0) this.#judge(state, at);
      else this.#ask(state, check, at);
    });
  }

  /**
   * Has another port probed, from which only the prober was ever written to: whoever else gets through there shows that
   * the NAT lets in everybody, though this node may have written to all nodes that there are.
   */
  #askAside(state: State, check: Check, prober: Prober): void {
    const { endpoint, token } = prober;
    const external = state.external!;
    const args = { token, values: [external] };
    const { aside } = check;
    check.close = this.#node.askAside(prober, args, (message, from) => {
      if (state.check !== check) return;
      if (from.equals(endpoint)) {
        const named = message.type === "r" ? message.values?.[0] : undefined;
        if (named !== undefined && !named.sameAddress(endpoint)) aside.asked++;
      } else if (from.sameAddress(endpoint)) aside.hasPort = true;
      else if (!isWider(external, from) && !external.sameAddress(from)) aside.hasStranger = true;
    });
  }

  /** Concludes from what a check, or others' queries, have shown. */
  #judge(state: State, now: Millis): void {
    const { strangers, ports, missed, missedStrangers, asked, filtering, isMapped } = state;
    // Where addresses are let in, those of an earlier run may be, until its filters have closed.
    const isCertain = filtering !== "address" || now >= state.contactedSince + FILTER_MS;
    if (strangers.length > 0 && isCertain) {
      const reason = "queries arrive from addresses that this node had not written to";
      return this.#conclude(state, true, reason, now);
    }
    if (filtering === "none" && ports.length > 0) {
      const reason = "probes arrive at a port from which nobody but the asked node was written to";
      return this.#conclude(state, true, reason, now);
    }
    if (ports.length > 0 && (isMapped || filtering === "address_and_port")) {
      const reason =
        "probes arrive from ports that this node had not written to: the port is forwarded";
      return this.#conclude(state, true, reason, now);
    }
    if (ports.length > 0 && (filtering === "address" || missedStrangers > 0)) {
      const reason = "packets arrive from addresses alone that this node has written to";
      return this.#conclude(state, false, reason, now);
    }
    if (ports.length > 0 && !state.isBehindNat) {
      const reason = "probes arrive from ports that this node had not written to";
      return this.#conclude(state, true, reason, now);
    }
    if (ports.length === 0 && missed >= ENOUGH_MISSED) {
      state.filtering = "address_and_port";
      const reason = `${missed} of ${asked} probes that were sent have not arrived`;
      return this.#conclude(state, false, reason, now);
    }
    if (isMapped) {
      return this.#conclude(state, true, "the router maps a port; nobody could probe it", now);
    }
    this.#try(state, now);
  }

  #conclude(state: State, reachable: boolean, reason: string, now: Millis): void {
    this.#endCheck(state);
    state.reachable = reachable;
    state.reason = reason;
    state.checkedAt = now;
    state.isOnTrial = false;
    state.retryMs = RETRY_MS;
    this.#deadlines.cancel(state.next);
    state.next = undefined;
    if (this.#isTrivial(state)) this.#unwatch(state);
    else {
      // Filters of an earlier run may still be open: what shows so soon is not certain yet.
      const matureAt = state.contactedSince + FILTER_MS;
      if (reachable && state.isBehindNat && now < matureAt) {
        this.#checkAt(state, matureAt + ROUND_MS);
      } else {
        this.#unwatch(state);
        this.#recheckAt(state, now + RECHECK_MS * (1 + this.#random.fraction() / 2));
      }
    }
    this.#tell(state, now);
  }

  /**
   * Nobody could say. A node that is read-only is in nobody's table, so nobody will ever ask it: behind a NAT it
   * therefore takes part for a while, and is reachable if strangers ask it meanwhile.
   */
  #try(state: State, now: Millis): void {
    const { isOnTrial } = state;
    this.#endCheck(state);
    const hasContacts = !this.#node.contacts(state.family)[Symbol.iterator]().next().done;
    if ((isOnTrial || state.hasTried) && hasContacts) {
      state.hasTried = true;
      return this.#conclude(state, false, "nobody could probe it, and no stranger asked it", now);
    }
    state.isOnTrial = hasContacts && state.isBehindNat;
    if (state.isOnTrial) {
      state.reason = "nobody could probe it: it takes part, and waits for strangers' queries";
      this.#checkAt(state, now + TRIAL_MS);
    } else {
      this.#checkAt(state, now + state.retryMs * (1 + this.#random.fraction() / 2));
      state.retryMs = Math.min(2 * state.retryMs, RECHECK_MS);
    }
    this.#tell(state, now);
  }
}

/** What voters' ports say of the mapping; `former` where they say nothing clear. */
function mappingOf({ portVoters, samePort }: Tally, former: NatType): NatType {
  if (portVoters < 2) return former;
  if (samePort >= SAME_PORT * portVoters) return "endpoint_independent";
  return samePort <= OTHER_PORT * portVoters ? "symmetric" : former;
}

/** Whom a NAT lets in, by what came to ports of their own. */
function filteringOf({ asked, hasStranger, hasPort }: Aside): NatFiltering {
  if (hasStranger) return "none";
  // One of two probes may get lost by chance.
  if (asked < ENOUGH_MISSED) return "unknown";
  return hasPort ? "address" : "address_and_port";
}

/** Adds an address to a list that stays short. */
function remember(list: Endpoint[], from: Endpoint): void {
  const isNew = !list.some((known) => known.sameAddress(from));
  if (isNew && list.length < MAX_ARRIVED) list.push(from);
}
