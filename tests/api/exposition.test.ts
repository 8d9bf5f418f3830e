// The text formats of metrics, with every character that has a meaning in them.

import assert from "node:assert/strict";
import { Counter, exposition, Histogram, type Metric } from "../../src/api/exposition.ts";

Deno.test("a label and a help text with special characters stay on one line", () => {
  const counter = new Counter<"path">({ name: "asked_total", help: "Back\\slash\nand line" });
  counter.increment({ path: '\\"\n' });
  assert.equal(
    exposition([counter], "prometheus"),
    "# HELP asked_total Back\\\\slash\\nand line\n# TYPE asked_total counter\n" +
      'asked_total{path="\\\\\\"\\n"} 1\n',
  );
});

Deno.test("OpenMetrics names a counter without _total, and ends with EOF", () => {
  const counter = new Counter<never>({ name: "asked_total", help: "Requests.", from: [{}] });
  assert.equal(
    exposition([counter], "openMetrics"),
    "# HELP asked Requests.\n# TYPE asked counter\nasked_total 0\n# EOF\n",
  );
});

Deno.test("a histogram counts each value in its bucket and in all larger ones", () => {
  const histogram = new Histogram<"on">({ name: "wait_seconds", help: "Waits." }, [1, 2]);
  for (const value of [0.5, 1, 1.5, 8]) histogram.observe({ on: "disk" }, value);
  assert.equal(
    exposition([histogram], "prometheus"),
    `# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
wait_seconds_bucket{on="disk",le="1"} 2
wait_seconds_bucket{on="disk",le="2"} 3
wait_seconds_bucket{on="disk",le="+Inf"} 4
wait_seconds_sum{on="disk"} 11
wait_seconds_count{on="disk"} 4
`,
  );
});

Deno.test("a metric without a value has a description but no sample", () => {
  const unknown: Metric = { name: "size", help: "Size.", type: "gauge", samples: () => [] };
  assert.equal(exposition([unknown], "prometheus"), "# HELP size Size.\n# TYPE size gauge\n");
});
