// What the page knows of its node: answers and events come in, views read. Everything in it is bounded.

/** @typedef {import("../api/types.ts").Stats} Stats */
/** @typedef {import("../api/types.ts").Peer} Peer */
/** @typedef {import("../api/types.ts").Peers} Peers */
/** @typedef {import("../api/types.ts").History["samples"][number]} Sample */
/** @typedef {import("./live.js").LiveEvent} LiveEvent */

/** Events of the feed: what a person can look back over; an hour of a busy node is far more. */
export const FEED_EVENTS = 500;
/** An hour of samples, one each ten seconds. */
export const HOUR_SAMPLES = 360;
/** Lookups that are listed, those whose queries are kept, and queries of each. */
export const LOOKUPS = 100, TRACED = 24, STEPS = 400;
/** Transfers that are remembered, those that ended included. */
const TRANSFERS = 50;

/** Of the moment, or too many to read: they are shown elsewhere. */
const NOT_IN_FEED = new Set(["hello", "stats", "data.progress", "lookup.step", "watch"]);

/**
 * @typedef {object} Step a query of a lookup
 * @property {string | null} node_id
 * @property {string} address
 * @property {number} hop
 * @property {number} started_ms
 * @property {number | null} rtt_ms
 * @property {"pending" | "late" | "responded" | "timeout" | "error"} outcome
 * @property {number} [ended_ms] when it was given up, where that was seen
 *
 * @typedef {object} Trace the queries of a lookup
 * @property {number} lookup
 * @property {string} target
 * @property {number} startedAt
 * @property {Step[]} steps
 * @property {number | null} elapsedMs null while it runs
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
 * @property {"moving" | "done" | "failed"} state
 *
 * @typedef {"connecting" | "live" | "polling" | "lost" | "locked"} Phase
 * connecting: nothing has come yet; live: events come; polling: statistics alone can be had; lost: nobody answers;
 * locked: nothing can be had without a token
 */

export class NodeState {
  constructor() {
    /** @type {Phase} */
    this.phase = "connecting";
    /** When it will be tried again, in milliseconds since 1970. @type {number | null} */
    this.retryAt = null;
    /** When the last news came. @type {number | null} */
    this.newsAt = null;
    /** Whether the node asks for a token, and what it thinks of ours. @type {"open" | "needed" | "wrong" | "given"} */
    this.access = "open";
    /** @type {Stats | null} */
    this.stats = null;
    /** By id. @type {Map<string, Peer>} */
    this.peers = new Map();
    /** Whether the peers have been read at least once. */
    this.hasPeers = false;
    /** Oldest first. @type {(LiveEvent & { serial: number, time: number })[]} */
    this.feed = [];
    /** Events that were left out of the feed to keep it short. */
    this.forgotten = 0;
    /** Newest first. @type {EndedLookup[]} */
    this.lookups = [];
    /** By lookup; the newest is last. @type {Map<number, Trace>} */
    this.traces = new Map();
    /** By number. @type {Map<number, Transfer>} */
    this.transfers = new Map();
    /** @type {Sample[]} */
    this.hour = [];
    /** Peers that have just come, or changed: when. @type {Map<string, number>} */
    this.stirred = new Map();
    /** The number of the newest event. @type {number | null} */
    this.last = null;
    /** Raised with each change of a part, so that views draw what has changed alone. */
    this.versions = { peers: 0, feed: 0, hour: 0, traces: 0, published: 0 };
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

  /** Whether what is shown may be out of date. */
  get isStale() {
    return this.phase === "lost" && this.stats !== null;
  }

  /** @param {Phase} phase @param {number | null} [retryAt] */
  become(phase, retryAt = null) {
    this.phase = phase;
    this.retryAt = retryAt;
    this.changed();
  }

  /** @param {Stats} stats @param {number} now */
  takeStats(stats, now) {
    // Events leave the configuration out: it does not change while the node runs.
    this.stats = { ...stats, config: stats.config ?? this.stats?.config };
    this.newsAt = now;
    this.changed();
  }

  /** @param {Peers} answer */
  takePeers({ peers }) {
    this.peers = new Map(peers.map((peer) => [peer.node_id, peer]));
    this.hasPeers = true;
    this.versions.peers++;
    this.changed();
  }

  /** Samples that are newer than those that are here. @param {Sample[]} samples */
  takeHour(samples) {
    const after = this.hour.at(-1)?.at ?? "";
    this.hour.push(...samples.filter(({ at }) => at > after));
    this.hour.splice(0, this.hour.length - HOUR_SAMPLES);
    this.versions.hour++;
    this.changed();
  }

  /** Forgets what a former run of the node told. */
  forgetRun() {
    this.hour = [];
    this.traces.clear();
    this.transfers.clear();
    this.last = null;
    this.versions.hour++;
    this.versions.traces++;
    this.versions.published++;
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
      case "nat":
        if (this.stats !== null) this.stats = { ...this.stats, nat: data };
        break;
    }
    if (!NOT_IN_FEED.has(type)) this.#feed(event);
    this.changed();
  }

  /** What happened before the page was there, oldest first: for the feed and the list of lookups. @param {LiveEvent[]} events */
  takePast(events) {
    const { feed, lookups } = this;
    this.feed = [];
    this.lookups = [];
    for (const event of events) {
      if (event.type === "lookup") this.#noteLookup(event.data, Date.parse(event.at));
      if (!NOT_IN_FEED.has(event.type)) this.#feed(event);
    }
    this.feed.push(...feed);
    this.lookups = [...lookups, ...this.lookups].slice(0, LOOKUPS);
    this.changed();
  }

  /** A query of a lookup, from the connection that is opened for these alone. @param {LiveEvent} event */
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
      if (this.traces.size > TRACED) this.traces.delete(this.traces.keys().next().value ?? NaN);
    }
    const { node_id, address, hop, state, rtt_ms } = data;
    const known = trace.steps.findLast((step) => step.address === address);
    if (state === "asked" || known === undefined) {
      if (trace.steps.length >= STEPS) return;
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
    if (this.transfers.size > TRANSFERS) {
      this.transfers.delete(this.transfers.keys().next().value ?? NaN);
    }
  }

  /** @param {Omit<EndedLookup, "at">} lookup @param {number} at */
  #noteLookup(lookup, at) {
    this.lookups.unshift({ ...lookup, at });
    this.lookups.length = Math.min(this.lookups.length, LOOKUPS);
    const trace = this.traces.get(lookup.lookup);
    if (trace !== undefined) trace.elapsedMs = lookup.elapsed_ms;
    this.versions.traces++;
  }

  /** @param {LiveEvent} event */
  #feed(event) {
    this.feed.push({ ...event, serial: this.serial++, time: Date.parse(event.at) });
    // Cut by a tenth at a time: moving the whole for each event would cost more than the event.
    if (this.feed.length > FEED_EVENTS * 1.1) {
      this.forgotten += this.feed.length - FEED_EVENTS;
      this.feed = this.feed.slice(-FEED_EVENTS);
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
