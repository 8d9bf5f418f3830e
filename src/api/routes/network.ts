// Routes for peers, pings and lookups.

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { z } from "zod";
import type { HostPort } from "../../config/addresses.ts";
import { Endpoint } from "../../krpc/endpoint.ts";
import type { AddressPingOutcome } from "../../node_service.ts";
import { exampleOf, NODE_ID } from "../../reports/fields.ts";
import { Lookup, PeerDetail, Peers, Ping, TRACED_LOOKUP } from "../../reports/peers.ts";
import { Problem } from "../problems.ts";
import { FindQuery, NodeIdParams, PeersQuery, PingQuery } from "../schemas.ts";
import { BAD_ID, json, problem } from "./answers.ts";
import { get, type RouteDeps, serve } from "./route.ts";

export function networkRoutes(app: OpenAPIHono, { service, access, metrics }: RouteDeps): void {
  const reading = { tags: ["Network"], ...access.open("read") };
  const sending = { tags: ["Network"], ...access.sending("fetch") };

  serve(app, {
    ...reading,
    ...get("/network/peers", "listPeers", "List the peers of the routing table"),
    description:
      "`bucket_distribution` counts the contacts of the whole table by the bit length of the XOR of the two ids. " +
      "The counts add up to `routing_table_size`, even with a filter.",
    request: { query: PeersQuery },
    responses: {
      200: json("The peers", Peers, "One of 156 peers"),
      ...problem(400, "query parameter limit: expected a whole number from 1 to 10000."),
    },
  }, async (c) => c.json(await service.peers(c.req.valid("query")), 200));

  serve(app, {
    ...reading,
    ...get("/network/peers/{node_id}", "explainPeer", "Explain a peer's score and latest changes"),
    description:
      "Adds to an entry of the list the parts of the score and the latest changes with their reasons. A peer that " +
      'left the table is explained too, with `"health": "gone"`, as long as it is among the latest 1,000.',
    request: { params: NodeIdParams },
    responses: {
      200: json("The peer", PeerDetail, "A peer that missed its check"),
      ...BAD_ID,
      ...problem(404, `This node knows nothing about node ${NODE_ID}.`),
    },
  }, async (c) => {
    const id = c.req.valid("param").node_id;
    const peer = await service.peer(id);
    if (peer === undefined) throw new Problem(404, `This node knows nothing about node ${id}.`);
    return c.json(peer, 200);
  });

  serve(app, {
    ...sending,
    ...get("/network/ping/{node_id}", "pingNode", "Ping a node"),
    description: "The node is taken from the routing table, or else found by a lookup.",
    request: { params: NodeIdParams },
    responses: {
      200: json("The node answered", Ping, "The node answered"),
      ...BAD_ID,
      ...problem(404, `No node ${NODE_ID} was found.`),
      ...problem(504, `Node ${NODE_ID} at 192.0.2.10:8000 did not answer.`),
    },
  }, async (c) => {
    const id = c.req.valid("param").node_id;
    const ping = () => service.ping(id);
    const result = await metrics.measure("ping", ping, ({ outcome }) => outcome);
    switch (result.outcome) {
      case "pong":
        return c.json(result.report, 200);
      case "unknown":
        throw new Problem(404, `No node ${id} was found.`);
      case "timeout":
        throw new Problem(504, `Node ${id} at ${result.address} did not answer.`);
    }
  });

  serve(app, {
    ...sending,
    ...get("/network/ping", "pingAddress", "Ping an address"),
    description:
      "Pings the node at an address. A name stands for the first of its addresses that `--allow-net` permits.",
    request: { query: PingQuery },
    responses: PING_RESPONSES,
  }, async (c) => {
    const { address } = c.req.valid("query");
    const result = await metrics.measure("ping", () => service.pingAddress(address), pingLabel);
    return c.json(pinged(address, result), 200);
  });

  serve(app, {
    ...sending,
    ...get("/network/find/{node_id}", "findNode", "Look up the nodes closest to an id"),
    description:
      "`nodes` are the K_BUCKET_SIZE closest nodes that answered, nearest first. With `?trace=1` the answer includes " +
      "every query of the lookup.",
    request: { params: NodeIdParams, query: FindQuery },
    responses: {
      200: json("The result of the lookup", Lookup, {
        traced: { summary: "With ?trace=1", value: TRACED_LOOKUP },
        bare: { summary: "Without it", value: exampleOf(Lookup) },
      }),
      ...BAD_ID,
    },
  }, async (c) => {
    const find = () => service.find(c.req.valid("param").node_id);
    const { trace, ...report } = await metrics.measure(
      "find",
      find,
      ({ found }) => found ? "found" : "not_found",
    );
    return c.json(c.req.valid("query").trace ? { ...report, trace } : report, 200);
  });
}

/** The responses of an operation that pings a node at an address. */
export const PING_RESPONSES = {
  200: json("The node answered", Ping, "The node answered"),
  ...problem(400, "query parameter address: it has no port; expected host:port."),
  ...problem(403, notAllowed("192.0.2.10:8000")),
  ...problem(404, "The name has no address that this node can use."),
  ...problem(504, "Nobody answered at 192.0.2.10:8000."),
} as const;

/** The label under which the metrics count the outcome of a ping to an address. */
export function pingLabel({ outcome }: AddressPingOutcome): "pong" | "timeout" | "unknown" {
  return outcome === "pong" || outcome === "timeout" ? outcome : "unknown";
}

/** The report of a ping to an address. Throws a Problem for any outcome but an answer. */
export function pinged(address: HostPort, result: AddressPingOutcome): z.output<typeof Ping> {
  switch (result.outcome) {
    case "pong":
      return result.report;
    case "no_address":
      throw new Problem(404, noAddress(address));
    case "not_allowed":
      throw new Problem(403, notAllowed(result.address));
    case "timeout":
      throw new Problem(504, `Nobody answered at ${result.address}.`);
  }
}

/** The error for an address to which the node may not send packets. The example response uses the same text. */
function notAllowed(address: string): string {
  const host = address.slice(0, address.lastIndexOf(":")).replace(/^\[|\]$/g, "");
  return `${address} is not permitted by --allow-net. Add ${host} to the node's ALLOW_NET and restart it.`;
}

function noAddress({ host, port }: HostPort): string {
  const endpoint = Endpoint.parse(host, port);
  return endpoint === undefined
    ? "The name has no address that this node can use."
    : `This node does not use IPv${endpoint.family}; see its P2P_HOST.`;
}
