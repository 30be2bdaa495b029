"""One file over HTTP: resumed where it stopped, and handed over only if it is the right one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DownloadError", "ResumingDownloader"]

#: Bytes read at a time; a chunk that the connection ends in is lost.
_CHUNK = 1 << 16
_ATTEMPTS = 4
#: Seconds to connect, and to wait for the next bytes.
_TIMEOUT_S = (10.0, 60.0)
#: Seconds before the second attempt; each further one waits this much longer.
_PAUSE_S = 1.0


class DownloadError(Exception):
    """The file could not be had from one address; the message says why, without the address."""


class _InterruptedError(Exception):
    """The connection ended early; what came so far is kept."""


@dataclass(slots=True)
class ResumingDownloader:
    """A downloader for `pooch.retrieve`.

    What has come stays in `partial` if the download is cut short, and the next one goes on from there, whichever its
    address, if the size is known; else nothing would show that the halves are of two files. A server that does not
    know ranges sends everything again.

    Attributes:
        partial: where the bytes gather.
        size: of the whole file in bytes, or None if not known.
        verify: gets the complete file; raises `DownloadError` if it is the wrong one.
        say: gets a line for every further quarter.
    """

    partial: Path
    size: int | None
    verify: Callable[[Path], None]
    say: Callable[[str], None]

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Fetch `url` into `output_file`.

        Raises:
            DownloadError: there is nothing to be had, or the wrong thing, which is then removed.
            OSError: the disk is full.
        """
        if self.size is None:
            self.partial.unlink(missing_ok=True)
        resumed = self._kept() > 0
        self._fetch(url)
        try:
            self.verify(self.partial)
        except DownloadError:
            self.partial.unlink()
            if not resumed:
                raise
            # The first part may be of another file: once more, all from this address.
            self._fetch(url)
            try:
                self.verify(self.partial)
            except DownloadError:
                self.partial.unlink()
                raise
        self.partial.replace(output_file)

    def _kept(self) -> int:
        try:
            kept = self.partial.stat().st_size
        except FileNotFoundError:
            return 0
        if self.size is not None and kept > self.size:
            self.partial.unlink()
            return 0
        return kept

    def _fetch(self, url: str) -> None:
        """Fill `partial`, over several attempts as long as each brings some bytes."""
        for attempt in range(1, _ATTEMPTS + 1):
            before = self._kept()
            if before == self.size:
                return
            try:
                self._request(url, before)
            except _InterruptedError as error:
                kept = self._kept()
                if attempt == _ATTEMPTS or kept <= before:
                    raise DownloadError(f"{error}{self._outlook(kept)}") from None
                self.say(f"the connection ended after {kept:,} bytes: going on there")
                time.sleep(_PAUSE_S * attempt)
            else:
                return

    def _outlook(self, kept: int) -> str:
        """What becomes of the bytes of a download that failed, as the end of its message."""
        if self.size is None:
            self.partial.unlink(missing_ok=True)
            return ""
        return f"; {kept:,} bytes are kept, and the next try goes on there" if kept else ""

    def _request(self, url: str, offset: int) -> None:
        import requests

        # Compressed on the way, a range would be one of other bytes.
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            with requests.get(url, stream=True, timeout=_TIMEOUT_S, headers=headers) as response:
                status = response.status_code
                if offset and (status == 416 or (status == 206 and not _begins_at(response, offset))):
                    self.partial.unlink()  # its file ends before, or it has no such range: all of it then
                    self._request(url, 0)
                    return
                if status != 200 and not (offset and status == 206):
                    raise DownloadError(f"HTTP status {status} {response.reason}")
                if offset and status == 200:  # it does not know ranges and sends all
                    self._check_announced(response)
                self._store(response, offset if status == 206 else 0)
        except requests.Timeout:
            raise _InterruptedError("no answer in time") from None
        except requests.RequestException as error:
            raise _InterruptedError(_reason(error)) from None
        except UnicodeError as error:  # a host name that cannot be one
            raise DownloadError(str(error)) from None

    def _check_announced(self, response: Any) -> None:
        """Refuse what cannot be the file before it is written over the part that has come."""
        announced = response.headers.get("Content-Length", "")
        plain = response.headers.get("Content-Encoding", "identity") == "identity"
        if self.size is not None and plain and announced.isdigit() and int(announced) != self.size:
            raise DownloadError(f"is not the expected file: it has {int(announced):,} bytes instead of {self.size:,}")

    def _store(self, response: Any, offset: int) -> None:
        """Write the body of `response` from `offset` on."""
        announced = response.headers.get("Content-Length", "")
        total = self.size or (offset + int(announced) if announced.isdigit() else None)
        done, quarters = offset, 4 * offset // total if total else 0
        with self.partial.open("ab") as stream:
            stream.truncate(offset)
            for chunk in response.iter_content(_CHUNK):
                stream.write(chunk)
                done += len(chunk)
                if total and 4 * done // total > quarters and done < total:
                    quarters = 4 * done // total
                    self.say(f"fetched {25 * quarters} % of {total / 1e6:.1f} MB")


def _begins_at(response: Any, offset: int) -> bool:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == offset


def _reason(error: Exception) -> str:
    """The innermost cause, without the object addresses and the layers around it."""
    cause: Any = error
    while True:
        inner = getattr(cause, "reason", None) or next((one for one in cause.args if isinstance(one, Exception)), None)
        if not isinstance(inner, Exception):
            break
        cause = inner
    text = re.sub(r"^\S*Connection\([^)]*\): |^<[^>]*>: ", "", " ".join(str(cause).split()))
    return text or type(cause).__name__
