// The command line: which command, with which options, and how its failures are told.

import { Command, CommanderError, InvalidArgumentError } from "commander";
import { ConfigError, SETTINGS } from "../config.ts";
import { COMMIT } from "../commit.ts";
import { VERSION } from "../version.ts";
import * as client from "./client.ts";
import { UserError } from "./errors.ts";
import { addSimCommand } from "./sim_options.ts";

/** Exit statuses of the contract. */
const DONE = 0, FAILED = 1, WRONG_USAGE = 2;

/** Runs the program with these arguments; resolves to its exit status. Never rejects for a user's error. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  try {
    const { allowNet, rest } = takeAllowNet(args);
    const dmnode = program(allowNet);
    // With a default command, commander would take an unknown one for that command's argument.
    const [first] = rest;
    const isCommand = (name: string) =>
      name === "help" || dmnode.commands.some((c) => c.name() === name);
    if (first !== undefined && !first.startsWith("-") && !isCommand(first)) {
      throw new UserError(`there is no command ${JSON.stringify(first)} (see dmnode --help)`, true);
    }
    await dmnode.parseAsync(rest, { from: "user" });
    return DONE;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return DONE; // help or version, already printed
      tell(error.message.replace(/^error: /, ""), "see dmnode --help");
      return WRONG_USAGE;
    }
    if (error instanceof ConfigError) {
      tell(error.message);
      return WRONG_USAGE;
    }
    if (error instanceof UserError) {
      tell(error.message);
      return error.isUsage ? WRONG_USAGE : FAILED;
    }
    throw error;
  }
}

/**
 * Takes `--allow-net` and `--allow-net=LIST` out of the arguments, wherever they stand: as an option whose value is
 * optional it would swallow the word after it.
 */
function takeAllowNet(
  args: readonly string[],
): { allowNet: true | string | undefined; rest: string[] } {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  let allowNet: true | string | undefined;
  const rest = args.filter((arg, index) => {
    if (index >= end || !/^--allow-net(=|$)/.test(arg)) return true;
    const list = arg.slice("--allow-net=".length);
    if (arg === "--allow-net") allowNet ??= true;
    else allowNet = typeof allowNet === "string" ? `${allowNet},${list}` : list;
    return false;
  });
  return { allowNet, rest };
}

function program(allowNet: true | string | undefined): Command {
  const dmnode = new Command("dmnode")
    .description("DataMgmt Node: a Kademlia DHT node that speaks BitTorrent Mainline's protocol.")
    .version(
      `dmnode ${VERSION} (${COMMIT}, Deno ${Deno.version.deno}, ${Deno.build.target})`,
      "-V, --version",
      "print version, commit, Deno and target",
    )
    .helpOption("-h, --help", "show this help")
    .exitOverride()
    .configureOutput({
      writeErr: () => {},
      // The help has no colors, and commander would read variables that the executable may not.
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .showHelpAfterError(false)
    .enablePositionalOptions()
    .addHelpText(
      "after",
      "\nWithout a command, dmnode runs a node; dmnode start --help lists its options.",
    );

  const run = dmnode.command("start", { isDefault: true })
    .description("run a node (the default command)")
    .option("--env-file <file>", "read variables from this file instead of ./.env")
    // Parsed before commander sees the arguments; named here for the help.
    .option(
      "--allow-net[=LIST]",
      "talk to anyone, or to these addresses, CIDRs and hosts alone (default: loopback)",
    )
    .addHelpText("after", START_HELP)
    // Loaded only here: the client commands need neither the node nor the API.
    .action(async (flags) => (await import("./start.ts")).start({ ...flags, allowNet }));
  addSettings(run);

  const command = (name: string, description: string) =>
    dmnode.command(name).description(description)
      .option(
        "--api <url>",
        "the node's API (default: DMNODE_API or http://127.0.0.1:8080)",
        apiUrl,
      )
      .option("--json", "print JSON");

  command("put", "store a value through a running node; prints its hash")
    .argument("[file]", "the file, or - for standard input", "-")
    .option("--key <key>", "store it under a key: it can be changed later")
    .option("--if-seq <n>", "only if this is the newest version under the key; 0: if there is none")
    .option("--min-replicas <n>", "so many nodes have to acknowledge it")
    .addHelpText(
      "after",
      "\nExamples:\n  echo hello | dmnode put\n  dmnode put --key config settings.json",
    )
    .action(client.put);
  const valueCommand = (name: string, description: string) =>
    command(name, description)
      .argument("[hash]", "40 hex digits; not needed with --key")
      .option(
        "--key <key>",
        "the value under this key, the node's own unless --public-key says whose",
      )
      .option("--public-key <hex>", "whose key it is");
  valueCommand("get", "fetch a value through a running node")
    .option("-o, --output <file>", "write it to this file instead of standard output")
    .addHelpText(
      "after",
      "\nExamples:\n  dmnode get e5f96f6f38320f0f33959cb4d3d656452117aadb -o value.bin" +
        "\n  dmnode get --key config",
    )
    .action(client.get);
  valueCommand("follow", "print a line for each new version of a value, until Ctrl-C")
    .option("-o, --output <file>", "write each version to this file")
    .addHelpText("after", "\nExample:\n  dmnode follow --key config -o settings.json")
    .action(client.follow);
  valueCommand("stat", "show which nodes hold a value").action(client.stat);
  valueCommand("forget", "republish a value no more; its copies at other nodes expire")
    .action(client.forget);
  command("published", "list the values that the node keeps published")
    .option("--limit <n>", "at most so many (default: 100)")
    .option("--offset <n>", "leave out so many first ones")
    .action(client.published);
  command("find", "find the nodes closest to an id")
    .argument("<id>", "40 hex digits")
    .action(client.find);
  command("ping", "ping a node by its id")
    .argument("<id>", "40 hex digits")
    .action(client.ping);
  command("peers", "list the contacts of the routing table, or explain one of them")
    .argument("[node_id]", "40 hex digits")
    .option("--health <health>", "only the healthy, degraded or unhealthy ones")
    .option("--sort <field>", "score, distance, rtt, last_seen or first_seen")
    .option("--limit <n>", "at most so many")
    .action(client.peers);
  command("stats", "show what the node is doing").action(client.stats);
  const doctor = command("doctor", "check this machine, the settings and a running node")
    .option("--env-file <file>", "read variables from this file instead of ./.env")
    .addHelpText("after", "\nIt takes the options of dmnode start, and checks what they would do.")
    .action(async (flags) => (await import("./doctor.ts")).doctor({ ...flags, allowNet }));
  addSettings(doctor);
  addIdentityCommand(dmnode);
  addSimCommand(dmnode);
  dmnode.command("swarm")
    .description("run many real nodes over UDP on loopback, try them and measure them")
    .requiredOption("--nodes <n>", "how many")
    .option("--threads <n>", "threads that share them (default: one for each core)")
    .option("--stores <n>", "values stored, each then fetched from another node", "500")
    .option("--rest <seconds>", "how long the traffic at rest is measured", "60")
    .option("--api-port <port>", "port of the first node's API, 0 for any", "8080")
    .option("--k <n>", "contacts a bucket holds")
    .option("--alpha <n>", "concurrent queries of a lookup")
    .option("--health-check-interval <seconds>", "between health checks of a peer")
    .option("--exit", "end when all is measured")
    .option("--json", "the same, and print one JSON object")
    .addHelpText("after", "\nExample:\n  dmnode swarm --nodes 1000 --exit")
    .action(async (flags) => (await import("./swarm.ts")).swarm(flags));
  return dmnode;
}

function addSettings(command: Command): void {
  for (const { flag, name, default: byDefault, meaning } of SETTINGS) {
    if (flag === null) continue;
    const shown = byDefault === "" ? name : `${name}, default ${byDefault}`;
    command.option(`${flag} <value>`, `${meaning} (${shown})`);
  }
}

function addIdentityCommand(dmnode: Command): void {
  const place = (command: Command) =>
    command
      .option("--data-dir <dir>", "the node's directory (DATA_DIR, default ./data)")
      .option("--env-file <file>", "read variables from this file instead of ./.env");
  const transfer = (command: Command) =>
    place(command)
      .option("--passphrase-file <file>", "its first line is the passphrase")
      .option("--force", "replace what is there");
  const identity = place(dmnode.command("identity"))
    .description("show, export or import the key that signs this node's values")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nThe passphrase comes from --passphrase-file, DMNODE_PASSPHRASE, or the terminal." +
        "\n\nExamples:\n  dmnode identity --data-dir data\n  dmnode identity export key.pem",
    )
    .action(async (flags) => (await import("./identity.ts")).show(flags));
  transfer(identity.command("export"))
    .description("write it to a file, under a passphrase; openssl pkey reads that too")
    .argument("<file>", "a new file")
    .action(async (file, flags) => (await import("./identity.ts")).exportTo(file, flags));
  transfer(identity.command("import"))
    .description("take the key of such a file for this node's own; no node may be running")
    .argument("<file>", "as export wrote it, or any Ed25519 key in PKCS #8")
    .action(async (file, flags) => (await import("./identity.ts")).importFrom(file, flags));
}

const START_HELP = `
Examples:
  dmnode                                        a node that this machine alone can reach
  dmnode --allow-net                            a node that talks to anyone
  dmnode --allow-net --bootstrap dht.example.org:8000
  dmnode --allow-net=10.0.0.0/8 --bootstrap 10.0.0.5:8000

Every option can also be given as a variable, in the environment or in .env.`;

function apiUrl(text: string): string {
  try {
    const { protocol } = new URL(text);
    if (protocol === "http:" || protocol === "https:") return text.replace(/\/+$/, "");
  } catch {
    // told below, like another protocol
  }
  throw new InvalidArgumentError("It has to be a URL such as http://127.0.0.1:8080.");
}

function tell(message: string, hint?: string): void {
  const line = message.trim().split("\n").join(" ");
  console.error(`dmnode: ${line}${hint === undefined ? "" : ` (${hint})`}`);
}
