/** The member list of the epoch that a SEAL installs. */
import type { Member } from "../ledger/settlement.ts";
import { MEMBERS_MAX } from "../limits.ts";
import type { BareMember } from "./authority.ts";
import type { Roster } from "./roster.ts";

/**
 * Who stays keeps the order; who is admitted comes after. Numbers change, so each member is to be
 * certified anew. A candidate whose card is not here is left out: it asks again.
 */
export function nextMembers(
  members: readonly Member[],
  change: { evict: readonly number[]; admit: readonly string[] },
  { roster }: { readonly roster: Roster },
): BareMember[] {
  const staying = members.filter(({ rank }) => !change.evict.includes(rank));
  const admitted = change.admit
    .map((incarnation) => roster.get(incarnation)?.member)
    .filter((member): member is Member => member !== undefined);
  return [...staying, ...admitted].slice(0, MEMBERS_MAX).map((member, rank) => ({
    rank,
    incarnation: member.incarnation,
    publicKey: member.publicKey,
    host: member.host,
    former: { rank: member.rank, certificate: member.certificate },
  }));
}

/** Members of a record are views into its bytes, which are large: what lives on is copied. */
export function copyMembers(members: readonly Member[]): Member[] {
  return members.map(({ rank, incarnation, publicKey, host, certificate }) => ({
    rank,
    incarnation: incarnation.slice(),
    publicKey: publicKey.slice(),
    host,
    certificate: certificate.slice(),
  }));
}
