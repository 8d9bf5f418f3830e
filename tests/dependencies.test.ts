// Dependencies are exactly those of deno.lock.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import manifest from "../deno.json" with { type: "json" };

const ROOT = fileURLToPath(new URL("..", import.meta.url));

Deno.test("Deno refuses a dependency that deno.lock does not list", async () => {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-lock-" });
  try {
    await Deno.copyFile(join(ROOT, "deno.json"), join(directory, "deno.json"));
    await Deno.writeTextFile(
      join(directory, "main.ts"),
      'import { Command } from "commander"; Command;',
    );
    const lock = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.lock")));
    const run = async (specifiers: Record<string, string>) => {
      const text = JSON.stringify({ ...lock, specifiers });
      await Deno.writeTextFile(join(directory, "deno.lock"), text);
      const { code, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "main.ts"],
        cwd: directory,
        env: { NO_COLOR: "1" },
      }).output();
      return { code, stderr: new TextDecoder().decode(stderr) };
    };
    const { [manifest.imports.commander]: _, ...others } = lock.specifiers;
    const complete = await run(lock.specifiers);
    assert.equal(complete.code, 0, complete.stderr);
    const { code, stderr } = await run(others);
    assert.notEqual(code, 0);
    assert.match(stderr, /lockfile is out of date/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
