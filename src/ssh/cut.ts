import type { Socket } from "node:net"

/**
 * Closes a socket with RST: what is still in a buffer is not sent. One that has been ended already is closed as it is:
 * libuv refuses to reset it, and Node 24 then leaks its descriptor and spins at the end of the process.
 */
export function cut(socket: Socket): void {
  if (socket.writableEnded || socket.connecting) socket.destroy()
  else socket.resetAndDestroy()
}
