// Reports about magnet links under a key (BEP 46).

import { z } from "zod";
import { exampleOf, field, hash, seq, SIGNED_KEY } from "./fields.ts";
import { SERVICE_HASH } from "./swarms.ts";
import { Stored } from "./values.ts";

/** A magnet link, for examples: the salt is `demo`. */
export const MAGNET = `magnet:?xs=urn:btpk:${SIGNED_KEY}&s=64656d6f`;

const magnet = field(z.string(), MAGNET, "the link under the key (BEP 46)");
const infoHash = field(hash, SERVICE_HASH, "the torrent for which the link stands now");

/** A magnet link that was published. */
export const PublishedMagnet = Stored.extend({ magnet, info_hash: infoHash })
  .meta({ id: "PublishedMagnet" });
export type PublishedMagnet = z.output<typeof PublishedMagnet>;

export const PUBLISHED_MAGNET: PublishedMagnet = {
  ...exampleOf(PublishedMagnet),
  kind: "mutable",
  key: "demo",
  seq: 1,
  size: 28,
};

/** The torrent that a magnet link refers to. */
export const ResolvedMagnet = z.object({
  magnet,
  info_hash: infoHash,
  torrent: field(
    z.string(),
    `magnet:?xt=urn:btih:${SERVICE_HASH}`,
    "an ordinary magnet link to the torrent",
  ),
  hash: field(
    hash,
    "e2e3b3b8dbb47b1ea5d9c1ef7ff3ad2d4c2b3a19",
    "the hash under which the value is stored",
  ),
  public_key: field(z.string(), SIGNED_KEY, "the owner's Ed25519 key, hex"),
  salt: field(z.string().nullable(), "64656d6f", "hex; null: none"),
  seq: field(seq, 1),
}).meta({ id: "ResolvedMagnet" });
export type ResolvedMagnet = z.output<typeof ResolvedMagnet>;
