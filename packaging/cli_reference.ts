// Generates docs/cli.md from the help of every command and the table of settings, and .env.example from that table. Run
// it after a change to either: deno run --allow-all packaging/cli_reference.ts

import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { commandsOf, createProgram } from "../src/cli/program.ts";
import { wrapped } from "../src/cli/terminal/table.ts";
import { type Setting, SETTINGS } from "../src/config.ts";

/** The generated files, by path. */
export const GENERATED: Readonly<Record<string, () => string>> = {
  [fileURLToPath(new URL("../docs/cli.md", import.meta.url))]: reference,
  [fileURLToPath(new URL("../.env.example", import.meta.url))]: envExample,
};

/** The width of help that is not printed to a terminal. */
const COLUMNS = 80;

/** The width of comments in .env.example, without the `#`. */
const ENV_COLUMNS = 98;

const INTRODUCTION = `# Command line

This page is the output of \`--help\` for every command, followed by the table of
[settings](#settings). \`dmnode completion bash|zsh|fish\` prints a script that completes commands,
options and values.

- **Choosing the node**: commands that talk to a running node read its API from \`--api\`, then
  \`DMNODE_API\`, then \`API_SOCKET\`, then \`API_HOST\` and \`API_PORT\`, in the environment or in \`.env\`.
  A URL may name a Unix socket: \`unix:/run/dmnode.sock\`. The default is \`http://127.0.0.1:8080\`. If
  the node requires a token, set \`API_TOKEN\` or \`API_TOKEN_FILE\` in the environment or in \`.env\`;
  there is no option for it, since other users can see command lines.
- **Where the token goes**: to another machine only if the URL and the token have the same source:
  both the environment, or both one file. \`--api\` goes with a token in the environment, or in a file
  that \`--env-file\` names. A \`.env\` in the working directory can't send the content of
  \`API_TOKEN_FILE\` to another machine. Commands don't follow redirects.
- **Proxies**: requests to this machine ignore \`HTTP_PROXY\` and \`ALL_PROXY\`.
- **Output**: on a terminal, tables fit its width and long ids are shortened. In a pipe, ids are
  complete. You can pass the shortened id of a peer, or hash of a published value, to any command.
  \`--json\` prints one object with the members that [api.md](api.md) describes; \`follow\` and \`watch\`
  print one object per line.
- **Colors** are for terminals. \`--color always\` or \`never\` decides, then \`FORCE_COLOR\`, then
  \`NO_COLOR\`, then \`TERM=dumb\`.
- **Progress** of long operations appears on standard error if that is a terminal.
- **Exit status**: 0 done, 1 failed, 2 wrong usage, 130 interrupted by Ctrl-C, 143 ended by SIGTERM.
  \`start\`, \`follow\`, \`watch\` and a swarm that stays up run until they are stopped, so for them both
  signals end with 0. If the reader of the output goes away, as in \`dmnode peers | head -1\`, the
  status is 0.
- **Errors** are one line on standard error.
- **Unresponsive nodes**: a command fails if the node sends nothing for 10 s (\`doctor\`: 5 s) and
  does not answer a health check either. \`--timeout\` sets another time.
`;

const SETTINGS_INTRODUCTION = `## Settings

Each setting is read from the command line, then the environment, then \`.env\` in the working
directory (or the file that \`--env-file\` names), and has a default. An empty variable counts as not
set. Numbers of bytes may have a unit (kB, MB, GB, TB, KiB, MiB, GiB, TiB), and those of seconds too
(s, m, h, d). [.env.example](../.env.example) is this table as a file to start from.
`;

const ENV_INTRODUCTION =
  `# Settings of dmnode, each with its default. Copy this file to .env and change what you need.
# The command line and the environment take precedence. An empty value counts as not set.`;

/** The text of docs/cli.md. */
export function reference(): string {
  const program = createProgram();
  const commands = [program, ...commandsOf(program)];
  const sections = commands.map((command) => `## ${pathOf(command)}\n\n${help(command)}`);
  return [INTRODUCTION, ...sections, SETTINGS_INTRODUCTION, settingsTable()].join("\n");
}

/** Returns the table of settings in Markdown, aligned as by `deno fmt`. */
function settingsTable(): string {
  const code = (text: string) => text === "" ? "" : `\`${text}\``;
  const rows = [
    ["variable", "flag", "default", "allowed", "meaning"],
    ...SETTINGS.map((setting) => [
      code(setting.name),
      code(setting.flag ?? ""),
      code(setting.default),
      setting.format.allowed,
      sentences(setting),
    ]),
  ];
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`;
  const rule = widths.map((width) => "-".repeat(width));
  return `${[rows[0], rule, ...rows.slice(1)].map(line).join("\n")}\n`;
}

/** The text of .env.example. */
export function envExample(): string {
  const entries = SETTINGS.map((setting) =>
    [
      ...wrapped(sentences(setting), ENV_COLUMNS).map((line) => `# ${line}`),
      `# Allowed: ${setting.format.allowed}`,
      `${setting.name}=${setting.default}`,
    ].join("\n")
  );
  return `${[ENV_INTRODUCTION, ...entries].join("\n\n")}\n`;
}

function sentences({ meaning, details }: Setting): string {
  const first = `${meaning[0].toUpperCase()}${meaning.slice(1)}.`;
  return details === undefined ? first : `${first} ${details}`;
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

function help(command: Command): string {
  let text = "";
  command.configureOutput({
    writeOut: (part) => text += part,
    getOutHasColors: () => false,
    getOutHelpWidth: () => COLUMNS,
  });
  command.outputHelp();
  return `\`\`\`\n${text.trimEnd()}\n\`\`\`\n`;
}

if (import.meta.main) {
  for (const [path, text] of Object.entries(GENERATED)) await Deno.writeTextFile(path, text());
}
