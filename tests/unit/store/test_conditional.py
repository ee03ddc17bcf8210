"""Writes that depend on what is there: on the embedded server, and on servers that answer oddly."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from uae.errors import StoreError
from uae.store.conditional import ChangedObject, UnconditionalStore
from uae.store.faults import Backoff
from uae.store.s3 import Store


def test_only_what_was_read_is_replaced(store):
    assert store.get_versioned("a/b.json") is None
    store.replace_json("a/b.json", {"value": 1}, replaces=None)
    with pytest.raises(ChangedObject, match=r"a/b\.json was changed by somebody else"):
        store.replace_json("a/b.json", {"value": 2}, replaces=None)
    first = store.get_versioned("a/b.json")
    store.replace_json("a/b.json", {"value": "ä"}, replaces=first.etag)
    with pytest.raises(ChangedObject):
        store.replace_json("a/b.json", {"value": 3}, replaces=first.etag)
    store.delete("a")
    with pytest.raises(ChangedObject):
        store.replace_json("a/b.json", {"value": 3}, replaces=first.etag)


def test_of_many_at_once_one_wins(store):
    store.put_json("x", 0)
    etag = store.get_versioned("x").etag
    won = []

    def write(number):
        try:
            store.replace_json("x", number, replaces=etag)
            won.append(number)
        except ChangedObject:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.get_json("x")] == won


@pytest.fixture
def odd_store():
    """A store that answers every PUT as told, one status after another, 0 hangs up."""
    statuses = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            status = statuses.pop(0)
            body = b"<Error><Code>AccessDenied</Code></Error>" if status == 403 else b""
            if status:
                self.send_response(status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def do_GET(self):  # in which region the bucket lies
            body = b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    backoff = Backoff(attempts=3, first_delay_seconds=0.01)
    host = f"127.0.0.1:{server.server_port}"
    yield Store(host, "uae", "key", "s3cret", False, backoff=backoff), statuses
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("answers", "error", "words"),
    [
        ([503, 0, 200], None, ""),
        ([409], ChangedObject, "read it again"),
        ([501], UnconditionalStore, "cannot replace x conditionally"),
        ([403], StoreError, "credentials refused"),
        ([500, 500, 500], StoreError, "in 3 attempts"),
        ([400], StoreError, "the server answered 400"),
    ],
)
def test_odd_answers(odd_store, answers, error, words):
    store, statuses = odd_store
    statuses += answers
    if error is None:
        store.replace_json("x", 1, replaces=None)
    else:
        with pytest.raises(error, match=words) as caught:
            store.replace_json("x", 1, replaces='"tag"')
        assert "s3cret" not in str(caught.value)
        assert "Signature=" not in str(caught.value)
    assert statuses == []
