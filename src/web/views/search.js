// The search: one box for ids, hashes, keys, names and addresses.

import { h } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { json } from "../api.js";
import { count } from "../format.js";
import { useAnswer, usePaced, useParameter } from "../hooks.js";
import { Icon } from "../icons.js";
import { Note } from "../parts.js";
import {
  furtherGroup,
  localResults,
  MAX_RESULTS,
  normalized,
  swarmsGroup,
  valuesGroup,
} from "../search.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../../reports/values.ts").Published} Published */
/** @typedef {import("../../reports/swarms.ts").AnnouncedSwarms} AnnouncedSwarms */

/** While the user types, the page sends requests at most this often. */
const ASK_INTERVAL_MS = 250;

/** Maximum number of characters of a text for which the node searches. */
const MAX_TEXT = 200;

/** The keys that move the focus between the results. @type {Record<string, number>} */
const STEPS = { ArrowDown: 1, ArrowUp: -1 };

/** @param {{ state: NodeState }} props */
export function Search({ state }) {
  const [text, setText] = useParameter("q");
  const view = useRef(/** @type {HTMLDivElement | null} */ (null));
  const box = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => box.current?.focus({ preventScroll: true }), []);
  const asked = usePaced(text, ASK_INTERVAL_MS);
  // The node never needs the key of a sealed value, so a link stays in the browser.
  const isAsked = asked === text && text.trim() !== "" && !state.isBarred &&
    text.length <= MAX_TEXT && !normalized(text).startsWith("dm:");
  const answer = useAnswer(isAsked ? text.trim() : null, async (signal) => {
    const q = text.trim();
    const [published, swarms] = await Promise.all([
      /** @type {Promise<Published>} */ (
        json(`/network/published?${new URLSearchParams({ q, limit: `${MAX_RESULTS}` })}`, {
          signal,
        })
      ),
      /** @type {Promise<AnnouncedSwarms>} */ (json("/network/swarms", { signal })),
    ]);
    return [valuesGroup(published.published, published.total), swarmsGroup(swarms.swarms, q)];
  });
  const local = useMemo(() => localResults(state, text), [
    text,
    state.versions.peers,
    state.stats?.node_id,
  ]);
  const known = answer.result?.filter(({ total }) => total > 0) ?? [];
  const groups = normalized(text) === ""
    ? []
    : [...local.slice(0, 1), ...known, ...local.slice(1), furtherGroup(text)];
  const found = groups.slice(0, -1).reduce((sum, { total }) => sum + total, 0);
  const isSettled = isAsked ? !answer.busy : asked === text;
  const links = () => [...view.current?.querySelectorAll("a") ?? []];
  const keys = (/** @type {KeyboardEvent} */ event) => {
    const step = STEPS[event.key];
    if (step !== undefined) {
      const all = [box.current, ...links()];
      const at = all.findIndex((element) => element === document.activeElement);
      all[Math.max(0, Math.min(all.length - 1, at + step))]?.focus();
    } else if (event.key === "Escape" && document.activeElement !== box.current) {
      box.current?.focus();
    } else return;
    event.preventDefault();
  };
  return h(
    "div",
    { class: "search-view", ref: view, onKeyDown: keys },
    h(
      "form",
      {
        role: "search",
        onSubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          links()[0]?.click();
        },
      },
      h(
        "label",
        { class: "search search-wide" },
        h(Icon, { name: "search", size: 18 }),
        h("span", { class: "visually-hidden" }, "Search for an id, hash, key, name or address"),
        h("input", {
          ref: box,
          type: "search",
          placeholder: "Id, hash, key, name or address",
          value: text,
          spellcheck: false,
          autocomplete: "off",
          autocapitalize: "off",
          "aria-describedby": "search-help",
          onInput: (event) => setText(event.currentTarget.value),
        }),
      ),
    ),
    h(
      "p",
      { class: "muted", id: "search-help" },
      "Enter opens the first result. The arrow keys move between results.",
    ),
    h(
      "p",
      { class: "visually-hidden", role: "status" },
      groups.length === 0 || !isSettled ? "" : `${count(found)} found`,
    ),
    groups.length > 0 && !state.isBarred && !isSettled && answer.error === null &&
      h("p", { class: "loading" }, "Searching values and swarms…"),
    answer.error !== null &&
      h(Note, { tone: "warn" }, `Values and swarms were not searched. ${answer.error}`),
    groups.length > 0 && state.isBarred &&
      h(Note, { tone: "warn" }, "Enter the API token to search values and swarms too."),
    isSettled && found === 0 && groups.length > 0 && answer.error === null &&
      h(
        "p",
        { class: "search-none" },
        "Nothing that this node knows has this id, key, name or address.",
      ),
    groups.map(({ name, icon, results, total }) =>
      h(
        "section",
        { key: name, class: "search-group", "aria-label": name },
        h(
          "h2",
          null,
          name,
          total > results.length &&
            h("small", null, ` ${count(results.length)} of ${count(total)}`),
        ),
        h(
          "ul",
          null,
          results.map(({ title, detail, href }) =>
            h(
              "li",
              { key: href + title },
              h(
                "a",
                { href },
                h(Icon, { name: icon }),
                h("b", null, h("bdi", null, title)),
                h("span", null, h("bdi", null, detail)),
              ),
            )
          ),
        ),
      )
    ),
  );
}
