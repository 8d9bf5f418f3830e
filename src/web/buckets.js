// The routing table as a list of buckets, with the number of peers of each health.

import { h } from "preact";
import { useMemo } from "preact/hooks";
import { plural } from "./format.js";
import { sharedBits } from "./ids.js";

/** @typedef {import("./node_state.js").NodeState} NodeState */

/**
 * Maximum number of buckets to show. Deeper buckets contain only the few nearest peers, and are
 * merged into the last one.
 */
const MAX_BUCKETS = 20;
const STATES = /** @type {const} */ (["healthy", "degraded", "unhealthy"]);

/** @param {{ state: NodeState, chosen: number | null, onChoose: (bucket: number | null) => void }} props */
export function Buckets({ state, chosen, onChoose }) {
  const own = state.stats?.node_id ?? "0".repeat(40);
  const buckets = useMemo(() => countBuckets(own, state.peers.values()), [
    own,
    state.versions.peers,
  ]);
  const capacity = Math.max(
    state.stats?.config?.k_bucket_size ?? 0,
    ...buckets.map(({ all }) => all),
  );
  return h(
    "ol",
    { class: "buckets", onPointerLeave: () => onChoose(null) },
    buckets.map(({ bucket, all, by }) =>
      h(
        "li",
        {
          key: bucket,
          class: bucket === chosen ? "chosen" : "",
          onPointerEnter: () => onChoose(bucket),
        },
        h("span", { class: "bucket-name" }, bucket),
        h("span", { class: "bucket-share" }, shareText(bucket)),
        h(
          "span",
          { class: "bucket-bar", "aria-hidden": "true" },
          STATES.map((health) =>
            h("span", {
              key: health,
              class: `fill-${health}`,
              style: { width: `${capacity === 0 ? 0 : 100 * by[health] / capacity}%` },
            })
          ),
        ),
        h("span", { class: "bucket-count" }, all),
        h(
          "span",
          { class: "visually-hidden" },
          `${plural(all, "peer")}: ${STATES.map((health) => `${by[health]} ${health}`).join(", ")}`,
        ),
      )
    ),
  );
}

/** The share of all ids that belongs to a bucket. @param {number} bucket */
function shareText(bucket) {
  return bucket < 10 ? `1/${2 ** (bucket + 1)}` : `2⁻${superscript(bucket + 1)}`;
}

/** @param {number} n */
function superscript(n) {
  return [...String(n)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]).join("");
}

/**
 * Counts the peers of each bucket, from the farthest bucket to the nearest one with peers.
 *
 * @param {string} own @param {Iterable<import("../reports/peers.ts").Peer>} peers
 */
export function countBuckets(own, peers) {
  /** @type {{ bucket: number, all: number, by: Record<typeof STATES[number], number> }[]} */
  const buckets = [];
  for (const { node_id, health } of peers) {
    const at = Math.min(sharedBits(own, node_id), MAX_BUCKETS - 1);
    while (buckets.length <= at) {
      buckets.push({
        bucket: buckets.length,
        all: 0,
        by: { healthy: 0, degraded: 0, unhealthy: 0 },
      });
    }
    buckets[at].all++;
    buckets[at].by[health]++;
  }
  return buckets;
}
