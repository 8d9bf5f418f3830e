// One peer: its state, the reasons for its score, its history, and a ping.

import { h } from "preact";
import { useState } from "preact/hooks";
import { ApiError, json, messageOf } from "../api.js";
import { ago, date, ms, NONE, plural, until } from "../format.js";
import { DenyPeer } from "../actions.js";
import { useAction, useEvery } from "../hooks.js";
import { Icon } from "../icons.js";
import { isId, sharedBits } from "../ids.js";
import { Card, Empty, Facts, FullId, Health, Meter, Note, Power } from "../parts.js";
import { PeerMap } from "../peer_map.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../../reports/peers.ts").PeerDetail} PeerDetail */
/** @typedef {import("../../reports/peers.ts").Ping} Ping */

const REFRESH_MS = 3_000;
/** Maximum number of pings shown on this page. */
const MAX_PINGS = 12;

/** @typedef {{ rtt: number, via: Ping["via"] } | { error: string }} Pinged */

/**
 * For each way in which a ping reaches a peer that does not answer directly, a text.
 *
 * @type {Partial<Record<Ping["via"], string>>}
 */
const WAYS = {
  punched: " through a hole in its NAT",
  relayed: " through a relay",
};

/** The factors whose product is a score. */
const PARTS = /** @type {const} */ ([
  ["answers", "Answers", "share of our recent queries that it answered"],
  ["speed", "Speed", "from its round-trip time and variation"],
  ["honesty", "Honesty", "1 if it sent no wrong or useless answers"],
  ["tenure", "Tenure", "how long this node has known it"],
]);

/** @param {{ state: NodeState, id: string, now: number }} props */
export function PeerPage({ state, id, now }) {
  const [peer, setPeer] = useState(/** @type {PeerDetail | null} */ (null));
  const [error, setError] = useState(
    /** @type {{ text: string, unknown: boolean } | null} */ (null),
  );
  const [pings, setPings] = useState(/** @type {Pinged[]} */ ([]));
  const read = async () => {
    if (!isId(id)) return setError({ text: "An id has 40 hex digits.", unknown: true });
    try {
      setPeer(await json(`/network/peers/${id}`));
      setError(null);
    } catch (error) {
      const unknown = error instanceof ApiError && error.status === 404;
      // Keep showing the earlier data if the node does not answer.
      if (unknown || peer === null) setError({ text: messageOf(error), unknown });
    }
  };
  useEvery(read, REFRESH_MS, [id, state.phase]);
  const ping = useAction(async () => {
    /** @type {Pinged} */
    let outcome;
    try {
      const answer = /** @type {Ping} */ (await json(`/network/ping/${id}`));
      outcome = { rtt: answer.rtt_ms, via: answer.via };
    } catch (error) {
      outcome = { error: messageOf(error) };
    }
    setPings((before) => [...before.slice(1 - MAX_PINGS), outcome]);
    await read();
    return outcome;
  });
  const back = h("a", { class: "back", href: "#/peers" }, h(Icon, { name: "back" }), "All peers");
  const pingButton = h(
    "button",
    { type: "button", class: "primary", disabled: ping.busy, onClick: () => ping.run() },
    h(Icon, { name: "ping" }),
    ping.busy ? "Pinging…" : "Ping",
  );
  if (error !== null && peer === null) {
    return h(
      "div",
      { class: "peer-view" },
      back,
      h(
        Empty,
        {
          icon: "peers",
          title: error.unknown ? "Unknown peer" : "The peer could not be loaded",
        },
        h("p", null, error.text),
        error.unknown && isId(id) &&
          h("p", null, "Ping it to search the network for it. ", pingButton),
        h(PingOutcome, { pings }),
      ),
    );
  }
  if (peer === null) {
    return h("div", { class: "peer-view" }, back, h("p", { class: "loading" }, "Loading…"));
  }
  const own = state.stats?.node_id ?? peer.node_id;
  const when = (/** @type {string | null} */ at) =>
    at === null
      ? NONE
      : h("time", { dateTime: at, title: date(Date.parse(at)) }, ago(Date.parse(at), now));
  return h(
    "div",
    { class: "peer-view" },
    back,
    h(
      "section",
      { class: "peer-head", "aria-label": "Peer" },
      h(
        "div",
        null,
        h("h2", { class: "peer-name" }, h(FullId, { id: peer.node_id, what: "peer id" })),
        h(
          "p",
          { class: "peer-sub" },
          h(Health, { health: peer.health }),
          h("span", null, peer.address),
          h("span", null, peer.client ?? "unknown client"),
        ),
      ),
      h(
        "div",
        { class: "peer-actions" },
        pingButton,
        h(
          "a",
          { class: "button", href: `#/lookups/${peer.node_id}` },
          h(Icon, { name: "lookups" }),
          "Look it up",
        ),
        h(DenyPeer, { state, peer }),
      ),
      h(PingOutcome, { pings }),
    ),
    peer.health === "gone" &&
      h(
        Note,
        { tone: "warn" },
        "This peer left the routing table. The page shows its last known state.",
      ),
    h(
      "div",
      { class: "peer-columns" },
      h(
        Card,
        { title: "Score", id: "score-title", note: "Product of four factors" },
        h(
          "div",
          { class: "score-head" },
          h("span", { class: "figure-value" }, peer.score.toFixed(2)),
          h(Meter, { share: peer.score, label: "Score", tone: tone(peer.score) }),
        ),
        h(
          "dl",
          { class: "score-parts" },
          PARTS.map(([key, name, meaning]) => {
            const share = peer.score_parts[key];
            return h(
              "div",
              { key },
              h("dt", null, name, h("small", null, meaning)),
              h(
                "dd",
                null,
                h(Meter, { share, label: name, tone: tone(share) }),
                h("b", null, share.toFixed(2)),
              ),
            );
          }),
        ),
      ),
      h(
        Card,
        { title: "Details", id: "facts-title" },
        h(Facts, {
          rows: [
            [
              "Round trip",
              `${ms(peer.rtt_ms)}${
                peer.rtt_variation_ms === null ? "" : ` ± ${ms(peer.rtt_variation_ms)}`
              }`,
            ],
            [
              "Distance",
              h(
                "span",
                null,
                h(Power, { bits: peer.distance }),
                `, ${plural(sharedBits(own, peer.node_id), "leading bit")} in common`,
              ),
            ],
            ["Bucket", peer.bucket === null ? NONE : `${peer.bucket} of the routing table`],
            ["Last answer", when(peer.last_response)],
            ["Its last query", peer.last_query === null ? "never" : when(peer.last_query)],
            [
              "Next check",
              peer.next_check === null ? NONE : until(Date.parse(peer.next_check), now),
            ],
            [
              "Unanswered in a row",
              peer.misses === 0 ? "none" : `${peer.misses} of 3 before it is removed`,
            ],
            ["Faults", peer.faults === 0 ? "none" : peer.faults.toFixed(2)],
            [
              "Has this node in its table",
              peer.keeps_us === null ? "unknown" : peer.keeps_us ? "yes" : "no",
            ],
            ["First seen", when(peer.first_seen)],
            peer.public_key === null
              ? null
              : ["Public key", h(FullId, { id: peer.public_key, what: "public key" })],
          ],
        }),
      ),
      h(
        "div",
        { class: "column" },
        h(
          Card,
          { title: "History", id: "history-title", note: "Since this node started" },
          peer.history.length === 0 ? h("p", { class: "muted" }, "No changes.") : h(
            "ol",
            { class: "timeline" },
            peer.history.toReversed().map(({ at, what, reason }, i) =>
              h(
                "li",
                { key: `${at} ${i}`, class: `timeline-${what}` },
                h("b", null, what),
                reason !== null && h("span", null, reason),
                h("time", { dateTime: at, title: date(Date.parse(at)) }, ago(Date.parse(at), now)),
              )
            ),
          ),
        ),
        state.peers.has(id) && h(
          Card,
          { title: "Id space", id: "map-title", class: "peer-map" },
          h(PeerMap, { state, pointed: id }),
        ),
      ),
    ),
  );
}

/** @param {{ pings: Pinged[] }} props */
function PingOutcome({ pings }) {
  const last = pings.at(-1);
  const slowest = Math.max(1, ...pings.map((ping) => "rtt" in ping ? ping.rtt : 0));
  return h(
    "div",
    { class: "pings", role: "status" },
    last !== undefined && h(
      "span",
      { class: `ping-bars`, "aria-hidden": "true" },
      pings.map((ping, i) =>
        h("span", {
          key: i,
          class: "rtt" in ping ? "" : "failed",
          style: { height: `${"rtt" in ping ? Math.max(12, 100 * ping.rtt / slowest) : 100}%` },
        })
      ),
    ),
    last !== undefined &&
      ("rtt" in last ? `Answered in ${ms(last.rtt)}${WAYS[last.via] ?? ""}` : last.error),
  );
}

/** @param {number} share @returns {import("../parts.js").Tone} */
function tone(share) {
  return share >= 0.66 ? "ok" : share >= 0.33 ? "warn" : "bad";
}
