// Prints the events of a node, one per line: events.ts [TYPE …]. After a lost connection it resumes at the last event.

const api = Deno.env.get("DMNODE_API") ?? "http://127.0.0.1:8080";
const token = Deno.env.get("API_TOKEN");
const types = Deno.args.join(",");

let since: string | undefined;
for (;;) {
  try {
    const url = new URL("/events", api);
    if (types !== "") url.searchParams.set("types", types);
    if (since !== undefined) url.searchParams.set("since", since);
    const headers: HeadersInit = token ? { authorization: `Bearer ${token}` } : {};
    const response = await fetch(url, { headers });
    if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status}`);
    let rest = "";
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (line.startsWith("id:")) since = line.slice(3).trim();
        if (line.startsWith("data:")) console.log(line.slice(5).trim());
      }
    }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}; retrying`);
  }
  await new Promise((resolve) => setTimeout(resolve, 1_000));
}
