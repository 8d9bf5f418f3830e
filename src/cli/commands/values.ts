// Defines the commands for values: put, get, follow, stat, published, forget, pin, unpin and pins.

import type { Command } from "commander";
import { MIN_DIGITS } from "../client/ids.ts";
import { type About, clientCommand, integer, lifetime, seq, TTL } from "./options.ts";

/**
 * The API's limits: the number of values in one list of published values, and the number of
 * replicas that a store may require.
 */
const MAX_PUBLISHED = 1_000, MAX_REPLICAS = 128;

const HASH = "e5f96f6f38320f0f33959cb4d3d656452117aadb";

const LINK_FILE =
  "open the sealed value whose link is in this file; other users can't see it there";

const LINK = `'dm:${HASH}#mCkqSyjXUhFcSUVzTClL1A'`;

export function addValueCommands(dmnode: Command): void {
  dmnode.commandsGroup("Values, through a running node:");
  addPut(dmnode);
  addReaders(dmnode);
  clientCommand(dmnode, "published", {
    description: "list the values that the node keeps published",
    examples: `
      dmnode published
      dmnode published --limit 1000 --json | jq -r '.published[].hash'`,
  })
    .option("--limit <n>", "list at most n values (default: 100)", integer(1, MAX_PUBLISHED))
    .option("--offset <n>", "skip the first n values", integer(0, Number.MAX_SAFE_INTEGER))
    .action(async (flags) => (await import("../values.ts")).published(flags));
  valueCommand(dmnode, "publish", {
    description: "publish a value again now, without waiting for its turn",
    examples: `
      dmnode publish ${HASH}
      dmnode publish --key config`,
  })
    .action(async (hash, flags) => (await import("../values.ts")).publish(hash, flags));
  valueCommand(dmnode, "forget", {
    description: "stop republishing a value; its copies on other nodes then expire",
    examples: `
      dmnode forget ${HASH}
      dmnode forget --key config`,
  })
    .action(async (hash, flags) => (await import("../values.ts")).forget(hash, flags));
  addPins(dmnode);
}

function addPins(dmnode: Command): void {
  valueCommand(dmnode, "pin", {
    description: "keep any value alive on this node, even if others own it; prints its hash",
    examples: `
      dmnode pin ${HASH}
      dmnode pin --key config --public-key "$(ssh other dmnode identity --json | jq -r .public_key)"`,
    notes: "The node keeps the value on its disk and publishes it every hour. Of a value under a " +
      "key, it keeps the newest version.",
  })
    .option("--ttl <time>", TTL, lifetime)
    .action(async (hash, flags) => (await import("../pins.ts")).pin(hash, flags));
  valueCommand(dmnode, "unpin", {
    description: "stop keeping a pinned value alive",
    examples: `
      dmnode unpin ${HASH}`,
  })
    .action(async (hash, flags) => (await import("../pins.ts")).unpin(hash, flags));
  clientCommand(dmnode, "pins", {
    description: "list the pinned values",
    examples: `
      dmnode pins
      dmnode pins --json | jq -r '.pins[].hash'`,
  })
    .option("--limit <n>", "list at most n values (default: 100)", integer(1, MAX_PUBLISHED))
    .option("--offset <n>", "skip the first n values", integer(0, Number.MAX_SAFE_INTEGER))
    .action(async (flags) => (await import("../pins.ts")).pins(flags));
}

/** Adds a command for one value, which the user names by its hash or its key. */
function valueCommand(dmnode: Command, name: string, about: About): Command {
  return clientCommand(dmnode, name, about)
    .argument(
      "[hash]",
      `40 hex digits, or the first ${MIN_DIGITS} or more if this node publishes it; a link; or use --key`,
    )
    .option("--key <key>", "the value under this key of this node, or of --public-key")
    .option("--public-key <hex>", "the owner of the key");
}

function addPut(dmnode: Command): void {
  clientCommand(dmnode, "put", {
    description: "store a value; prints its hash or, with --seal, its link",
    notes: "With --seal, only those who have the link can read the value: it is encrypted before " +
      "the node gets it. Without the link, nobody can.",
    examples: `
      dmnode put --seal diary.txt
      echo hello | dmnode put
      dmnode put photo.jpg --min-replicas 5
      dmnode put photo.jpg --ttl 7d
      dmnode put --key config settings.json
      dmnode put --key config settings.json --if-seq 3      only if version 3 is still the newest
      dmnode put --key config settings.json --link-file config.link      all versions have one link`,
  })
    .argument("[file]", "the file, or - for standard input", "-")
    .option("--key <key>", "store the value under a key, so that you can change it later")
    .option(
      "--if-seq <n>",
      "store only if n is the newest version under the key; 0: only if there is no version",
      seq,
    )
    .option(
      "--min-replicas <n>",
      "nodes that must acknowledge it (default: the node's MIN_REPLICAS)",
      integer(1, MAX_REPLICAS),
    )
    .option("--ttl <time>", TTL, lifetime)
    .option("--seal", "encrypt the value with a new key, and print a link that contains the key")
    .option(
      "--link-file <file>",
      "seal, and write the link to this file instead of printing it; if the file exists, use its key",
    )
    .action(async (file, flags) => (await import("../values.ts")).put(file, flags));
}

function addReaders(dmnode: Command): void {
  valueCommand(dmnode, "get", {
    description: "fetch a value",
    examples: `
      dmnode get ${HASH} -o value.bin
      dmnode get ${LINK}
      dmnode get --link-file config.link
      dmnode get --key config | jq .
      dmnode get --key config --public-key "$(ssh other dmnode identity --json | jq -r .public_key)"`,
    notes: "With --json and without a file, the JSON object contains the value, as text or in " +
      "base64.",
  })
    .option("-o, --output <file>", "write it to this file instead of standard output")
    .option("--link-file <file>", LINK_FILE)
    .action(async (hash, flags) => (await import("../values.ts")).get(hash, flags));
  valueCommand(dmnode, "follow", {
    description: "print a line for each new version of a value, until Ctrl-C",
    examples: `
      dmnode follow --key config
      dmnode follow --key config -o settings.json
      dmnode follow --key config --json | while read -r version; do ./reload.sh; done`,
    notes: "It reconnects when the node restarts.",
  })
    .option("-o, --output <file>", "write each version to this file")
    .option("--link-file <file>", LINK_FILE)
    .action(async (hash, flags) => (await import("../values.ts")).follow(hash, flags));
  valueCommand(dmnode, "stat", {
    description: "show which nodes hold a value",
    examples: `
      dmnode stat ${HASH}
      dmnode stat --key config --json | jq .count`,
  })
    .action(async (hash, flags) => (await import("../values.ts")).stat(hash, flags));
}
