// The card of the values view that stores files and text.

import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { INCOMPLETE_LINK } from "../fetch_form.js";
import { bytes, date, ms, percent, plural } from "../format.js";
import { Icon } from "../icons.js";
import { Badge, Card, choice, Copy, Field, Meter } from "../parts.js";
import { newSealKey, parseSealLink, sealLink } from "../seal.js";
import { isOver, stores } from "../stores.js";
import { canSeal } from "../transfer.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../stores.js").Storing} Storing */

/** Maximum bytes of a key, which is the salt of a mutable item (BEP 44). */
const MAX_KEY_BYTES = 64;

/** The address of a value in the page. @param {string} hash @param {string | null} sealKey */
function valueAddress(hash, sealKey) {
  return `#/values/${hash}${sealKey === null ? "" : `?seal=${sealKey}`}`;
}

/** @param {{ state: NodeState }} props */
export function StoreCard({ state }) {
  const [kind, setKind] = useState(/** @type {"file" | "text"} */ ("file"));
  const [key, setKey] = useState("");
  const [text, setText] = useState("");
  const [isSealing, setSealing] = useState(true);
  const [link, setLink] = useState("");
  const [over, setOver] = useState(false);
  const [refusal, setRefusal] = useState("");
  const [, redraw] = useState(0);
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const maxSize = state.stats?.config?.max_value_size ?? Infinity;
  const keyBytes = new TextEncoder().encode(key).length;
  const isKeyLong = keyBytes > MAX_KEY_BYTES;
  const earlier = parseSealLink(link), takesLink = isSealing && key !== "";
  const isLinkWrong = takesLink && link.trim() !== "" && earlier === null;
  const isWrong = isKeyLong || isLinkWrong;
  const own = new Set(stores.list.map(({ label }) => label));
  // Stores that this page did not start: they come from another client, or from before the page was reloaded. After
  // they have ended, only stores from before a reload stay in the list.
  const others = [...state.transfers.values()].filter(({ direction, label, state }) =>
    direction === "store" && !own.has(label ?? "") &&
    (state === "receiving" || state === "moving" || label?.startsWith("page-"))
  );
  useEffect(() => {
    stores.onChange = () => redraw((n) => n + 1);
    return () => void (stores.onChange = () => {});
  }, []);
  const add = (/** @type {Blob} */ body, /** @type {string} */ name) => {
    setRefusal("");
    setKey("");
    setLink("");
    const sealKey = isSealing ? (takesLink ? earlier?.key : undefined) ?? newSealKey() : null;
    stores.add({ body, name, key, sealKey }, maxSize);
  };
  const take = (/** @type {FileList | null | undefined} */ files) => {
    if (isWrong || !files) return;
    if (key !== "" && files.length > 1) {
      return setRefusal("One key has one value. Choose one file, or clear the key.");
    }
    for (const file of files) add(file, file.name);
  };
  return h(
    Card,
    {
      title: "Store",
      id: "store-title",
      class: "store-card",
      actions: choice({
        label: "What to store",
        options: [["file", "Files"], ["text", "Text"]],
        value: kind,
        onChoose: setKind,
      }),
    },
    kind === "file"
      ? h(
        "div",
        {
          class: `drop ${over ? "over" : ""}`,
          onDragOver: (/** @type {DragEvent} */ event) => {
            event.preventDefault();
            setOver(true);
          },
          onDragLeave: () => setOver(false),
          onDrop: (/** @type {DragEvent} */ event) => {
            event.preventDefault();
            setOver(false);
            take(event.dataTransfer?.files);
          },
        },
        h(Icon, { name: "upload", size: 24 }),
        h(
          "p",
          null,
          "Drop files here, or ",
          h(
            "button",
            { type: "button", class: "link", onClick: () => input.current?.click() },
            "choose them",
          ),
        ),
        h("p", { class: "muted" }, `Up to ${bytes(maxSize)} each`),
        h("input", {
          ref: input,
          type: "file",
          multiple: true,
          class: "visually-hidden",
          tabIndex: -1,
          "aria-label": "Files to store",
          onChange: (event) => {
            take(event.currentTarget.files);
            event.currentTarget.value = "";
          },
        }),
      )
      : h(
        "form",
        {
          class: "text-form",
          onSubmit: (/** @type {Event} */ event) => {
            event.preventDefault();
            if (text === "" || isWrong) return;
            add(new Blob([text]), `“${text.slice(0, 24)}${text.length > 24 ? "…" : ""}”`);
            setText("");
          },
        },
        h(
          "label",
          { class: "field" },
          h("span", null, "Text"),
          h("textarea", {
            rows: 4,
            value: text,
            onInput: (/** @type {InputEvent & { currentTarget: HTMLTextAreaElement }} */ event) =>
              setText(event.currentTarget.value),
          }),
        ),
        h(
          "button",
          { type: "submit", class: "primary", disabled: text === "" || isWrong },
          h(Icon, { name: "upload" }),
          "Store",
        ),
      ),
    h(Field, {
      label: "Key",
      hint: "optional: you can change a value under a key later",
      id: "key",
      value: key,
      placeholder: "for example notes/today",
      error: isKeyLong
        ? `A key has at most ${MAX_KEY_BYTES} bytes. This one has ${keyBytes}.`
        : null,
      onChange: setKey,
    }),
    takesLink && h(Field, {
      label: "Link",
      hint: "optional: that of the earlier version stays valid",
      id: "link",
      class: "mono",
      value: link,
      placeholder: "dm:…#…",
      error: isLinkWrong ? INCOMPLETE_LINK : null,
      onChange: setLink,
    }),
    h(
      "label",
      { class: "check" },
      h("input", {
        type: "checkbox",
        checked: isSealing,
        onChange: (event) => setSealing(event.currentTarget.checked),
      }),
      "Seal: only those with the link can read it",
    ),
    h(AboutLinks, null),
    h("p", { class: "field-error", role: "status" }, refusal),
    stores.list.length > 0 && h(
      "ol",
      { class: "stores", "aria-label": "Stores of this page" },
      stores.list.map((store) => h(StoreRow, { key: store.number, store, state })),
    ),
    others.length > 0 && h("h3", { class: "side-title" }, "Other stores through this node"),
    others.length > 0 && h(
      "ol",
      { class: "stores", "aria-label": "Other stores through this node" },
      others.map((transfer) => h(TransferRow, { key: transfer.transfer, transfer })),
    ),
  );
}

/** @param {{ transfer: import("../node_state.js").Transfer }} props */
function TransferRow({ transfer: { transfer, label, state, hash, done_bytes, total_bytes } }) {
  const name = label ?? `Transfer ${transfer}`;
  const isRunning = state === "receiving" || state === "moving";
  return h(
    "li",
    { class: "store" },
    h(
      "div",
      { class: "store-line" },
      h("b", { class: "store-name", title: name }, h("bdi", null, name)),
      h("span", { class: "muted" }, bytes(total_bytes ?? done_bytes)),
      state === "done" && h(Badge, { tone: "ok" }, "stored"),
      state === "failed" && h(Badge, { tone: "bad" }, "failed"),
    ),
    isRunning && h(
      "div",
      { class: "store-progress" },
      total_bytes !== null && h(Meter, {
        share: done_bytes / Math.max(1, total_bytes),
        label: `Progress of ${name}`,
      }),
      h(
        "span",
        { class: "muted" },
        `${bytes(done_bytes)} ${state === "receiving" ? "received by the node" : "acknowledged"}`,
      ),
    ),
    hash !== null && h("div", { class: "store-result" }, h(ValueLink, { hash })),
  );
}

/** Explains what sealing does. */
function AboutLinks() {
  return h(
    "details",
    { class: "about-links" },
    h("summary", null, "What is a link?"),
    h(
      "p",
      null,
      "A sealed value is encrypted with a new key. Its link, dm:HASH#KEY, contains that key: anyone who has the link can " +
        "read the value, and nobody else can. Other nodes only see the value's hash and size.",
    ),
    h(
      "p",
      null,
      canSeal()
        ? "This page encrypts the value, so the node never gets the key. Keep the link: without it, the value is lost."
        : "This page was loaded over plain HTTP, so the node encrypts the value and gets the key for a moment. It does " +
          "not keep the key. Keep the link: without it, the value is lost.",
    ),
  );
}

/** @param {{ hash: string, sealKey?: string | null }} props */
function ValueLink({ hash, sealKey = null }) {
  return [
    h("a", { class: "id", href: valueAddress(hash, sealKey), title: hash }, hash),
    sealKey === null
      ? h(Copy, { text: hash, what: "hash" })
      : h(Copy, { text: sealLink(hash, sealKey), what: "link" }),
  ];
}

/** @param {{ store: Storing, state: NodeState }} props */
function StoreRow({ store, state }) {
  const { name, phase, sent, body, result, error, key, sealKey } = store;
  const size = isOver(phase) ? sent : body.size;
  const transfer = [...state.transfers.values()].find(({ label }) => label === store.label);
  const acknowledged = transfer?.state === "moving" ? transfer.done_bytes : null;
  return h(
    "li",
    { class: `store store-${phase}` },
    h(
      "div",
      { class: "store-line" },
      h("b", { class: "store-name", title: name }, h("bdi", null, name)),
      h("span", { class: "muted" }, bytes(size)),
      key !== "" && h(Badge, { tone: "dim" }, "key ", h("bdi", null, key)),
      sealKey !== null && h(Badge, { tone: "dim" }, "sealed"),
      phase === "stored" &&
        (result?.this_node_only
          ? h(Badge, { tone: "warn" }, "on this node only")
          : h(Badge, { tone: "ok" }, "stored")),
      phase === "failed" && h(Badge, { tone: "bad" }, "failed"),
      phase === "waiting" && h(Badge, { tone: "dim" }, "waiting"),
      (phase === "sending" || phase === "waiting") && h("button", {
        type: "button",
        class: "icon-button small",
        "aria-label": `Cancel storing ${name}`,
        onClick: () => stores.cancel(store),
      }, h(Icon, { name: "close", size: 14 })),
    ),
    phase === "asking" && h(
      "div",
      { class: "store-question", role: "status" },
      h(
        "p",
        null,
        "The key ",
        h("bdi", null, key),
        ` already has a value, version ${store.cas}. Overwrite it?`,
      ),
      h(
        "div",
        { class: "buttons" },
        h("button", {
          type: "button",
          class: "danger",
          onClick: () => stores.overwrite(store),
        }, "Overwrite"),
        h("button", { type: "button", onClick: () => stores.cancel(store) }, "Cancel"),
      ),
    ),
    phase === "sending" && h(
      "div",
      { class: "store-progress" },
      h(Meter, {
        // `acknowledged` can exceed `size`, because a sealed value is a little larger than its file.
        share: size === 0 ? 1 : Math.min(1, (acknowledged ?? 0) / size),
        tone: "accent",
        label: `Acknowledged of ${name}`,
      }),
      h(
        "span",
        { class: "muted" },
        acknowledged === null
          ? sent < size
            ? `${percent(size === 0 ? 1 : sent / size)} sent to the node`
            : "finding the closest nodes…"
          : `${bytes(Math.min(size, acknowledged))} of ${bytes(size)} acknowledged`,
      ),
    ),
    result !== null && h(
      "div",
      { class: "store-result", role: "status" },
      h(ValueLink, { hash: result.hash, sealKey }),
      sealKey !== null && h("code", { class: "seal-link" }, sealLink(result.hash, sealKey)),
      sealKey !== null &&
        h(
          "span",
          null,
          "Keep this link: the value can't be read without it. The node doesn't know it.",
        ),
      h(
        "span",
        null,
        `${
          result.kind === "chunked"
            ? `in pieces; survives the loss of any ${plural(result.replicas - 1, "node")};`
            : result.this_node_only
            ? "no other node has a copy;"
            : `on ${plural(result.replicas, "node")}`
        } in ${ms(result.elapsed_ms)}${result.seq === null ? "" : `, version ${result.seq}`}`,
      ),
      !result.this_node_only && result.lives_until !== null && h(
        "span",
        { class: "muted" },
        `lives until ${date(Date.parse(result.lives_until))} if this node leaves`,
      ),
    ),
    error !== null && h("p", { class: "store-error", role: "status" }, error),
  );
}
