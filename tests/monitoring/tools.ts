// Finds and runs Prometheus' programs, which tests/monitoring/setup.sh puts into .tools/prometheus.

import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Path of a program in .tools or on the PATH. Its plain name if it is in neither. */
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

/** Whether tests that need the programs are skipped. In CI on Linux, these tests fail instead. */
export const isPassedOver = tool("promtool") === "promtool" &&
  (Deno.build.os !== "linux" || !Deno.env.get("CI"));

if (isPassedOver) {
  console.warn(
    "skipping the tests that need promtool; to install it, run: sh tests/monitoring/setup.sh",
  );
}

/** Result of a run of promtool. */
export interface Checked {
  readonly success: boolean;
  /** Standard output and standard error. */
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
