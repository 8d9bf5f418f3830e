// Routes that find the peers of swarms, and announce this host as a peer.

import type { OpenAPIHono } from "@hono/zod-openapi";
import { z } from "zod";
import type { SwarmName } from "../../node_service.ts";
import { exampleOf } from "../../reports/fields.ts";
import {
  AnnouncedSwarm,
  AnnouncedSwarms,
  FoundPeers,
  SCRAPED,
  SERVICE_HASH,
  SwarmPeers,
} from "../../reports/swarms.ts";
import { peersResponse } from "../events/peer_stream.ts";
import { isEventStream } from "../events/stream.ts";
import { Problem } from "../problems.ts";
import { decodeAnnounce, jsonBodies, queryOf, validate } from "../requests.ts";
import { AnnounceRequest, PeersOfSwarmQuery, SwarmParams } from "../schemas.ts";
import { example, headers, json, problem } from "./answers.ts";
import { del, describeGuarded, get, post, serve } from "./route.ts";
import type { ValueRouteOptions } from "./values.ts";

/** Maximum bytes of the JSON of an announcement. */
const BODY_LIMIT = 1_024;

const TAGS = ["Swarms"];

const BAD_SWARM = problem(
  400,
  "path parameter info_hash: expected 40 hex digits, or service: and a name.",
);

export function swarmRoutes(app: OpenAPIHono, options: ValueRouteOptions): void {
  findRoute(app, options);
  announceRoute(app, options);
  const { service, access } = options;

  serve(app, {
    tags: TAGS,
    ...access.private("store"),
    ...del("/network/swarms/{info_hash}", "withdrawSwarm", "End an announcement"),
    description:
      "This node no longer renews the announcement. Other nodes forget it within 45 minutes.",
    request: { params: SwarmParams },
    responses: {
      204: { description: "This host is not announced any more", headers: headers() },
      ...BAD_SWARM,
      ...problem(404, `This node announces nothing in swarm ${SERVICE_HASH}.`),
    },
  }, async (c) => {
    const { info_hash: swarm } = c.req.valid("param");
    if (await service.withdraw(swarm)) return c.body(null, 204);
    throw new Problem(404, `This node announces nothing in swarm ${nameOf(swarm)}.`);
  });

  serve(app, {
    tags: TAGS,
    ...access.private("read"),
    ...get("/network/swarms", "listSwarms", "List the announcements of this node"),
    description: "The announcement that is renewed next comes first.",
    responses: { 200: json("The announcements", AnnouncedSwarms, "One announcement") },
  }, async (c) => c.json(await service.swarms(), 200));
}

// The handlers below validate requests themselves: one streams its response, and the other limits the size of the body.

function findRoute(
  app: OpenAPIHono,
  { service, access, metrics, stopping }: ValueRouteOptions,
): void {
  const found = `event: peers\ndata: ${JSON.stringify(exampleOf(FoundPeers))}\n\n`;
  const guard = describeGuarded(app, {
    tags: TAGS,
    ...access.sending("fetch"),
    ...get("/network/swarms/{info_hash}", "findPeers", "Find the peers of a swarm"),
    description:
      `Looks up the peers that were announced under an info-hash, over IPv4 and IPv6 (BEP 5). The name of a
service can stand for an info-hash: its peers are those that were announced under the same name.

With \`Accept: text/event-stream\`, the answer is a stream: an event \`peers\` as soon as peers are found, with those that
were not sent before, and at the end an event \`result\`, whose data is the whole answer.

The search finds up to 1,000 peers. It includes this host if this node announces it.`,
    request: { params: SwarmParams, query: PeersOfSwarmQuery },
    responses: {
      200: {
        description: "The peers",
        headers: headers("X-Accel-Buffering"),
        content: {
          "application/json": {
            schema: SwarmPeers,
            examples: {
              scraped: { summary: "With ?scrape=1", value: SCRAPED },
              bare: { summary: "Without it", value: exampleOf(SwarmPeers) },
            },
          },
          "text/event-stream": {
            schema: z.union([FoundPeers, SwarmPeers]),
            examples: { peers: { summary: "Peers as they are found", value: found } },
          },
        },
      },
      ...BAD_SWARM,
    },
  });

  app.get("/network/swarms/:info_hash", guard, async (c) => {
    const { info_hash: swarm } = validate("path", SwarmParams, c.req.param());
    const query = queryOf(c.req.url, ["noseed", "scrape"]);
    const { noseed: noSeeds, scrape: scrapes } = validate("query", PeersOfSwarmQuery, query);
    const options = { noSeeds, scrapes };
    if (isEventStream(c.req.raw)) {
      const search = await service.openPeerSearch(swarm, options);
      return peersResponse(service, search, { stopping });
    }
    const find = () => service.findPeers(swarm, options);
    const outcomeOf = ({ peers }: SwarmPeers) => peers.length > 0 ? "found" : "not_found";
    return c.json(await metrics.measure("find_peers", find, outcomeOf), 200);
  });
}

function announceRoute(
  app: OpenAPIHono,
  { service, access, metrics, stallMs, stopping }: ValueRouteOptions,
): void {
  const optionsOf = jsonBodies({ stallMs, stopping }, {
    name: "An announcement",
    limit: BODY_LIMIT,
    decode: decodeAnnounce,
    mayBeEmpty: true,
  });

  const guard = describeGuarded(app, {
    tags: TAGS,
    ...access.sending("store"),
    ...post("/network/swarms/{info_hash}", "announceSwarm", "Announce this host in a swarm"),
    description:
      `Announces a port of this host on the nodes closest to the info-hash, and keeps it announced until \`DELETE\`:
the node renews the announcement every 15 to 25 minutes, also after a restart. Announcing again changes the port.

The answer follows the first attempt. If no node accepted it (\`nodes\` is 0), the node tries again, and at the latest
when it meets another node.`,
    request: {
      params: SwarmParams,
      body: {
        content: {
          "application/json": {
            schema: AnnounceRequest,
            examples: { port: { summary: "A port of this host", value: { port: 6881 } } },
          },
        },
      },
    },
    responses: {
      200: json(
        "It was announced before",
        AnnouncedSwarm,
        example("Announced", exampleOf(AnnouncedSwarm)),
      ),
      201: json("Announced", AnnouncedSwarm, example("Announced", exampleOf(AnnouncedSwarm))),
      ...problem(400, "body member port: expected a number from 1 to 65535."),
      ...problem(408, "The body stalled, or arrived too slowly."),
      ...problem(413, "The body is over 1024 bytes.", { limit: BODY_LIMIT }),
      ...problem(415, "An announcement must be sent as application/json."),
      ...problem(507, "This node announces 1000 swarms already; end one first.", { limit: 1_000 }),
    },
  });

  app.post("/network/swarms/:info_hash", guard, async (c) => {
    const { info_hash: swarm } = validate("path", SwarmParams, c.req.param());
    const options = await optionsOf(c.req.raw);
    const announce = () => service.announce(swarm, options);
    const result = await metrics.measure("announce", announce, ({ outcome }) => outcome);
    switch (result.outcome) {
      case "announced":
        return c.json(result.report, result.isNew ? 201 : 200);
      case "full": {
        const { limit } = result;
        const detail = `This node announces ${limit} swarms already; end one first.`;
        throw new Problem(507, detail, { extension: { limit } });
      }
      case "no_disk":
        throw new Problem(507, "The announcement can't be written to this node's disk.");
    }
  });
}

function nameOf(swarm: SwarmName): string {
  return "service" in swarm ? `service:${swarm.service}` : swarm.infoHash;
}
