// Starts a lookup, shows how it converges, and lists the latest lookups.

import { h } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { json } from "../api.js";
import { Convergence, placeSteps } from "../convergence.js";
import { ago, count, ms, NONE, percent, plural, shortId } from "../format.js";
import { useAnswer, useMedia, useParameter } from "../hooks.js";
import { Icon } from "../icons.js";
import { isId, randomId } from "../ids.js";
import { Badge, Card, Empty, Note, PeerLink, Power } from "../parts.js";
import { open } from "../routes.js";
import { table } from "../table.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../node_state.js").Step} Step */
/** @typedef {import("../node_state.js").EndedLookup} EndedLookup */
/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../../reports/peers.ts").Lookup} Lookup */

/**
 * @typedef {object} Shown the selected lookup
 * @property {string} key identifies the lookup
 * @property {string} target
 * @property {Step[]} steps
 * @property {number | null} elapsedMs
 * @property {number | null} hops null while the lookup runs
 * @property {Lookup | null} answer
 */

/** @param {{ state: NodeState, session: Session, target: string | null, now: number }} props */
export function Lookups({ state, session, target: given, now }) {
  const [text, setText] = useState(given ?? "");
  const [lookup] = useParameter("lookup");
  const [attempt, setAttempt] = useState(0);
  useEffect(() => session.watchSteps(), []);
  useEffect(() => {
    if (given !== null) setText(given);
  }, [given]);
  const chosen = lookup === "" ? null : Number(lookup);
  const question = given === null || !isId(given) || chosen !== null || state.isBarred
    ? null
    : `${given} ${attempt}`;
  const find = useAnswer(
    question,
    (signal) => /** @type {Promise<Lookup>} */ (json(`/network/find/${given}?trace=1`, { signal })),
  );
  const start = (/** @type {string} */ target) => {
    if (target === given && chosen === null) setAttempt(attempt + 1);
    else open(`#/lookups/${target}`);
  };
  const shown = chosen !== null
    ? ofTrace(state, chosen)
    : question === null
    ? null
    : ofRequest(state, { key: question, target: given ?? "" }, find);
  const trimmed = text.trim().toLowerCase();
  const isWrong = trimmed !== "" && !isId(trimmed);
  return h(
    "div",
    { class: "lookups-view" },
    h(
      Card,
      { title: "Look up an id", id: "find-title", note: "Finds the nodes closest to an id" },
      h(
        "form",
        {
          class: "find-form",
          onSubmit: (/** @type {Event} */ event) => {
            event.preventDefault();
            if (isId(trimmed)) start(trimmed);
          },
        },
        h(
          "label",
          { class: "field grow" },
          h("span", { class: "visually-hidden" }, "Id or hash, 40 hex digits"),
          h("input", {
            class: "mono",
            value: text,
            placeholder: "Id or hash: 40 hex digits",
            spellcheck: false,
            autocomplete: "off",
            autocapitalize: "off",
            "aria-invalid": isWrong ? "true" : undefined,
            "aria-describedby": isWrong ? "find-wrong" : undefined,
            onInput: (event) => setText(event.currentTarget.value),
          }),
        ),
        h(
          "button",
          {
            type: "button",
            onClick: () => {
              const id = randomId();
              setText(id);
              start(id);
            },
          },
          h(Icon, { name: "random" }),
          "Random",
        ),
        h(
          "button",
          { type: "submit", class: "primary", disabled: !isId(trimmed) },
          h(Icon, { name: "lookups" }),
          "Look up",
        ),
      ),
      isWrong &&
        h(
          "p",
          { class: "field-error", id: "find-wrong" },
          `An id has 40 hex digits. This one has ${trimmed.length} characters.`,
        ),
      find.error !== null && h(Note, { tone: "bad" }, find.error),
    ),
    shown === null
      ? chosen !== null && h(
        Card,
        { title: "Lookup", id: "shown-title" },
        h(
          Empty,
          { icon: "lookups", title: "No queries recorded" },
          "The node reports the queries of a lookup only while this page is open. You can open every lookup that starts from now on.",
        ),
      )
      : h(ShownLookup, { shown }),
    h(Recent, { state, now, chosen }),
  );
}

/**
 * Returns the lookup that this view started: as seen in events while it runs, and then as in the answer.
 *
 * @param {NodeState} state @param {{ key: string, target: string }} asked
 * @param {{ busy: boolean, result: Lookup | null }} find
 * @returns {Shown | null}
 */
function ofRequest(state, { key, target }, { busy, result }) {
  if (result !== null) {
    const steps = (result.trace ?? []).map((step) => ({ ...step }));
    return {
      key,
      target: result.target,
      steps,
      elapsedMs: result.elapsed_ms,
      hops: result.hops,
      answer: result,
    };
  }
  if (!busy) return null;
  const running = [...state.traces.values()].findLast((trace) =>
    trace.target === target && trace.elapsedMs === null
  );
  return {
    key,
    target,
    steps: running?.steps ?? [],
    elapsedMs: null,
    hops: null,
    answer: null,
  };
}

/** @param {NodeState} state @param {number} lookup @returns {Shown | null} */
function ofTrace(state, lookup) {
  const trace = state.traces.get(lookup);
  if (trace === undefined) return null;
  const { target, steps, elapsedMs } = trace;
  const hops = state.lookups.find((ended) => ended.lookup === lookup)?.hops ?? null;
  return { key: `lookup ${lookup}`, target, steps, elapsedMs, hops, answer: null };
}

/** @param {{ shown: Shown }} props */
function ShownLookup({ shown: { key, target, steps, elapsedMs, hops: ended, answer } }) {
  const [pointed, setPointed] = useState(/** @type {string | null} */ (null));
  const answered = steps.filter(({ outcome }) => outcome === "responded").length;
  const hops = ended ?? Math.max(0, ...steps.map(({ hop }) => hop));
  const silent = steps.filter(({ outcome }) => outcome === "timeout" || outcome === "error").length;
  return h(
    Card,
    {
      title: "Lookup",
      id: "shown-title",
      class: "shown-lookup",
      note: h("code", { class: "target" }, target),
    },
    h(
      "p",
      { class: "visually-hidden", role: "status" },
      elapsedMs === null
        ? "Looking up."
        : `Done: ${plural(steps.length, "query", "queries")}, ${plural(hops, "hop")}, ${
          ms(elapsedMs)
        }.`,
    ),
    h(
      "ul",
      { class: "tally" },
      h(
        "li",
        null,
        elapsedMs === null
          ? h(Badge, { tone: "accent" }, "running")
          : answer === null
          ? h(Badge, { tone: "dim" }, "ended")
          : answer.found
          ? h(Badge, { tone: "ok" }, "found")
          : h(Badge, { tone: "dim" }, "closest found"),
      ),
      elapsedMs !== null && h("li", null, h("b", null, ms(elapsedMs))),
      h("li", null, h("b", null, count(steps.length)), steps.length === 1 ? " query" : " queries"),
      h("li", null, h("b", null, count(hops)), hops === 1 ? " hop" : " hops"),
      h("li", null, h("b", null, count(answered)), " answered"),
      silent > 0 && h("li", { class: "tone-bad" }, h("b", null, count(silent)), " did not answer"),
    ),
    steps.length === 0
      ? h(
        Empty,
        { icon: "lookups", title: elapsedMs === null ? "Asking…" : "No node was asked" },
        elapsedMs === null ? null : "The routing table is empty, so there is no node to ask.",
      )
      : h(Convergence, { target, steps, elapsedMs, runKey: key, pointed, onPoint: setPointed }),
    h(
      "div",
      { class: "lookup-tables" },
      steps.length > 0 && h(
        "div",
        null,
        h("h3", null, "Queries"),
        h(StepTable, {
          target,
          steps,
          version: `${key} ${steps.length} ${answered} ${silent} ${elapsedMs}`,
          pointed,
          onPoint: setPointed,
        }),
      ),
      answer !== null && answer.nodes.length > 0 && h(
        "div",
        null,
        h("h3", null, `The ${plural(answer.nodes.length, "closest node")}`),
        h(
          "ol",
          { class: "closest" },
          answer.nodes.map(({ node_id, address, distance }) =>
            h(
              "li",
              {
                key: node_id,
                class: address === pointed ? "pointed" : "",
                onPointerEnter: () => setPointed(address),
              },
              h(PeerLink, { id: node_id }),
              h("span", { class: "address" }, address),
              h("span", { class: "num" }, h(Power, { bits: distance })),
            )
          ),
        ),
      ),
    ),
  );
}

/** @type {Record<Step["outcome"], { tone: import("../parts.js").Tone, text: string }>} */
const OUTCOMES = {
  responded: { tone: "ok", text: "answered" },
  late: { tone: "warn", text: "late" },
  timeout: { tone: "bad", text: "no answer" },
  error: { tone: "bad", text: "error" },
  pending: { tone: "dim", text: "pending" },
};

/** @param {{ target: string, steps: Step[], version: string, pointed: string | null, onPoint: (address: string | null) => void }} props */
function StepTable({ target, steps, version, pointed, onPoint }) {
  const isNarrow = useMedia("(max-width: 760px)");
  const rows = useMemo(() => placeSteps(target, steps).map((step, i) => ({ ...step, i })), [
    version,
  ]);
  /** @type {import("../table.js").Column<typeof rows[number]>[]} */
  const all = [
    {
      key: "at",
      label: "At",
      class: "num",
      by: (step) => step.started_ms,
      cell: (step) => ms(step.started_ms),
    },
    { key: "hop", label: "Hop", class: "num", by: (step) => step.hop, cell: (step) => step.hop },
    {
      key: "peer",
      label: "Peer",
      cell: (step) =>
        step.node_id === null
          ? h("span", { class: "muted" }, "bootstrap")
          : h(PeerLink, { id: step.node_id }),
    },
    {
      key: "address",
      label: "Address",
      class: "wide",
      cell: (step) => h("span", { class: "address" }, step.address),
    },
    {
      key: "distance",
      label: "Distance",
      class: "num",
      by: (step) => step.node_id === null ? null : step.bits,
      cell: (step) => step.node_id === null ? NONE : h(Power, { bits: step.bits.toFixed(1) }),
    },
    {
      key: "rtt",
      label: "RTT",
      class: "num",
      by: (step) => step.rtt_ms,
      cell: (step) => ms(step.rtt_ms),
    },
    {
      key: "outcome",
      label: "Outcome",
      by: (step) => step.outcome,
      cell: (step) =>
        h(
          "span",
          { class: `mark-word tone-${OUTCOMES[step.outcome].tone}` },
          OUTCOMES[step.outcome].text,
        ),
    },
  ];
  return table({
    caption: "Queries of the lookup",
    class: "short",
    columns: isNarrow ? all.filter(({ key }) => key !== "address" && key !== "at") : all,
    rows,
    keyOf: (row) => String(row.i),
    sortedBy: isNarrow ? "hop" : "at",
    version,
    pointed: pointed === null
      ? null
      : String(rows.find(({ address }) => address === pointed)?.i ?? ""),
    onPoint: (row) => onPoint(row?.address ?? null),
  });
}

/** @param {{ state: NodeState, now: number, chosen: number | null }} props */
function Recent({ state, now, chosen }) {
  const { stats } = state;
  const isNarrow = useMedia("(max-width: 760px)");
  const note = stats === null || stats.lookups.count === 0
    ? undefined
    : `${count(stats.lookups.count)} since start, ${
      percent(stats.lookups.success / stats.lookups.count)
    } answered, ${count(stats.lookups.active)} running`;
  /** @type {import("../table.js").Column<EndedLookup>[]} */
  const columns = [
    {
      key: "target",
      label: "Target",
      cell: (row) =>
        h("a", {
          class: "id",
          title: row.target,
          "aria-current": row.lookup === chosen ? "true" : undefined,
          href: `#/lookups/${row.target}?lookup=${row.lookup}`,
        }, shortId(row.target)),
    },
    {
      key: "method",
      label: "Purpose",
      class: "wide",
      by: (row) => row.method,
      cell: (row) => row.method,
    },
    {
      key: "at",
      label: "Ended",
      first: "descending",
      class: "num",
      by: (row) => row.at,
      cell: (row) => ago(row.at, now),
    },
    { key: "hops", label: "Hops", class: "num", by: (row) => row.hops, cell: (row) => row.hops },
    {
      key: "queries",
      label: "Queries",
      class: "num",
      by: (row) => row.queries,
      cell: (row) => row.queries,
    },
    {
      key: "time",
      label: "Duration",
      class: "num",
      by: (row) => row.elapsed_ms,
      cell: (row) => ms(row.elapsed_ms),
    },
    {
      key: "outcome",
      label: "Outcome",
      by: (row) => Number(row.success),
      cell: (row) =>
        h(
          "span",
          { class: `mark-word tone-${row.success ? "ok" : "bad"}` },
          row.success ? "answered" : "unanswered",
        ),
    },
  ];
  return h(
    Card,
    { title: "Latest lookups", id: "recent-title", note },
    state.lookups.length === 0
      ? h(
        Empty,
        { icon: "lookups", title: "None yet" },
        "Finished lookups appear here, including the node's own maintenance.",
      )
      : table({
        caption: "Finished lookups",
        class: "short",
        columns: isNarrow
          ? columns.filter(({ key }) => !["method", "queries", "hops"].includes(key))
          : columns,
        rows: state.lookups,
        keyOf: (row) => String(row.lookup),
        sortedBy: "at",
        direction: "descending",
        parameter: "sort",
        version: `${state.versions.traces} ${state.lookups.length}`,
        pointed: chosen === null ? null : String(chosen),
      }),
  );
}
