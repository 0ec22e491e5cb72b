/**
 * The last rounds of a run in words: who proposed, who voted, what became durable through whom, who
 * has executed it, and the faults in between. For a person who looks at a failure; no rule reads it.
 */
const ROUNDS_KEPT = 64;
const NOTES_KEPT = 400;
const FINALS_KEPT = 64;
/** Rounds that are told. */
const ROUNDS_TOLD = 10;
/** Of what happened beside the rounds. */
const NOTES_TOLD = 40;

interface RoundStory {
  readonly since: number;
  readonly proposed: Set<string>;
  readonly voted: Set<string>;
  recorded: string | undefined;
  slot: number | undefined;
}

interface Note {
  readonly at: number;
  readonly text: string;
}

export class Timeline {
  private readonly now: () => number;
  private readonly rounds = new Map<number, RoundStory>();
  private readonly finals = new Map<number, string[]>();
  private readonly notes: Note[] = [];

  constructor(now: () => number) {
    this.now = now;
  }

  proposed(process: string, round: number): void {
    this.round(round).proposed.add(process);
  }

  voted(process: string, round: number): void {
    this.round(round).voted.add(process);
  }

  /** A record is durable; `rounds` are those that it settles, first and last. */
  recorded(record: { kind: string; slot: number; rounds: [number, number]; by: string }): void {
    const { kind, slot, by } = record;
    const [first, last] = record.rounds;
    const at = this.now().toFixed(1);
    for (let round = first; round <= last; round++) {
      const story = this.round(round);
      story.slot = slot;
      story.recorded = `${kind} in slot ${slot} by ${by} at ${at}`;
    }
    if (kind !== "QUORUM") this.note(`${kind} in slot ${slot} by ${by}`);
  }

  final(process: string, slot: number): void {
    const known = this.finals.get(slot);
    if (known !== undefined) known.push(process);
    else {
      this.finals.set(slot, [process]);
      dropOldest(this.finals, FINALS_KEPT);
    }
  }

  /** What happens beside the rounds: a fault, an epoch, an end. */
  note(text: string): void {
    this.notes.push({ at: this.now(), text });
    if (this.notes.length > 2 * NOTES_KEPT) this.notes.splice(0, NOTES_KEPT);
  }

  /** In order of time. */
  lines(): string[] {
    const stories = [...this.rounds].sort(([a], [b]) => a - b).slice(-ROUNDS_TOLD);
    const told: Note[] = stories.map(([round, story]) => ({
      at: story.since,
      text: this.describe(round, story),
    }));
    told.push(...this.notes.slice(-NOTES_TOLD));
    told.sort((a, b) => a.at - b.at);
    return told.map(({ at, text }) => `${at.toFixed(1).padStart(9)} ms  ${text}`);
  }

  private describe(round: number, story: RoundStory): string {
    const names = (set: Iterable<string>) => [...set].sort().join(" ") || "nobody";
    const { slot, recorded } = story;
    const finals = slot === undefined ? undefined : names(this.finals.get(slot) ?? []);
    return (
      `round ${round}: proposed by ${names(story.proposed)}, voted by ${names(story.voted)}, ` +
      `${recorded ?? "in no record"}${finals === undefined ? "" : `, final at ${finals}`}`
    );
  }

  private round(round: number): RoundStory {
    let story = this.rounds.get(round);
    if (story !== undefined) return story;
    story = {
      ...{ since: this.now(), proposed: new Set<string>(), voted: new Set<string>() },
      ...{ recorded: undefined, slot: undefined },
    };
    this.rounds.set(round, story);
    dropOldest(this.rounds, ROUNDS_KEPT);
    return story;
  }
}

function dropOldest(map: Map<number, unknown>, kept: number): void {
  if (map.size <= kept) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
