"""The command line: the only place that prints and exits.

Commands are loaded when they are called, so that ``pull`` does not pay for the producer's imports.
"""

import atexit
import gc
import importlib
import os
import sys
from typing import Any

import click

from tidemill import __version__
from tidemill.cli.output import complain
from tidemill.errors import ExitCode, TidemillError
from tidemill.interrupts import on_interrupt, raise_interrupt

#: Command → (module below tidemill.cli, attribute, help in one line).
COMMANDS = {
    "plan": ("produce", "plan", "Show what a run would do, and why."),
    "run": ("produce", "run", "Build what is not up to date; release; move the channel."),
    "release": ("produce", "release", "Release what the store holds, and move the channel."),
    "status": ("inspect", "status", "Show the last run of a pipeline."),
    "explain": ("inspect", "explain", "Why an address is or is not up to date."),
    "log": ("records", "log", "Print the log of an action."),
    "repro": ("records", "repro", "Rebuild an action's work folder and run it again."),
    "ls": ("consume", "ls", "List released artifacts."),
    "show": ("consume", "show", "Show artifacts with their verdicts and records."),
    "pull": ("pulling", "pull", "Copy released artifacts to a folder, verified."),
    "transcribe": ("transcribe", "transcribe", "Write down speech with released programs alone."),
    "image": ("image", "image", "Draw a picture with released programs alone."),
    "generate": ("generate", "generate", "Go on with a text, with a released model alone."),
    "torch-models": ("torch_models", "torch_models", "Write a release as iree-test-suites' tests."),
    "verify": ("consume", "verify", "Hash every blob that a channel's release names."),
    "channel": ("channel", "channel", "List, promote, roll back, pin and sign channels."),
    "manifest": ("workspace", "manifest", "Check manifests; print their JSON Schema."),
    "toolchain": ("workspace", "toolchain", "List, sync, pin and lint toolchains."),
    "conformance": ("conformance", "conformance", "Accept what fails of a suite of tests."),
    "diff": ("compare", "diff", "Show what changed between two releases."),
    "gc": ("retention", "gc", "Show, mark and remove what nothing keeps any more."),
    "pin": ("retention", "pin", "Keep a release or an address from gc."),
    "report": ("inspect", "report", "Write a run's reports to a folder."),
    "doctor": ("doctor", "doctor", "Say what this host can do and what is missing."),
}


class _LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(
            importlib.import_module(f"tidemill.cli.{module}"), attribute
        )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, _, about) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            ctx.fail(f"no command '{args[0]}'; `tidemill --help` lists them")
        return super().resolve_command(ctx, args)


@click.command(
    cls=_LazyGroup,
    name="tidemill",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 good, 2 manifest or usage, 3 a tool failed, 4 numerics, 5 store or"
    " infrastructure, 130 interrupted.",
)
@click.version_option(__version__, prog_name="tidemill")
def group(**_options: Any) -> None:
    """Produce, validate and publish compiled-model artifacts (MLIR, IRPA, VMFB)."""


def main() -> None:
    """Run the command line and exit with the code that docs/guide.md lists."""
    on_interrupt(raise_interrupt)
    # A big plan makes a million objects that live to its end: looking for garbage among them every
    # 700 objects, and once more at the end, takes a fifth of its time.
    gc.set_threshold(1_000_000)
    atexit.register(gc.freeze)
    try:
        code = group.main(standalone_mode=False)
    except click.exceptions.Abort:
        complain("interrupted: running steps were ended; what was finished is kept")
        sys.exit(ExitCode.INTERRUPTED)
    except KeyboardInterrupt:
        complain("interrupted: running steps were ended; what was finished is kept")
        sys.exit(ExitCode.INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except TidemillError as error:
        complain(f"error: {error.message}", hint=error.hint)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        complain(
            f"error: this command needs the Python package '{error.name}'",
            hint="Install the producer's half: pip install 'tidemill[producer]'",
        )
        sys.exit(ExitCode.USAGE)
    except BrokenPipeError:
        # The reader of our output has gone; nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.GOOD)
    except OSError as error:
        complain(f"error: {error}", hint="See to that file or disk, then run the same again.")
        sys.exit(ExitCode.STORE)
    sys.exit(code if isinstance(code, int) else ExitCode.GOOD)
