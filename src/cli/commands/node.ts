// Defines the commands that run and check a node, and manage its key: start, doctor and identity.

import type { Command } from "commander";
import { DOCTOR_TIMEOUT_S } from "../client/api_client.ts";
import {
  addSettings,
  allowNetOption,
  apiUrl,
  clientCommand,
  expiry,
  explain,
  integer,
  scopes,
} from "./options.ts";
import { MAX_TOKEN_RATE } from "../../config/api_tokens.ts";

const tokenRate = integer(0, MAX_TOKEN_RATE);

/** Adds these commands to the program. `allowNet` is the value of --allow-net, which has already been parsed. */
export function addNodeCommands(dmnode: Command, allowNet: true | string | undefined): void {
  dmnode.commandsGroup("A node:");
  const start = explain(dmnode.command("start", { isDefault: true }), {
    description: "run a node (the default command)",
    examples: `
      dmnode                                        a node that only this machine can reach
      dmnode --allow-net                            a node that talks to any address
      dmnode --allow-net --bootstrap dht.example.org:8000
      dmnode --allow-net=10.0.0.0/8 --bootstrap 10.0.0.5:8000`,
    notes: `
Each option with a name in capitals can also be set by that variable, in the environment or in .env.
.env.example lists all variables, some of which have no option.`,
  })
    .option("--env-file <file>", "read variables from this file instead of ./.env")
    .addOption(allowNetOption())
    .action(async (flags) => (await import("../start.ts")).start({ ...flags, allowNet }));
  const doctor = clientCommand(dmnode, "doctor", {
    description: "check this machine, the settings and a running node",
    examples: `
      dmnode doctor                                    before the first start, or to find a problem
      dmnode doctor --allow-net --p2p-port 9000        can a node start with these options?
      dmnode doctor --api http://127.0.0.1:8081 --json | jq '.findings[] | select(.verdict == "fail")'`,
    notes: "With options of dmnode start, it checks whether a node can start with them.",
    timeoutS: DOCTOR_TIMEOUT_S,
  })
    .addOption(allowNetOption())
    .action(async (flags) => (await import("../doctor/doctor.ts")).doctor({ ...flags, allowNet }));
  addSettings(start);
  addSettings(doctor);
  addIdentityCommand(dmnode);
  addBackupCommands(dmnode);
  addNetworkKeyCommand(dmnode);
  addTokenCommand(dmnode);
  explain(dmnode.command("deny"), {
    description: "show or change the list of addresses and nodes that a node ignores",
    examples: `
      dmnode deny --deny-list denied.txt               show the list
      dmnode deny 203.0.113.7 2001:db8:5::/48          add to the file that DENY_LIST names
      dmnode deny --remove 203.0.113.7
      dmnode deny 203.0.113.7 --api http://127.0.0.1:8080`,
    notes:
      "A running node reads its list again at SIGHUP. With --api, the node itself keeps the entries, besides " +
      "those in the file.",
  })
    .argument("[entry...]", "addresses, CIDRs, node ids, and public keys of nodes")
    .option("--remove", "remove the entries from the list")
    .option("--deny-list <file>", "the file (DENY_LIST)")
    .option("--api <url>", "change the entries of a running node, by the URL of its API", apiUrl)
    .option("--env-file <file>", "read variables from this file instead of ./.env")
    .option("--json", "print JSON")
    .action(async (entries, flags) => (await import("../deny.ts")).deny(entries, flags));
}

function addNetworkKeyCommand(dmnode: Command): void {
  const network = explain(dmnode.command("network"), {
    description: "create or replace the key of a private network",
    examples: `
      dmnode network new                            prints a key, for NETWORK_KEY
      dmnode network new k                          writes it to the file k
      dmnode --allow-net --network-key-file k       a node that talks only to nodes with this key`,
  });
  explain(network.command("new"), {
    description: "print a new key, or write it to a file that only you can read",
    examples: `
      dmnode network new
      dmnode network new /etc/dmnode/network.key`,
  })
    .argument("[file]", "the file to create")
    .action(async (file) => (await import("../network_key.ts")).newKey(file));
  explain(network.command("rotate"), {
    description: "replace the key in a file in three steps, without an interruption",
    examples: `
      dmnode network rotate add k                   adds a key that nodes accept
      dmnode network rotate use k                   sends with the new key, accepts both
      dmnode network rotate finish k                removes the old key`,
    notes:
      "After each step, copy the file to every node and send each node SIGHUP. Begin the next step once all have " +
      "it.",
  })
    .addArgument(network.createArgument("<step>", "the step").choices(["add", "use", "finish"]))
    .argument("<file>", "the file with the key")
    .action(async (step, file) => (await import("../network_key.ts")).rotateKey(step, file));
}

function withDirectory(command: Command): Command {
  return command
    .option("--data-dir <dir>", "directory of the node (DATA_DIR, default ./data)")
    .option("--env-file <file>", "read variables from this file instead of ./.env")
    .option("--json", "print JSON");
}

function addBackupCommands(dmnode: Command): void {
  explain(withDirectory(dmnode.command("backup")), {
    description: "save identity, published values and settings in a file, even while the node runs",
    examples: `
      dmnode backup node.tar --data-dir data
      dmnode backup node.tar --force --env-file /etc/dmnode.env --data-dir /var/lib/dmnode
      dmnode backup --all - --data-dir data | ssh HOST dmnode restore - --data-dir data`,
    notes: "The file contains the key and the tokens: only you can read it. It is a tar archive.",
  })
    .argument("<file>", "the new file, or - for standard output")
    .option("--all", "include the values that the node stores for others")
    .option("--force", "replace an existing file")
    .action(async (file, flags) => (await import("../backup.ts")).backup(file, flags));
  explain(withDirectory(dmnode.command("restore")), {
    description: "restore a node from a backup into a directory that holds no node",
    examples: `
      dmnode restore node.tar --data-dir data
      dmnode --env-file data/settings.env`,
    notes: "Never run the node at both places: both would have the same id.",
  })
    .argument("<file>", "the backup, or - for standard input")
    .action(async (file, flags) => (await import("../backup.ts")).restore(file, flags));
}

function addTokenCommand(dmnode: Command): void {
  const token = explain(dmnode.command("token"), {
    description: "add, list or revoke tokens of the API, each with scopes, a rate and an expiry",
    examples: `
      dmnode token add grafana                           a token that only reads
      dmnode token add ci --scope store,fetch --rate 20 --expires 90d
      dmnode token list
      dmnode token revoke ci`,
    notes: `
Scopes: read (reports and events), store (store values, announce), fetch (fetch values, find, ping),
admin (all of these, and pin, unpin and stop publishing). API_TOKEN has the scope admin.`,
  });
  explain(withDirectory(token.command("add")), {
    description: "add a token, and print it; it can't be shown again",
    examples: `
      dmnode token add grafana
      dmnode token add ci --scope store,fetch --rate 20 --expires 90d
      dmnode token add guest --expires 2030-01-31`,
  })
    .argument("<name>", "its name, which the log shows")
    .option("--scope <scopes>", "read, store, fetch or admin, separated by commas", scopes, [
      "read",
    ])
    .option("--rate <n>", "requests per second, from all clients; 0: no limit", tokenRate, 0)
    .option("--expires <when>", "a date, or a time from now such as 12h or 90d", expiry)
    .action(async (name, flags) => (await import("../token.ts")).addToken(name, flags));
  explain(withDirectory(token.command("list")), {
    description: "list the tokens, without their secrets",
    examples: "dmnode token list --data-dir data",
  })
    .action(async (flags) => (await import("../token.ts")).listTokens(flags));
  explain(withDirectory(token.command("revoke")), {
    description: "remove tokens",
    examples: "dmnode token revoke ci --data-dir data",
  })
    .argument("<name...>", "the tokens")
    .action(async (names, flags) => (await import("../token.ts")).revokeTokens(names, flags));
}

function addIdentityCommand(dmnode: Command): void {
  const withPassphrase = (command: Command) =>
    withDirectory(command)
      .option("--passphrase-file <file>", "read the passphrase from the first line of this file")
      .option("--force", "overwrite an existing file or key");
  const identity = explain(withDirectory(dmnode.command("identity")), {
    description: "show, export or import the key that signs this node's values",
    examples: `
      dmnode identity --data-dir data
      dmnode identity export key.pem
      dmnode identity import key.pem --data-dir other`,
    notes: "The passphrase comes from --passphrase-file, DMNODE_PASSPHRASE or the terminal.",
  })
    .action(async (flags) => (await import("../identity.ts")).showIdentity(flags));
  explain(withPassphrase(identity.command("export")), {
    description: "write the key to a file, encrypted with a passphrase; openssl pkey reads it too",
    examples: `
      dmnode identity export key.pem --data-dir data
      dmnode identity export key.pem --passphrase-file secret --force`,
  })
    .argument("<file>", "the new file")
    .action(async (file, flags) => (await import("../identity.ts")).exportIdentity(file, flags));
  explain(withPassphrase(identity.command("import")), {
    description: "use the key in a file as the node's own; the node must not be running",
    examples: `
      dmnode identity import key.pem --data-dir other
      DMNODE_PASSPHRASE=secret dmnode identity import key.pem --force`,
  })
    .argument("<file>", "an exported file, or any Ed25519 key in PKCS #8 (PEM)")
    .action(async (file, flags) => (await import("../identity.ts")).importIdentity(file, flags));
}
