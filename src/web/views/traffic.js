// What the node costs: its traffic by hour, day and month, by purpose, and how much the limits and the budget leave.

import { h } from "preact";
import { json } from "../api.js";
import { byteRate, bytes, percent } from "../format.js";
import { useAnswer, useParameter } from "../hooks.js";
import { Icon } from "../icons.js";
import { Card, choice, Empty, Facts, Listing, Meter, Note } from "../parts.js";
import { table } from "../table.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../../reports/traffic.ts").TrafficReport} TrafficReport */
/** @typedef {import("../parts.js").Fact} Fact */
/** @typedef {Pick<TrafficReport["days"][number], "sent" | "received" | "by_purpose">} Flows */
/** @typedef {Flows & { name: string }} Period */
/** @typedef {keyof Flows["by_purpose"]} Purpose */

/** What each purpose includes. @type {Readonly<Record<Purpose, string>>} */
const PURPOSES = {
  answers: "Answers to other nodes",
  requests: "Find, fetch and store",
  transfers: "Pieces of large values",
  own_values: "Own values, published again",
  upkeep: "Upkeep: contacts, routing and copies for others",
  relay: "Relay for nodes behind NATs",
  other: "Packets that were dropped",
};

const PERIODS = /** @type {const} */ ([["hour", "Hours"], ["day", "Days"], ["month", "Months"]]);

const HOUR_MS = 3_600_000, DAY_MS = 24 * HOUR_MS;

/** @param {{ state: NodeState, now: number }} props */
export function TrafficView({ state, now }) {
  const reading = useAnswer(
    state.isBarred ? null : "traffic",
    (signal) => /** @type {Promise<TrafficReport>} */ (json("/network/traffic", { signal })),
    // Ask again every minute.
    `${Math.floor(now / 60_000)} ${state.phase === "lost"}`,
  );
  const { result } = reading;
  return h(
    "div",
    { class: "traffic-view" },
    h("a", { class: "back", href: "#/node" }, h(Icon, { name: "back" }), "Node"),
    result !== null && reading.error !== null && h(Note, { tone: "warn" }, reading.error),
    h(Listing, {
      isBarred: state.isBarred,
      what: "the traffic",
      error: reading.error,
      total: result && result.months.length,
      empty: h(Empty, { icon: "node", title: "This node has not sent or received anything yet" }),
      draw: () => result && h(Costs, { report: result, now }),
    }),
  );
}

/** @param {{ report: TrafficReport, now: number }} props */
function Costs({ report, now }) {
  const [by, setBy] = useParameter("by", "day");
  const [of] = useParameter("of");
  /** @type {Readonly<Record<string, Period[]>>} */
  const lists = {
    hour: report.hours.map(({ hour, ...flows }) => ({ name: hourText(hour), ...flows })),
    day: report.days.map(({ day, ...flows }) => ({ name: day, ...flows })),
    month: report.months.map(({ month, ...flows }) => ({ name: month, ...flows })),
  };
  const kind = PERIODS.some(([name]) => name === by) ? by : "day";
  const periods = lists[kind];
  const chosen = periods.find(({ name }) => name === of) ?? periods.at(-1);
  return h(
    "div",
    { class: "values-view" },
    h(
      "div",
      { class: "column" },
      h(Month, { report, now }),
      chosen !== undefined && h(ByPurpose, { period: chosen }),
    ),
    h(
      Card,
      {
        title: "Totals",
        id: "totals-title",
        note: "in UTC, with the headers of UDP and IP",
        actions: choice({ label: "Totals by", options: PERIODS, value: kind, onChoose: setBy }),
      },
      table({
        caption: `Totals by ${kind}`,
        class: "tall",
        columns: totalColumns(kind, periods, chosen?.name),
        rows: periods,
        keyOf: ({ name }) => name,
        sortedBy: "time",
        direction: "descending",
        parameter: "sort",
        pointed: chosen?.name ?? null,
        version: `${kind} ${chosen?.name} ${all(periods.at(-1))}`,
      }),
    ),
  );
}

/** Shortens an RFC 3339 time to its hour. @param {string} hour */
function hourText(hour) {
  return `${hour.slice(0, 10)} ${hour.slice(11, 16)}`;
}

/** The bytes of a period in both directions. @param {Flows | undefined} period */
function all(period) {
  return period === undefined ? 0 : period.sent + period.received;
}

/** @param {Flows | undefined} period */
function totalText(period) {
  if (period === undefined) return "nothing";
  return `${bytes(all(period))}: ${bytes(period.sent)} sent, ${bytes(period.received)} received`;
}

/** The present month, its forecast, the budget and the limits. @param {{ report: TrafficReport, now: number }} props */
function Month({ report, now }) {
  const { days, months, limits, budget } = report, time = new Date(now).toISOString();
  const forecast = forecastOf(report, now);
  const used = budget === null ? 0 : budget.used / Math.max(1, budget.bytes);
  const limit = (/** @type {number | null} */ rate) => rate === null ? "no limit" : byteRate(rate);
  const isShort = budget !== null && forecast !== null && forecast > budget.bytes;
  return h(
    Card,
    { title: "This month", id: "month-title" },
    h(Facts, {
      rows: [
        ["Today", totalText(days.find(({ day }) => day === time.slice(0, 10)))],
        ["This month", totalText(months.find(({ month }) => month === time.slice(0, 7)))],
        [
          "Forecast",
          forecast === null
            ? "too early: the node has counted for less than an hour"
            : `about ${bytes(forecast)} by the end of the month, at the rate of the last 24 hours`,
        ],
        [
          "Budget",
          budget === null ? "none (P2P_MONTHLY_BUDGET)" : h(
            "div",
            { class: "budget" },
            `${bytes(budget.used)} of ${bytes(budget.bytes)}: ${bytes(budget.left)} left until ${
              budget.until.slice(0, 10)
            }`,
            h(Meter, {
              share: used,
              label: "Budget used",
              tone: used >= 1 ? "bad" : used > 0.9 || isShort ? "warn" : "accent",
            }),
          ),
        ],
        ["Limits", `up: ${limit(limits.up)}, down: ${limit(limits.down)}`],
      ],
    }),
    budget?.read_only
      ? h(
        Note,
        { tone: "bad" },
        "The budget is used up. The node answers no queries until the next month. Raise P2P_MONTHLY_BUDGET to end this.",
      )
      : isShort && h(
        Note,
        { tone: "warn" },
        "At the rate of the last 24 hours, the budget will not last until the end of the month. Then the node answers no queries. Lower P2P_UP_LIMIT or raise P2P_MONTHLY_BUDGET.",
      ),
  );
}

/**
 * The bytes of the whole month if its rest is like the last 24 hours. Null if the node has counted for less than an hour.
 *
 * @param {TrafficReport} report @param {number} now
 */
function forecastOf({ hours, months }, now) {
  const first = hours.length === 0 ? now : Date.parse(hours[0].hour);
  // The oldest of 25 hours is counted in part: the hours begin at full hours, the last 24 hours do not.
  const since = Math.max(first, now - DAY_MS);
  if (!(now - since >= HOUR_MS)) return null;
  const recent = hours.reduce((sum, { hour, ...flows }) => {
    const start = Date.parse(hour);
    const share = Math.min(1, Math.max(0, (start + HOUR_MS - since) / HOUR_MS));
    return sum + share * all(flows);
  }, 0);
  const time = new Date(now), month = time.toISOString().slice(0, 7);
  const end = Date.UTC(time.getUTCFullYear(), time.getUTCMonth() + 1);
  const soFar = all(months.find((each) => each.month === month));
  return soFar + recent / (now - since) * (end - now);
}

/** @param {{ period: Period }} props */
function ByPurpose({ period }) {
  const total = all(period);
  const rows = Object.entries(period.by_purpose).map(([purpose, { sent, received }]) => ({
    purpose: /** @type {Purpose} */ (purpose),
    sent,
    received,
    share: total === 0 ? 0 : (sent + received) / total,
  }));
  /** @typedef {typeof rows[number]} Row */
  return h(
    Card,
    { title: "By purpose", id: "purpose-title", note: period.name },
    table({
      caption: `Traffic by purpose, ${period.name}`,
      class: "purposes",
      columns: [
        {
          key: "purpose",
          label: "Purpose",
          by: (/** @type {Row} */ { purpose }) => purpose,
          cell: ({ purpose, share }) =>
            h(
              "div",
              { class: "two-lines" },
              PURPOSES[purpose] ?? purpose,
              h(Bar, { share }),
            ),
        },
        bytesColumn("sent", "Sent"),
        bytesColumn("received", "Received"),
        {
          key: "share",
          label: "Share",
          class: "num",
          first: "descending",
          by: ({ share }) => share,
          cell: ({ share }) => percent(share),
        },
      ],
      rows,
      keyOf: ({ purpose }) => purpose,
      sortedBy: "share",
      direction: "descending",
      version: `${period.name} ${total}`,
    }),
  );
}

/**
 * @template {{ sent: number, received: number }} R
 * @param {"sent" | "received"} key @param {string} label
 * @returns {import("../table.js").Column<R>}
 */
function bytesColumn(key, label) {
  const by = (/** @type {R} */ row) => row[key];
  return { key, label, class: "num", first: "descending", by, cell: (row) => bytes(row[key]) };
}

/**
 * @param {string} kind @param {readonly Period[]} periods @param {string | undefined} chosen
 * @returns {import("../table.js").Column<Period>[]}
 */
function totalColumns(kind, periods, chosen) {
  const most = Math.max(1, ...periods.map(all));
  return [
    {
      key: "time",
      label: kind.charAt(0).toUpperCase() + kind.slice(1),
      first: "descending",
      by: ({ name }) => name,
      cell: (period) =>
        h(
          "div",
          { class: "two-lines" },
          h("a", {
            href: `#/traffic?${new URLSearchParams({ by: kind, of: period.name })}`,
            "aria-current": period.name === chosen ? "true" : undefined,
          }, period.name),
          h(Bar, { share: all(period) / most }),
        ),
    },
    bytesColumn("sent", "Sent"),
    bytesColumn("received", "Received"),
    {
      key: "all",
      label: "Total",
      class: "num",
      first: "descending",
      by: all,
      cell: (period) => bytes(all(period)),
    },
  ];
}

/** A bar beside a figure. @param {{ share: number }} props */
function Bar({ share }) {
  return h(
    "span",
    { class: "meter tone-accent", "aria-hidden": "true" },
    h("span", { class: "meter-fill", style: { width: `${Math.min(100, 100 * share)}%` } }),
  );
}
