// Runs `dmnode swarm` as a process: many real nodes. The first of them has an API and the dashboard.

import { command } from "../program/program.ts";

/** A swarm that runs until it is closed. */
export interface SwarmProcess {
  /** The API of its first node. */
  readonly api: string;
  close(): Promise<void>;
}

/** Starts a swarm. Resolves when the swarm has stored and found its values. */
export async function startSwarm(nodes: number, stores = 40): Promise<SwarmProcess> {
  const args = ["swarm", "--nodes", `${nodes}`, "--rest", "0", "--stores", `${stores}`];
  const child = command([...args, "--api-port", "0"], {}, "null").spawn();
  const close = async () => {
    try {
      child.kill("SIGTERM");
    } catch {
      // The process has ended already.
    }
    await Promise.all([child.status, child.stderr.cancel()]);
  };
  let text = "", api: string | undefined;
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    api ??= /^API of the first node: (\S+)/m.exec(text)?.[1];
    if (api !== undefined && text.includes("The swarm stays up")) return { api, close };
  }
  await close();
  throw new Error(`the swarm ended: ${text}`);
}
