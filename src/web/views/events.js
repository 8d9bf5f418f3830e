// The feed of events: filtered, searched, paused.

import { h } from "preact";
import { useMemo, useState } from "preact/hooks";
import { EventList } from "../event_list.js";
import { describeEvent, kindOf, KINDS } from "../event_text.js";
import { count, plural } from "../format.js";
import { Icon } from "../icons.js";
import { Card, Empty } from "../parts.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../event_text.js").Kind} Kind */
/** @typedef {NodeState["feed"]} Feed */

/** Rows that are drawn; more of them by a button. */
const SHOWN = 120;

/** @param {{ state: NodeState }} props */
export function Events({ state }) {
  const [kinds, setKinds] = useState(new Set(/** @type {Kind[]} */ ([...KINDS])));
  const [text, setText] = useState("");
  const [held, setHeld] = useState(/** @type {Feed | null} */ (null));
  const [limit, setLimit] = useState(SHOWN);
  const feed = held ?? state.feed;
  const fitting = useMemo(
    () => filterEvents(feed, kinds, text),
    [held ?? state.versions.feed, kinds, text],
  );
  const lastHeld = held?.at(-1)?.serial ?? -1;
  const waiting = held === null ? 0 : state.feed.filter(({ serial }) => serial > lastHeld).length;
  const toggle = (/** @type {Kind} */ kind) => {
    const next = new Set(kinds);
    if (!next.delete(kind)) next.add(kind);
    setKinds(next);
  };
  return h(
    Card,
    {
      title: "Feed",
      id: "feed-title",
      class: "events-view",
      note: state.phase === "polling"
        ? "Events come with a token alone"
        : held !== null
        ? `Paused; ${waiting === 0 ? "nothing" : count(waiting)} new since`
        : state.forgotten > 0
        ? `The latest ${count(state.feed.length)}`
        : undefined,
    },
    h(
      "div",
      { class: "toolbar" },
      h(
        "label",
        { class: "search" },
        h(Icon, { name: "search" }),
        h("span", { class: "visually-hidden" }, "Search events"),
        h("input", {
          type: "search",
          placeholder: "Id, address, reason",
          value: text,
          spellcheck: false,
          autocomplete: "off",
          onInput: (event) => setText(event.currentTarget.value),
        }),
      ),
      h(
        "div",
        { class: "choice", role: "group", "aria-label": "Kinds of events" },
        KINDS.map((kind) =>
          h("button", {
            key: kind,
            type: "button",
            "aria-pressed": kinds.has(kind) ? "true" : "false",
            onClick: () => toggle(kind),
          }, kind.charAt(0).toUpperCase() + kind.slice(1))
        ),
      ),
      h(
        "div",
        { class: "buttons" },
        h(
          "button",
          {
            type: "button",
            "aria-pressed": held === null ? "false" : "true",
            onClick: () => setHeld(held === null ? state.feed.slice() : null),
          },
          h(Icon, { name: held === null ? "pause" : "play" }),
          held === null ? "Pause" : "Go on",
        ),
        h("button", {
          type: "button",
          disabled: state.feed.length === 0,
          onClick: () => {
            setHeld(null);
            state.clearFeed();
          },
        }, "Clear"),
      ),
    ),
    fitting.length === 0
      ? h(
        Empty,
        { icon: "events", title: feed.length === 0 ? "Nothing has happened yet" : "No event fits" },
        feed.length === 0
          ? "Peers that come and go, values that are stored, lookups and what becomes of the node itself appear here."
          : null,
      )
      : h(EventList, { events: fitting.slice(0, limit), withData: true }),
    fitting.length > limit && h(
      "button",
      { type: "button", class: "more", onClick: () => setLimit(limit + SHOWN) },
      `Show ${plural(Math.min(SHOWN, fitting.length - limit), "older event")}`,
    ),
  );
}

/** Newest first. @param {Feed} feed @param {ReadonlySet<Kind>} kinds @param {string} text */
export function filterEvents(feed, kinds, text) {
  const wanted = text.trim().toLowerCase();
  return feed.filter((event) => {
    if (!kinds.has(kindOf(event.type))) return false;
    if (wanted === "") return true;
    return event.type.includes(wanted) ||
      describeEvent(event).text.toLowerCase().includes(wanted) ||
      JSON.stringify(event.data).toLowerCase().includes(wanted);
  }).reverse();
}
