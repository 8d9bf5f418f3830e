// Starts the page: its state, the session that updates it, and drawing at a limited rate.

import { h, render } from "preact";
import { App } from "./app.js";
import { NodeState } from "./node_state.js";
import { Session } from "./session.js";

/** The shortest time between two redraws, even if many events arrive. */
const DRAW_EVERY_MS = 200;

const state = new NodeState();
const session = new Session(state);
const root = /** @type {HTMLElement} */ (document.getElementById("app"));

let drawnAt = -Infinity, isWaiting = false;

function draw() {
  isWaiting = false;
  drawnAt = performance.now();
  render(h(App, { state, session }), root);
}

function drawSoon() {
  if (isWaiting) return;
  isWaiting = true;
  const wait = Math.max(0, drawnAt + DRAW_EVERY_MS - performance.now());
  // The browser requests no frames from a hidden page. The page draws its current state when it
  // becomes visible again.
  setTimeout(() => requestAnimationFrame(draw), wait);
}

root.replaceChildren();
draw();
state.onChange(drawSoon);
session.start();

// Prevent the browser from replacing the page by a file that is dropped outside a drop zone.
for (const type of /** @type {const} */ (["dragover", "drop"])) {
  addEventListener(type, (event) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
    event.dataTransfer.dropEffect = "none";
    event.preventDefault();
  });
}
