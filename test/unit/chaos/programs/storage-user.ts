/**
 * Uses the real file operations on a directory as its test asks, a line a call: "append name",
 * "list", "status name", "remove name", "read name". Answers "ok" or the code of the error.
 */
import { createInterface } from "node:readline";
import { NodeFileOps } from "../../../../src/storage/node-file-ops.ts";

const [directory] = process.argv.slice(2);
const ops = new NodeFileOps();

/** As the ledger publishes a record. */
async function append(name: string): Promise<void> {
  const temp = `${directory}/.${name}.tmp`;
  await ops.writeExclusive(temp, [new TextEncoder().encode(name)]);
  await ops.link(temp, `${directory}/${name}`);
  await ops.syncDirectory(directory);
  await ops.unlink(temp);
}

const CALLS: Record<string, (name: string) => Promise<unknown>> = {
  append,
  list: () => ops.readDirectory(directory),
  status: (name) => ops.status(`${directory}/${name}`),
  read: (name) => ops.readFile(`${directory}/${name}`),
  remove: (name) => ops.unlink(`${directory}/${name}`),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [call, name] = line.split(" ");
  try {
    await CALLS[call](name);
    console.log("ok");
  } catch (error) {
    console.log((error as NodeJS.ErrnoException).code);
  }
}
