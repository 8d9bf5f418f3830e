// Keeps Deno's inspector closed. Every user of this machine could run code in the process through an open inspector.

/** The port at which Deno opens its inspector on SIGUSR1, from version 2.9.2 on. The executables have no inspector. */
const INSPECTOR = { hostname: "127.0.0.1", port: 9229 };

/**
 * The time for which the process occupies the port after a signal. Deno tries to open the inspector right after or
 * right before it calls the listener.
 */
const HOLD_MS = 5_000;

/** The maximum time in which an inspector answers. A process that only occupies the port never answers. */
const ANSWER_MS = 500;

/**
 * Makes SIGUSR1 harmless. No setting and no listener prevents the inspector, so this function occupies its port at the
 * moment of the signal. `onOpen` is called if Deno was faster, and should end the process.
 */
export function keepInspectorClosed(onOpen: () => void): void {
  if (Deno.build.os === "windows") return;
  let held: Deno.Listener | undefined;
  Deno.addSignalListener("SIGUSR1", async () => {
    if (held !== undefined) return;
    try {
      held = Deno.listen(INSPECTOR);
    } catch {
      // The port is in use, by an inspector or by another program.
      if (await isInspectorOpen()) onOpen();
      return;
    }
    const release = setTimeout(() => {
      held!.close();
      held = undefined;
    }, HOLD_MS);
    Deno.unrefTimer(release);
  });
}

/** Whether an inspector of Deno answers at the port. */
async function isInspectorOpen(): Promise<boolean> {
  try {
    // Use a plain connection, because `fetch` may use a proxy.
    using connection = await Deno.connect(INSPECTOR);
    const timer = setTimeout(() => connection.close(), ANSWER_MS);
    const request =
      `GET /json HTTP/1.1\r\nHost: ${INSPECTOR.hostname}\r\nConnection: close\r\n\r\n`;
    await connection.write(new TextEncoder().encode(request));
    const answer = await new Response(connection.readable).text();
    clearTimeout(timer);
    return /"description": ?"deno"/.test(answer);
  } catch {
    return false;
  }
}
