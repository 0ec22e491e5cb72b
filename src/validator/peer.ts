/**
 * Who is at the other end of a Unix socket, as the kernel knows it (SO_PEERCRED): what decides whether
 * a connection is taken, whatever the mode of the socket's file.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

const { symbols } = dlopen("libc.so.6", {
  getsockopt: {
    args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.ptr],
    returns: FFIType.i32,
  },
});

export interface Peer {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** As of when it connected; undefined where the kernel does not say. */
export function peerOf(socket: { readonly fd: number }): Peer | undefined {
  const credentials = new Int32Array(3);
  const length = new Uint32Array([credentials.byteLength]);
  const { fd } = socket;
  const failed = symbols.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ptr(credentials), ptr(length));
  if (failed !== 0 || length[0] !== credentials.byteLength) return undefined;
  const [pid, uid, gid] = credentials;
  return { pid, uid: uid >>> 0, gid: gid >>> 0 };
}
