// The map of the id space: a ring for each bucket, a dot for each peer, the node in the centre.

import { h } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { colorsOf, useTheme, withAlpha } from "./appearance.js";
import { ms, plural, shortId } from "./format.js";
import { useSize, useStillness } from "./hooks.js";
import { dotAt, layoutPeers } from "./map_layout.js";
import { Health } from "./parts.js";

/** @typedef {import("./map_layout.js").Dot} Dot */
/** @typedef {import("./node_state.js").NodeState} NodeState */

/** The time for which the map highlights a peer that joined or changed. */
const STIRRED_MS = 1_400;
/** The pointer selects a dot if it is at most this far away, in CSS pixels. */
const REACH_PX = 14;
/** Up to this number of peers, dots have their full size. Above it, dots are smaller. */
const FULL_SIZE = 150;

const COLORS = /** @type {const} */ ([
  "ok",
  "warn",
  "bad",
  "accent",
  "text",
  "faint",
  "line-strong",
  "panel",
]);

/**
 * @param {{
 *   state: NodeState, bucket?: number | null, pointed?: string | null, onPoint?: (id: string | null) => void,
 * }} props `bucket` is highlighted. `pointed` is the id of a peer that is highlighted elsewhere on the page.
 */
export function PeerMap(
  { state, bucket = null, pointed = null, onPoint = () => {} },
) {
  const [frame, { width }] = useSize();
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [picked, setPicked] = useState(/** @type {string | null} */ (null));
  const [hasFocus, setHasFocus] = useState(false);
  const { theme } = useTheme();
  const isStill = useStillness();
  const own = state.stats?.node_id ?? "0".repeat(40);
  const { dots, rings } = useMemo(
    () => layoutPeers(own, state.peers.values()),
    [own, state.versions.peers],
  );
  const size = Math.max(0, Math.min(width, 520)), middle = size / 2, scale = middle - 14;
  const shown = dots.find(({ peer }) => peer.node_id === (picked ?? pointed)) ?? null;

  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!canvas.current || !context || size === 0) return;
    const ratio = globalThis.devicePixelRatio || 1;
    canvas.current.width = canvas.current.height = Math.round(size * ratio);
    const colors = colorsOf(COLORS);
    let frameRequest = 0;
    const draw = () => {
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      const moving = paint(context, {
        size,
        scale,
        dots,
        rings,
        bucket,
        shown,
        colors,
        stirred: isStill ? new Map() : state.stirred,
      });
      if (moving) frameRequest = requestAnimationFrame(draw);
    };
    draw();
    return () => cancelAnimationFrame(frameRequest);
  }, [dots, rings, size, theme, bucket, shown, isStill]);

  const point = (/** @type {Dot | null} */ dot) => {
    const id = dot?.peer.node_id ?? null;
    if (id === picked) return;
    setPicked(id);
    onPoint(id);
  };
  const dotUnder = (/** @type {PointerEvent | MouseEvent} */ event) => {
    const box = canvas.current?.getBoundingClientRect();
    if (box === undefined) return null;
    const x = (event.clientX - box.left - middle) / scale;
    const y = (event.clientY - box.top - middle) / scale;
    return dotAt(dots, { x, y }, REACH_PX / scale);
  };
  const open = (/** @type {Dot | null} */ dot) => {
    if (dot !== null) location.hash = `#/peers/${dot.peer.node_id}`;
  };
  const keys = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const at = dots.findIndex(({ peer }) => peer.node_id === picked);
    if (step !== undefined && dots.length > 0) {
      point(dots[at === -1 ? 0 : (at + step + dots.length) % dots.length]);
    } else if (event.key === "Home") point(dots[0] ?? null);
    else if (event.key === "End") point(dots.at(-1) ?? null);
    else if (event.key === "Enter") open(dots[at] ?? null);
    else if (event.key === "Escape") point(null);
    else return;
    event.preventDefault();
  };
  return h(
    "div",
    { class: "map", ref: frame },
    h(
      "div",
      { class: "map-area", style: { width: `${size}px`, height: `${size}px` } },
      h("canvas", {
        ref: canvas,
        class: "map-canvas",
        style: { width: `${size}px`, height: `${size}px` },
        tabIndex: 0,
        role: "application",
        "aria-roledescription": "map of peers",
        "aria-label":
          `${
            plural(dots.length, "peer")
          } around this node. Use the arrow keys to move between peers and ` +
          "Enter to open one. The table on the Peers page lists the same peers.",
        onPointerMove: (/** @type {PointerEvent} */ event) => point(dotUnder(event)),
        onPointerLeave: () => point(null),
        onClick: (/** @type {MouseEvent} */ event) => open(dotUnder(event)),
        onKeyDown: keys,
        onFocus: () => setHasFocus(true),
        onBlur: () => {
          setHasFocus(false);
          point(null);
        },
      }),
      shown !== null && picked !== null &&
        h(Tip, { dot: shown, middle, scale, size }),
    ),
    h(
      "p",
      { class: "visually-hidden", role: "status" },
      hasFocus && shown !== null
        ? `${shortId(shown.peer.node_id)}, ${shown.peer.health}, ${
          ms(shown.peer.rtt_ms)
        }, bucket ${shown.bucket}`
        : "",
    ),
  );
}

/** The tooltip of a dot. @param {{ dot: Dot, middle: number, scale: number, size: number }} props */
function Tip({ dot: { peer, bucket, x, y }, middle, scale, size }) {
  const left = middle + x * scale, top = middle + y * scale;
  return h(
    "div",
    {
      class: `tip ${left > size / 2 ? "tip-left" : ""} ${top > size / 2 ? "tip-above" : ""}`,
      style: { left: `${left}px`, top: `${top}px` },
    },
    h("b", { class: "id" }, shortId(peer.node_id)),
    h(Health, { health: peer.health }),
    h("span", null, peer.address),
    h("span", null, `${ms(peer.rtt_ms)} · score ${peer.score.toFixed(2)} · bucket ${bucket}`),
  );
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{
 *   size: number, scale: number, dots: readonly Dot[], rings: readonly import("./map_layout.js").Ring[],
 *   bucket: number | null, shown: Dot | null, colors: Record<typeof COLORS[number], string>,
 *   stirred: ReadonlyMap<string, number>,
 * }} picture
 * @returns {boolean} whether an animation is still running
 */
function paint(context, { size, scale, dots, rings, bucket, shown, colors, stirred }) {
  const middle = size / 2, full = 2 * Math.PI, now = Date.now();
  context.clearRect(0, 0, size, size);
  for (const ring of rings) {
    const isSetOff = ring.bucket === bucket;
    context.beginPath();
    context.arc(middle, middle, ring.radius * scale, 0, full);
    context.strokeStyle = isSetOff ? colors.accent : colors["line-strong"];
    context.lineWidth = isSetOff ? 2 : 1;
    context.setLineDash(ring.peers > 0 ? [] : [3, 4]);
    context.stroke();
  }
  context.setLineDash([]);
  if (shown !== null) {
    context.beginPath();
    context.moveTo(middle, middle);
    context.lineTo(middle + shown.x * scale, middle + shown.y * scale);
    context.strokeStyle = colors.accent;
    context.lineWidth = 1.5;
    context.stroke();
  }
  paintNode(context, middle, colors);
  const shrink = Math.min(1, Math.max(0.5, Math.sqrt(FULL_SIZE / Math.max(1, dots.length))));
  let moving = false;
  for (const dot of dots) {
    const { peer, x, y } = dot;
    const px = middle + x * scale, py = middle + y * scale;
    const radius = (2.6 + 3.8 * peer.score) * shrink;
    const tone = peer.health === "healthy"
      ? colors.ok
      : peer.health === "degraded"
      ? colors.warn
      : colors.bad;
    const age = now - (stirred.get(peer.node_id) ?? -Infinity);
    if (age < STIRRED_MS) {
      moving = true;
      context.beginPath();
      context.arc(px, py, radius + 18 * age / STIRRED_MS, 0, full);
      context.strokeStyle = withAlpha(tone, 0.8 * (1 - age / STIRRED_MS));
      context.lineWidth = 1.5;
      context.stroke();
    }
    context.globalAlpha = bucket !== null && dot.bucket !== bucket ? 0.25 : 1;
    paintDot(context, {
      x: px,
      y: py,
      radius,
      health: peer.health,
      color: tone,
      ground: colors.panel,
    });
    context.globalAlpha = 1;
    if (dot === shown) {
      context.beginPath();
      context.arc(px, py, radius + 4, 0, full);
      context.strokeStyle = colors.text;
      context.lineWidth = 1.5;
      context.stroke();
    }
  }
  return moving;
}

/** Draws a peer: a disc if healthy, a ring if degraded, a cross if unhealthy. */
function paintDot(
  /** @type {CanvasRenderingContext2D} */ context,
  /** @type {{ x: number, y: number, radius: number, health: string, color: string, ground: string }} */
  { x, y, radius, health, color, ground },
) {
  context.beginPath();
  if (health === "unhealthy") {
    context.moveTo(x - radius, y - radius);
    context.lineTo(x + radius, y + radius);
    context.moveTo(x + radius, y - radius);
    context.lineTo(x - radius, y + radius);
    context.strokeStyle = color;
    context.lineWidth = 2;
    context.stroke();
    return;
  }
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = health === "healthy" ? color : ground;
  context.fill();
  context.strokeStyle = health === "healthy" ? ground : color;
  context.lineWidth = health === "healthy" ? 1 : 2;
  context.stroke();
}

/** Draws this node in the centre. */
function paintNode(
  /** @type {CanvasRenderingContext2D} */ context,
  /** @type {number} */ middle,
  /** @type {Record<typeof COLORS[number], string>} */ colors,
) {
  context.fillStyle = withAlpha(colors.accent, 0.18);
  context.beginPath();
  context.arc(middle, middle, 15, 0, 2 * Math.PI);
  context.fill();
  context.fillStyle = colors.accent;
  context.beginPath();
  context.moveTo(middle, middle - 7);
  context.lineTo(middle + 7, middle);
  context.lineTo(middle, middle + 7);
  context.lineTo(middle - 7, middle);
  context.closePath();
  context.fill();
}
