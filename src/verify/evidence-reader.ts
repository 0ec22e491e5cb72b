/**
 * Checks the files of evidence/: each shows two statements that one member signed and that contradict
 * each other. Whom they convict is told; a file that proves nothing is a warning, as it changes
 * nothing in the log.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { readU32, readU64, toHex, writeU32, writeU64 } from "../base/bytes.ts";
import { errorCode } from "../base/errors.ts";
import { readMembers } from "./epoch-reader.ts";
import { type Genesis, isSignedBy } from "./genesis-reader.ts";
import { PROPOSAL } from "./layout.ts";
import { NotValid, refuse, type Warning } from "./not-valid.ts";
import { readMember, readValue } from "./payload-reader.ts";

export interface Conviction {
  /** Path below the ledger directory. */
  file: string;
  kind: string;
  /** Who signed both, with the rank that it had in that epoch. */
  rank: number;
  incarnation: string;
  host: string;
  /** Hash of the SEAL that installed the epoch. */
  epoch: string;
  round: number;
}

const DID: Record<string, string> = {
  proposals: "proposed two things",
  votes: "voted twice",
  frozen: "voted after it had frozen for a SEAL",
};

export function describeConviction({ file, kind, ...who }: Conviction): string {
  const { rank, host, incarnation, round, epoch } = who;
  const name = `rank ${rank} (${host}, incarnation ${incarnation})`;
  return `${name} ${DID[kind]} in round ${round} of epoch ${epoch.slice(0, 16)}: ${file}`;
}

const FOLDER = "evidence";
const LEFTOVER_NAME = /^\.[0-9a-f]{16}-\d+\.tmp$/;
const BYTES_MAX = 4096;
const KINDS = ["proposals", "votes", "frozen"];

export function readEvidence(
  dir: string,
  genesis: Genesis,
): { convictions: Conviction[]; warnings: Warning[]; notes: string[] } {
  const found = {
    convictions: [] as Conviction[],
    warnings: [] as Warning[],
    notes: [] as string[],
  };
  if (!existsSync(join(dir, FOLDER))) return found;
  for (const name of readdirSync(join(dir, FOLDER)).sort()) {
    const file = `${FOLDER}/${name}`;
    if (LEFTOVER_NAME.test(name)) found.notes.push(`${file} is a leftover of a writer`);
    else {
      try {
        found.convictions.push({ file, ...convict(readSmall(join(dir, file)), genesis) });
      } catch (error) {
        if (!(error instanceof NotValid)) throw error;
        found.warnings.push({ code: error.code, file, offset: 0, what: error.message });
      }
    }
  }
  return found;
}

function readSmall(path: string): Uint8Array {
  try {
    if (statSync(path).size <= BYTES_MAX) return readFileSync(path);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
  return refuse("EVIDENCE_SIZE", "no file, or one too large for evidence");
}

function convict(bytes: Uint8Array, genesis: Genesis): Omit<Conviction, "file"> {
  const value = readValue(bytes);
  if (!Array.isArray(value) || value.length !== 8 || value[0] !== "baash-evidence") {
    return refuse("EVIDENCE_SHAPE", "not a file of evidence");
  }
  const [, version, chainId, kind, who, epoch, first, second] = value as unknown[];
  if (version !== 1) refuse("EVIDENCE_VERSION", `version ${String(version)} is not known`);
  if (!isBytes(chainId, 16) || toHex(chainId) !== toHex(genesis.chainId)) {
    refuse("EVIDENCE_CHAIN", "evidence about another ledger");
  }
  if (!isBytes(epoch, 32)) return refuse("EVIDENCE_SHAPE", "evidence without an epoch");
  const [member] = readMembers([readMember(who)], genesis);
  const said = new Said(genesis.chainId, epoch, member);
  let round: number;
  switch (KINDS[(kind as number) - 1]) {
    case "proposals":
      round = said.twoProposals(first, second);
      break;
    case "votes":
      round = said.twoVotes(first, second);
      break;
    case "frozen":
      round = said.voteAfterFreeze(first, second);
      break;
    default:
      return refuse("EVIDENCE_KIND", `kind ${String(kind)} is not known`);
  }
  const { rank, incarnation, host } = member;
  return { kind: KINDS[(kind as number) - 1], rank, incarnation, host, epoch: toHex(epoch), round };
}

/** What one member of one epoch has signed. */
class Said {
  constructor(
    private readonly chainId: Uint8Array,
    private readonly epoch: Uint8Array,
    private readonly member: ReturnType<typeof readMembers>[number],
  ) {}

  twoProposals(first: unknown, second: unknown): number {
    const [one, two] = [this.proposal(first), this.proposal(second)];
    if (one.round !== two.round) refuse("EVIDENCE_ROUNDS", "proposals of two rounds");
    if (one.header === two.header) refuse("EVIDENCE_SAME", "one proposal twice");
    return one.round;
  }

  private proposal(value: unknown): { header: string; round: number } {
    const [header, signature] = list(value, 2);
    if (!isBytes(header, PROPOSAL.bytes) || !isBytes(signature, 64)) return shape();
    const { at } = PROPOSAL;
    const slice = (from: number, length: number) => toHex(header, from, from + length);
    const its =
      slice(at.chainId, 16) === toHex(this.chainId) &&
      slice(at.epoch, 32) === toHex(this.epoch) &&
      slice(at.incarnation, 8) === this.member.incarnation &&
      readU32(header, at.rank) === this.member.rank;
    if (!its) refuse("EVIDENCE_AUTHOR", "a proposal of another member, or of another epoch");
    this.checkSigned([Buffer.from("baash proposal\n"), header], signature);
    return { header: toHex(header), round: readU64(header, at.round) };
  }

  twoVotes(first: unknown, second: unknown): number {
    const [one, two] = [this.vote(first), this.vote(second)];
    if (one.round !== two.round) refuse("EVIDENCE_ROUNDS", "votes of two rounds");
    const otherEffects = one.effectsSlot === two.effectsSlot && one.effects !== two.effects;
    if (one.digest === two.digest && !otherEffects) {
      refuse("EVIDENCE_SAME", "votes that do not contradict each other");
    }
    return one.round;
  }

  voteAfterFreeze(first: unknown, second: unknown): number {
    const [lastVoted, effectsSlot, effects, signature] = list(first, 4);
    if (!isCount(lastVoted) || !isCount(effectsSlot)) return shape();
    if (!isBytes(effects, 32) || !isBytes(signature, 64)) return shape();
    const message = [u32(this.member.rank), u64(lastVoted), u64(effectsSlot), effects];
    this.checkSigned(
      [Buffer.from("baash answer\n"), this.chainId, this.epoch, ...message],
      signature,
    );
    const vote = this.vote(second);
    if (vote.round <= lastVoted) refuse("EVIDENCE_SAME", "a vote from before the freeze");
    return vote.round;
  }

  private vote(value: unknown) {
    const [round, digest, effectsSlot, effects, signature] = list(value, 5);
    if (!isCount(round) || !isCount(effectsSlot)) return shape();
    if (!isBytes(digest, 32) || !isBytes(effects, 32) || !isBytes(signature, 64)) return shape();
    const message = [u64(round), u32(this.member.rank), digest, u64(effectsSlot), effects];
    this.checkSigned(
      [Buffer.from("baash vote\n"), this.chainId, this.epoch, ...message],
      signature,
    );
    return { round, effectsSlot, digest: toHex(digest), effects: toHex(effects) };
  }

  private checkSigned(message: Uint8Array[], signature: Uint8Array): void {
    if (isSignedBy(this.member.publicKey, Buffer.concat(message), signature)) return;
    refuse("EVIDENCE_SIGNATURE", `rank ${this.member.rank} did not sign what it is accused of`);
  }
}

function list(value: unknown, length: number): unknown[] {
  return Array.isArray(value) && value.length === length ? value : shape();
}

function shape(): never {
  return refuse("EVIDENCE_SHAPE", "a statement of another shape");
}

function isBytes(value: unknown, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  writeU32(bytes, 0, value);
  return bytes;
}

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeU64(bytes, 0, value);
  return bytes;
}
