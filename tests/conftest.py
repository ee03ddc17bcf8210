"""What every test needs of the process that it runs in."""

import signal

# A shell that starts tests in the background ignores Ctrl-C for them, and every process that a test
# starts would inherit that; the tests of Ctrl-C need what a user's terminal gives.
signal.signal(signal.SIGINT, signal.default_int_handler)
