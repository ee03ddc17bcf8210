import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from uae.errors import EvaluationError
from uae.evaluation.prompt_files import read_prompt_file
from uae.recipe import PromptFile


@pytest.fixture(scope="module")
def server():
    """Answers /prompts, /page (HTML), /busy (503 twice, then prompts) and 404."""

    class Handler(BaseHTTPRequestHandler):
        busy = 2

        def do_GET(self):
            status, body = 200, b'{"prompt": "a"}\n'
            path = self.path.partition("?")[0]
            if path == "/page":
                body = b"\n<!DOCTYPE html><html></html>"
            elif path == "/busy" and Handler.busy:
                Handler.busy -= 1
                status, body = 503, b""
            elif path == "/gone":
                status, body = 404, b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def read(source, sha256=None, **more):
    return read_prompt_file(PromptFile(source=str(source), sha256=sha256), **more)


def test_byte_order_mark_and_windows_line_ends_go_and_the_hash_is_of_the_bytes(tmp_path):
    content = b"\xef\xbb\xbfa\r\nb\rc\n"
    path = tmp_path / "prompts"
    path.write_bytes(content)
    found = read(path, hashlib.sha256(content).hexdigest())
    assert found.text == "a\nb\nc\n"
    assert found.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe\x00", "is not UTF-8")],
)
def test_what_is_no_text_is_refused(tmp_path, content, says):
    path = tmp_path / "prompts"
    path.write_bytes(content)
    with pytest.raises(EvaluationError, match=says):
        read(path)


def test_another_content_and_a_missing_file_are_refused(tmp_path):
    path = tmp_path / "prompts"
    path.write_text("a")
    with pytest.raises(EvaluationError, match=r"the recipe asks for 0{64}: another version"):
        read(path, "0" * 64)
    with pytest.raises(EvaluationError, match="no prompt file at"):
        read(tmp_path / "none")
    with pytest.raises(EvaluationError, match="give the store's endpoint"):
        read("s3://bucket/key")


def test_an_address_is_read_and_tried_again_while_the_server_is_busy(server):
    assert read(f"{server}/prompts").text == '{"prompt": "a"}\n'
    assert read(f"{server}/busy").text == '{"prompt": "a"}\n'


def test_what_signs_an_address_is_not_shown(server):
    found = read(f"{server}/prompts?X-Amz-Signature=secret#part")
    assert found.source == f"{server}/prompts"
    with pytest.raises(EvaluationError) as caught:
        read(f"{server.replace('http://', 'http://user:secret@')}/gone?key=secret")
    assert "secret" not in str(caught.value)
    with pytest.raises(EvaluationError) as caught:
        read("http://127.0.0.1:1/?key=secret")
    assert "secret" not in str(caught.value)


def test_a_web_page_and_a_missing_one_are_no_prompt_file(server):
    with pytest.raises(EvaluationError, match="is a web page: give the address of the file itself"):
        read(f"{server}/page")
    with pytest.raises(EvaluationError, match="the server answers 404"):
        read(f"{server}/gone")
    with pytest.raises(EvaluationError, match=r"cannot read http://127\.0\.0\.1:1/"):
        read("http://127.0.0.1:1/")
