// The report of one or several runs: one HTML page that needs nothing else, with plots drawn here as SVG.

import { measured, type Sample } from "./scenario.ts";
import { type CompletedRun, conditions, hopsFit, summary } from "./summary.ts";

/** A plot's area, in the units of its viewBox: as wide as a phone, so that its text stays readable there. */
const WIDTH = 360, HEIGHT = 220, LEFT = 44, RIGHT = 12, TOP = 10, BOTTOM = 38;

/** Bars of a histogram, and stretches of time that success is counted over. */
const BARS = 30, STRETCHES = 24;

/** Points of a distribution that are drawn. */
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
  /** Names for values of x, in place of round numbers. */
  readonly ticks?: readonly (readonly [x: number, label: string])[];
  readonly yRange?: readonly [number, number];
}

/** The page. */
export function report(runs: readonly CompletedRun[], made: string): string {
  const last = runs[runs.length - 1];
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
<p>${escape(conditions(last.scenario).join(", "))}</p>
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
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (c) => entities[c]);
}

function table(runs: readonly CompletedRun[]): string {
  const head = [
    ["", "nodes"],
    ["", "found"],
    ["hops", "mean"],
    ["hops", "p95"],
    ["queries", "mean"],
    ["queries", "p95"],
    ["ms", "mean"],
    ["ms", "p50"],
    ["ms", "p95"],
    ["ms", "p99"],
  ];
  const rows = runs.flatMap((run) => {
    const all = summary(run);
    const row = (
      name: string,
      s: Pick<typeof all, "success" | "hops" | "queries" | "latency_ms">,
    ) => [
      `${count(all.nodes)}, ${name}`,
      `${(s.success * 100).toFixed(2)} %`,
      s.hops.mean.toFixed(2),
      s.hops.p95,
      s.queries.mean.toFixed(1),
      s.queries.p95,
      ...[s.latency_ms.mean, s.latency_ms.p50, s.latency_ms.p95, s.latency_ms.p99].map((ms) =>
        ms.toFixed(0)
      ),
    ];
    return all.fetches === null ? [row("lookups", all)] : [
      row("lookups", all),
      row("fetches", all.fetches),
    ];
  });
  const headCells = head.map(([group, name]) => `<th>${escape(`${group} ${name}`.trim())}</th>`);
  const body = rows.map((cells) =>
    `<tr>${cells.map((cell) => `<td>${escape(String(cell))}</td>`).join("")}</tr>`
  );
  return `<div class="wide"><table><thead><tr>${headCells.join("")}</tr></thead>
<tbody>${body.join("\n")}</tbody></table></div>`;
}

function plots(runs: readonly CompletedRun[]): Plot[] {
  const { result } = runs[runs.length - 1];
  const { lookupSamples, fetchSamples, traffic } = result;
  const kinds = [["lookups", lookupSamples], ["fetches", fetchSamples]] as const;
  const both = kinds.filter(([, samples]) => samples.length > 0);
  const success = both.map(([name, samples]): Series => ({
    name,
    style: "line",
    points: successOverTime(samples),
  }));
  // From 0, unless all that happens would then be within the width of the line.
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
  const points: Point[] = [];
  for (let i = 0; i < inOrder.length; i += each) {
    const stretch = inOrder.slice(i, i + each);
    const middle = (stretch[0].at + stretch[stretch.length - 1].at) / 2;
    points.push([(middle - begun) / 60_000, measured(stretch).success]);
  }
  return points;
}

function histogram(values: readonly number[]): Point[] {
  const most = values.reduce((max, value) => Math.max(max, value), 1);
  const width = niceStep(most / BARS);
  const bars = new Array<number>(Math.floor(most / width) + 1).fill(0);
  for (const value of values) bars[Math.floor(value / width)]++;
  return bars.map((n, i): Point => [(i + 0.5) * width, n]);
}

// ---- drawing

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

/** From the least to the most, never empty. */
function range(values: readonly number[], margin: number): [number, number] {
  const min = values.reduce((least, value) => Math.min(least, value), Infinity);
  const max = values.reduce((most, value) => Math.max(most, value), -Infinity);
  const from = min < 0 || margin === 0 ? min : Math.min(0, min) - margin;
  const to = max + margin;
  return to > from ? [from, to] : [from, from + 1];
}

/** Some four round numbers between two. */
function roundTicks(from: number, to: number): number[] {
  const step = niceStep((to - from) / 4);
  const ticks: number[] = [];
  for (let i = Math.ceil(from / step); i * step <= to; i++) ticks.push(i * step);
  return ticks;
}

/** 1, 2 or 5 times a power of ten, not below `least`. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * 0.999)!;
}

function count(value: number): string {
  // Adding 0 takes the sign off a negative zero.
  return (value + 0).toLocaleString("en-US", { maximumFractionDigits: 3 });
}

/** A coordinate: tenths are finer than a screen. */
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
