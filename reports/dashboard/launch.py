"""Starting the dashboard: a Streamlit server of its own, bound to this machine."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from evalkit.errors import MissingExtraError, RunError, UsageError

_APP = Path(__file__).with_name("app.py")
_PORTS_TRIED = 20
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK SC', sans-serif"
_SETTINGS = {
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorLinks": "false",
    "logger.level": "warning",
    "runner.magicEnabled": "false",
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": "false",
    "theme.font": _FONT,
    "theme.headingFont": _FONT,
    "theme.baseRadius": "6px",
    "theme.metricValueFontSize": "1.6rem",
    "theme.light.primaryColor": "#35618e",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f5f6f8",
    "theme.light.textColor": "#1d2129",
    "theme.light.borderColor": "#e3e6eb",
    "theme.dark.primaryColor": "#8fb0d3",
    "theme.dark.backgroundColor": "#14171c",
    "theme.dark.secondaryBackgroundColor": "#1d2127",
    "theme.dark.textColor": "#e8eaee",
    "theme.dark.borderColor": "#30353d",
}


def launch(
    runs_root: Path,
    *,
    comparison: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8501,
    open_browser: bool = True,
) -> int:
    """Serve the dashboard until it is stopped; returns the exit code.

    Raises MissingExtraError without Streamlit, UsageError when there is no such folder or no port
    is free, RunError when the server breaks.
    """
    if not runs_root.is_dir():
        raise UsageError(
            f"No folder {runs_root}: there are no runs to show. `evalkit compare base.yaml "
            "tuned.yaml` makes runs and a comparison of them in ./runs; to see others, name "
            "the folder that holds them."
        )
    if find_spec("streamlit") is None:
        raise MissingExtraError("The dashboard", "dashboard")
    free = free_port(host, port)
    if free != port:
        sys.stderr.write(f"Port {port} is taken; the dashboard uses {free}.\n")
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  compared, not bound
    shown = f"[{shown}]" if ":" in shown else shown
    sys.stderr.write(f"Dashboard: http://{shown}:{free}  (Ctrl-C stops it)\n")
    sys.stderr.flush()
    code = _serve(command(runs_root, comparison, host, free, open_browser))
    if code:
        raise RunError(
            f"The dashboard's server stopped with code {code}; what it said stands above. "
            "`evalkit doctor` tells whether its packages fit together."
        )
    return 0


def command(
    runs_root: Path, comparison: Path | None, host: str, port: int, open_browser: bool
) -> list[str]:
    """The command line of the server."""
    settings = _SETTINGS | {
        "server.address": host,
        "server.port": str(port),
        "server.headless": str(not open_browser).lower(),
    }
    flags = [part for key, value in settings.items() for part in (f"--{key}", value)]
    if _is_loopback(host):
        # A web page that resolves its own name to 127.0.0.1 must not read the answers here.
        for name in dict.fromkeys(("localhost", "127.0.0.1", "::1", host)):
            flags += ["--server.allowedHosts", name]
    chosen = ["--comparison", str(comparison.resolve())] if comparison else []
    given = ["--runs", str(runs_root.resolve()), *chosen]
    # -P: a file of the reader's own folder must not be imported in place of a package.
    return [sys.executable, "-P", "-m", "streamlit", "run", str(_APP), *flags, "--", *given]


def free_port(host: str, wanted: int) -> int:
    """The first free port from `wanted` on; UsageError when there is none near."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = min(wanted + _PORTS_TRIED, 65_536)
    for port in range(wanted, last):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the server does: a port that only waits out its last connections is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except PermissionError as error:
                raise UsageError(
                    f"Port {port} may not be used by you. Choose one above 1023 with --port."
                ) from error
            except socket.gaierror as error:
                raise UsageError(f"{host!r} is no address of this machine: {error}.") from error
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise UsageError(f"{host!r} is no address of this machine.") from error
                continue
            return port
    raise UsageError(
        f"No port from {wanted} to {last - 1} is free on {host}. Choose another with --port."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def environment() -> dict[str, str]:
    """The server's environment: it finds these packages where they are, installed or not."""
    paths = [str(_APP.parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _serve(line: list[str]) -> int:
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL, env=environment())  # noqa: S603
    try:
        return server.wait()
    except KeyboardInterrupt:
        sys.stderr.write("\nDashboard stopped.\n")
        return 0
    finally:
        _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server even where only this process was told to stop."""
    if server.poll() is not None:
        return
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(timeout=5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
