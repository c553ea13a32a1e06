"""
The program of `make bench-hold`'s container: a small HTTP server that needs Python's library alone.

    GET, POST /NUMBER  answers 200 after WORK_S; the number of a POST is noted in /out/posted first, once its body is there

READY_S after its start it listens, and its health check (`test -e /tmp/healthy`) succeeds. On TERM it does one of these
(ON_TERM), and notes in /out/ended when that was:

    linger  takes requests for half a second more, and ends when all are answered
    end     answers what it has, those that were not accepted yet among them, takes no other, and ends
    die     ends, with whatever it has
"""

import os
import selectors
import signal
import socket
import threading
import time
from pathlib import Path

READY_S = float(os.environ.get("READY_S", "1"))
WORK_S = float(os.environ.get("WORK_S", "0.02"))
ON_TERM = os.environ.get("ON_TERM", "end")
LINGER_S = 0.5
PORT = 80


class Server:
    def __init__(self) -> None:
        self.posted = os.open("/out/posted", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self.listener = socket.socket()
        self.open: set[threading.Thread] = set()
        self.ends_at = float("inf")

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self.on_term)
        woken, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        woken.settimeout(READY_S)
        ready_at = time.monotonic() + READY_S
        while self.ends_at == float("inf") and time.monotonic() < ready_at:
            time.sleep(0.01)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("0.0.0.0", PORT))
        self.listener.listen(512)
        self.listener.setblocking(False)
        Path("/tmp/healthy").touch()
        selector = selectors.DefaultSelector()
        for each in (self.listener, woken):
            selector.register(each, selectors.EVENT_READ)
        while (left_s := self.ends_at - time.monotonic()) > 0:
            selector.select(min(left_s, 60))
            self.accept()
        self.accept()
        self.listener.close()
        for thread in tuple(self.open):
            thread.join()

    def on_term(self, *_: object) -> None:
        Path("/out/ended").write_text(str(time.time()))
        if ON_TERM == "die":
            os._exit(143)
        self.ends_at = time.monotonic() + (LINGER_S if ON_TERM == "linger" else 0.0)

    def accept(self) -> None:
        """Take all connections that wait."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                return
            thread = threading.Thread(target=self.answer, args=(connection,))
            self.open.add(thread)
            thread.start()

    def answer(self, connection: socket.socket) -> None:
        """One request on each connection."""
        connection.settimeout(30)
        try:
            self.answered(connection)
        except OSError:
            pass  # the client left
        finally:
            connection.close()
            self.open.discard(threading.current_thread())

    def answered(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as received:
            first, length = received.readline().decode("latin-1"), 0
            if not first:
                return
            while (line := received.readline().decode("latin-1").strip()) != "":
                name, _, value = line.partition(":")
                if name.lower() == "content-length":
                    length = int(value)
            whole = len(received.read(length)) == length
        method, path, _ = first.split()
        if method == "POST" and whole:
            os.write(self.posted, f"{path.removeprefix('/')}\n".encode())
        time.sleep(WORK_S)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")


if __name__ == "__main__":
    Server().run()
