"""A run on disk: draws in Zarr arrays, checkpoints beside them, and a manifest that says how far they count.

A store is a folder with

- ``draws.zarr``: what Xarray and ArviZ open as it is, also while the run goes on; groups ``posterior`` and
  ``sample_stats`` (and those of the warm-up), with dimensions ``draw`` and ``chain``;
- ``manifest.json``: what was run, and how many draws are certain; it is replaced atomically, and last;
- ``checkpoints``: the states of the chains after those draws, and what warm-up has learnt.

A crash between two commits leaves draws that the manifest does not count; they are made again, the same ones, since a
draw depends on nothing but the seed, the start and the kernel. Every chunk of an array carries its own checksum, as do
checkpoints and manifest. Nothing in a store is code, and nothing is executed when one is read.
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ergodica.samplers import naming
from ergodica.samplers.chunks import Record
from ergodica.samplers.stored_array import StoredArray, StoreError, chunk_file

__all__ = ["RunStore"]

FORMAT = 1
MANIFEST, CHECKPOINTS, ARRAYS = "manifest.json", "checkpoints", "draws.zarr"
CONFIG: Any = {"write_empty_chunks": True}  # a chunk that is missing is then a chunk that was lost
COMMIT_SECONDS = 5.0
PENDING_BYTES = 2**24
CHUNK_BYTES = 2**22

Phase = Literal["warmup", "draws"]


class RunStore:
    """A run on disk.

    Parameters
    ----------
    path
        The folder.
    manifest
        What was run, and how far it has come.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self._pending: dict[Phase, list[Record]] = {"warmup": [], "draws": []}
        self._pending_bytes = 0
        self._arrays: dict[str, Any] = {}
        self._committed_at = time.monotonic()

    # --- opening ------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | os.PathLike[str], header: Mapping[str, Any]) -> "RunStore":
        """Make a new store.

        Parameters
        ----------
        path
            The folder; it must not exist, or be empty.
        header
            What was run, fit for JSON.

        Raises
        ------
        StoreError
            If something is there already, or the folder cannot be written to.
        """
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            advice = "Go on with it by ergodica.resume, or" if (folder / MANIFEST).exists() else "To keep it,"
            raise StoreError(f"{folder} exists already. {advice} choose another name for the new run.")
        import zarr

        try:
            (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            zarr.open_group(str(folder / ARRAYS), mode="a")
        except OSError as error:
            raise StoreError(f"cannot make a store at {folder}: {error.strerror or error}") from error
        progress = {"phase": "warmup", "warmup": 0, "draws": 0, "complete": False, "checkpoint": None, "commits": 0}
        return cls(folder, {"format": FORMAT, "header": dict(header), "progress": progress})

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunStore":
        """Open a store that exists.

        Raises
        ------
        StoreError
            If there is none, or its manifest is damaged or of a later version.
        """
        folder = Path(path)
        try:
            text = (folder / MANIFEST).read_text()
        except FileNotFoundError as error:
            raise StoreError(
                f"{folder} is no run on disk: it has no {MANIFEST}. A run that stopped before its first commit has to be "
                "started anew."
            ) from error
        except OSError as error:
            raise StoreError(f"cannot read {folder / MANIFEST}: {error.strerror or error}") from error
        try:
            whole = json.loads(text)
            manifest, digest = whole["manifest"], whole["sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{folder / MANIFEST} is damaged: {error}") from error
        if _digest(_canonical(manifest)) != digest:
            raise StoreError(f"{folder / MANIFEST} is damaged: its checksum does not fit")
        if manifest["format"] > FORMAT:
            raise StoreError(f"{folder} was written by a later version of ergodica; update to read it")
        return cls(folder, manifest)

    @property
    def header(self) -> dict[str, Any]:
        """What was run."""
        header: dict[str, Any] = self.manifest["header"]
        return header

    @property
    def progress(self) -> dict[str, Any]:
        """How far it has come."""
        progress: dict[str, Any] = self.manifest["progress"]
        return progress

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(self, phase: Phase, record: Record) -> None:
        """Hold draws, leaves of shape ``(chains, count, ...)``, for the next commit."""
        self._pending[phase].append(record)
        self._pending_bytes += sum(leaf.nbytes for leaf in jax.tree.leaves(record))

    def drop_after(self, phase: Phase, count: int) -> None:
        """Forget held draws beyond the first ``count`` of the phase."""
        held = self._pending[phase]
        while held and self.progress[phase] + sum(_length(record) for record in held) > count:
            held.pop()

    @property
    def is_due(self) -> bool:
        """Whether a commit is worth its time: some seconds have passed, or many draws are held."""
        return self._pending_bytes > PENDING_BYTES or time.monotonic() - self._committed_at > COMMIT_SECONDS

    def commit(self, checkpoint: Mapping[str, PyTree], **progress: Any) -> None:
        """Make all draws that were appended certain.

        Parameters
        ----------
        checkpoint
            Pytrees by name, from which the run can go on after these draws.
        progress
            What else to note.

        Raises
        ------
        StoreError
            If the disk is full or the folder cannot be written to. What was committed before stays good.
        """
        after = {**self.progress, **progress, "commits": self.progress["commits"] + 1}
        try:
            for phase, records in self._pending.items():
                if records:
                    after[phase] = self._write(phase, records, after[phase])
            name = f"{CHECKPOINTS}/{after['commits']:08d}.npz"
            before = after["checkpoint"]
            content = _packed(checkpoint)
            _replace(self.path / name, content)
            after["checkpoint"], after["checkpoint_sha256"] = name, _digest(content)
            manifest = {**self.manifest, "progress": after}
            self._write_manifest(manifest)
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.path}: {error.strerror or error}. What was committed before is safe; "
                "mend the cause and go on with ergodica.resume."
            ) from error
        # An interrupt before this line commits the same draws again, over those that are there.
        self.manifest = manifest
        self._pending = {"warmup": [], "draws": []}
        self._pending_bytes = 0
        self._committed_at = time.monotonic()
        if before is not None:
            (self.path / before).unlink(missing_ok=True)

    def _write(self, phase: Phase, records: list[Record], done: int) -> int:
        """Write draws after the first ``done``, and return how many there are now."""
        count = 0
        for group, trees in _groups(phase, records, self.header["prefix"]).items():
            for name in trees[0]:
                rows = np.concatenate([np.swapaxes(tree[name], 0, 1) for tree in trees])
                array = self._array(group, name, rows)
                if array.shape[0] != done:
                    array.resize((done, *rows.shape[1:]))  # what a crash has left
                array.append(rows)
                _sync_chunks(self.path / ARRAYS / group / name, array, done, len(rows))
                count = len(rows)
        return done + count

    def _array(self, group: str, name: str, rows: np.ndarray) -> Any:
        place = f"{group}/{name}"
        if place not in self._arrays:
            import zarr

            root = zarr.open_group(str(self.path / ARRAYS), mode="a")
            if place in root:
                known: Any = root[place]
                self._arrays[place] = known.with_config(CONFIG)
            else:
                size = max(1, rows[0].nbytes) if len(rows) else 1
                length = 2 ** int(np.clip(np.log2(CHUNK_BYTES / size), 0, 16))
                self._arrays[place] = root.require_group(group).create_array(
                    name,
                    shape=(0, *rows.shape[1:]),
                    chunks=(length, *(max(1, extent) for extent in rows.shape[1:])),
                    dtype=rows.dtype,
                    compressors=[
                        {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
                        {"name": "crc32c"},
                    ],
                    config=CONFIG,
                    dimension_names=["draw", "chain", *(f"{name}_dim_{i}" for i in range(rows.ndim - 2))],
                )
        return self._arrays[place]

    def describe(self, tuned: Mapping[str, np.ndarray], **facts: Any) -> None:
        """Note how a run has ended.

        Parameters
        ----------
        tuned
            The parameters that warm-up has changed.
        facts
            What else to note, fit for JSON; ``seconds`` adds up over resumes.
        """
        import zarr

        facts["seconds"] = facts.get("seconds", 0.0) + self.progress.get("seconds", 0.0)
        group = zarr.open_group(str(self.path / ARRAYS), mode="a").require_group("kernel_data")
        for name, values in tuned.items():
            group.create_array(name, data=np.asarray(values), overwrite=True)
        manifest = {**self.manifest, "progress": {**self.progress, **facts}}
        self._write_manifest(manifest)
        self.manifest = manifest

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        text = json.dumps({"manifest": manifest, "sha256": _digest(_canonical(manifest))}, indent=1)
        _replace(self.path / MANIFEST, text.encode())

    def annotate(self, attributes: Mapping[str, Any]) -> None:
        """Set the attributes that readers of the folder see."""
        import zarr

        root = zarr.open_group(str(self.path / ARRAYS), mode="a")
        root.attrs.update(attributes)
        for name in root.group_keys():
            if name.endswith("posterior"):
                root[name].attrs.update(attributes)

    # --- reading ------------------------------------------------------------------------------------------------------

    def checkpoint(self) -> dict[str, np.ndarray]:
        """Return the arrays of the last checkpoint by name.

        Raises
        ------
        StoreError
            If the file is missing or damaged.
        """
        name = self.progress["checkpoint"]
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise StoreError(f"cannot read {self.path / name}: {error.strerror or error}") from error
        if _digest(content) != self.progress["checkpoint_sha256"]:
            raise StoreError(f"{self.path / name} is damaged: its checksum does not fit")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}

    def restored(self, name: str, like: PyTree, arrays: Mapping[str, np.ndarray]) -> PyTree:
        """Put a pytree of a checkpoint together.

        Parameters
        ----------
        name
            Its name in the checkpoint.
        like
            A pytree of the same structure, shapes and dtypes; of arrays or ``jax.ShapeDtypeStruct``.
        arrays
            What :meth:`checkpoint` has returned.

        Raises
        ------
        StoreError
            If they do not fit.
        """
        leaves, structure = jax.tree.flatten(like)
        given = [arrays[key] for key in sorted(key for key in arrays if key.rpartition("/")[0] == name)]
        if len(given) != len(leaves):
            raise StoreError(f"{self.path} holds {len(given)} arrays of its {name}; this kernel has {len(leaves)}")
        out = []
        for value, leaf in zip(given, leaves, strict=True):
            is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            back = jax.random.wrap_key_data(jnp.asarray(value)) if is_key else value
            if back.shape != leaf.shape or back.dtype != leaf.dtype:
                raise StoreError(
                    f"{self.path} holds {name} of dtype {back.dtype} and shape {back.shape}; this kernel has "
                    f"{leaf.dtype} and {leaf.shape}. Is the precision (jax_enable_x64) the same?"
                )
            out.append(jnp.asarray(back))
        return jax.tree.unflatten(structure, out)

    def tuned(self) -> dict[str, np.ndarray]:
        """Return the parameters that warm-up has changed, if the run has ended."""
        import zarr

        root = zarr.open_group(str(self.path / ARRAYS), mode="r")
        if "kernel_data" not in root:
            return {}
        return {name: np.asarray(array[...]) for name, array in _members(root, "kernel_data")}

    def stored(self, phase: Phase) -> dict[str, dict[str, StoredArray]]:
        """Return the draws that are certain, by group and name; they stay on disk."""
        import zarr

        root = zarr.open_group(str(self.path / ARRAYS), mode="r")
        count = self.progress[phase]
        prefix = self.header["prefix"]
        names = {"position": _position_group(phase, prefix), "stats": _stats_group(phase)}
        out: dict[str, dict[str, StoredArray]] = {}
        for kind, group in names.items():
            out[kind] = {}
            if group in root:
                for name, array in _members(root, group):
                    out[kind][name] = StoredArray(array, count)
        return out

    def verify(self) -> None:
        """Read everything that is certain, chunk by chunk, and compare the checksums.

        Raises
        ------
        StoreError
            If something is missing or damaged; with its name.
        """
        if self.progress["checkpoint"] is not None:
            self.checkpoint()
        phases: tuple[Phase, ...] = ("warmup", "draws")
        for phase in phases:
            for arrays in self.stored(phase).values():
                for array in arrays.values():
                    array.verify(self.path / ARRAYS)


# --- names and bytes --------------------------------------------------------------------------------------------------


def _position_group(phase: Phase, prefix: str) -> str:
    return f"{prefix}posterior" if phase == "draws" else f"warmup_{prefix}posterior"


def _stats_group(phase: Phase) -> str:
    return "sample_stats" if phase == "draws" else "warmup_sample_stats"


def _groups(phase: Phase, records: list[Record], prefix: str) -> dict[str, list[dict[str, np.ndarray]]]:
    return {
        _position_group(phase, prefix): [naming.encode(record.position)[1] for record in records],
        _stats_group(phase): [dict(record.stats) for record in records],
    }


def _length(record: Record) -> int:
    return int(jax.tree.leaves(record.position)[0].shape[1])


def _members(root: Any, group: str) -> list[tuple[str, Any]]:
    return list(root[group].arrays())


def _packed(trees: Mapping[str, PyTree]) -> bytes:
    arrays = {}
    for name, tree in trees.items():
        for number, leaf in enumerate(jax.tree.leaves(tree)):
            value = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
            arrays[f"{name}/{number:06d}"] = np.asarray(value)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _canonical(manifest: Any) -> bytes:
    return json.dumps(manifest, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that it has either the old content or the new, whatever happens, and stays."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_chunks(folder: Path, array: Any, first: int, count: int) -> None:
    """Make sure that the chunks with the draws ``first``, ..., and the array's shape, survive a loss of power."""
    length = array.chunks[0]
    for number in range(first // length, (first + count - 1) // length + 1):
        file = chunk_file(folder, number, array.ndim)
        _sync(file)
        _sync(file.parent)
    _sync(folder / "zarr.json")
    _sync(folder)
