/**
 * N consensus cores in one thread: virtual time, a log that is one compare-and-swap a slot, and a
 * rule that says of each message when it arrives, if at all. Deterministic: the same options and
 * the same rule give the same run. What it sees is recorded for `consensus-checks.ts`.
 */
import { createHash } from "node:crypto";
import type {
  Decided,
  Effect,
  Input,
  ProposalName,
  Pull,
  RecordKind,
  RecordSummary,
  RoundSettlement,
  Timing,
  Verdict,
  Vote,
} from "../../src/consensus/effects.ts";
import { HyBE } from "../../src/consensus/hybe.ts";

export const TIMING: Timing = {
  proposalTimeoutMs: 100,
  voteTimeoutMs: 100,
  turnDelayMs: 50,
  readDelayMs: 40,
  pullIntervalMs: 25,
};

export type MessageKind = "proposal" | "vote" | "pull" | "answer" | "body" | "decided";

export interface Message {
  readonly kind: MessageKind;
  readonly from: number;
  readonly to: number;
  readonly round: number;
  readonly at: number;
}

/** Milliseconds that a message takes; undefined: it never arrives. */
export type Network = (message: Message) => number | undefined;

export interface LogRecord {
  readonly slot: number;
  readonly hash: string;
  readonly prevHash: string;
  readonly kind: RecordKind;
  readonly author: number;
  readonly settlement: readonly RoundSettlement[];
}

/** How long the parts of a rank take, by rank and round. */
export interface Delays {
  mine(rank: number, round: number): number;
  validate(rank: number): number;
  /** From the append until the link, and from the link until the writer is told. */
  link(rank: number): number;
  sync(rank: number): number;
  read(rank: number): number;
}

export const DELAYS: Delays = {
  mine: () => 2,
  validate: () => 1,
  link: () => 3,
  sync: () => 2,
  read: () => 2,
};

export interface ClusterOptions {
  readonly ranks: number;
  readonly depth?: number;
  readonly timing?: Timing;
  readonly delays?: Partial<Delays>;
  readonly network?: Network;
}

interface Event {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

export interface Finalized {
  readonly slot: number;
  readonly hash: string;
  readonly rounds: ReadonlyArray<{ round: number; order: readonly ProposalName[] }>;
}

export interface Member {
  readonly rank: number;
  readonly core: HyBE;
  dead: boolean;
  halted: string | undefined;
  storageOff: boolean;
  /** Effects digests are wrong from now on. */
  corrupt: boolean;
  /** Appends are reported as failed although they were linked. */
  mumbles: boolean;
  /** The next append ends this rank: before its link, or after it and before anybody is told. */
  dieAt: "link" | "linked" | undefined;
  tickAt: number;
  /** Answers that the core waits for: mining, appends, reads. */
  awaited: number;
  readonly bodies: Set<string>;
  readonly finals: Finalized[];
  readonly votes: Vote[];
  /** Every round on the vote lane, in order: voted or skipped. */
  readonly lane: number[];
  readonly agreed: { round: number; name: ProposalName }[];
  readonly mined: Map<number, string>;
  readonly returned: number[];
}

export const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");
export const GENESIS = hashOf("genesis");

export class Cluster {
  now = 0;
  readonly members: Member[] = [];
  /** Child of a record, by the parent's hash: what `link` makes exclusive. */
  readonly children = new Map<string, LogRecord>();
  readonly options: ClusterOptions;
  network: Network;
  /** What a validation says; "yes" unless a test changes it. */
  verdict: (rank: number, round: number, author: number) => Verdict = () => "yes";
  /** Other hash that `author` sends to `to`: an equivocation. */
  twin: (author: number, round: number, to: number) => boolean = () => false;
  onEffect: (rank: number, effect: Effect, cause: Input) => void = () => {};
  onNote: (rank: number, text: string) => void = () => {};
  steps = 0;
  private readonly delays: Delays;
  private readonly events: Event[] = [];
  private order = 0;
  private records = 0;

  constructor(options: ClusterOptions) {
    this.options = options;
    this.network = options.network ?? (() => 1);
    this.delays = { ...DELAYS, ...options.delays };
    const { ranks } = options;
    for (let rank = 0; rank < ranks; rank++) {
      const core = new HyBE({
        epoch: {
          self: rank,
          ranks,
          winVotes: Math.floor(ranks / 2) + 1,
          answersMin: Math.ceil(ranks / 2),
        },
        timing: options.timing ?? TIMING,
        pipelineDepth: options.depth ?? 2,
        head: { slot: 0, hash: GENESIS },
        settled: 0,
      });
      core.executed(0, hashOf("effects 0"));
      this.members.push({
        rank,
        core,
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
        votes: [],
        lane: [],
        agreed: [],
        mined: new Map(),
        returned: [],
      });
    }
  }

  proposalHash(rank: number, round: number, twin = false): string {
    return hashOf(`proposal ${rank} ${round}${twin ? " twin" : ""}`);
  }

  // Time.

  after(ms: number, run: () => void): void {
    this.push({ at: this.now + ms, order: this.order++, run });
  }

  /** A binary heap by time, then by order of scheduling. */
  private push(event: Event): void {
    const { events } = this;
    let at = events.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (before(events[parent], event)) break;
      events[at] = events[parent];
      at = parent;
    }
    events[at] = event;
  }

  private pop(): Event | undefined {
    const { events } = this;
    const first = events[0];
    const last = events.pop();
    if (last === undefined || events.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= events.length) break;
      if (child + 1 < events.length && before(events[child + 1], events[child])) child++;
      if (before(last, events[child])) break;
      events[at] = events[child];
      at = child;
    }
    events[at] = last;
    return first;
  }

  /** Runs until `until` ms, or until `done` says so. Returns true when `done` did. */
  run(until: number, done: () => boolean = () => false): boolean {
    while (!done()) {
      const next = this.events[0];
      if (next === undefined || next.at > until) {
        this.now = Math.max(this.now, until);
        return false;
      }
      this.pop();
      this.now = next.at;
      next.run();
    }
    return true;
  }

  /** Nothing is unsettled at any living rank, and no two heads differ. */
  quiet(): boolean {
    const living = this.members.filter((member) => !member.dead && member.halted === undefined);
    const head = this.head().hash;
    return living.every(
      ({ core, awaited }) => core.idle && awaited === 0 && core.headHash === head,
    );
  }

  // Inputs and effects.

  input(rank: number, input: Input): void {
    const member = this.members[rank];
    if (member.dead || member.halted !== undefined) return;
    const queue: Input[] = [input];
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      this.steps++;
      for (const effect of member.core.step(next, this.now)) {
        this.onEffect(rank, effect, next);
        const answer = this.perform(member, effect);
        if (answer !== undefined) queue.push(answer);
      }
    }
    this.setTick(member);
  }

  private setTick(member: Member): void {
    const at = member.core.nextDeadline();
    if (at <= this.now) throw new Error(`rank ${member.rank}: a deadline at ${at} has passed`);
    if (at === Number.POSITIVE_INFINITY) {
      if (member.core.unsettled > 0 && member.awaited === 0 && member.halted === undefined) {
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

  private answer(member: Member, ms: number, input: () => Input | undefined): void {
    member.awaited++;
    this.after(ms, () => {
      member.awaited--;
      const answer = member.dead ? undefined : input();
      if (answer !== undefined) this.input(member.rank, answer);
    });
  }

  private send(from: number, to: number, kind: MessageKind, round: number, input: Input): void {
    const ms = this.network({ kind, from, to, round, at: this.now });
    if (ms !== undefined) this.after(ms, () => this.receive(to, input));
  }

  private receive(to: number, input: Input): void {
    // A proposal travels with its blocks.
    if (input.type === "proposal") this.members[to].bodies.add(input.hash);
    this.input(to, input);
  }

  private others(rank: number): number[] {
    return this.members.map((member) => member.rank).filter((other) => other !== rank);
  }

  private perform(member: Member, effect: Effect): Input | undefined {
    const { rank } = member;
    switch (effect.type) {
      case "mine": {
        const { round } = effect;
        this.answer(member, this.delays.mine(rank, round), () => {
          const hash = this.proposalHash(rank, round);
          member.mined.set(round, hash);
          member.bodies.add(hash);
          return { type: "mined", round, hash };
        });
        return;
      }
      case "propose":
        for (const to of this.others(rank)) {
          const hash = this.proposalHash(rank, effect.round, this.twin(rank, effect.round, to));
          const input = { type: "proposal", round: effect.round, rank, hash } as const;
          this.send(rank, to, "proposal", effect.round, input);
        }
        return;
      case "validate": {
        const verdict = this.verdict(rank, effect.round, effect.rank);
        this.after(this.delays.validate(rank), () =>
          this.input(rank, { ...effect, type: "validated", verdict }),
        );
        return;
      }
      case "vote": {
        member.votes.push(effect.vote);
        member.lane.push(effect.vote.round);
        const votes = [{ ...effect.vote, hashes: undefined }];
        for (const to of this.others(rank))
          this.send(rank, to, "vote", effect.vote.round, { type: "votes", votes });
        return;
      }
      case "skip-vote":
        member.lane.push(effect.round);
        return;
      case "send-vote": {
        const votes = [{ ...effect.vote }];
        this.send(rank, effect.to, "answer", effect.vote.round, { type: "votes", votes });
        return;
      }
      case "send-pull":
        for (const to of effect.to) this.sendPull(rank, to, effect.pull);
        return;
      case "send-body": {
        const { round, name } = effect;
        if (!member.bodies.has(name.hash)) throw new Error("a body is sent that is not here");
        const input = { type: "proposal", round, rank: name.rank, hash: name.hash } as const;
        this.send(rank, effect.to, "body", round, input);
        return;
      }
      case "discard":
        member.bodies.delete(effect.name.hash);
        return;
      case "send-decided": {
        const to = effect.to === "all" ? this.others(rank) : [effect.to];
        for (const other of to) this.sendDecided(rank, other, effect.decided);
        return;
      }
      case "agreed":
        member.agreed.push({ round: effect.round, name: effect.name });
        return;
      case "link":
        return this.append(member, effect);
      case "read":
        return this.read(member, effect.slot, effect.prevHash);
      case "finalize": {
        const { slot, hash, rounds } = effect;
        member.finals.push({ slot, hash, rounds });
        const wrong = member.corrupt ? ` wrong at ${rank}` : "";
        member.core.executed(slot, hashOf(`effects ${slot}${wrong}`));
        return;
      }
      case "returned":
        member.returned.push(effect.round);
        return;
      case "halt":
        member.halted = effect.code;
        return;
    }
  }

  private sendPull(from: number, to: number, pull: Pull): void {
    this.send(from, to, "pull", pull.round, { type: "pull", from, pull });
  }

  private sendDecided(from: number, to: number, decided: Decided): void {
    this.send(from, to, "decided", decided.lastRound, { type: "decided", decided });
  }

  // The log.

  head(): LogRecord {
    let head: LogRecord = {
      slot: 0,
      hash: GENESIS,
      prevHash: "",
      kind: "SEAL",
      author: -1,
      settlement: [],
    };
    for (;;) {
      const child = this.children.get(head.hash);
      if (child === undefined) return head;
      head = child;
    }
  }

  /** All records after genesis, in order. */
  log(): LogRecord[] {
    const records: LogRecord[] = [];
    let hash = GENESIS;
    for (let child = this.children.get(hash); child; child = this.children.get(hash)) {
      records.push(child);
      hash = child.hash;
    }
    return records;
  }

  /** Links a record unless its parent has a child: false then. */
  link(record: Omit<LogRecord, "hash">): LogRecord | undefined {
    if (this.children.has(record.prevHash)) return undefined;
    const hash = hashOf(`record ${this.records++} ${record.slot} ${record.author}`);
    const linked = { ...record, hash };
    this.children.set(record.prevHash, linked);
    return linked;
  }

  private append(member: Member, effect: Extract<Effect, { type: "link" }>): undefined {
    const { slot, prevHash, kind, settlement } = effect;
    const { rank } = member;
    // The writer reads the bodies that it records, and the votes as they are now.
    const copy = settlement.map((round) => ({
      ...round,
      votes: round.votes.map((v) => ({ ...v })),
    }));
    for (const { included } of copy)
      for (const { hash } of included)
        if (!member.bodies.has(hash)) throw new Error("a body is recorded that is not here");
    member.awaited++;
    this.after(this.delays.link(rank), () => {
      if (member.dead) return;
      if (member.dieAt === "link") return this.crash(rank);
      const linked = member.storageOff
        ? undefined
        : this.link({ slot, prevHash, kind, author: rank, settlement: copy });
      if (member.dieAt === "linked") return this.crash(rank);
      this.after(this.delays.sync(rank), () => {
        const ended = (input: Input) => {
          member.awaited--;
          this.input(rank, input);
        };
        if (member.mumbles || (linked === undefined && !this.children.has(prevHash))) {
          ended({ type: "link-failed", slot });
        } else if (linked !== undefined) {
          ended({ type: "linked", slot, hash: linked.hash });
        } else {
          // As rank/perform does: the winner first, then the end of the append.
          const winner = this.children.get(prevHash)!;
          this.onNote(rank, `loses slot ${slot} to rank ${winner.author}`);
          if (member.core.headSlot + 1 === slot) this.input(rank, this.found(winner));
          ended({ type: "link-lost", slot });
        }
      });
    });
  }

  private read(member: Member, slot: number, prevHash: string): undefined {
    this.answer(member, this.delays.read(member.rank), () => {
      const child = member.storageOff ? undefined : this.children.get(prevHash);
      if (child === undefined || member.core.headSlot + 1 !== slot)
        return { type: "no-record", slot };
      return this.found(child);
    });
  }

  private found({ slot, hash, kind, settlement }: LogRecord): Input {
    const rounds = settlement.map(({ round, included }) => ({ round, included }));
    const record: RecordSummary = {
      slot,
      hash,
      kind,
      valid: true,
      firstRound: rounds[0]?.round ?? 1,
      lastRound: rounds.at(-1)?.round ?? 0,
      rounds,
    };
    return { type: "record", record };
  }

  crash(rank: number): void {
    this.members[rank].dead = true;
    this.onNote(rank, "dies");
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
