// Logs what happens to the node, and sends events to its listeners.

import { getLogger } from "logtape";
import type { Clone } from "../dht/membership/clones.ts";
import type { NodeEvent } from "../dht/host.ts";
import type { Item } from "../dht/items/item.ts";
import type { BootstrapEvent } from "../dht/membership/membership.ts";
import type { NatState } from "../dht/nat/nat_state.ts";
import type { Contact } from "../dht/routing/contact.ts";
import type { EventListener } from "../node_service.ts";
import type { EventData, ServiceEvent } from "../reports/events.ts";
import type { Peer } from "../reports/peers.ts";
import type { Nat, NodeStats } from "../reports/stats.ts";
import type { ValueState } from "../reports/values.ts";
import type { Family } from "../krpc/endpoint.ts";
import { clock } from "./clock.ts";
import { EventListeners, isReported, serviceEvent } from "./reports/events.ts";
import { natText } from "./reports/nat_report.ts";
import type { ReadinessChange } from "./reports/readiness.ts";
import { problemOf } from "./reports/unusable_reply.ts";

export interface JournalOptions {
  readonly bootstrapNodes: string;
  /** The NAT state at the start. Only later changes are reported. */
  readonly nat: Nat;
  readonly peerReport: (contact: Contact) => Peer;
  /** Called with each event that is rare enough to be recorded. */
  readonly onRare?: EventListener;
}

export class Journal {
  readonly #log = getLogger(["dmnode", "node"]);
  readonly #listeners = new EventListeners();
  readonly #throttle = new LogThrottle();
  #hasJoined = false;
  #reportedNat: string;

  constructor(private readonly options: JournalOptions) {
    this.#reportedNat = natKey(options.nat);
  }

  /** Adds a listener. The returned function removes it. */
  listen(listener: EventListener): () => void {
    return this.#listeners.add(listener);
  }

  tell(event: ServiceEvent): void {
    this.#listeners.tell(event, Date.now());
  }

  #tellRare(event: ServiceEvent): void {
    this.tell(event);
    this.options.onRare?.(event, Date.now());
  }

  /** Logs an event of the core and passes it to the listeners. */
  note(event: NodeEvent): void {
    if (isReported(event) && !this.#listeners.isEmpty) {
      this.tell(serviceEvent(event, this.options.peerReport));
    }
    switch (event.type) {
      case "bootstrap":
        return this.#logBootstrap(event);
      case "id":
        return this.#log.info(
          "Peers see this node at {address}. Its id is now {id}, which is bound to that address (BEP 42). " +
            "It was {former}",
          { id: `${event.id}`, former: `${event.former}`, address: event.address.host },
        );
      case "nat":
        return this.#logNat(event.state);
      case "peer.join":
        return this.#log.debug("Peer {id} at {address} joined", describe(event));
      case "peer.leave":
        return this.#log.debug("Peer {id} at {address} left: {reason}", describe(event));
      case "peer.health":
        return this.#log.debug("Peer {id} at {address} is {to}: {reason}", describe(event));
      case "clone":
        return this.#logClone(event.clone);
      case "lookup.crowded":
        return this.#log.warning(
          "Found {nodes} nodes around {target}, where about {expected} are expected: somebody may be trying to hide the " +
            "value under this key. This node stores and reads it at all nodes around the key",
          {
            target: `${event.target}`,
            nodes: `${event.nodes}`,
            expected: `${Math.round(event.expected)}`,
          },
        );
      case "data.adopt":
        return this.#logAdopted(event.item, event.former);
      case "data.expire":
        return this.#log.debug("Dropped {hash}, which was held for the network: {reason}", {
          hash: `${event.target}`,
          reason: event.reason,
        });
      case "announce":
        return this.#log.debug("Announced in {hash} to nodes: {count}", {
          hash: `${event.announcement.infoHash}`,
          count: event.announcement.nodes,
        });
      case "data.store":
        return this.#log.debug("Stored {hash} for {from}", {
          hash: `${event.item.target}`,
          from: `${event.from}`,
        });
    }
  }

  #logClone({ id, endpoints, isOwn }: Clone): void {
    const nodes = { id: `${id}`, addresses: endpoints.join(" and ") };
    if (!isOwn) return this.#log.warning("Two nodes use the id {id}: {addresses}", nodes);
    this.#log.warning(
      "Another node at {addresses} uses this node's id, {id}. If it is yours, its DATA_DIR is a copy: stop it, and start " +
        "it with an empty DATA_DIR. If it is not, a stranger imitates this node",
      nodes,
    );
  }

  /** Sends an event to the listeners if the NAT state has changed. */
  noteNat(nat: Nat): void {
    const key = natKey(nat);
    if (key !== this.#reportedNat) this.#tellRare({ type: "nat", data: nat });
    this.#reportedNat = key;
  }

  /**
   * Logs at most once per hour that MAX_PER_SUBNET keeps nodes out of the routing table, if there are at least as many
   * such nodes as contacts. In a small network, the limit then probably affects most nodes.
   */
  noteLeftOut({ nodes, subnets, largest }: NodeStats["left_out"], contacts: number): void {
    if (largest === null || nodes < contacts) return;
    if (!this.#throttle.isDue("left out", "", clock.now(), LEFT_OUT_REPEAT_MS)) return;
    this.#log.warning(
      "Nodes left out because their subnets already have MAX_PER_SUBNET peers here: {nodes}, in {subnets} subnets such " +
        "as {largest}. If they are yours, raise MAX_PER_SUBNET or name one of them in BOOTSTRAP_NODES",
      { nodes, subnets, largest },
    );
  }

  /** Records that the monthly budget for traffic is used up, or that it has room again. */
  noteBudget({ isSpent, used, bytes }: {
    readonly isSpent: boolean;
    readonly used: number;
    readonly bytes: number | null;
  }): void {
    this.tell({ type: "budget", data: { read_only: isSpent, used, bytes } });
    if (!isSpent) return this.#log.info("The budget for traffic has room: no longer read-only");
    this.#log.warning(
      "P2P_MONTHLY_BUDGET is used up ({used} of {bytes} bytes): the node is read-only until the next month (UTC), or " +
        "until you raise the budget and send SIGHUP",
      { used, bytes },
    );
  }

  /** Records that the system's clock has jumped ahead by `ms` milliseconds, or back if `ms` is negative. */
  noteJump(ms: number): void {
    const jump_s = Math.round(ms / 1000);
    this.#tellRare({ type: "clock", data: { jump_s } });
    const cause = jump_s >= 0
      ? "The system's clock jumped ahead by {seconds} s: it was set, or this machine slept."
      : "The system's clock was set back by {seconds} s.";
    this.#log.warning(`${cause} Own values are published again, and contacts are checked`, {
      seconds: Math.abs(jump_s),
    });
  }

  /** Records that the states of published values have changed. */
  noteValues(changes: readonly EventData<"data.health">[]): void {
    for (const data of changes) this.#tellRare({ type: "data.health", data });
    for (const [state, text] of Object.entries(STATE_TEXTS)) {
      const [first, ...others] = changes.filter(({ to }) => to === state);
      if (first === undefined) continue;
      const names = { hash: first.hash, others: others.length };
      const line = others.length === 0 ? text : `${text}. The same is true of {others} more`;
      if (state === "safe") this.#log.info(line, names);
      else this.#log.warning(line, names);
    }
  }

  /** Logs that another node lacks the network key of this node. */
  noteKeyMismatch(text: string): void {
    if (this.#throttle.isDue("network key", "", clock.now())) {
      this.#log.warning("Network key: {text}", { text });
    }
  }

  /** Logs that the system refuses to send packets to an address. */
  noteUnsent(text: string, family: Family): void {
    if (!this.#throttle.isDue(`unsent ${family}`, "", clock.now())) return;
    this.#log.warning("The system refuses to send packets to {text}", { text });
  }

  noteReadiness(change: ReadinessChange, reason: string): void {
    const ready = change === "gained" || change === "regained";
    if (change !== "missing") this.#tellRare({ type: "ready", data: { ready, reason } });
    if (change === "regained") this.#log.info("Ready again: {reason}", { reason });
    else if (change === "lost") this.#log.warning("Not ready any more: {reason}", { reason });
    else if (change === "missing") this.#log.warning("Still not ready: {reason}", { reason });
  }

  #logAdopted({ target, signed }: Item, { signed: former }: Item): void {
    const properties = { hash: `${target}`, seq: `${signed?.seq}`, former: `${former?.seq}` };
    if (signed?.seq !== former?.seq) {
      return this.#log.info(
        "Value {hash}: another node stored version {seq} after this node's version {former}. This node now publishes " +
          "version {seq}",
        properties,
      );
    }
    this.#log.warning(
      "Value {hash}: another node stored a different value as version {seq}, which won. This node now publishes that " +
        "value. Store yours again if it should replace the other",
      properties,
    );
  }

  #logBootstrap({ state, contacts, unusable }: BootstrapEvent): void {
    if (state === "joined" && !this.#hasJoined) {
      this.#log.info("Joined the network: {peers}", {
        peers: contacts === 1 ? "1 contact" : `${contacts} contacts`,
        contacts,
      });
    }
    this.#hasJoined = state === "joined";
    const key = `${state} ${unusable?.kind}`;
    if (!this.#throttle.isDue("joining", key, clock.now()) || state === "joined") return;
    if (unusable !== undefined) {
      return this.#log.warning(
        "No bootstrap node gave a usable answer: {problem}. Trying again, at growing intervals of up to 20 seconds",
        { problem: problemOf(unusable), nodes: this.options.bootstrapNodes },
      );
    }
    this.#log.warning(
      "No bootstrap node answered ({nodes}): trying again, at growing intervals of up to 20 seconds",
      { nodes: this.options.bootstrapNodes },
    );
  }

  #logNat(state: NatState): void {
    const { external, family, type, reachable, readOnly } = state;
    const key = `${external?.host} ${type} ${reachable} ${readOnly}`;
    if (external === undefined || !this.#throttle.isDue(`nat ${family}`, key, clock.now())) return;
    const text = natText(state);
    if (external.scope === "global") this.#log.info("{text}", { text });
    else this.#log.debug("{text}", { text });
  }
}

const STATE_TEXTS: Readonly<Record<ValueState, string>> = {
  safe: "Published value {hash} is safe again",
  short: "Published value {hash} is short of copies",
  failing: "No other node acknowledged published value {hash}",
  ending: "Other nodes will soon drop published value {hash}: publishing it has failed for long",
};

function describe({ contact, type: _, ...event }: NodeEvent & { readonly contact: Contact }) {
  return { ...event, id: `${contact.id}`, address: `${contact.endpoint}` };
}

/** Returns the part of the NAT state whose changes are reported: all but the evidence, which changes constantly. */
function natKey({ families, mapping, pinhole }: Nat): string {
  const mapped = [mapping, pinhole].map((report) => [report?.status, report?.external_address]);
  return JSON.stringify([mapped, families.map(({ evidence: _, ...family }) => family)]);
}

/** The minimum time between two log lines about a state that does not change. */
const REPEAT_MS = 60_000;

/** The minimum time between two log lines about nodes that MAX_PER_SUBNET keeps out. */
const LEFT_OUT_REPEAT_MS = 60 * 60_000;

/** Allows one log line whenever a topic's state changes, and one per `repeatMs` while the state stays the same. */
export class LogThrottle {
  readonly #logged = new Map<string, { state: string; at: number }>();

  /**
   * Whether a line about `topic` is due. If so, records it as logged. There must be few topics,
   * because each one is kept forever.
   */
  isDue(topic: string, state: string, now: number, repeatMs = REPEAT_MS): boolean {
    const last = this.#logged.get(topic);
    if (last?.state === state && now - last.at < repeatMs) return false;
    this.#logged.set(topic, { state, at: now });
    return true;
  }
}
