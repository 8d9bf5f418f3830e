// Creates tests/upgrade/schema-N with the present program. Run this once before SCHEMA_VERSION is raised, and never change
// the result afterwards. Usage: deno run --allow-all tests/upgrade/make.ts N

import { join } from "node:path";
import { Identity } from "../../src/runtime/identity/crypto.ts";
import { files } from "../../src/runtime/files.ts";
import { Database } from "../../src/storage/database.ts";
import { announcementRow, contactRow, itemRow, publishedRow } from "../../src/storage/rows.ts";
import { ANNOUNCEMENT, CONTACT, fromFileUrl, ITEM, NODE_ID, PUBLISHED, SEED } from "./known.ts";

const directory = fromFileUrl(`schema-${Deno.args[0]}`);
await Deno.mkdir(directory);
const database = new Database(join(directory, "dmnode.sqlite"), { files, mayBeEmpty: true });
database.setMeta("node_id", NODE_ID.toBytes());
database.commit({
  deletedItems: [],
  items: [itemRow(ITEM)],
  published: [publishedRow(PUBLISHED)],
  announcements: [announcementRow(ANNOUNCEMENT)],
  contacts: [contactRow(CONTACT)],
});
database.close();
await Deno.writeTextFile(join(directory, "identity.pem"), new Identity(SEED).toPem(), {
  mode: 0o600,
});
