/**
 * Members that signed two statements which contradict each other. The proof is stored, every member is
 * told and checks it by itself, and whoever is convicted is listened to no more and evicted; what it
 * voted before still counts. For the life of this process, since a SEAL may keep a member whose guilt
 * its author did not know. Main thread.
 */
import { toHex } from "../base/bytes.ts";
import { errorCode } from "../base/errors.ts";
import {
  decodeEvidence,
  type Evidence,
  encodeEvidence,
  evidenceFlaw,
  evidenceName,
} from "../ledger/evidence.ts";
import type { RankContext, RankShared } from "./context.ts";
import { MESSAGE } from "./envelope.ts";

/** More members than this never took part in one job. */
const CONVICTED_MAX = 4096;

export interface ConvictionPorts {
  send(to: readonly number[], type: number, body: Uint8Array): void;
  /** The monitor has this member evicted. */
  evict(member: number): void;
}

export class Convictions {
  private readonly shared: Pick<RankShared, "chain" | "storage" | "roster" | "events">;
  private readonly incarnations = new Set<string>();
  private readonly processes = new Set<number>();
  private epoch: { context: RankContext; ports: ConvictionPorts } | undefined;

  constructor(shared: Pick<RankShared, "chain" | "storage" | "roster" | "events">) {
    this.shared = shared;
  }

  entered(context: RankContext, ports: ConvictionPorts): void {
    this.epoch = { context, ports };
    for (const { rank, incarnation } of context.session.members)
      if (this.has(incarnation)) ports.evict(rank);
  }

  left(): void {
    this.epoch = undefined;
  }

  has(incarnation: Uint8Array): boolean {
    return this.incarnations.size > 0 && this.incarnations.has(toHex(incarnation));
  }

  /** That process was somebody who is convicted: it is not let in again. */
  hasProcess(process: number): boolean {
    return this.processes.has(process);
  }

  get count(): number {
    return this.incarnations.size;
  }

  /** This rank has found it out, or knows it to be proven. */
  convict(evidence: Evidence): void {
    const { member } = evidence;
    const { epoch, shared } = this;
    if (this.has(member.incarnation) || this.incarnations.size >= CONVICTED_MAX) return;
    const incarnation = toHex(member.incarnation);
    this.incarnations.add(incarnation);
    const process = shared.roster.processOf(incarnation);
    if (process !== undefined) this.processes.add(process);
    const bytes = encodeEvidence(evidence);
    this.store(evidenceName(evidence), bytes);
    if (epoch === undefined) return;
    const { context, ports } = epoch;
    ports.send(context.session.others, MESSAGE.evidence, bytes);
    const { members } = context.session;
    const rank = members.findIndex((one) => toHex(one.incarnation) === incarnation);
    if (rank >= 0) ports.evict(rank);
  }

  private store(name: string, bytes: Uint8Array): void {
    const { storage, events } = this.shared;
    storage.storeEvidence(name, bytes).then(
      (path) =>
        events.onAlert({ code: "EVIDENCE", message: `a member contradicts itself: ${path}` }),
      (error) => events.onAlert({ code: errorCode(error), message: String(error) }),
    );
  }

  /** Another member's proof. False when it proves nothing. */
  onMessage(body: Uint8Array): boolean {
    const evidence = decodeEvidence(body.slice());
    if (!evidence.ok) return false;
    if (this.has(evidence.value.member.incarnation)) return true;
    if (evidenceFlaw(evidence.value, this.shared.chain.genesis) !== undefined) return false;
    this.convict(evidence.value);
    return true;
  }
}
