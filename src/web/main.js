// Starts the page: the state, the session that feeds it, and drawing at a measured pace.

import { h, render } from "preact";
import { App } from "./app.js";
import { NodeState } from "./node_state.js";
import { Session } from "./session.js";
import { Stores } from "./views/values.js";

/** However many events come, the page is drawn so often at most. */
const DRAW_EVERY_MS = 200;

const state = new NodeState();
const session = new Session(state);
const stores = new Stores();
const root = /** @type {HTMLElement} */ (document.getElementById("app"));

let drawnAt = -Infinity, isWaiting = false;

function draw() {
  isWaiting = false;
  drawnAt = performance.now();
  render(h(App, { state, session, stores }), root);
}

function drawSoon() {
  if (isWaiting) return;
  isWaiting = true;
  const wait = Math.max(0, drawnAt + DRAW_EVERY_MS - performance.now());
  // No frames come while nobody looks: what is drawn then is what there is when somebody does again.
  setTimeout(() => requestAnimationFrame(draw), wait);
}

root.replaceChildren();
draw();
state.onChange(drawSoon);
session.start();
