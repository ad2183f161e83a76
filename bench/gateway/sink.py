"""The upstream of uploads: reads whole bodies, throws them away, then answers 200.

nginx would answer before it has read the body, and a static file server would measure its disk.
MSG_TRUNC makes the kernel drop the bytes instead of copying them here, so that what is measured is
the proxy. Usage: sink.py PORT
"""

import socket
import sys
import threading

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SCRATCH = bytearray(1 << 20)


class Closed(Exception):
    """The peer has gone."""


class Connection:
    """One connection of a proxy, request after request."""

    def __init__(self, peer):
        self.peer = peer
        self.buffer = b""

    def more(self):
        data = self.peer.recv(65536)
        if not data:
            raise Closed
        self.buffer += data

    def until(self, mark):
        while mark not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(mark, 1)
        return head

    def drop(self, length):
        here = min(length, len(self.buffer))
        self.buffer = self.buffer[here:]
        length -= here
        while length:
            dropped = self.peer.recv_into(SCRATCH, min(length, len(SCRATCH)), socket.MSG_TRUNC)
            if not dropped:
                raise Closed
            length -= dropped

    def drop_chunks(self):
        while True:
            size = int(self.until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                while self.until(b"\r\n"):
                    pass
                return
            self.drop(size + 2)

    def serve(self):
        try:
            while True:
                lines = self.until(b"\r\n\r\n").lower().split(b"\r\n")[1:]
                headers = dict(line.split(b":", 1) for line in lines)
                if b"100-continue" in headers.get(b"expect", b""):
                    self.peer.sendall(CONTINUE)
                if b"chunked" in headers.get(b"transfer-encoding", b""):
                    self.drop_chunks()
                else:
                    self.drop(int(headers.get(b"content-length", b"0")))
                self.peer.sendall(ANSWER)
        except (Closed, OSError):
            pass
        finally:
            self.peer.close()


def main():
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024) as listener:
        while True:
            peer, _ = listener.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Connection(peer).serve, daemon=True).start()


if __name__ == "__main__":
    main()
