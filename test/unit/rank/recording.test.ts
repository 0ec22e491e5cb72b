/** What a rank takes its own record for, when storage refused another one of the same slot before. */
import { expect, test } from "bun:test";
import { toHex } from "../../../src/base/bytes.ts";
import { BaashError } from "../../../src/base/errors.ts";
import type { Effect } from "../../../src/consensus/effects.ts";
import type { RankContext } from "../../../src/rank/context.ts";
import type { Recording } from "../../../src/rank/recording.ts";
import { turn } from "../../../src/simulation/virtual-clock.ts";
import { LiarsWorld } from "../../support/liars-world.ts";

type Link = Extract<Effect, { type: "link" }>;

/** A rank of a running job, whose storage answers what it is told, and what its core never hears. */
function detached(world: LiarsWorld) {
  const { loop } = world.job.ranks[1];
  const context = loop!.context as RankContext & { emit: () => void };
  const { epoch } = loop as unknown as { epoch: { performer: { recording: Recording } } };
  context.emit = () => {};
  return { context, recording: epoch.performer.recording };
}

for (const kind of ["SEAL", "INTENT"] as const)
  test(`a ${kind} that storage refused is not what the next record of the slot is`, async () => {
    let outcome: { before: string; after: string; intent: unknown } | undefined;
    const check = async (world: LiarsWorld) => {
      const { context, recording } = detached(world);
      const { chain, storage } = context;
      const slot = chain.slot + 1;
      const prevHash = chain.hash;
      const refused = {
        ...{ type: "link", kind, slot, prevHash, settlement: [] },
        ...{ answers: [0, 1], answered: [0, 1], evict: [2], admit: [], deadlineMs: 100 },
      } as unknown as Link;
      storage.append = async () => {
        throw new BaashError("STORAGE_IO", "nothing was published");
      };
      recording.link(refused);
      await turn();
      const hash = new Uint8Array(32).fill(7);
      storage.append = async () => ({ won: true, hash, bytes: 1 });
      recording.link({ type: "link", kind: "NOOP", slot, prevHash, settlement: [] } as Link);
      await turn();
      const before = chain.epoch.hash;
      chain.advance(slot, toHex(hash));
      recording.takeEffect({ slot, prevHash }, toHex(hash), undefined);
      const intent = chain.intentOf(context.session.incarnation);
      outcome = { before, after: chain.epoch.hash, intent };
    };
    let checked: Promise<void> | undefined;
    await new LiarsWorld({
      ...{ liars: [], quorum: "majority", ranks: 3, loadMs: 50 },
      meanwhile: (world) => {
        checked = check(world);
        world.job.crash(1, false);
      },
    }).run();
    await checked;
    expect(outcome?.after).toBe(outcome!.before);
    expect(outcome?.intent).toBeUndefined();
  }, 60_000);
