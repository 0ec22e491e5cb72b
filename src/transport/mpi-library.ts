/** Finds and loads the addon (native/mpi.cc) that fits the MPI of this job. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { configurationError } from "../base/errors.ts";
import type { MpiAddon } from "./mpi-addon.ts";

const BUILD_FOLDER = fileURLToPath(new URL("../../native/build/", import.meta.url));

/** The MPI ABI of this job: MPI libraries are not interchangeable, so there is an addon for each. */
function chooseLibrary(environment: Record<string, string | undefined>): string {
  if (environment.OMPI_COMM_WORLD_SIZE !== undefined) return "openmpi";
  const built = ["openmpi", "mpich"].filter((name) =>
    existsSync(`${BUILD_FOLDER}mpi-${name}.node`),
  );
  const launchedByMpich =
    environment.PMI_RANK !== undefined ||
    environment.PMI_FD !== undefined ||
    environment.MPI_LOCALNRANKS !== undefined;
  // Slurm's own launcher speaks PMI to both: then what is built decides.
  if (launchedByMpich && built.includes("mpich")) return "mpich";
  return built[0] ?? "openmpi";
}

/** `library`: "openmpi" or "mpich"; by the launcher's environment if absent. */
export function loadAddon(library = chooseLibrary(process.env)): MpiAddon {
  const path = `${BUILD_FOLDER}mpi-${library}.node`;
  try {
    return createRequire(import.meta.url)(path) as MpiAddon;
  } catch (cause) {
    throw configurationError(
      "ADDON_MISSING",
      `the MPI addon ${path} cannot be loaded (${String(cause)}): run scripts/setup`,
      { path },
    );
  }
}
