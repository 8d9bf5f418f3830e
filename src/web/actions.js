// The operator's actions: connect to a peer, deny a peer, publish a value now, and download diagnostics.

import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { json, request } from "./api.js";
import { date, ms, plural, shortId } from "./format.js";
import { useAction, useAnswer, useParameter } from "./hooks.js";
import { Icon } from "./icons.js";
import { AskFirst, Card, Empty, Listing, Note } from "./parts.js";
import { isAddress } from "./search.js";
import { saveAs } from "./transfer.js";

/** @typedef {import("./node_state.js").NodeState} NodeState */
/** @typedef {import("../reports/peers.ts").DeniedNodes} DeniedNodes */
/** @typedef {import("../reports/peers.ts").Ping} Ping */
/** @typedef {import("../reports/values.ts").PublishedValue} PublishedValue */

/** @param {string} path @param {Record<string, string>} query */
function withQuery(path, query) {
  return `${path}?${new URLSearchParams(query)}`;
}

/**
 * A form that joins through the node at an address. The address of the page can name it, as in `#/peers?connect=…`.
 *
 * @param {{ state: NodeState }} props
 */
export function ConnectCard({ state }) {
  const [given] = useParameter("connect");
  const [text, setText] = useState(given);
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => {
    if (given === "") return;
    setText(given);
    field.current?.focus();
  }, [given]);
  const address = text.trim(), isWrong = address !== "" && !isAddress(address);
  const connecting = useAction(async () => /** @type {Ping} */ (
    await json(withQuery("/network/peers", { address }), { method: "POST" })
  ));
  const { result } = connecting;
  return h(
    Card,
    { title: "Connect to a peer", id: "connect-title", class: "action-card" },
    h(
      "form",
      {
        class: "inline-form",
        onSubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (isAddress(address)) void connecting.run();
        },
      },
      h(
        "label",
        { class: "field grow" },
        h("span", null, "Address"),
        h("input", {
          ref: field,
          value: text,
          placeholder: "192.0.2.10:8000",
          spellcheck: false,
          autocomplete: "off",
          autocapitalize: "off",
          "aria-invalid": isWrong ? "true" : undefined,
          "aria-describedby": isWrong ? "connect-wrong" : undefined,
          onInput: (event) => setText(event.currentTarget.value),
        }),
      ),
      h("button", {
        type: "submit",
        class: "primary",
        disabled: connecting.busy || state.isBarred || !isAddress(address),
      }, connecting.busy ? "Connecting…" : "Connect"),
    ),
    isWrong &&
      h(
        "p",
        { class: "field-error", id: "connect-wrong" },
        "An address is a host and a UDP port, such as 192.0.2.10:8000 or [2001:db8::1]:8000.",
      ),
    state.isBarred && h("p", { class: "muted" }, "Enter the API token to connect."),
    h(
      "div",
      { role: "status" },
      connecting.error !== null && h(Note, { tone: "bad" }, connecting.error),
      result !== null && h(
        Note,
        { tone: "ok" },
        h("a", { class: "id", href: `#/peers/${result.node_id}` }, shortId(result.node_id)),
        ` at ${result.address} answered in ${ms(result.rtt_ms)}. This node joins through it.`,
      ),
    ),
  );
}

/** Denies a node or address. @param {string} entry @returns {Promise<DeniedNodes>} */
function deny(entry) {
  return json(withQuery("/network/denied", { entry }), { method: "POST" });
}

/** Ends the denial of a node or address. @param {string} entry */
function allow(entry) {
  return request(withQuery("/network/denied", { entry }), { method: "DELETE" });
}

/** The list of denied nodes and addresses, which the user can change. @param {{ state: NodeState }} props */
export function DeniedCard({ state }) {
  const [text, setText] = useState("");
  const [changes, setChanges] = useState(0);
  const [announcement, setAnnouncement] = useState("");
  const reading = useAnswer(
    state.isBarred ? null : "denied",
    (signal) => /** @type {Promise<DeniedNodes>} */ (json("/network/denied", { signal })),
    changes,
  );
  const list = reading.result;
  const done = (/** @type {string} */ what) => {
    setAnnouncement(what);
    setChanges((n) => n + 1);
  };
  const denying = useAction(async () => {
    const entry = text.trim();
    await deny(entry);
    setText("");
    done(`Denied ${entry}.`);
  });
  const allowing = useAction(async (/** @type {string} */ entry) => {
    await allow(entry);
    document.getElementById("denied-title")?.focus();
    done(`${entry} is allowed again.`);
  });
  return h(
    Card,
    { title: "Denied peers", id: "denied-title", class: "action-card" },
    h(
      "form",
      {
        class: "inline-form",
        onSubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (text.trim() !== "") void denying.run();
        },
      },
      h(
        "label",
        { class: "field grow" },
        h("span", null, "Address, CIDR, node id or public key"),
        h("input", {
          value: text,
          placeholder: "203.0.113.7 or 203.0.113.0/24",
          spellcheck: false,
          autocomplete: "off",
          autocapitalize: "off",
          onInput: (event) => setText(event.currentTarget.value),
        }),
      ),
      h("button", {
        type: "submit",
        disabled: denying.busy || state.isBarred || text.trim() === "",
      }, "Deny"),
    ),
    h("p", { class: "visually-hidden", role: "status" }, announcement),
    denying.error !== null && h(Note, { tone: "bad" }, denying.error),
    allowing.error !== null && h(Note, { tone: "bad" }, allowing.error),
    h(Listing, {
      isBarred: state.isBarred,
      what: "denied peers",
      error: reading.error,
      total: list && list.denied.length + list.in_file,
      empty: h("p", { class: "muted" }, "This node ignores nobody."),
      draw: () =>
        list && h(
          "ul",
          { class: "denied-list" },
          list.denied.map((entry) =>
            h(
              "li",
              { key: entry },
              h("code", null, entry),
              h(AskFirst, { action: "Allow", name: entry, onConfirm: () => allowing.run(entry) }),
            )
          ),
          list.in_file > 0 && h(
            "li",
            { class: "muted" },
            `${plural(list.in_file, "entry", "entries")} in the file ${
              state.stats?.config?.deny_list ?? "DENY_LIST"
            }`,
          ),
        ),
    }),
  );
}

/**
 * A button that denies a peer by its id or its address, after asking which.
 *
 * @param {{ state: NodeState, peer: { node_id: string, address: string } }} props
 */
export function DenyPeer({ state, peer: { node_id: id, address } }) {
  const [isAsking, setAsking] = useState(false);
  const first = useRef(/** @type {HTMLButtonElement | null} */ (null));
  useEffect(() => {
    if (isAsking) first.current?.focus();
  }, [isAsking]);
  const host = address.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  const denying = useAction(async (/** @type {string} */ entry) => {
    await deny(entry);
    setAsking(false);
    return entry;
  });
  const entry = denying.result;
  const choose = (
    /** @type {string} */ text,
    /** @type {string} */ what,
    /** @type {boolean} */ isFirst,
  ) =>
    h("button", {
      type: "button",
      class: "danger",
      ref: isFirst ? first : undefined,
      disabled: denying.busy,
      onClick: () => denying.run(what),
    }, text);
  return h(
    "div",
    { class: "deny-peer" },
    isAsking
      ? h(
        "div",
        { class: "deny-choice", role: "group", "aria-label": "What to deny" },
        choose("Deny this id", id, true),
        choose(`Deny ${host}`, host, false),
        h("button", { type: "button", onClick: () => setAsking(false) }, "Cancel"),
      )
      : h(
        "button",
        {
          type: "button",
          disabled: state.isBarred,
          onClick: () => setAsking(true),
        },
        h(Icon, { name: "forget" }),
        "Deny…",
      ),
    h(
      "div",
      { role: "status" },
      denying.error !== null && h(Note, { tone: "bad" }, denying.error),
      entry !== null && h(
        Note,
        { tone: "ok" },
        `This node ignores ${entry === id ? "this id" : entry} from now on. `,
        h("a", { href: "#/peers" }, "Denied peers"),
      ),
    ),
  );
}

/**
 * A button that publishes a value now.
 *
 * @param {{ hash: string, name: string, onDone: (text: string) => void }} props
 * `name` names the value; `onDone` gets the outcome as a sentence
 */
export function PublishNow({ hash, name, onDone }) {
  const publishing = useAction(async () => {
    try {
      await request(`/network/published/${hash}`, { method: "POST" });
      onDone(`${name} is published next.`);
    } catch (error) {
      onDone(error instanceof Error ? error.message : String(error));
    }
  });
  return h("button", {
    type: "button",
    class: "icon-button small",
    "aria-label": `Publish ${name} now`,
    title: "Publish now",
    disabled: publishing.busy,
    onClick: publishing.run,
  }, h(Icon, { name: "upload", size: 15 }));
}

/** Offers the report for people who look for the cause of a problem. @param {{ state: NodeState }} props */
export function DiagnosticsCard({ state }) {
  const loading = useAction(async () => {
    const report = await (await request("/network/diagnostics")).blob();
    const at = new Date().toISOString().slice(0, 19).replaceAll(":", "");
    saveAs(report, `dmnode-diagnostics-${at}.json`);
    return Date.now();
  });
  return h(
    Card,
    { title: "Diagnostics", id: "diagnostics-title", class: "action-card" },
    h(
      "p",
      { class: "muted" },
      "One file with the settings, statistics, findings, peers and latest events, for people who look for a problem. " +
        "It has no tokens, keys or links of sealed values, but addresses of this node and of its peers.",
    ),
    state.isBarred
      ? h(Empty, { icon: "key", title: "Enter the API token to download the report" })
      : h(
        "button",
        {
          type: "button",
          disabled: loading.busy,
          onClick: loading.run,
        },
        h(Icon, { name: "download" }),
        loading.busy ? "Collecting…" : "Download the report",
      ),
    h(
      "div",
      { role: "status" },
      loading.error !== null && h(Note, { tone: "bad" }, loading.error),
      loading.result !== null && h("p", { class: "muted" }, `Saved at ${date(loading.result)}.`),
    ),
  );
}
