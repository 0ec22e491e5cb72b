/**
 * The vocabulary of the fault monitor: what goes into it, what comes out of it and what it tells a
 * person. The monitor never does anything itself: whoever runs it turns effects into messages and
 * into inputs of the core. "Rank" means member index here, as in consensus/.
 */

/** All in milliseconds but `scale`. */
export interface MonitorTiming {
  /** Between two heartbeats of one member. */
  readonly heartbeatMs: number;
  /** Silence after which a member is suspected. */
  readonly suspectMs: number;
  /** Silence after which a suspected member may be evicted. */
  readonly evictMs: number;
  /** Δ: the k-th author of a SEAL waits k·Δ. */
  readonly turnDelayMs: number;
  /** Ranks per core, at least 1: all of the above grow with its square root. */
  readonly scale: number;
}

export interface MonitorOptions {
  readonly self: number;
  /** N: members of the epoch. */
  readonly ranks: number;
  /** R of protocol.md: so many accusers are agreement, and so many members can seal. */
  readonly answersMin: number;
  /** Where each member runs. */
  readonly hosts: readonly string[];
  readonly timing: MonitorTiming;
  /** So many members must call a death certain before this rank believes them: 1, or f+1 of 3f+1. */
  readonly certainMin?: number;
}

/** C1 message exchange, C2 status and processes, C3 exceptions. */
export type Checkpoint = "C1" | "C2" | "C3";

export type MonitorInput =
  /** Time has passed: at the latest at `nextDeadline()`. */
  | { type: "tick" }
  /** C1: any authentic message of that member. `heard()` does the same without an object. */
  | { type: "heard"; rank: number }
  /** C2: its process has ended, says the process watch or the launcher: certain. */
  | { type: "gone"; rank: number }
  /** C2: its exit routine said so: certain. */
  | { type: "bye"; rank: number; reason: string }
  /** It signed two statements that contradict each other: as certain as an end. */
  | { type: "convicted"; rank: number }
  /** C2: what it says of itself after a validation. */
  | { type: "status"; rank: number; ok: boolean }
  /** Another member's ACCUSE. */
  | { type: "accused"; by: number; rank: number; certain: boolean }
  /** Another member withdraws it. */
  | { type: "absolved"; by: number; rank: number }
  /** C1: a deadline of a message exchange passed without that member: a hint to look closer. */
  | { type: "missed"; rank: number; what: string }
  /** C3: an exception of this rank, in validation or the like. */
  | { type: "exception"; where: string }
  /** C1: a collective missed its deadline; nobody knows because of whom. */
  | { type: "lane-lost" };

export type MonitorEffect =
  /** Send a heartbeat to each of these. */
  | { type: "heartbeat"; to: readonly number[] }
  /** Ask this member to answer with a heartbeat: the answer comes back as `heard`. */
  | { type: "probe"; to: number }
  /** Tell all members. */
  | { type: "accuse"; rank: number; certain: boolean }
  /** Tell all members that the accusation is withdrawn. */
  | { type: "absolve"; rank: number }
  /** The whole set, ascending, each time it changed: for the core. */
  | { type: "suspects"; ranks: readonly number[] }
  /** For the core: open rounds need not wait any longer. */
  | { type: "alert"; reason: string }
  /** This rank's turn to author the SEAL without these members (ascending). Repeated until the epoch ends. */
  | { type: "evict"; ranks: readonly number[] }
  | { type: "event"; event: MonitorEvent };

export type MonitorEventKind =
  /** A member was silent for too long. */
  | "suspected"
  /** A suspected member was heard again. */
  | "absolved"
  /** A process has ended. */
  | "gone"
  /** A member said that it goes. */
  | "bye"
  /** A member contradicts itself, and there is proof. */
  | "convicted"
  /** Others do not hear this rank. */
  | "unheard"
  /** This rank was not scheduled for a while. */
  | "late"
  /** Too few members are left that this rank hears: it goes on through storage alone. */
  | "minority"
  /** This rank proposes to go on without some members. */
  | "evict"
  | "missed"
  | "lane-lost"
  | "status"
  | "exception"
  /** Not the monitor's own, but of its story: replacements are started, this process was evicted. */
  | "heal"
  | "evicted";

/** What a person may want to know. */
export interface MonitorEvent {
  /** Of the clock that `step` was given, in milliseconds. */
  readonly at: number;
  readonly kind: MonitorEventKind;
  /** The member it is about; undefined: this rank or nobody in particular. */
  readonly rank: number | undefined;
  readonly checkpoint: Checkpoint;
  /** One sentence. */
  readonly text: string;
}
