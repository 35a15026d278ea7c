"""Tests of the sources of names: files, the embedded file, the download."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from makemore_lightning import names
from makemore_lightning.errors import InputError
from makemore_lightning.names import NameList

ROOT = Path(__file__).parents[2]


def write(folder: Path, content: bytes) -> Path:
    path = folder / "some.txt"
    path.write_bytes(content)
    return path


class TestRead:
    def test_plain(self, tmp_path: Path) -> None:
        assert names.read(write(tmp_path, b"emma\nava\n")).names == ("emma", "ava")

    def test_last_line_without_line_break(self, tmp_path: Path) -> None:
        assert names.read(write(tmp_path, b"emma\nava")).names == ("emma", "ava")

    def test_windows_file(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert names.read(write(tmp_path, b"\xef\xbb\xbfemma\r\nava\r\n")).names == (
            "emma",
            "ava",
        )
        assert not caplog.records

    def test_old_mac_file(self, tmp_path: Path) -> None:
        assert names.read(write(tmp_path, b"emma\rava\r")).names == ("emma", "ava")

    def test_a_combining_accent_joins_its_letter(self, tmp_path: Path) -> None:
        assert names.read(write(tmp_path, "zo\u00e9\nzoe\u0301\n".encode())).names == (
            "zo\u00e9",
            "zo\u00e9",
        )

    @pytest.mark.parametrize("character", ["\0", "\t", "\u2028"])
    def test_control_character_is_reported_with_its_line(
        self, tmp_path: Path, character: str
    ) -> None:
        with pytest.raises(
            InputError, match=r"some.txt, line 2: .* contains a control character"
        ):
            names.read(write(tmp_path, f"emma\na{character}va\n".encode()))

    def test_warning_counts_blank_lines_and_stripped_names(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        name_list = names.read(write(tmp_path, b"emma\n\n  ava \n \nmia\t\nivy\n"))
        assert name_list.names == ("emma", "ava", "mia", "ivy")
        assert name_list.lines == (1, 3, 5, 6)
        assert (
            "skipped 2 blank lines and stripped the space around 2 names" in caplog.text
        )

    def test_case_accents_and_inner_spaces_are_kept(self, tmp_path: Path) -> None:
        assert names.read(write(tmp_path, "Zoé\nMary Ann\n".encode())).names == (
            "Zoé",
            "Mary Ann",
        )

    def test_dot_is_reported_with_its_line(self, tmp_path: Path) -> None:
        with pytest.raises(
            InputError, match=r"some.txt, line 2: the name 'st.john' contains"
        ):
            names.read(write(tmp_path, b"emma\nst.john\n"))

    def test_other_encoding_is_reported_with_its_line(self, tmp_path: Path) -> None:
        with pytest.raises(
            InputError, match=r"some.txt, line 3: not UTF-8 \(byte 0xe9\)"
        ):
            names.read(write(tmp_path, "emma\nava\nzoé\n".encode("latin-1")))

    @pytest.mark.parametrize("content", [b"", b"\n", b"  \n\n"])
    def test_file_without_names(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(InputError, match="holds no name"):
            names.read(write(tmp_path, content))


def test_unique_keeps_the_first_of_equal_names_and_its_line() -> None:
    repeated = NameList(Path("x"), ("b", "a", "b", "c", "a"), (1, 2, 3, 4, 5))
    assert repeated.unique() == NameList(Path("x"), ("b", "a", "c"), (1, 2, 4))


class TestEmbedded:
    def test_located_from_any_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert names.locate("ssa2018").is_file()

    def test_file_matches_its_readme(self) -> None:
        content = names.locate("ssa2018").read_bytes()
        readme = (ROOT / "data" / "README.md").read_text()
        assert hashlib.sha256(content).hexdigest() in readme
        lines = content.decode().splitlines()
        assert len(lines) == 32_257
        assert f"{len(set(lines)):,}".replace(",", " ") in readme
        assert all(
            line.isascii() and line.isalpha() and line.islower() for line in lines
        )

    def test_contains_every_name_of_makemore(self, makemore_names: Path) -> None:
        embedded = names.read(names.locate("ssa2018")).names
        assert set(names.read(makemore_names).names) <= set(embedded)


def test_message_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nowhere.txt: no such file of names. Expected the path"
    ):
        names.locate(tmp_path / "nowhere.txt")


class Handler(http.server.BaseHTTPRequestHandler):
    content: ClassVar[bytes] = b""
    failures: ClassVar[int] = 0
    requests: ClassVar[int] = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        self.send_response(500 if self.requests <= self.failures else 200)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda _: None)  # no pause between two attempts
    Handler.requests = Handler.failures = 0
    Handler.content = b"emma\nava\n"
    http_server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http_server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http_server.server_port}/names.txt"
    http_server.shutdown()
    thread.join()
    http_server.server_close()


@pytest.fixture
def checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the expected checksum to that of the server's file."""
    monkeypatch.setattr(
        names, "MAKEMORE_SHA256", hashlib.sha256(b"emma\nava\n").hexdigest()
    )


class TestDownload:
    @pytest.mark.usefixtures("checksum")
    def test_downloads_once_into_the_cache(self, server: str) -> None:
        assert (
            names.download(server)
            == names.download(server)
            == names.locate("makemore", server)
        )
        assert Handler.requests == 1
        assert names.read(names.locate("makemore", server)).names == ("emma", "ava")

    @pytest.mark.usefixtures("checksum")
    def test_retries_after_failures(self, server: str) -> None:
        Handler.failures = 2
        assert names.download(server, retries=2).is_file()
        assert Handler.requests == 3

    @pytest.mark.usefixtures("checksum")
    def test_message_after_the_last_retry(self, server: str) -> None:
        Handler.failures = 9
        with pytest.raises(
            InputError,
            match=r'could not be fetched from http://.* in 2 tries.*names="ssa2018"',
        ):
            names.download(server, retries=1)

    def test_another_file_is_refused_and_not_cached(self, server: str) -> None:
        with pytest.raises(InputError, match="could not be fetched"):
            names.download(server, retries=0)
        with pytest.raises(InputError, match="no such file"):
            names.locate("makemore", server)

    @pytest.mark.usefixtures("server")
    def test_offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: object, **__: object) -> None:
            raise OSError("Network is unreachable")

        monkeypatch.setattr("requests.get", unreachable)
        with pytest.raises(InputError, match="Network is unreachable Go online"):
            names.download("http://127.0.0.1:9/names.txt", retries=0)

    def test_checksum_of_makemores_file(self, makemore_names: Path) -> None:
        assert (
            hashlib.sha256(makemore_names.read_bytes()).hexdigest()
            == names.MAKEMORE_SHA256
        )
