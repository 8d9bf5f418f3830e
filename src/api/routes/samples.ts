// Routes that sample the info-hashes which other nodes store (BEP 51).

import type { OpenAPIHono } from "@hono/zod-openapi";
import { NODE_ID } from "../../reports/fields.ts";
import { NetworkSample, NodeSample } from "../../reports/samples.ts";
import { Problem } from "../problems.ts";
import { RETRY } from "../requests.ts";
import { NodeIdParams, SamplesQuery } from "../schemas.ts";
import { BAD_ID, json, problem } from "./answers.ts";
import { get, type RouteDeps, serve } from "./route.ts";

export function sampleRoutes(app: OpenAPIHono, { service, access, metrics }: RouteDeps): void {
  const sending = { tags: ["Swarms"], ...access.sending("fetch") };

  serve(app, {
    ...sending,
    ...get("/network/samples", "sampleNetwork", "Sample the info-hashes of the network"),
    description:
      "Walks through the network: asks the contacts of this node, and then the nodes that they name, for samples " +
      "of the info-hashes that they store (BEP 51). Each node gets one query, and none while it would return the same " +
      "sample as before. The answer follows the last one: a walk of 1,000 queries takes 50 s.",
    request: { query: SamplesQuery },
    responses: {
      200: json("The info-hashes", NetworkSample, "A walk"),
      ...problem(400, "query parameter queries: expected a whole number from 1 to 1000."),
      ...problem(503, "Other walks are running; try again.", {}, { sent: ["Retry-After"] }),
    },
  }, async (c) => {
    const walk = () => service.sampleNetwork(c.req.valid("query").queries);
    const result = await metrics.measure("sample_network", walk, ({ outcome }) => outcome);
    if (result.outcome === "walked") return c.json(result.report, 200);
    throw new Problem(503, "Other walks are running; try again.", RETRY);
  });

  serve(app, {
    ...sending,
    ...get("/network/samples/{node_id}", "sampleNode", "Sample the info-hashes of one node"),
    description: "The node is taken from the routing table, or else found by a lookup.",
    request: { params: NodeIdParams },
    responses: {
      200: json("The sample", NodeSample, "A sample"),
      ...BAD_ID,
      ...problem(404, `No node ${NODE_ID} was found.`),
      ...problem(502, `Node ${NODE_ID} at 192.0.2.10:8000 gives no samples (BEP 51).`),
      ...problem(504, `Node ${NODE_ID} at 192.0.2.10:8000 did not answer.`),
    },
  }, async (c) => {
    const id = c.req.valid("param").node_id;
    const sample = () => service.sampleNode(id);
    const result = await metrics.measure("sample_node", sample, ({ outcome }) => outcome);
    switch (result.outcome) {
      case "sampled":
        return c.json(result.report, 200);
      case "unknown":
        throw new Problem(404, `No node ${id} was found.`);
      case "unsupported":
        throw new Problem(502, `Node ${id} at ${result.address} gives no samples (BEP 51).`);
      case "timeout":
        throw new Problem(504, `Node ${id} at ${result.address} did not answer.`);
    }
  });
}
