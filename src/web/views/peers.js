// The peers: a map, and a table with search, filter and sorting.

import { h } from "preact";
import { useMemo, useState } from "preact/hooks";
import { ConnectCard, DeniedCard } from "../actions.js";
import { Buckets } from "../buckets.js";
import { ago, count, ms, NONE, plural } from "../format.js";
import { useMedia, usePaced, useParameter } from "../hooks.js";
import { Icon } from "../icons.js";
import { Card, choice, Empty, Health, PeerLink } from "../parts.js";
import { PeerMap } from "../peer_map.js";
import { table } from "../table.js";
import { MapKey, NoPeers } from "./overview.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../../reports/peers.ts").Peer} Peer */
/** @typedef {"all" | Peer["health"]} Filter */

/** The shortest time between two reorderings of the rows. */
const PACE_MS = 1_500;
/** @type {Record<string, number>} */
const HEALTH_ORDER = { healthy: 0, degraded: 1, unhealthy: 2 };

/** @param {{ state: NodeState, now: number }} props */
export function Peers({ state, now }) {
  const [health, setFilter] = useParameter("health", "all");
  const filter = health in HEALTH_ORDER ? /** @type {Filter} */ (health) : "all";
  const [text, setText] = useParameter("q");
  const [pointed, setPointed] = useState(/** @type {string | null} */ (null));
  const [bucket, setBucket] = useState(/** @type {number | null} */ (null));
  const isNarrow = useMedia("(max-width: 760px)");
  const version = usePaced(state.versions.peers, PACE_MS);
  const rows = useMemo(() => filterPeers(state.peers.values(), filter, text), [
    version,
    filter,
    text,
  ]);
  const isWhole = filter === "all" && text === "";
  // Change the announcement when the search changes, not whenever a peer joins or leaves.
  const announcement = useMemo(
    () => isWhole ? "" : `${plural(rows.length, "peer")} found`,
    [filter, text],
  );
  const columns = useMemo(() => columnsFor(isNarrow, now), [isNarrow, Math.floor(now / 5000)]);
  // Rebuild the list only when its content changes, not every second with the statistics.
  const list = useMemo(
    () =>
      table({
        caption: "Peers of the routing table",
        class: "tall",
        columns,
        rows,
        keyOf: (row) => row.node_id,
        sortedBy: "score",
        direction: "descending",
        parameter: "sort",
        rowHeight: isNarrow ? 57 : 37,
        version: rows,
        pointed,
        onPoint: (row) => setPointed(row?.node_id ?? null),
      }),
    [columns, rows, pointed],
  );
  if (state.stats === null) return null;
  if (state.hasPeers && state.peers.size === 0) {
    return h(
      "div",
      { class: "column" },
      h(
        Card,
        { title: "Routing table", id: "peers-title" },
        h(NoPeers, { stats: state.stats }),
      ),
      h("div", { class: "peer-tools" }, h(ConnectCard, { state }), h(DeniedCard, { state })),
    );
  }
  const tally = state.stats.peers;
  return h(
    "div",
    { class: "peers-view" },
    h(
      Card,
      {
        title: "Id space",
        id: "map-title",
        class: "peers-map",
        actions: h("a", { class: "quiet", href: "#/map" }, "Open the map"),
      },
      h(PeerMap, { state, pointed, bucket, onPoint: setPointed }),
      h(MapKey, null),
      h("h3", { class: "side-title" }, "Buckets"),
      h(Buckets, { state, chosen: bucket, onChoose: setBucket }),
    ),
    h(
      Card,
      {
        title: "Routing table",
        id: "peers-title",
        class: "peers-table",
        note: h(
          "span",
          null,
          isWhole
            ? plural(rows.length, "peer")
            : `${count(rows.length)} of ${plural(state.peers.size, "peer")}`,
        ),
      },
      h("p", { class: "visually-hidden", role: "status" }, announcement),
      h(
        "div",
        { class: "toolbar" },
        h(
          "label",
          { class: "search" },
          h(Icon, { name: "search" }),
          h("span", { class: "visually-hidden" }, "Search by id, address or client"),
          h("input", {
            type: "search",
            placeholder: "Id, address or client",
            value: text,
            spellcheck: false,
            autocomplete: "off",
            onInput: (event) => setText(event.currentTarget.value),
          }),
        ),
        choice({
          label: "Health",
          options: [
            ["all", "All"],
            ["healthy", `Healthy ${count(tally.healthy)}`],
            ["degraded", `Degraded ${count(tally.degraded)}`],
            ["unhealthy", `Unhealthy ${count(tally.unhealthy)}`],
          ],
          value: filter,
          onChoose: setFilter,
        }),
      ),
      rows.length === 0
        ? h(
          Empty,
          { icon: "search", title: "No matching peers" },
          h("button", {
            type: "button",
            class: "quiet",
            onClick: () => {
              setText("");
              setFilter("all");
            },
          }, "Show all peers"),
        )
        : list,
    ),
    h("div", { class: "peer-tools" }, h(ConnectCard, { state }), h(DeniedCard, { state })),
  );
}

/** @param {boolean} isNarrow @param {number} now @returns {import("../table.js").Column<Peer>[]} */
function columnsFor(isNarrow, now) {
  const score = {
    key: "score",
    label: "Score",
    first: /** @type {const} */ ("descending"),
    class: "num",
    by: (/** @type {Peer} */ peer) => peer.score,
    cell: (/** @type {Peer} */ peer) => h(Score, { score: peer.score }),
  };
  const rtt = {
    key: "rtt",
    label: "RTT",
    class: "num",
    by: (/** @type {Peer} */ peer) => peer.rtt_ms,
    cell: (/** @type {Peer} */ peer) => ms(peer.rtt_ms),
  };
  const health = {
    key: "health",
    label: "Health",
    by: (/** @type {Peer} */ peer) => HEALTH_ORDER[peer.health],
    cell: (/** @type {Peer} */ peer) => h(Health, { health: peer.health }),
  };
  const id = {
    key: "id",
    label: "Peer",
    by: (/** @type {Peer} */ peer) => peer.node_id,
    cell: (/** @type {Peer} */ peer) =>
      isNarrow
        ? h(
          "span",
          { class: "two-lines" },
          h(PeerLink, { id: peer.node_id }),
          h("small", null, peer.address),
        )
        : h(PeerLink, { id: peer.node_id }),
  };
  if (isNarrow) return [id, health, rtt, score];
  return [
    id,
    {
      key: "address",
      label: "Address",
      by: (peer) => peer.address,
      cell: (peer) => h("span", { class: "address", title: peer.address }, peer.address),
    },
    health,
    score,
    rtt,
    {
      key: "distance",
      label: "Distance",
      class: "num",
      by: (peer) => peer.distance,
      cell: (peer) => peer.distance,
    },
    {
      key: "last_seen",
      label: "Last seen",
      first: "descending",
      class: "num",
      by: (peer) => Date.parse(peer.last_seen),
      cell: (peer) => ago(Date.parse(peer.last_seen), now),
    },
    {
      key: "known",
      label: "Known since",
      class: "num wide",
      by: (peer) => Date.parse(peer.first_seen),
      cell: (peer) => ago(Date.parse(peer.first_seen), now),
    },
    {
      key: "client",
      label: "Client",
      class: "wide",
      by: (peer) => peer.client,
      cell: (peer) => peer.client ?? NONE,
    },
  ];
}

/** @param {{ score: number }} props */
function Score({ score }) {
  const tone = score >= 0.66 ? "ok" : score >= 0.33 ? "warn" : "bad";
  return h(
    "span",
    { class: `score tone-${tone}` },
    h(
      "span",
      { class: "score-bar", "aria-hidden": "true" },
      h("span", { style: { width: `${score * 100}%` } }),
    ),
    score.toFixed(2),
  );
}

/** @param {Iterable<Peer>} peers @param {Filter} filter @param {string} text */
export function filterPeers(peers, filter, text) {
  const wanted = text.trim().toLowerCase();
  return Array.from(peers).filter((peer) =>
    (filter === "all" || peer.health === filter) &&
    (wanted === "" || peer.node_id.startsWith(wanted) || peer.address.includes(wanted) ||
      (peer.client?.toLowerCase().includes(wanted) ?? false))
  );
}
