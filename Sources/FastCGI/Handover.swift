// The pool's handover socket: a bound datagram socket that all workers share. A worker that sends
// an idle connection's descriptor there gives it to the worker that reads next; with no worker
// alive it waits in the socket. See unix(7), SCM_RIGHTS.

internal import EventLoop

@EventLoop final class Handover {
    let socket: Int32
    private let address: Sockets.UnixAddress

    /// Throws when the socket is not bound, or is none.
    init(socket: Int32) throws(SystemError) {
        self.socket = socket
        address = try Sockets.ownAddress(of: socket)
    }

    /// Gives a descriptor away; the caller's own copy stays open. False when the socket is full.
    func send(_ descriptor: Int32) -> Bool {
        Sockets.pass(descriptor, through: socket, to: address)
    }

    /// Takes one descriptor that a sibling gave away, or nil when there is none.
    func receive() -> Int32? {
        Sockets.receiveDescriptor(from: socket)
    }
}
