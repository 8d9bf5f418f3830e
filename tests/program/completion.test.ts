// Tests the completion scripts in their shells: commands, options, choices and files.

import assert from "node:assert/strict";
import { join } from "node:path";
import { commandsOf, createProgram } from "../../src/cli/program.ts";
import { completionScript, type Shell, SHELLS } from "../../src/cli/completion.ts";
import { run } from "./program.ts";
import { TestTerminal } from "./terminal.ts";

async function has(shell: Shell): Promise<boolean> {
  try {
    return (await new Deno.Command(shell, { args: ["--version"], stdout: "null" }).output())
      .success;
  } catch {
    return false;
  }
}

/** A command line whose last word is incomplete, the completions that must be offered, and those that must not. */
const CASES: [words: string[], wanted: string[], unwanted?: string[]][] = [
  [["pe"], ["peers"], ["put"]],
  [[""], ["start", "put", "peers", "watch", "completion"], ["--json"]],
  [["--log"], ["--log-level", "--log-format"], ["--json"]],
  [["--log-level", ""], ["debug", "warning"], ["peers"]],
  [["peers", "--"], ["--health", "--sort", "--json", "--color"], ["--key"]],
  [["peers", "--health", ""], ["healthy", "degraded", "unhealthy"], ["--json"]],
  [["peers", "--sort", "l"], ["last_seen"], ["score"]],
  [["peers", "--json", "--color", "a"], ["auto", "always"], ["never"]],
  [["identity", ""], ["export", "import"], ["peers"]],
  [["identity", "export", "--f"], ["--force"], ["--health"]],
  [["completion", ""], ["bash", "zsh", "fish"], ["peers"]],
  [["put", "--key", "peers", "--if"], ["--if-seq"], ["--health"]],
  [["put", "sett"], ["settings.json"], ["peers"]],
  [["get", "--output", "sett"], ["settings.json"]],
];

const IN_BASH = `source ../script
COMP_WORDS=(dmnode "$@"); COMP_CWORD=$#
_dmnode; printf '%s\\n' "\${COMPREPLY[@]}"`;

async function completed(shell: Shell, words: string[], cwd: string): Promise<string[]> {
  const args = shell === "bash"
    ? ["--norc", "-c", IN_BASH, "bash", ...words]
    : ["--no-config", "-c", `source ../script; complete -C '${["dmnode", ...words].join(" ")}'`];
  const { stdout, stderr } = await new Deno.Command(shell, { args, cwd }).output();
  const errors = new TextDecoder().decode(stderr).split("\n")
    // bash reports this because the script runs outside of a completion.
    .filter((line) => line !== "" && !/compopt: not currently executing/.test(line));
  assert.deepEqual(errors, []);
  return new TextDecoder().decode(stdout).split("\n").map((line) => line.split("\t")[0]);
}

/** Runs a test in a folder with a file to complete, beside the script. */
async function withScript(
  shell: Shell,
  body: (cwd: string, script: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    const { code, stdout, stderr } = await run(["completion", shell]);
    assert.deepEqual([code, stderr], [0, ""]);
    await Deno.writeTextFile(join(directory, "script"), stdout);
    const cwd = join(directory, "folder");
    await Deno.mkdir(cwd);
    await Deno.writeTextFile(join(cwd, "settings.json"), "{}");
    await body(cwd, join(directory, "script"));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

for (const shell of ["bash", "fish"] as const) {
  Deno.test({
    name: `${shell} completes commands, options, choices and files`,
    ignore: !await has(shell),
    fn: () =>
      withScript(shell, async (cwd) => {
        for (const [words, wanted, unwanted = []] of CASES) {
          const found = await completed(shell, words, cwd);
          for (const word of wanted) assert.ok(found.includes(word), `${words}: ${word}: ${found}`);
          for (const word of unwanted) assert.ok(!found.includes(word), `${words}: not ${word}`);
        }
        if (shell === "bash") {
          assert.deepEqual(await completed(shell, ["peers", "--sort", "=", "d"], cwd), [
            "distance",
            "",
          ]);
        }
      }),
  });
}

/** The keys to type before each tab, and the expected line after the tab. */
const TYPED: [keys: string, line: RegExp][][] = [
  [["dmnode pee", /> dmnode peers$/]],
  [["dmnode peers --heal", /peers --health$/], ["deg", /peers --health degraded$/]],
  [["dmnode identity exp", /> dmnode identity export$/]],
  [["dmnode completion fi", /> dmnode completion fish$/]],
  [["dmnode put --key k --if", /> dmnode put --key k --if-seq$/]],
  [["dmnode put sett", /> dmnode put settings\.json$/]],
  [["dmnode --log-l", /> dmnode --log-level$/], ["warn", /> dmnode --log-level warning$/]],
];

for (const shell of ["bash", "zsh"] as const) {
  Deno.test({
    name: `${shell} completes at the tab key`,
    ignore: !await has(shell),
    fn: () =>
      withScript(shell, async (cwd, script) => {
        const args = shell === "bash" ? ["--norc", "--noprofile", "-i"] : ["-f", "-i"];
        // A shell may ignore an inherited PS1, so its first prompt can also be its own.
        await using terminal = new TestTerminal(args, { cwd, env: { PS1: "> " } }, shell);
        await terminal.until(/[>#$%]$/);
        const setup = shell === "bash"
          ? `PS1='> '; source ${script}`
          : `PS1='> '; autoload -Uz compinit; compinit -D -u; source ${script}`;
        await terminal.type(`${setup}; clear; echo ready\r`);
        await terminal.until(/^ready\n>/m);
        // The last prompt: zsh may list the choices below it.
        const line = () => terminal.screen.findLast((text) => text.startsWith(">"))!;
        for (const steps of TYPED) {
          for (const [keys, completed] of steps) {
            await terminal.type(keys);
            await terminal.until(() => line().endsWith(keys));
            await terminal.type("\t");
            await terminal.until(() => completed.test(line()));
          }
          await terminal.type("\x15\r");
          await terminal.until(() => line() === ">");
        }
      }),
  });
}

Deno.test("the scripts contain every option and choice of every command", () => {
  const program = createProgram();
  const scripts = SHELLS.map((shell) => completionScript(program, shell));
  for (const command of commandsOf(program)) {
    for (const { long, argChoices } of command.options) {
      const name = long!.replace(/^--|\[.*$/g, "");
      for (const script of scripts) {
        assert.match(script, new RegExp(`(--|-l )${name}\\b`));
        for (const choice of argChoices ?? []) assert.ok(script.includes(choice), choice);
      }
    }
  }
});

Deno.test("an option with different values in two commands is an error", () => {
  const program = createProgram();
  program.command("other").addOption(
    program.createOption("--health <health>").choices(["good", "bad"]),
  );
  assert.throws(() => completionScript(program, "bash"), /--health/);
});
