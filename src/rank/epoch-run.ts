/**
 * Everything that one epoch has of its own, put together: core, context, performer, reception,
 * monitor and poll. What the epoch asks of the loop goes through the ports, which know from which
 * epoch it comes: the words of one that is over are void.
 */
import type { Input } from "../consensus/effects.ts";
import { HyBE } from "../consensus/hybe.ts";
import { answersMin, winVotes } from "../ledger/judge.ts";
import type { BuildRequest } from "../queue/block-building.ts";
import type { EpochEnd, RankContext, RankShared } from "./context.ts";
import { EvidenceWatch } from "./evidence-watch.ts";
import { LogPoll } from "./log-poll.ts";
import { Monitoring } from "./monitoring.ts";
import { Performer } from "./perform.ts";
import { ProposalTable } from "./proposals.ts";
import { Reception, type Recipients } from "./reception.ts";
import { type DamagedRecord, damagedRecordOf } from "./repairing.ts";
import type { Identity } from "./roster.ts";
import type { Session } from "./session.ts";
import { Signing } from "./signing.ts";

export interface EpochRun {
  readonly context: RankContext;
  readonly performer: Performer;
  readonly reception: Reception;
  readonly monitoring: Monitoring;
  readonly poll: LogPoll;
}

export interface EpochPorts extends Recipients {
  input(from: EpochRun, input: Input): void;
  build(from: EpochRun, request: BuildRequest): void;
  sealed(from: EpochRun, end: EpochEnd): void;
  /** A record that this epoch needs is damaged. */
  damaged(record: DamagedRecord): void;
  closes(): boolean;
  /** The monitor has this rank author the SEAL without these members. */
  evict(ranks: readonly number[]): void;
}

export function openEpoch(
  shared: RankShared,
  who: { session: Session; identity: Identity },
  ports: EpochPorts,
): EpochRun {
  const { chain, settings } = shared;
  const { session } = who;
  const { self, ranks } = session;
  const { quorum } = chain.genesis;
  const answers = answersMin(ranks, quorum);
  const core = new HyBE({
    epoch: { self, ranks, winVotes: winVotes(ranks, quorum), answersMin: answers },
    timing: settings.timing,
    pipelineDepth: settings.pipelineDepth,
    storageOn: settings.storageOn,
    minoritySeals: quorum === "majority",
    head: { slot: chain.slot, hash: chain.hash },
    settled: chain.settledRound,
  });
  const isSigned = quorum === "byzantine";
  const signing = isSigned ? new Signing(chain.chainId, session, who.identity) : undefined;
  const context: RankContext = {
    ...shared,
    ...who,
    core,
    signing,
    watch: new EvidenceWatch({ core, session, chain, signing }, (evidence) =>
      shared.convictions.convict(evidence),
    ),
    proposals: new ProposalTable(shared.incoming, {
      ranks,
      blocksMax: settings.proposalBlocksMax,
      bytesMax: settings.proposalBytesMax,
      settled: () => core.settled,
      // Nobody may fill the queue that all share, where somebody may want to.
      shareBytesMax: signing && shared.incoming.fifo.bytes.length / ranks,
    }),
    emit: (input) => ports.input(run, input),
    build: (request) => ports.build(run, request),
    sealed: (end) => ports.sealed(run, end),
    wantRecord: (error) => {
      const record = damagedRecordOf(error);
      if (record !== undefined) ports.damaged(record);
    },
    inMinority: () => ranks - monitoring.suspects.length < answers,
    closes: () => ports.closes(),
    exception: (where) => monitoring.exception(where),
  };
  const performer = new Performer(context);
  const monitoring = new Monitoring(context, {
    send: (to, type, body) => performer.send(to, type, body),
    evict: (evicted) => ports.evict(evicted),
    suspects: (ranks) => performer.suspects(ranks),
  });
  const reception = new Reception(context, performer, monitoring, ports);
  const run = {
    context,
    performer,
    reception,
    monitoring,
    poll: new LogPoll(context, monitoring),
  };
  return run;
}
