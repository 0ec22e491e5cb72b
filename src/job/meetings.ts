/**
 * Where the ranks of a job wait for each other between phases of a load: point-to-point, since ranks
 * may die and a barrier would hang. Whoever is no member any more is not waited for.
 */

export interface MeetingPorts {
  /** This process, and all that take part in the load. */
  readonly process: number;
  readonly participants: readonly number[];
  /** Processes that are members now. */
  present(): readonly number[];
  /** Tells every member that this process has come to meeting `number`. */
  announce(number: number): void;
}

export class Meetings {
  private readonly ports: MeetingPorts;
  /** The newest meeting that each process has come to. */
  private readonly arrived = new Map<number, number>();
  private own = 0;
  private waiting: (() => void) | undefined;

  constructor(ports: MeetingPorts) {
    this.ports = ports;
  }

  /** Resolves when every participant that is a member has come as often as this one. */
  async meet(): Promise<void> {
    this.own++;
    this.arrived.set(this.ports.process, this.own);
    this.ports.announce(this.own);
    await new Promise<void>((resolve) => {
      this.waiting = resolve;
      this.look();
    });
  }

  came(process: number, number: number): void {
    if (number > (this.arrived.get(process) ?? 0)) this.arrived.set(process, number);
    this.look();
  }

  /** Members changed: who left is not waited for, and who is new has not heard of this one. */
  membersChanged(): void {
    if (this.own > 0) this.ports.announce(this.own);
    this.look();
  }

  private look(): void {
    if (this.waiting === undefined) return;
    const present = this.ports.present();
    const missing = this.ports.participants.some(
      (process) => present.includes(process) && (this.arrived.get(process) ?? 0) < this.own,
    );
    if (missing) return;
    const resolve = this.waiting;
    this.waiting = undefined;
    resolve();
  }
}
