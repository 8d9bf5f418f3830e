// A real Prometheus scrapes a real node. Every panel of the dashboard must then have data.

import assert from "node:assert/strict";
import { join } from "node:path";
import dashboard from "../../packaging/grafana/dmnode.json" with { type: "json" };
import { until } from "../network/nodes.ts";
import { useApi, withServedNode } from "./nodes.ts";
import { isPassedOver, tool } from "./tools.ts";

/** Panels that are empty in a small healthy network. */
const EMPTY_IF_HEALTHY: Readonly<Record<string, string>> = {
  "Reachable from outside": "it is not known on loopback",
  "Dropped packets": "no packet is dropped",
  "Refused requests": "no request is refused",
};

interface Answer {
  readonly status: string;
  readonly error?: string;
  readonly data: { readonly result: readonly { readonly value: [number, string] }[] };
}

/** Starts Prometheus. Resolves when it is ready. */
async function startPrometheus(target: string, directory: string) {
  const config = join(directory, "prometheus.yml");
  await Deno.writeTextFile(
    config,
    `global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [${new URL("../../packaging/prometheus/alerts.yml", import.meta.url).pathname}]
scrape_configs: [{ job_name: dmnode, static_configs: [{ targets: ["${target}"] }] }]
`,
  );
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  const child = new Deno.Command(tool("prometheus"), {
    args: [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(directory, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--log.level=error",
    ],
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  const url = `http://127.0.0.1:${port}`;
  const ask = async (path: string): Promise<Answer> => {
    const response = await fetch(url + path);
    return await response.json();
  };
  await until(async () => {
    try {
      const response = await fetch(`${url}/-/ready`);
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }, "Prometheus is ready");
  return { child, ask };
}

const query = (expression: string) =>
  "/api/v1/query?query=" + encodeURIComponent(
    expression.replaceAll("$__rate_interval", "30s").replaceAll(/"\$(job|instance)"/g, '".*"'),
  );

Deno.test({
  name: "Prometheus reads a node, and the dashboard's panels show what it read",
  ignore: isPassedOver || tool("prometheus") === "prometheus" && !Deno.env.get("CI"),
}, async (t) => {
  // Fewer nodes give no estimate of the network's size.
  await withServedNode(9, async ({ url }) => {
    const directory = await Deno.makeTempDir({ prefix: "dmnode-prometheus-" });
    const { child, ask } = await startPrometheus(new URL(url).host, directory);
    try {
      const scrapes = async () => {
        const answer = await ask(query('count_over_time(up{job="dmnode"}[1m])'));
        return Number(answer.data.result[0]?.value[1] ?? 0);
      };
      await until(async () => await scrapes() >= 1, "it is scraped");
      await useApi(url);
      const before = await scrapes();
      await until(async () => await scrapes() >= before + 3, "it is scraped again");

      await t.step("Prometheus accepts all metrics, as OpenMetrics", async () => {
        const up = await ask(query('up{job="dmnode"}'));
        assert.equal(up.data.result[0]?.value[1], "1");
        const types = await fetch(`${url}/metrics`, {
          headers: { accept: "application/openmetrics-text;version=1.0.0,text/plain;q=0.5" },
        });
        assert.match(types.headers.get("content-type")!, /^application\/openmetrics-text;/);
        const samples = (await types.text()).split("\n").filter((line) => /^[a-z]/.test(line));
        const scraped = await ask(query('scrape_samples_scraped{job="dmnode"}'));
        // Some series appear only with their first count.
        const difference = samples.length - Number(scraped.data.result[0]?.value[1]);
        assert.ok(difference >= 0 && difference < 60, `${difference} samples are missing`);
      });

      for (const panel of dashboard.panels) {
        if (!("targets" in panel) || panel.targets === undefined) continue;
        await t.step(panel.title, async () => {
          for (const { expr } of panel.targets) {
            const answer = await ask(query(expr));
            assert.equal(answer.status, "success", `${expr}: ${answer.error}`);
            if (panel.title in EMPTY_IF_HEALTHY) continue;
            assert.ok(answer.data.result.length > 0, `${expr} has no value`);
            // A rate of zero divided by a rate of zero gives NaN.
            const values = answer.data.result.map(({ value: [, text] }) => Number(text));
            assert.ok(values.some((value) => !Number.isNaN(value)), `${expr} is no number`);
          }
        });
      }

      await t.step("a healthy node raises no alert", async () => {
        const alerts = await ask(query('ALERTS{alertstate="firing"}'));
        assert.deepEqual(alerts.data.result, []);
      });
    } finally {
      child.kill("SIGTERM");
      await child.status;
      await Deno.remove(directory, { recursive: true });
    }
  });
});
