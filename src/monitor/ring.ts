/**
 * Who watches whom. Members stand in a ring by their index; each is watched by the next few that
 * are not believed dead, so that traffic grows with N and neighbours that die together are seen by
 * those that follow.
 */

/** Watchers of a member: three may die with it, in one step, and it is still found at the next. */
export const OBSERVERS = 3;

/** The next `count` members after `self` in direction `step` (1 or -1) for which `isOut` is false. */
export function neighbours(
  ring: { readonly self: number; readonly ranks: number; readonly count: number },
  step: 1 | -1,
  isOut: (rank: number) => boolean,
): number[] {
  const { self, ranks, count } = ring;
  const found: number[] = [];
  for (let distance = 1; distance < ranks && found.length < count; distance++) {
    const rank = (self + step * distance + ranks) % ranks;
    if (!isOut(rank)) found.push(rank);
  }
  return found;
}

/** The other members on the host of `self`, in ring order: what a ProcessWatch is given. */
export function successorsOnHost(self: number, hosts: readonly string[]): number[] {
  const ring = { self, ranks: hosts.length, count: hosts.length };
  return neighbours(ring, 1, (rank) => hosts[rank] !== hosts[self]);
}
