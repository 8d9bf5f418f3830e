// Values: storing files and text, fetching by hash, and the values that this node publishes.

import { h } from "preact";
import { FetchCard } from "../fetch_form.js";
import { PublishedCard } from "./published.js";
import { StoreCard } from "./store.js";

/** @param {{ state: import("../node_state.js").NodeState, now: number }} props */
export function Values({ state, now }) {
  return h(
    "div",
    { class: "values-view" },
    h(StoreCard, { state }),
    h(FetchCard, { hash: null }),
    h(PublishedCard, { state, now }),
  );
}
