// Values: storing files and text, fetching by hash, and the values that this node publishes.

import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, json, request } from "../api.js";
import {
  ago,
  bytes,
  count,
  date,
  isolated,
  ms,
  NONE,
  percent,
  plural,
  shortId,
  until,
} from "../format.js";
import { PublishNow } from "../actions.js";
import { useAction, useAnswer, useMedia, useParameter } from "../hooks.js";
import { Icon } from "../icons.js";
import { isId } from "../ids.js";
import {
  AskFirst,
  Badge,
  Card,
  choice,
  Copy,
  Empty,
  Facts,
  FullId,
  Listing,
  Meter,
  Note,
  PeerLink,
} from "../parts.js";
import { open } from "../routes.js";
import { isSealKey, newSealKey, parseSealLink, sealLink } from "../seal.js";
import { isOver, stores } from "../stores.js";
import { table } from "../table.js";
import { canSeal, fetchValue, saveAs } from "../transfer.js";

/** @typedef {import("../node_state.js").NodeState} NodeState */
/** @typedef {import("../stores.js").Storing} Storing */
/** @typedef {import("../../reports/values.ts").Published} Published */
/** @typedef {import("../../reports/values.ts").Replicas} Replicas */
/** @typedef {Published["published"][number]} PublishedValue */

/** Maximum length of a preview: characters of text, or bytes of other data. */
const MAX_TEXT_SHOWN = 64 * 1024, MAX_BYTES_SHOWN = 512;
const PAGE = 100;
/** Maximum bytes of a key, which is the salt of a mutable item (BEP 44). */
const MAX_KEY_BYTES = 64;

/** @param {{ state: NodeState, hash: string | null, now: number }} props */
export function Values({ state, hash, now }) {
  return h(
    "div",
    { class: `values-view ${hash === null ? "" : "with-answer"}` },
    h(
      "div",
      { class: "column" },
      h(StoreCard, { state }),
      h(PublishedCard, { state, now }),
    ),
    h("div", { class: "column asking" }, h(FetchCard, { state, hash })),
  );
}

/** @param {{ state: NodeState }} props */
function StoreCard({ state }) {
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
    h(
      "label",
      { class: "field" },
      h(
        "span",
        null,
        "Key ",
        h("small", null, "optional: you can change a value under a key later"),
      ),
      h("input", {
        value: key,
        placeholder: "for example notes/today",
        spellcheck: false,
        autocomplete: "off",
        "aria-invalid": isKeyLong ? "true" : undefined,
        "aria-describedby": isKeyLong ? "key-wrong" : undefined,
        onInput: (event) => setKey(event.currentTarget.value),
      }),
    ),
    isKeyLong &&
      h(
        "p",
        { class: "field-error", id: "key-wrong" },
        `A key has at most ${MAX_KEY_BYTES} bytes. This one has ${keyBytes}.`,
      ),
    takesLink && h(
      "label",
      { class: "field" },
      h(
        "span",
        null,
        "Link ",
        h("small", null, "optional: that of the earlier version stays valid"),
      ),
      h("input", {
        class: "mono",
        value: link,
        placeholder: "dm:…#…",
        spellcheck: false,
        autocomplete: "off",
        "aria-invalid": isLinkWrong ? "true" : undefined,
        "aria-describedby": isLinkWrong ? "link-wrong" : undefined,
        onInput: (event) => setLink(event.currentTarget.value),
      }),
    ),
    isLinkWrong && h("p", { class: "field-error", id: "link-wrong" }, INCOMPLETE_LINK),
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

const INCOMPLETE_LINK = "A link is dm:, 40 hex digits, # and 22 characters.";

/** The address of a value in the page. @param {string} hash @param {string | null} sealKey */
function valueAddress(hash, sealKey) {
  return `#/values/${hash}${sealKey === null ? "" : `?seal=${sealKey}`}`;
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

/**
 * Fetches the value in the page's address.
 *
 * @param {{ state: NodeState, hash: string | null }} props
 */
function FetchCard({ state, hash: given }) {
  const [givenKey] = useParameter("key");
  const [givenSeal] = useParameter("seal");
  const shown = given === null || givenSeal === "" ? given : sealLink(given, givenSeal);
  const [hash, setHash] = useState(shown ?? "");
  const [key, setKey] = useState(givenKey);
  const [attempt, setAttempt] = useState(0);
  const [progress, setProgress] = useState(
    /** @type {{ received: number, total: number | null } | null} */ (null),
  );
  /** The value whose holders the user wants to see. */
  const [holdersOf, setHoldersOf] = useState(/** @type {string | null} */ (null));
  useEffect(() => {
    if (shown !== null) setHash(shown);
    setKey(givenKey);
  }, [shown, givenKey]);
  const link = parseSealLink(hash), wanted = link?.hash ?? hash.trim().toLowerCase();
  const seal = link?.key ?? "";
  const isWrong = wanted !== "" && !isId(wanted);
  const question = given === null || !isId(given) || state.isBarred
    ? null
    : JSON.stringify([given, givenKey, givenSeal, attempt]);
  const fetching = useAnswer(question, async (signal) => {
    setProgress(null);
    if (givenSeal !== "" && !isSealKey(givenSeal)) throw new ApiError(INCOMPLETE_LINK, 0, null);
    const value = await fetchValue({
      hash: given ?? "",
      key: givenKey,
      sealKey: givenSeal === "" ? null : givenSeal,
      signal,
      onReceived: (received, total) => {
        if (!signal.aborted) setProgress({ received, total });
      },
    });
    return { hash: given ?? "", value, preview: await previewOf(value) };
  });
  const copies = useAnswer(
    holdersOf === question ? question : null,
    (signal) => {
      const query = givenKey === "" ? "" : `&key=${encodeURIComponent(givenKey)}`;
      return /** @type {Promise<Replicas>} */ (
        json(`/data/${given}?replicas=1${query}`, { signal })
      );
    },
  );
  const result = fetching.result;
  return h(
    Card,
    { title: "Fetch", id: "fetch-title", class: "fetch-card" },
    h(
      "form",
      {
        class: "fetch-form",
        onSubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (!isId(wanted)) return;
          if (wanted === given && key === givenKey && seal === givenSeal) setAttempt(attempt + 1);
          else open(`#/values/${wanted}`, { key, seal });
        },
      },
      h(
        "label",
        { class: "field" },
        h("span", null, "Hash or link"),
        h("input", {
          class: "mono",
          value: hash,
          placeholder: "40 hex digits, or dm:…#…",
          spellcheck: false,
          autocomplete: "off",
          autocapitalize: "off",
          "aria-invalid": isWrong ? "true" : undefined,
          "aria-describedby": isWrong ? "hash-wrong" : undefined,
          onInput: (event) => setHash(event.currentTarget.value),
        }),
      ),
      isWrong &&
        h(
          "p",
          { class: "field-error", id: "hash-wrong" },
          wanted.startsWith("dm:")
            ? INCOMPLETE_LINK
            : `A hash has 40 hex digits. This one has ${wanted.length} characters.`,
        ),
      h(
        "label",
        { class: "field" },
        h("span", null, "Key ", h("small", null, "only needed if the holders do not send it")),
        h("input", {
          value: key,
          spellcheck: false,
          autocomplete: "off",
          onInput: (event) => setKey(event.currentTarget.value),
        }),
      ),
      h(
        "div",
        { class: "buttons" },
        h(
          "button",
          { type: "submit", class: "primary", disabled: !isId(wanted) },
          h(Icon, { name: "download" }),
          "Fetch",
        ),
        fetching.busy && h("button", { type: "button", onClick: fetching.cancel }, "Cancel"),
      ),
    ),
    fetching.busy &&
      h("p", { class: "loading", role: "status" }, `Fetching ${shortId(given ?? "")}…`),
    fetching.busy && progress !== null && h(
      "div",
      { class: "store-progress" },
      progress.total !== null &&
        h(Meter, { share: progress.received / Math.max(1, progress.total), label: "Fetched" }),
      h(
        "span",
        { class: "muted" },
        `${bytes(progress.received)}${
          progress.total === null ? "" : ` of ${bytes(progress.total)}`
        }`,
      ),
    ),
    h(
      "div",
      { role: "status" },
      fetching.error !== null && h(Note, { tone: "bad" }, fetching.error),
    ),
    result !== null && h(
      "div",
      { class: "fetched" },
      h(Facts, {
        rows: [
          ["Hash", h(FullId, { id: result.hash, what: "hash" })],
          [
            "Size",
            `${bytes(result.value.body.size)}${
              result.value.body.size >= 1000 ? ` (${count(result.value.body.size)} bytes)` : ""
            }, in ${ms(result.value.elapsedMs)}`,
          ],
          ["Type", result.value.type],
          result.value.seq === null ? null : ["Version", result.value.seq],
          result.value.publicKey === null
            ? null
            : ["Signed by", h(FullId, { id: result.value.publicKey, what: "public key" })],
        ],
      }),
      result.value.isSealed &&
        h(Note, { tone: "warn" }, "This value is sealed. Enter its link to see the content."),
      h(
        "button",
        {
          type: "button",
          onClick: () => saveAs(result.value.body, fileName(result.hash, result.value.type)),
        },
        h(Icon, { name: "download" }),
        "Download",
      ),
      h(
        "pre",
        {
          class: `preview ${result.preview.isText ? "" : "hex"}`,
          tabIndex: 0,
          "aria-label": "Preview of the value",
        },
        result.preview.text,
      ),
      result.preview.isCut && h("p", { class: "muted" }, "The preview shows only the beginning."),
    ),
    question !== null && copies.result === null && h(
      "div",
      { class: "buttons" },
      h(
        "button",
        { type: "button", disabled: copies.busy, onClick: () => setHoldersOf(question) },
        h(Icon, { name: "peers" }),
        copies.busy ? "Asking…" : "Show holders",
      ),
    ),
    h("div", { role: "status" }, copies.error !== null && h(Note, { tone: "bad" }, copies.error)),
    copies.result !== null && h(Copies, { report: copies.result }),
    question === null && h(
      Empty,
      {
        icon: state.isBarred ? "key" : "values",
        title: state.isBarred ? "Enter the API token to fetch values" : "No value fetched yet",
      },
      "The node fetches a value from its holders and checks it against the hash.",
    ),
  );
}

/** @param {{ report: Replicas }} props */
function Copies({ report: { holders, count: found, wanted, parts } }) {
  return h(
    "div",
    { class: "copies" },
    h("h3", null, `${plural(found, "copy", "copies")}, ${wanted} wanted`),
    h(Meter, {
      share: found / Math.max(1, wanted),
      tone: found >= wanted / 2 ? "ok" : "warn",
      label: "Copies",
    }),
    parts !== null &&
      h(
        "p",
        { class: "muted" },
        `Of its ${plural(parts.pieces, "piece")}, ${count(parts.counted)} were counted: ${
          count(parts.lost)
        } lost, ${parts.mean.toFixed(1)} of ${plural(parts.wanted, "copy", "copies")} on average.`,
      ),
    h(
      "ol",
      { class: "closest" },
      holders.map(({ node_id, address, age_s }) =>
        h(
          "li",
          { key: node_id },
          address === null
            ? h("span", { class: "id" }, shortId(node_id))
            : h(PeerLink, { id: node_id }),
          h("span", { class: "address" }, address ?? "this node"),
          h(
            "span",
            { class: "num" },
            age_s === null ? NONE : `put ${ago(Date.now() - age_s * 1000, Date.now())}`,
          ),
        )
      ),
    ),
  );
}

/** @param {{ state: NodeState, now: number }} props */
function PublishedCard({ state, now }) {
  const [first, setFirst] = useParameter("offset");
  const offset = /^\d{1,9}$/.test(first) ? Number(first) : 0;
  const setOffset = (/** @type {number} */ next) => setFirst(next === 0 ? "" : `${next}`);
  const [announcement, setAnnouncement] = useState("");
  const isNarrow = useMedia("(max-width: 760px)");
  const isAway = state.phase === "lost";
  const [changes, setChanges] = useState(0);
  const reading = useAnswer(
    state.isBarred ? null : `${offset}`,
    (signal) => /** @type {Promise<Published>} */ (
      json(`/network/published?limit=${PAGE}&offset=${offset}`, { signal })
    ),
    `${changes} ${state.versions.published} ${state.stats?.storage.published} ${isAway}`,
  );
  const page = reading.result;
  const forget = useAction(async (/** @type {PublishedValue} */ { hash, pinned }) => {
    await request(pinned ? `/network/pin/${hash}` : `/data/${hash}`, { method: "DELETE" });
    document.getElementById("published-title")?.focus();
    setAnnouncement(`${pinned ? "Unpinned" : "Stopped publishing"} ${shortId(hash)}.`);
    setChanges((n) => n + 1);
  });
  const publishedNow = (/** @type {string} */ text) => {
    setAnnouncement(text);
    setChanges((n) => n + 1);
  };
  /** @type {import("../table.js").Column<PublishedValue>[]} */
  const columns = [
    {
      key: "value",
      label: "Value",
      by: (row) => row.key ?? row.hash,
      cell: (row) =>
        h(
          "span",
          { class: "two-lines" },
          h("a", { class: "id", href: `#/values/${row.hash}`, title: row.hash }, shortId(row.hash)),
          h("small", null, publishedText(row)),
        ),
    },
    {
      key: "size",
      label: "Size",
      class: "num",
      first: "descending",
      by: (row) => row.size,
      cell: (row) => bytes(row.size),
    },
    {
      key: "replicas",
      label: "Copies",
      class: "num",
      by: (row) => row.replicas,
      cell: (row) =>
        h(
          "span",
          { class: row.state === "safe" ? "" : "tone-bad mark-word", title: STATES[row.state] },
          row.this_node_only
            ? "this node only"
            : row.state === "safe"
            ? count(row.replicas)
            : row.failures > 0
            ? plural(row.failures, "failure")
            : `only ${count(row.replicas)}`,
        ),
    },
    {
      key: "last",
      label: "Published",
      class: "num wide",
      first: "descending",
      by: (row) => row.last_at === null ? null : Date.parse(row.last_at),
      cell: (row) =>
        row.last_at === null ? "not yet" : h(
          "span",
          { class: "two-lines" },
          h("span", { title: date(Date.parse(row.last_at)) }, ago(Date.parse(row.last_at), now)),
          row.lives_until !== null && h(
            "small",
            { title: `If this node leaves: ${date(Date.parse(row.lives_until))}` },
            `lives ${until(Date.parse(row.lives_until), now).replace(/^in /, "")}`,
          ),
        ),
    },
    {
      key: "next",
      label: "Next",
      class: "num wide",
      by: (row) => Date.parse(row.next_at),
      cell: (row) => until(Date.parse(row.next_at), now),
    },
    {
      key: "publish",
      label: "Now",
      cell: ({ hash, key }) =>
        h(PublishNow, { hash, name: key ?? shortId(hash), onDone: publishedNow }),
    },
    {
      key: "forget",
      label: "Stop",
      cell: (row) =>
        h(AskFirst, {
          action: row.pinned ? "Unpin" : "Stop publishing",
          name: row.key ?? shortId(row.hash),
          onConfirm: () => forget.run(row),
        }),
    },
  ];
  return h(
    Card,
    {
      title: "Published by this node",
      id: "published-title",
      class: "published-card",
      note: page === null
        ? undefined
        : page.total === 0
        ? undefined
        : `${plural(page.total, "value")}, republished every hour`,
    },
    h("p", { class: announcement === "" ? "" : "muted", role: "status" }, announcement),
    forget.error !== null && h(Note, { tone: "bad" }, forget.error),
    h(Listing, {
      isBarred: state.isBarred,
      what: "published values",
      error: reading.error,
      total: page && page.total,
      empty: h(
        Empty,
        { icon: "values", title: "No published values" },
        "This node republishes every value that you store here once an hour, until you stop it.",
      ),
      draw: () =>
        page && table({
          caption: "Values published from this node",
          columns: isNarrow
            ? columns.filter(({ key }) => ["value", "replicas", "publish", "forget"].includes(key))
            : columns,
          rows: page.published,
          keyOf: (row) => row.hash,
          sortedBy: "next",
          parameter: "sort",
          rowHeight: 53,
          version: page,
        }),
    }),
    page !== null && page.total > PAGE && h(
      "nav",
      { class: "pager", "aria-label": "Pages of published values" },
      h("button", {
        type: "button",
        disabled: offset === 0,
        onClick: () => setOffset(Math.max(0, offset - PAGE)),
      }, "Previous"),
      h(
        "span",
        null,
        `${count(offset + 1)} to ${count(Math.min(page.total, offset + PAGE))} of ${
          count(page.total)
        }`,
      ),
      h("button", {
        type: "button",
        disabled: offset + PAGE >= page.total,
        onClick: () => setOffset(offset + PAGE),
      }, "Next"),
    ),
  );
}

/** For each state of a published value, its meaning. @type {Record<PublishedValue["state"], string | undefined>} */
const STATES = {
  safe: undefined,
  short: "Fewer than four fifths of the nodes that should have the value acknowledged it.",
  failing: "No other node acknowledged the latest publication.",
  ending: "Publishing has failed for so long that other nodes will soon drop the value.",
};

/** Describes a published value in a few words. @param {PublishedValue} value */
function publishedText({ kind, key, seq, items, pinned }) {
  const name = key === null ? kind : `${isolated(key)}, version ${seq}`;
  const text = items === 1 ? name : `${name}, ${plural(items, "item")}`;
  return pinned ? `${text}, pinned` : text;
}

/**
 * Returns the beginning of a value as plain text. A value of any type is never shown as a page or a
 * picture.
 *
 * @param {import("../transfer.js").Fetched} value
 */
async function previewOf({ body, type }) {
  if (type.startsWith("application/json") || type.startsWith("text/")) {
    const text = await body.slice(0, MAX_TEXT_SHOWN).text();
    const isCut = body.size > MAX_TEXT_SHOWN;
    return { text: isCut ? text : pretty(text, type), isText: true, isCut };
  }
  const shown = new Uint8Array(await body.slice(0, MAX_BYTES_SHOWN).arrayBuffer());
  return { text: hexDump(shown), isText: false, isCut: body.size > MAX_BYTES_SHOWN };
}

/** @param {string} text @param {string} type */
function pretty(text, type) {
  // JSON.parse would change numbers of more than 15 digits.
  if (!type.startsWith("application/json") || /\d{16}/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Returns a hex dump with offsets, bytes and characters. Each line covers sixteen bytes. @param {Uint8Array} shown */
export function hexDump(shown) {
  const lines = [];
  for (let at = 0; at < shown.length; at += 16) {
    const part = Array.from(shown.subarray(at, at + 16));
    const digits = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const characters = part.map((byte) =>
      byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·"
    ).join("");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${digits.padEnd(47)}  ${characters}`);
  }
  return lines.join("\n");
}

/** @param {string} hash @param {string} type */
function fileName(hash, type) {
  const ending = type.startsWith("application/json")
    ? "json"
    : type.startsWith("text/")
    ? "txt"
    : "bin";
  return `${hash}.${ending}`;
}
