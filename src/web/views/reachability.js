// The reachability of the node: whether strangers reach it, why not, and what to do about it.

import { h } from "preact";
import { Icon } from "../icons.js";
import { Card, Copy, Facts } from "../parts.js";
import { reachCases, worksAnyway } from "../reach_case.js";
import { reachabilityFacts } from "../reachability.js";

/** @param {{ state: import("../node_state.js").NodeState, now: number }} props */
export function ReachabilityView({ state: { stats }, now }) {
  if (stats === null) return null;
  const cases = reachCases(stats);
  const isHidden = cases.some(({ tone }) => tone === "warn");
  return h(
    "div",
    { class: "reach-view" },
    h("a", { class: "back", href: "#/node" }, h(Icon, { name: "back" }), "Node"),
    cases.map((each) => h(CaseCard, { key: each.family, shown: each, isNamed: cases.length > 1 })),
    isHidden && h(
      Card,
      { title: "What works anyway", id: "anyway-title" },
      h(
        "ul",
        { class: "reach-list" },
        worksAnyway(stats.nat).map((text) => h("li", { key: text }, text)),
      ),
    ),
    h(
      Card,
      { title: "All details", id: "details-title" },
      h(Facts, { rows: reachabilityFacts(stats, now).slice(1) }),
    ),
  );
}

/** @param {{ shown: ReturnType<typeof reachCases>[number], isNamed: boolean }} props */
function CaseCard({ shown: { family, tone, title, evidence, remedy }, isNamed }) {
  const id = `case-${family ?? "all"}`;
  return h(
    "section",
    { class: `card reach-case tone-${tone}`, "aria-labelledby": id },
    h(
      "header",
      { class: "card-head" },
      h("span", { class: "status-light", "aria-hidden": "true" }),
      h("h2", { id, tabIndex: -1 }, isNamed ? `IPv${family}: ${title}` : title),
    ),
    h("h3", null, "Evidence"),
    h("ul", { class: "reach-list" }, evidence.map((text) => h("li", { key: text }, text))),
    remedy.length > 0 && h("h3", null, tone === "warn" ? "Remedy" : "What to do"),
    remedy.length > 0 && h(
      "ol",
      { class: "reach-list" },
      remedy.map(({ text, command, ways = [] }) =>
        h(
          "li",
          { key: text },
          text,
          command !== undefined && h(Command, { command, what: "line" }),
          ways.map((way) =>
            h(
              "div",
              { key: way.text, class: "way" },
              h("small", null, way.text),
              h(Command, { command: way.command, what: `line for ${way.text}` }),
            )
          ),
        )
      ),
    ),
  );
}

/** A line to copy. @param {{ command: string, what: string }} props */
function Command({ command, what }) {
  return h(
    "span",
    { class: "command" },
    h("code", null, command),
    h(Copy, { text: command, what }),
  );
}
