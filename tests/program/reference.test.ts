// docs/cli.md and .env.example are current, and the parser accepts every example in the help.

import assert from "node:assert/strict";
import { basename } from "node:path";
import { GENERATED, reference } from "../../packaging/cli_reference.ts";
import { commandsOf, createProgram } from "../../src/cli/program.ts";
import { run } from "./program.ts";

for (const [path, text] of Object.entries(GENERATED)) {
  Deno.test(`${basename(path)} is current: if not, run packaging/cli_reference.ts`, async () => {
    assert.equal(await Deno.readTextFile(path), text());
  });
}

Deno.test("docs/cli.md contains what --help prints", async () => {
  const text = reference();
  for (const args of [[], ["peers"], ["identity", "export"]]) {
    const { code, stdout } = await run([...args, "--help"]);
    assert.equal(code, 0);
    assert.ok(text.includes(`\`\`\`\n${stdout.trimEnd()}\n\`\`\``), stdout);
  }
  const [byWord, byOption] = [await run(["help", "peers"]), await run(["peers", "--help"])];
  assert.deepEqual(byWord, byOption);
});

/** The dmnode commands in a line of shell code, as lists of arguments without quotes. */
function commandsIn(line: string): string[][] {
  const code = line.trim().replace(/ {2,}.*$/, "").replace(/\s#.*$/, "");
  return Array.from(code.matchAll(/(?<![\w./])dmnode((?: +(?:'[^']*'|"[^"]*"|[^\s|;<>)'"]+))*)/g))
    .map(([, words]) =>
      Array.from(words.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)).map(([, x, y, z]) => x ?? y ?? z)
    );
}

Deno.test("every command has examples, and the parser accepts them", async () => {
  const examples = Array.from(
    reference().matchAll(/^Examples:\n((?: {2}.*\n)+)/gm),
    ([, lines]) => lines.trimEnd().split("\n"),
  ).flat();
  for (const command of commandsOf(createProgram())) {
    const name = command.parent?.parent
      ? `${command.parent.name()} ${command.name()}`
      : command.name();
    assert.ok(examples.some((line) => line.includes(`dmnode ${name}`) || name === "start"), name);
  }
  for (const line of examples) {
    const found = commandsIn(line);
    assert.ok(found.length > 0, line);
    for (const args of found) {
      const program = createProgram();
      for (const command of commandsOf(program)) {
        command.exitOverride().configureOutput({ writeErr: () => {} }).action(() => {});
      }
      const parsed = args.filter((arg) => !arg.startsWith("--allow-net"));
      await program.parseAsync(parsed, { from: "user" });
    }
  }
});
