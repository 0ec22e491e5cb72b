/**
 * A process with some of the clients of a chaos run. Lives outside the job, so that nothing that happens
 * to the job touches it. Speaks with scripts/chaos in lines of JSON: "ready" on stdout once its clients
 * are prepared, counts now and then, "settled" when all transactions have had their last word, "done" at
 * the end. Takes words on stdin: "go", "stop" (offer nothing more), "close"; the end of stdin closes.
 */
import { createInterface } from "node:readline";
import { BaashError, EXIT } from "../base/errors.ts";
import type { Plan } from "./plan.ts";
import { Session, type SessionCounts } from "./session.ts";

/** What one process is to do, as JSON in its only argument. */
export interface ClientTask {
  readonly plan: Pick<Plan, "load" | "seed">;
  /** Its clients' places, of all. */
  readonly places: readonly number[];
  readonly of: number;
  readonly sockets: readonly string[];
  /** A file for each place. */
  readonly journals: readonly string[];
}

export type ClientLine =
  | { readonly type: "ready" | "settled" | "done" }
  | { readonly type: "counts"; readonly counts: SessionCounts; readonly epochs: string[] };

const COUNTS_MS = 200;

function sum(all: readonly SessionCounts[]): SessionCounts {
  const total = { ...all[0] };
  for (const counts of all.slice(1)) {
    for (const name of Object.keys(total) as (keyof SessionCounts)[]) total[name] += counts[name];
  }
  return total;
}

async function main(task: ClientTask): Promise<void> {
  const { plan, places, of, sockets, journals } = task;
  const sessions = places.map(
    (place, i) => new Session({ plan, place, of, sockets, journal: journals[i] }),
  );
  const say = (line: ClientLine) => process.stdout.write(`${JSON.stringify(line)}\n`);
  const tell = () => {
    const epochs = [...new Set(sessions.map(({ epoch }) => epoch))];
    say({ type: "counts", counts: sum(sessions.map(({ counts }) => counts)), epochs });
  };
  const each = (work: (session: Session) => unknown) => Promise.all(sessions.map(work));
  const ended = Promise.withResolvers<void>();
  const words: Record<string, () => unknown> = {
    go: () => each((session) => session.start()),
    stop: () => {
      for (const session of sessions) session.stop();
      void each((session) => session.settle()).then(() => {
        tell();
        say({ type: "settled" });
      });
    },
    close: () => ended.resolve(),
  };
  const input = createInterface({ input: process.stdin });
  input.on("line", (word) => void words[word]?.());
  input.on("close", () => ended.resolve());
  await each((session) => session.connect());
  await each((session) => session.prepare());
  tell();
  say({ type: "ready" });
  const ticker = setInterval(tell, COUNTS_MS);
  await ended.promise;
  clearInterval(ticker);
  for (const session of sessions) session.stop();
  await each((session) => session.close());
  tell();
  await Bun.write(Bun.stdout, `${JSON.stringify({ type: "done" })}\n`);
}

/** Ctrl-C reaches everybody in the terminal: scripts/chaos tells us what to make of it. */
process.on("SIGINT", () => {});
try {
  await main(JSON.parse(process.argv[2] ?? "") as ClientTask);
  process.exit(EXIT.ok);
} catch (error) {
  process.stderr.write(`baash: ${error instanceof BaashError ? error.message : String(error)}\n`);
  process.exit(error instanceof BaashError ? error.exitCode : EXIT.software);
}
