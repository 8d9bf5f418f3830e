// The JavaScript of the dashboard, as readable modules. packaging/compile.ts replaces this file in an executable: there,
// a few bundles take the place of all modules.

import preact from "preact" with { type: "text" };
import preactHooks from "preact/hooks" with { type: "text" };
import uplot from "uplot/dist/uPlot.esm.js" with { type: "text" };
import actions from "./actions.js" with { type: "text" };
import api from "./api.js" with { type: "text" };
import app from "./app.js" with { type: "text" };
import appearance from "./appearance.js" with { type: "text" };
import buckets from "./buckets.js" with { type: "text" };
import charts from "./charts.js" with { type: "text" };
import chart from "./chart.js" with { type: "text" };
import clipboard from "./clipboard.js" with { type: "text" };
import convergence from "./convergence.js" with { type: "text" };
import docs from "./docs.js" with { type: "text" };
import docsTry from "./docs_try.js" with { type: "text" };
import element from "./element.js" with { type: "text" };
import eventList from "./event_list.js" with { type: "text" };
import eventText from "./event_text.js" with { type: "text" };
import fetchForm from "./fetch_form.js" with { type: "text" };
import findings from "./findings.js" with { type: "text" };
import firstPaint from "./first_paint.js" with { type: "text" };
import format from "./format.js" with { type: "text" };
import hooks from "./hooks.js" with { type: "text" };
import icons from "./icons.js" with { type: "text" };
import ids from "./ids.js" with { type: "text" };
import json from "./json.js" with { type: "text" };
import lazyPart from "./lazy.js" with { type: "text" };
import live from "./live.js" with { type: "text" };
import loss from "./loss.js" with { type: "text" };
import main from "./main.js" with { type: "text" };
import mapData from "./map_data.js" with { type: "text" };
import mapLayout from "./map_layout.js" with { type: "text" };
import mediaType from "./media_type.js" with { type: "text" };
import nodeState from "./node_state.js" with { type: "text" };
import parts from "./parts.js" with { type: "text" };
import peerMap from "./peer_map.js" with { type: "text" };
import preview from "./preview.js" with { type: "text" };
import reachCase from "./reach_case.js" with { type: "text" };
import reachability from "./reachability.js" with { type: "text" };
import routes from "./routes.js" with { type: "text" };
import search from "./search.js" with { type: "text" };
import seal from "./seal.js" with { type: "text" };
import session from "./session.js" with { type: "text" };
import stores from "./stores.js" with { type: "text" };
import table from "./table.js" with { type: "text" };
import threats from "./threats.js" with { type: "text" };
import transfer from "./transfer.js" with { type: "text" };
import views from "./views.js" with { type: "text" };
import viewEvents from "./views/events.js" with { type: "text" };
import viewLoss from "./views/loss.js" with { type: "text" };
import viewLookups from "./views/lookups.js" with { type: "text" };
import viewMap from "./views/map.js" with { type: "text" };
import viewNode from "./views/node.js" with { type: "text" };
import viewOverview from "./views/overview.js" with { type: "text" };
import viewPeer from "./views/peer.js" with { type: "text" };
import viewPeers from "./views/peers.js" with { type: "text" };
import viewPublished from "./views/published.js" with { type: "text" };
import viewReachability from "./views/reachability.js" with { type: "text" };
import viewSearch from "./views/search.js" with { type: "text" };
import viewStore from "./views/store.js" with { type: "text" };
import viewSwarms from "./views/swarms.js" with { type: "text" };
import viewThreats from "./views/threats.js" with { type: "text" };
import viewTraffic from "./views/traffic.js" with { type: "text" };
import viewValue from "./views/value.js" with { type: "text" };
import viewValues from "./views/values.js" with { type: "text" };

/** The JavaScript modules that the browser runs. Their types are declared in JSDoc comments. */
export const SCRIPTS: Readonly<Record<string, string>> = {
  "actions.js": actions,
  "api.js": api,
  "app.js": app,
  "appearance.js": appearance,
  "buckets.js": buckets,
  "chart.js": chart,
  "charts.js": charts,
  "clipboard.js": clipboard,
  "convergence.js": convergence,
  "docs.js": docs,
  "docs_try.js": docsTry,
  "element.js": element,
  "event_list.js": eventList,
  "event_text.js": eventText,
  "fetch_form.js": fetchForm,
  "findings.js": findings,
  "first_paint.js": firstPaint,
  "format.js": format,
  "hooks.js": hooks,
  "icons.js": icons,
  "ids.js": ids,
  "json.js": json,
  "lazy.js": lazyPart,
  "live.js": live,
  "loss.js": loss,
  "main.js": main,
  "map_data.js": mapData,
  "map_layout.js": mapLayout,
  "media_type.js": mediaType,
  "node_state.js": nodeState,
  "parts.js": parts,
  "peer_map.js": peerMap,
  "preview.js": preview,
  "reach_case.js": reachCase,
  "reachability.js": reachability,
  "routes.js": routes,
  "search.js": search,
  "seal.js": seal,
  "session.js": session,
  "stores.js": stores,
  "table.js": table,
  "threats.js": threats,
  "transfer.js": transfer,
  "views.js": views,
  "views/events.js": viewEvents,
  "views/loss.js": viewLoss,
  "views/lookups.js": viewLookups,
  "views/map.js": viewMap,
  "views/node.js": viewNode,
  "views/overview.js": viewOverview,
  "views/peer.js": viewPeer,
  "views/peers.js": viewPeers,
  "views/published.js": viewPublished,
  "views/reachability.js": viewReachability,
  "views/search.js": viewSearch,
  "views/store.js": viewStore,
  "views/swarms.js": viewSwarms,
  "views/threats.js": viewThreats,
  "views/traffic.js": viewTraffic,
  "views/value.js": viewValue,
  "views/values.js": viewValues,
  "vendor/preact.js": preact,
  "vendor/preact_hooks.js": preactHooks,
  "vendor/uplot.js": uplot,
};

/** Modules that the page loads when it first shows what they draw, and modules that only these import. */
const LATER =
  /^(views\.js|views\/(?!overview)|(actions|chart|convergence|fetch_form|loss|map_data|media_type|preview|reach_case|seal|search|stores|table|threats|transfer|vendor\/uplot)\.js$)/;

/** The modules that only the API's reference page loads. */
const REFERENCE = /^(docs|docs_try|element)\.js$/;

/** The modules that the dashboard needs at the start. */
export const FIRST: readonly string[] = Object.keys(SCRIPTS).filter((name) =>
  name !== "first_paint.js" && !LATER.test(name) && !REFERENCE.test(name)
);

/** The URLs of the packages that the modules import by name. The type checker uses the same names. */
export const IMPORTS: Readonly<Record<string, string>> = {
  "preact": "/assets/vendor/preact.js",
  "preact/hooks": "/assets/vendor/preact_hooks.js",
  "uplot": "/assets/vendor/uplot.js",
};
