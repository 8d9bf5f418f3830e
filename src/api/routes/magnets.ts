// Routes for magnet links under a key (BEP 46). Such a link refers to the torrent that the key's owner published
// last.

import type { OpenAPIHono } from "@hono/zod-openapi";
import { magnetText } from "../../krpc/magnet.ts";
import { exampleOf } from "../../reports/fields.ts";
import { PUBLISHED_MAGNET, PublishedMagnet, ResolvedMagnet } from "../../reports/magnets.ts";
import { SERVICE_HASH } from "../../reports/swarms.ts";
import { Problem } from "../problems.ts";
import { checkTerms, decodeMagnet, jsonBodies } from "../requests.ts";
import { MagnetQuery, MagnetRequest } from "../schemas.ts";
import { example, json, problem } from "./answers.ts";
import { describeGuarded, exactJson, get, post, serve } from "./route.ts";
import {
  CAS_MISMATCH,
  NO_ROOM,
  notStored,
  STALLED,
  TOO_FEW,
  type ValueRouteOptions,
} from "./values.ts";

/** Maximum bytes of the JSON of a link to publish. */
const BODY_LIMIT = 4_096;

const TAGS = ["Swarms"];

export function magnetRoutes(app: OpenAPIHono, options: ValueRouteOptions): void {
  publishRoute(app, options);
  const { service, access, metrics } = options;

  serve(app, {
    tags: TAGS,
    ...access.sending("fetch"),
    ...get("/network/magnets", "resolveMagnet", "Find the torrent for which a magnet link stands"),
    description:
      "The link names an Ed25519 key, and may have a salt (BEP 46). It stands for the torrent whose info-hash " +
      "the owner of the key published last.",
    request: { query: MagnetQuery },
    responses: {
      200: json("The torrent", ResolvedMagnet, "The torrent"),
      ...problem(400, "query parameter magnet: expected magnet:?xs=urn:btpk: and 64 hex digits."),
      ...problem(404, "Nothing was found under the key of this link."),
      ...problem(502, `The value ${exampleOf(ResolvedMagnet).hash} names no torrent.`),
    },
  }, async (c) => {
    const { magnet } = c.req.valid("query");
    const resolve = () => service.resolveMagnet(magnet);
    const result = await metrics.measure("resolve_magnet", resolve, ({ outcome }) => outcome);
    switch (result.outcome) {
      case "found":
        return exactJson(result.report, 200);
      case "not_found":
        throw new Problem(404, `Nothing was found under the key of ${magnetText(magnet)}.`);
      case "invalid":
        throw new Problem(502, `The value ${result.hash} names no torrent.`);
    }
  });
}

function publishRoute(
  app: OpenAPIHono,
  { service, access, config, metrics, stallMs, stopping }: ValueRouteOptions,
): void {
  const body = { name: "A magnet link", limit: BODY_LIMIT, decode: decodeMagnet };
  const linkOf = jsonBodies({ stallMs, stopping }, body);

  const guard = describeGuarded(app, {
    tags: TAGS,
    ...access.sending("store"),
    ...post(
      "/network/magnets",
      "publishMagnet",
      "Publish the torrent for which a magnet link stands",
    ),
    description:
      `Stores a dictionary with the info-hash under a key of this node, as BEP 46 prescribes, and keeps it published. The
answer contains the link, which stays the same: publishing under the same key again changes the torrent for which it
stands.`,
    request: {
      body: {
        required: true,
        content: {
          "application/json": {
            schema: MagnetRequest,
            examples: {
              torrent: { summary: "A torrent", value: { info_hash: SERVICE_HASH, key: "demo" } },
            },
          },
        },
      },
    },
    responses: {
      201: json("Published", PublishedMagnet, example("Published", PUBLISHED_MAGNET)),
      ...problem(400, "body member info_hash: expected 40 hex digits."),
      ...STALLED,
      ...problem(409, "Another version was stored at the same time; seq is 7.", { seq: 7 }),
      ...CAS_MISMATCH,
      ...problem(413, "The body is over 4096 bytes.", { limit: BODY_LIMIT }),
      ...problem(415, "A magnet link must be sent as application/json."),
      ...TOO_FEW,
      ...NO_ROOM,
    },
  });

  app.post("/network/magnets", guard, async (c) => {
    const { infoHash, key, terms } = await linkOf(c.req.raw);
    const { options } = checkTerms({ ...terms, key }, config.minReplicas, config.bucketSize);
    const publish = () => service.publishMagnet({ ...options, infoHash, key });
    const result = await metrics.measure("publish_magnet", publish, ({ outcome }) => outcome);
    if (result.outcome === "published") return exactJson(result.report, 201);
    throw notStored(result);
  });
}
