// The frame around the views: navigation, connection state, token and theme.

import { h } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { choose, useTheme } from "./appearance.js";
import { messageOf } from "./api.js";
import { conditionOf } from "./findings.js";
import { clock, count, shortId } from "./format.js";
import { useAction } from "./hooks.js";
import { Icon } from "./icons.js";
import { lazy } from "./lazy.js";
import { Copy, Note } from "./parts.js";
import { routeOf, VIEWS } from "./routes.js";
import { Overview } from "./views/overview.js";

/** @typedef {import("./node_state.js").NodeState} NodeState */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./routes.js").Route} Route */

const views = () => import("./views.js");
const Events = lazy(async () => (await views()).Events);
const Lookups = lazy(async () => (await views()).Lookups);
const MapView = lazy(async () => (await views()).MapView);
const Node = lazy(async () => (await views()).Node);
const PeerPage = lazy(async () => (await views()).PeerPage);
const Peers = lazy(async () => (await views()).Peers);
const ReachabilityView = lazy(async () => (await views()).ReachabilityView);
const Search = lazy(async () => (await views()).Search);
const Swarms = lazy(async () => (await views()).Swarms);
const LossView = lazy(async () => (await views()).LossView);
const ThreatsView = lazy(async () => (await views()).ThreatsView);
const TrafficView = lazy(async () => (await views()).TrafficView);
const ValuePage = lazy(async () => (await views()).ValuePage);
const Values = lazy(async () => (await views()).Values);

/** @param {{ state: NodeState, session: Session }} props */
export function App({ state, session }) {
  const [route, setRoute] = useState(() => routeOf(location.hash));
  const [asksToken, setAsksToken] = useState(false);
  const heading = useRef(/** @type {HTMLHeadingElement | null} */ (null));
  const isFirst = useRef(true);
  useEffect(() => {
    const changed = () => setRoute(routeOf(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  const title = titleOf(route);
  const { stats } = state;
  // The state changes with each event, but the statistics only once a second.
  const concerns = useMemo(
    () => stats === null ? 0 : conditionOf(stats, state.medianRtt).findings.length,
    [stats, state.medianRtt],
  );
  useLayoutEffect(() => {
    const node = stats === null ? "" : `${shortId(stats.node_id)} · `;
    document.title = `${concerns > 0 ? `(${concerns}) ` : ""}${title} · ${node}DataMgmt Node`;
    const icon = document.querySelector("link[rel=icon]");
    icon?.setAttribute("href", `/assets/icon${concerns > 0 ? "_attention" : ""}.svg`);
  }, [title, concerns, stats?.node_id]);
  useEffect(() => {
    // Move the focus to the heading of the new view, for users of a keyboard or screen reader. If the user has
    // submitted a form, the focus stays in the form.
    if (!isFirst.current && !document.activeElement?.closest("form")) {
      heading.current?.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    isFirst.current = false;
  }, [route.view, route.id]);
  const needsToken = state.access === "needed" || state.access === "wrong";
  return h(
    "div",
    { class: `page ${state.isStale ? "stale" : ""}` },
    h("a", { class: "skip", href: "#main", onClick: skip }, "Skip to the content"),
    h(
      "header",
      { class: "masthead" },
      h(
        "a",
        { class: "brand", href: "#/" },
        h(Logo, null),
        h("span", null, "DataMgmt ", h("b", null, "Node")),
      ),
      h(SearchLink, { isHere: route.view === "search" }),
      h(Connection, { state }),
      h(ThemeSwitch, null),
    ),
    h(
      "nav",
      { class: "sections", "aria-label": "Sections" },
      h(
        "div",
        { class: "sections-inner" },
        h(
          "ul",
          null,
          VIEWS.map(({ view, path, label }) => {
            const isHere = (PARENTS[route.view] ?? route.view) === view;
            return h(
              "li",
              { key: view },
              h(
                "a",
                { href: path, "aria-current": isHere ? "page" : undefined },
                h(Icon, { name: view, size: 18 }),
                h("span", null, label),
                h(Tally, { view, state }),
              ),
            );
          }),
        ),
        state.stats !== null && h(
          "div",
          { class: "whose" },
          h(
            "p",
            null,
            h("code", { title: state.stats.node_id }, shortId(state.stats.node_id)),
            h(Copy, { text: state.stats.node_id, what: "node id" }),
          ),
          h("p", null, `dmnode ${state.stats.version}`),
          h("p", null, h("a", { href: "/docs" }, "API reference")),
        ),
      ),
    ),
    h(
      "main",
      { id: "main", tabIndex: -1 },
      h("h1", { ref: heading, tabIndex: -1 }, title),
      h(Banner, { state, session, needsToken, onAsk: () => setAsksToken(true) }),
      h(
        "div",
        { class: "view" },
        state.phase === "locked"
          ? h(Locked, { session, isWrong: state.access === "wrong" })
          : state.stats === null
          ? h(Waiting, { state, session })
          : h(View, { route, state, session }),
      ),
    ),
    asksToken && needsToken && h(TokenDialog, {
      session,
      isWrong: state.access === "wrong",
      onClose: () => setAsksToken(false),
    }),
  );
}

/** For each view without an entry in the navigation, the view that it belongs to. @type {Partial<Record<Route["view"], Route["view"]>>} */
const PARENTS = {
  peer: "peers",
  map: "peers",
  value: "values",
  loss: "values",
  reachability: "node",
  traffic: "node",
  threats: "node",
};

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** @param {Route} route */
function titleOf({ view, id }) {
  if (view === "peer") return `Peer ${shortId(id ?? "")}`;
  if (view === "map") return "Map of the id space";
  if (view === "search") return "Search";
  if (view === "reachability") return "Who can reach this node?";
  if (view === "value") return `Value ${shortId(id ?? "")}`;
  if (view === "traffic") return "What does it cost?";
  if (view === "threats") return "Is somebody attacking this node?";
  if (view === "loss") return "What if peers are gone?";
  return VIEWS.find((each) => each.view === view)?.label ?? "Overview";
}

/** @param {{ route: Route, state: NodeState, session: Session }} props */
function View({ route: { view, id }, state, session }) {
  const now = state.isStale ? state.newsAt ?? Date.now() : Date.now();
  switch (view) {
    case "peers":
      return h(Peers, { state, now });
    case "peer":
      return h(PeerPage, { key: id, state, id: id ?? "", now });
    case "lookups":
      return h(Lookups, { state, session, target: id, now });
    case "values":
      return h(Values, { state, now });
    case "value":
      return h(ValuePage, { key: id, state, hash: id ?? "", now });
    case "loss":
      return h(LossView, { state });
    case "threats":
      return h(ThreatsView, { state, now });
    case "traffic":
      return h(TrafficView, { state, now });
    case "swarms":
      return h(Swarms, { state, infoHash: id, now });
    case "events":
      return h(Events, { state });
    case "node":
      return h(Node, { state, now });
    case "map":
      return h(MapView, { state });
    case "reachability":
      return h(ReachabilityView, { state, now });
    case "search":
      return h(Search, { state });
    default:
      return h(Overview, { state });
  }
}

/** Whether the user is typing, so that a key is text and no shortcut. */
function isTyping() {
  return document.activeElement?.matches("input, textarea, select, [contenteditable]") ?? false;
}

/** The way to the search: a link, and the keys / and Ctrl+K. @param {{ isHere: boolean }} props */
function SearchLink({ isHere }) {
  useEffect(() => {
    const keys = (/** @type {KeyboardEvent} */ event) => {
      const isSlash = event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey;
      const isK = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) &&
        !event.altKey;
      if (event.defaultPrevented || !(isK || isSlash && !isTyping())) return;
      if (document.querySelector("dialog[open]") !== null) return;
      event.preventDefault();
      const box =
        /** @type {HTMLInputElement | null} */ (document.querySelector(".search-wide input"));
      if (box === null) location.hash = "#/search";
      else box.select();
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);
  return h(
    "a",
    {
      class: "search-link",
      href: "#/search",
      "aria-label": "Search: Id, key, name or address",
      "aria-current": isHere ? "page" : undefined,
      "aria-keyshortcuts": "/ Control+K",
      title: "Search (/)",
    },
    h(Icon, { name: "search" }),
    h("span", null, "Id, key, name or address"),
    h("kbd", { "aria-hidden": "true" }, "/"),
  );
}

/** The number next to the name of a view. @param {{ view: string, state: NodeState }} props */
function Tally({ view, state: { stats } }) {
  if (stats === null) return null;
  const n = view === "peers"
    ? stats.routing_table_size
    : view === "values"
    ? stats.storage.published
    : view === "swarms"
    ? stats.swarms.announced
    : view === "lookups"
    ? stats.lookups.active
    : 0;
  return n === 0 ? null : h("span", { class: "tally-badge", "aria-hidden": "true" }, count(n));
}

/** @type {Record<import("./node_state.js").Phase, { tone: string, text: string }>} */
const PHASES = {
  connecting: { tone: "dim", text: "Connecting" },
  live: { tone: "ok", text: "Live" },
  polling: { tone: "warn", text: "Statistics only" },
  lost: { tone: "bad", text: "Disconnected" },
  locked: { tone: "warn", text: "Locked" },
};

/** @param {{ state: NodeState }} props */
function Connection({ state }) {
  const { tone, text } = PHASES[state.phase];
  return h(
    "p",
    { class: `connection tone-${tone}`, role: "status" },
    h("span", { class: "connection-light", "aria-hidden": "true" }),
    text,
  );
}

/** A banner that explains why the page is not live. @param {{ state: NodeState, session: Session, needsToken: boolean, onAsk: () => void }} props */
function Banner({ state, session, needsToken, onAsk }) {
  if (state.isStale) {
    return h(
      "div",
      { class: "banner tone-bad" },
      h(Icon, { name: "lost", size: 20 }),
      h(
        "p",
        null,
        h(
          "b",
          { role: "alert" },
          state.failure === null
            ? "The node does not answer."
            : `The node answers with an error: ${state.failure}`,
        ),
        ` These figures are from ${state.newsAt === null ? "earlier" : clock(state.newsAt)}. `,
        h(Countdown, { at: state.retryAt }),
      ),
      h(
        "button",
        { type: "button", onClick: () => session.retryNow() },
        h(Icon, { name: "retry" }),
        "Try now",
      ),
    );
  }
  if (needsToken && state.phase === "polling") {
    return h(
      "div",
      { class: "banner tone-warn" },
      h(Icon, { name: "key", size: 20 }),
      h(
        "p",
        null,
        h(
          "b",
          null,
          state.access === "wrong" ? "The node rejected the token." : "This node needs a token.",
        ),
        " Without it you see only statistics and peers: no events, lookups or values.",
      ),
      h("button", { type: "button", class: "primary", onClick: onAsk }, "Enter token"),
    );
  }
  if (state.phase === "polling") {
    return h(
      "div",
      { class: "banner tone-warn" },
      h(Icon, { name: "warning", size: 20 }),
      h(
        "p",
        null,
        h("b", null, "No events arrive."),
        " The page reads the figures every two seconds instead. A proxy may block WebSockets and streams.",
      ),
      h(
        "button",
        { type: "button", onClick: () => session.retryNow() },
        h(Icon, { name: "retry" }),
        "Try again",
      ),
    );
  }
  return null;
}

/** @param {{ at: number | null }} props */
function Countdown({ at }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, []);
  const s = at === null ? 0 : Math.ceil((at - Date.now()) / 1000);
  return h("span", null, s <= 0 ? "Retrying…" : `Next attempt in ${s} s.`);
}

/** Shown before the first answer. @param {{ state: NodeState, session: Session }} props */
function Waiting({ state, session }) {
  if (state.phase !== "lost") {
    return h("div", { class: "waiting" }, h(Logo, null), h("p", null, "Connecting to the node…"));
  }
  return h(
    "div",
    { class: "waiting" },
    h(Icon, { name: "lost", size: 32 }),
    h(
      "p",
      { class: "waiting-title" },
      state.failure === null ? "The node does not answer" : "The node answers with an error",
    ),
    h(
      "p",
      { class: "muted" },
      state.failure === null
        ? `Is it running? This page connects to ${location.host}. `
        : `${state.failure} `,
      h(Countdown, { at: state.retryAt }),
    ),
    h(
      "button",
      { type: "button", onClick: () => session.retryNow() },
      h(Icon, { name: "retry" }),
      "Try now",
    ),
  );
}

/** @param {{ session: Session, isWrong: boolean }} props */
function Locked({ session, isWrong }) {
  return h(
    "div",
    { class: "waiting locked" },
    h(Icon, { name: "key", size: 32 }),
    h("p", { class: "waiting-title" }, "This node needs a token"),
    h(TokenForm, { session, isWrong, onDone: () => {} }),
  );
}

/** @param {{ session: Session, isWrong: boolean, onClose: () => void }} props */
function TokenDialog({ session, isWrong, onClose }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => dialog.current?.showModal(), []);
  return h(
    "dialog",
    { ref: dialog, class: "token-dialog", "aria-labelledby": "token-title", onClose },
    h(
      "div",
      { class: "dialog-head" },
      h("h2", { id: "token-title" }, "Token"),
      h("button", {
        type: "button",
        class: "icon-button",
        "aria-label": "Close",
        onClick: () => dialog.current?.close(),
      }, h(Icon, { name: "close" })),
    ),
    h(TokenForm, { session, isWrong, onDone: () => dialog.current?.close() }),
  );
}

/** @param {{ session: Session, isWrong: boolean, onDone: () => void }} props */
function TokenForm({ session, isWrong, onDone }) {
  const [text, setText] = useState("");
  const using = useAction(async (/** @type {string} */ token) => {
    const isAccepted = await session.useToken(token).catch((error) => {
      throw new Error(messageOf(error));
    });
    if (isAccepted) onDone();
    return isAccepted;
  });
  const isRefused = using.result === false || (isWrong && using.result === null && !using.busy);
  return h(
    "form",
    {
      class: "token-form",
      onSubmit: (event) => {
        event.preventDefault();
        if (text !== "") void using.run(text);
      },
    },
    h(
      "p",
      { class: "muted" },
      "Enter the API_TOKEN of the node. This tab keeps it until you close the tab.",
    ),
    h(
      "label",
      { class: "field" },
      h("span", null, "API token"),
      h("input", {
        type: "password",
        value: text,
        autocomplete: "current-password",
        autofocus: true,
        "aria-invalid": isRefused ? "true" : undefined,
        onInput: (event) => setText(event.currentTarget.value),
      }),
    ),
    h(
      "div",
      { role: "status" },
      isRefused && h(Note, { tone: "bad" }, "The node rejected this token."),
      using.error !== null && h(Note, { tone: "bad" }, using.error),
    ),
    h(
      "button",
      { type: "submit", class: "primary", disabled: text === "" || using.busy },
      using.busy ? "Trying…" : "Use this token",
    ),
  );
}

const THEMES =
  /** @type {const} */ ([["system", "Same as the system"], ["light", "Light"], ["dark", "Dark"]]);
/** @type {Record<typeof THEMES[number][0], string>} */
const THEME_ICONS = { system: "system", light: "sun", dark: "moon" };

function ThemeSwitch() {
  const { choice } = useTheme();
  return h(
    "div",
    { class: "theme-switch", role: "group", "aria-label": "Appearance" },
    THEMES.map(([name, label]) =>
      h("button", {
        key: name,
        type: "button",
        "aria-pressed": name === choice ? "true" : "false",
        "aria-label": label,
        title: label,
        onClick: () => choose(name),
      }, h(Icon, { name: THEME_ICONS[name] }))
    ),
  );
}

/** The logo: rings around a node. */
function Logo() {
  return h(
    "svg",
    { class: "logo", viewBox: "0 0 24 24", width: 24, height: 24, "aria-hidden": "true" },
    h("circle", { cx: 12, cy: 12, r: 10.25, class: "logo-ring" }),
    h("circle", { cx: 12, cy: 12, r: 6.25, class: "logo-ring" }),
    h("circle", { cx: 19.25, cy: 4.75, r: 2, class: "logo-peer" }),
    h("circle", { cx: 5.75, cy: 12, r: 1.75, class: "logo-peer" }),
    h("circle", { cx: 14.5, cy: 17.75, r: 1.75, class: "logo-peer" }),
    h("path", { d: "M12 9.25l2.75 2.75l-2.75 2.75l-2.75-2.75z", class: "logo-node" }),
  );
}
