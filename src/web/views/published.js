// The card of the values view that lists the values that this node publishes.

import { h } from "preact";
import { useState } from "preact/hooks";
import { PublishNow } from "../actions.js";
import { json, request } from "../api.js";
import { ago, bytes, count, date, isolated, plural, shortId, until } from "../format.js";
import { useAction, useAnswer, useMedia, useParameter } from "../hooks.js";
import { AskFirst, Card, choice, Empty, Listing, Note } from "../parts.js";
import { table } from "../table.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../../reports/values.ts").Published} Published */
/** @typedef {Published["published"][number]} PublishedValue */

const PAGE = 100;

/** @param {{ state: NodeState, now: number }} props */
export function PublishedCard({ state, now }) {
  const [first, setFirst] = useParameter("offset");
  const offset = /^\d{1,9}$/.test(first) ? Number(first) : 0;
  const setOffset = (/** @type {number} */ next) => setFirst(next === 0 ? "" : `${next}`);
  const [announcement, setAnnouncement] = useState("");
  const isNarrow = useMedia("(max-width: 760px)");
  const isAway = state.phase === "lost";
  const [shown, setShown] = useParameter("show", "all");
  const isAtRisk = shown === "risk";
  const [changes, setChanges] = useState(0);
  const reading = useAnswer(
    state.isBarred ? null : `${offset} ${isAtRisk}`,
    (signal) => /** @type {Promise<Published>} */ (
      json(`/network/published?limit=${PAGE}&offset=${offset}${isAtRisk ? "&at_risk=1" : ""}`, {
        signal,
      })
    ),
    `${changes} ${state.versions.published} ${state.stats?.storage.published} ${isAway}`,
  );
  const page = reading.result;
  const forget = useAction(async (/** @type {PublishedValue} */ { hash, pinned }) => {
    await request(pinned ? `/network/pin/${hash}` : `/data/${hash}`, { method: "DELETE" });
    document.getElementById("published-title")?.focus();
    setAnnouncement(`${pinned ? "Unpinned" : "Stopped publishing"} ${shortId(hash)}.`);
    setChanges((n) => n + 1);
  });
  const publishedNow = (/** @type {string} */ text) => {
    setAnnouncement(text);
    setChanges((n) => n + 1);
  };
  /** @type {import("../table.js").Column<PublishedValue>[]} */
  const columns = [
    {
      key: "value",
      label: "Value",
      by: (row) => row.key ?? row.hash,
      cell: (row) =>
        h(
          "span",
          { class: "two-lines" },
          h("a", { class: "id", href: `#/values/${row.hash}`, title: row.hash }, shortId(row.hash)),
          h("small", null, publishedText(row)),
        ),
    },
    {
      key: "size",
      label: "Size",
      class: "num",
      first: "descending",
      by: (row) => row.size,
      cell: (row) => bytes(row.size),
    },
    {
      key: "replicas",
      label: "Copies",
      class: "num",
      by: (row) => row.replicas,
      cell: (row) =>
        h(
          "span",
          { class: row.state === "safe" ? "" : "tone-bad mark-word", title: STATES[row.state] },
          row.this_node_only
            ? "this node only"
            : row.state === "safe"
            ? count(row.replicas)
            : row.failures > 0
            ? plural(row.failures, "failure")
            : `only ${count(row.replicas)}`,
        ),
    },
    {
      key: "last",
      label: "Published",
      class: "num wide",
      first: "descending",
      by: (row) => row.last_at === null ? null : Date.parse(row.last_at),
      cell: (row) =>
        row.last_at === null ? "not yet" : h(
          "span",
          { class: "two-lines" },
          h("span", { title: date(Date.parse(row.last_at)) }, ago(Date.parse(row.last_at), now)),
          row.lives_until !== null && h(
            "small",
            { title: `If this node leaves: ${date(Date.parse(row.lives_until))}` },
            `lives ${until(Date.parse(row.lives_until), now).replace(/^in /, "")}`,
          ),
        ),
    },
    {
      key: "next",
      label: "Next",
      class: "num wide",
      by: (row) => Date.parse(row.next_at),
      cell: (row) => until(Date.parse(row.next_at), now),
    },
    {
      key: "publish",
      label: "Now",
      cell: ({ hash, key }) =>
        h(PublishNow, { hash, name: key ?? shortId(hash), onDone: publishedNow }),
    },
    {
      key: "forget",
      label: "Stop",
      cell: (row) =>
        h(AskFirst, {
          action: row.pinned ? "Unpin" : "Stop publishing",
          name: row.key ?? shortId(row.hash),
          onConfirm: () => forget.run(row),
        }),
    },
  ];
  return h(
    Card,
    {
      title: "Published by this node",
      id: "published-title",
      class: "published-card",
      note: page === null
        ? undefined
        : page.total === 0
        ? undefined
        : isAtRisk
        ? `${plural(page.total, "value")} short of copies, failing, or only here`
        : `${plural(page.total, "value")}, republished every hour`,
      actions: choice({
        label: "Which values",
        options: [["all", "All"], ["risk", "At risk"]],
        value: isAtRisk ? "risk" : "all",
        onChoose: (next) => {
          setOffset(0);
          setShown(next);
        },
      }),
    },
    h("p", { class: announcement === "" ? "" : "muted", role: "status" }, announcement),
    forget.error !== null && h(Note, { tone: "bad" }, forget.error),
    h(Listing, {
      isBarred: state.isBarred,
      what: "published values",
      error: reading.error,
      total: page && page.total,
      empty: isAtRisk ? h(Empty, { icon: "check", title: "No value is at risk" }) : h(
        Empty,
        { icon: "values", title: "No published values" },
        "This node republishes every value that you store here once an hour, until you stop it.",
      ),
      draw: () =>
        page && table({
          caption: "Values published from this node",
          columns: isNarrow
            ? columns.filter(({ key }) => ["value", "replicas", "publish", "forget"].includes(key))
            : columns,
          rows: page.published,
          keyOf: (row) => row.hash,
          sortedBy: "next",
          parameter: "sort",
          rowHeight: 53,
          version: page,
        }),
    }),
    page !== null && page.total > 0 &&
      h("p", { class: "card-more" }, h("a", { href: "#/loss" }, "What if some peers are gone?")),
    page !== null && page.total > PAGE && h(
      "nav",
      { class: "pager", "aria-label": "Pages of published values" },
      h("button", {
        type: "button",
        disabled: offset === 0,
        onClick: () => setOffset(Math.max(0, offset - PAGE)),
      }, "Previous"),
      h(
        "span",
        null,
        `${count(offset + 1)} to ${count(Math.min(page.total, offset + PAGE))} of ${
          count(page.total)
        }`,
      ),
      h("button", {
        type: "button",
        disabled: offset + PAGE >= page.total,
        onClick: () => setOffset(offset + PAGE),
      }, "Next"),
    ),
  );
}

/** For each state of a published value, its meaning. @type {Record<PublishedValue["state"], string | undefined>} */
export const STATES = {
  safe: undefined,
  short: "Fewer than four fifths of the nodes that should have the value acknowledged it.",
  failing: "No other node acknowledged the latest publication.",
  ending: "Publishing has failed for so long that other nodes will soon drop the value.",
};

/** Describes a published value in a few words. @param {PublishedValue} value */
function publishedText({ kind, key, seq, items, pinned }) {
  const name = key === null ? kind : `${isolated(key)}, version ${seq}`;
  const text = items === 1 ? name : `${name}, ${plural(items, "item")}`;
  return pinned ? `${text}, pinned` : text;
}
