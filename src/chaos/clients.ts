/**
 * The client processes of a chaos run as scripts/chaos sees them: starts them, gives them their words,
 * adds up what they count.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { BaashError, EXIT } from "../base/errors.ts";
import { readLines } from "../cli/ycsb/launch.ts";
import type { ClientLine, ClientTask } from "./client-process.ts";
import type { Plan } from "./plan.ts";
import type { SessionCounts } from "./session.ts";

const PROGRAM = join(import.meta.dir, "client-process.ts");
/** Each of them is an engine with its own memory: two keep up with any load that a rank can take. */
const PROCESSES_MAX = 2;

export interface ClientsOptions {
  readonly plan: Plan;
  readonly sockets: readonly string[];
  /** Directory of the journals. */
  readonly journals: string;
  onText(text: string): void;
}

interface Member {
  readonly child: ChildProcess;
  counts: SessionCounts | undefined;
  epochs: readonly string[];
}

export class Clients {
  readonly journals: readonly string[];
  /** Epochs that ranks have named, in the order of first sight. */
  readonly epochs: string[] = [];
  private readonly options: ClientsOptions;
  private readonly members: Member[] = [];
  private readonly waits = new Map<ClientLine["type"], { left: number; resolve(): void }>();
  private failure: BaashError | undefined;
  private readonly failed = Promise.withResolvers<never>();

  constructor(options: ClientsOptions) {
    this.options = options;
    const of = options.plan.load.clients ?? options.plan.ranks;
    this.journals = Array.from({ length: of }, (_, place) =>
      join(options.journals, `client-${place}.journal`),
    );
    this.failed.promise.catch(() => {}); // whoever waits hears it
  }

  get counts(): SessionCounts {
    const total: SessionCounts = {
      ...{ submitted: 0, agreed: 0, final: 0, refused: 0, open: 0, withheld: 0, connections: 0 },
    };
    for (const { counts } of this.members) {
      if (counts === undefined) continue;
      for (const name of Object.keys(total) as (keyof SessionCounts)[]) total[name] += counts[name];
    }
    return total;
  }

  /** Starts them; resolves when all are connected and their accounts or records are final. */
  async start(): Promise<void> {
    const of = this.journals.length;
    const processes = Math.min(PROCESSES_MAX, of);
    const ready = this.expect("ready", processes);
    for (let i = 0; i < processes; i++) {
      const places = this.journals.flatMap((_, place) => (place % processes === i ? [place] : []));
      this.launch(places, of);
    }
    await ready;
  }

  go(): void {
    this.tell("go");
  }

  /** Offers nothing more; answers whether all had their last word within the time. */
  async stop(withinMs: number): Promise<boolean> {
    const settled = this.expect("settled", this.members.length).then(() => true);
    this.tell("stop");
    const late = Promise.withResolvers<false>();
    const timer = setTimeout(() => late.resolve(false), withinMs);
    const isSettled = await Promise.race([settled, late.promise]);
    clearTimeout(timer);
    return isSettled;
  }

  /** They note what is still open and end. */
  async close(): Promise<void> {
    const done = this.expect("done", this.members.length);
    this.tell("close");
    await done;
  }

  kill(): void {
    for (const { child } of this.members) child.kill("SIGKILL");
  }

  private launch(places: readonly number[], of: number): void {
    const { plan, sockets } = this.options;
    const task: ClientTask = {
      plan: { load: plan.load, seed: plan.seed },
      places,
      of,
      sockets,
      journals: places.map((place) => this.journals[place]),
    };
    const child = spawn(process.execPath, [PROGRAM, JSON.stringify(task)], {
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
    });
    const member: Member = { child, counts: undefined, epochs: [] };
    this.members.push(member);
    child.stdin.on("error", () => {}); // its end says so
    const out = readLines(child.stdout, (line) => this.onLine(member, JSON.parse(line)));
    void readLines(child.stderr, (line) => this.options.onText(line));
    child.once("exit", (code) => void out.then(() => this.onExit(code)));
  }

  private onLine(member: Member, line: ClientLine): void {
    if (line.type !== "counts") {
      const wait = this.waits.get(line.type);
      if (wait !== undefined && --wait.left === 0) wait.resolve();
      return;
    }
    member.counts = line.counts;
    member.epochs = line.epochs;
    for (const epoch of line.epochs) {
      if (epoch !== "" && !this.epochs.includes(epoch)) this.epochs.push(epoch);
    }
  }

  private onExit(code: number | null): void {
    if (code === 0 || this.failure !== undefined) return;
    const message = `A client of the run ended early (${code ?? "by a signal"}): the reason is above.`;
    this.failure = new BaashError("CHAOS_CLIENT", message, { exitCode: EXIT.software });
    this.failed.reject(this.failure);
  }

  private expect(type: ClientLine["type"], left: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.waits.set(type, { left, resolve });
    return Promise.race([promise, this.failed.promise]);
  }

  private tell(word: string): void {
    for (const { child } of this.members) if (child.stdin?.writable) child.stdin.write(`${word}\n`);
  }
}
