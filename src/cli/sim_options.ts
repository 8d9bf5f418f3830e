// The options of `dmnode sim`; the simulator itself is loaded only when it runs.

import { type Command, InvalidArgumentError, Option } from "commander";
import { SETTINGS } from "../config.ts";
import { ALL_TECHNIQUES, type Techniques } from "../dht/techniques.ts";
import { decimal, integer } from "./option_types.ts";

/** Sizes that one call may run, one after the other. */
const MAX_SIZES = 10;

/** Below this a network is no network, above it no machine holds it. */
const MIN_NODES = 4, MAX_NODES = 1_000_000;

/** What commander makes of the options. */
export interface SimFlags {
  readonly nodes: readonly number[];
  readonly lookups: number;
  readonly values: number;
  readonly mutable: number;
  readonly seed: number;
  readonly latency: string;
  readonly loss: number;
  readonly duplication: number;
  readonly reordering: number;
  readonly silent: number;
  readonly nat: number;
  readonly flaky: number;
  readonly sybils: number;
  readonly kill: number;
  readonly partition: number;
  readonly churn: number;
  readonly calm: number;
  readonly settle: number;
  readonly hours: number;
  readonly k: number;
  readonly alpha: number;
  readonly healthCheckInterval: number;
  readonly scoring: "on" | "off";
  readonly without: readonly (keyof Techniques)[];
  readonly json: boolean | undefined;
  readonly report: string | undefined;
}

/** A setting's default: the simulator runs what is shipped. */
export function shipped(name: string): number {
  return Number(SETTINGS.find((setting) => setting.name === name)!.default);
}

export function addSimCommand(dmnode: Command): void {
  const k = shipped("K_BUCKET_SIZE"), alpha = shipped("ALPHA");
  const interval = shipped("HEALTH_CHECK_INTERVAL");
  dmnode.command("sim")
    .description("simulate a network of nodes in virtual time")
    .addOption(
      new Option("--nodes <n>", "how many nodes; several sizes separated by commas")
        .argParser(sizes).default([1_000], "1000"),
    )
    .option("--lookups <n>", "lookups to measure", integer(1, 10_000_000), 1_000)
    .option("--values <n>", "values to store, and to fetch as often", integer(0, 1_000_000), 0)
    .option("--mutable <share>", "values that owners change during a partition", anyShare, 0)
    .option("--seed <n>", "what all randomness follows from", integer(0, 2 ** 53 - 1), 1)
    .option("--latency <model>", "a CSV of round trips, one for all in ms, or regions", "regions")
    .option("--loss <share>", "packets lost", share, 0.01)
    .option("--duplication <share>", "packets that arrive twice", share, 0)
    .option("--reordering <share>", "packets that are overtaken", share, 0)
    .option("--silent <share>", "nodes that stop answering before values are stored", share, 0)
    .option("--nat <share>", "nodes behind a NAT", share, 0)
    .option("--flaky <share>", "nodes that are slow or lose half of their packets", share, 0)
    .option("--sybils <share>", "nodes that answer with invented neighbours", share, 0)
    .option("--kill <share>", "nodes that vanish after values are stored", share, 0)
    .option("--partition <minutes>", "cut the network in two for so long, then heal it", span, 0)
    .option("--churn <minutes>", "median session of a node; others take their places", span, 0)
    .option("--calm <minutes>", "time between the last join and what is measured at rest", span, 2)
    .option("--settle <minutes>", "time between these troubles and the measurement", span, 0)
    .option("--hours <h>", "spread the measurement over so many virtual hours", span, 0)
    .option("--k <n>", "contacts in a bucket, replicas of a value", integer(1, 100), k)
    .option("--alpha <n>", "concurrent queries of a lookup", integer(1, 20), alpha)
    .option(
      "--health-check-interval <seconds>",
      "between health checks of a peer",
      integer(1, 86_400),
      interval,
    )
    .addOption(
      new Option("--scoring <on|off>", "whether nodes tell good peers from bad ones")
        .choices(["on", "off"]).default("on"),
    )
    .addOption(withoutOption())
    .option("--json", "print one JSON object")
    .option("--report <file.html>", "write a page with plots")
    .addHelpText("after", HELP)
    .action(async (flags: SimFlags) => await (await import("./sim.ts")).simulate(flags));
}

const HELP = `
Examples:
  dmnode sim --nodes 1000 --values 200
  dmnode sim --nodes 100,1000,10000 --report hops.html
  dmnode sim --nodes 2000 --values 1000 --flaky 0.3 --scoring off
  dmnode sim --nodes 1000 --values 1000 --kill 0.5 --settle 60
  dmnode sim --nodes 500 --values 500 --mutable 0.5 --partition 60 --settle 30
  dmnode sim --nodes 1000 --values 1000 --churn 60 --hours 24 --report churn.html`;

/** The choices are for the help and completions: the value is a list of them. */
function withoutOption(): Option {
  const option = new Option("--without <names>", "leave out these techniques, separated by commas")
    .argParser(techniques).default([], "none");
  option.argChoices = Object.keys(ALL_TECHNIQUES);
  return option;
}

function techniques(text: string): (keyof Techniques)[] {
  const names = text.split(",");
  if (names.every((name): name is keyof Techniques => Object.hasOwn(ALL_TECHNIQUES, name))) {
    return names;
  }
  throw new InvalidArgumentError(`It takes some of ${Object.keys(ALL_TECHNIQUES).join(", ")}.`);
}

function sizes(text: string): number[] {
  const one = integer(MIN_NODES, MAX_NODES);
  const list = text.split(",").map(one);
  if (list.length <= MAX_SIZES) return list;
  throw new InvalidArgumentError(`It takes ${MAX_SIZES} sizes at most.`);
}

/** All of the packets or nodes would leave nothing to measure. */
const share = decimal(0, 0.95, "share"), anyShare = decimal(0, 1, "share");

/** Some time, in the option's own unit. */
const span = decimal(0, 100_000);
