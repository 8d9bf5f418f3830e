// A node that runs from source exports traces, logs and metrics with Deno's OpenTelemetry, as docs/operations.md says.

import assert from "node:assert/strict";
import { until } from "../network/nodes.ts";
import { NodeProcess } from "../program/program.ts";

interface Attribute {
  readonly key: string;
  readonly value: { readonly stringValue?: string };
}

interface Span {
  readonly name: string;
  readonly traceId: string;
  readonly attributes: readonly Attribute[];
}

interface LogRecord {
  readonly severityText: string;
  readonly body: { readonly stringValue: string };
}

/** The parts of the three kinds of exported documents that the test reads. */
interface Exported {
  readonly resourceSpans?: readonly {
    readonly scopeSpans: readonly { readonly spans: Span[] }[];
  }[];
  readonly resourceLogs?: readonly {
    readonly scopeLogs: readonly { readonly logRecords: LogRecord[] }[];
  }[];
  readonly resourceMetrics?: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeMetrics: readonly { readonly metrics: readonly { readonly name: string }[] }[];
  }[];
}

/** An OTLP/HTTP collector that keeps all documents. */
class Collector {
  readonly spans: Span[] = [];
  readonly logs: LogRecord[] = [];
  readonly metrics = new Set<string>();
  service = "";
  readonly paths = new Set<string>();
  readonly #server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      this.paths.add(new URL(request.url).pathname);
      this.#take(await request.json());
      return Response.json({});
    },
  );

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  #take({ resourceSpans = [], resourceLogs = [], resourceMetrics = [] }: Exported): void {
    for (const { scopeSpans } of resourceSpans) {
      for (const { spans } of scopeSpans) this.spans.push(...spans);
    }
    for (const { scopeLogs } of resourceLogs) {
      for (const { logRecords } of scopeLogs) this.logs.push(...logRecords);
    }
    for (const { resource, scopeMetrics } of resourceMetrics) {
      const name = resource.attributes.find(({ key }) => key === "service.name");
      this.service = name?.value.stringValue ?? "";
      for (const { metrics } of scopeMetrics) {
        for (const { name } of metrics) this.metrics.add(name);
      }
    }
  }

  async close(): Promise<void> {
    await this.#server.shutdown();
  }
}

function attribute({ attributes }: Span, wanted: string): string | undefined {
  return attributes.find(({ key }) => key === wanted)?.value.stringValue;
}

Deno.test({
  // For an executable, the exports are decided at compile time.
  name: "with OTEL_DENO a node's spans, logs and metrics arrive at a collector",
  ignore: Deno.env.has("DMNODE"),
}, async () => {
  const dataDir = await Deno.makeTempDir({ prefix: "dmnode-telemetry-" });
  const collector = new Collector();
  const node = await NodeProcess.start(dataDir, [], {
    env: {
      OTEL_DENO: "true",
      OTEL_SERVICE_NAME: "dmnode-test",
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_METRIC_EXPORT_INTERVAL: "200",
      OTEL_BSP_SCHEDULE_DELAY: "100",
      OTEL_BLRP_SCHEDULE_DELAY: "100",
    },
  });
  try {
    const ready = await node.line(({ message }) => message.startsWith("Listening"));
    const stored = await fetch(`${ready.api}/network/store`, { method: "POST", body: "a value" });
    const { hash } = await stored.json();
    await (await fetch(`${ready.api}/data/${hash}`)).bytes();
    await (await fetch(`${ready.api}/data/${"0".repeat(40)}`)).bytes();
    const named = (name: string) => collector.spans.filter((span) => span.name === name);
    await until(
      () => named("GET /data/{hash}").length >= 2 && named("dmnode.fetch").length === 2,
      "spans arrive",
    );
    await until(() => collector.metrics.has("http.server.request.duration"), "metrics arrive");
    await until(
      () => collector.logs.some(({ body }) => body.stringValue.includes("Ready")),
      "logs",
    );

    assert.equal(collector.service, "dmnode-test");
    assert.deepEqual([...collector.paths].sort(), ["/v1/logs", "/v1/metrics", "/v1/traces"]);
    assert.deepEqual(
      named("dmnode.fetch").map((span) => attribute(span, "dmnode.outcome")).sort(),
      ["found", "not_found"],
    );
    // Deno's span of the request and the node's span of the operation are in one trace.
    const [store] = named("dmnode.store"), request = named("POST /network/store");
    assert.ok(request.some(({ traceId }) => traceId === store.traceId));
    assert.equal(attribute(request[0], "http.route"), "/network/store");

    const log = collector.logs.find(({ body }) => body.stringValue.includes("Ready"))!;
    assert.equal(log.severityText, "INFO");
    assert.equal(JSON.parse(log.body.stringValue).node_id, ready.node_id);

    const manual = await Deno.readTextFile(new URL("../../docs/operations.md", import.meta.url));
    for (
      const name of [
        ...collector.metrics,
        ...new Set(collector.spans.map(({ name }) => name)),
      ]
    ) {
      const isOfRoute = /^[A-Z]+ \//.test(name) || name === "GET" || name === "POST";
      if (!isOfRoute) assert.ok(manual.includes(`\`${name}\``), `the manual has no ${name}`);
    }
  } finally {
    await node.stop();
    await collector.close();
    await Deno.remove(dataDir, { recursive: true });
  }
});
