// A thread that was started before the node gives up permissions loses them too, as all threads of the process share them.

import assert from "node:assert/strict";
import { join } from "node:path";
import { permissionFlags } from "../../../src/runtime/process/permissions.ts";
import { inTemporaryDirectory } from "../../storage/temporary.ts";

const PROGRAM = `
import { dropPermissions } from "${
  new URL("../../../src/runtime/process/permissions.ts", import.meta.url).href
}";

const [readable, writable] = Deno.args;
const worker = new Worker(import.meta.url.replace("main.js", "worker.js"), { type: "module" });
const ask = () => new Promise((resolve) => {
  worker.onmessage = ({ data }) => resolve(data);
  worker.postMessage({ readable, writable });
});
const before = await ask();
dropPermissions({ isService: true });
console.log(JSON.stringify({ before, after: await ask() }));
Deno.exit(0);
`;

const WORKER = `
const attempt = (act) => {
  try {
    act();
    return "done";
  } catch (error) {
    return error.name;
  }
};
onmessage = ({ data: { readable, writable } }) => postMessage([
  attempt(() => Deno.readTextFileSync(readable)),
  attempt(() => Deno.writeTextFileSync(writable, "")),
  attempt(() => Deno.env.get("API_TOKEN")),
]);
`;

Deno.test("once the node runs, the storage thread can't read or write any further file", () =>
  inTemporaryDirectory(async (path) => {
    Deno.writeTextFileSync(path("main.js"), PROGRAM);
    Deno.writeTextFileSync(path("worker.js"), WORKER);
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--config",
        join(import.meta.dirname!, "../../../deno.json"),
        ...permissionFlags(Deno.build.os),
        path("main.js"),
        path("main.js"),
        path("new"),
      ],
      env: { NO_COLOR: "1" },
    }).output();
    const text = new TextDecoder().decode(stdout);
    assert.match(text, /^\{/, new TextDecoder().decode(stderr));
    assert.deepEqual(JSON.parse(text), {
      before: ["done", "done", "done"],
      after: ["NotCapable", "NotCapable", "NotCapable"],
    });
  }));
