/** Lets each deliberate bug (mutations.ts) loose on seeds until a checker finds it. */
import { simulate } from "./cluster.ts";
import { type Mutation, withBug } from "./mutations.ts";
import { planOf } from "./plan.ts";

/** No bug needs more seeds: what is found later is found by chance. */
export const SEEDS_MAX = 20;

export interface Hunt {
  readonly mutation: Mutation;
  /** Of the checker that found it; undefined: none did. */
  readonly rule: string | undefined;
  /** Runs until then. */
  readonly seeds: number;
  readonly isCaught: boolean;
}

export async function hunt(mutation: Mutation): Promise<Hunt> {
  const { faults = "calm", ranks = 3, rules } = mutation;
  for (let seed = 1; seed <= SEEDS_MAX; seed++) {
    const plan = planOf(seed, { scenario: faults, ranks, brief: true });
    const { violation } = await simulate(mutation.change?.(plan) ?? plan, withBug(mutation));
    if (violation === undefined) continue;
    const { rule } = violation;
    return { mutation, rule, seeds: seed, isCaught: rules.includes(rule) };
  }
  return { mutation, rule: undefined, seeds: SEEDS_MAX, isCaught: false };
}
