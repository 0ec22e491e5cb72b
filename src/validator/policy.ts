/**
 * What the validator asks of a record beyond its validity: that it has a reason. A liar among the
 * ranks may write what counts and helps nobody: empty records without end, an INTENT that gives
 * nobody time to answer, a SEAL without those who answered it. Pure.
 */
import { toHex } from "../base/bytes.ts";
import type { Chain } from "../ledger/chain.ts";
import { answersMin } from "../ledger/judge.ts";
import type { LedgerRecord, RecordHeader } from "../ledger/record.ts";
import type { Intent, Seal } from "../ledger/settlement.ts";

/** The INTENT that is the head, as the validator saw it come. */
export interface HeadIntent {
  /** Of its author, hex. */
  readonly author: string;
  readonly answered: readonly number[];
  readonly deadlineMs: number;
}

export interface PolicyView {
  readonly chain: Chain;
  readonly headIntent: HeadIntent | undefined;
  /** Since the head was linked, or since the validator started. */
  readonly headAgeMs: number;
  /** An INTENT gives the others so long at least. */
  readonly takeoverMsMin: number;
  /** Members of the epoch that the last newcomer installed: no later one is larger. */
  readonly ranksMax: number;
  readonly isConvicted: (incarnation: string) => boolean;
}

/** Why the validator does not link a record that counts; undefined when it does. */
export function objection(record: LedgerRecord, view: PolicyView): string | undefined {
  const { header, body } = record;
  switch (body.kind) {
    case "QUORUM":
    case "STORAGE":
      return undefined;
    case "NOOP":
      return refutes(header, view) ? undefined : "an empty record says nothing but after an INTENT";
    case "INTENT":
      return objectionToIntent(header, body.intent, view);
    case "SEAL":
      return objectionToSeal(header, body.seal, view);
  }
}

function isMember(chain: Chain, { authorRank, authorIncarnation }: RecordHeader): boolean {
  const member = chain.epoch.members[authorRank];
  return member !== undefined && toHex(member.incarnation) === toHex(authorIncarnation);
}

function refutes(header: RecordHeader, { chain, headIntent }: PolicyView): boolean {
  if (headIntent === undefined || !isMember(chain, header)) return false;
  const isOwn = headIntent.author === toHex(header.authorIncarnation);
  return !isOwn && !headIntent.answered.includes(header.authorRank);
}

function objectionToIntent(
  header: RecordHeader,
  intent: Intent,
  { chain, headIntent, headAgeMs, takeoverMsMin }: PolicyView,
): string | undefined {
  if (chain.genesis.quorum === "byzantine" && isMember(chain, header))
    return "members of a byzantine epoch seal by their answers, never by an INTENT";
  if (intent.deadlineMs < takeoverMsMin)
    return `its deadline of ${intent.deadlineMs} ms is too short, ${takeoverMsMin} ms are needed`;
  if (headIntent !== undefined && headAgeMs < headIntent.deadlineMs)
    return "the INTENT before it has not had its time";
  return undefined;
}

function objectionToSeal(header: RecordHeader, seal: Seal, view: PolicyView): string | undefined {
  const { chain } = view;
  if (!isMember(chain, header)) return chain.ranks === 0 ? undefined : tooEarly(view);
  const enough = answersMin(chain.ranks, chain.genesis.quorum);
  // The judge lets a minority's pass as the child of its own INTENT, whenever that was.
  const early = seal.answers.length < enough ? tooEarly(view) : undefined;
  if (early !== undefined) return early;
  if (seal.members.length === 0) return undefined;
  if (seal.members.length > view.ranksMax)
    return `it has ${seal.members.length} members, and the job began with ${view.ranksMax}`;
  const staying = new Set(seal.members.map(({ incarnation }) => toHex(incarnation)));
  for (const rank of seal.answers) {
    const incarnation = toHex(chain.epoch.members[rank].incarnation);
    if (!staying.has(incarnation) && !view.isConvicted(incarnation))
      return `it leaves out rank ${rank}, which answered it and is not convicted`;
  }
  return undefined;
}

function tooEarly({ headIntent, headAgeMs }: PolicyView): string | undefined {
  if (headIntent === undefined || headAgeMs >= headIntent.deadlineMs) return undefined;
  return `its INTENT has had ${Math.round(headAgeMs)} of ${headIntent.deadlineMs} ms`;
}
