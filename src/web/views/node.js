// The node itself: identity, reachability, packets by type, dropped packets and configuration.

import { h } from "preact";
import { DiagnosticsCard } from "../actions.js";
import { isLoopback } from "../findings.js";
import { bytes, count, date, duration, percent, plural, rate } from "../format.js";
import { useMedia } from "../hooks.js";
import { Card, Empty, fact, Facts, FullId } from "../parts.js";
import { reachabilityFacts } from "../reachability.js";
import { table } from "../table.js";
import { dropText } from "../threats.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../../reports/stats.ts").Stats} Stats */

/** @param {{ state: NodeState, now: number }} props */
export function Node({ state, now }) {
  const { stats } = state;
  if (stats === null) return null;
  const { readiness, storage } = stats;
  return h(
    "div",
    { class: "node-view" },
    h(
      "div",
      { class: "column" },
      h(
        Card,
        { title: "Identity", id: "identity-title" },
        h(Facts, {
          rows: [
            ["Node id", h(FullId, { id: stats.node_id, what: "node id" })],
            ["Public key", h(FullId, { id: stats.public_key, what: "public key" })],
            ["Version", stats.version],
            [
              "Started",
              `${date(Date.parse(stats.started_at))}, up for ${duration(stats.uptime_s)}`,
            ],
            stats.network_key.in_use
              ? ["Network key", stats.network_key.mismatch ?? "In use"]
              : null,
            ["Readiness", `${readiness.ready ? "Ready" : "Not ready"}: ${readiness.reason}`],
            [
              "Answers",
              readiness.queries === 0
                ? "no recent queries"
                : `${count(readiness.answers)} of ${
                  plural(readiness.queries, "query", "queries")
                } over ${duration(readiness.over_s)} (${
                  percent(Math.min(1, readiness.answers / readiness.queries))
                })`,
            ],
          ],
        }),
      ),
      h(
        Card,
        { title: "Storage", id: "storage-title" },
        h(Facts, {
          rows: [
            [
              "Held",
              `${plural(storage.items, "item")}, ${bytes(storage.bytes)} of ${
                bytes(storage.limit_bytes)
              }`,
            ],
            ["For other nodes", plural(storage.replicated, "item")],
            ["Expiring within the hour", plural(storage.expiring_within_hour, "item")],
            [
              "Published by this node",
              `${plural(storage.published, "value")}, ${plural(storage.published_items, "item")}`,
            ],
            ["Republished", plural(storage.republications, "item")],
            ["Missing copies replaced", plural(storage.copies_made, "item")],
            ["Announced swarm peers", count(storage.announced_peers)],
          ],
        }),
      ),
      h(Dropped, { dropped: stats.traffic.dropped }),
      h(DiagnosticsCard, { state }),
    ),
    h(
      "div",
      { class: "column" },
      h(
        Card,
        {
          title: "Reachability",
          id: "reach-title",
          actions: h("a", { class: "quiet", href: "#/reachability" }, "Explain it"),
        },
        h(Facts, {
          rows: [...reachabilityFacts(stats, now), [
            "Listens on",
            h("code", null, stats.addresses.join(", ")),
          ]],
        }),
      ),
      h(Packets, { traffic: stats.traffic }),
    ),
    stats.config !== undefined && h(
      Card,
      { title: "Configuration in force", id: "config-title", class: "config-card" },
      h(Facts, {
        class: "two-columns",
        rows: Object.entries(stats.config).map(([name, value]) =>
          fact(name.toUpperCase(), h("code", null, configText(name, value, stats)))
        ),
      }),
    ),
  );
}

/** @param {string} name @param {unknown} value @param {Stats} stats */
function configText(name, value, { addresses, config }) {
  // Without --allow-net, a node listens only on loopback, with any P2P_HOST.
  if (name === "p2p_host" && config.allow_net === false && isLoopback(addresses)) {
    return `${value} (with --allow-net; now ${addresses.join(", ")})`;
  }
  if (name === "api_token") return value === true ? "set" : "not set";
  if (name === "allow_net" && typeof value === "boolean") {
    return value ? "any machine" : "only this machine";
  }
  if (value === null || value === "") return "not set";
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.join(", ");
  if (typeof value === "number" && value >= 1_000_000) return `${value} (${bytes(value)})`;
  return String(value);
}

/** @param {{ dropped: Record<string, number> }} props */
function Dropped({ dropped }) {
  const rows = Object.entries(dropped).filter(([, n]) => n > 0).sort(([, a], [, b]) => b - a);
  return h(
    Card,
    {
      title: "Dropped packets",
      id: "dropped-title",
      note: "Since start, by reason",
      actions: h("a", { class: "quiet", href: "#/threats" }, "Is it an attack?"),
    },
    rows.length === 0 ? h(Empty, { icon: "check", title: "None" }) : h(Facts, {
      class: "figures-right",
      rows: rows.map(([reason, n]) => fact(dropText(reason), count(n))),
    }),
  );
}

/** @param {{ traffic: Stats["traffic"] }} props */
function Packets({ traffic }) {
  const isNarrow = useMedia("(max-width: 760px)");
  const types = [
    ...new Set([...Object.keys(traffic.in.by_type), ...Object.keys(traffic.out.by_type)]),
  ];
  const none = { messages: 0, bytes: 0 };
  const rows = types.map((type) => ({
    type,
    in: traffic.in.by_type[type] ?? none,
    out: traffic.out.by_type[type] ?? none,
  }));
  /** @typedef {typeof rows[number]} Row */
  /** @type {(label: string, of: (row: Row) => number, text: (n: number) => string) => import("../table.js").Column<Row>} */
  const column = (label, of, text) => ({
    key: label,
    label,
    class: "num",
    first: "descending",
    by: of,
    cell: (row) => text(of(row)),
  });
  return h(
    Card,
    {
      title: "Packets",
      id: "packets-title",
      class: "packets-card",
      note: `${rate(traffic.in.messages_per_second)} a second in, ${
        rate(traffic.out.messages_per_second)
      } out`,
      actions: h("a", { class: "quiet", href: "#/traffic" }, "Totals by day and month"),
    },
    rows.length === 0 ? h(Empty, { icon: "events", title: "None yet" }) : table({
      caption: "Packets by type since start",
      class: "short",
      columns: [
        {
          key: "type",
          label: "Type",
          by: (/** @type {Row} */ row) => row.type,
          cell: (/** @type {Row} */ row) => h("code", null, row.type),
        },
        column("In", (row) => row.in.messages, count),
        column("Bytes in", (row) => row.in.bytes, bytes),
        column("Out", (row) => row.out.messages, count),
        column("Bytes out", (row) => row.out.bytes, bytes),
      ].filter(({ key }) => !(isNarrow && key.startsWith("Bytes"))),
      rows,
      keyOf: (row) => row.type,
      sortedBy: "In",
      direction: "descending",
    }),
  );
}
