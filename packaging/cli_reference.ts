// Writes docs/cli.md: the help of every command, as the parser prints it. tests/program/reference.test.ts tells when
// it is to be run again: deno run --allow-all packaging/cli_reference.ts

import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { commandsOf, createProgram } from "../src/cli/program.ts";

/** Where the reference is. */
export const REFERENCE = fileURLToPath(new URL("../docs/cli.md", import.meta.url));

/** As wide as help is where it is not printed to a terminal. */
const COLUMNS = 80;

const INTRODUCTION = `# Command line

What \`--help\` says of every command. \`dmnode completion bash|zsh|fish\` prints a script that
completes all of it.

- **Which node**: the commands that talk to a running node find it by \`--api\`, \`DMNODE_API\`, or
  \`API_HOST\` and \`API_PORT\`, in the environment or in \`.env\`; else it is \`http://127.0.0.1:8080\`.
  Where the node asks for a token, \`API_TOKEN\` or \`API_TOKEN_FILE\` is taken from the environment or
  from \`.env\`, never from the command line.
- **What is printed**: tables that fit the terminal, where long ids are shortened; whole ids in a
  pipe. A shortened id of a peer, or hash of a published value, can be given back as it is shown.
  \`--json\` prints one object, and \`follow\` and \`watch\` one a line, with the members that
  [api.md](api.md) describes.
- **Colors** are for terminals. \`--color always\` or \`never\` decides, then \`FORCE_COLOR\`, then
  \`NO_COLOR\`, then \`TERM=dumb\`.
- **Progress** of long work is shown on standard error, where that is a terminal.
- **Exit status**: 0 done, 1 failed, 2 called wrongly, 130 ended by Ctrl-C (143 by SIGTERM) before
  it was done. \`start\`, \`follow\`, \`watch\` and a swarm that stays up end with 0 then: they have no
  other end. A reader that goes away, as in \`dmnode peers | head -1\`, is no failure.
- **Errors** are one line on standard error.
- **A node that is silent** for 10 s (\`doctor\`: 5 s; \`--timeout\`), though it is asked how it is, is
  given up.
`;

/** The reference's text. */
export function reference(): string {
  const program = createProgram();
  const commands = commandsOf(program);
  const sections = commands.map((command) => `## ${pathOf(command)}\n\n${help(command)}`);
  return [INTRODUCTION, `## dmnode\n\n${help(program)}`, ...sections].join("\n");
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

if (import.meta.main) await Deno.writeTextFile(REFERENCE, reference());
