"""What stands for the processes of a job: it waits, and says when it is told to end."""

import signal
import sys
import time

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("SIGTERM: time for a checkpoint"))
    print("works", flush=True)
    time.sleep(60)
