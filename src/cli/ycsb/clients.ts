/**
 * The client processes of `--load clients`, one a rank, on the host of the ranks: starts them, lets
 * them begin each phase together, collects their progress and results.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AskedPhase, type PhaseProgress, socketPath } from "../../job/load-phases.ts";
import type { RankResult } from "../../workload/measurements.ts";
import { readLines } from "./launch.ts";

const PROGRAM = join(import.meta.dir, "client-process.ts");

export interface ClientsOptions {
  readonly ranks: number;
  readonly properties: string;
  readonly phase: AskedPhase;
  readonly journals: string;
  readonly progressMs: number;
  onProgress(progress: PhaseProgress): void;
  onText(text: string): void;
  /** All are gone, whether they did their work or not. */
  onEnd(): void;
}

export class Clients {
  /** Sockets: short paths, on a file system of this host. */
  readonly directory = mkdtempSync(join(tmpdir(), "baash-"));
  readonly results: RankResult[] = [];
  /** Why a client ended early, a sentence each. */
  readonly failures: string[] = [];
  private readonly options: ClientsOptions;
  private readonly processes: ChildProcess[] = [];
  private met = 0;
  private running = 0;
  private stopping = false;

  constructor(options: ClientsOptions) {
    this.options = options;
  }

  /** Once every rank listens. */
  start(): void {
    if (this.processes.length > 0) return;
    this.running = this.options.ranks;
    for (let rank = 0; rank < this.options.ranks; rank++) this.processes.push(this.launch(rank));
    if (this.stopping) this.stop();
  }

  /** No further operations; what is outstanding is waited for. */
  stop(): void {
    this.stopping = true;
    this.tellAll("stop");
  }

  /** The ranks are gone. */
  close(): void {
    for (const client of this.processes) client.kill("SIGKILL");
    rmSync(this.directory, { recursive: true, force: true });
  }

  private launch(rank: number): ChildProcess {
    const { properties, phase, journals, progressMs } = this.options;
    const args = [PROGRAM, "--socket", socketPath(this.directory, rank)];
    args.push("--properties", properties, "--phase", phase, "--journals", journals);
    args.push("--progress-ms", String(progressMs));
    const client = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "pipe"] });
    // A client that is gone cannot be told anything: its exit says so.
    client.stdin.on("error", () => {});
    const out = readLines(client.stdout, (line) => this.onLine(JSON.parse(line)));
    const err = readLines(client.stderr, (line) => this.options.onText(line));
    const exited = new Promise<number | null>((resolve) => {
      client.once("exit", resolve);
      client.once("error", () => resolve(null));
    });
    Promise.all([exited, out, err]).then(([code]) => this.onExit(rank, code));
    return client;
  }

  private onLine(line: Record<string, unknown>): void {
    switch (line.type) {
      case "meet":
        this.met++;
        this.release();
        break;
      case "progress":
        this.options.onProgress(line as unknown as PhaseProgress);
        break;
      case "result":
        this.results.push(...(line.results as RankResult[]));
        break;
    }
  }

  /** All are there, but for those that are gone. */
  private release(): void {
    if (this.met === 0 || this.met < this.running) return;
    this.met = 0;
    this.tellAll("go");
  }

  private onExit(rank: number, code: number | null): void {
    this.running--;
    if (code !== 0) {
      this.failures.push(`The client of rank ${rank} ended early (${code ?? "by a signal"}).`);
      this.stop();
    }
    if (this.running === 0) this.options.onEnd();
    else this.release();
  }

  private tellAll(word: string): void {
    for (const { stdin } of this.processes) if (stdin?.writable) stdin.write(`${word}\n`);
  }
}
