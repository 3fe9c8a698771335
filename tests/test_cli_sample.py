"""The commands sample and resume: the draws are those of the library, and nothing is lost when something goes wrong."""

import errno
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

import ergodica
from ergodica import cli
from ergodica.commands import user_code
from ergodica.commands.run_folder import RunRecord
from ergodica.samplers.run_store import RunStore

MODEL = """
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 3.0))
    scale = numpyro.sample("scale", dist.HalfNormal(2.0))
    numpyro.deterministic("twice", 2 * mu)
    numpyro.sample("y", dist.Normal(mu + x, scale), obs=y)


def mixture(y):
    group = numpyro.sample("group", dist.Bernoulli(0.3))
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu + group, 1.0), obs=y)


def fails(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu + jnp.zeros(7), 1.0), obs=y)


def raises(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0 / 0))


def nothing(y):
    numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)


def without(position, x, y):
    return 0.0


def logdensity(position, precision):
    return -0.5 * precision * jnp.sum((position - 1.0) ** 2)


start = jnp.zeros(2)
"""
DATA = {"x": [0.0, 1.0, 2.0, 3.0], "y": [0.9, 2.2, 2.8, 4.4]}
PLAN = ["--kernel", "random-walk", "--draws", "3000", "--tune", "300", "--chains", "2", "--seed", "3", "--quiet"]


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """A file that has not changed is executed once, so that JAX compiles its programs once."""
    real, known = user_code.load_user_code, {}

    def load(path):
        content = path.read_bytes() if path.exists() else b""
        if (path, content) not in known:
            known[path, content] = real(path)
        return known[path, content]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ergodica.commands.run.load_user_code", load)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "normal.py").write_text(MODEL)
    (folder / "data.json").write_text(json.dumps({**DATA, "unused": 3, "nested": DATA}))
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    """A run that was left alone."""
    out = folder / "run"
    result = sampled(folder, out)
    assert result.exit_code == 0, result.output
    return out, result


def sampled(folder, out, *more):
    model, data = folder / "normal.py:model", folder / "data.json:nested"
    return invoke("sample", model, "--data", data, *PLAN, "--out", out, *more)


def posterior(out):
    return ergodica.Draws.load(out / "posterior.nc")


def assert_same_draws(out, other):
    one, two = posterior(out), posterior(other)
    for name in ("mu", "scale", "twice"):
        np.testing.assert_array_equal(one.position[name], two.position[name])
    np.testing.assert_array_equal(one.stats["lp"], two.stats["lp"])


# --- a run that goes well ---------------------------------------------------------------------------------------------


def test_sample_keeps_the_draws_of_the_library(folder, finished):
    out, _ = finished
    module = user_code.load_user_code(folder / "normal.py").module
    target = ergodica.model_density(module.model, **{name: np.array(value) for name, value in DATA.items()})
    kernel = ergodica.RandomWalk(1.0, logdensity=target.logdensity)
    draws = ergodica.sample(kernel, target.start, draws=3000, tune=300, chains=2, seed=3, progress=False)
    expected = draws.transform(target.constrain)
    found = posterior(out)
    for name in ("mu", "scale", "twice"):
        np.testing.assert_allclose(found.position[name], expected.position[name], rtol=1e-12)
    np.testing.assert_array_equal(found.unconstrained["mu"], draws.position["mu"])
    assert np.all(found.position["scale"] > 0)
    assert found.num_draws == 3000
    assert found.num_chains == 2


def test_sample_prints_the_summary(finished):
    out, result = finished
    words = result.stdout.split()
    assert words[:6] == ["mean", "sd", "mcse_mean", "ess_bulk", "ess_tail", "r_hat"]
    assert {"mu", "scale", "twice"} <= set(words)
    assert "Nothing alarming" in result.stdout
    assert str(out / "posterior.nc") in result.stdout


def test_record_says_what_was_asked_for(folder, finished):
    out, _ = finished
    record = RunRecord.read(out)
    assert (record.kernel, record.draws, record.seed, record.data_key) == ("random-walk", 3000, 3, "nested")
    assert (out / record.model).resolve() == (folder / "normal.py").resolve()
    assert str(folder) not in (out / "run.json").read_text()  # the folder and the model can move together
    assert record.command().startswith("ergodica sample normal.py:model --data data.json:nested --kernel random-walk")


def test_other_commands_take_the_folder(finished):
    out, _ = finished
    assert invoke("audit", out).exit_code == 0
    assert ergodica.Draws.load(out / "store").num_draws == 3000


def test_settings_and_a_stopping_rule(folder, tmp_path):
    result = sampled(
        folder, tmp_path / "run", "--set", "scale=0.5", "--until", "ess=50,rhat=1.5", "--until", "min_draws=100"
    )
    assert "precise enough" in result.stdout, result.output
    assert posterior(tmp_path / "run").num_draws < 3000
    assert RunRecord.read(tmp_path / "run").until == {"ess": 50, "rhat": 1.5, "min_draws": 100}


def test_density_with_a_start_and_data(folder, tmp_path):
    (tmp_path / "data.json").write_text('{"precision": 4.0}')
    words = ["--density", "--data", tmp_path / "data.json", *PLAN, "--out", tmp_path / "run", "--draws", "50"]
    result = invoke("sample", folder / "normal.py:logdensity", *words)
    assert result.exit_code == 1, result.output  # fifty draws are few
    draws = posterior(tmp_path / "run")
    assert draws.position.shape == (2, 50, 2)
    # 40 or more effective draws of standard deviation 1/2.
    assert np.all(np.abs(draws.position.mean(axis=(0, 1)) - 1.0) < 0.7)


def test_single_precision_is_kept_on_resume(folder, tmp_path):
    words = ["--no-x64", "--data", tmp_path / "data.json", *PLAN, "--draws", "10", "--tune", "0", "--density"]
    (tmp_path / "data.json").write_text('{"precision": 4.0}')
    shutil.copy(folder / "normal.py", tmp_path)
    result = invoke("sample", tmp_path / "normal.py:logdensity", *words, "--out", tmp_path / "run")
    assert result.exit_code in (0, 1), result.output
    assert posterior(tmp_path / "run").position.dtype == np.float32
    assert jax.config.read("jax_enable_x64")
    assert invoke("resume", tmp_path / "run", "--draws", 20, "--quiet").exit_code in (0, 1)
    assert posterior(tmp_path / "run").position.shape == (2, 20, 2)
    assert posterior(tmp_path / "run").position.dtype == np.float32


# --- a run that does not ----------------------------------------------------------------------------------------------


def interrupted(folder, out, patch, after=3):
    """Press Ctrl-C while draws are made."""
    real, calls = RunStore.append, []

    def append(self, phase, record):
        real(self, phase, record)
        calls.append(phase)
        if calls.count("draws") == after:
            raise KeyboardInterrupt

    with patch.context() as context:
        context.setattr(RunStore, "append", append)
        return sampled(folder, out)


def test_interrupted_run_goes_on_with_the_same_draws(folder, finished, tmp_path, monkeypatch):
    out = tmp_path / "run"
    result = interrupted(folder, out, monkeypatch)
    assert result.exit_code == 130, result.output
    assert f"ergodica resume {out}" in result.output
    assert 0 < posterior(out).num_draws < 3000
    result = invoke("resume", out, "--quiet")
    assert result.exit_code == 0, result.output
    assert_same_draws(out, finished[0])


def test_full_disk_loses_nothing(folder, finished, tmp_path, monkeypatch):
    import ergodica.samplers.run_store as run_store

    out, real, calls = tmp_path / "run", run_store._replace, []

    def full(path, content):
        calls.append(path)
        if len(calls) > 4:  # the start has been committed, two files a commit
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, content)

    with monkeypatch.context() as context:
        context.setattr(run_store, "_replace", full)
        context.setattr(run_store, "COMMIT_SECONDS", 0.0)
        result = sampled(folder, out)
    assert_one_line(result, "No space left on device")
    result = invoke("resume", out, "--quiet")
    assert result.exit_code == 0, result.output
    assert_same_draws(out, finished[0])


def test_full_disk_at_the_end_loses_nothing(folder, finished, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    (out / "posterior.nc").unlink()
    for name in ("model", "data"):
        assert (folder / {"model": "normal.py", "data": "data.json"}[name]).exists()

    def full(self, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    where = ["--model", folder / "normal.py", "--data", folder / "data.json"]
    with monkeypatch.context() as context:
        context.setattr(ergodica.Draws, "save", full)
        result = invoke("resume", out, "--quiet", *where)
    assert_one_line(result, "The draws are safe in")
    result = invoke("resume", out, "--quiet", *where)
    assert result.exit_code == 0, result.output
    assert_same_draws(out, finished[0])


def test_killed_before_the_first_commit_begins_anew(folder, finished, tmp_path):
    out = folder / "killed"
    out.mkdir()
    shutil.copy(finished[0] / "run.json", out)
    (out / "store" / "checkpoints").mkdir(parents=True)
    result = invoke("resume", out, "--quiet")
    assert result.exit_code == 0, result.output
    assert_same_draws(out, finished[0])


def test_resume_refuses_another_model_and_other_data(folder, finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    assert_one_line(invoke("resume", out), "model file is no longer at", "--model FILE")
    shutil.copy(folder / "normal.py", tmp_path / "normal.py")
    with (tmp_path / "normal.py").open("a") as file:
        file.write("raise SystemExit('executed')\n")
    before = (out / "store" / "manifest.json").read_bytes()
    assert_one_line(invoke("resume", out, "--model", tmp_path / "normal.py"), "is not what it was when the run began")
    (tmp_path / "data.json").write_text("{}")
    words = ["--model", folder / "normal.py", "--data", tmp_path / "data.json"]
    assert_one_line(invoke("resume", out, *words), "data.json is not what it was")
    assert (out / "store" / "manifest.json").read_bytes() == before


def test_damaged_chunk_is_named(folder, finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    chunk = next(path for path in (out / "store" / "draws.zarr" / "posterior" / "mu").rglob("c/*/*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    words = ["--model", folder / "normal.py", "--data", folder / "data.json"]
    assert_one_line(invoke("resume", out, "--draws", 4000, *words), "posterior/mu", "damaged")
    assert posterior(out).num_draws == 3000


def test_damaged_record_and_no_record(tmp_path):
    assert_one_line(invoke("resume", tmp_path), "no run of `ergodica sample`")
    (tmp_path / "run.json").write_text('{"format": 1, "run": {')
    assert_one_line(invoke("resume", tmp_path), "run.json is damaged")
    (tmp_path / "run.json").write_text('{"format": 2, "run": {}}')
    assert_one_line(invoke("resume", tmp_path), "later version")


# --- bad input --------------------------------------------------------------------------------------------------------


def assert_one_line(result, *words):
    """The status is 2, and one line on standard error says why."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in lines[0], lines[0]


def bad(folder, tmp_path, *, model="normal.py:model", data="data.json:nested", more=()):
    out = tmp_path / "out"
    given = [] if data is None else ["--data", folder / data]
    result = invoke("sample", folder / model, *given, *PLAN, "--out", out, *more)
    assert not out.exists()
    return result


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("syntax.py", "def model(:\n    pass\n", ("syntax.py, line 1", "invalid syntax", "def model(:")),
        ("raises.py", "x = 1\nx.y\n", ("raises.py, line 2", "AttributeError")),
        ("binary.py", "\x00\x01", ("binary.py",)),
        ("imports.py", "import no_such_package\n", ("imports.py, line 1", "no_such_package")),
        ("empty.py", "", ("name a function", "it has none")),
        ("two.py", "def f(): pass\ndef g(): pass\n", ("name a function", "f, g")),
    ],
)
def test_model_file_that_cannot_be_used(folder, tmp_path, name, text, words):
    (folder / name).write_text(text)
    assert_one_line(bad(folder, tmp_path, model=name), *words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": "normal.py:modle"}, ("no function 'modle'", "Did you mean model?")),
        ({"model": "normal.py:start"}, ("expected a function",)),
        ({"model": "none.py:model"}, ("cannot read the Python file", "No such file")),
        ({"model": "normal.py:fails"}, ("normal.py:fails cannot be evaluated", "shapes")),
        ({"model": "normal.py:mixture"}, ("discrete sites, group (Bernoulli", "sum them out")),
        ({"model": "normal.py:raises"}, ("normal.py, line 26, in raises", "ZeroDivisionError")),
        ({"model": "normal.py:nothing"}, ("nothing to sample", "all its sites are observed")),
        (
            {"model": "normal.py:without", "more": ("--density", "--start", "begin")},
            ("needs a start", "begin = ..."),
        ),
        ({"data": None}, ("needs x", "--data FILE")),
        ({"data": "none.json"}, ("cannot read the data file",)),
        ({"data": "data.json:nests"}, ("no entry 'nests'", "Did you mean nested?")),
        ({"data": "data.json"}, ("nested is an object", "data.json:nested")),
        ({"more": ("--kernel", "random-wlak")}, ("no kernel 'random-wlak'", "Did you mean random-walk or RandomWalk?")),
        ({"more": ("--kernel", "Nuts!")}, ("no kernel 'Nuts!'", "Did you mean nuts?")),
        ({"more": ("--kernel", "SelfRepellentWalk")}, ("needs more than a log density",)),
        ({"more": ("--kernel", "lattice-slice")}, ("LatticeSlice", "integer")),
        ({"more": ("--set", "scales=1")}, ("no setting 'scales'", "Did you mean scale?")),
        ({"more": ("--set", "scale=-1")}, ("RandomWalk", "scale has to be")),
        ({"more": ("--set", "scale")}, ("NAME=VALUE",)),
        ({"more": ("--until", "es=400")}, ("no criterion 'es'", "Did you mean ess?")),
        ({"more": ("--until", "rhat=0.5")}, ("--until: rhat has to be above 1",)),
        ({"more": ("--until", "mcse=1,mcse.mu=2")}, ("mcse for all variables",)),
        ({"more": ("--host", "gpu")}, ("host is one of",)),
        ({"more": ("--kernel", "nuts", "--tune", "5")}, ("at least 20 steps",)),
        ({"more": ("--kernel", "nuts", "--set", "stepsize=5")}, ("no setting 'stepsize'",)),
    ],
    ids=lambda value: " ".join(map(str, value.get("more", [*value.values()]))) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, tmp_path, given, words):
    assert_one_line(bad(folder, tmp_path, **given), *words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("broken.json", b'{"x": [1, 2', ("broken.json is no JSON",)),
        ("list.json", b"[1, 2]", ("expected an object",)),
        ("ragged.json", b'{"x": [[1], [1, 2]], "y": [1]}', ("x is ragged",)),
        ("texts.json", b'{"x": [null, 2], "y": [1]}', ("x holds something else than numbers",)),
        ("missing.json", b'{"X": [1, 2], "y": [1]}', ("needs x", "has X, y", "Did you mean x for 'X'?")),
        ("misspelt.json", b'{"x": [1, 2], "Y": [1, 2]}', ("does not take Y", "y would be left", "Did you mean y?")),
        ("broken.csv", b'x,y\n1,2,3,4\n5,"', ("broken.csv is no table",)),
        ("holes.csv", b"x,y\n1,2\n,3\n", ("row 2 has no x",)),
        ("broken.npz", b"PK\x03\x04 and then", ("broken.npz is no NPZ archive",)),
        ("data.txt", b"", ("data are read from files .json, .csv, .npz",)),
    ],
)
def test_damaged_data_are_one_line(folder, tmp_path, name, content, words):
    (folder / name).write_bytes(content)
    assert_one_line(bad(folder, tmp_path, data=name), *words)


def test_pickles_are_never_loaded(folder, tmp_path):
    np.savez(folder / "pickled.npz", x=np.array([{}], object), y=np.ones(1))
    assert_one_line(bad(folder, tmp_path, data="pickled.npz"), "pickled objects, which are never loaded")


def test_folder_that_exists_or_cannot_be_written(folder, finished, tmp_path, monkeypatch):
    assert_one_line(sampled(folder, finished[0]), "exists already", f"ergodica resume {finished[0]}")
    (tmp_path / "file").write_text("mine")
    assert_one_line(sampled(folder, tmp_path / "file"), "is a file")
    assert_one_line(sampled(folder, tmp_path / "file" / "run"), "Not a directory")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    assert_one_line(sampled(folder, tmp_path / "mine"), "not empty")
    assert (tmp_path / "mine" / "notes").read_text() == "mine"

    def refuse(self, *arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    with monkeypatch.context() as context:
        context.setattr(Path, "mkdir", refuse)
        assert_one_line(sampled(folder, tmp_path / "run"), "cannot write to the folder", "Permission denied")


def test_traceback_on_request(folder, tmp_path):
    words = ["sample", str(folder / "none.py"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.app, ["--traceback", *words])
    assert type(result.exception).__name__ == "BadInputError"
    assert_one_line(CliRunner().invoke(cli.app, words), "cannot read the Python file")


def test_data_that_are_not_used_or_missing_are_mentioned(folder, tmp_path):
    (tmp_path / "data.csv").write_text("id,x\n1,0.5\n2,0.7\n")
    result = invoke("sample", folder / "normal.py:model", "--data", tmp_path / "data.csv", "--out", tmp_path / "out")
    assert_one_line(result, "does not take id, and y would be left at the default")


@pytest.mark.parametrize("command", ["sample", "resume", "compare", "audit", "report", "certify"])
def test_help_has_examples(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert f"ergodica {command} " in result.stdout
    assert command not in ("sample", "resume", "compare") or "executed" in result.stdout


def test_completion_is_offered():
    assert "--install-completion" in invoke("--help").stdout
    from ergodica.commands.sample import complete_kernel

    assert complete_kernel("gib") == ["gibbsian-polar-slice", "gibbsian-polar-slice-uniform"]


def test_kernels_are_rows_of_the_catalogue():
    from ergodica.commands.kernels import CHOICES
    from ergodica.validation.catalogue import catalogue

    for choice in CHOICES:
        kernel = choice.build(lambda x: -(x**2), {})
        row = catalogue()[choice.row]
        assert type(kernel) is row.subject
        example = row.example()
        for name, value in choice.preset.items():
            if isinstance(value, str):
                assert getattr(example, name) == value


@pytest.mark.parametrize("count", [1, 255, 256, 257])
def test_draws_are_constrained_in_pieces(count):
    from ergodica.commands.constrained import BATCH, Constrainer

    assert BATCH == 512
    positions = {"x": np.arange(2.0 * count * 3).reshape(2, count, 3)}
    found = Constrainer(lambda at: {"y": at["x"] + 1, "sum": at["x"].sum()}).positions(positions)
    np.testing.assert_array_equal(found["y"], positions["x"] + 1)
    np.testing.assert_array_equal(found["sum"], positions["x"].sum(axis=2))
