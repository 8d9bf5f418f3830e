// The command line: which command, with which options, and how its failures are told.

import { Command, CommanderError, Option } from "commander";
import { ConfigError, SETTINGS, withinEdits } from "../config.ts";
import { COMMIT } from "../commit.ts";
import { VERSION } from "../version.ts";
import { DEFAULT_TIMEOUT_S, DOCTOR_TIMEOUT_S } from "./api_client.ts";
import { completionScript, SHELLS } from "./completion.ts";
import { Interrupted, OutputClosed, UserError } from "./errors.ts";
import { LEAST_DIGITS } from "./ids.ts";
import * as network from "./network.ts";
import { apiUrl, decimal, integer } from "./option_types.ts";
import { addSimCommand } from "./sim_options.ts";
import { addSwarmCommand } from "./swarm_options.ts";
import { chooseColor, COLOR_CHOICES, print, stderr, stdout } from "./terminal.ts";
import * as values from "./values.ts";

/** Exit statuses of the contract. */
const DONE = 0, FAILED = 1, WRONG_USAGE = 2;

/** `cas` is a seq: what JSON holds exactly. */
const MAX_SEQ = Number.MAX_SAFE_INTEGER;

/** Bounds that the API has as well. */
const MAX_PEERS = 10_000, MAX_PUBLISHED = 1_000, MAX_REPLICAS = 128;

/** Below this a busy node is given up, above it nobody waits. */
const MIN_TIMEOUT_S = 0.1, MAX_TIMEOUT_S = 3_600;

/** Runs the program with these arguments; resolves to its exit status. Never rejects for a user's error. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  let help = "dmnode --help";
  try {
    const named = namedCommand(createProgram(), args);
    help = `${named.join(" ")} --help`;
    // Only these have the option: others refuse it as they do every unknown one.
    const takesNet = named.length === 1 || ["start", "doctor"].includes(named[1]);
    const { allowNet, rest } = takesNet
      ? takeAllowNet(args)
      : { allowNet: undefined, rest: [...args] };
    if (allowNet === true) checkNoList(args);
    const dmnode = createProgram(allowNet);
    checkCommand(dmnode, rest);
    await dmnode.parseAsync(withHelpOption(rest), { from: "user" });
    return DONE;
  } catch (error) {
    if (error instanceof OutputClosed) return DONE;
    if (error instanceof Interrupted) return error.status;
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return DONE; // help or version, already printed
      const isMisplaced = /\.(unknownOption|excessArguments)$/.test(error.code);
      const late = isMisplaced ? lateCommand(args) : undefined;
      const message = late === undefined
        ? error.message.replace(/^error: /, "")
        : `options follow their command: dmnode ${late} ${args[0]} ...`;
      tell(message, `see ${late === undefined ? help : `dmnode ${late} --help`}`);
      return WRONG_USAGE;
    }
    if (error instanceof ConfigError) {
      tell(error.message);
      return WRONG_USAGE;
    }
    if (error instanceof UserError) {
      tell(error.message, error.isUsage ? `see ${help}` : undefined);
      return error.isUsage ? WRONG_USAGE : FAILED;
    }
    throw error;
  }
}

/** The words of the command that the arguments begin with. */
function namedCommand(dmnode: Command, args: readonly string[]): string[] {
  const path = ["dmnode"];
  let command = dmnode;
  for (const arg of args) {
    const next = command.commands.find((candidate) => candidate.name() === arg);
    if (next === undefined) break;
    command = next;
    path.push(arg);
  }
  return path;
}

/** The command that stands behind options, where the arguments begin with one: its own were taken for another's. */
function lateCommand(args: readonly string[]): string | undefined {
  if (!args[0]?.startsWith("-")) return undefined;
  const names = createProgram().commands.map((command) => command.name());
  return args.find((arg) => names.includes(arg));
}

/** With a default command, commander would take an unknown one for that command's argument, as for that of `help`. */
function checkCommand(command: Command, [first, ...rest]: readonly string[]): void {
  const isRoot = command.parent === null;
  const names = [...command.commands.map((inner) => inner.name()), ...(isRoot ? ["help"] : [])];
  if (first === undefined || first.startsWith("-") || command.commands.length === 0) return;
  const inner = command.commands.find((candidate) => candidate.name() === first);
  if (inner !== undefined) return checkCommand(inner, rest);
  if (names.includes(first)) return checkCommand(command, rest);
  const meant =
    [1, 2].flatMap((edits) =>
      names.filter((name) => name.length > 2 * edits && withinEdits(first, name, edits))
    )[0];
  const suggestion = meant === undefined ? "" : `: did you mean ${meant}?`;
  throw new UserError(`there is no command ${JSON.stringify(first)}${suggestion}`, true);
}

/** `help put` as `put --help`: commander's own `help` knows no commands of commands, nor itself. */
function withHelpOption(args: readonly string[]): string[] {
  if (args[0] !== "help") return [...args];
  return [...args.slice(1).filter((arg) => arg !== "help"), "--help"];
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

/** `--allow-net 10.0.0.0/8`: alone the option means anyone, so that its list can't follow as another argument. */
function checkNoList(args: readonly string[]): void {
  const next = args[args.indexOf("--allow-net") + 1] ?? "";
  const isList = !next.startsWith("-") && /[.:/]/.test(next);
  if (isList) throw new UserError(`write --allow-net=${next}: alone it allows anyone`, true);
}

/** The program's commands and options, for the parser, the help, completions and the reference. */
export function createProgram(allowNet?: true | string): Command {
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
      writeOut: (text) => stdout.write(text),
      writeErr: () => {},
      // The help has no colors, and commander would read variables that the executable may not.
      getOutHasColors: () => false,
      getErrHasColors: () => false,
      getOutHelpWidth: () => stdout.columns ?? 80,
    })
    .showHelpAfterError(false)
    .enablePositionalOptions()
    .hook("preAction", (_, command) => {
      const { color } = command.opts();
      if (color !== undefined) chooseColor(color === false ? "never" : color);
    })
    .addHelpText(
      "after",
      "\nWithout a command, dmnode runs a node; dmnode start --help lists its options." +
        "\nExit status: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C,\n" +
        "but for start, follow, watch and a swarm that stays up, which it ends as it should: 0.",
    );
  addNodeCommands(dmnode, allowNet);
  addValueCommands(dmnode);
  addNetworkCommands(dmnode);
  dmnode.commandsGroup("Trials:");
  addSimCommand(dmnode);
  addSwarmCommand(dmnode);
  dmnode.commandsGroup("Others:").helpCommand("help [command]", "show the help of a command");
  dmnode.command("completion")
    .description("print a script that completes dmnode's commands, options and their values")
    .addArgument(dmnode.createArgument("<shell>", "the shell it is for").choices(SHELLS))
    .addHelpText(
      "after",
      `
Examples:
  source <(dmnode completion bash)                                         # this shell
  dmnode completion bash > ~/.local/share/bash-completion/completions/dmnode
  dmnode completion zsh > ~/.zfunc/_dmnode                                 # a folder of $fpath
  dmnode completion fish > ~/.config/fish/completions/dmnode.fish`,
    )
    .action((shell: typeof SHELLS[number]) => print(completionScript(dmnode, shell)));
  for (const command of commandsOf(dmnode)) addColor(command);
  return dmnode;
}

/** All commands below this one. */
export function commandsOf(command: Command): Command[] {
  return command.commands.flatMap((inner) => [inner, ...commandsOf(inner)]);
}

function addColor(command: Command): void {
  command
    .addOption(
      new Option("--color <when>", "colors: auto is for terminals; see also NO_COLOR, FORCE_COLOR")
        .choices(COLOR_CHOICES),
    )
    .option("--no-color", "as --color never");
}

function addNodeCommands(dmnode: Command, allowNet: true | string | undefined): void {
  dmnode.commandsGroup("A node:");
  const run = dmnode.command("start", { isDefault: true })
    .description("run a node (the default command)")
    .option("--env-file <file>", "read variables from this file instead of ./.env")
    .addOption(allowNetOption())
    .addHelpText("after", START_HELP)
    // Loaded only here: the client commands need neither the node nor the API.
    .action(async (flags) => (await import("./start.ts")).start({ ...flags, allowNet }));
  addSettings(run);

  const doctor = clientCommand(
    dmnode,
    "doctor",
    "check this machine, the settings and a node",
    DOCTOR_TIMEOUT_S,
  )
    .addOption(allowNetOption())
    .addHelpText(
      "after",
      `
It takes the options of dmnode start, and checks what they would do.

Examples:
  dmnode doctor                                    before the first start, or when something is wrong
  dmnode doctor --allow-net --p2p-port 9000        whether a node could start like this
  dmnode doctor --api http://127.0.0.1:8081 --json | jq '.findings[] | select(.verdict == "fail")'`,
    )
    .action(async (flags) => (await import("./doctor.ts")).doctor({ ...flags, allowNet }));
  addSettings(doctor);
  addIdentityCommand(dmnode);
}

/** Parsed before commander sees the arguments; named for the help. */
function allowNetOption(): Option {
  return new Option(
    "--allow-net[=LIST]",
    "talk to anyone, or to these addresses, CIDRs and hosts alone (default: loopback)",
  );
}

function addSettings(command: Command): void {
  for (const { flag, name, default: byDefault, meaning, choices } of SETTINGS) {
    if (flag === null) continue;
    const shown = byDefault === "" ? name : `${name}, default ${byDefault}`;
    const value = name === "DATA_DIR" ? "dir" : "value";
    const option = new Option(`${flag} <${value}>`, `${meaning} (${shown})`);
    // For completions alone: configuration says better what is wrong, and where it came from.
    if (choices !== undefined) option.argChoices = [...choices];
    command.addOption(option);
  }
}

function addIdentityCommand(dmnode: Command): void {
  const place = (command: Command) =>
    command
      .option("--data-dir <dir>", "the node's directory (DATA_DIR, default ./data)")
      .option("--env-file <file>", "read variables from this file instead of ./.env")
      .option("--json", "print JSON");
  const transfer = (command: Command) =>
    place(command)
      .option("--passphrase-file <file>", "its first line is the passphrase")
      .option("--force", "replace what is there");
  const identity = place(dmnode.command("identity"))
    .description("show, export or import the key that signs this node's values")
    .addHelpText(
      "after",
      `
The passphrase comes from --passphrase-file, DMNODE_PASSPHRASE, or the terminal.

Examples:
  dmnode identity --data-dir data
  dmnode identity export key.pem
  dmnode identity import key.pem --data-dir other`,
    )
    .action(async (flags) => (await import("./identity.ts")).show(flags));
  transfer(identity.command("export"))
    .description("write it to a file, under a passphrase; openssl pkey reads that too")
    .argument("<file>", "a new file")
    .addHelpText(
      "after",
      `
Examples:
  dmnode identity export key.pem --data-dir data
  dmnode identity export key.pem --passphrase-file secret --force`,
    )
    .action(async (file, flags) => (await import("./identity.ts")).exportTo(file, flags));
  transfer(identity.command("import"))
    .description("take the key of such a file for this node's own; no node may be running")
    .argument("<file>", "as export wrote it, or any Ed25519 key in PKCS #8 (PEM)")
    .addHelpText(
      "after",
      `
Examples:
  dmnode identity import key.pem --data-dir other
  DMNODE_PASSPHRASE=secret dmnode identity import key.pem --force`,
    )
    .action(async (file, flags) => (await import("./identity.ts")).importFrom(file, flags));
}

/** A command that talks to a running node. */
function clientCommand(
  dmnode: Command,
  name: string,
  description: string,
  timeoutS = DEFAULT_TIMEOUT_S,
): Command {
  return dmnode.command(name).description(description)
    .option(
      "--api <url>",
      "the node's API (DMNODE_API, else of API_HOST and API_PORT, default http://127.0.0.1:8080)",
      apiUrl,
    )
    .option("--env-file <file>", "read variables, such as API_TOKEN, from this file, not ./.env")
    .option(
      "--timeout <seconds>",
      `give a node up that says nothing for so long (default: ${timeoutS})`,
      decimal(MIN_TIMEOUT_S, MAX_TIMEOUT_S),
    )
    .option("--json", "print JSON");
}

function addValueCommands(dmnode: Command): void {
  dmnode.commandsGroup("Values, through a running node:");
  const command = (name: string, description: string) => clientCommand(dmnode, name, description);
  command("put", "store a value; prints its hash")
    .argument("[file]", "the file, or - for standard input", "-")
    .option("--key <key>", "store it under a key: it can be changed later")
    .option(
      "--if-seq <n>",
      "only if this is the newest version under the key; 0: if there is none",
      integer(0, MAX_SEQ),
    )
    .option(
      "--min-replicas <n>",
      "so many nodes have to acknowledge it (default: the node's MIN_REPLICAS)",
      integer(1, MAX_REPLICAS),
    )
    .addHelpText(
      "after",
      `
Examples:
  echo hello | dmnode put
  dmnode put photo.jpg --min-replicas 5
  dmnode put --key config settings.json
  dmnode put --key config settings.json --if-seq 3      only if nobody has changed version 3`,
    )
    .action(values.put);

  const valueCommand = (name: string, description: string) =>
    command(name, description)
      .argument(
        "[hash]",
        `40 hex digits, or the first ${LEAST_DIGITS} or more of one that is published here; or --key`,
      )
      .option(
        "--key <key>",
        "the value under this key, the node's own unless --public-key says whose",
      )
      .option("--public-key <hex>", "whose key it is");
  valueCommand("get", "fetch a value")
    .option("-o, --output <file>", "write it to this file instead of standard output")
    .addHelpText(
      "after",
      `
With --json and no file, the value is a part of the object: as text, or in base64.

Examples:
  dmnode get e5f96f6f38320f0f33959cb4d3d656452117aadb -o value.bin
  dmnode get --key config | jq .
  dmnode get --key config --public-key "$(ssh other dmnode identity --json | jq -r .public_key)"`,
    )
    .action(values.get);
  valueCommand("follow", "print a line for each new version of a value, until Ctrl-C")
    .option("-o, --output <file>", "write each version to this file")
    .addHelpText(
      "after",
      `
Where the node is started again, it connects again.

Examples:
  dmnode follow --key config
  dmnode follow --key config -o settings.json
  dmnode follow --key config --json | while read -r version; do ./reload.sh; done`,
    )
    .action(values.follow);
  valueCommand("stat", "show which nodes hold a value")
    .addHelpText(
      "after",
      `
Examples:
  dmnode stat e5f96f6f38320f0f33959cb4d3d656452117aadb
  dmnode stat --key config --json | jq .count`,
    )
    .action(values.stat);
  command("published", "list the values that the node keeps published")
    .option("--limit <n>", "at most so many (default: 100)", integer(1, MAX_PUBLISHED))
    .option("--offset <n>", "leave out so many first ones", integer(0, Number.MAX_SAFE_INTEGER))
    .addHelpText(
      "after",
      `
Examples:
  dmnode published
  dmnode published --limit 1000 --json | jq -r '.published[].hash'`,
    )
    .action(values.published);
  valueCommand("forget", "republish a value no more; its copies at other nodes expire")
    .addHelpText(
      "after",
      `
Examples:
  dmnode forget e5f96f6f38320f0f33959cb4d3d656452117aadb
  dmnode forget --key config`,
    )
    .action(values.forget);
}

function addNetworkCommands(dmnode: Command): void {
  dmnode.commandsGroup("The network, as a running node sees it:");
  const command = (name: string, description: string) => clientCommand(dmnode, name, description);
  command("find", "find the nodes closest to an id")
    .argument("<id>", "40 hex digits")
    .option("--trace", "show each query of the lookup")
    .addHelpText(
      "after",
      `
Examples:
  dmnode find e5f96f6f38320f0f33959cb4d3d656452117aadb
  dmnode find e5f96f6f38320f0f33959cb4d3d656452117aadb --trace`,
    )
    .action(network.find);
  command("ping", "ping a node")
    .argument(
      "<node>",
      `its id, the first ${LEAST_DIGITS} or more digits of a peer's id, or host:port`,
    )
    .addHelpText(
      "after",
      `
Examples:
  dmnode ping e5f96f6f38320f0f33959cb4d3d656452117aadb
  dmnode ping e5f96f6f3832
  dmnode ping dht.example.org:8000
  dmnode ping '[2001:db8::1]:8000' --json | jq .rtt_ms`,
    )
    .action(network.ping);
  command("peers", "list the contacts of the routing table, or explain one of them")
    .argument("[node_id]", `40 hex digits, or the first ${LEAST_DIGITS} or more of a peer's id`)
    .addOption(
      new Option("--health <health>", "only those").choices(["healthy", "degraded", "unhealthy"]),
    )
    .addOption(
      new Option("--sort <field>", "score and last_seen: highest first; others: lowest first")
        .choices(["score", "distance", "rtt", "last_seen", "first_seen"]),
    )
    .option("--limit <n>", "at most so many", integer(1, MAX_PEERS))
    .addHelpText(
      "after",
      `
Examples:
  dmnode peers --sort rtt --limit 10
  dmnode peers --health degraded
  dmnode peers e5f96f6f3832                     its score's parts, and its history
  dmnode peers --json | jq -r '.peers[].address'`,
    )
    .action(network.peers);
  command("stats", "show what the node is doing")
    .addHelpText(
      "after",
      `
Examples:
  dmnode stats
  dmnode stats --json | jq .traffic.in`,
    )
    .action(network.stats);

  command("watch", "watch the node live on a terminal, or print its events")
    .option("--types <list>", "only these events, such as peer.*,data.publish,lookup")
    .option("--since <id>", "first those after this one, with --json", integer(1, MAX_SEQ))
    .addHelpText(
      "after",
      `
On a terminal, q or Ctrl-C ends it. With --json, or where standard output is no terminal, each event is a line of JSON;
docs/api.md lists them. Where the node is started again, it connects again.

Examples:
  dmnode watch
  dmnode watch --types 'peer.*'
  dmnode watch --types data.publish,data.fetch --json | jq -r .data.hash`,
    )
    .action(async (flags) => (await import("./watch.ts")).watch(flags));
}

const START_HELP = `
Every option but --allow-net, --env-file and --color can also be given as a variable, in the environment or in .env.

Examples:
  dmnode                                        a node that this machine alone can reach
  dmnode --allow-net                            a node that talks to anyone
  dmnode --allow-net --bootstrap dht.example.org:8000
  dmnode --allow-net=10.0.0.0/8 --bootstrap 10.0.0.5:8000`;

function tell(message: string, hint?: string): void {
  const line = message.trim().split("\n").join(" ");
  stderr.write(`dmnode: ${line}${hint === undefined ? "" : ` (${hint})`}\n`);
}
