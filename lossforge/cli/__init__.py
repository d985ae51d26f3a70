"""The command line; commands import what they need when run, so that ``--help`` and ``presets`` import no torch."""

from __future__ import annotations

import contextlib
import errno
import importlib
import signal
import sys
from typing import Any, NoReturn

import click

from lossforge.causes import causes
from lossforge.cli.interrupt import interrupted_by, is_interrupt
from lossforge.errors import LossforgeError, PluginError
from lossforge.stdio import Progress, Results
from lossforge.version import __version__

COMMANDS = {
    "run": "lossforge.cli.run:run",
    "resume": "lossforge.cli.run:resume",
    "runs": "lossforge.cli.runs:runs",
    "train": "lossforge.cli.train:train",
    "compare": "lossforge.cli.compare:compare",
    "gap": "lossforge.cli.gap:gap",
    "correlate": "lossforge.cli.correlate:correlate",
    "ablate": "lossforge.cli.ablate:ablate",
    "explain": "lossforge.cli.explain:explain",
    "validate": "lossforge.cli.specs:validate",
    "show": "lossforge.cli.specs:show",
    "schema": "lossforge.cli.schema:schema",
    "presets": "lossforge.cli.presets:presets",
    "plugins": "lossforge.cli.plugins:plugins",
    "report": "lossforge.cli.results:report",
    "export": "lossforge.cli.results:export",
}
INTERRUPTED = 130


class LossforgeGroup(click.Group):
    """Loads a command's module when the command is asked for, and turns our errors into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line; exit with 0 done, 1 crash, 2 bad spec or usage, 3 plugin failure, 130 interrupted."""
        kwargs["standalone_mode"] = False
        if sys.stdout is None:  # whatever is opened next would take its place, and get what is printed
            click.echo("error: standard output: closed; send it to /dev/null if it is not wanted", err=True)
            sys.exit(1)
        results = Results(sys.stdout)
        progress = contextlib.nullcontext() if sys.stderr is None else contextlib.redirect_stderr(Progress(sys.stderr))
        with contextlib.redirect_stdout(results), progress:
            self._exit(results, *args, **kwargs)

    def _exit(self, results: Results, *args: Any, **kwargs: Any) -> NoReturn:
        try:
            with interrupted_by(signal.SIGINT):
                code = super().main(*args, **kwargs)
                sys.stdout.flush()
                sys.exit(code)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except LossforgeError as error:
            for line in str(error).splitlines():
                click.echo(f"error: {line}" if error.exit_code != INTERRUPTED else line, err=True)
            sys.exit(error.exit_code)
        except (Exception, KeyboardInterrupt) as error:
            if results.error is not None and any(each is results.error for each in causes(error)):
                results.drop()
                if results.error.errno != errno.EPIPE:  # whoever has read enough needs no telling
                    click.echo(f"error: standard output: {results.error.strerror}", err=True)
                sys.exit(1)
            if not (isinstance(error, click.Abort) or is_interrupt(error)):
                _exit_if_spoilt(error)
                raise
            click.echo("interrupted", err=True)
            sys.exit(INTERRUPTED)


def _exit_if_spoilt(error: BaseException) -> None:
    """Exit as with a failed plugin where torch or pydantic has stumbled over the entry points of another package."""
    from lossforge.installed import spoilers

    found = spoilers(error)
    for each in found:
        click.echo(f"error: package {each.distribution}: {each.text}; reinstall or remove it", err=True)
    if found:
        sys.exit(PluginError.exit_code)


@click.group(cls=LossforgeGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lossforge")
def main() -> None:
    """Search for loss functions: evolve one on synthetic predictions, train with it, see whether it wins.

    \b
    Start here:
      lossforge run edl                 evolve a loss with a preset, in seconds
      lossforge presets copy edl my.yaml
      lossforge run my.yaml --set search.generations=300
    """
