"""The model repository on disk, in Triton's format: a folder per model, a folder per version, and what is served.

::

    <model>/config.pbtxt             what Triton serves: the current version, a previous one, those of a rollout policy
    <model>/<version>/model.onnx     the model
    <model>/<version>/checkpoint.tl  its trees for Triton's FIL backend, if it is an ensemble of trees
    <model>/<version>/baseline.onnx  the model without windowed features, for comparison
    <model>/<version>/model.py       Triton's Python backend, which runs model.onnx on the CPU
    <model>/<version>/hosted.json    in place of model.onnx: how model.py calls a model that Triton hosts already
    <model>/<version>/manifest.json  how the model was trained, or where it was imported from
    <model>/<version>/reasons.onnx   by how much each input moves a score, if the model is trees
    <model>/<version>/drift.json     the reference for drift detection, if the pipeline has monitors
    <model>/<version>/environment.txt  the installed distributions that made it
    <model>/<version>/hashes.json    the SHA-256 of every other file of the version
    <model>/reports/<version>/       what the gates found, by :mod:`scoring.gates.stored_reports`
    <model>/trainings.jsonl          every training, also those that failed, by :mod:`scoring.trainings`
    <model>/history.jsonl            what was served when, by :mod:`scoring.alias_history`
    <model>/bands.jsonl              the bands of a cascade, by :mod:`scoring.bands`

A version never changes once written: whoever loads or judges it verifies its hashes first. Every change is atomic: a
process that is killed leaves at worst a hidden ``.partial-*`` folder or file, which nothing reads. This module only
reads and writes files; it connects to no server.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from penstock.errors import PenstockError
from scoring.hosted_model import HostedModel
from scoring.model_metadata import ModelMetadata, ModelNotLoaded
from scoring.reasons import FILE as REASONS
from scoring.reasons import Attribution
from scoring.serving_config import MAX_BATCH_SIZE, Backend, ServingConfig, config_text, read_config
from scoring.trained_model import CHECKPOINT, ImportManifest, Manifest, ModelManifest, NewVersion, read_manifest
from scoring.version_files import verify_files, write_hashes


class ModelRepository:
    """The repository in the folder ``root``, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, model: str, version: int) -> Path:
        """The folder of a version.

        Raises:
            PenstockError: if there is no such version.
        """
        manifest = self.root / model / str(version) / "manifest.json"
        if not manifest.is_file():
            known = ", ".join(map(str, self.versions(model))) or "none"
            raise PenstockError(
                f"model {model} has no version {version} (there are: {known})",
                where=str(self.root / model),
                next="name one of them, or make one: penstock model train PIPELINE --backfill FOLDER",
            )
        return manifest.parent

    def verified(self, model: str, version: int) -> Path:
        """The folder of a version, all of whose files are as they were written.

        Raises:
            PenstockError: if there is no such version, or one of its files has changed.
        """
        folder = self.folder(model, version)
        verify_files(folder)
        return folder

    def model_file(self, model: str, version: int) -> Path:
        """The ONNX file of a version, which need not exist."""
        return self.root / model / str(version) / "model.onnx"

    def attribution(self, model: str, version: int) -> Attribution | None:
        """What finds the reasons of a version's scores; None if it has no such file."""
        file = self.root / model / str(version) / REASONS
        return Attribution(file.read_bytes()) if file.is_file() else None

    def versions(self, model: str) -> list[int]:
        """The versions that exist, ascending; empty for a model that was never trained."""
        folder = self.root / model
        return sorted(int(entry.name) for entry in folder.glob("*") if entry.is_dir() and entry.name.isdecimal())

    def newest(self, model: str) -> int:
        """The newest version.

        Raises:
            PenstockError: if the model was never trained.
        """
        versions = self.versions(model)
        if not versions:
            raise PenstockError(
                f"model {model} has no version yet",
                where=str(self.root),
                next="penstock model train PIPELINE --backfill FOLDER",
            )
        return versions[-1]

    def current(self, model: str) -> int:
        """The version that is configured, or the newest if none is.

        Raises:
            PenstockError: if the model was never trained.
        """
        serving = self.serving_config(model)
        return self.newest(model) if serving is None else serving.version

    def manifest(self, model: str, version: int) -> ModelManifest | ImportManifest:
        """The manifest of a version.

        Raises:
            PenstockError: if there is no such version.
        """
        text = (self.folder(model, version) / "manifest.json").read_text(encoding="utf-8")
        return read_manifest(json.loads(text))

    def hosted(self, model: str, version: int) -> HostedModel | None:
        """The model that a version calls in Triton; None for a version with a file of its own.

        Raises:
            PenstockError: if there is no such version.
        """
        manifest = self.manifest(model, version)
        return manifest.hosted if isinstance(manifest, ImportManifest) else None

    def add(self, model: str, made: NewVersion, artifacts: Mapping[str, str | bytes] | None = None) -> int:
        """Write the next version and return its number. The first one is configured at once, others by `configure`.

        Args:
            model: The model's name.
            made: The version.
            artifacts: Further files of the version by name, which other packages derived from the training.

        Raises:
            PenstockError: if its inputs are not those of the existing versions.
        """
        self._check_inputs(model, made.manifest)
        home = self.root / model
        home.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=home))
        try:
            partial.chmod(0o755)  # Triton may run as another user
            for name, content in made.files().items():
                (partial / name).write_bytes(content)
            for name, artifact in (artifacts or {}).items():
                (partial / name).write_bytes(artifact if isinstance(artifact, bytes) else artifact.encode())
            version = self._claim(model, partial, made.manifest)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if self.serving_config(model) is None:
            self.configure(model, version)
        return version

    def metadata(self, model: str) -> ModelMetadata:
        """Describes the current version as a server on this repository would.

        Raises:
            ModelNotLoaded: for a model that was never trained.
            PenstockError: if the configuration, or the version that it names, cannot be read.
        """
        serving = self.serving_config(model)
        if serving is None:
            raise ModelNotLoaded(
                f"model {model} has no version yet",
                where=str(self.root),
                next="penstock model train PIPELINE --backfill FOLDER",
            )
        return self.description(model, serving.version)

    def description(self, model: str, version: int) -> ModelMetadata:
        """Describes a version as a server on this repository would, were it the current one.

        Raises:
            PenstockError: if there is no such version.
        """
        manifest = self.manifest(model, version)
        return ModelMetadata(
            model,
            version,
            manifest.inputs,
            manifest.views,
            MAX_BATCH_SIZE,
            categories=manifest.categories,
            kept=manifest.kept,
        )

    def serving_config(self, model: str) -> ServingConfig | None:
        """The configuration; None for a model that was never trained.

        Raises:
            PenstockError: if config.pbtxt is not one that this class wrote.
        """
        text = self.configuration(model)
        if text is None:
            return None
        path = self.root / model / "config.pbtxt"
        try:
            return read_config(text)
        except ValueError as error:
            raise PenstockError(
                f"the model's configuration was not written by Penstock: {error}",
                where=str(path),
                safe="no model version was touched",
                next=f"move the file away, then: penstock model load PIPELINE of model {model}",
            ) from error

    def configuration(self, model: str) -> str | None:
        """The text of config.pbtxt, or None."""
        path = self.root / model / "config.pbtxt"
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def configure(
        self, model: str, version: int, backend: Backend | None = None, rollout: Collection[int] | None = None
    ) -> ServingConfig:
        """Make a version the current one.

        The previous version is still served: if it is an older one, or if a policy is given. Triton reads the
        configuration at the next load.

        Args:
            model: The model's name.
            version: The version.
            backend: How Triton runs it; None for the present backend (at first: ``python``).
            rollout: The versions that a rollout policy needs beside it; None for those of the present policy.

        Raises:
            PenstockError: if there is no such version, or the backend cannot run it or one that a policy needs.
        """
        manifest = self.manifest(model, version)
        before = self.serving_config(model)
        backend = backend or (before.backend if before else "python")
        if rollout is None:
            needed = tuple(v for v in (before.rollout if before else ()) if v in self.versions(model))
        else:
            needed = tuple(sorted({version, *rollout}))
        for each in (version, *needed):
            if (refusal := self._refusal(model, each, backend)) is not None:
                raise refusal
        previous = [v for v in ((before.previous, before.version) if before else ()) if v in self.versions(model)]
        previous = [v for v in previous if v < version or (v != version and rollout is not None)]
        previous = [v for v in previous if self._refusal(model, v, backend) is None]
        serving = ServingConfig(
            version=version,
            previous=previous[-1] if previous else None,
            inputs=manifest.inputs,
            backend=backend,
            rollout=needed,
        )
        self.restore(model, config_text(model, serving, manifest))
        return serving

    def restore(self, model: str, text: str | None) -> None:
        """Write the text of config.pbtxt, or remove the file (None)."""
        path = self.root / model / "config.pbtxt"
        if text is None:
            path.unlink(missing_ok=True)
            return
        # A unique name: two trainings may do this at the same time.
        descriptor, name = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        partial = Path(name)
        partial.chmod(0o644)  # Triton may run as another user
        partial.replace(path)

    def _refusal(self, model: str, version: int, backend: Backend) -> PenstockError | None:
        """Why a backend cannot run a version; None if it can."""
        if backend != "python" and self.hosted(model, version) is not None:
            return PenstockError(
                f"version {version} of model {model} calls a model in Triton, by the Python backend alone",
                where=str(self.root / model),
                safe="the configuration is as it was",
                next="penstock model load PIPELINE --backend python",
            )
        if backend == "fil" and not (self.folder(model, version) / CHECKPOINT).is_file():
            why = self.manifest(model, version).no_fil or "an earlier build of Penstock wrote it"
            return PenstockError(
                f"FIL cannot run version {version} of model {model}: {why}",
                where=str(self.folder(model, version)),
                safe="what is served goes on",
                next="penstock model load PIPELINE --backend onnxruntime",
            )
        return None

    def _claim(self, model: str, partial: Path, manifest: Manifest) -> int:
        """Give the finished folder the next free number, and return it; another process may take a number first."""
        while True:
            version = max(self.versions(model), default=0) + 1
            content = {"model": model, "version": version, **manifest.model_dump(mode="json")}
            (partial / "manifest.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            write_hashes(partial)
            try:
                partial.rename(self.root / model / str(version))
            except FileExistsError:
                continue
            except OSError as error:
                if (self.root / model / str(version)).exists():
                    continue
                raise PenstockError(
                    f"the new version cannot be put in place: {error.strerror}",
                    where=str(self.root / model / str(version)),
                    safe="the existing versions are untouched",
                    next="check that the folder is writable",
                ) from error
            return version

    def _check_inputs(self, model: str, manifest: Manifest) -> None:
        """Refuse other inputs or outputs: clients rely on them, and all versions share one configuration."""
        versions = self.versions(model)
        if not versions:
            return
        before = self.manifest(model, versions[-1])
        for what, old, new in (
            ("inputs", before.inputs, manifest.inputs),
            ("categories", before.categories, manifest.categories),
            ("outputs that are kept", before.kept, manifest.kept),
        ):
            if old == new:
                continue
            changes = [f"-{name}" for name in old if name not in new] + [f"+{name}" for name in new if name not in old]
            raise PenstockError(
                f"the {what} of model {model} are not those of version {versions[-1]}: "
                + (", ".join(changes) or "the same in another order"),
                where=str(self.root / model),
                safe="nothing was written; what is served goes on",
                next='give the model a new name in the pipeline, such as Model(name="' + model + '_2")',
            )


class VerifiedOnce(ModelRepository):
    """The repository as one short command has it, which hashes the files of a version once, however often it asks."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._verified: dict[tuple[str, int], Path] = {}

    def verified(self, model: str, version: int) -> Path:
        """See :meth:`ModelRepository.verified`."""
        found = self._verified.get((model, version))
        if found is None:
            found = self._verified[model, version] = super().verified(model, version)
        return found
