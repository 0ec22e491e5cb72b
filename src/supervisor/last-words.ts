/**
 * What a supervised rank says last: its exit code, on stderr, which the launcher carries from any
 * host. Needed because mpirun answers 0 for a job that outlives its ranks, and because a rank may
 * end before there is a status file. A rank that was killed says nothing: silence is a sign, too.
 */
import { writeSync } from "node:fs";

/** Set in the environment of a supervised rank. */
export const SUPERVISED = "BAASH_SUPERVISED";

const WORDS = /baash: process (\d+) \(pid (\d+)\) ends with code (\d+)/;

/** Called first by every rank: its end, by whatever `process.exit`, is told to a supervisor. */
export function announceEnd(environment: Readonly<Record<string, string | undefined>>): void {
  if (environment[SUPERVISED] === undefined) return;
  const { OMPI_COMM_WORLD_RANK, PMI_RANK, SLURM_PROCID } = environment;
  const number = OMPI_COMM_WORLD_RANK ?? PMI_RANK ?? SLURM_PROCID ?? "0";
  process.once("exit", (code) => {
    try {
      writeSync(2, `baash: process ${number} (pid ${process.pid}) ends with code ${code}\n`);
    } catch {
      // Nobody is left to listen.
    }
  });
}

/** The exit code, if the line is somebody's last words. The launcher may glue its own before. */
export function parseLastWords(line: string): number | undefined {
  const match = WORDS.exec(line);
  return match === null ? undefined : Number(match[3]);
}
