/** Rank 1 ends before it opens MPI; the others are told that nobody can wait for it. */
import { errorCode } from "../../../src/base/errors.ts";
import { openInbox } from "./program.ts";

const rank = Number(process.env.OMPI_COMM_WORLD_RANK);
if (rank === 1) process.exit(1);
const code = await openInbox({ openDeadlineMs: 1500 }).then(() => "opened", errorCode);
await Bun.write(Bun.stdout, `${JSON.stringify({ rank, code })}\n`);
process.exit(69);
