// The feed of events, with filter, search and pause.

import { h } from "preact";
import { useMemo, useState } from "preact/hooks";
import { EventList } from "../event_list.js";
import { json } from "../api.js";
import { describeEvent, kindOf, KINDS, typesOfKinds } from "../event_text.js";
import { count, plural } from "../format.js";
import { useAnswer, usePaced, useParameter } from "../hooks.js";
import { Icon } from "../icons.js";
import { jsonText } from "../json.js";
import { NOT_IN_FEED } from "../node_state.js";
import { Card, Empty } from "../parts.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../event_text.js").Kind} Kind */
/** @typedef {NodeState["feed"]} Feed */

/** The number of rows drawn at first, and added each time the user presses the button. */
const SHOWN = 120;

/** The page requests at most this many events that match a filter. */
const MAX_FOUND = 500;

/** While the user types, the page sends requests at most this often. */
const SEARCH_INTERVAL_MS = 400;

/** How often, at most, the page asks again for events that the feed has dropped. */
const REFRESH_INTERVAL_MS = 10_000;

/** @param {{ state: NodeState }} props */
export function Events({ state }) {
  const [listed, setListed] = useParameter("kinds", KINDS.join());
  const kinds = useMemo(
    () => new Set(KINDS.filter((kind) => listed.split(",").includes(kind))),
    [listed],
  );
  const [text, setText] = useParameter("q");
  const [pausedFeed, setPausedFeed] = useState(/** @type {Feed | null} */ (null));
  const [limit, setLimit] = useState(SHOWN);
  const feed = pausedFeed ?? state.feed;
  const older = useOlderEvents(state, kinds, text);
  const fitting = useMemo(
    () => withOlder(filterEvents(feed, kinds, text), older, feed.at(-1)?.id),
    [pausedFeed ?? state.versions.feed, kinds, text, older],
  );
  const lastShown = pausedFeed?.at(-1)?.serial ?? -1;
  const waiting = pausedFeed === null
    ? 0
    : state.feed.filter(({ serial }) => serial > lastShown).length;
  const toggle = (/** @type {Kind} */ kind) => {
    const next = new Set(kinds);
    if (!next.delete(kind)) next.add(kind);
    setListed(KINDS.filter((each) => next.has(each)).join());
  };
  return h(
    Card,
    {
      title: "Feed",
      id: "feed-title",
      class: "events-view",
      note: state.isBarred
        ? "Enter the API token to see events"
        : state.phase === "polling"
        ? "No events arrive"
        : pausedFeed !== null
        ? `Paused, ${waiting === 0 ? "no" : count(waiting)} new ${
          waiting === 1 ? "event" : "events"
        }`
        : state.forgotten > 0
        ? `Latest ${plural(state.feed.length, "event")}`
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
            "aria-pressed": pausedFeed === null ? "false" : "true",
            onClick: () => setPausedFeed(pausedFeed === null ? state.feed.slice() : null),
          },
          h(Icon, { name: pausedFeed === null ? "pause" : "play" }),
          pausedFeed === null ? "Pause" : "Resume",
        ),
        h("button", {
          type: "button",
          disabled: state.feed.length === 0,
          onClick: () => {
            setPausedFeed(null);
            state.clearFeed();
          },
        }, "Clear"),
      ),
    ),
    fitting.length === 0
      ? h(
        Empty,
        {
          icon: "events",
          title: feed.length === 0 ? "Nothing has happened yet" : "No matching events",
        },
        feed.length === 0
          ? "Joining and leaving peers, stored values, lookups and changes of the node appear here."
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

/**
 * Requests all matching events from the node's log, because the feed contains only the latest
 * events of all kinds. Without a filter, sends no request.
 *
 * @param {NodeState} state @param {ReadonlySet<Kind>} kinds @param {string} text @returns {Feed}
 */
function useOlderEvents(state, kinds, text) {
  const isFiltered = kinds.size < KINDS.length || text.trim() !== "";
  const query = new URLSearchParams({
    types: typesOfKinds(kinds),
    q: text.trim(),
    limit: `${MAX_FOUND}`,
  });
  const question = isFiltered && kinds.size > 0 ? `/network/events?${query}` : null;
  const asked = usePaced(question, SEARCH_INTERVAL_MS);
  // Events that the feed has dropped are asked for again, but not for each of them.
  const forgotten = usePaced(state.forgotten, REFRESH_INTERVAL_MS);
  const { result } = useAnswer(asked, (signal) => json(asked ?? "", { signal }), forgotten);
  return useMemo(() => {
    /** @type {import("../live.js").LiveEvent[]} */
    const events = asked === question ? result?.events ?? [] : [];
    return events.filter(({ type }) => !NOT_IN_FEED.has(type)).map((event) => ({
      ...event,
      serial: Number(event.id),
      time: Date.parse(event.at),
    }));
  }, [result, asked === question]);
}

/**
 * Adds the node's events to those of the feed, newest first. A paused feed gets none that is newer than its newest one.
 * All of these events have ids.
 *
 * @param {Feed} found @param {Feed} older @param {number | null | undefined} newest
 */
function withOlder(found, older, newest) {
  const ids = new Set(found.map(({ id }) => id));
  const isMissing = (/** @type {Feed[number]} */ { id }) =>
    !ids.has(id) && Number(id) <= (newest ?? Infinity);
  return [...found, ...older.filter(isMissing)].sort((x, y) => Number(y.id) - Number(x.id));
}

/** Returns the matching events, newest first. @param {Feed} feed @param {ReadonlySet<Kind>} kinds @param {string} text */
export function filterEvents(feed, kinds, text) {
  const wanted = text.trim().toLowerCase();
  return feed.filter((event) => {
    if (!kinds.has(kindOf(event.type))) return false;
    if (wanted === "") return true;
    return event.type.includes(wanted) ||
      describeEvent(event).text.toLowerCase().includes(wanted) ||
      jsonText(event.data).toLowerCase().includes(wanted);
  }).reverse();
}
