// Defines the commands that inspect a running node and its network: find, ping, connect, peers, stats and others.

import { type Command, Option } from "commander";
import { MIN_DIGITS } from "../client/ids.ts";
import { clientCommand, integer } from "./options.ts";

/** The largest `limit` that the API accepts for a list of peers. */
const MAX_PEERS = 10_000;

const ID = "e5f96f6f38320f0f33959cb4d3d656452117aadb";

export function addNetworkCommands(dmnode: Command): void {
  dmnode.commandsGroup("The network, as a running node sees it:");
  clientCommand(dmnode, "find", {
    description: "find the nodes closest to an id",
    examples: `
      dmnode find ${ID}
      dmnode find ${ID} --trace`,
  })
    .argument("<id>", "40 hex digits")
    .option("--trace", "show each query of the lookup")
    .action(async (id, flags) => (await import("../network.ts")).find(id, flags));
  clientCommand(dmnode, "ping", {
    description: "ping a node",
    examples: `
      dmnode ping ${ID}
      dmnode ping ${ID.slice(0, 12)}
      dmnode ping dht.example.org:8000
      dmnode ping '[2001:db8::1]:8000' --json | jq .rtt_ms`,
  })
    .argument(
      "<node>",
      `its id, the first ${MIN_DIGITS} or more digits of a peer's id, or host:port`,
    )
    .action(async (node, flags) => (await import("../network.ts")).ping(node, flags));
  clientCommand(dmnode, "connect", {
    description: "join the network of a node, until the restart",
    examples: `
      dmnode connect dht.example.org:8000`,
    notes: "BOOTSTRAP_NODES names the nodes through which a node joins at each start.",
  })
    .argument("<address>", "host:port")
    .action(async (address, flags) => (await import("../network.ts")).connect(address, flags));
  addPeers(dmnode);
  clientCommand(dmnode, "diagnostics", {
    description: "save a report about the node that helps others to find a problem",
    examples: `
      dmnode diagnostics report.json
      dmnode diagnostics - | jq .findings`,
    notes: `
The report has the version, settings, statistics, the findings of doctor, peers and the latest events. It
has no tokens and no keys, but addresses of this node and of its peers.`,
  })
    .argument("<file>", "the new file, or - for standard output")
    .option("--force", "replace an existing file")
    .action(async (file, flags) => (await import("../network.ts")).diagnostics(file, flags));
  clientCommand(dmnode, "stats", {
    description: "show what the node is doing",
    examples: `
      dmnode stats
      dmnode stats --json | jq .traffic.in`,
  })
    .action(async (flags) => (await import("../stats.ts")).stats(flags));
  addWatch(dmnode);
}

function addPeers(dmnode: Command): void {
  clientCommand(dmnode, "peers", {
    description: "list the contacts of the routing table, or show one in detail",
    examples: `
      dmnode peers --sort rtt --limit 10
      dmnode peers --health degraded
      dmnode peers ${ID.slice(0, 12)}                     the parts of its score, and its history
      dmnode peers --json | jq -r '.peers[].address'`,
  })
    .argument("[node_id]", `40 hex digits, or the first ${MIN_DIGITS} or more of a peer's id`)
    .addOption(
      new Option("--health <health>", "list only these")
        .choices(["healthy", "degraded", "unhealthy"]),
    )
    .addOption(
      new Option("--sort <field>", "score and last_seen: highest first; others: lowest first")
        .choices(["score", "distance", "rtt", "last_seen", "first_seen"]),
    )
    .option("--limit <n>", "list at most n contacts", integer(1, MAX_PEERS))
    .action(async (id, flags) => (await import("../network.ts")).peers(id, flags));
}

function addWatch(dmnode: Command): void {
  clientCommand(dmnode, "watch", {
    description: "watch the node live on a terminal, or print its events",
    examples: `
      dmnode watch
      dmnode watch --types 'peer.*'
      dmnode watch --types data.publish,data.fetch --json | jq -r .data.hash`,
    notes: `
On a terminal, q or Ctrl-C ends it. With --json, or if standard output is not a terminal, it prints
each event as a line of JSON; docs/api.md lists the events. It reconnects when the node restarts.`,
  })
    .option("--types <list>", "only these events, such as peer.*,data.publish,lookup")
    .option(
      "--since <id>",
      "with --json: begin with the events after this one",
      integer(1, Number.MAX_SAFE_INTEGER),
    )
    .action(async (flags) => (await import("../watch.ts")).watch(flags));
}
