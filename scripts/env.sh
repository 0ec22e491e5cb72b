# Sourced by the scripts here, by bash: finds Bun and prepares the environment for MPI. Sets
#   PROJECT  the folder of this project
#   BUN      a Bun that is new enough; empty when there is none yet (scripts/setup brings it)
# and puts BUN's folder first on PATH, so that every rank of a job runs the same Bun.

PROJECT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
export PROJECT

# The version that package.json pins: "engines": { "bun": ">=X.Y.Z" }. Prints X.Y.Z.
pinned_bun() {
  local text
  text=$(<"$PROJECT/package.json")
  [[ $text =~ \"bun\":[[:space:]]*\"\>=([0-9]+\.[0-9]+\.[0-9]+)\" ]] || return 1
  printf '%s\n' "${BASH_REMATCH[1]}"
}

# Whether version $1 is at least version $2.
version_at_least() {
  local -a have want
  IFS=. read -ra have <<<"${1%%-*}"
  IFS=. read -ra want <<<"$2"
  local i
  for i in 0 1 2; do
    ((${have[i]:-0} > ${want[i]:-0})) && return 0
    ((${have[i]:-0} < ${want[i]:-0})) && return 1
  done
  return 0
}

# Prints the first Bun that runs and is new enough: $BUN, the one on PATH, the project's own.
find_bun() {
  local pinned candidate version
  pinned=$(pinned_bun) || return 1
  for candidate in "${BUN:-}" "$(type -P bun)" "$PROJECT/.bun/node_modules/.bin/bun"; do
    [[ -n $candidate && -x $candidate ]] || continue
    version=$("$candidate" --version 2>/dev/null) || continue
    [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+ ]] || continue
    version_at_least "$version" "$pinned" && printf '%s\n' "$candidate" && return 0
  done
  return 1
}

BUN=$(find_bun) || BUN=
export BUN
if [[ -n $BUN && ${PATH%%:*} != "${BUN%/*}" ]]; then export PATH="${BUN%/*}:$PATH"; fi

# Open MPI refuses to run as root unless it is told twice. MPICH ignores both.
if [[ $EUID -eq 0 ]]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

# For `mpirun` by hand, with Open MPI: more ranks than cores are welcome and give their core away
# when idle, and a rank, which has threads of its own, is not bound to one core. What is set stays.
export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe:-1}
export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy:-none}
export OMPI_MCA_mpi_yield_when_idle=${OMPI_MCA_mpi_yield_when_idle:-1}
