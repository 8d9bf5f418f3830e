// A chart over time: uPlot in the page's colors, with the values under the pointer above it.

import { h } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { colorsOf, useTheme, withAlpha } from "./appearance.js";
import { clock, date, day } from "./format.js";
import { useSize } from "./hooks.js";

/** For longer charts, the time under the pointer is shown with its date. */
const DAY_MS = 86_400_000;

/**
 * @typedef {object} Series
 * @property {string} label
 * @property {"series-1" | "series-2" | "series-3" | "bad"} color name of a custom property
 * @property {(number | null)[]} values
 * @property {"line" | "area" | "bars" | "dots"} [style] dots for occasional measurements; "line" by default
 */

/**
 * @param {{
 *   label: string, times: number[], series: Series[], format: (value: number) => string,
 *   from: number, to: number, version: unknown, height?: number, latest?: (string | null)[],
 *   marks?: readonly { at: string, text: string }[],
 * }} props
 * `times`, `from` and `to` are in milliseconds since 1970. `marks` are events at their times. `latest` replaces the last value while the pointer is
 * elsewhere.
 */
export function Chart(
  { label, times, series, format, from, to, version, height = 124, latest, marks = [] },
) {
  const [frame, { width }] = useSize();
  const { theme } = useTheme();
  const plot = useRef(/** @type {uPlot | null} */ (null));
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [pointed, setPointed] = useState(/** @type {number | null} */ (null));
  const scale = useRef({ from, to, marks });
  scale.current = { from, to, marks };
  const data = useMemo(
    () => /** @type {uPlot.AlignedData} */ ([
      times.map((at) => at / 1000),
      ...series.map(({ values }) => values),
    ]),
    [version],
  );
  useEffect(() => {
    if (place.current === null || width === 0) return;
    const made = new uPlot(
      options({ width, height, series, format, scale, onPoint: setPointed }),
      data,
      place.current,
    );
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = null;
    };
  }, [theme, width, height, label]);
  useEffect(() => {
    plot.current?.setData(data);
  }, [version, from, marks.length]);
  const at = pointed !== null && pointed < times.length ? pointed : null;
  const shown = series.map(({ values }, i) => {
    const value = values[at ?? values.length - 1] ?? null;
    const replacement = at === null ? latest?.[i] : undefined;
    return replacement ?? (value === null ? "–" : format(value));
  });
  return h(
    "div",
    { class: "chart", ref: frame },
    h(
      "ul",
      { class: "legend" },
      series.map(({ label, color }, i) =>
        h(
          "li",
          { key: label },
          h("span", { class: `swatch swatch-${color}`, "aria-hidden": "true" }),
          h("span", { class: "legend-label" }, label),
          " ",
          h("b", null, shown[i]),
        )
      ),
      h(
        "li",
        { class: "legend-time" },
        at === null ? "" : to - from > DAY_MS ? date(times[at]) : clock(times[at]),
      ),
    ),
    h("div", {
      class: "plot",
      ref: place,
      role: "img",
      "aria-label": `${label}. ${summary(series, format)}`,
      style: { height: `${height}px` },
    }),
  );
}

/** Describes the picture in words. @param {Series[]} series @param {(value: number) => string} format */
function summary(series, format) {
  return series.map(({ label, values }) => {
    const known = values.filter((value) => value !== null);
    if (known.length === 0) return `${label}: no figures yet`;
    const highest = known.reduce((x, y) => Math.max(x, y)),
      least = known.reduce((x, y) => Math.min(x, y));
    return `${label}: last ${format(known[known.length - 1])}, from ${format(least)} to ${
      format(highest)
    }`;
  }).join("; ");
}

/**
 * @param {{
 *   width: number, height: number, series: Series[], format: (value: number) => string,
 *   scale: { current: { from: number, to: number, marks: readonly { at: string }[] } },
 *   onPoint: (index: number | null) => void,
 * }} of
 * @returns {uPlot.Options}
 */
function options({ width, height, series, format, scale, onPoint }) {
  const colors = colorsOf([
    "series-1",
    "series-2",
    "series-3",
    "bad",
    "chart-grid",
    "faint",
    "warn",
  ]);
  const font = `11px "IBM Plex Sans", system-ui, sans-serif`;
  const axis = {
    stroke: colors.faint,
    font,
    ticks: { show: false },
    grid: { stroke: colors["chart-grid"], width: 1 },
  };
  return {
    width,
    height,
    padding: [8, 14, 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: "time" },
      drag: { x: false, y: false },
      points: { size: 6, width: 2 },
      y: false,
    },
    scales: {
      x: { time: true, range: () => [scale.current.from / 1000, scale.current.to / 1000] },
      y: { range: (_, __, highest) => [0, highest > 0 ? highest * 1.15 : 1] },
    },
    axes: [
      {
        ...axis,
        size: 24,
        gap: 4,
        space: 64,
        grid: { show: false },
        values: (_, splits) => axisTimes(splits),
      },
      {
        ...axis,
        size: 56,
        gap: 6,
        space: 32,
        values: (self, splits) => {
          // If no figure is above 0, the scale is arbitrary, so label only its 0.
          const hasFigures = self.data.slice(1).some((column) => column.some((value) => value));
          return splits.map((value) => value === 0 ? "0" : hasFigures ? format(value) : "");
        },
      },
    ],
    series: [
      {},
      ...series.map(({ label, color, style = "line" }) => ({
        label,
        stroke: colors[color],
        width: style === "bars" ? 0 : 1.5,
        points: style === "dots"
          ? { show: true, size: 5, width: 0, fill: colors[color] }
          : { show: false },
        paths: style === "dots" ? () => null : style === "bars" ? bars : undefined,
        fill: style === "area"
          ? gradient(colors[color])
          : style === "bars"
          ? colors[color]
          : undefined,
      })),
    ],
    hooks: {
      setCursor: [(/** @type {uPlot} */ self) => onPoint(self.cursor.idx ?? null)],
      drawClear: [(/** @type {uPlot} */ self) => drawMarks(self, scale.current.marks, colors.warn)],
    },
  };
}

/**
 * Draws a dashed line at the time of each event.
 *
 * @param {uPlot} self @param {readonly { at: string }[]} marks @param {string} color
 */
function drawMarks({ ctx, bbox, valToPos }, marks, color) {
  ctx.save();
  ctx.strokeStyle = color;
  ctx.lineWidth = 1;
  ctx.setLineDash([3, 3]);
  for (const { at } of marks) {
    const x = Math.round(valToPos(Date.parse(at) / 1000, "x", true)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

const bars = uPlot.paths.bars?.({ size: [0.7, 8, 1] });

/**
 * Formats the times of an axis to the minute or, if they are less than a minute apart, to the second.
 *
 * @param {number[]} splits seconds since 1970
 */
function axisTimes(splits) {
  if (splits.length > 1 && splits[1] - splits[0] >= 86_400) {
    return splits.map((seconds) => day(seconds * 1000));
  }
  const digits = splits.length > 1 && splits[1] - splits[0] < 60 ? 8 : 5;
  return splits.map((seconds) => clock(seconds * 1000).slice(0, digits));
}

/** Returns a fill of this color that fades towards the axis. @param {string} color */
function gradient(color) {
  return (/** @type {uPlot} */ self) => {
    const { top, height } = self.bbox;
    const fill = self.ctx.createLinearGradient(0, top, 0, top + height);
    fill.addColorStop(0, withAlpha(color, 0.28));
    fill.addColorStop(1, withAlpha(color, 0));
    return fill;
  };
}
