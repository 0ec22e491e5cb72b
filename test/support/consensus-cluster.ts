/**
 * Consensus cores in one thread: virtual time, a log that is one compare-and-swap a slot, and a rule
 * that says of each message when it arrives, if at all. Processes go from epoch to epoch, a new core
 * each time, as a rank does. Deterministic: the same options and the same rule give the same run.
 * What it sees is recorded for `consensus-checks.ts`.
 */
import type {
  Effect,
  Input,
  LinkEffect,
  RecordSummary,
  Verdict,
} from "../../src/consensus/effects.ts";
import { HyBE } from "../../src/consensus/hybe.ts";
import { Events } from "./consensus-events.ts";
import { type Epoch, hashOf, incarnationOf, type LogRecord, RecordLog } from "./consensus-log.ts";
import {
  type ClusterOptions,
  DELAYS,
  type Delays,
  type Member,
  type MessageKind,
  type Network,
  type Part,
  TIMING,
} from "./consensus-parts.ts";

export class Cluster {
  readonly members: Member[] = [];
  readonly records: RecordLog;
  readonly options: ClusterOptions;
  network: Network;
  /** What a validation says; "yes" unless a test changes it. */
  verdict: (rank: number, round: number, author: number) => Verdict = () => "yes";
  /** Other hash that `author` sends to `to`: an equivocation. */
  twin: (author: number, round: number, to: number) => boolean = () => false;
  onEffect: (rank: number, effect: Effect, cause: Input) => void = () => {};
  onNote: (rank: number, text: string) => void = () => {};
  /** A process takes part in a new epoch. */
  onEpoch: (rank: number, epoch: Epoch) => void = () => {};
  steps = 0;
  private readonly delays: Delays;
  private readonly events = new Events();

  constructor(options: ClusterOptions) {
    this.options = options;
    this.network = options.network ?? (() => 1);
    this.delays = { ...DELAYS, ...options.delays };
    this.records = new RecordLog(options.ranks);
    const epoch = this.records.firstEpoch;
    for (const _ of epoch.processes) this.takePart(this.addProcess(), epoch);
  }

  get now(): number {
    return this.events.now;
  }

  /** A process outside of the epoch: a SEAL may admit it. */
  addProcess(): Member {
    const member: Member = {
      rank: this.members.length,
      parts: [],
      dead: false,
      halted: undefined,
      storageOff: false,
      corrupt: false,
      mumbles: false,
      dieAt: undefined,
      tickAt: Number.POSITIVE_INFINITY,
      awaited: 0,
      bodies: new Set(),
      finals: [],
    };
    this.members.push(member);
    return member;
  }

  private takePart(member: Member, epoch: Epoch): void {
    const { depth = 2, timing = TIMING, storageOn = "alert", minoritySeals = true } = this.options;
    const place = epoch.processes.indexOf(member.rank);
    const ranks = epoch.processes.length;
    const { slot, hash, settled } = epoch;
    const core = new HyBE({
      epoch: {
        self: place,
        ranks,
        winVotes: Math.floor(ranks / 2) + 1,
        answersMin: Math.ceil(ranks / 2),
      },
      timing,
      pipelineDepth: depth,
      head: { slot, hash },
      settled,
      storageOn,
      minoritySeals,
    });
    core.executed(slot, this.effectsDigest(member, slot));
    member.tickAt = Number.POSITIVE_INFINITY;
    member.parts.push({
      epoch,
      place,
      core,
      votes: [],
      votesWhenFrozen: undefined,
      lane: [],
      agreed: [],
      mined: new Map(),
      returned: [],
      sealed: false,
    });
    this.onEpoch(member.rank, epoch);
  }

  private effectsDigest(member: Member, slot: number): string {
    const wrong = member.corrupt ? ` wrong at ${member.rank}` : "";
    return hashOf(`effects ${slot}${wrong}`);
  }

  /** Hash of the proposal of `place` in a round: rounds of a sealed epoch come again in the next. */
  proposalHash(epoch: Epoch, place: number, round: number, twin = false): string {
    return hashOf(`proposal ${epoch.number} ${place} ${round}${twin ? " twin" : ""}`);
  }

  // Time.

  after(ms: number, run: () => void): void {
    this.events.after(ms, run);
  }

  /** Runs until `until` ms, or until `done` says so. Returns true when `done` did. */
  run(until: number, done: () => boolean = () => false): boolean {
    return this.events.run(until, done);
  }

  /** Living members of the newest epoch, as far as they know of it: those that have to go on. */
  living(): Member[] {
    const { newestEpoch } = this.records;
    return this.members.filter(
      ({ rank, dead, halted }) =>
        !dead && halted === undefined && newestEpoch.processes.includes(rank),
    );
  }

  /** Nothing is unsettled or frozen at any living member, and no two heads differ. */
  quiet(): boolean {
    const head = this.records.head.hash;
    const { newestEpoch } = this.records;
    for (const { dead, halted, parts, awaited } of this.members) {
      const part = parts.at(-1);
      if (dead || halted !== undefined || part === undefined) continue;
      if (part.sealed && part.epoch !== newestEpoch) continue; // sealed out
      if (part.sealed || !part.core.idle || awaited > 0 || part.core.headHash !== head)
        return false;
    }
    return this.living().every(({ parts }) => parts.at(-1)?.epoch === newestEpoch);
  }

  // Inputs and effects.

  input(rank: number, input: Input): void {
    const member = this.members[rank];
    const part = member.parts.at(-1);
    if (member.dead || member.halted !== undefined || part === undefined) return;
    const queue: Input[] = [input];
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      this.steps++;
      for (const effect of part.core.step(next, this.now)) {
        if (member.dead) return;
        this.onEffect(rank, effect, next);
        const answer = this.perform(member, part, effect);
        if (answer !== undefined) queue.push(answer);
      }
    }
    this.setTick(member, part);
  }

  private setTick(member: Member, { core }: Part): void {
    const at = core.nextDeadline();
    if (at <= this.now) throw new Error(`rank ${member.rank}: a deadline at ${at} has passed`);
    if (at === Number.POSITIVE_INFINITY) {
      const open = core.unsettled > 0 || core.isFrozen;
      if (open && !core.idle && member.awaited === 0 && member.halted === undefined) {
        throw new Error(`rank ${member.rank}: rounds are open and no deadline is set`);
      }
      return;
    }
    if (at >= member.tickAt) return;
    member.tickAt = at;
    this.after(at - this.now, () => {
      if (member.tickAt !== at) return;
      member.tickAt = Number.POSITIVE_INFINITY;
      this.input(member.rank, { type: "tick" });
    });
  }

  /** For that part alone: what comes after its epoch is nobody's. */
  private answer(member: Member, part: Part, ms: number, input: () => Input | undefined): void {
    member.awaited++;
    this.after(ms, () => {
      member.awaited--;
      const answer = member.dead || part.sealed ? undefined : input();
      if (answer !== undefined) this.input(member.rank, answer);
    });
  }

  private send(from: Member, place: number, kind: MessageKind, round: number, input: Input): void {
    const { epoch } = from.parts.at(-1)!;
    const to = epoch.processes[place];
    const ms = this.network({ kind, from: from.rank, to, round, at: this.now });
    if (ms !== undefined) this.after(ms, () => this.receive(epoch, to, input));
  }

  private receive(epoch: Epoch, to: number, input: Input): void {
    const member = this.members[to];
    if (member.parts.at(-1)?.epoch !== epoch) return;
    // A proposal travels with its blocks.
    if (input.type === "proposal") member.bodies.add(input.hash);
    this.input(to, input);
  }

  private others({ epoch, place }: Part): number[] {
    return [...epoch.processes.keys()].filter((other) => other !== place);
  }

  private perform(member: Member, part: Part, effect: Effect): Input | undefined {
    const { rank } = member;
    const { place, epoch } = part;
    switch (effect.type) {
      case "mine": {
        const { round } = effect;
        this.answer(member, part, this.delays.mine(rank, round), () => {
          const hash = this.proposalHash(epoch, place, round);
          part.mined.set(round, hash);
          member.bodies.add(hash);
          return { type: "mined", round, hash };
        });
        return;
      }
      case "propose":
        for (const to of this.others(part)) {
          const twin = this.twin(rank, effect.round, epoch.processes[to]);
          const hash = this.proposalHash(epoch, place, effect.round, twin);
          const input = { type: "proposal", round: effect.round, rank: place, hash } as const;
          this.send(member, to, "proposal", effect.round, input);
        }
        return;
      case "validate": {
        const verdict = this.verdict(rank, effect.round, epoch.processes[effect.rank]);
        this.after(this.delays.validate(rank), () => {
          if (!part.sealed) this.input(rank, { ...effect, type: "validated", verdict });
        });
        return;
      }
      case "vote": {
        part.votes.push(effect.vote);
        part.lane.push(effect.vote.round);
        const votes = [{ ...effect.vote, hashes: undefined }];
        for (const to of this.others(part))
          this.send(member, to, "vote", effect.vote.round, { type: "votes", votes });
        return;
      }
      case "skip-vote":
        part.lane.push(effect.round);
        return;
      case "send-vote": {
        const votes = [{ ...effect.vote }];
        const { round } = effect.vote;
        this.send(member, effect.to, "answer", round, { type: "votes", votes });
        return;
      }
      case "send-pull": {
        const input = { type: "pull", from: place, pull: effect.pull } as const;
        for (const to of effect.to) this.send(member, to, "pull", effect.pull.round, input);
        return;
      }
      case "send-body": {
        const { round, name } = effect;
        if (!member.bodies.has(name.hash)) throw new Error("a body is sent that is not here");
        const input = { type: "proposal", round, rank: name.rank, hash: name.hash } as const;
        this.send(member, effect.to, "body", round, input);
        return;
      }
      case "discard":
        member.bodies.delete(effect.name.hash);
        return;
      case "send-decided": {
        const to = effect.to === "all" ? this.others(part) : [effect.to];
        const { decided } = effect;
        for (const other of to)
          this.send(member, other, "decided", decided.lastRound, { type: "decided", decided });
        return;
      }
      case "send-seal-pull": {
        part.votesWhenFrozen ??= part.votes.length;
        const input = { type: "seal-pull", from: place, pull: effect.pull } as const;
        for (const to of effect.to)
          this.send(member, to, "seal-pull", effect.pull.lastRound, input);
        if (member.dieAt === "pulled") this.crash(rank);
        return;
      }
      case "send-seal-answer": {
        part.votesWhenFrozen ??= part.votes.length;
        const { to, answer } = effect;
        const votes = answer.votes.map((vote) => ({ ...vote }));
        const input = { type: "seal-answer", from: place, answer: { ...answer, votes } } as const;
        this.send(member, to, "seal-answer", answer.lastVoted, input);
        return;
      }
      case "agreed":
        part.agreed.push({ round: effect.round, name: effect.name });
        return;
      case "link":
        return this.append(member, part, effect);
      case "read":
        return this.read(member, part, effect.slot, effect.prevHash);
      case "finalize": {
        const { slot, hash, rounds } = effect;
        member.finals.push({ slot, hash, rounds });
        part.core.executed(slot, this.effectsDigest(member, slot));
        return;
      }
      case "returned":
        part.returned.push(effect.round);
        return;
      case "sealed":
        return this.sealed(member, part, effect.hash);
      case "halt":
        member.halted = effect.code;
        return;
    }
  }

  // The log.

  log(): readonly LogRecord[] {
    return this.records.all();
  }

  private append(member: Member, part: Part, effect: LinkEffect): undefined {
    const { type: _, ...draft } = effect;
    const { slot, prevHash } = draft;
    const { rank } = member;
    // The writer reads the bodies that it records, and the votes as they are now.
    const settlement = draft.settlement.map((round) => ({
      ...round,
      votes: round.votes.map((v) => ({ ...v })),
    }));
    for (const { included } of settlement)
      for (const { hash } of included)
        if (!member.bodies.has(hash)) throw new Error("a body is recorded that is not here");
    member.awaited++;
    this.after(this.delays.link(rank), () => {
      if (member.dead) return;
      if (member.dieAt === "link") return this.crash(rank);
      const linked = member.storageOff
        ? undefined
        : this.link({ ...draft, author: rank, settlement });
      if (member.dieAt === "linked") return this.crash(rank);
      this.after(this.delays.sync(rank), () => {
        const ended = (input: Input) => {
          member.awaited--;
          if (!part.sealed) this.input(rank, input);
        };
        const winner = this.records.child(prevHash);
        if (member.mumbles || (linked === undefined && winner === undefined)) {
          ended({ type: "link-failed", slot });
        } else if (linked !== undefined) {
          ended({ type: "linked", slot, hash: linked.hash });
        } else {
          // As rank/recording does: the winner first, then the end of the append.
          this.onNote(rank, `loses slot ${slot} to rank ${winner!.author}`);
          const next = !part.sealed && part.core.headSlot + 1 === slot;
          if (next) this.input(rank, this.found(part, winner!));
          ended({ type: "link-lost", slot });
        }
      });
    });
  }

  link(draft: Parameters<RecordLog["link"]>[0]): LogRecord | undefined {
    const record = this.records.link(draft, this.now);
    if (record?.kind === "SEAL") this.admit(record);
    return record;
  }

  /** Newcomers follow the log, and find themselves let in. */
  private admit({ hash, admit = [] }: LogRecord): void {
    const epoch = this.records.epochOf(hash);
    for (const member of this.members) {
      if (!admit.includes(incarnationOf(member.rank))) continue;
      const { rank } = member;
      this.after(this.delays.read(rank) + this.delays.regroup(rank), () => {
        if (!member.dead) this.takePart(member, epoch);
      });
    }
  }

  private sealed(member: Member, part: Part, hash: string): undefined {
    part.sealed = true;
    const epoch = this.records.epochOf(hash);
    if (!epoch.processes.includes(member.rank)) return;
    this.after(this.delays.regroup(member.rank), () => {
      if (!member.dead) this.takePart(member, epoch);
    });
  }

  private read(member: Member, part: Part, slot: number, prevHash: string): undefined {
    this.answer(member, part, this.delays.read(member.rank), () => {
      if (member.storageOff) return { type: "no-record", slot, failed: true };
      const child = this.records.child(prevHash);
      if (child === undefined || part.core.headSlot + 1 !== slot)
        return { type: "no-record", slot };
      return this.found(part, child);
    });
  }

  private found({ epoch, place }: Part, record: LogRecord): Input {
    const { slot, hash, kind, settlement, author } = record;
    const rounds = settlement.map(({ round, included }) => ({ round, included }));
    const { answered = [], deadlineMs = 0 } = record;
    const intent = { answered, deadlineMs, own: author === epoch.processes[place] };
    const summary: RecordSummary = {
      slot,
      hash,
      kind,
      valid: true,
      firstRound: rounds[0]?.round ?? 1,
      lastRound: rounds.at(-1)?.round ?? 0,
      rounds,
      ...(kind === "INTENT" ? { intent } : {}),
    };
    return { type: "record", record: summary };
  }

  crash(rank: number): void {
    this.members[rank].dead = true;
    this.onNote(rank, "dies");
  }
}
