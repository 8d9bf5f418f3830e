// The summary and the report of a run.

import assert from "node:assert/strict";
import { escape, report } from "../../src/sim/report.ts";
import theme from "../../src/web/theme.css" with { type: "text" };
import { type CompletedRun, conditions, fit, summary } from "../../src/sim/summary.ts";
import { CALM, simulate } from "./scenarios.ts";

const EVIL = `<script src="https://example.org/x.js">&'"`;

function completed(nodes: number): CompletedRun {
  const changes = { nodes, values: 5, lookups: 20, latency: { ...CALM.latency, name: EVIL } };
  return {
    scenario: { ...CALM, ...changes },
    result: simulate(changes),
    wallMs: 1_500,
    rssBytes: 1_000_000,
  };
}

const RUNS = [completed(20), completed(40)];

Deno.test("the summary has all documented keys with figures", () => {
  const all = summary(RUNS[0]);
  const keys = "nodes seed lookups found success hops queries latency_ms virtual_s wall_s " +
    "rss_bytes bytes_per_node_s digest fetches replicas idle contacts_per_node " +
    "network_size_estimate packets copies replication load reaches eclipse alarms stores";
  assert.deepEqual(Object.keys(all).sort(), keys.split(" ").sort());
  assert.deepEqual(Object.keys(all.hops), ["mean", "p50", "p95", "max"]);
  assert.deepEqual(Object.keys(all.queries), ["mean", "p95"]);
  assert.deepEqual(Object.keys(all.latency_ms), ["mean", "p50", "p95", "p99"]);
  assert.equal(all.nodes, 20);
  assert.equal(all.lookups, 20);
  assert.equal(all.wall_s, 1.5);
  assert.deepEqual(Object.keys(all.copies!), ["mean", "least", "stale", "lost"]);
  assert.deepEqual(Object.keys(all.replication), ["published", "completed", "copies"]);
  const byType = Object.values(all.load.by_type);
  const sum = byType.reduce((packets, of) => packets + of.packets_per_s, 0);
  assert.ok(sum > 0 && Math.abs(sum - all.load.packets_per_s) < 0.001 * byType.length);
  for (const value of Object.values(all)) assert.notEqual(value, undefined);
});

Deno.test("the report loads nothing from outside, and escapes all given text", () => {
  for (const runs of [RUNS, RUNS.slice(0, 1)]) {
    const page = report(runs, { made: `made by ${EVIL}`, theme });
    assert.ok(page.includes(escape(EVIL)));
    const html = page.replaceAll(escape(EVIL), "");
    assert.match(html, /^<!doctype html>/);
    assert.equal(html.match(/<svg /g)?.length, 4);
    assert.doesNotMatch(
      html,
      /<script|<link|<img|<iframe|@import|url\(|\bsrc=|\bhref=(?!"#)|<[^>]*https?:/,
    );
    assert.doesNotMatch(html, /NaN|Infinity|undefined/);
    assert.match(html, /light-dark\(/);
    assert.equal(html.match(/<details>/g)?.length, 4, "each plot has its figures as a table");
    assert.equal(html.match(/<figcaption><h2 [^>]*>[^<]+<\/h2><p>[^<]{40,}/g)?.length, 4);
    assert.match(html, /width=device-width/);
    for (const { result } of runs) assert.ok(html.includes(result.digest));
  }
});

Deno.test("the fitted line is the least-squares line", () => {
  assert.deepEqual(fit([[1, 3], [2, 5], [3, 7]]), { slope: 2, intercept: 1 });
  assert.equal(fit([[1, 3]]), undefined);
  assert.equal(fit([[1, 3], [1, 4]]), undefined);
});

Deno.test("the conditions name exactly the scenario's disturbances", () => {
  const words = conditions({ ...CALM, silent: 0.25, settleMinutes: 5, hours: 2 });
  assert.ok(words.includes("25 % of nodes silent") && words.includes("over 2 h"));
  assert.ok(words.includes("5 min to settle") && words.includes("peers checked every 60 s"));
  assert.ok(!words.some((word) => /NAT|killed|session|mutable/.test(word)));
});
