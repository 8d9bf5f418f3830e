// A list of events, newest first.

import { h } from "preact";
import { clock } from "./format.js";
import { describeEvent } from "./event_text.js";
import { jsonText } from "./json.js";
import { Badge } from "./parts.js";

/** @typedef {import("./node_state.js").NodeState["feed"][number]} FeedEvent */

/** @param {{ events: readonly FeedEvent[], withData?: boolean }} props */
export function EventList({ events, withData = false }) {
  return h(
    "ol",
    { class: "event-list", role: "list" },
    events.map((event) => h(EventRow, { key: event.serial, event, withData })),
  );
}

/** @param {{ event: FeedEvent, withData: boolean }} props */
function EventRow({ event, withData }) {
  const { tone, text, link } = describeEvent(event);
  const line = [
    h("time", { dateTime: event.at, title: event.at }, clock(event.time)),
    h("span", { class: "event-type" }, h(Badge, { tone }, event.type)),
    h(
      "span",
      { class: "event-text" },
      link !== null && h("a", { class: "id", href: link.href }, link.label),
      link !== null && " ",
      text,
    ),
  ];
  if (!withData) return h("li", { class: "event" }, line);
  return h(
    "li",
    { class: "event with-data" },
    line,
    h(
      "details",
      null,
      h("summary", { "aria-label": `Data of ${event.type}` }, "data"),
      h("pre", null, jsonText(event.data, 2)),
    ),
  );
}
