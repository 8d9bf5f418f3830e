// The charts of the node's figures over ten minutes, an hour, a day and thirty days, with the important events.

import { h } from "preact";
import { useMemo } from "preact/hooks";
import { json } from "./api.js";
import { byteRate, bytes, count, date, ms, rate } from "./format.js";
import { useAnswer, useParameter } from "./hooks.js";
import { lazy } from "./lazy.js";
import { Card, choice, Empty, Note } from "./parts.js";

/** @typedef {import("./node_state.js").NodeState} NodeState */
/** @typedef {import("./node_state.js").Sample} Sample */
/** @typedef {import("../reports/stats.ts").Stats} Stats */
/** @typedef {import("../reports/stats.ts").History} History */

/** The library of the charts is loaded when there is something to draw. */
const Chart = lazy(async () => (await import("./chart.js")).Chart);

const MINUTE_MS = 60_000, HOUR_MS = 3_600_000, DAY_MS = 24 * HOUR_MS;

/** The spans of the charts, each with its title and the range of the node's history that contains it. */
const SPANS = /** @type {const} */ ({
  "10 min": { ms: 10 * MINUTE_MS, range: "hour", title: "Last ten minutes" },
  "1 h": { ms: HOUR_MS, range: "hour", title: "Last hour" },
  "24 h": { ms: DAY_MS, range: "day", title: "Last 24 hours" },
  "30 d": { ms: 30 * DAY_MS, range: "month", title: "Last 30 days" },
});

/** Maximum number of events in the list below the charts. */
const MAX_LISTED = 12;

/** @param {{ state: NodeState, stats: Stats }} props */
export function Charts({ state, stats }) {
  const [text, setSpan] = useParameter("span", "1 h");
  const name = /** @type {keyof typeof SPANS} */ (text in SPANS ? text : "1 h");
  const { range, title, ms: span } = SPANS[name];
  const isShort = range === "hour";
  // The page has the samples of the last hour already, but not the events.
  const newest = state.hour.at(-1)?.at ?? "";
  const reading = useAnswer(
    range,
    (signal) => /** @type {Promise<History>} */ (
      json(`/network/history?range=${range}`, { signal })
    ),
    // Ask again every minute.
    newest.slice(0, 16),
  );
  const samples = isShort ? state.hour : reading.result?.samples ?? [];
  const intervalS = isShort ? 10 : reading.result?.interval_s ?? 300;
  const version = `${isShort ? state.versions.hour : samples.at(-1)?.at} ${name}`;
  const data = useMemo(() => chartData(samples, span, intervalS), [version]);
  const marks = (reading.result?.marks ?? []).filter(({ at }) => Date.parse(at) >= data.from);
  return h(
    Card,
    {
      title,
      id: "charts-title",
      class: "charts-card",
      actions: choice({
        label: "Span of the charts",
        options: [["10 min", "10 min"], ["1 h", "1 h"], ["24 h", "24 h"], ["30 d", "30 d"]],
        value: name,
        onChoose: setSpan,
      }),
    },
    reading.error !== null && h(Note, { tone: "warn" }, reading.error),
    !isShort && reading.busy && reading.result === null
      ? h("p", { class: "loading" }, "Loading…")
      : data.times.length < 2
      ? h(
        Empty,
        {
          icon: "events",
          title: isShort ? "The first figures appear within 20 seconds" : "No figures yet",
        },
        "The node takes a sample every ten seconds for an hour, every five minutes for a day, and every hour for thirty days.",
      )
      : h(Figures, { data, stats: isShort ? stats : null, marks, version, intervalS }),
    marks.length > 0 && h(
      "details",
      { class: "marks" },
      h("summary", null, `Events: ${count(marks.length)}`),
      h(
        "ol",
        null,
        marks.slice(-MAX_LISTED).reverse().map(({ at, text }) =>
          h(
            "li",
            { key: at + text },
            h("time", { dateTime: at }, date(Date.parse(at))),
            h("bdi", null, text),
          )
        ),
      ),
    ),
  );
}

/**
 * @param {{
 *   data: ReturnType<typeof chartData>, stats: Stats | null, marks: History["marks"], version: string, intervalS: number,
 * }} props `stats`: the present figures, if the charts end now
 */
function Figures({ data: { times, columns, from, to }, stats, marks, version, intervalS }) {
  /** @type {"line" | "dots"} */
  const dots = intervalS > 10 ? "line" : "dots";
  const common = { times, from, to, version, marks };
  return h(
    "div",
    { class: "charts" },
    h(
      ChartBox,
      { title: "Traffic" },
      h(Chart, {
        ...common,
        label: "Traffic",
        format: byteRate,
        series: [
          { label: "in", color: "series-1", values: columns.bytesIn, style: "area" },
          { label: "out", color: "series-2", values: columns.bytesOut },
        ],
        latest: stats === null ? undefined : [
          byteRate(stats.traffic.in.bytes_per_second),
          byteRate(stats.traffic.out.bytes_per_second),
        ],
      }),
    ),
    h(
      ChartBox,
      { title: "Latency" },
      h(Chart, {
        ...common,
        label: "Latency of lookups and round-trip time of peers",
        format: ms,
        series: [
          { label: "p95", color: "series-2", values: columns.p95, style: dots },
          { label: "p50", color: "series-1", values: columns.p50, style: dots },
          { label: "peer RTT", color: "series-3", values: columns.rtt },
        ],
      }),
    ),
    h(
      ChartBox,
      { title: "Lookups per minute" },
      h(Chart, {
        ...common,
        label: "Lookups per minute",
        format: rate,
        series: [
          { label: "answered", color: "series-1", values: columns.answered, style: "bars" },
          { label: "unanswered", color: "bad", values: columns.unanswered, style: "bars" },
        ],
      }),
    ),
    h(
      ChartBox,
      { title: "Storage" },
      h(Chart, {
        ...common,
        label: "Storage",
        format: bytes,
        series: [{ label: "held", color: "series-3", values: columns.stored, style: "area" }],
        latest: stats === null ? undefined : [bytes(stats.storage.bytes)],
      }),
    ),
    h(
      ChartBox,
      { title: "Peers" },
      h(Chart, {
        ...common,
        label: "Peers",
        format: count,
        series: [{ label: "peers", color: "series-1", values: columns.peers }],
      }),
    ),
    h(
      ChartBox,
      { title: "Published values" },
      h(Chart, {
        ...common,
        label: "Published values",
        format: count,
        series: [
          { label: "values", color: "series-3", values: columns.values },
          { label: "at risk", color: "bad", values: columns.atRisk },
        ],
      }),
    ),
  );
}

/** @param {{ title: string, children?: import("preact").ComponentChildren }} props */
function ChartBox({ title, children }) {
  return h("div", { class: "chart-box" }, h("h3", null, title), children);
}

/** The node was not running if the gap between two samples is longer than this number of intervals. */
const GAP_INTERVALS = 2.5;

/**
 * Turns the samples of the last `span` milliseconds into columns, with an empty value in each gap.
 *
 * @param {readonly Sample[]} samples @param {number} span @param {number} intervalS
 */
export function chartData(samples, span, intervalS) {
  const to = samples.length === 0 ? 0 : Date.parse(samples[samples.length - 1].at);
  // If the node has run for less than the span, the axis starts at the first sample: an empty part would look like
  // inactivity.
  const first = samples.length === 0 ? 0 : Date.parse(samples[0].at);
  const from = Math.max(to - span, Math.min(first, to - 12 * intervalS * 1000));
  /** @type {number[]} */
  const times = [];
  const columns = {
    bytesIn: /** @type {(number | null)[]} */ ([]),
    bytesOut: /** @type {(number | null)[]} */ ([]),
    rtt: /** @type {(number | null)[]} */ ([]),
    p50: /** @type {(number | null)[]} */ ([]),
    p95: /** @type {(number | null)[]} */ ([]),
    answered: /** @type {(number | null)[]} */ ([]),
    unanswered: /** @type {(number | null)[]} */ ([]),
    stored: /** @type {(number | null)[]} */ ([]),
    peers: /** @type {(number | null)[]} */ ([]),
    values: /** @type {(number | null)[]} */ ([]),
    atRisk: /** @type {(number | null)[]} */ ([]),
  };
  const perMinute = 60 / intervalS;
  for (const sample of samples) {
    const at = Date.parse(sample.at);
    if (at < from) continue;
    const before = times.at(-1);
    if (before !== undefined && at - before > GAP_INTERVALS * intervalS * 1000) {
      times.push(before + 1);
      for (const column of Object.values(columns)) column.push(null);
    }
    times.push(at);
    const { in: inward, out, lookups, storage, published } = sample;
    columns.bytesIn.push(inward.bytes_per_second);
    columns.bytesOut.push(out.bytes_per_second);
    columns.rtt.push(sample.rtt_ms);
    columns.p50.push(lookups.p50_ms);
    columns.p95.push(lookups.p95_ms);
    columns.answered.push(lookups.success * perMinute);
    columns.unanswered.push((lookups.count - lookups.success) * perMinute);
    columns.stored.push(storage.bytes);
    columns.peers.push(sample.peers);
    columns.values.push(published.values);
    columns.atRisk.push(published.at_risk);
  }
  return { times, columns, from, to };
}
