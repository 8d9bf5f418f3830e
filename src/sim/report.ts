// Creates the report on one or more runs: a self-contained HTML page with SVG plots.

import { type Measured, measured, type Sample } from "./measures.ts";
import { type CompletedRun, conditions, hopsFit } from "./summary.ts";

/** The size and margins of a plot, in units of its viewBox. Plots fit a phone's width, so that text stays readable. */
const WIDTH = 360, HEIGHT = 220, LEFT = 44, RIGHT = 12, TOP = 10, BOTTOM = 38;

const BARS = 30;

/** The maximum number of points in the plot of successful operations over time. */
const STRETCHES = 24;

const STEPS = 200;

type Point = readonly [x: number, y: number];

interface Series {
  readonly name: string;
  readonly points: readonly Point[];
  readonly style: "line" | "dots" | "bars" | "dashed";
}

interface Plot {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
  /** The labels on the x axis. By default, these are round numbers. */
  readonly ticks?: readonly (readonly [x: number, label: string])[];
  readonly yRange?: readonly [number, number];
}

/** Returns the HTML page. `made` names the program that made the report. */
export function report(runs: readonly CompletedRun[], made: string): string {
  const title = `dmnode sim: ${runs.map(({ scenario }) => count(scenario.nodes)).join(", ")} nodes`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escape(title)}</h1>
<p>${escape(conditions(runs[0].scenario).join(", "))}</p>
${table(runs)}
<div class="plots">
${plots(runs).map(figure).join("\n")}
</div>
<p class="small">${escape(made)}. Digest ${runs.map(({ result }) => result.digest).join(", ")}</p>
</main>
</body>
</html>
`;
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
  const cells = (tag: string, texts: readonly (string | number)[]) =>
    `<tr>${texts.map((text) => `<${tag}>${text}</${tag}>`).join("")}</tr>`;
  return `<div class="wide"><table><thead>${cells("th", head)}</thead>
<tbody>${rows.map((row) => cells("td", row)).join("\n")}</tbody></table></div>`;
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
      x: "minutes since the measurement began",
      y: "share",
      yRange: [isHigh ? 0.9 : 0, 1],
      series: success,
    },
    {
      title: "Traffic: bytes that a node sends a second",
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

function figure({ title, x, y, series, ticks, yRange }: Plot): string {
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
        }" height="${n(py(0) - py(vy))}"/>`
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
  return `<figure><figcaption>${escape(title)}${legend}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escape(title)}">
${yTicks.join("")}${xTicks.join("")}
<path class="axis" d="M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}"/>
${drawn.join("")}
<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 5}" text-anchor="middle">${escape(x)}</text>
<text transform="translate(10 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${
    escape(y)
  }</text>
</svg></figure>`;
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
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#59636e;--line:#d8dde3;--page:#fff;--s0:#0969da;--s1:#bc4c00;--s2:#59636e}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9198a1;--line:#30363d;--page:#0d1117;--s0:#58a6ff;--s1:#f0883e;--s2:#9198a1}}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1100px;margin:0 auto;padding:1rem}
h1{font-size:1.4rem;margin:.5rem 0}
.small{color:var(--dim);font-size:.8rem;overflow-wrap:anywhere}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.85rem}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:1.5rem;margin:1.5rem 0}
figure{margin:0}
figcaption{font-weight:600;font-size:.95rem}
.legend{display:block;font-weight:400;color:var(--dim);font-size:.85rem}
.legend i{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin:0 .3em 0 .6em}
i.s0{background:var(--s0)}i.s1{background:var(--s1)}i.s2{background:var(--s2)}
svg{width:100%;height:auto;display:block}
svg text{font-size:11px;fill:var(--dim)}
.grid{stroke:var(--line)}.axis{stroke:var(--dim);fill:none}
.line,.dashed{fill:none;stroke-width:2}.dashed{stroke-dasharray:5 4}
.s0{stroke:var(--s0)}.s1{stroke:var(--s1)}.s2{stroke:var(--s2)}
.fill.s0{fill:var(--s0);stroke:none}.fill.s1{fill:var(--s1);stroke:none}.fill.s2{fill:var(--s2);stroke:none}
`;
