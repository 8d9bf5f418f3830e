// Checks with probes whether strangers can reach this node in one address family.

import { type Endpoint, type Family, isWider } from "../../krpc/endpoint.ts";
import { decode } from "../../krpc/message.ts";
import type { Deadline, Deadlines, Millis } from "../deadlines.ts";
import type { Random } from "../random.ts";
import { whenDone } from "../search/query.ts";
import type { Searches } from "../search/searches.ts";
import type { Tally } from "./address_votes.ts";
import { Contacted } from "./contacted.ts";
import { findHelpers, type Helper } from "./helpers.ts";
import {
  NAT_CODE,
  type NatFiltering,
  type NatMode,
  type NatState,
  type NatType,
} from "./nat_state.ts";
import type { OwnAddress } from "./own_address.ts";

/** If at least this share of the voters sees the same port, the NAT maps us to one port for all endpoints. */
const SAME_PORT_SHARE = 0.75;

/**
 * If at most this share of the voters sees the same port, the NAT is symmetric. A share between the two limits may be
 * due to a restart of the router, and decides nothing.
 */
const OTHER_PORT_SHARE = 0.5;

/**
 * How long a NAT or firewall may let in packets from nodes that we queried; RFC 4787 (REQ-5) recommends 5 minutes.
 * During this time, packets from these nodes don't prove that strangers can reach us.
 */
const FILTER_MS = 5 * 60_000;

/**
 * The wait before the first check. The node first joins. A random share of this time is added, so that the nodes of a
 * new network don't all check at once.
 */
const CHECK_AFTER_MS = 3_000;

/**
 * The wait before the first check of a public address. By then, queries from strangers have usually proved it
 * reachable.
 */
const PASSIVE_MS = 2 * 60_000;

/** The number of unrequested queries, each from a different address, that prove the node reachable without a probe. */
const ENOUGH_STRANGERS = 2;

/** The number of nodes that we ask for a probe in each round. */
const PROBERS = 3;

/** How long each round of a check waits for the promised probes. */
const ROUND_MS = 4_000;

/** The maximum number of rounds in a check. Each round asks different nodes if there are enough. */
const MAX_ROUNDS = 3;

/**
 * If at least this many promised probes don't arrive, we assume that a filter blocked them. A single probe may simply
 * be lost, as 1 % of packets are.
 */
const ENOUGH_MISSED = 2;

/** The wait after a check without a result. It doubles with each such check, up to the interval between checks. */
const RETRY_MS = 30_000;

/**
 * The minimum interval between checks. Up to half of it is added at random. Checks are repeated because the user may
 * change NAT settings.
 */
const RECHECK_MS = 40 * 60_000;

/**
 * The duration of a trial. If no node can probe us, we take part in the network for this long to
 * see if strangers query us.
 */
const TRIAL_MS = 10 * 60_000;

/** Cap on the remembered senders of unrequested packets. */
const MAX_SENDERS = 8;

const UNCHECKED = "not checked yet";

interface NatParts {
  readonly searches: Searches;
  readonly own: OwnAddress;
  readonly mode: NatMode;
  readonly deadlines: Deadlines;
  readonly random: Random;
  readonly onChange: (state: NatState, now: Millis) => void;
}

/**
 * A check in progress. Its extra port sends packets to one node only, so packets that other nodes send to this port are
 * unrequested.
 */
interface Check {
  round: number;
  probers: readonly Helper[];
  /** The nodes from which a probe is expected in this round but has not arrived yet. */
  awaited: Endpoint[];
  /** Closes the extra port of the current round; undefined if none is open. */
  close: (() => void) | undefined;
  /** The number of rounds in which the asked node promised that another node would probe the extra port. */
  extraProbes: number;
  /**
   * Whether a probe from a node to which we had sent nothing has reached the extra port. If so, the NAT filters
   * nothing.
   */
  hasStranger: boolean;
  /** Whether a probe from another port of the asked node has arrived. If so, the NAT does not filter by port. */
  hasOtherPort: boolean;
}

/** The NAT in each address family that the node uses. */
export type Nats = { readonly [F in Family]?: Nat };

/** The NAT in front of this node in one address family. */
export class Nat {
  readonly family: Family;
  readonly #parts: NatParts;
  readonly #isAuto: boolean;
  #external: Endpoint | undefined;
  #type: NatType = "unknown";
  #filtering: NatFiltering = "unknown";
  /** Whether strangers can reach us at the current address, according to the latest check; undefined if unknown. */
  #reachable: boolean | undefined;
  #reason = UNCHECKED;
  #checkedAt: Millis | undefined;
  /**
   * The state of the trial. During a trial, we behave like a reachable node, because no node could probe us. The trial
   * fails if no stranger queries us.
   */
  #trial: "none" | "running" | "failed" = "none";
  #asked = 0;
  #missed = 0;
  /** The number of missing probes, counting only those promised from addresses to which we had sent nothing. */
  #missedStrangers = 0;
  /** The senders of unrequested packets, at most one endpoint for each address. */
  #strangers: Endpoint[] = [];
  /** The senders of probes from an unexpected port: we had sent packets to the address, but not to this port. */
  #otherPorts: Endpoint[] = [];
  /** Whether a router has mapped a port for us. */
  #isMapped = false;
  /**
   * The endpoints that we have queried since `#contactedSince`; undefined if we don't record them, because no check is
   * near.
   */
  #contacted: Contacted | undefined;
  #contactedSince: Millis;
  #check: Check | undefined;
  /**
   * The deadline of the next step of the running check or, between checks, the deadline that leads to the next check.
   */
  #next: Deadline | undefined;
  #retryMs = RETRY_MS;
  /** Whether the node must be read-only because the user's traffic budget is used up. */
  #isForcedReadOnly = false;
  #reported = "";

  constructor(parts: NatParts, now: Millis) {
    this.#parts = parts;
    this.family = parts.own.family;
    this.#isAuto = parts.mode === "auto";
    this.#contacted = this.#isAuto ? new Contacted() : undefined;
    this.#contactedSince = now;
    this.#setReadOnly();
  }

  /** Whether peers see an address that this machine does not have. */
  get #isBehindNat(): boolean {
    return this.#external !== undefined && this.#type !== "none";
  }

  /** Whether no check is needed: there is no NAT, and the address is not public. */
  get #isTrivial(): boolean {
    return this.#type === "none" && this.#external?.scope !== "global";
  }

  get #readOnly(): boolean {
    if (this.#isForcedReadOnly) return true;
    if (!this.#isAuto) return this.#parts.mode === "read_only";
    const isUndecided = this.#reachable === undefined && this.#trial !== "running";
    return this.#reachable === false || (this.#isBehindNat && isUndecided);
  }

  /**
   * The time by which the NAT has certainly closed the filters that packets sent before `#contactedSince` may have
   * opened.
   */
  get #filtersClosedAt(): Millis {
    return this.#contactedSince + FILTER_MS;
  }

  get state(): NatState {
    return {
      family: this.family,
      external: this.#external,
      type: this.#type,
      filtering: this.#filtering,
      reachable: this.#reachable,
      readOnly: this.#readOnly,
      wantsIntroducers: this.#isAuto && this.#external !== undefined && !this.#isTrivial &&
        this.#reachable !== true && !this.#isForcedReadOnly,
      evidence: {
        tally: this.#parts.own.tally,
        reason: this.#reason,
        checkedAt: this.#checkedAt,
        asked: this.#asked,
        missed: this.#missed,
        arrivedFrom: [...this.#strangers, ...this.#otherPorts],
      },
    };
  }

  /** The NAT type that we report to other nodes, in the field `nt`. */
  get code(): number {
    if (this.#reachable) return NAT_CODE.reachable;
    // A firewall without a NAT never changes ports.
    return this.#type === "none" ? NAT_CODE.endpoint_independent : NAT_CODE[this.#type];
  }

  /** Updates our address and NAT type from the votes. Schedules a new check if the address has changed. */
  noteAddress(now: Millis): void {
    const { tally } = this.#parts.own;
    if (tally === undefined) return;
    const before = this.#external, formerType = this.#type;
    const { endpoint } = tally;
    const { outbox } = this.#parts.searches.queries;
    const isOurs = this.#isAuto && outbox.transport.isLocal(endpoint);
    const isNew = before === undefined || !before.sameAddress(endpoint) ||
      (formerType === "none") !== isOurs;
    this.#external = endpoint;
    if (this.#isAuto) {
      this.#type = isOurs ? "none" : mappingOf(tally, isNew ? "unknown" : formerType);
      if (isNew) this.#begin(before === undefined, now);
      else if (
        this.#reachable && this.#type === "endpoint_independent" && !before.equals(endpoint)
      ) {
        // The port has changed, so the router may have restarted: check again soon.
        this.#watch(now);
        this.#checkAt(now + CHECK_AFTER_MS);
      }
    }
    this.#report(now);
  }

  /** Called when we send a query to an endpoint: records the endpoint. */
  noteSent(to: Endpoint): void {
    this.#contacted?.add(to);
  }

  /** Records an incoming query. `isProbe`: whether its sender used an extra port. */
  noteArrived(from: Endpoint, isProbe: boolean, now: Millis): void {
    const contacted = this.#contacted, check = this.#check, external = this.#external;
    if (contacted === undefined) return;
    if (this.#reachable && this.#trial !== "running" && check === undefined) return;
    // Packets from neighbours behind the same router, or from our own external address, don't prove that strangers can
    // reach us.
    if (external !== undefined && (isWider(external, from) || external.sameAddress(from))) return;
    if (!this.#isContacted(from)) remember(this.#strangers, from);
    else if (isProbe && !contacted.hasEndpoint(from)) remember(this.#otherPorts, from);
    else return;
    if (check !== undefined) {
      check.awaited = check.awaited.filter((awaited) => !awaited.sameAddress(from));
      // An earlier run of this node may have opened our NAT for this sender. Until that opening has certainly closed,
      // also wait for the probes to the extra port.
      const isCertain = !this.#isBehindNat || now >= this.#filtersClosedAt;
      if (isCertain && this.#strangers.length > 0) this.#judge(now);
    } else if (external !== undefined && this.#strangers.length >= ENOUGH_STRANGERS) {
      this.#judge(now);
    }
  }

  /**
   * Whether we may have sent a packet to this address. A packet from this address then does not count as unrequested.
   */
  #isContacted(from: Endpoint): boolean {
    if (this.#contacted === undefined || this.#contacted.hasAddress(from)) return true;
    // We may have pinged contacts before we began to record our queries. Treat all contacts as nodes that we queried.
    for (const { endpoint } of this.#parts.searches.tables.contactsOf(this.family)) {
      if (endpoint.sameAddress(from)) return true;
    }
    return false;
  }

  #report(now: Millis): void {
    this.#setReadOnly();
    const external = this.#external, type = this.#type;
    // Behind a symmetric NAT, each peer sees a different port, so a changed port is not reported.
    const seen = type === "symmetric" ? external?.host : external;
    const reported = `${seen} ${type} ${this.#reachable} ${this.#readOnly}`;
    if (reported === this.#reported) return;
    this.#reported = reported;
    this.#parts.onChange(this.state, now);
  }

  /** Makes the node read-only even if strangers can reach it, or ends this state. */
  forceReadOnly(isForced: boolean, now: Millis): void {
    this.#isForcedReadOnly = isForced;
    this.#report(now);
  }

  #setReadOnly(): void {
    const { self } = this.#parts.searches;
    if (this.family === 4) self.isReadOnly4 = this.#readOnly;
    else self.isReadOnly6 = this.#readOnly;
  }

  /** Starts over with a new address. If it is our first address, packets that arrived earlier still count. */
  #begin(isFirst: boolean, now: Millis): void {
    if (!isFirst) this.#forget();
    this.#watch(now);
    this.#trial = "none";
    this.#reachable = undefined;
    this.#filtering = "unknown";
    this.#reason = UNCHECKED;
    if (this.#isTrivial) {
      const reason = "there is no NAT: peers of this network see an address of this machine";
      return this.#conclude({ reachable: true, reason }, now);
    }
    if (this.#strangers.length >= ENOUGH_STRANGERS) return this.#judge(now);
    const wait = this.#type === "none" ? PASSIVE_MS : CHECK_AFTER_MS;
    this.#checkAt(now + wait * (1 + this.#parts.random.fraction()));
  }

  #forget(): void {
    this.#endCheck();
    this.#strangers = [];
    this.#otherPorts = [];
    this.#asked = this.#missed = this.#missedStrangers = 0;
  }

  #endCheck(): void {
    this.#check?.close?.();
    this.#check = undefined;
  }

  /** Checks again whether strangers can reach us. Called when the router may have changed. */
  recheck(now: Millis): void {
    if (!this.#isAuto || this.#external === undefined || this.#isTrivial) return;
    if (this.#trial === "failed") this.#trial = "none";
    this.#watch(now);
    this.#checkAt(now);
  }

  /**
   * Records the public endpoint that a router maps to us; undefined if none does. Checks again if a mapping was created
   * or removed.
   */
  noteMapping(mapped: Endpoint | undefined, now: Millis): void {
    this.#parts.own.noteMapping(mapped);
    const isMapped = mapped !== undefined;
    if (this.#isMapped === isMapped) return;
    this.#isMapped = isMapped;
    this.recheck(now);
  }

  /** Starts to record which nodes we query, unless that is already recorded. */
  #watch(now: Millis): void {
    if (this.#contacted !== undefined) return;
    this.#contacted = new Contacted();
    this.#contactedSince = now;
  }

  /** Schedules the next step, in place of the one that was scheduled before. */
  #schedule(at: Millis, step: (now: Millis) => void): void {
    const { deadlines } = this.#parts;
    deadlines.cancel(this.#next);
    this.#next = deadlines.schedule(at, step);
  }

  #checkAt(at: Millis): void {
    this.#schedule(at, (now) => this.#startCheck(now));
  }

  #startCheck(now: Millis): void {
    this.#forget();
    const check: Check = this.#check = {
      round: 0,
      probers: [],
      awaited: [],
      close: undefined,
      extraProbes: 0,
      hasStranger: false,
      hasOtherPort: false,
    };
    const { searches, random } = this.#parts;
    findHelpers({ searches, family: this.family }, now, (helpers, at) => {
      if (this.#check !== check) return;
      random.shuffle(helpers);
      check.probers = helpers;
      this.#runRound(check, at);
    });
  }

  /** Asks several nodes to arrange probes of us. Each round asks different nodes if there are enough. */
  #runRound(check: Check, now: Millis): void {
    const { probers } = check;
    const first = check.round++ * PROBERS;
    const count = Math.min(PROBERS, probers.length);
    check.awaited = [];
    for (let i = 0; i < count; i++) {
      this.#askForProbe(check, probers[(first + i) % probers.length], now);
    }
    if (count > 0) this.#askAtExtraPort(check, probers[first % probers.length]);
    this.#schedule(now + ROUND_MS, (at) => this.#endRound(check, at));
  }

  #askForProbe(check: Check, { endpoint: to, id: expected, token }: Helper, now: Millis): void {
    // The query includes our address, so it is at least as long as the probe. A prober thus never sends more bytes than
    // it received.
    const args = { token, values: [this.#external!] };
    const watcher = whenDone((outcome) => {
      if (this.#check !== check || outcome.kind !== "response") return;
      // A node that names no other prober sends the probe itself.
      const prober = outcome.message.values?.[0] ?? to;
      if (prober.family !== this.family) return;
      this.#asked++;
      // The probe may have arrived earlier than the answer that announces it.
      const senders = [...this.#strangers, ...this.#otherPorts];
      if (!senders.some((sender) => sender.sameAddress(prober))) check.awaited.push(prober);
    });
    this.#parts.searches.queries.send({ method: "dm_probe", to, args, expected }, now, watcher);
  }

  /**
   * Opens an extra port, sends packets from this port to a single node, and asks that node for a probe by another node.
   * If the other node's probe arrives, the NAT filters nothing. This test works even if our main port has already sent
   * packets to all nodes.
   */
  #askAtExtraPort(check: Check, { endpoint: to, token }: Helper): void {
    const external = this.#external!;
    const { searches: { queries: { outbox } }, random } = this.#parts;
    const sockets = outbox.transport.openSockets(1, (_, datagram, from) => {
      const message = decode(datagram);
      if (typeof message === "string" || this.#check !== check) return;
      if (from.equals(to)) {
        const named = message.type === "r" ? message.values?.[0] : undefined;
        if (named !== undefined && !named.sameAddress(to)) check.extraProbes++;
      } else if (from.sameAddress(to)) check.hasOtherPort = true;
      else if (!isWider(external, from) && !external.sameAddress(from)) check.hasStranger = true;
    });
    check.close = sockets && (() => sockets.close());
    if (sockets === undefined) return;
    const args = { token, values: [external] }, socket = { sockets, index: 0 };
    outbox.send({ method: "dm_probe", tid: random.word(), to, args, socket });
  }

  #endRound(check: Check, now: Millis): void {
    const { awaited, close } = check;
    this.#missed += awaited.length;
    this.#missedStrangers += awaited.filter((from) => !this.#isContacted(from)).length;
    close?.();
    check.close = undefined;
    this.#filtering = filteringOf(check);
    const hasOtherPorts = this.#otherPorts.length > 0;
    const isFilteringKnown = close !== undefined
      ? this.#filtering !== "unknown"
      : this.#missedStrangers >= ENOUGH_MISSED;
    const isClear = this.#strangers.length > 0 ||
      (hasOtherPorts ? isFilteringKnown : this.#missed >= ENOUGH_MISSED);
    const isLast = check.round >= MAX_ROUNDS || check.probers.length === 0;
    if (isClear || isLast) this.#judge(now);
    else this.#runRound(check, now);
  }

  /** Decides whether strangers can reach us, based on the results of a check or on queries from strangers. */
  #judge(now: Millis): void {
    const conclusion = this.#conclusion(now);
    if (conclusion === undefined) this.#tryWithoutProbes(now);
    else this.#conclude(conclusion, now);
  }

  #conclusion(now: Millis): { reachable: boolean; reason: string } | undefined {
    const filtering = this.#filtering, isMapped = this.#isMapped, missed = this.#missed;
    // A NAT that filters by address may still let in packets from addresses that an earlier run of this node contacted.
    const isCertain = filtering !== "address" || now >= this.#filtersClosedAt;
    if (this.#strangers.length > 0 && isCertain) {
      const reason = "queries arrive from addresses to which this node has sent nothing";
      return { reachable: true, reason };
    }
    if (this.#otherPorts.length > 0) {
      const cases: readonly [holds: boolean, reachable: boolean, reason: string][] = [
        [filtering === "none", true, "probes of strangers arrive at an extra port"],
        [isMapped || filtering === "address_and_port", true, "probes show a forwarded port"],
        [
          filtering === "address" || this.#missedStrangers > 0,
          false,
          "packets arrive only from addresses to which this node has sent packets",
        ],
        [!this.#isBehindNat, true, "probes arrive from ports to which this node has sent nothing"],
      ];
      const found = cases.find(([holds]) => holds);
      return found && { reachable: found[1], reason: found[2] };
    }
    if (missed >= ENOUGH_MISSED) {
      this.#filtering = "address_and_port";
      const reason = `${missed} of ${this.#asked} probes that were sent have not arrived`;
      return { reachable: false, reason };
    }
    if (!isMapped) return undefined;
    return { reachable: true, reason: "the router maps a port; no node could probe it" };
  }

  #conclude({ reachable, reason }: { reachable: boolean; reason: string }, now: Millis): void {
    const { deadlines, random } = this.#parts;
    this.#endCheck();
    this.#reachable = reachable;
    if (this.#trial === "running") this.#trial = "none";
    this.#reason = reason;
    this.#checkedAt = now;
    this.#retryMs = RETRY_MS;
    deadlines.cancel(this.#next);
    this.#next = undefined;
    const isUncertain = reachable && this.#isBehindNat && now < this.#filtersClosedAt;
    if (isUncertain) this.#checkAt(this.#filtersClosedAt + ROUND_MS);
    else {
      this.#contacted = undefined;
      if (!this.#isTrivial) {
        // Begin to record our queries FILTER_MS before the check, because a NAT may let in packets from queried nodes
        // for that long.
        const at = now + RECHECK_MS * (1 + random.fraction() / 2);
        this.#schedule(at - FILTER_MS, (due) => {
          this.#watch(due);
          this.#checkAt(at);
        });
      }
    }
    this.#report(now);
  }

  /**
   * Called if no check has given a result, because no node could probe us. Behind a NAT, this starts a trial: we stop
   * being read-only for a while, because strangers never query read-only nodes. If no stranger queries us during the
   * trial, we count as unreachable.
   */
  #tryWithoutProbes(now: Millis): void {
    this.#endCheck();
    const { searches, random } = this.#parts;
    const hasContacts = searches.tables.of(this.family).size > 0;
    if (this.#trial !== "none" && hasContacts) {
      this.#trial = "failed";
      const reason = "no node could probe it, and no stranger queried it";
      return this.#conclude({ reachable: false, reason }, now);
    }
    if (hasContacts && this.#isBehindNat) {
      this.#trial = "running";
      this.#reason = "no node could probe it: it waits for queries from strangers";
      this.#checkAt(now + TRIAL_MS);
    } else {
      if (this.#trial === "running") this.#trial = "none";
      this.#checkAt(now + this.#retryMs * (1 + random.fraction() / 2));
      this.#retryMs = Math.min(2 * this.#retryMs, RECHECK_MS);
    }
    this.#report(now);
  }
}

/** Returns the mapping type that the votes on our port suggest, or `former` if the votes are not clear. */
function mappingOf({ votes, samePort }: Tally, former: NatType): NatType {
  if (votes < 2) return former;
  if (samePort >= SAME_PORT_SHARE * votes) return "endpoint_independent";
  return samePort <= OTHER_PORT_SHARE * votes ? "symmetric" : former;
}

/** Returns the filtering type that the packets at the extra ports suggest. */
function filteringOf({ extraProbes, hasStranger, hasOtherPort }: Check): NatFiltering {
  if (hasStranger) return "none";
  // A single missing probe proves nothing, because packets get lost by chance.
  if (extraProbes < ENOUGH_MISSED) return "unknown";
  return hasOtherPort ? "address" : "address_and_port";
}

/** Adds an endpoint to a list, unless the list is full or already contains the address. */
function remember(list: Endpoint[], from: Endpoint): void {
  const isNew = !list.some((known) => known.sameAddress(from));
  if (isNew && list.length < MAX_SENDERS) list.push(from);
}
