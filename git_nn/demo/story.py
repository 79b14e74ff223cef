"""The story that 'git nn demo' tells, step by step, in a repository of its own."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from git_nn.demo import keras_file
from git_nn.demo.network import LAYERS, Weights, accuracy, draw_digits, new_weights, train
from git_nn.errors import GitError
from git_nn.gitio.repository import not_started

MODEL = "model.h5"


@dataclass(frozen=True)
class Stage:
    """Where the story plays: an empty folder, and how a line is said."""

    folder: Path
    say: Callable[[str], None]
    colour: bool = False

    def tell(self, text: str) -> None:
        self.say(f"\n\033[1m# {text}\033[0m" if self.colour else f"\n# {text}")

    def git(self, *argv: str, lines: int = 40) -> str:
        """Show a git command and what it prints."""
        self.say(f"$ git {shlex.join(argv)}")
        colour = ["-c", "color.ui=always"] if self.colour else []
        try:
            done = subprocess.run(
                ["git", "--no-pager", *colour, *argv],
                cwd=self.folder,
                env=_environment(self.folder),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
        except FileNotFoundError as error:
            raise not_started(self.folder) from error
        text = done.stdout.decode("utf-8", "replace").rstrip()
        shown = text.splitlines()[:lines]
        for line in shown:
            self.say(f"  {line}")
        if len(text.splitlines()) > lines:
            self.say("  ...")
        if done.returncode:
            raise GitError(argv, done.returncode, text)
        return text

    def digest(self) -> str:
        return hashlib.sha256((self.folder / MODEL).read_bytes()).hexdigest()


def tell(stage: Stage) -> bool:
    """Play the whole story; whether every version came back byte for byte."""
    digests: dict[str, str] = {}
    weights = _commit_a_model(stage, digests)
    _fine_tune_twice(stage, weights, digests)
    return _check_out(stage, digests)


def _commit_a_model(stage: Stage, digests: dict[str, str]) -> Weights:
    model = stage.folder / MODEL
    data, test = draw_digits(6000, seed=1), draw_digits(1000, seed=2)

    stage.tell("Once per repository (or once per machine, without --local)")
    stage.git("init", "-q", "-b", "main", ".")
    stage.git("nn", "install", "--local")
    stage.git("nn", "track", "*.h5")

    stage.tell("Train a digit reader with numpy and commit it like any file")
    weights = train(new_weights(0), data, epochs=12, rate=0.2)
    keras_file.save(model, weights)
    size = model.stat().st_size
    stage.say(f"  trained: {accuracy(weights, test):.1%} right on new digits, {size} bytes")
    stage.git("add", ".")
    stage.git("commit", "-q", "-m", "Train a digit reader")
    digests["main~2"] = stage.digest()

    stage.tell("What Git stores is a readable pointer; the tensors are in .git/nn")
    stage.git("show", "--no-textconv", f"HEAD:{MODEL}", lines=10)
    return weights


def _fine_tune_twice(stage: Stage, weights: Weights, digests: dict[str, str]) -> None:
    model = stage.folder / MODEL
    noisy, test = draw_digits(6000, seed=3, noise=0.35), draw_digits(4000, seed=4, noise=0.35)

    stage.tell("A branch fine-tunes the last two layers; git diff shows which tensors moved")
    stage.git("switch", "-q", "-c", "noisy")
    head = train(weights, noisy, epochs=5, rate=0.05, only=LAYERS[1:])
    keras_file.save(model, head)
    stage.git("diff")
    stage.git("commit", "-q", "-a", "-m", "Fine-tune the last layers on noisy digits")
    digests["noisy"] = stage.digest()

    stage.tell("Meanwhile main fine-tunes the first layer")
    stage.git("switch", "-q", "main")
    body = train(keras_file.load(model), noisy, epochs=1, rate=0.02, only=LAYERS[:1])
    keras_file.save(model, body)
    stage.git("commit", "-q", "-a", "-m", "Fine-tune the first layer")
    digests["main~1"] = stage.digest()

    stage.tell("git merge combines them tensor by tensor")
    stage.git("merge", "-m", "Merge both fine-tunes", "noisy")
    digests["main"] = stage.digest()
    merged = keras_file.load(model)
    for name, version in (("main", body), ("noisy", head), ("merged", merged)):
        stage.say(f"  {name:10} {accuracy(version, test):.1%} right on noisy digits")

    stage.tell("Which commit changed which layer?")
    stage.git("log", "--oneline", "--graph")
    stage.git("blame", "-s", MODEL)


def _check_out(stage: Stage, digests: dict[str, str]) -> bool:
    stage.tell("Every version comes back byte for byte")
    exact = True
    for revision, digest in digests.items():
        stage.git("checkout", "-q", revision)
        same = stage.digest() == digest
        exact = exact and same
        stage.say(f"  sha256 {digest[:16]}...  {'identical' if same else 'DIFFERENT'}")
    stage.git("status", "--short", "--branch")
    stage.git("nn", "fsck")
    return exact


def _environment(folder: Path) -> dict[str, str]:
    """The person's own Git, but for what the story must not depend on."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env.update(
        PATH=os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)]),
        GIT_CONFIG_GLOBAL=os.devnull,
        GIT_CONFIG_NOSYSTEM="1",
        GIT_CEILING_DIRECTORIES=str(folder.parent),
        GIT_PAGER="cat",
    )
    for who in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{who}_NAME"] = "Demo"
        env[f"GIT_{who}_EMAIL"] = "demo@example.com"
    return env
