/** Starts a worker program of this folder. Its messages, and its end, are promises. */
import { Worker } from "node:worker_threads";

export interface Program<Report> {
  /** The next message that the program posts. */
  next(): Promise<Report>;
  ended: Promise<number>;
}

export function startProgram<Report>(name: string, workerData: unknown): Program<Report> {
  const worker = new Worker(new URL(`./${name}.ts`, import.meta.url), { workerData });
  const waiting: Array<PromiseWithResolvers<Report>> = [];
  const arrived: Report[] = [];
  worker.on("message", (report: Report) => {
    const next = waiting.shift();
    if (next === undefined) arrived.push(report);
    else next.resolve(report);
  });
  worker.on("error", (error) => {
    for (const next of waiting) next.reject(error);
  });
  return {
    next() {
      const report = arrived.shift();
      if (report !== undefined) return Promise.resolve(report);
      const next = Promise.withResolvers<Report>();
      waiting.push(next);
      return next.promise;
    },
    ended: new Promise((resolve) => worker.on("exit", resolve)),
  };
}
