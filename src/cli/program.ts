// The command line: defines the commands, parses the arguments and determines the exit status.

import { Command, CommanderError, Option } from "commander";
import { COMMIT } from "../commit.ts";
import { ConfigError, withinEdits } from "../config/text.ts";
import { VERSION } from "../version.ts";
import { addSwarmCommands } from "./commands/swarms.ts";
import { addNetworkCommands } from "./commands/network.ts";
import { addNodeCommands } from "./commands/node.ts";
import { explain } from "./commands/options.ts";
import { addTrialCommands } from "./commands/trials.ts";
import { addValueCommands } from "./commands/values.ts";
import { completionScript, type Shell, SHELLS } from "./completion.ts";
import { Interrupted, OutputClosed, UserError } from "./terminal/errors.ts";
import { chooseColor, COLOR_CHOICES, print, stderr, stdout } from "./terminal/terminal.ts";

const DONE = 0, FAILED = 1, WRONG_USAGE = 2;

/** The value of `--allow-net`: true if it was given without a list, undefined if it was not given. */
type AllowNet = true | string | undefined;

/** Runs the program with these arguments. Resolves to its exit status; rejects only if the program has a bug. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  let help = "dmnode --help";
  try {
    const path = commandPath(createProgram(), args);
    help = `${path.join(" ")} --help`;
    // Extract --allow-net only for these commands. For any other command, commander reports it as an unknown option.
    const hasAllowNet = path.length === 1 || ["start", "doctor"].includes(path[1]);
    const { allowNet, rest } = hasAllowNet
      ? takeAllowNet(args)
      : { allowNet: undefined, rest: [...args] };
    const dmnode = createProgram(allowNet);
    checkCommand(dmnode, rest);
    // Turn `help put` into `put --help`: commander's own `help` does not handle subcommands like `identity export`.
    const parsed = rest[0] === "help" ? [...rest.filter((arg) => arg !== "help"), "--help"] : rest;
    await dmnode.parseAsync(parsed, { from: "user" });
    return DONE;
  } catch (error) {
    if (error instanceof OutputClosed) return DONE;
    if (error instanceof Interrupted) return error.status;
    if (error instanceof CommanderError) return reportUsage(error, args, help);
    const isUsage = error instanceof UserError && error.isUsage;
    if (!(error instanceof ConfigError || error instanceof UserError)) throw error;
    report(error.message, isUsage ? help : undefined);
    return isUsage || error instanceof ConfigError ? WRONG_USAGE : FAILED;
  }
}

/** Prints an error as one line. `help` is a command that shows the correct usage. */
function report(message: string, help?: string): void {
  const line = message.trim().split("\n").join(" ");
  stderr.write(`dmnode: ${line}${help === undefined ? "" : ` (see ${help})`}\n`);
}

function reportUsage(error: CommanderError, args: readonly string[], help: string): number {
  // Commander also throws after it has printed help or the version.
  if (error.exitCode === 0) return DONE;
  // The user named only a group of commands, such as `dmnode network`, and no command in it.
  if (error.code === "commander.help") {
    report(`${help.replace(/ --help$/, "")} needs one of its commands`, help);
    return WRONG_USAGE;
  }
  const isMisplaced = ["commander.unknownOption", "commander.excessArguments"].includes(error.code);
  const names = createProgram().commands.map((command) => command.name());
  const command = isMisplaced && args[0]?.startsWith("-")
    ? args.find((arg) => names.includes(arg))
    : undefined;
  if (command === undefined) report(error.message.replace(/^error: /, ""), help);
  else {
    const example = `dmnode ${command} ${args[0]} ...`;
    report(`options follow their command: ${example}`, `dmnode ${command} --help`);
  }
  return WRONG_USAGE;
}

/** Returns the program's name and the commands at the start of the arguments, such as dmnode, identity, export. */
function commandPath(dmnode: Command, args: readonly string[]): string[] {
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

/** Throws a UserError for an unknown command, and may suggest another. Commander would treat it as an argument. */
function checkCommand(command: Command, [first, ...rest]: readonly string[]): void {
  if (first === undefined || first.startsWith("-") || command.commands.length === 0) return;
  const inner = command.commands.find((candidate) => candidate.name() === first);
  if (inner !== undefined) return checkCommand(inner, rest);
  const isRoot = command.parent === null;
  if (isRoot && first === "help") return checkCommand(command, rest);
  const names = [...command.commands.map((inner) => inner.name()), ...(isRoot ? ["help"] : [])];
  const similar = [1, 2].flatMap((edits) =>
    names.filter((name) => name.length > 2 * edits && withinEdits(first, name, edits))
  );
  const suggestion = similar.length === 0 ? "" : `: did you mean ${similar[0]}?`;
  throw new UserError(`there is no command ${JSON.stringify(first)}${suggestion}`, true);
}

/** Extracts `--allow-net[=LIST]` from the arguments. Throws a UserError for `--allow-net LIST`: the `=` is required. */
function takeAllowNet(args: readonly string[]): { allowNet: AllowNet; rest: string[] } {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const isAllowNet = (arg: string, i: number) => i < end && /^--allow-net(=|$)/.test(arg);
  const given = args.filter(isAllowNet), rest = args.filter((arg, i) => !isAllowNet(arg, i));
  const lists = given.filter((arg) => arg.includes("="))
    .map((arg) => arg.slice("--allow-net=".length));
  if (lists.length > 0) return { allowNet: lists.join(","), rest };
  if (given.length === 0) return { allowNet: undefined, rest };
  const next = args[args.indexOf("--allow-net") + 1] ?? "";
  if (!next.startsWith("-") && /[.:/]/.test(next)) {
    throw new UserError(`write --allow-net=${next}: --allow-net alone allows any address`, true);
  }
  return { allowNet: true, rest };
}

/** Defines all commands and options, for the parser, the help, shell completion and the reference documentation. */
export function createProgram(allowNet?: AllowNet): Command {
  const dmnode = new Command("dmnode")
    .description("DataMgmt Node: a Kademlia DHT node that speaks BitTorrent's Mainline protocol.")
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
      // Never color the help. To decide about colors, commander would read variables that the executable may not read.
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
      `
Without a command, dmnode runs a node; dmnode start --help lists its options.
Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted by Ctrl-C. For start,
follow, watch and a swarm that stays up, Ctrl-C is the regular end, with status 0.`,
    );
  addNodeCommands(dmnode, allowNet);
  addValueCommands(dmnode);
  addSwarmCommands(dmnode);
  addNetworkCommands(dmnode);
  addTrialCommands(dmnode);
  dmnode.commandsGroup("Others:").helpCommand("help [command]", "show the help of a command");
  addCompletionCommand(dmnode);
  for (const command of commandsOf(dmnode)) {
    const text = "colors; auto: on terminals (see also NO_COLOR, FORCE_COLOR)";
    command.addOption(new Option("--color <when>", text).choices(COLOR_CHOICES))
      .option("--no-color", "same as --color never");
  }
  return dmnode;
}

function addCompletionCommand(dmnode: Command): void {
  explain(dmnode.command("completion"), {
    description: "print a script that completes commands, options and values",
    examples: `
      source <(dmnode completion bash)                                         # this shell
      dmnode completion bash > ~/.local/share/bash-completion/completions/dmnode
      dmnode completion zsh > ~/.zfunc/_dmnode                                 # a folder in $fpath
      dmnode completion fish > ~/.config/fish/completions/dmnode.fish`,
  })
    .addArgument(dmnode.createArgument("<shell>", "the shell").choices(SHELLS))
    .action((shell: Shell) => print(completionScript(dmnode, shell)));
}

export function commandsOf(command: Command): Command[] {
  return command.commands.flatMap((inner) => [inner, ...commandsOf(inner)]);
}
