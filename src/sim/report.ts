// Creates the report on one or more runs: a self-contained HTML page with SVG plots.

import { type Measured, measured, type Sample } from "./measures.ts";
import { type CompletedRun, conditions, hopsFit } from "./summary.ts";

/** The size and margins of a plot, in units of its viewBox. Plots fit a phone's width, so that text stays readable. */
const WIDTH = 360, HEIGHT = 220, LEFT = 44, RIGHT = 12, TOP = 10, BOTTOM = 38;

const BARS = 30;

/** The maximum number of points in the plot of successful operations over time. */
const STRETCHES = 24;

const STEPS = 200;

/** The maximum number of points of a series in the table below a plot. Longer tables would be unreadable. */
const MAX_ROWS = 40;

type Point = readonly [x: number, y: number];

interface Series {
  readonly name: string;
  readonly points: readonly Point[];
  readonly style: "line" | "dots" | "bars" | "dashed";
}

interface Plot {
  readonly title: string;
  /** How to read the plot, in one or two sentences. */
  readonly explanation: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
  /** The labels on the x axis. By default, these are round numbers. */
  readonly ticks?: readonly (readonly [x: number, label: string])[];
  readonly yRange?: readonly [number, number];
}

export interface ReportOptions {
  /** Names the program that made the report. */
  readonly made: string;
  /** The style sheet with the colors and fonts of the dashboard. */
  readonly theme: string;
}

/** Returns the HTML page. */
export function report(runs: readonly CompletedRun[], { made, theme }: ReportOptions): string {
  const nodes = runs.map(({ scenario }) => count(scenario.nodes)).join(", ");
  const title = `dmnode sim: ${nodes} nodes`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escape(title)}</title>
<style>${withoutFonts(theme)}${STYLE}</style>
</head>
<body>
<a class="skip" href="#results">Skip to the results</a>
<header><b>DataMgmt Node</b> <span>Simulation</span></header>
<main>
<h1>${escape(title)}</h1>
<p class="conditions">${
    conditions(runs[0].scenario).map((text) => `<span>${escape(text)}</span>`).join(" ")
  }</p>
${tiles(runs)}
<section id="results" tabindex="-1" aria-labelledby="results-title">
<h2 id="results-title">Results</h2>
<p>A lookup is successful if it found nodes close to its target. A hop is one step from a node to a closer one. p50,
p95 and p99 are percentiles: 95 % of the lookups took at most the time below p95.</p>
${table(runs)}
</section>
<div class="plots">
${plots(runs).map(figure).join("\n")}
</div>
<p class="small">${escape(made)}. Digest ${runs.map(({ result }) => result.digest).join(", ")}</p>
</main>
</body>
</html>
`;
}

/** Removes the fonts, because the report loads nothing. The theme names system fonts as alternatives. */
function withoutFonts(theme: string): string {
  return theme.replaceAll(/@font-face\s*\{[^}]*\}/g, "");
}

/** The most important figures of the last run, as on the dashboard. */
function tiles(runs: readonly CompletedRun[]): string {
  const { scenario, result: { lookups, fetches } } = runs.at(-1)!;
  const figures = [
    ["Nodes", count(scenario.nodes), `seed ${scenario.seed}`],
    ["Lookups found", share(lookups.success), `of ${count(lookups.count)}`],
    [
      "Latency",
      milliseconds(lookups.latency.p50),
      `median; 95 % within ${milliseconds(lookups.latency.p95)}`,
    ],
    ["Hops", lookups.hops.mean.toFixed(1), `on average, at most ${lookups.hops.max}`],
    ...fetches === undefined
      ? []
      : [["Values found", share(fetches.success), `of ${count(fetches.count)} fetches`]],
  ];
  return `<dl class="tiles">${
    figures.map(([name, value, more]) =>
      `<div><dt>${escape(name)}</dt><dd><b>${escape(value)}</b> <span>${
        escape(more)
      }</span></dd></div>`
    ).join("")
  }</dl>`;
}

function share(value: number): string {
  return `${(value * 100).toFixed(2)} %`;
}

function milliseconds(value: number): string {
  return `${value.toFixed(0)} ms`;
}

export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

function table(runs: readonly CompletedRun[]): string {
  const figures = ["hops mean", "hops p95", "queries mean", "queries p95"];
  const head = ["nodes", "found", ...figures, "ms mean", "ms p50", "ms p95", "ms p99"];
  const rows = runs.flatMap(({ scenario, result: { lookups, fetches } }) => {
    const row = (name: string, { success, hops, queries, latency }: Measured) => [
      `${count(scenario.nodes)}, ${name}`,
      `${(success * 100).toFixed(2)} %`,
      hops.mean.toFixed(2),
      hops.p95,
      queries.mean.toFixed(1),
      queries.p95,
      ...[latency.mean, latency.p50, latency.p95, latency.p99].map((ms) => ms.toFixed(0)),
    ];
    return [row("lookups", lookups), ...(fetches === undefined ? [] : [row("fetches", fetches)])];
  });
  return grid("Results of each run", head, rows);
}

/** A table that scrolls by keyboard too if it is wider than the page. */
function grid(
  caption: string,
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const line = ([first, ...rest]: readonly (string | number)[]) =>
    `<tr><th scope="row">${escape(String(first))}</th>${
      rest.map((text) => `<td>${escape(String(text))}</td>`).join("")
    }</tr>`;
  return `<div class="wide" role="region" tabindex="0" aria-label="${escape(caption)}"><table>
<caption class="visually-hidden">${escape(caption)}</caption>
<thead><tr>${head.map((text) => `<th scope="col">${escape(text)}</th>`).join("")}</tr></thead>
<tbody>${rows.map(line).join("\n")}</tbody></table></div>`;
}

function plots(runs: readonly CompletedRun[]): Plot[] {
  const { lookupSamples, fetchSamples, traffic } = runs.at(-1)!.result;
  const kinds = [["lookups", lookupSamples], ["fetches", fetchSamples]] as const;
  const both = kinds.filter(([, samples]) => samples.length > 0);
  const success = both.map(([name, samples]): Series => ({
    name,
    style: "line",
    points: successOverTime(samples),
  }));
  // If all shares are close to 1, an axis that starts at 0 would hide the differences between them.
  const isHigh = success.every(({ points }) => points.every(([, share]) => share > 0.9));
  return [
    runs.length > 1 ? hopsAgainstNodes(runs) : hopsHistogram(lookupSamples),
    {
      title: "Latency: share that ended within",
      explanation:
        "At each time, the line gives the share of lookups that had ended by then. The earlier the line rises, the faster " +
        "the network. A flat part before the top stands for lookups that waited for nodes that did not answer.",
      x: "ms",
      y: "share",
      yRange: [0, 1],
      series: both.map(([name, samples]) => ({
        name,
        style: "line",
        points: cumulative(samples.map((sample) => sample.elapsed)),
      })),
    },
    {
      title: "Success over time",
      explanation:
        `Each point is the share of successful ones among those that started around the same time.${
          isHigh ? " The axis begins at 0.9, so that small differences are visible." : ""
        } A dip shows when nodes left, or were cut off.`,
      x: "minutes since the measurement began",
      y: "share",
      yRange: [isHigh ? 0.9 : 0, 1],
      series: success,
    },
    {
      title: "Traffic: bytes that a node sends a second",
      explanation:
        "Each bar counts the nodes whose traffic is in its range. A long tail to the right means that few nodes do much of " +
        "the work.",
      x: "bytes/s",
      y: "nodes",
      series: [{ name: "nodes", style: "bars", points: histogram(traffic) }],
    },
  ];
}

function hopsAgainstNodes(runs: readonly CompletedRun[]): Plot {
  const at = (pick: (run: CompletedRun) => number): Point[] =>
    runs.map((run) => [Math.log2(run.scenario.nodes), pick(run)]);
  const line = hopsFit(runs);
  const means = at(({ result }) => result.lookups.hops.mean);
  const fitted: Series[] = line === undefined ? [] : [{
    name: `${line.intercept.toFixed(2)} + ${line.slope.toFixed(3)} log2 n`,
    style: "dashed",
    points: means.map(([x]) => [x, line.intercept + line.slope * x]),
  }];
  return {
    title: "Hops of a lookup against the number of nodes",
    explanation:
      "In a healthy network, the hops grow with the logarithm of the number of nodes: on this axis, along a straight line. " +
      "The dashed line is the best fit to the means.",
    x: "nodes (logarithmic)",
    y: "hops",
    ticks: runs.map(({ scenario }) => [Math.log2(scenario.nodes), count(scenario.nodes)]),
    series: [
      { name: "mean", style: "dots", points: means },
      { name: "p95", style: "dots", points: at(({ result }) => result.lookups.hops.p95) },
      ...fitted,
    ],
  };
}

function hopsHistogram(samples: readonly Sample[]): Plot {
  const counts: number[] = [];
  for (const { hops } of samples) if (!Number.isNaN(hops)) counts[hops] = (counts[hops] ?? 0) + 1;
  const points = Array.from(counts, (n, hops): Point => [hops, n ?? 0]);
  return {
    title: "Hops of a lookup",
    explanation:
      "Each bar counts the lookups that took that many steps. A narrow hill means that all nodes have good routing tables.",
    x: "hops",
    y: "lookups",
    ticks: points.map(([hops]) => [hops, String(hops)]),
    series: [{ name: "lookups", style: "bars", points }],
  };
}

function cumulative(values: readonly number[]): Point[] {
  const sorted = [...values].sort((x, y) => x - y);
  const steps = Math.min(STEPS, sorted.length);
  const points = Array.from({ length: steps }, (_, i): Point => {
    const share = (i + 1) / steps;
    return [sorted[Math.ceil(share * sorted.length) - 1], share];
  });
  return [[0, 0], ...points];
}

function successOverTime(samples: readonly Sample[]): Point[] {
  const inOrder = [...samples].sort((x, y) => x.at - y.at);
  const begun = inOrder[0].at;
  const each = Math.ceil(inOrder.length / Math.min(STRETCHES, inOrder.length));
  return Array.from({ length: Math.ceil(inOrder.length / each) }, (_, i): Point => {
    const stretch = inOrder.slice(i * each, (i + 1) * each);
    const middle = (stretch[0].at + stretch.at(-1)!.at) / 2;
    return [(middle - begun) / 60_000, measured(stretch).success];
  });
}

function histogram(values: readonly number[]): Point[] {
  const most = Math.max(1, maximum(values));
  const width = niceStep(most / BARS);
  const bars = new Array<number>(Math.floor(most / width) + 1).fill(0);
  for (const value of values) bars[Math.floor(value / width)]++;
  return bars.map((n, i): Point => [(i + 0.5) * width, n]);
}

function figure({ title, explanation, x, y, series, ticks, yRange }: Plot, index: number): string {
  const points = series.flatMap((s) => s.points);
  const isBars = series.some((s) => s.style === "bars");
  const xs = points.map((p) => p[0]);
  const [first, second] = series[0].points;
  const barWidth = second === undefined ? 1 : second[0] - first[0];
  const margin = isBars ? barWidth / 2 : 0;
  const bounds = ticks === undefined || isBars ? [0, ...xs] : xs;
  const [xMin, xMax] = range(bounds, margin);
  const [yMin, yMax] = yRange ?? [0, range([0, ...points.map((p) => p[1])], 0)[1] * 1.05];
  const px = (v: number) => LEFT + (v - xMin) / (xMax - xMin) * (WIDTH - LEFT - RIGHT);
  const py = (v: number) => HEIGHT - BOTTOM - (v - yMin) / (yMax - yMin) * (HEIGHT - TOP - BOTTOM);
  const yTicks = roundTicks(yMin, yMax).map((v) =>
    `<path class="grid" d="M${LEFT} ${n(py(v))}H${WIDTH - RIGHT}"/>` +
    `<text x="${LEFT - 5}" y="${n(py(v) + 4)}" text-anchor="end">${count(v)}</text>`
  );
  const xTicks = (ticks ?? roundTicks(xMin, xMax).map((v) => [v, count(v)] as const)).map(
    ([v, label]) =>
      `<text x="${n(px(v))}" y="${HEIGHT - BOTTOM + 15}" text-anchor="middle">${
        escape(label)
      }</text>`,
  );
  const drawn = series.map((s, i) => {
    if (s.style === "bars") {
      const width = Math.max(1, px(barWidth) - px(0) - 1);
      return s.points.map(([vx, vy]) =>
        `<rect class="s${i} fill" x="${n(px(vx) - width / 2)}" y="${n(py(vy))}" width="${
          n(width)
        }" height="${n(py(0) - py(vy))}"><title>${count(vx)} ${escape(x)}: ${count(vy)} ${
          escape(y)
        }</title></rect>`
      ).join("");
    }
    if (s.style === "dots") {
      return s.points.map(([vx, vy]) =>
        `<circle class="s${i} fill" cx="${n(px(vx))}" cy="${n(py(vy))}" r="4"/>`
      ).join("");
    }
    const path = s.points.map(([vx, vy]) => `${n(px(vx))} ${n(py(vy))}`).join("L");
    return `<path class="s${i} ${s.style}" d="M${path}"/>`;
  });
  const legend = series.length < 2
    ? ""
    : `<span class="legend">${
      series.map((s, i) => `<i class="s${i}"></i>${escape(s.name)}`).join(" ")
    }</span>`;
  const id = `plot-${index}`;
  return `<figure class="card" aria-labelledby="${id}">
<figcaption><h2 id="${id}">${escape(title)}</h2><p>${escape(explanation)}</p>${legend}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escape(title)}">
${yTicks.join("")}${xTicks.join("")}
<path class="axis" d="M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}"/>
${drawn.join("")}
<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 5}" text-anchor="middle">${escape(x)}</text>
<text transform="translate(10 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${
    escape(y)
  }</text>
</svg>
<details><summary>Figures</summary>${figuresOf({ title, x, y, series, ticks })}</details></figure>`;
}

/** The figures of a plot, for people who can't see it. */
function figuresOf({ title, x, y, series, ticks }: Omit<Plot, "explanation" | "yRange">): string {
  const named = new Map(ticks);
  const rows = series.flatMap(({ name, points }) =>
    points.filter((_, i) =>
      i % Math.ceil(points.length / MAX_ROWS) === 0 || i === points.length - 1
    )
      .map(([vx, vy]) => [named.get(vx) ?? count(vx), name, count(vy)])
  );
  return grid(`Figures: ${title}`, [x, "series", y], rows);
}

/** Returns the range from the lowest to the highest value, extended by `margin`. The range is never empty. */
function range(values: readonly number[], margin: number): [number, number] {
  const min = -maximum(values.map((value) => -value)), to = maximum(values) + margin;
  const from = min < 0 || margin === 0 ? min : Math.min(0, min) - margin;
  return to > from ? [from, to] : [from, from + 1];
}

/** Returns the highest value. `Math.max` fails on very long lists. */
function maximum(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), -Infinity);
}

/** Returns about four evenly spaced round numbers in a range. */
function roundTicks(from: number, to: number): number[] {
  const step = niceStep((to - from) / 4), first = Math.ceil(from / step);
  const count = Math.floor(to / step) - first + 1;
  return Array.from({ length: count }, (_, i) => (first + i) * step);
}

/** Returns the smallest number not below `least` that is 1, 2 or 5 times a power of ten. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * 0.999)!;
}

function count(value: number): string {
  // Adding 0 turns -0 into 0.
  return (value + 0).toLocaleString("en-US", { maximumFractionDigits: 3 });
}

/** Formats a coordinate with one decimal: more decimals would make no visible difference. */
function n(value: number): string {
  return String(Math.round(value * 10) / 10);
}

const STYLE = `
body{font-size:15px}
.skip{position:fixed;top:8px;left:-1000px;padding:8px 14px;border-radius:6px;background:var(--accent-fill);color:#fff}
.skip:focus{left:8px}
header{display:flex;gap:12px;padding:16px 24px;border-bottom:1px solid var(--line);background:var(--panel)}
header span{color:var(--dim)}
main{display:grid;gap:16px;max-width:1480px;margin:0 auto;padding:20px 24px 40px}
main>*{min-width:0}
h1{font-size:20px;font-weight:600}
.conditions{display:flex;flex-wrap:wrap;gap:6px}
.conditions span{padding:1px 8px;border-radius:5px;background:var(--raised);color:var(--dim);font-size:13px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:16px}
.tiles>div,.card,#results{padding:16px;border:1px solid var(--line);border-radius:10px;background:var(--panel)}
.tiles dt{color:var(--dim);font-size:13px}
.tiles b{display:block;font-size:24px;font-weight:600}
.tiles span,figcaption p,#results p{color:var(--dim);font-size:13px}
#results,figcaption{display:grid;gap:8px}
#results:focus{outline:none}
.small{color:var(--faint);font-size:12px;overflow-wrap:anywhere}
.wide{overflow-x:auto}
details .wide{max-height:300px;overflow-y:auto}
table{border-collapse:collapse;font-size:13px}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;font-weight:400}
thead th{color:var(--dim);font-weight:600}
th:first-child,td:first-child{text-align:left}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:16px;align-items:start}
figure{margin:0}
.legend{color:var(--dim);font-size:13px}
.legend i{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin:0 .3em 0 .6em}
i.s0{background:var(--series-1)}i.s1{background:var(--series-2)}i.s2{background:var(--series-3)}
svg{width:100%;height:auto;display:block;margin-top:8px}
svg text{font-size:11px;fill:var(--dim)}
.grid{stroke:var(--chart-grid)}.axis{stroke:var(--line-strong);fill:none}
.line,.dashed{fill:none;stroke-width:2}.dashed{stroke-dasharray:5 4}
.s0{stroke:var(--series-1)}.s1{stroke:var(--series-2)}.s2{stroke:var(--series-3)}
.line.s1{stroke-dasharray:8 3}
.fill.s0{fill:var(--series-1);stroke:none}.fill.s1{fill:var(--series-2);stroke:none}.fill.s2{fill:var(--series-3);stroke:none}
summary{padding:4px 0;color:var(--accent);cursor:pointer;font-size:13px}
@media(max-width:480px){main,header{padding-left:12px;padding-right:12px}.tiles{grid-template-columns:1fr 1fr;gap:8px}}
@media(forced-colors:active){svg *{forced-color-adjust:none}.legend i{forced-color-adjust:none}}
@media print{details{display:none}.card,.tiles>div{break-inside:avoid}}
`;
