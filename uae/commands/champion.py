"""`uae champion / promote / rollback`: the registry of promoted models in a bucket."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from uae.commands.options import Commands, add_run_root
from uae.errors import RunError

if TYPE_CHECKING:
    from uae.export.registry import Champion
    from uae.store.s3 import Store

STORE_FOLDER = "store"  # the embedded store's, in the run root


def add_commands(commands: Commands) -> None:
    """Add the commands of this group."""
    champion = commands.add_parser("champion", help="show the promoted model and those before it")
    _add_store(champion)
    champion.set_defaults(command=_champion)

    promote = commands.add_parser("promote", help="make a run's exported model the champion")
    promote.add_argument("run_id", help="the run, as it stands in the bucket")
    promote.add_argument(
        "--force",
        action="store_true",
        help="although the gate refused it; needs --reason; default: obey the gate",
    )
    _add_reason(promote)
    _add_store(promote)
    _add_model_registry(promote)
    promote.set_defaults(command=_promote)

    rollback = commands.add_parser("rollback", help="bring an earlier champion back")
    rollback.add_argument(
        "--to", metavar="RUN_ID", help="one of the history; default: the one before the champion"
    )
    _add_reason(rollback)
    _add_store(rollback)
    _add_model_registry(rollback)
    rollback.set_defaults(command=_rollback)


def _add_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", help="goes into the history; default: none")


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--endpoint", help="address of an S3 store; default: the embedded one of the run root"
    )
    parser.add_argument("--bucket", default="uae", help="bucket; default: %(default)s")
    add_run_root(parser)


def _add_model_registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-registry",
        metavar="URL",
        help="Kubeflow Model Registry in which the champion is registered; default: none",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        help="file with a bearer token for that registry; default: none",
    )


def _champion(options: argparse.Namespace) -> None:
    from uae.export.history_text import describe_history
    from uae.export.registry import read_history

    with _store(options) as store:
        print(describe_history(read_history(store), store.bucket))


def _promote(options: argparse.Namespace) -> None:
    from uae.export.hand import promote_by_hand

    with _store(options) as store:
        promoted = promote_by_hand(
            store, options.run_id, force=options.force, reason=options.reason
        )
        _report(options, store, promoted)


def _rollback(options: argparse.Namespace) -> None:
    from uae.export.hand import roll_back

    with _store(options) as store:
        _report(options, store, roll_back(store, options.to, reason=options.reason))


def _report(options: argparse.Namespace, store: Store, champion: Champion) -> None:
    """Say who is champion now, and register it where a registry is named."""
    print(f"champion: {champion.identity}, s3://{store.bucket}/{champion.model_prefix}")
    if options.model_registry:
        from uae.launch.model_registry import ModelRegistry

        registry = ModelRegistry(options.model_registry, token_file=options.token_file)
        print(f"registered: {registry.register(champion, store)}")


@contextmanager
def _store(options: argparse.Namespace) -> Iterator[Store]:
    """Open the bucket; the embedded server runs meanwhile where no store is named."""
    from uae.store.s3 import Store

    if options.endpoint:
        yield Store.connect(options.endpoint, options.bucket)
        return
    from uae.store.embedded import EmbeddedStore

    folder = options.run_root / STORE_FOLDER
    if not folder.is_dir():
        raise RunError(
            f"no embedded store at {folder}: give the --run-root of your runs, or the --endpoint "
            "of a store"
        )
    with EmbeddedStore(folder, options.bucket) as server:
        yield server.store()
