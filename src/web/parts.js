// Small components that the views share: cards, health marks, ids, meters, notes.

import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { writeClipboard } from "./clipboard.js";
import { Icon } from "./icons.js";
import { shortId } from "./format.js";

/** @typedef {import("preact").ComponentChildren} Children */
/** @typedef {import("./hooks.js").Timer} Timer */
/** @typedef {"ok" | "warn" | "bad" | "accent" | "dim"} Tone */

/**
 * A framed section with a heading.
 *
 * @param {{ title: string, id: string, level?: 2 | 3, note?: Children, actions?: Children, children?: Children, class?: string }} props
 */
export function Card({ title, id, level = 2, note, actions, children, class: name = "" }) {
  return h(
    "section",
    { class: `card ${name}`, "aria-labelledby": id },
    h(
      "header",
      { class: "card-head" },
      h(`h${level}`, { id, tabIndex: -1 }, title),
      note !== undefined && h("p", { class: "card-note" }, note),
      actions !== undefined && h("div", { class: "card-actions" }, actions),
    ),
    children,
  );
}

/** @type {Record<string, { tone: Tone, label: string }>} */
const HEALTH = {
  healthy: { tone: "ok", label: "Healthy" },
  degraded: { tone: "warn", label: "Degraded" },
  unhealthy: { tone: "bad", label: "Unhealthy" },
  gone: { tone: "dim", label: "Gone" },
};

/** A peer's health as a shape, a color and a word. @param {{ health: string }} props */
export function Health({ health }) {
  const { tone, label } = HEALTH[health] ?? { tone: "dim", label: health };
  return h("span", { class: `mark mark-${health} tone-${tone}` }, label);
}

/** A highlighted word. @param {{ tone: Tone, children?: Children }} props */
export function Badge({ tone, children }) {
  return h("span", { class: `badge tone-${tone}` }, children);
}

/** A button that copies a text and confirms it briefly. @param {{ text: string, what: string }} props */
export function Copy({ text, what }) {
  const [done, setDone] = useState(false);
  const timer = useRef(/** @type {Timer | undefined} */ (undefined));
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    if (!await writeClipboard(text)) return;
    setDone(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(false), 1500);
  };
  return h(
    "button",
    {
      type: "button",
      class: `icon-button small ${done ? "done" : ""}`,
      "aria-label": done ? `Copied ${what}` : `Copy ${what}`,
      title: done ? "Copied" : `Copy ${what}`,
      onClick: copy,
    },
    h(Icon, { name: done ? "check" : "copy", size: 14 }),
  );
}

/** A complete id with a copy button. The id may be wrapped. @param {{ id: string, what: string }} props */
export function FullId({ id, what }) {
  return h("span", { class: "full-id" }, h("code", null, id), h(Copy, { text: id, what }));
}

/** A link to a peer's page, labelled with the first digits of its id. @param {{ id: string }} props */
export function PeerLink({ id }) {
  return h("a", { class: "id", href: `#/peers/${id}`, title: id }, shortId(id));
}

/** A distance as a power of two. @param {{ bits: number | string }} props */
export function Power({ bits }) {
  return h("span", { class: "power" }, "2", h("sup", null, bits));
}

/**
 * A bar that shows a share. The text next to it gives the number.
 *
 * @param {{ share: number, tone?: Tone, label: string }} props
 */
export function Meter({ share, tone = "accent", label }) {
  const percent = Math.round(Math.min(1, Math.max(0, share)) * 1000) / 10;
  return h(
    "span",
    {
      class: `meter tone-${tone}`,
      role: "meter",
      "aria-label": label,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": percent,
    },
    h("span", { class: "meter-fill", style: { width: `${percent}%` } }),
  );
}

/** A placeholder for an empty list. @param {{ icon: string, title: string, children?: Children }} props */
export function Empty({ icon, title, children }) {
  return h(
    "div",
    { class: "empty" },
    h(Icon, { name: icon, size: 28 }),
    h("p", { class: "empty-title" }, title),
    children !== undefined && h("div", { class: "empty-text" }, children),
  );
}

/**
 * A `ref` that gives the focus to its element, because the element replaces another one that had the focus.
 *
 * @param {HTMLElement | null} element
 */
function takeFocus(element) {
  element?.focus();
}

/**
 * A button that asks for confirmation before it acts. The focus moves to "Cancel", and back to the button if the user
 * cancels.
 *
 * @param {{ action: string, name: string, onConfirm: () => void }} props `name` names the thing that the action affects
 */
export function AskFirst({ action, name, onConfirm }) {
  const [state, setState] = useState(/** @type {"idle" | "asking" | "cancelled"} */ ("idle"));
  if (state !== "asking") {
    return h("button", {
      type: "button",
      class: "icon-button small",
      ref: state === "cancelled" ? takeFocus : undefined,
      "aria-label": `${action} ${name}`,
      title: action,
      onClick: () => setState("asking"),
    }, h(Icon, { name: "forget", size: 15 }));
  }
  const cancel = () => setState("cancelled");
  return h(
    "span",
    { class: "confirm" },
    h("button", { type: "button", class: "danger small", onClick: onConfirm }, action),
    h("button", { type: "button", class: "small", ref: takeFocus, onClick: cancel }, "Cancel"),
  );
}

/**
 * A list from the API, or the reason why there is none.
 *
 * @param {{ isBarred: boolean, what: string, error: string | null, total: number | null, empty: Children, draw: () => Children }} props
 * `total` is null until the list has arrived
 */
export function Listing({ isBarred, what, error, total, empty, draw }) {
  if (isBarred) return h(Empty, { icon: "key", title: `Enter the API token to see ${what}` });
  if (total !== null) return total === 0 ? empty : draw();
  return error === null
    ? h("p", { class: "loading" }, "Loading…")
    : h(Note, { tone: "warn" }, error);
}

/**
 * A field of a form with its label, a hint, and the reason why its text is wrong.
 *
 * @param {{
 *   label: string, id: string, value: string, onChange: (value: string) => void, hint?: string, error?: string | null,
 *   class?: string, placeholder?: string, inputMode?: "numeric", autocapitalize?: "off",
 * }} props
 */
export function Field({ label, id, value, onChange, hint, error = null, ...rest }) {
  const errorId = `${id}-wrong`;
  return h(
    "div",
    { class: "field-frame" },
    h(
      "label",
      { class: "field" },
      h("span", null, label, hint === undefined ? null : [" ", h("small", null, hint)]),
      h("input", {
        spellcheck: false,
        autocomplete: "off",
        ...rest,
        value,
        "aria-invalid": error === null ? undefined : "true",
        "aria-describedby": error === null ? undefined : errorId,
        onInput: (/** @type {InputEvent & { currentTarget: HTMLInputElement }} */ event) =>
          onChange(event.currentTarget.value),
      }),
    ),
    error !== null && h("p", { class: "field-error", id: errorId }, error),
  );
}

/** A highlighted note. @param {{ tone: Tone, children?: Children }} props */
export function Note({ tone, children }) {
  return h(
    "div",
    { class: `note tone-${tone}` },
    h(Icon, { name: tone === "ok" ? "check" : "warning" }),
    h("div", null, children),
  );
}

/** @typedef {readonly [name: string, value: Children]} Fact */

/** @param {string} name @param {Children} value @returns {Fact} */
export function fact(name, value) {
  return [name, value];
}

/** A list of names and values. @param {{ rows: readonly (Fact | null)[], class?: string }} props */
export function Facts({ rows, class: name = "" }) {
  return h(
    "dl",
    { class: `facts ${name}` },
    rows.filter((row) => row !== null).map(([term, value]) =>
      h("div", { key: term }, h("dt", null, term), h("dd", null, value))
    ),
  );
}

/**
 * @template {string} V
 * @typedef {object} ChoiceProps
 * @property {string} label
 * @property {readonly (readonly [V, Children])[]} options
 * @property {V} value
 * @property {(value: V) => void} onChoose
 */

/**
 * A row of buttons to choose one option. This is a plain function, not a component, because `h`
 * cannot infer the type of the options.
 *
 * @template {string} V
 * @param {ChoiceProps<V>} props
 */
export function choice(props) {
  return h(/** @type {import("preact").FunctionComponent<ChoiceProps<V>>} */ (Choice), props);
}

/**
 * @template {string} V
 * @param {ChoiceProps<V>} props
 */
function Choice({ label, options, value, onChoose }) {
  return h(
    "div",
    { class: "choice", role: "group", "aria-label": label },
    options.map(([option, text]) =>
      h("button", {
        key: option,
        type: "button",
        "aria-pressed": option === value ? "true" : "false",
        onClick: () => onChoose(option),
      }, text)
    ),
  );
}
