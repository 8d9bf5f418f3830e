// Defines the commands that run many nodes at once: sim and swarm.

import { type Command, InvalidArgumentError, Option } from "commander";
import { SETTINGS } from "../../config.ts";
import { decimal, explain, integer } from "./options.ts";

/** The maximum number of network sizes that one call of `dmnode sim` can simulate. */
const MAX_SIZES = 10;

/** The range of network sizes for `dmnode sim`: fewer nodes don't form a network, and more don't fit into memory. */
const MIN_SIM_NODES = 4, MAX_SIM_NODES = 1_000_000;

/**
 * The range of `--nodes` for `dmnode swarm`. A swarm needs one node for the API and two that exchange values. Linux
 * has some 28,000 free ports.
 */
const MIN_SWARM_NODES = 3, MAX_SWARM_NODES = 28_000;

/** Returns the default of a node's setting. Simulated nodes have the same defaults as real nodes. */
function defaultOf(name: string): number {
  return Number(SETTINGS.find((setting) => setting.name === name)!.default);
}

/**
 * Parsers for options that are shares of packets, nodes or values, from 0 to 1. `share` accepts at most 0.95, so that
 * enough packets and nodes are left for a measurement.
 */
const share = decimal(0, 0.95, { noun: "share" }), anyShare = decimal(0, 1, { noun: "share" });

/** Parses a duration, which is a plain number. The unit depends on the option. */
const span = decimal(0, 100_000);

export function addTrialCommands(dmnode: Command): void {
  dmnode.commandsGroup("Trials:");
  explain(dmnode.command("sim"), {
    description: "simulate a network of nodes in virtual time",
    examples: `
      dmnode sim --nodes 1000 --values 200
      dmnode sim --nodes 100,1000,10000 --report hops.html
      dmnode sim --nodes 2000 --values 1000 --flaky 0.3
      dmnode sim --nodes 1000 --values 200 --eclipse 50 --eclipse-networks 5
      dmnode sim --nodes 1000 --values 1000 --kill 0.5 --settle 60
      dmnode sim --nodes 500 --values 500 --mutable 0.5 --partition 60 --settle 30
      dmnode sim --nodes 1000 --watch 300 --kill 0.2
      dmnode sim --nodes 1000 --values 1000 --churn 60 --hours 24 --report churn.html`,
  })
    .addOption(
      new Option("--nodes <n>", "number of nodes, or several numbers separated by commas")
        .argParser(sizes).default([1_000], "1000"),
    )
    .option("--lookups <n>", "lookups to measure", integer(1, 10_000_000), 1_000)
    .option("--values <n>", "values to store, and number of fetches", integer(0, 1_000_000), 0)
    .option("--mutable <share>", "values that owners change during a partition", anyShare, 0)
    .option("--seed <n>", "seed of all randomness", integer(0, 2 ** 53 - 1), 1)
    .option(
      "--latency <model>",
      "round trips: a CSV file, one number of ms for all, or regions",
      "regions",
    )
    .option("--loss <share>", "packets that are lost", share, 0.01)
    .option("--duplication <share>", "packets that arrive twice", share, 0)
    .option("--reordering <share>", "packets that are overtaken", share, 0)
    .option("--silent <share>", "nodes that stop answering before values are stored", share, 0)
    .option("--nat <share>", "nodes behind a NAT", share, 0)
    .option("--flaky <share>", "nodes that are slow or lose half of their packets", share, 0)
    .option("--sybils <share>", "nodes that answer with invented neighbours", share, 0)
    .option("--colluders <share>", "nodes that lie together and keep no values", share, 0)
    .option("--eclipse <n>", "Sybils that surround each value", integer(0, 1_000), 0)
    .option("--eclipse-networks <n>", "their /24 networks", integer(1, 1_000), 5)
    .option("--kill <share>", "nodes that vanish after values are stored", share, 0)
    .option("--partition <minutes>", "split the network in two for this long", span, 0)
    .option("--churn <minutes>", "median session of a node; new nodes replace it", span, 0)
    .option("--calm <minutes>", "time between the last join and the measurement at rest", span, 2)
    .option("--settle <minutes>", "time between the troubles above and the measurement", span, 0)
    .option("--hours <h>", "spread the measurement over this virtual time", span, 0)
    .option("--watch <n>", "values to watch; measures watches only", integer(0, 100_000), 0)
    .option("--foreign <share>", "with --watch: nodes with other software", anyShare, 0)
    .option(
      "--k <n>",
      "contacts per bucket, replicas of a value",
      integer(1, 100),
      defaultOf("K_BUCKET_SIZE"),
    )
    .option("--alpha <n>", "concurrent queries of a lookup", integer(1, 20), defaultOf("ALPHA"))
    .option(
      "--health-check-interval <seconds>",
      "time between health checks of a peer",
      integer(1, 86_400),
      defaultOf("HEALTH_CHECK_INTERVAL"),
    )
    .option("--json", "print one JSON object")
    .option("--report <file.html>", "write a page with plots")
    .action(async (flags) => (await import("../sim.ts")).simulate(flags));
  addSwarm(dmnode);
}

function sizes(text: string): number[] {
  const list = text.split(",").map(integer(MIN_SIM_NODES, MAX_SIM_NODES));
  if (list.length <= MAX_SIZES) return list;
  throw new InvalidArgumentError(`Expected at most ${MAX_SIZES} sizes.`);
}

function addSwarm(dmnode: Command): void {
  explain(dmnode.command("swarm"), {
    description: "run, test and measure many real nodes over UDP on loopback",
    examples: `
      dmnode swarm --nodes 1000 --exit
      dmnode swarm --nodes 50                       stays up for experiments, until Ctrl-C
      dmnode swarm --nodes 200 --stores 1000 --rest 0 --api-port 0 --json`,
  })
    .requiredOption("--nodes <n>", "number of nodes", integer(MIN_SWARM_NODES, MAX_SWARM_NODES))
    .option(
      "--threads <n>",
      "threads for the nodes (default: one per 100 nodes, at most one per core)",
      integer(1, 64),
    )
    .option(
      "--stores <n>",
      "values to store, and then to fetch through nodes without a copy",
      integer(0, 1_000_000),
      500,
    )
    .option("--rest <seconds>", "duration of the measurement at rest", integer(0, 86_400), 60)
    .option("--api-port <port>", "port of the first node's API; 0 picks a free port", "8080")
    .option("--k <n>", "contacts per bucket")
    .option("--alpha <n>", "concurrent queries of a lookup")
    .option(
      "--health-check-interval <seconds>",
      "time between health checks of a peer (default: 60, more above 1,250 nodes per thread)",
    )
    .option("--exit", "end after the measurement")
    .option("--json", "end after the measurement, and print one JSON object")
    .action(async (flags) => (await import("../swarm.ts")).swarm(flags));
}
