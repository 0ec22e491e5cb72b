/**
 * Runs a job for as long as it is wanted: performs what the policy decides. Starts the launcher in a
 * session of its own, looks at its files a few times a second, hands signals over, and leaves no
 * process behind. Main thread; nothing here waits but for events and timers.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, statSync } from "node:fs";
import { BaashError, EXIT, type ExitCode, errorCode } from "../base/errors.ts";
import { StatusEvents, type SupervisorEvent } from "./events.ts";
import { FileFollower } from "./file-follower.ts";
import type { JobEnd } from "./job-end.ts";
import { StatusFile } from "./job-status.ts";
import { parseLastWords } from "./last-words.ts";
import {
  LAUNCHER_NOISE,
  type LaunchOptions,
  launchCommand,
  launchEnvironment,
  RANK_PROGRAM,
} from "./launch.ts";
import { Policy, type PolicyEffect, type PolicyInput, type PolicyOptions } from "./policy.ts";
import { Guard, ranksIn, signalProcess, sweep } from "./processes.ts";
import type { RunDirectory } from "./run-directory.ts";

/** Between two looks at the files of the job. */
const LOOK_MS = 200;
/** A sentence of the launcher may have several lines. */
const SENTENCE_LINES = 3;
const SIGNALS = ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"] as const;

export interface SupervisorOptions {
  readonly launch: LaunchOptions;
  /** Of src/rank.ts. The run directory's are added where they are not given. */
  readonly rankArgs: readonly string[];
  readonly directory: RunDirectory;
  readonly policy: PolicyOptions;
}

export interface SupervisorHooks {
  onEvent(event: SupervisorEvent): void;
  /** A line that the ranks wrote to stdout. */
  onOutput(line: string): void;
}

/** Flags of a rank that the supervisor adds: where it says how it is, logs, and listens. */
export function rankArguments(given: readonly string[], directory: RunDirectory): string[] {
  const own: [string, string][] = [
    ["--status", directory.status],
    ["--log", directory.log],
    ["--sockets", directory.sockets],
  ];
  const isGiven = (flag: string) => given.some((arg) => arg === flag || arg.startsWith(`${flag}=`));
  return [...own.filter(([flag]) => !isGiven(flag)).flat(), ...given];
}

/** Where the ranks write their status: the user may have named a file. The last flag wins. */
export function statusPath(args: readonly string[]): string {
  const at = args.findLastIndex((arg) => arg === "--status" || arg.startsWith("--status="));
  const arg = args[at];
  return arg === "--status" ? args[at + 1] : arg.slice("--status=".length);
}

/** One job under the launcher. */
interface Running {
  readonly child: ChildProcess;
  readonly guard: Guard | undefined;
  readonly words: number[];
  served: boolean;
  sentence: string | undefined;
  /** The launcher's own text, for when no rank says why. */
  launcherText: string[];
}

export class Supervisor {
  private readonly options: SupervisorOptions;
  private readonly hooks: SupervisorHooks;
  private readonly policy: Policy;
  private readonly args: string[];
  private readonly status: StatusFile;
  private readonly statusEvents = new StatusEvents();
  private readonly followers: FileFollower[];
  private running: Running | undefined;
  /** Some job of this supervisor has served. */
  private hasServed = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private looker: ReturnType<typeof setInterval> | undefined;
  private readonly finished = Promise.withResolvers<ExitCode>();

  constructor(options: SupervisorOptions, hooks: SupervisorHooks) {
    this.options = options;
    this.hooks = hooks;
    this.policy = new Policy(options.policy);
    this.args = rankArguments(options.rankArgs, options.directory);
    this.status = new StatusFile(statusPath(this.args));
    const { out, err } = options.directory;
    this.followers = [
      new FileFollower(out, statSync(out).size, (line) => hooks.onOutput(line)),
      new FileFollower(err, statSync(err).size, (line) => this.onErrorLine(line)),
    ];
  }

  /** The exit code, once the job has ended for good. Throws MPIRUN_MISSING, SRUN_MISSING. */
  async run(): Promise<ExitCode> {
    const handlers = SIGNALS.map((signal) => ({
      signal,
      onSignal: () => this.step({ type: "stop", by: signal }),
    }));
    for (const { signal, onSignal } of handlers) process.on(signal, onSignal);
    try {
      this.step({ type: "begin" });
      return await this.finished.promise;
    } finally {
      clearTimeout(this.timer);
      clearInterval(this.looker);
      for (const { signal, onSignal } of handlers) process.off(signal, onSignal);
      for (const follower of this.followers) follower.close();
    }
  }

  private step(input: PolicyInput): void {
    try {
      for (const effect of this.policy.step(input, performance.now())) this.perform(effect);
    } catch (error) {
      // Only starting a job can fail: no launcher any more, no room for its files.
      this.finished.reject(this.explain(error));
      return;
    }
    clearTimeout(this.timer);
    const deadline = this.policy.nextDeadline();
    if (deadline === Number.POSITIVE_INFINITY) return;
    const delay = Math.max(0, deadline - performance.now());
    this.timer = setTimeout(() => this.step({ type: "tick" }), delay);
  }

  private explain(error: unknown): unknown {
    const code = errorCode(error);
    if (error instanceof BaashError || !/^E[A-Z]+$/.test(code)) return error;
    return new BaashError(
      "RUN_FILES",
      `The job's files in ${this.options.directory.path} cannot be written (${code}): make room, or name another directory with --run-dir.`,
      { exitCode: EXIT.io, cause: error },
    );
  }

  private perform(effect: PolicyEffect): void {
    switch (effect.type) {
      case "launch":
        return this.launch(effect.attempt);
      case "signal":
        return this.signal(effect.signal);
      case "say":
        return this.hooks.onEvent(effect.event);
      case "finish":
        return this.finished.resolve(effect.exitCode);
    }
  }

  private launch(attempt: number): void {
    const { launch, directory, policy } = this.options;
    const options = { ...launch, survives: true };
    const launcher = launchCommand(options);
    // The ledger of a job that has served was there: an empty directory now is a loss, not a start.
    const again = this.hasServed ? ["--no-create"] : [];
    const ranks = [process.execPath, RANK_PROGRAM, ...this.args, ...again];
    const [program, ...args] = [...launcher, ...ranks];
    this.status.forget();
    this.statusEvents.reset();
    const files = [openSync(directory.out, "a"), openSync(directory.err, "a")];
    const child = spawn(program, args, {
      detached: true,
      env: launchEnvironment(options),
      stdio: ["ignore", ...files],
    });
    for (const file of files) closeSync(file);
    this.hooks.onEvent({
      kind: "started",
      attempt,
      ranks: launch.ranks,
      pid: child.pid,
      launcher: launcher[0] ?? "",
      runDirectory: directory.path,
    });
    const drainSeconds = Math.ceil(policy.drainMs / 1000);
    this.running = {
      child,
      guard: child.pid === undefined ? undefined : new Guard(child.pid, drainSeconds),
      words: [],
      served: false,
      sentence: undefined,
      launcherText: [],
    };
    this.looker ??= setInterval(() => this.look(), LOOK_MS);
    const { promise, resolve } = Promise.withResolvers<JobEnd["launcher"]>();
    child.once("exit", (code, signal) => resolve({ code, signal }));
    child.once("error", (error) => {
      this.running!.launcherText = [`${program} cannot be started: ${error.message}`];
      resolve({ code: 127, signal: null });
    });
    promise.then((end) => this.onExit(end));
  }

  private async onExit(launcher: JobEnd["launcher"]): Promise<void> {
    const { child, guard, words } = this.running!;
    guard?.dismiss();
    const swept = child.pid === undefined ? 0 : await sweep(child.pid);
    if (swept > 0) this.hooks.onEvent({ kind: "swept", processes: swept });
    for (const follower of this.followers) follower.flush();
    this.look();
    const { served, sentence, launcherText } = this.running!;
    this.running = undefined;
    const end: JobEnd = {
      ranks: this.options.launch.ranks,
      served,
      status: this.status.current,
      words,
      launcher,
      sentence,
      launcherText:
        launcherText.length === 0
          ? undefined
          : `${launcherText.join(" ")} … (all of it is in ${this.options.directory.err})`,
    };
    this.step({ type: "ended", end });
  }

  private look(): void {
    if (this.running === undefined) return;
    for (const follower of this.followers) follower.poll();
    if (!this.running.served) this.count(this.running);
    if (!this.status.poll()) return;
    const view = this.status.current!;
    if (view.state === "running") this.running.served = this.hasServed = true;
    for (const event of this.statusEvents.take(view)) this.hooks.onEvent(event);
    const settledRound = view.settledRound ?? view.slot ?? 0;
    this.step({ type: "status", state: view.state, settledRound });
  }

  private count({ child }: Running): void {
    if (child.pid === undefined) return;
    const { pids, expected } = ranksIn(child.pid);
    if (expected === undefined) return;
    this.step({ type: "missing", processes: Math.max(0, expected - pids.length) });
  }

  private onErrorLine(line: string): void {
    const { running } = this;
    if (running === undefined) return;
    const code = parseLastWords(line);
    if (code !== undefined) {
      running.words.push(code);
      return;
    }
    // The launcher glues its own words before those of a rank.
    const at = line.indexOf("baash: ");
    if (at >= 0) {
      running.sentence = line.slice(at + "baash: ".length);
      this.hooks.onEvent({ kind: "rank", text: running.sentence });
    } else if (!LAUNCHER_NOISE.test(line) && /\w/.test(line)) {
      if (running.launcherText.length < SENTENCE_LINES) running.launcherText.push(line.trim());
    }
  }

  private signal(signal: NodeJS.Signals): void {
    const { running } = this;
    if (running === undefined || running.child.pid === undefined) return;
    const { pid, exitCode, signalCode } = running.child;
    // Its number may be somebody else's by now.
    if (exitCode !== null || signalCode !== null) return;
    signalProcess(pid, signal);
    // The launcher's end does not end a rank that is frozen.
    if (signal === "SIGKILL") void sweep(pid);
  }
}
