"""The ranks of one run: the key-value store by which they find each other, which rank 0 keeps until its process ends."""

import os
import socket


def log_one_disconnect():
    """Open and close one connection to the store, on rank 0 of several; before any rank may leave.

    Paddle's listener logs the end of a connection, and glog prepares a line of the log, the first time, under a lock.
    If that first time comes when another rank leaves a little later than rank 0, whose libraries are being taken down
    by then, the lock is gone and glog aborts: the launcher says "Exit code -6" of a run that has saved everything.
    """
    address = os.environ.get("PADDLE_MASTER") or os.environ["PADDLE_TRAINER_ENDPOINTS"].split(",")[0]  # as Paddle asks
    host, port = address.split(":")
    socket.create_connection((host, int(port))).close()
