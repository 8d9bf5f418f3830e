// Records every file access of the running executable with strace (Linux), independent of Deno's permissions.

import assert from "node:assert/strict";
import { join } from "node:path";
import { NodeProcess } from "../program/program.ts";

const executable = Deno.env.get("DMNODE");

if (executable && Deno.build.os === "linux") {
  Deno.test("the executable writes only in DATA_DIR, leaves no other files, and starts no other process", async () => {
    const directory = await Deno.makeTempDir({ prefix: "dmnode-files-" });
    const trace = join(directory, "trace"), traced = join(directory, "traced");
    const dataDir = join(directory, "data");
    await Deno.writeTextFile(
      traced,
      "#!/bin/sh\nexec strace -D -f -qq -o " +
        `'${trace}' -e trace=open,openat,creat,mkdir,rename,renameat,renameat2,unlink,link,symlink,execve,fork,vfork ` +
        `'${executable}' "$@"\n`,
      { mode: 0o755 },
    );
    Deno.env.set("DMNODE", traced);
    let node: NodeProcess;
    try {
      node = await NodeProcess.start(dataDir, [], { cwd: directory });
    } finally {
      Deno.env.set("DMNODE", executable);
    }
    for (let i = 0; i < 20; i++) {
      const response = await fetch(`${node.api}/network/store?key=${i}`, {
        method: "POST",
        body: `value ${i}`,
        headers: { "content-type": "text/plain" },
      });
      assert.equal(response.status, 201, await response.text());
    }
    assert.equal((await node.stop("SIGTERM")).code, 0);

    const calls = (await Deno.readTextFile(trace)).split("\n")
      .filter((line) => !/= -1 |<unfinished|resumed>|^\d+ +(---|\+\+\+)/.test(line));
    const started = calls.filter((line) => /\b(execve|fork|vfork)\(/.test(line));
    assert.equal(started.length, 1, started.join("\n")); // the executable itself
    const written = calls.filter((line) =>
      /O_WRONLY|O_RDWR|O_CREAT|\b(creat|mkdir|rename|renameat2?|unlink|link|symlink)\(/.test(line)
    );
    assert.ok(written.length > 3, "nothing was traced");
    const elsewhere = written.filter((line) => !line.includes(`"${dataDir}`));
    assert.deepEqual(elsewhere, []);
    await Deno.remove(directory, { recursive: true });
  });
}
