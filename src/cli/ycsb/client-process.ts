/**
 * One client of a load (`--load clients`): a process that generates one rank's share of the workload
 * and hands it in through the rank's socket, reads through it too, and keeps the journal of what was
 * acknowledged to it. Speaks with ycsb-load in lines of JSON: "meet" on stdout waits for the word
 * "go" on stdin; the word "stop", or the end of stdin, ends the load.
 */
import { randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { BaashError, EXIT } from "../../base/errors.ts";
import { LedgerClient } from "../../client/client.ts";
import { type AskedPhase, LoadPhases, readWorkload } from "../../job/load-phases.ts";
import { ClientService } from "../../workload/client-service.ts";

const { values } = parseArgs({
  options: {
    socket: { type: "string" },
    properties: { type: "string" },
    phase: { type: "string" },
    journals: { type: "string" },
    "progress-ms": { type: "string" },
  },
});
const { socket, properties, phase, journals } = values;
if (!socket || !properties || !phase || !journals) {
  process.stderr.write("baash: scripts/ycsb-load starts this program, nobody else\n");
  process.exit(EXIT.usage);
}

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
/** Ctrl-C reaches everybody in the terminal: ycsb-load tells us what to make of it. */
process.on("SIGINT", () => {});

function failWith(error: unknown): never {
  const text = error instanceof BaashError ? error.message : String(error);
  process.stderr.write(`baash: ${text}\n`);
  process.exit(error instanceof BaashError ? error.exitCode : EXIT.software);
}

try {
  const workload = await readWorkload({ properties: [properties], property: [] });
  const client = await LedgerClient.connect(socket);
  const service = new ClientService(client, failWith);
  const tick = () => {
    const progress = phases.progress();
    if (progress !== undefined) say({ type: "progress", ...progress });
  };
  const phases = new LoadPhases({
    workload: workload!,
    phase: phase as AskedPhase,
    journal: journals,
    service,
    random: new Uint8Array(randomBytes(6)),
    onPhaseEnd: tick,
  });
  let go: (() => void) | undefined;
  const words = createInterface({ input: process.stdin });
  words.on("line", (word) => {
    if (word === "go") go?.();
    else phases.stop();
  });
  words.on("close", () => phases.stop());
  const ticker = setInterval(tick, Number(values["progress-ms"] ?? 1000));
  const results = await phases.run(() => {
    const { promise, resolve } = Promise.withResolvers<void>();
    go = resolve;
    say({ type: "meet" });
    return promise;
  });
  clearInterval(ticker);
  client.close();
  await Bun.write(Bun.stdout, `${JSON.stringify({ type: "result", results })}\n`);
  process.exit(EXIT.ok);
} catch (error) {
  failWith(error);
}
