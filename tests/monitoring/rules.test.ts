// Alerts fire when they should, and the alerts and the dashboard use only metrics that a node has.

import assert from "node:assert/strict";
import dashboard from "../../packaging/grafana/dmnode.json" with { type: "json" };
import { withServedNode } from "./nodes.ts";
import { isPassedOver, promtool } from "./tools.ts";

const ALERTS = new URL("../../packaging/prometheus/alerts.yml", import.meta.url);
const ALERT_TESTS = new URL("../../packaging/prometheus/alerts.test.yml", import.meta.url);

/** Metrics from other sources: Prometheus itself, and its node_exporter. */
const OF_OTHERS = new Set(["up", "node_netstat_Udp_RcvbufErrors"]);

/** Words of PromQL that are not metrics. */
const WORDS =
  /\b(sum|rate|increase|changes|histogram_quantile|time|by|on|and|unless|or|le|job|instance|label_values)\b/g;

/** Names of all metrics in an expression. */
function metricsIn(expression: string): string[] {
  const bare = expression
    .replace(/\{[^}]*\}|\[[^\]]*\]|"[^"]*"/g, " ")
    .replace(/\b(by|on|without)\s*\([^)]*\)/g, " ")
    .replace(WORDS, " ");
  return bare.match(/[a-zA-Z_:][\w:]*/g) ?? [];
}

/** All expressions of the dashboard: in panels, variables and annotations. */
function expressionsOf(dashboard: unknown): string[] {
  if (Array.isArray(dashboard)) return dashboard.flatMap(expressionsOf);
  if (typeof dashboard !== "object" || dashboard === null) return [];
  return Object.entries(dashboard).flatMap(([name, value]) => {
    const isQuery = name === "expr" || name === "definition";
    if (isQuery && typeof value === "string") {
      // In label_values(metric, label), the label is not a metric.
      return [value.replace(/^label_values\((.*), *\w+\)$/, "$1")];
    }
    return expressionsOf(value);
  });
}

Deno.test({ name: "the alerts are valid rules", ignore: isPassedOver }, async () => {
  const { success, text } = await promtool(["check", "rules", "packaging/prometheus/alerts.yml"]);
  assert.ok(success, text);
  // promtool also succeeds if a file has no rules.
  assert.match(text, /SUCCESS: \d\d rules found/);
});

Deno.test({ name: "the alerts fire when they should", ignore: isPassedOver }, async () => {
  const { success, text } = await promtool([
    "test",
    "rules",
    "packaging/prometheus/alerts.test.yml",
  ]);
  assert.ok(success, text);
});

Deno.test("each alert has its texts, and tests in which it is silent and fires", async () => {
  const rules = await Deno.readTextFile(ALERTS), tests = await Deno.readTextFile(ALERT_TESTS);
  const parts = rules.split(/^ +- alert: /m).slice(1);
  assert.ok(parts.length >= 15);
  for (const part of parts) {
    const name = /^\w+/.exec(part)![0];
    for (const member of ["expr", "severity", "summary", "description"]) {
      assert.match(part, new RegExp(`^ +${member}: \\S`, "m"), `${name} has no ${member}`);
    }
    assert.match(tests, new RegExp(`alertname: ${name}\\n +exp_alerts:`), `${name} never fires`);
    assert.match(tests, new RegExp(`eval_time: \\w+, alertname: ${name} }`), `${name} never rests`);
  }
});

Deno.test("a node's /metrics has every metric of the dashboard and the alerts", async () => {
  const rules = await Deno.readTextFile(ALERTS);
  const ofAlerts = Array.from(
    rules.matchAll(/^ +expr: (?:\|\n((?: {10,}.*\n)+)|(.*))/gm),
    ([, block, line]) => block ?? line,
  );
  const ofDashboard = expressionsOf(dashboard);
  assert.ok(ofAlerts.length >= 15 && ofDashboard.length >= 40);
  await withServedNode(1, async ({ url }) => {
    const text = await (await fetch(`${url}/metrics`)).text();
    const types = new Map(
      Array.from(text.matchAll(/^# TYPE (\w+) (\w+)$/gm), ([, name, type]) => [name, type]),
    );
    for (const expression of [...ofAlerts, ...ofDashboard]) {
      const names = metricsIn(expression);
      assert.ok(names.length > 0, `there is no metric in ${expression}`);
      for (const name of names) {
        const histogram = types.get(name.replace(/_(bucket|sum|count)$/, "")) === "histogram";
        assert.ok(
          types.has(name) || histogram || OF_OTHERS.has(name),
          `${name} is no metric, in ${expression}`,
        );
        assert.ok(types.get(name) !== "histogram", `${name} has no value of its own`);
      }
    }
  });
});

Deno.test("the check finds an unknown metric in an expression", () => {
  const planted =
    'sum by (job, le) (rate(dmnode_nothing_total{a="b"}[5m])) and on (job) dmnode_x > 1';
  assert.deepEqual(metricsIn(planted), ["dmnode_nothing_total", "dmnode_x"]);
});
