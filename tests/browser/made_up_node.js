// Runs in the page before its own scripts: a fake WebSocket that sends the events of a very busy node as fast as the
// page accepts them.

/** An id for a number: ids are spread over the id space, and the same number gives the same id. */
globalThis.madeUpId = (n) =>
  (Math.imul(n, 2_654_435_761) >>> 0).toString(16).padStart(8, "0").repeat(5);

globalThis.madeUpPeer = (n) => ({
  node_id: madeUpId(n),
  address: `10.${n >> 8}.${n & 255}.7:8000`,
  distance: 160,
  last_seen: "2026-04-14T10:29:55Z",
  health: ["healthy", "healthy", "healthy", "degraded", "unhealthy"][n % 5],
  rtt_ms: n % 300,
  score: (n % 100) / 100,
  first_seen: "2026-04-14T09:00:00Z",
  public_key: null,
  client: n % 3 === 0 ? null : "dmnode/0.1.0",
});

/** Type and data of event `n`: all kinds in turn, about many peers, values and transfers. */
function madeUpEvent(n) {
  const node_id = madeUpId(n % 700),
    hash = madeUpId(n + 10_000),
    address = `10.0.0.${n % 250}:8000`;
  switch (n % 5) {
    case 0:
      return ["peer.join", madeUpPeer(n % 700)];
    case 1:
      return ["peer.leave", { node_id, address, reason: "no answer to ping" }];
    case 2:
      return ["data.store", { hash, kind: "immutable", seq: null, size: n % 996, from: address }];
    case 3: {
      const figures = { hops: 3, queries: 24, elapsed_ms: 80.5, success: true };
      return ["lookup", { lookup: n, target: hash, method: "get", ...figures }];
    }
    default: {
      const progress = { done_bytes: n, total_bytes: null, state: "moving" };
      return ["data.progress", {
        transfer: n,
        label: `l${n}`,
        direction: "fetch",
        hash,
        ...progress,
      }];
    }
  }
}

globalThis.WebSocket = class {
  static OPEN = 1;
  readyState = 1;
  #next = 2;
  #heartbeat;

  constructor(url) {
    // The page also asks over another connection for earlier events. There are none.
    if (String(url).includes("since=")) return;
    globalThis.madeUpNode = this;
    const hello = { version: "0.1.0", peers: 0, last: 1, resumed: false, missed: 0 };
    setTimeout(() => this.#tell(null, "hello", { node_id: "00".repeat(20), ...hello }));
  }

  #tell(id, type, data) {
    this.onmessage?.({ data: JSON.stringify({ id, type, at: new Date().toISOString(), data }) });
  }

  /** Sends the events of this many seconds. After that, sends only statistics, as often as a node does. */
  async live(seconds, eventsPerSecond, stats) {
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => this.#tell(null, "stats", stats), 1_000);
    for (let second = 0; second < seconds; second++) {
      this.#tell(null, "stats", stats);
      for (let i = 0; i < eventsPerSecond; i++) {
        this.#tell(this.#next, ...madeUpEvent(this.#next++));
      }
      // Give the page time to draw.
      if (second % 20 === 0) await new Promise((resolve) => setTimeout(resolve));
    }
    return this.#next;
  }

  close() {}
};
