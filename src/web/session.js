// Keeps the page's state up to date: reads the API, listens to events, and reconnects after outages.

import {
  ANSWER_WITHIN_MS,
  ApiError,
  json,
  keepToken,
  socketProtocols,
  token,
  within,
} from "./api.js";
import { backoffMs, Live, openStream } from "./live.js";

/** @typedef {import("./node_state.js").NodeState} NodeState */

/** The interval for reading data that events do not report: round-trip times, scores, samples. */
const REFRESH_MS = 10_000;
/** The interval for reading statistics while no events arrive. */
const POLL_MS = 2_000;
/** The number of past events that a new page requests, and the time limit for receiving them. */
const PAST_EVENTS = 200, PAST_WITHIN_MS = 3_000;
/**
 * A long list of peers is refreshed less often: for every 500 peers, one more refresh is skipped.
 */
const PEERS_PER_REFRESH = 500;

export class Session {
  /** @param {NodeState} state */
  constructor(state) {
    this.state = state;
    this.attempts = 0;
    /** @type {Live | null} */
    this.live = null;
    /** The connection for the steps of lookups, while a view needs them. @type {Live | null} */
    this.steps = null;
    this.stepsWanted = 0;
    /** Whether events come as server-sent events, because no WebSocket could be opened. */
    this.isStream = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.refreshes = 0;
    /** The number of the latest attempt. Answers to earlier attempts are ignored. */
    this.attempt = 0;
  }

  start() {
    void this.connect();
    setInterval(() => void this.refresh(), REFRESH_MS);
    // Reconnect immediately when the machine wakes up or the tab becomes visible.
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && this.state.phase === "lost") this.retryNow();
    });
    globalThis.addEventListener("online", () => this.retryNow());
  }

  retryNow() {
    if (this.state.phase === "live" || this.state.phase === "connecting") return;
    this.attempts = 0;
    void this.connect();
  }

  /**
   * Tries a token and returns whether the node accepts it. @param {string} given @throws {ApiError} if the request
   * fails for another reason than the token
   */
  async useToken(given) {
    const before = token();
    keepToken(given);
    try {
      await json("/network/transfers");
    } catch (error) {
      keepToken(before);
      if (error instanceof ApiError && error.status === 401) return false;
      throw error;
    }
    this.state.access = "given";
    this.attempts = 0;
    this.#drop();
    void this.connect();
    return true;
  }

  /** Makes one attempt: reads the statistics, which show whether the node restarted, then listens to events. @returns {Promise<void>} */
  async connect() {
    clearTimeout(this.timer);
    const attempt = ++this.attempt, { state } = this;
    try {
      const stats = await json("/network/stats", { signal: within(ANSWER_WITHIN_MS) });
      if (attempt !== this.attempt) return;
      const isOtherRun = state.stats !== null && state.stats.started_at !== stats.started_at;
      if (isOtherRun) state.forgetRun();
      state.takeStats(stats, Date.now());
      const { api_token, api_tokens } = stats.config ?? {};
      if (api_token !== true && (api_tokens ?? null) === null) state.access = "open";
      else {state.access = token() === null
          ? "needed"
          : await this.#isTokenGood()
          ? "given"
          : "wrong";}
      if (attempt !== this.attempt) return;
      // Don't repeat a wrong token: the node would treat this as guessing.
      if (state.access === "wrong") keepToken(null);
      void this.readAll();
    } catch (error) {
      if (attempt !== this.attempt) return;
      if (error instanceof ApiError && error.status === 401) {
        state.access = token() === null ? "needed" : "wrong";
        keepToken(null);
        return state.become("locked");
      }
      state.failure = error instanceof ApiError && error.status !== 0 ? error.message : null;
      return this.#lost();
    }
    state.failure = null;
    if (state.access === "needed" || state.access === "wrong") return this.#poll();
    this.#listen();
  }

  async #isTokenGood() {
    try {
      await json("/network/transfers");
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return false;
      throw error;
    }
  }

  #listen() {
    const { state } = this;
    const since = state.last === null ? "" : `?since=${state.last}`;
    let isGreeted = false;
    const live = new Live({
      ...this.#source(since),
      onEvent: (event) => {
        if (event.type === "hello") {
          isGreeted = true;
          this.attempts = 0;
          if (state.last === null) this.#readPast(event.data.last);
          state.last = event.data.last;
          state.become("live");
          // Some events were missed, so read everything again.
          if (event.data.missed !== 0) void this.readAll();
        }
        state.takeEvent(event, Date.now());
      },
      onEnd: () => {
        if (this.live !== live) return;
        this.live = null;
        if (isGreeted) {
          // A single WebSocket may have failed because the node restarted, so try one again.
          this.isStream = false;
          return this.#lost(0);
        }
        // A proxy may be blocking WebSockets, so try a stream next.
        this.isStream = !this.isStream;
        if (this.isStream) this.#listen();
        // Statistics arrived, but neither a WebSocket nor a stream delivers events, so poll the statistics.
        else void this.#poll(true);
      },
    });
    this.live = live;
    this.#listenToSteps();
  }

  /**
   * Returns the options for a connection that receives events: its URL, its subprotocols and the function that opens
   * it.
   *
   * @param {string} query
   */
  #source(query) {
    return this.isStream
      ? { url: `/events${query}`, protocols: [], open: openStream }
      : { url: socketUrl(`/ws${query}`), protocols: socketProtocols(), open: openSocket };
  }

  /** Reads the events before `last`, so that a newly opened page is not empty. @param {number} last */
  #readPast(last) {
    /** @type {import("./live.js").LiveEvent[]} */
    const events = [];
    const types = "peer.*,data.*,lookup,id,bootstrap,nat,ready";
    const past = new Live({
      ...this.#source(`?types=${types}&since=${Math.max(0, last - PAST_EVENTS)}`),
      onEvent: (event) => {
        if (event.id !== null && event.id <= last) events.push(event);
        if (event.id !== null && event.id >= last) past.close();
      },
      onEnd: () => this.state.takePast(events),
    });
    setTimeout(() => past.close(), PAST_WITHIN_MS);
  }

  /**
   * Reads only statistics, until a token is entered or events arrive.
   *
   * @param {boolean} [triesAgain] @returns {Promise<void>}
   */
  async #poll(triesAgain = false) {
    const { state } = this, attempt = this.attempt;
    state.become("polling");
    if (triesAgain && ++this.attempts % 8 === 0) return this.connect();
    try {
      const signal = within(ANSWER_WITHIN_MS);
      state.takeStats(await json("/network/stats", { signal }), Date.now());
    } catch {
      if (attempt === this.attempt) this.#lost();
      return;
    }
    if (attempt !== this.attempt) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.#poll(triesAgain), POLL_MS);
  }

  /** @param {number} [waitMs] */
  #lost(waitMs = backoffMs(++this.attempts)) {
    clearTimeout(this.timer);
    this.#drop();
    this.state.become("lost", Date.now() + waitMs);
    this.timer = setTimeout(() => void this.connect(), waitMs);
  }

  #drop() {
    const { live, steps } = this;
    this.live = this.steps = null;
    live?.close();
    steps?.close();
  }

  /** Reads all data that events do not report completely. */
  async readAll() {
    await Promise.all([this.#readPeers(), this.#readHour(), this.#readTransfers()]);
  }

  async refresh() {
    const { state } = this;
    if (document.visibilityState === "hidden") return;
    if (state.phase !== "live" && state.phase !== "polling") return;
    const every = 1 + Math.floor(state.peers.size / PEERS_PER_REFRESH);
    const withPeers = this.refreshes++ % every === 0;
    await Promise.all([this.#readHour(), withPeers && this.#readPeers()]);
  }

  async #readPeers() {
    try {
      this.state.takePeers(await json("/network/peers"));
    } catch {
      // Ignore a single failed request: the event connection detects a lost node.
    }
  }

  /** Reads the transfers that were in progress before the page listened to their events. */
  async #readTransfers() {
    if (this.state.isBarred) return;
    try {
      this.state.takeTransfers((await json("/network/transfers")).transfers);
    } catch {
      // Ignore a single failed request, because the event connection detects a lost node.
    }
  }

  async #readHour() {
    const after = this.state.hour.at(-1)?.at;
    try {
      const query = after === undefined ? "" : `?after=${encodeURIComponent(after)}`;
      this.state.takeHour((await json(`/network/history${query}`)).samples);
    } catch {
      // Ignore a single failed request, because the event connection detects a lost node.
    }
  }

  /**
   * Subscribes to the steps of lookups until the returned function is called.
   *
   * @returns {() => void} ends it
   */
  watchSteps() {
    this.stepsWanted++;
    this.#listenToSteps();
    return () => {
      if (--this.stepsWanted > 0) return;
      const { steps } = this;
      this.steps = null;
      steps?.close();
    };
  }

  #listenToSteps() {
    if (this.stepsWanted === 0 || this.steps !== null || this.live === null) return;
    const steps = new Live({
      // Subscribe to statistics too. Without them, a silent connection would look dead.
      ...this.#source("?types=lookup.step,stats"),
      onEvent: (event) => {
        if (event.type === "lookup.step") this.state.takeStep(event);
      },
      onEnd: () => {
        if (this.steps === steps) this.steps = null;
      },
    });
    this.steps = steps;
  }
}

/** @param {string} url @param {string[]} protocols */
function openSocket(url, protocols) {
  return new WebSocket(url, protocols);
}

/** @param {string} path */
function socketUrl(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
