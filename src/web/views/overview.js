// The first view: the state of the node at a glance.

import { h } from "preact";
import { useState } from "preact/hooks";
import { Buckets } from "../buckets.js";
import { EventList } from "../event_list.js";
import { Charts } from "../charts.js";
import { conditionOf } from "../findings.js";
import {
  about,
  byteRate,
  bytes,
  count,
  duration,
  ms,
  NONE,
  percent,
  plural,
  rate,
} from "../format.js";
import { Card, Copy, Empty, Facts, Meter } from "../parts.js";
import { PeerMap } from "../peer_map.js";
import { Reachability } from "../reachability.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../../reports/stats.ts").Stats} Stats */

const RECENT_EVENTS = 8;

/** @param {{ state: NodeState }} props */
export function Overview({ state }) {
  const { stats } = state;
  const [bucket, setBucket] = useState(/** @type {number | null} */ (null));
  if (stats === null) return null;
  return h(
    "div",
    { class: "overview" },
    h(Status, { stats, state }),
    h(Figures, { stats }),
    h(
      Card,
      {
        title: "Id space",
        id: "map-title",
        class: "map-card",
        note: stats.routing_table_size === 0
          ? undefined
          : "Each ring is a bucket. Peers near the centre have closer ids.",
        actions: h("a", { class: "quiet", href: "#/peers" }, "All peers"),
      },
      state.hasPeers && state.peers.size === 0 ? h(NoPeers, { stats }) : h(
        "div",
        { class: "map-and-buckets" },
        h(PeerMap, { state, bucket }),
        h(
          "div",
          { class: "map-side" },
          h(MapKey, null),
          h("h3", { class: "side-title" }, "Buckets"),
          h(Buckets, { state, chosen: bucket, onChoose: setBucket }),
        ),
      ),
    ),
    h(Charts, { state, stats }),
    h(
      Card,
      {
        title: "Latest events",
        id: "latest-title",
        class: "latest-card",
        actions: h("a", { class: "quiet", href: "#/events" }, "All events"),
      },
      state.feed.length === 0
        ? h(
          Empty,
          { icon: "events", title: "Nothing has happened yet" },
          "Joining and leaving peers, stored values and lookups appear here.",
        )
        : h(EventList, { events: state.feed.slice(-RECENT_EVENTS).reverse() }),
    ),
  );
}

/** The node's readiness and identity. @param {{ stats: Stats, state: NodeState }} props */
function Status({ stats, state }) {
  const { tone, title, findings } = conditionOf(stats, state.medianRtt);
  const { nat } = stats;
  return h(
    "section",
    { class: `status tone-${tone}`, "aria-labelledby": "status-title" },
    h(
      "div",
      { class: "status-main" },
      h("span", { class: "status-light", "aria-hidden": "true" }),
      h(
        "div",
        null,
        h("h2", { id: "status-title" }, title),
        h("p", { class: "status-reason" }, sentence(stats.readiness.reason)),
      ),
    ),
    h(Facts, {
      class: "status-facts",
      rows: [
        [
          "Node id",
          h(
            "span",
            { class: "full-id" },
            h("code", { title: stats.node_id }, `${stats.node_id.slice(0, 12)}…`),
            h(Copy, { text: stats.node_id, what: "node id" }),
          ),
        ],
        ["Listens on", h("code", null, stats.addresses.join(", "))],
        [
          "External address",
          nat.external_address === null ? "unknown" : h("code", null, nat.external_address),
        ],
        ["Reachability", h(Reachability, { nat, addresses: stats.addresses })],
        ["Up for", duration(stats.uptime_s)],
        [
          "Network",
          stats.network_size_estimate === null
            ? "size unknown"
            : `≈ ${about(Math.round(stats.network_size_estimate))} nodes`,
        ],
      ],
    }),
    h(Attention, { findings }),
    state.phase === "live" && h("span", { class: "visually-hidden" }, "Figures are live."),
  );
}

/**
 * Lists the problems of the node, and what to do about them. Empty if there are none.
 *
 * @param {{ findings: readonly import("../findings.js").Finding[] }} props
 */
function Attention({ findings }) {
  if (findings.length === 0) return null;
  return h(
    "ul",
    { class: "attention", "aria-label": "What needs attention" },
    findings.map(({ check, verdict, found, advice }) =>
      h(
        "li",
        { key: `${check} ${found}`, class: verdict === "fail" ? "tone-bad" : "tone-warn" },
        h("strong", null, capitalized(check)),
        h("p", null, sentence(found)),
        advice !== null && h("p", { class: "advice" }, sentence(advice)),
      )
    ),
  );
}

/** The most important figures. @param {{ stats: Stats }} props */
function Figures({ stats }) {
  const { peers, traffic, lookups, storage } = stats;
  const all = peers.healthy + peers.degraded + peers.unhealthy;
  const used = storage.limit_bytes === 0 ? 0 : storage.bytes / storage.limit_bytes;
  return h(
    "div",
    { class: "figures" },
    h(
      Figure,
      { label: "Peers", value: count(all), href: "#/peers" },
      h(HealthBar, { peers }),
      all === 0 ? h("p", null, "none yet") : h(HealthText, { peers }),
    ),
    h(
      Figure,
      {
        label: "Traffic",
        value: byteRate(traffic.in.bytes_per_second + traffic.out.bytes_per_second),
        href: "#/traffic",
      },
      h(
        "p",
        null,
        `↓ ${byteRate(traffic.in.bytes_per_second)}   ↑ ${byteRate(traffic.out.bytes_per_second)}`,
      ),
      h(
        "p",
        null,
        `${rate(traffic.in.messages_per_second)} packets/s in, ${
          rate(traffic.out.messages_per_second)
        } out`,
      ),
    ),
    h(
      Figure,
      { label: "Lookups", value: ms(lookups.latency_ms.p50), unit: "median", href: "#/lookups" },
      h(
        "p",
        null,
        `95 % within ${ms(lookups.latency_ms.p95)} · ${
          lookups.hops_mean === null ? NONE : lookups.hops_mean.toFixed(1)
        } hops`,
      ),
      h(
        "p",
        null,
        lookups.count === 0
          ? "none yet"
          : `${percent(lookups.success / lookups.count)} of ${about(lookups.count)} answered`,
      ),
      lookups.latest_crowded !== null && h(
        "p",
        { class: "mark-word tone-warn", title: lookups.latest_crowded.target },
        `${plural(lookups.crowded, "key")} may be under attack`,
      ),
    ),
    h(
      Figure,
      { label: "Stored here", value: bytes(storage.bytes), href: "#/values" },
      h(Meter, {
        share: used,
        label: "Storage used",
        tone: used > 0.9 ? "bad" : used > 0.75 ? "warn" : "accent",
      }),
      h(
        "p",
        null,
        `${plural(storage.items, "item")} · ${percent(used)} of ${bytes(storage.limit_bytes)}`,
      ),
    ),
    h(
      Figure,
      {
        label: "Published by this node",
        value: count(storage.published),
        unit: storage.published === 1 ? "value" : "values",
        href: "#/values",
      },
      h("p", null, plural(storage.published_items, "item")),
      h("p", null, `${count(storage.republications)} republished since start`),
    ),
  );
}

/** @param {{ label: string, value: string, unit?: string, href: string, children?: import("preact").ComponentChildren }} props */
function Figure({ label, value, unit, href, children }) {
  return h(
    "a",
    { class: "figure", href },
    h("span", { class: "figure-label" }, label),
    h("span", { class: "figure-value" }, value, unit !== undefined && h("small", null, ` ${unit}`)),
    h("span", { class: "figure-more" }, children),
  );
}

/** @param {{ peers: Stats["peers"] }} props */
function HealthBar({ peers }) {
  const all = peers.healthy + peers.degraded + peers.unhealthy;
  return h(
    "span",
    { class: "health-bar", "aria-hidden": "true" },
    Object.entries(peers).filter(([, n]) => n > 0).map(([health, n]) =>
      h("span", {
        key: health,
        class: `fill-${health}`,
        style: { width: `${all === 0 ? 0 : 100 * n / all}%` },
      })
    ),
  );
}

/** The numbers of peers by health. Lines break only between these numbers. @param {{ peers: Stats["peers"] }} props */
function HealthText({ peers }) {
  const shown = Object.entries(peers).filter(([health, n]) => n > 0 || health === "healthy");
  return h(
    "p",
    { class: "parted" },
    shown.map(([health, n]) => h("span", { key: health }, `${count(n)} ${health}`)),
  );
}

/** The legend for the map of peers. */
export function MapKey() {
  return h(
    "ul",
    { class: "map-key" },
    [["self", "this node"], ["healthy", "healthy"], ["degraded", "degraded"], [
      "unhealthy",
      "unhealthy",
    ]].map(([kind, text]) =>
      h(
        "li",
        { key: kind },
        h("span", { class: `mark-dot mark-dot-${kind}`, "aria-hidden": "true" }),
        text,
      )
    ),
    h("li", { class: "map-key-size" }, "larger dot: better score"),
  );
}

/** @param {{ stats: Stats }} props */
export function NoPeers({ stats }) {
  const { bootstrap_nodes: bootstrap = [], allow_net: scope = false } = stats.config ?? {};
  const ownAddress = stats.addresses[0] ?? "127.0.0.1:8000";
  return h(
    Empty,
    { icon: "peers", title: "No peers yet" },
    bootstrap.length > 0
      ? h(
        "p",
        null,
        "This node keeps trying its bootstrap nodes: ",
        h("code", null, bootstrap.join(", ")),
        ". Check that they are running and reachable by UDP.",
      )
      : h("p", null, "This node has no bootstrap nodes. It is the first node of its network."),
    bootstrap.length === 0 && h(
      "ul",
      { class: "todo" },
      h(
        "li",
        null,
        "To add a node, start it with: ",
        h("code", null, `dmnode --bootstrap ${ownAddress}`),
      ),
      h(
        "li",
        null,
        "To join a network, restart this node with the address of a member: ",
        h("code", null, "dmnode --bootstrap HOST:PORT"),
      ),
      scope === false &&
        h(
          "li",
          null,
          "This node talks only to this machine. Restart it with ",
          h("code", null, "--allow-net"),
          " to reach other machines.",
        ),
    ),
  );
}

/** @param {string} text */
function capitalized(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** @param {string} text */
function sentence(text) {
  const whole = capitalized(text);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
