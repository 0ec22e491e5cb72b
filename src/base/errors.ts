/**
 * Coded errors of the outside world (MPI, files, workers, configuration). `code` is stable and is
 * what programs match on; `message` is one sentence for a person: what, where, why, what to do.
 */

/** Exit codes of every command here, after sysexits(3) where one fits. Documented in README.md. */
export const EXIT = {
  ok: 0,
  /** The work was done and its result is bad: verification failed, a promise was broken. */
  failed: 1,
  /** The command line was wrong. */
  usage: 2,
  /** What had to come did not come: a promise of progress was broken, and nothing else. */
  stalled: 3,
  /** A service that is needed did not answer (sysexits EX_UNAVAILABLE). */
  unavailable: 69,
  /** A bug of ours (EX_SOFTWARE). */
  software: 70,
  /** A file could not be read or written (EX_IOERR). */
  io: 74,
  /** The ledger is in use by another job (EX_TEMPFAIL): try again later. */
  busy: 75,
  /** The configuration or the ledger directory does not fit (EX_CONFIG). */
  configuration: 78,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export class BaashError extends Error {
  override name = "BaashError";
  readonly code: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly exitCode: ExitCode;

  constructor(
    code: string,
    message: string,
    options: { data?: Record<string, unknown>; exitCode?: ExitCode; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.data = options.data ?? {};
    this.exitCode = options.exitCode ?? EXIT.software;
  }
}

/** What a process ends with because of `error`: anything that is not coded is a bug of ours. */
export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof BaashError ? error.exitCode : EXIT.software;
}

/** A configuration error (exit 78): the sentence says what, where and what to do. */
export function configurationError(code: string, message: string, data?: Record<string, unknown>) {
  return new BaashError(code, message, { exitCode: EXIT.configuration, ...(data && { data }) });
}

/** A usage error (exit 2). */
export function usageError(code: string, message: string, data?: Record<string, unknown>) {
  return new BaashError(code, message, { exitCode: EXIT.usage, ...(data && { data }) });
}

/** The `code` of a system error (ENOENT, EEXIST, …) or of ours; "UNKNOWN" otherwise. */
export function errorCode(error: unknown): string {
  if (error !== null && typeof error === "object" && "code" in error) return String(error.code);
  return "UNKNOWN";
}
