// The options of `dmnode swarm`; what runs it is loaded only when it runs.

import type { Command } from "commander";
import { integer } from "./option_types.ts";

/** Below this there is nobody to fetch from another, above it one address has no ports left. */
const MIN_NODES = 3, MAX_NODES = 28_000;

/** What commander makes of the options. The last four are checked as settings of a node. */
export interface SwarmFlags {
  readonly nodes: number;
  readonly threads?: number;
  readonly stores: number;
  readonly rest: number;
  readonly json?: boolean;
  readonly exit?: boolean;
  readonly apiPort: string;
  readonly k?: string;
  readonly alpha?: string;
  readonly healthCheckInterval?: string;
}

export function addSwarmCommand(dmnode: Command): void {
  dmnode.command("swarm")
    .description("run many real nodes over UDP on loopback, try them and measure them")
    .requiredOption("--nodes <n>", "how many", integer(MIN_NODES, MAX_NODES))
    .option(
      "--threads <n>",
      "threads that share them (default: one for each 100 nodes, but no more than cores)",
      integer(1, 64),
    )
    .option(
      "--stores <n>",
      "values stored, each then fetched from another node",
      integer(0, 1_000_000),
      500,
    )
    .option("--rest <seconds>", "how long the traffic at rest is measured", integer(0, 86_400), 60)
    .option("--api-port <port>", "port of the first node's API, 0 for any", "8080")
    .option("--k <n>", "contacts a bucket holds")
    .option("--alpha <n>", "concurrent queries of a lookup")
    .option(
      "--health-check-interval <seconds>",
      "between health checks of a peer (default: 60, and more for over 1,250 nodes a thread)",
    )
    .option("--exit", "end when all is measured")
    .option("--json", "end when all is measured, and print one JSON object")
    .addHelpText(
      "after",
      `
Examples:
  dmnode swarm --nodes 1000 --exit
  dmnode swarm --nodes 50                       stays up for trials, until Ctrl-C
  dmnode swarm --nodes 200 --stores 1000 --rest 0 --api-port 0 --json`,
    )
    .action(async (flags: SwarmFlags) => await (await import("./swarm.ts")).swarm(flags));
}
