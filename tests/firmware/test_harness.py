"""The harness itself: a small heap, the simulated hardware, and the board's HAL with the same face."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.firmware.micropython import FIRMWARE, HARDWARE, RESTARTED, FirmwareFailed, Worker, run


def face(path: Path) -> dict[str, str]:
    """Return every public function and method with its arguments, and every public constant."""
    found: dict[str, str] = {}

    def look(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
                returns = ast.unparse(node.returns) if node.returns else ""
                found[prefix + node.name] = f"({ast.unparse(node.args)}) -> {returns}"
            elif isinstance(node, ast.ClassDef):
                look(node.body, node.name + ".")
            elif isinstance(node, ast.Assign) and not prefix:
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id.isupper() and not target.id.startswith("_"):
                        found[target.id] = "constant"

    look(ast.parse(path.read_text()).body, "")
    return found


def test_the_simulated_hal_has_the_face_of_the_boards() -> None:
    board, simulated = face(FIRMWARE / "hal.py"), face(HARDWARE / "hal.py")
    assert {name: what for name, what in simulated.items() if not name.startswith("Board.")} == board
    assert len(board) > 30


def test_only_the_hal_imports_hardware() -> None:
    hardware = {"machine", "esp32", "network", "bluetooth", "esp"}
    for path in FIRMWARE.rglob("*.py"):
        if path.name == "hal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not hardware.intersection(names), path.name


def test_a_run_has_the_heap_of_a_board(tmp_path: Path) -> None:
    script = tmp_path / "greedy.py"
    script.write_text("import gc\nprint('[%d]' % (gc.mem_free() + gc.mem_alloc()))\n")
    assert 120_000 < run(script)[0][0] <= 160 * 1024
    script.write_text("held = bytearray(200 * 1024)\n")
    with pytest.raises(FirmwareFailed, match="MemoryError"):
        run(script)


def test_a_restart_ends_the_process_with_its_own_status(tmp_path: Path) -> None:
    script = tmp_path / "restart.py"
    script.write_text("import hal\nhal.restart()\n")
    assert run(script, status=RESTARTED) == []


def test_the_worker_answers_and_survives_errors(worker: Worker) -> None:
    assert worker.call("hal", "ticks_diff", 5, (1 << 30) - 5) == {"answer": 10}
    assert worker.call("hal", "ticks_diff", "a", 5) == {"error": "TypeError"}
    assert worker.call("binascii", "crc32", b"123456789") == {"answer": 0xCBF43926}
