/**
 * Who this process is in an epoch, and how members and processes find each other. Members are
 * numbered 0 to N-1 by the SEAL; processes are numbered by the transport and keep their number when
 * an eviction renumbers the members.
 */
import { fromHex, toHex } from "../base/bytes.ts";
import { kernels } from "../base/kernels.ts";
import type { Member } from "../ledger/settlement.ts";
import type { EpochEnd } from "./context.ts";
import { Seal } from "./envelope.ts";
import type { Roster } from "./roster.ts";

const UNKNOWN = -1;

export class Session {
  /** This process as a member. */
  readonly self: number;
  readonly ranks: number;
  readonly incarnation: Uint8Array;
  /** Hash of the SEAL that installed the epoch. */
  readonly epoch: Uint8Array;
  readonly members: readonly Member[];
  readonly seal: Seal;
  /** Every member but this one. */
  readonly others: readonly number[];
  private readonly processes: number[];
  private readonly memberByProcess = new Map<number, number>();

  constructor(options: {
    incarnation: Uint8Array;
    epoch: Uint8Array;
    members: readonly Member[];
    /** The secret that all who were ever let in share; each epoch has a key of its own from it. */
    master: Uint8Array;
    roster: Roster;
  }) {
    const { incarnation, epoch, members, master, roster } = options;
    const own = toHex(incarnation);
    this.incarnation = incarnation;
    this.epoch = epoch;
    this.members = members;
    this.ranks = members.length;
    this.self = members.findIndex((member) => toHex(member.incarnation) === own);
    this.others = members.map(({ rank }) => rank).filter((rank) => rank !== this.self);
    this.seal = new Seal(epochKey(master, epoch));
    this.processes = new Array(members.length).fill(UNKNOWN);
    this.learn(roster);
  }

  /** The epoch that follows this one; `self` is -1 in it when this process was sealed out. */
  next(end: EpochEnd, master: Uint8Array, roster: Roster): Session {
    const { incarnation } = this;
    const { members } = end;
    return new Session({ incarnation, epoch: fromHex(end.hash), members, master, roster });
  }

  /** Takes over which process each member is; true when something new was learnt. */
  learn(roster: Roster): boolean {
    let news = false;
    for (const { rank, incarnation } of this.members) {
      const process = roster.processOf(toHex(incarnation));
      if (process === undefined || this.processes[rank] === process) continue;
      this.processes[rank] = process;
      this.memberByProcess.set(process, rank);
      news = true;
    }
    return news;
  }

  /** True once every member's process is known. */
  get complete(): boolean {
    return !this.processes.includes(UNKNOWN);
  }

  /** Members whose card has not come. */
  get unknown(): readonly Member[] {
    return this.members.filter(({ rank }) => this.processes[rank] === UNKNOWN);
  }

  /** The process of a member; undefined while its card has not come. */
  process(member: number): number | undefined {
    const process = this.processes[member];
    return process === UNKNOWN ? undefined : process;
  }

  /** The known processes of these members. */
  processesOf(members: readonly number[]): number[] {
    return members.map((member) => this.processes[member]).filter((number) => number !== UNKNOWN);
  }

  /** The member that a process is; undefined for one that is not of this epoch. */
  member(process: number): number | undefined {
    return this.memberByProcess.get(process);
  }
}

/** An epoch's MAC key: HMAC-SHA256(master, epoch). Nobody has to be told it when a SEAL comes. */
export function epochKey(master: Uint8Array, epoch: Uint8Array): Uint8Array {
  const key = new Uint8Array(32);
  kernels.hmacSha256(master, epoch, 0, epoch.length, key, 0);
  return key;
}
