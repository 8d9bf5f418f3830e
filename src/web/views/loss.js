// What if some peers are gone? Select peers or a subnet, and see which values would have too few copies.

import { h } from "preact";
import { useMemo } from "preact/hooks";
import { json } from "../api.js";
import { count, plural, shortId } from "../format.js";
import { useAnswer, useParameter } from "../hooks.js";
import { lossOf, subnetOf } from "../loss.js";
import { Card, Empty, Field, Health, Listing, Note } from "../parts.js";
import { table } from "../table.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../node_state.js").Peer} Peer */
/** @typedef {import("../../reports/values.ts").Holders} Holders */

/** Maximum number of peers in the address, and of values in the list. */
const MAX_CHOSEN = 200, MAX_LISTED = 500;

/** @param {{ state: NodeState }} props */
export function LossView({ state }) {
  const [subnetText, setSubnet] = useParameter("subnet");
  const [chosenText, setChosen] = useParameter("peers");
  const [belowText, setBelow] = useParameter("below", "3");
  const chosen = useMemo(
    () => new Set(chosenText.split(",").filter((digits) => /^[0-9a-f]{8}$/.test(digits))),
    [chosenText],
  );
  const subnet = useMemo(() => subnetOf(subnetText), [subnetText]);
  const below = /^\d{1,3}$/.test(belowText) ? Number(belowText) : null;
  const peers = useMemo(() => [...state.peers.values()], [state.versions.peers]);
  const lost = useMemo(() => {
    const digits = new Set(chosen);
    if (subnet !== null) {
      for (const { node_id, address } of peers) if (subnet(address)) digits.add(shortId(node_id));
    }
    return digits;
  }, [chosen, subnet, peers]);
  const reading = useAnswer(
    state.isBarred ? null : "holders",
    (signal) => /** @type {Promise<Holders>} */ (json("/network/holders", { signal })),
    `${state.versions.published} ${state.phase === "lost"}`,
  );
  const toggle = (/** @type {string} */ digits) => {
    const next = new Set(chosen);
    if (!next.delete(digits)) next.add(digits);
    setChosen([...next].slice(0, MAX_CHOSEN).join());
  };
  const { result } = reading;
  return h(
    "div",
    { class: "values-view" },
    h(
      "div",
      { class: "column" },
      h(
        Card,
        {
          title: "Peers that are gone",
          id: "gone-title",
          class: "fetch-card",
          note: lost.size === 0 ? undefined : plural(lost.size, "peer"),
          actions: (chosen.size > 0 || subnetText !== "") && h(
            "button",
            {
              type: "button",
              onClick: () => {
                setChosen("");
                setSubnet("");
              },
            },
            "Clear",
          ),
        },
        h(Field, {
          label: "Subnet",
          hint: "all peers in it are gone",
          id: "subnet",
          class: "mono",
          value: subnetText,
          placeholder: "for example 192.0.2.0/24",
          error: subnetText === "" || subnet !== null
            ? null
            : "A subnet is an address, a slash and the length of its prefix.",
          onChange: setSubnet,
        }),
        peers.length === 0 ? h(Empty, { icon: "peers", title: "This node has no peers" }) : table({
          caption: "Peers to lose",
          columns: peerColumns(lost, chosen, toggle),
          rows: peers,
          keyOf: ({ node_id }) => node_id,
          sortedBy: "address",
          parameter: "sort",
          rowHeight: 37,
          version: `${state.versions.peers} ${chosenText} ${subnetText}`,
        }),
      ),
    ),
    h(
      "div",
      { class: "column" },
      h(
        Card,
        { title: "Values with too few copies", id: "losses-title", class: "fetch-card" },
        h(Field, {
          label: "Fewer copies than",
          id: "below",
          inputMode: "numeric",
          value: belowText,
          error: below === null ? "Enter a whole number from 0 to 999." : null,
          onChange: setBelow,
        }),
        h(Listing, {
          isBarred: state.isBarred,
          what: "the holders of values",
          error: reading.error,
          total: result && result.values.length,
          empty: h(Empty, { icon: "values", title: "This node publishes no values" }),
          draw: () => result && h(Losses, { values: result.values, lost, below: below ?? 0 }),
        }),
      ),
    ),
  );
}

/**
 * @param {ReadonlySet<string>} lost @param {ReadonlySet<string>} chosen @param {(digits: string) => void} toggle
 * @returns {import("../table.js").Column<Peer>[]}
 */
function peerColumns(lost, chosen, toggle) {
  return [
    {
      key: "gone",
      label: "Gone",
      by: ({ node_id }) => lost.has(shortId(node_id)) ? 0 : 1,
      cell: ({ node_id, address }) => {
        const digits = shortId(node_id), isInSubnet = lost.has(digits) && !chosen.has(digits);
        return h("input", {
          type: "checkbox",
          checked: lost.has(digits),
          disabled: isInSubnet,
          "aria-label": `Peer ${digits} at ${address} is gone`,
          onChange: () => toggle(digits),
        });
      },
    },
    {
      key: "peer",
      label: "Peer",
      by: ({ node_id }) => node_id,
      cell: ({ node_id }) => h("code", { title: node_id }, shortId(node_id)),
    },
    {
      key: "address",
      label: "Address",
      by: ({ address }) => address,
      cell: ({ address }) => h("span", { class: "address" }, address),
    },
    {
      key: "health",
      label: "Health",
      by: ({ health }) => health,
      cell: ({ health }) => h(Health, { health }),
    },
  ];
}

/** @param {{ values: Holders["values"], lost: ReadonlySet<string>, below: number }} props */
function Losses({ values, lost, below }) {
  const { losses, unknown } = lossOf(values, lost, below), known = values.length - unknown;
  const gone = losses.filter(({ left }) => left === 0).length;
  return [
    h(
      "div",
      { role: "status" },
      known > 0 && h(
        Note,
        { tone: losses.length === 0 ? "ok" : gone > 0 ? "bad" : "warn" },
        losses.length === 0
          ? `All ${plural(known, "value")} would have ${below} copies or more.`
          : `${count(losses.length)} of ${plural(known, "value")} would have fewer than ${
            plural(below, "copy", "copies")
          }${gone === 0 ? "." : `, ${count(gone)} of them none.`}`,
      ),
    ),
    unknown > 0 && h(
      "p",
      { class: "muted" },
      `The holders of ${
        plural(unknown, "value")
      } are not known yet: the node learns them at the next publication.`,
    ),
    h(
      "ol",
      { class: "closest losses" },
      losses.slice(0, MAX_LISTED).map(({ value: { hash, key }, left, lost }) =>
        h(
          "li",
          { key: hash },
          h("a", { class: "id", href: `#/values/${hash}`, title: hash }, shortId(hash)),
          h("span", { class: "address" }, key === null ? "" : h("bdi", null, key)),
          h(
            "span",
            { class: left === 0 ? "num tone-bad mark-word" : "num" },
            `${count(left)} of ${count(left + lost)} left`,
          ),
        )
      ),
    ),
    losses.length > MAX_LISTED &&
    h("p", { class: "muted" }, `${count(losses.length - MAX_LISTED)} more are not shown.`),
  ];
}
