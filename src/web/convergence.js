// The picture of a lookup: each query over time and distance, and a line for the closest node so far.

import { h } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ms, shortId } from "./format.js";
import { useSize, useStillness } from "./hooks.js";
import { distanceLog, ID_BITS } from "./ids.js";

/** @typedef {import("./node_state.js").Step} Step */

/** Duration of a replay. Lookups that were too fast to see are replayed slowly. */
const REPLAY_MS = 2_600;
/** Lookups that took longer than this are slow enough to watch, so they need no replay. */
const VISIBLE_MS = 1_200;

const HEIGHT = 320;
const MARGIN = { top: 20, right: 16, bottom: 34, left: 46 };

/** @typedef {Step & { bits: number, endMs: number | null }} PlacedStep */

/**
 * Adds the distance to the target and the end time to each step.
 *
 * @param {string} target @param {readonly Step[]} steps
 * @returns {PlacedStep[]}
 */
export function placeSteps(target, steps) {
  return steps.map((step) => ({
    ...step,
    // The id of a bootstrap node is unknown until it answers, so draw the node at the largest distance.
    bits: step.node_id === null ? ID_BITS : distanceLog(step.node_id, target),
    endMs: endOf(step),
  }));
}

/**
 * Returns the time at which the query ended: null if it is pending, Infinity if the time is unknown.
 *
 * @param {Step} step
 */
function endOf({ outcome, started_ms, rtt_ms, ended_ms = Infinity }) {
  if (outcome === "pending" || outcome === "late") return null;
  return rtt_ms === null ? ended_ms : started_ms + rtt_ms;
}

/**
 * Returns the distance of the closest node that has answered, over time, as the corners of a staircase.
 *
 * @param {readonly PlacedStep[]} steps
 */
export function closestSoFar(steps) {
  const answers = steps
    .filter(({ outcome, endMs }) => outcome === "responded" && endMs !== null)
    .sort((a, b) => (a.endMs ?? 0) - (b.endMs ?? 0));
  /** @type {{ atMs: number, bits: number }[]} */
  const corners = [];
  for (const { endMs, bits } of answers) {
    if (bits < (corners.at(-1)?.bits ?? Infinity)) corners.push({ atMs: endMs ?? 0, bits });
  }
  return corners;
}

/**
 * @param {{
 *   target: string, steps: readonly Step[], elapsedMs: number | null, runKey: unknown,
 *   pointed: string | null, onPoint: (address: string | null) => void,
 * }} props `elapsedMs` is null while the lookup runs. A new `runKey` means a new lookup.
 */
export function Convergence({ target, steps, elapsedMs, runKey, pointed, onPoint }) {
  const [frame, { width }] = useSize();
  const isStill = useStillness();
  const placed = useMemo(() => placeSteps(target, steps), [target, steps, steps.length, elapsedMs]);
  const [playhead, replay] = usePlayhead(elapsedMs, runKey, isStill);
  const last = Math.max(
    1,
    elapsedMs ?? 0,
    ...placed.map(({ started_ms, endMs }) =>
      endMs === null || endMs === Infinity ? started_ms : endMs
    ),
  );
  const scales = scalesFor(width, last, placed);
  // Failed queries are drawn first, so that answered ones stay on top.
  const visible = placed.filter(({ started_ms }) => started_ms <= playhead)
    .sort((a, b) => Number(a.outcome === "responded") - Number(b.outcome === "responded"));
  const corners = closestSoFar(visible.filter(({ endMs }) => endMs !== null && endMs <= playhead));
  const end = Math.min(last, playhead);
  return h(
    "div",
    { class: "convergence", ref: frame },
    width > 0 && h(
      "svg",
      {
        width,
        height: HEIGHT,
        role: "img",
        "aria-label": describe(placed, elapsedMs),
        onPointerLeave: () => onPoint(null),
      },
      h(Axes, { scales, width, last }),
      visible.map((step) =>
        h(StepMark, {
          key: `${step.address} ${step.started_ms}`,
          step,
          scales,
          playhead,
          end,
          isPointed: step.address === pointed,
          onPoint,
        })
      ),
      corners.length > 0 && h("path", { class: "staircase", d: staircase(corners, scales, end) }),
    ),
    h(
      "div",
      { class: "picture-foot" },
      h(
        "ul",
        { class: "legend" },
        [["responded", "answered, at this hop"], ["timeout", "no answer"], ["pending", "waiting"], [
          "best",
          "closest so far",
        ]]
          .map(([name, text]) =>
            h(
              "li",
              { key: name },
              h("span", { class: `key key-${name}`, "aria-hidden": "true" }),
              text,
            )
          ),
      ),
      elapsedMs !== null && !isStill &&
        h("button", { type: "button", class: "quiet", onClick: replay }, "Replay"),
    ),
  );
}

/**
 * The time in the lookup that the picture shows.
 *
 * @param {number | null} elapsedMs @param {unknown} runKey @param {boolean} isStill
 * @returns {[number, () => void]}
 */
function usePlayhead(elapsedMs, runKey, isStill) {
  const [playhead, setPlayhead] = useState(Infinity);
  const request = useRef(0);
  const shownRun = useRef(/** @type {unknown} */ (undefined));
  const play = (/** @type {number} */ total) => {
    cancelAnimationFrame(request.current);
    const begun = performance.now();
    const step = (/** @type {number} */ now) => {
      const share = Math.min(1, (now - begun) / REPLAY_MS);
      setPlayhead(share === 1 ? Infinity : share * total);
      if (share < 1) request.current = requestAnimationFrame(step);
    };
    step(begun);
  };
  useEffect(() => {
    if (elapsedMs === null) {
      cancelAnimationFrame(request.current);
      setPlayhead(Infinity);
      return;
    }
    if (shownRun.current === runKey) return;
    shownRun.current = runKey;
    if (!isStill && elapsedMs < VISIBLE_MS) play(elapsedMs);
    else setPlayhead(Infinity);
  }, [elapsedMs, runKey, isStill]);
  useEffect(() => () => cancelAnimationFrame(request.current), []);
  return [playhead, () => play(elapsedMs ?? 0)];
}

/**
 * @typedef {object} Scales
 * @property {(ms: number) => number} x
 * @property {(bits: number) => number} y
 * @property {number} lowest bits
 * @property {number} highest
 *
 * @param {number} width @param {number} last @param {readonly PlacedStep[]} steps
 * @returns {Scales}
 */
function scalesFor(width, last, steps) {
  const known = steps.filter(({ node_id }) => node_id !== null).map(({ bits }) => bits);
  const lowest = Math.floor(Math.min(ID_BITS - 4, ...known)),
    highest = Math.min(ID_BITS, Math.ceil(Math.max(lowest + 4, ...known)));
  const inner = {
    width: width - MARGIN.left - MARGIN.right,
    height: HEIGHT - MARGIN.top - MARGIN.bottom,
  };
  return {
    x: (at) => MARGIN.left + inner.width * Math.min(1, at / last),
    y: (bits) =>
      MARGIN.top + inner.height * (highest - Math.min(highest, bits)) / (highest - lowest),
    lowest,
    highest,
  };
}

/** @param {{ scales: Scales, width: number, last: number }} props */
function Axes({ scales: { x, y, lowest, highest }, width, last }) {
  const every = Math.max(1, Math.ceil((highest - lowest) / 6));
  const lines = [];
  for (let bits = Math.ceil(lowest / every) * every; bits <= highest; bits += every) {
    lines.push(bits);
  }
  const tick = niceStep(last / 5);
  const times = Array.from({ length: Math.floor(last / tick) + 1 }, (_, i) => i * tick);
  return h(
    "g",
    { class: "axes", "aria-hidden": "true" },
    lines.map((bits) =>
      h(
        "g",
        { key: bits },
        h("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(bits), y2: y(bits) }),
        h(
          "text",
          { x: MARGIN.left - 8, y: y(bits) + 4, "text-anchor": "end" },
          `2`,
          h("tspan", { dy: -4, "font-size": 9 }, bits),
        ),
      )
    ),
    times.map((at, i) =>
      h("text", {
        key: i,
        x: x(at),
        y: HEIGHT - 12,
        "text-anchor": i === 0 ? "start" : x(at) > width - 40 ? "end" : "middle",
      }, at === 0 ? "0" : tickText(at))
    ),
    h(
      "text",
      { class: "axis-name", x: width - MARGIN.right, y: y(highest) - 5, "text-anchor": "end" },
      "farther from the target",
    ),
    h("text", {
      class: "axis-name",
      x: width - MARGIN.right,
      y: y(lowest) - 5,
      "text-anchor": "end",
    }, "nearer"),
  );
}

/** Returns the smallest number not below `lowest` that is 1, 2 or 5 times a power of ten. @param {number} lowest */
function niceStep(lowest) {
  const power = 10 ** Math.floor(Math.log10(lowest));
  return power * ([1, 2, 5, 10].find((step) => step * power >= lowest) ?? 10);
}

/** @param {number} at milliseconds */
function tickText(at) {
  return at >= 1000 ? `${+(at / 1000).toFixed(2)} s` : `${+at.toFixed(2)} ms`;
}

/** @param {{ step: PlacedStep, scales: Scales, playhead: number, end: number, isPointed: boolean, onPoint: (address: string | null) => void }} props */
function StepMark({ step, scales: { x, y }, playhead, end, isPointed, onPoint }) {
  const isOver = step.endMs !== null && step.endMs <= playhead;
  const outcome = isOver ? step.outcome : "pending";
  const from = x(step.started_ms), to = x(isOver ? step.endMs ?? end : end), height = y(step.bits);
  return h(
    "g",
    {
      class: `step step-${outcome} ${isPointed ? "pointed" : ""}`,
      onPointerEnter: () => onPoint(step.address),
    },
    h("line", { class: "hit", x1: from, x2: Math.max(to, from + 8), y1: height, y2: height }),
    h("line", { class: "flight", x1: from, x2: to, y1: height, y2: height }),
    h("circle", { class: "start", cx: from, cy: height, r: 2 }),
    isOver &&
      (outcome === "responded"
        ? h(
          "g",
          null,
          h("circle", { class: "answer", cx: to, cy: height, r: isPointed ? 9 : 7.5 }),
          h(
            "text",
            { class: "answer-hop", x: to, y: height + 3.5, "text-anchor": "middle" },
            step.hop,
          ),
        )
        : h("path", { class: "failure", d: `M${to - 4} ${height - 4}l8 8m0 -8l-8 8` })),
    isPointed && h(
      "text",
      {
        class: "step-name",
        x: to > 320 ? to - 14 : to + 14,
        y: height - 9,
        "text-anchor": to > 320 ? "end" : "start",
      },
      `${step.node_id === null ? step.address : shortId(step.node_id)} · hop ${step.hop} · ${
        ms(step.rtt_ms)
      }`,
    ),
  );
}

/** @param {readonly { atMs: number, bits: number }[]} corners @param {Scales} scales @param {number} end */
function staircase(corners, { x, y }, end) {
  const [first, ...rest] = corners;
  const steps = rest.map(({ atMs, bits }) => `H${x(atMs)}V${y(bits)}`);
  return `M${x(first.atMs)} ${y(first.bits)}${steps.join("")}H${x(end)}`;
}

/** @param {readonly PlacedStep[]} steps @param {number | null} elapsedMs */
function describe(steps, elapsedMs) {
  const corners = closestSoFar(steps);
  if (corners.length === 0) {
    return elapsedMs === null ? "The lookup has started." : "No node answered.";
  }
  const first = corners[0].bits.toFixed(1), last = corners[corners.length - 1].bits.toFixed(1);
  return `Distance to the target over time: the closest node that answered went from 2 to the power of ${first} to ` +
    `2 to the power of ${last}${
      elapsedMs === null ? " so far" : ` within ${ms(elapsedMs)}`
    }, with ${steps.length} queries. ` +
    "The table below has each of them.";
}
