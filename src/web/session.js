// Keeps the page's state in step with the node: reads it, listens to its events, and comes back after outages.

import { ApiError, json, keepToken, socketProtocols, token } from "./api.js";
import { backoffMs, Live } from "./live.js";

/** @typedef {import("./node_state.js").NodeState} NodeState */

/** What has no events of its own is read this often: round-trip times, scores, samples of the hour. */
const REFRESH_MS = 10_000;
/** Without events, statistics are read this often. */
const POLL_MS = 2_000;
/** Events from before the page came that it asks for, and how long they may take. */
const PAST_EVENTS = 200, PAST_WITHIN_MS = 3_000;
/** A list of so many peers is read again only as many times less often. */
const PEERS_PER_REFRESH = 500;

export class Session {
  /** @param {NodeState} state */
  constructor(state) {
    this.state = state;
    this.attempts = 0;
    /** @type {Live | null} */
    this.live = null;
    /** Comes when the steps of lookups are wanted. @type {Live | null} */
    this.steps = null;
    this.stepsWanted = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.refreshes = 0;
    /** Tells answers to an attempt that was given up from those to the latest. */
    this.attempt = 0;
  }

  start() {
    void this.connect();
    setInterval(() => void this.refresh(), REFRESH_MS);
    // A machine that slept, or a tab that was put away, is to be up to date at once.
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

  /** Tries a token: whether the node takes it. @param {string} given @throws {ApiError} for any other reason */
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

  forgetToken() {
    keepToken(null);
    this.#drop();
    this.attempts = 0;
    void this.connect();
  }

  /** One attempt: statistics first, which tell whether it is the same run, then events. @returns {Promise<void>} */
  async connect() {
    clearTimeout(this.timer);
    const attempt = ++this.attempt, { state } = this;
    try {
      const stats = await json("/network/stats");
      if (attempt !== this.attempt) return;
      const isOtherRun = state.stats !== null && state.stats.started_at !== stats.started_at;
      if (isOtherRun) state.forgetRun();
      state.takeStats(stats, Date.now());
      if (stats.config?.api_token !== true) state.access = "open";
      else {state.access = token() === null
          ? "needed"
          : await this.#isTokenGood()
          ? "given"
          : "wrong";}
      if (attempt !== this.attempt) return;
      // Sent again and again, it would pass for guessing.
      if (state.access === "wrong") keepToken(null);
      void this.readAll();
    } catch (error) {
      if (attempt !== this.attempt) return;
      if (error instanceof ApiError && error.status === 401) {
        state.access = token() === null ? "needed" : "wrong";
        keepToken(null);
        return state.become("locked");
      }
      return this.#lost();
    }
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
      url: socketUrl(`/ws${since}`),
      protocols: socketProtocols(),
      open: openSocket,
      onEvent: (event) => {
        if (event.type === "hello") {
          isGreeted = true;
          this.attempts = 0;
          if (state.last === null) this.#readPast(event.data.last);
          state.last = event.data.last;
          state.become("live");
          // What was not told in between has to be read.
          if (event.data.missed !== 0) void this.readAll();
        }
        state.takeEvent(event, Date.now());
      },
      onEnd: () => {
        if (this.live !== live) return;
        this.live = null;
        if (isGreeted) this.#lost(0);
        // Statistics came, events did not: a proxy may not let them through.
        else void this.#poll(true);
      },
    });
    this.live = live;
    this.#listenToSteps();
  }

  /** The events before `last`, so that a page that has just come is not empty. @param {number} last */
  #readPast(last) {
    /** @type {import("./live.js").LiveEvent[]} */
    const events = [];
    const types = "peer.*,data.*,lookup,id,bootstrap,nat,ready";
    const past = new Live({
      url: socketUrl(`/ws?types=${types}&since=${Math.max(0, last - PAST_EVENTS)}`),
      protocols: socketProtocols(),
      open: openSocket,
      onEvent: (event) => {
        if (event.id !== null && event.id <= last) events.push(event);
        if (event.id !== null && event.id >= last) past.close();
      },
      onEnd: () => this.state.takePast(events),
    });
    setTimeout(() => past.close(), PAST_WITHIN_MS);
  }

  /** Statistics alone, until a token is given, or events come through. @param {boolean} [triesAgain] @returns {Promise<void>} */
  async #poll(triesAgain = false) {
    const { state } = this, attempt = this.attempt;
    state.become("polling");
    if (triesAgain && ++this.attempts % 8 === 0) return this.connect();
    try {
      state.takeStats(await json("/network/stats"), Date.now());
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

  /** All that is not told by events alone. */
  async readAll() {
    await Promise.all([this.#readPeers(), this.#readHour()]);
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
      // The connection tells when the node is gone; a single answer that is missing comes with the next.
    }
  }

  async #readHour() {
    const after = this.state.hour.at(-1)?.at;
    try {
      const query = after === undefined ? "" : `?after=${encodeURIComponent(after)}`;
      this.state.takeHour((await json(`/network/history${query}`)).samples);
    } catch {
      // As above.
    }
  }

  /**
   * Has each query of each lookup told, for as long as somebody looks.
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
      // Statistics too: silence would pass for a dead connection.
      url: socketUrl("/ws?types=lookup.step,stats"),
      protocols: socketProtocols(),
      open: openSocket,
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
