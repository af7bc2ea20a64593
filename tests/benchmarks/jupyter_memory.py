"""The memory of a student on JupyterHub: a JupyterLab server, and with it a kernel that runs a whole notebook.

Exercises are answered as in the catalogue, lessons run as they are. Read every 0.1 s: what the processes hold alone,
and their share of what they hold together (PSS), which is about what a container is charged for.

    python tests/benchmarks/jupyter_memory.py notebooks/exercises/04_measuring_a_detector.ipynb ...
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import nbformat
import psutil
from jupyter_client import BlockingKernelClient

from frcnn_lessons.exercises.catalogue import EXERCISES

PORT, MB = 8897, 2**20


def held(family: psutil.Process) -> int:
    """Bytes that a process and those below it hold."""
    total = 0
    for process in [family, *family.children(recursive=True)]:
        try:
            full = process.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(full, "pss", 0) or full.uss
    return total


class Lab:
    """JupyterLab in a folder; use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder, secrets.token_hex(8)

    def __enter__(self) -> "Lab":
        environment = os.environ | {"JUPYTER_RUNTIME_DIR": str(self.folder / "runtime")}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={PORT}"]
        command += [f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.folder}"]
        self.server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                self.ask("GET", "lab")
                return self
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("JupyterLab did not start within a minute")

    def __exit__(self, *_: object) -> None:
        self.server.terminate()
        self.server.wait()

    def ask(self, method: str, path: str, **body: object) -> bytes:
        """Ask the server as a browser does."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{PORT}/{path}",
            method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as reply:
            return bytes(reply.read())

    def run(self, notebook: nbformat.NotebookNode) -> None:
        """Run all cells in a kernel of the server."""
        kernel = json.loads(self.ask("POST", "api/kernels", name="python3"))["id"]
        client = BlockingKernelClient(connection_file=str(self.folder / "runtime" / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                client.execute_interactive(cell.source, output_hook=lambda _: None, allow_stdin=False)
        client.stop_channels()
        self.ask("DELETE", f"api/kernels/{kernel}")


def measure(path: Path) -> tuple[int, int]:
    """The server alone, and the most of all, in bytes."""
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.id in EXERCISES:
            cell.source = EXERCISES[cell.id].solution
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, folder)
        with Lab(Path(folder)) as lab:
            lab.ask("GET", f"api/contents/{path.name}")
            family = psutil.Process(lab.server.pid)
            alone = most = held(family)
            ended = threading.Event()

            def watch() -> None:
                nonlocal most
                while not ended.wait(0.1):
                    most = max(most, held(family))

            watcher = threading.Thread(target=watch)
            watcher.start()
            try:
                lab.run(notebook)
            finally:
                ended.set()
                watcher.join()
    return alone, most


if __name__ == "__main__":
    print(f"{'notebook':40}{'server alone':>16}{'with the kernel':>18}")
    for name in sys.argv[1:]:
        alone, most = measure(Path(name))
        print(f"{Path(name).parent.name + '/' + Path(name).name:40}{alone // MB:13} MB{most // MB:15} MB", flush=True)
