// Defines the commands for swarms: discover, announce, withdraw, announced, magnet and sample.

import type { Command } from "commander";
import { MIN_DIGITS } from "../client/ids.ts";
import { type About, clientCommand, integer, lifetime, seq, TTL } from "./options.ts";

/** The largest budget that the API accepts for a walk. */
const MAX_QUERIES = 1_000;

const NODE_ID = "e5f96f6f38320f0f33959cb4d3d656452117aadb";

const HASH = "648be4866f5a0f5153e343a85ee51e9a2d7a050b";

export function addSwarmCommands(dmnode: Command): void {
  dmnode.commandsGroup("Swarms, through a running node:");
  swarmCommand(dmnode, "discover", {
    description: "find the peers of an info-hash or a service; prints each as it is found",
    examples: `
      dmnode discover ${HASH}
      dmnode discover --service chat
      dmnode discover ${HASH} --scrape --json | jq .scrape`,
    notes: "The peers are what other nodes claim: check who they are.",
  })
    .option("--without-seeds", "ask only for peers that don't seed")
    .option("--scrape", "estimate how many peers seed, and how many don't")
    .action(async (hash, flags) => (await import("../swarms.ts")).discover(hash, flags));
  swarmCommand(dmnode, "announce", {
    description: "announce a port of this host, and keep it announced",
    examples: `
      dmnode announce ${HASH} --port 6881
      dmnode announce --service chat --port 4000`,
    notes: "The node renews the announcement every 15 to 25 minutes, also after a restart, until " +
      "you withdraw it. Without --port, it announces its own UDP port.",
  })
    .option("--port <port>", "the port at which the peer listens", integer(1, 65_535))
    .option("--seed", "announce the peer as a seed")
    .action(async (hash, flags) => (await import("../swarms.ts")).announce(hash, flags));
  swarmCommand(dmnode, "withdraw", {
    description: "end an announcement; other nodes forget it within 45 minutes",
    examples: `
      dmnode withdraw ${HASH}
      dmnode withdraw --service chat`,
  })
    .action(async (hash, flags) => (await import("../swarms.ts")).withdraw(hash, flags));
  clientCommand(dmnode, "announced", {
    description: "list what the node announces",
    examples: `
      dmnode announced
      dmnode announced --json | jq -r '.swarms[].info_hash'`,
  })
    .action(async (flags) => (await import("../swarms.ts")).announced(flags));
  clientCommand(dmnode, "magnet", {
    description: "find the torrent of a magnet link under a key, or publish one",
    examples: `
      dmnode magnet 'magnet:?xs=urn:btpk:77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548'
      dmnode magnet ${HASH} --key demo     prints the link, which stays the same
      dmnode magnet ${HASH} --key demo --if-seq 3`,
    notes: "A link under a key stands for the torrent that the owner of the key published last " +
      "(BEP 46).",
  })
    .argument("<link>", "the link; with --key, the info-hash of the torrent to publish")
    .option("--key <key>", "publish the torrent under this key of the node")
    .option("--if-seq <n>", "publish only if n is the newest version; 0: if there is none", seq)
    .option("--ttl <time>", TTL, lifetime)
    .action(async (link, flags) => (await import("../swarms.ts")).magnet(link, flags));
  addSample(dmnode);
}

function addSample(dmnode: Command): void {
  clientCommand(dmnode, "sample", {
    description: "print info-hashes that other nodes store",
    examples: `
      dmnode sample                          asks 50 nodes
      dmnode sample --queries 1000 > hashes
      dmnode sample ${NODE_ID.slice(0, 12)}             asks one node`,
    notes: "Nodes return samples of what they store (BEP 51). The node asks at most 20 nodes a " +
      "second, and no node again while it would return the same sample.",
  })
    .argument("[node_id]", `40 hex digits, or the first ${MIN_DIGITS} or more of a peer's id`)
    .option("--queries <n>", "ask up to n nodes (default: 50)", integer(1, MAX_QUERIES))
    .action(async (id, flags) => (await import("../swarms.ts")).sample(id, flags));
}

/** Adds a command for one swarm, which the user names by its info-hash or by a service. */
function swarmCommand(dmnode: Command, name: string, about: About): Command {
  return clientCommand(dmnode, name, about)
    .argument("[info_hash]", "40 hex digits; or use --service")
    .option("--service <name>", "the name of a service, which stands for an info-hash");
}
