/**
 * What processes sent that no honest one sends, as far as this rank saw: counted by process and
 * reason, for good. Of what nobody will ever accept, the first of each process and reason goes to
 * quarantine, for a person to look at. Bounded whatever comes: reasons are ours, processes are the
 * job's. Main thread.
 */
import { errorCode } from "../base/errors.ts";
import type { Alert } from "./context.ts";

/** Files in quarantine that the ranks of a job leave together; each has its share. */
export const QUARANTINED_MAX = 64;
/** Of a large message its first part tells enough. */
const QUARANTINED_BYTES_MAX = 1 << 20;

export interface MisdeedPorts {
  quarantine(name: string, bytes: Uint8Array): Promise<unknown>;
  onAlert(alert: Alert): void;
}

export class Misdeeds {
  private readonly ports: MisdeedPorts;
  private readonly counts = new Map<number, Map<string, number>>();
  private readonly kept = new Set<string>();
  private readonly keptMax: number;

  /** `processes`: how many the job has. */
  constructor(processes: number, ports: MisdeedPorts) {
    this.ports = ports;
    this.keptMax = Math.max(1, Math.floor(QUARANTINED_MAX / processes));
  }

  /** `bytes`: of a message that nobody will ever accept. */
  note(process: number, reason: string, bytes?: Uint8Array): void {
    let reasons = this.counts.get(process);
    if (reasons === undefined) this.counts.set(process, (reasons = new Map()));
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    if (bytes !== undefined) this.keep(process, reason, bytes);
  }

  /** One of these was none: it is explained now. */
  withdraw(process: number, reason: string): void {
    const reasons = this.counts.get(process);
    const count = reasons?.get(reason) ?? 0;
    if (count > 0) reasons!.set(reason, count - 1);
  }

  count(process: number, reason: string): number {
    return this.counts.get(process)?.get(reason) ?? 0;
  }

  /** Process → reason → how often. */
  get counters(): Record<string, Record<string, number>> {
    const all: Record<string, Record<string, number>> = {};
    for (const [process, reasons] of this.counts) {
      const some = [...reasons].filter(([, count]) => count > 0);
      if (some.length > 0) all[process] = Object.fromEntries(some);
    }
    return all;
  }

  private keep(process: number, reason: string, bytes: Uint8Array): void {
    const name = `${process}.${reason.toLowerCase().replaceAll("_", "-")}`.slice(0, 64);
    if (this.kept.has(name) || this.kept.size >= this.keptMax) return;
    this.kept.add(name);
    this.ports.quarantine(name, bytes.slice(0, QUARANTINED_BYTES_MAX)).then(
      () => {
        const message = `process ${process} sent what no honest rank sends (${reason}); it is kept in quarantine/${name}.…`;
        this.ports.onAlert({ code: "MISDEED", message });
      },
      // A copy for people, and not worth a second attempt.
      (error) => this.ports.onAlert({ code: errorCode(error), message: String(error) }),
    );
  }
}
