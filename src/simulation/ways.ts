/**
 * How often each rare way was taken, over one run or many: a fault that no seed ever brings about
 * proves nothing.
 */
export const WAYS = {
  "STORAGE record": "storage decided a round",
  "SEAL by R": "an epoch ended with the answers of R members or more",
  "SEAL by a minority": "fewer than R members went on, after their INTENT and its deadline",
  "SEAL of an even split": "half of the members sealed out the other half, which lived",
  "SEAL that thaws": "an epoch was followed by one with the same members",
  "SEAL without rounds": "a member's SEAL that found nothing to settle",
  "SEAL with rounds": "a member's SEAL settled rounds",
  "host in one SEAL": "all members of a host, two or more, left in one SEAL",
  "foreign take-over": "a new job sealed an epoch that it was no member of",
  "clean SEAL": "the ledger was closed",
  "INTENT unanswered": "a SEAL followed the INTENT of its author, after its deadline",
  "INTENT refuted": "a record followed an INTENT that was not its author's SEAL",
  "NOOP after an INTENT": "the refutation had nothing to settle",
  "member evicted": "a SEAL left a member out",
  "live member evicted": "a SEAL left out a member whose process lived",
  "member admitted": "a SEAL let a new incarnation in",
  rejoin: "a process that was evicted took part again",
  spawn: "a replacement took part",
  "spawn failed": "processes were asked for and did not come",
  "not admitted": "a process gave up asking, or found its job gone",
  "storage and majority lost": "a rank of a minority stopped, as storage did not come back",
  "single host in doubt": "a rank stopped: no other host could say whether its record is durable",
  "sealed out": "a rank found that another job had taken the ledger over",
  "lanes again": "votes went by collective in an epoch after the first",
  "proposal gathered": "a proposal went to the others by collective",
  "transaction adopted": "a backup proposed what a rank that left had accepted",
  "adoption after EEXIST": "a rank found its slot taken, and built on the record that was there",
  "vote pulled": "a vote that did not come, or covered unknown hashes, was asked for",
  "body pulled": "a proposal that did not come was asked for",
  "back-pressure at W": "a client was turned away by a rank with W rounds in no record",
  "segment folded": "records of a whole segment became one file",
  "fold under a racing reader": "a tail was taken away while another process read in it",
  "bit rot": "a bit of a record's file turned",
  "record mended": "a damaged record was put right from a copy",
  absolved: "a suspected member was heard again",
  minority: "a rank heard fewer than R members",
} as const;
export type Way = keyof typeof WAYS;

export class Ways {
  private readonly counts = new Map<Way, number>();

  took(way: Way, times = 1): void {
    this.counts.set(way, (this.counts.get(way) ?? 0) + times);
  }

  add(other: Readonly<Record<string, number>>): void {
    for (const [way, count] of Object.entries(other)) this.took(way as Way, count);
  }

  /** Every way, those never taken too. */
  get all(): Record<Way, number> {
    const names = Object.keys(WAYS) as Way[];
    return Object.fromEntries(names.map((way) => [way, this.counts.get(way) ?? 0])) as never;
  }
}
