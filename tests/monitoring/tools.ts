// Prometheus' own programs, which tests/monitoring/setup.sh puts into .tools/prometheus.

import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Where one of its programs is: in .tools, or on the PATH; else its name alone. */
export function tool(name: "promtool" | "prometheus"): string {
  const directories = [
    join(ROOT, ".tools", "prometheus", "usr", "bin"),
    ...(Deno.env.get("PATH") ?? "").split(delimiter),
  ];
  return directories.map((directory) => join(directory, name)).find(isFile) ?? name;
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** Whether tests that need them are passed over: on a developer's machine without them. In CI on Linux they fail. */
export const isPassedOver = tool("promtool") === "promtool" &&
  (Deno.build.os !== "linux" || !Deno.env.get("CI"));

if (isPassedOver) {
  console.warn("promtool is not here: its tests are passed over (sh tests/monitoring/setup.sh)");
}

/** How a run of promtool ended. */
export interface Checked {
  readonly success: boolean;
  /** Both of its outputs. */
  readonly text: string;
}

/** Runs promtool with these arguments and this input. */
export async function promtool(args: readonly string[], input = ""): Promise<Checked> {
  const child = new Deno.Command(tool("promtool"), {
    args: [...args],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  return {
    success,
    text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr),
  };
}
