// The state of the page. The session writes answers and events into it, and the views read it. All lists are bounded.

import { medianRttOf } from "./findings.js";

/** @typedef {import("../reports/stats.ts").Stats} Stats */
/** @typedef {import("../reports/peers.ts").Peer} Peer */
/** @typedef {import("../reports/peers.ts").Peers} Peers */
/** @typedef {import("../reports/stats.ts").History["samples"][number]} Sample */
/** @typedef {import("./live.js").LiveEvent} LiveEvent */

/**
 * Maximum number of events in the feed: as many as a person can look through. A busy node has far
 * more events in an hour.
 */
export const MAX_FEED_EVENTS = 500;
/** Maximum number of samples: one hour, with a sample every ten seconds. */
export const MAX_HOUR_SAMPLES = 360;
/** Maximum number of lookups in the list, of lookups with recorded queries, and of queries recorded for each. */
export const MAX_LOOKUPS = 100, MAX_TRACED = 24, MAX_STEPS = 400;
/** Maximum number of transfers in memory, including those that have ended. */
const MAX_TRANSFERS = 50;

/**
 * Events that the feed leaves out, because they are very frequent or only of momentary interest. Other parts of the
 * page show them.
 */
export const NOT_IN_FEED = new Set(["hello", "stats", "data.progress", "lookup.step", "watch"]);

/**
 * @typedef {object} Step a query of a lookup
 * @property {string | null} node_id
 * @property {string} address
 * @property {number} hop
 * @property {number} started_ms
 * @property {number | null} rtt_ms
 * @property {"pending" | "late" | "responded" | "timeout" | "error"} outcome
 * @property {number} [ended_ms] when the query failed, if the page saw it
 *
 * @typedef {object} Trace the queries of a lookup
 * @property {number} lookup
 * @property {string} target
 * @property {number} startedAt
 * @property {Step[]} steps
 * @property {number | null} elapsedMs null while the lookup runs
 *
 * @typedef {object} EndedLookup
 * @property {number} lookup
 * @property {string} target
 * @property {string} method
 * @property {number} hops
 * @property {number} queries
 * @property {number} elapsed_ms
 * @property {boolean} success
 * @property {number} at
 *
 * @typedef {object} Transfer
 * @property {number} transfer
 * @property {string | null} label
 * @property {"store" | "fetch"} direction
 * @property {string | null} hash
 * @property {number} done_bytes
 * @property {number | null} total_bytes
 * @property {"receiving" | "moving" | "done" | "failed"} state
 *
 * @typedef {"connecting" | "live" | "polling" | "lost" | "locked"} Phase
 * connecting: no answer yet; live: events arrive; polling: only statistics are available; lost: the node does not
 * answer; locked: everything needs a token
 */

export class NodeState {
  constructor() {
    /** @type {Phase} */
    this.phase = "connecting";
    /** Time of the next attempt, in milliseconds since 1970. @type {number | null} */
    this.retryAt = null;
    /**
     * The reason why the node answered the latest attempt with an error; null if it did not answer.
     *
     * @type {string | null}
     */
    this.failure = null;
    /** Time of the last answer or event. @type {number | null} */
    this.newsAt = null;
    /**
     * Whether the node needs a token, and whether it accepts the user's. @type {"open" | "needed" |
     * "wrong" | "given"}
     */
    this.access = "open";
    /** @type {Stats | null} */
    this.stats = null;
    /** Peers by id. @type {Map<string, Peer>} */
    this.peers = new Map();
    /** Whether the list of peers has been loaded. */
    this.hasPeers = false;
    /** The median round trip to peers in ms when the latest statistics arrived; null if unknown. @type {number | null} */
    this.medianRtt = null;
    /** The events of the feed, oldest first. @type {(LiveEvent & { serial: number, time: number })[]} */
    this.feed = [];
    /** Number of events dropped from the feed to keep it short. */
    this.forgotten = 0;
    /** The lookups that have ended, newest first. @type {EndedLookup[]} */
    this.lookups = [];
    /** The recorded queries of lookups, by the number of the lookup. The newest is last. @type {Map<number, Trace>} */
    this.traces = new Map();
    /** Transfers, by their number. @type {Map<number, Transfer>} */
    this.transfers = new Map();
    /** @type {Sample[]} */
    this.hour = [];
    /** For each peer that joined or changed recently, the time of its last change. @type {Map<string, number>} */
    this.stirred = new Map();
    /** The number of the newest event. @type {number | null} */
    this.last = null;
    /** Version numbers. Each rises when a part of the state changes, so that only views of this part are redrawn. */
    this.versions = { peers: 0, feed: 0, hour: 0, traces: 0, published: 0, swarms: 0 };
    this.serial = 0;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /** @param {() => void} listener @returns {() => void} */
  onChange(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  /** Whether the page shows old data because the node does not answer. */
  get isStale() {
    return this.phase === "lost" && this.stats !== null;
  }

  /** Whether the node answers only requests for statistics and peers, because other requests need a token. */
  get isBarred() {
    return this.access === "needed" || this.access === "wrong";
  }

  /** @param {Phase} phase @param {number | null} [retryAt] */
  become(phase, retryAt = null) {
    this.phase = phase;
    this.retryAt = retryAt;
    this.changed();
  }

  /** @param {Stats} stats @param {number} now */
  takeStats(stats, now) {
    // Statistics events omit the configuration, which never changes while the node runs.
    this.stats = { ...stats, config: stats.config ?? this.stats?.config };
    this.medianRtt = medianRttOf([...this.peers.values()]);
    this.newsAt = now;
    this.changed();
  }

  /** @param {Peers} answer */
  takePeers({ peers }) {
    this.peers = new Map(peers.map((peer) => [peer.node_id, peer]));
    this.hasPeers = true;
    this.medianRtt = medianRttOf(peers);
    this.versions.peers++;
    this.changed();
  }

  /** Adds the samples that are newer than the last one. @param {Sample[]} samples */
  takeHour(samples) {
    const after = this.hour.at(-1)?.at ?? "";
    this.hour.push(...samples.filter(({ at }) => at > after));
    this.hour.splice(0, this.hour.length - MAX_HOUR_SAMPLES);
    this.versions.hour++;
    this.changed();
  }

  /** Adds the transfers in progress. @param {Transfer[]} transfers */
  takeTransfers(transfers) {
    for (const transfer of transfers) this.#noteTransfer(transfer);
    this.changed();
  }

  /** Clears the data of an earlier run of the node. */
  forgetRun() {
    this.hour = [];
    this.traces.clear();
    this.transfers.clear();
    this.last = null;
    this.versions.hour++;
    this.versions.traces++;
    this.versions.published++;
    this.versions.swarms++;
  }

  /** @param {LiveEvent} event @param {number} now */
  takeEvent(event, now) {
    const { id, type, data } = event;
    this.newsAt = now;
    if (id !== null) this.last = id;
    switch (type) {
      case "stats":
        return this.takeStats(data, now);
      case "peer.join":
        this.#setPeer(data, now);
        break;
      case "peer.leave":
        if (this.peers.delete(data.node_id)) this.versions.peers++;
        break;
      case "peer.health": {
        const peer = this.peers.get(data.node_id);
        if (peer !== undefined) this.#setPeer({ ...peer, health: data.to }, now);
        break;
      }
      case "data.publish":
        this.versions.published++;
        break;
      case "swarm.announce":
      case "swarm.withdraw":
        this.versions.swarms++;
        break;
      case "data.progress":
        this.#noteTransfer(data);
        break;
      case "lookup":
        this.#noteLookup(data, Date.parse(event.at));
        break;
      case "ready":
        if (this.stats !== null) {
          this.stats = { ...this.stats, readiness: { ...this.stats.readiness, ...data } };
        }
        break;
      case "clock":
        // Drop the samples, because their times may have changed. The next request loads all of
        // them again.
        this.hour = [];
        break;
      case "nat":
        if (this.stats !== null) this.stats = { ...this.stats, nat: data };
        break;
    }
    if (!NOT_IN_FEED.has(type)) this.#feed(event);
    this.changed();
  }

  /** Adds events from before the page was opened, oldest first, to the feed and the lookups. @param {LiveEvent[]} events */
  takePast(events) {
    const { feed, lookups } = this;
    this.feed = [];
    this.lookups = [];
    for (const event of events) {
      if (event.type === "lookup") this.#noteLookup(event.data, Date.parse(event.at));
      if (!NOT_IN_FEED.has(event.type)) this.#feed(event);
    }
    this.feed.push(...feed);
    this.lookups = [...lookups, ...this.lookups].slice(0, MAX_LOOKUPS);
    this.changed();
  }

  /** Records one query of a lookup. These events arrive over a separate connection. @param {LiveEvent} event */
  takeStep({ at, data }) {
    const now = Date.parse(at);
    let trace = this.traces.get(data.lookup);
    if (trace === undefined) {
      trace = {
        lookup: data.lookup,
        target: data.target,
        startedAt: now,
        steps: [],
        elapsedMs: null,
      };
      this.traces.set(data.lookup, trace);
      if (this.traces.size > MAX_TRACED) this.traces.delete(this.traces.keys().next().value ?? NaN);
    }
    const { node_id, address, hop, state, rtt_ms } = data;
    const known = trace.steps.findLast((step) => step.address === address);
    if (state === "asked" || known === undefined) {
      if (trace.steps.length >= MAX_STEPS) return;
      const started_ms = now - trace.startedAt;
      trace.steps.push({ node_id, address, hop, started_ms, rtt_ms: null, outcome: "pending" });
    } else {
      const outcomes =
        /** @type {const} */ ({ responded: "responded", late: "late", failed: "timeout" });
      known.node_id ??= node_id;
      known.outcome = outcomes[/** @type {"responded" | "late" | "failed"} */ (state)];
      known.rtt_ms = rtt_ms ?? known.rtt_ms;
      if (state === "failed") known.ended_ms = now - trace.startedAt;
    }
    this.versions.traces++;
    this.changed();
  }

  /** @param {Peer} peer @param {number} now */
  #setPeer(peer, now) {
    this.peers.set(peer.node_id, peer);
    this.stirred.delete(peer.node_id);
    this.stirred.set(peer.node_id, now);
    if (this.stirred.size > 64) this.stirred.delete(this.stirred.keys().next().value ?? "");
    this.versions.peers++;
  }

  /** @param {Transfer} transfer */
  #noteTransfer(transfer) {
    this.transfers.delete(transfer.transfer);
    this.transfers.set(transfer.transfer, transfer);
    if (this.transfers.size > MAX_TRANSFERS) {
      this.transfers.delete(this.transfers.keys().next().value ?? NaN);
    }
  }

  /** @param {Omit<EndedLookup, "at">} lookup @param {number} at */
  #noteLookup(lookup, at) {
    this.lookups.unshift({ ...lookup, at });
    this.lookups.length = Math.min(this.lookups.length, MAX_LOOKUPS);
    const trace = this.traces.get(lookup.lookup);
    if (trace !== undefined) trace.elapsedMs = lookup.elapsed_ms;
    this.versions.traces++;
  }

  /** @param {LiveEvent} event */
  #feed(event) {
    this.feed.push({ ...event, serial: this.serial++, time: Date.parse(event.at) });
    // Drop a tenth of the list at once. Copying the whole list for each event would cost more than the event itself.
    if (this.feed.length > MAX_FEED_EVENTS * 1.1) {
      this.forgotten += this.feed.length - MAX_FEED_EVENTS;
      this.feed = this.feed.slice(-MAX_FEED_EVENTS);
    }
    this.versions.feed++;
  }

  clearFeed() {
    this.feed = [];
    this.forgotten = 0;
    this.versions.feed++;
    this.changed();
  }
}
