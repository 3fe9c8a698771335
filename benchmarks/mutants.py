"""Does the evidence notice? Wrong variants of the library's own kernels, made by rule, and what certification says.

Each mutant changes one operator in a method that makes draws or decisions: a comparison, a sign, a product, the branches of
a choice, a bound, a constant. It runs in a process of its own, in place of the module that it was made from, and the rows of
the catalogue that rest on the module are certified. A mutant is *killed* if a check fails, or if it cannot run; what
*survives* either has the same law (a reason for each is in ``EQUIVALENT``), or shows a gap.

Records are in ``benchmarks/results/mutants``; what is there is not run again. The page ``docs/guide/mutants.md`` is
written from them.

Run ``python benchmarks/mutants.py`` for all, with parts of module names for some; ``--each N`` for so many of each module;
``--page`` for the page only.
"""

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.util
import io
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "mutants"
TIMEOUT = 120

ALSO = {
    "ergodica.samplers.acceptance.rule": ["metropolis-rule", "corrected"],
    "ergodica.samplers.slicing.univariate": ["coordinate-slice", "hit-and-run-slice"],
    "ergodica.samplers.slicing.turns": ["coordinate-slice"],
    "ergodica.samplers.acceptance.drafts_in_turn": ["recursive-rejection", "greedy-multi-draft"],
    "ergodica.samplers.acceptance.selected_draft": ["luce-selection", "ordered-selection"],
    "ergodica.samplers.acceptance.rejection.trials": ["rejection", "squeezed-rejection"],
    "ergodica.samplers.acceptance.rejection.hull": ["adaptive-rejection"],
    "ergodica.samplers.gibbs.spin_sweep": ["ising-systematic", "potts-systematic"],
    "ergodica.samplers.walks.base_chain": ["self-repellent"],
    "ergodica.samplers.independence": ["flow-independence", "independence-metropolis"],
}
"""Rows that rest on a module in which no class of theirs is."""

NOT_DRAWING = {
    "__init__", "__check_init__", "claim", "init", "check", "bind", "unbound", "tuner", "cost", "draft_law", "law", "kind",
    "monotone_in_k", "tunable", "spaces", "takes_logdensity", "refresh", "summary", "alpha", "log_normalizer",
}  # fmt: skip
"""Methods whose mistakes are no wrong laws of draws, or that the checks do not call."""

EQUIVALENT: dict[tuple[str, str], str] = {
    ("compose", "_total(infos, 'num_evals') + evals"): "a count that is reported",
    ("compose", "values / values.sum()"): "weights need not be normalised to be drawn from",
    (
        "slicing.hit_and_run",
        "normals / jnp.where(length > 0, length, 1)",
    ): "any law of directions that ignores the position",
    ("slicing.hit_and_run", "jnp.where(length > 0, length, 1)"): "any law of directions that ignores the position",
    (
        "slicing.hyperrectangle",
        "jnp.all(jnp.isfinite(changes)) & jnp.any(changes > 0)",
    ): "which side shrinks may be any function of the rejected point",
    ("slicing.lattice", "info.num_invalid + invalid"): "a count that is reported",
    ("slicing.lattice", "block.offset < 0"): "the current point, at offset zero, is never rejected",
    ("acceptance.metropolis", "-jnp.abs(log_ratio)"): "half of Metropolis's probability: another rule that is exact",
    (
        "corrected",
        "invalid | jnp.isnan(log_back) | jnp.isposinf(log_back)",
    ): "rules reject NaN by themselves, and a density is never +inf here",
    ("metropolis.finite", "jnp.where(random.bernoulli(key_sign, 0.5), 1, -1)"): "a fair coin with its sides swapped",
    ("metropolis.random_walk", "flat + move"): "the proposal is symmetric",
    (
        "metropolis.independence",
        "jnp.log(2 * jnp.pi)",
    ): "a constant of the proposal's density, which cancels in the ratio",
    ("gibbs.ising", "self.coupling * bonds"): "bonds are +1 and -1",
    ("gibbs.ising", "self.field * position"): "spins are +1 and -1",
    (
        "interop.site_heat_bath",
        "jnp.where(jnp.arange(logits.shape[0])[:, None] == 0, 0.0, -jnp.inf)",
    ): "what is drawn for the sites of other classes is thrown away",
    ("interop.over_plate", "len(infos) == 1"): "counts that are reported",
    (
        "interop.over_plate",
        "self._identity == other._identity",
    ): "decides which programs are shared; their hashes differ before",
    (
        "interop.over_plate",
        "self._density == other._density",
    ): "decides which programs are shared; their hashes differ before",
    (
        "walks.self_repellent",
        "jnp.log(num_steps + jnp.ones((), growth.dtype))",
    ): "the strength of a gentle start: averages converge to the target for any strength",
    (
        "walks.self_repellent",
        "jnp.where(jnp.isfinite(growth), growth, 0.0) * logarithm",
    ): "the strength of a gentle start: averages converge to the target for any strength",
    (
        "diffusion.reverse_diffusion",
        "end * factor ** np.arange(num_steps + 1)",
    ): "another grid of times, and the claim holds for every grid; unit tests look at the grid itself",
    ("diffusion.reverse_diffusion", "small < 1"): "a time of exactly 1 goes to the other part of the grid",
    ("diffusion.reverse_diffusion", "self.num_evals + estimate.num_evals"): "a count that is reported",
}
"""Why what survives has the same law, by module and expression."""


# --- making mutants ---------------------------------------------------------------------------------------------------

_COMPARED = {ast.Lt: ast.LtE, ast.LtE: ast.Gt, ast.Gt: ast.GtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
_COMPUTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
             ast.BitOr: ast.BitAnd}  # fmt: skip
_CALLED = {"minimum": "maximum", "maximum": "minimum", "cumsum": "cumprod", "exp": "expm1", "log": "log1p",
           "logical_and": "logical_or", "logical_or": "logical_and", "argmin": "argmax", "argmax": "argmin"}  # fmt: skip


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what an expression may be replaced by."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARED:
        yield ast.Compare(node.left, [_COMPARED[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in _COMPUTED:
        yield ast.BinOp(node.left, _COMPUTED[type(node.op)](), node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert):
        if not isinstance(node.operand, ast.Constant):
            yield node.operand
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "where" and len(node.args) == 3:
            yield ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], node.keywords)
        elif node.func.attr in _CALLED:
            yield ast.Call(
                ast.Attribute(node.func.value, _CALLED[node.func.attr], ast.Load()), node.args, node.keywords
            )
    elif isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value:
        yield ast.Constant(2 * node.value)


def _skipped(function: ast.FunctionDef) -> bool:
    return function.name in NOT_DRAWING or function.name.startswith(("check", "_check", "as_", "_as_"))


def mutants(source: str) -> list[tuple[ast.AST, int, str, str]]:
    """Return the trees of all mutants of a file, each with its line, and that expression before and after."""
    found = []
    tree = ast.parse(source)
    places: list[tuple[ast.AST, str, int | None]] = []

    def visit(node: ast.AST, drawing: bool) -> None:
        if isinstance(node, ast.Raise | ast.JoinedStr):
            return
        if isinstance(node, ast.FunctionDef):
            drawing = not _skipped(node)
            for statement in node.body:
                visit(statement, drawing)
            return
        for field, value in ast.iter_fields(node):
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    if drawing and any(True for _ in changes(child)):
                        places.append((node, field, index))
                    visit(child, drawing)

    visit(tree, False)
    for parent, field, index in places:
        child = getattr(parent, field) if index is None else getattr(parent, field)[index]
        for changed in changes(child):
            before, after = ast.unparse(child), ast.unparse(ast.fix_missing_locations(copy.deepcopy(changed)))
            _put(parent, field, index, ast.copy_location(changed, child))
            mutant = ast.fix_missing_locations(copy.deepcopy(tree))
            _put(parent, field, index, child)
            found.append((mutant, child.lineno, before, after))
    return found


def _put(parent: ast.AST, field: str, index: int | None, value: ast.AST) -> None:
    if index is None:
        setattr(parent, field, value)
    else:
        getattr(parent, field)[index] = value


# --- running one ------------------------------------------------------------------------------------------------------


class Replacing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a module other code."""

    def __init__(self, name: str, code: Any, file: Path) -> None:
        self.name, self.code, self.file = name, code, file

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Return where the module is."""
        del path, target
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.file, loader=self)

    def create_module(self, spec: Any) -> None:
        """Leave it to Python."""
        del spec

    def exec_module(self, module: Any) -> None:
        """Execute the other code."""
        exec(self.code, module.__dict__)


def file_of(module: str) -> Path:
    """Return the file of a module."""
    return ROOT / Path(*module.split(".")[1:]).with_suffix(".py")


def run_one(module: str, number: int, rows: list[str]) -> None:
    """Certify rows with a mutant in place of its module; print the verdict as JSON."""
    file = file_of(module)
    tree = mutants(file.read_text(encoding="utf-8"))[number][0]
    sys.meta_path.insert(0, Replacing(module, compile(tree, str(file), "exec"), file))
    verdict: dict[str, Any] = {"verdict": "survived", "check": ""}
    try:
        from ergodica.validation.certify import certify

        for row in rows:
            with contextlib.redirect_stdout(io.StringIO()):
                report = certify(row, seed=number + 1)
            if not report.passed:
                verdict = {"verdict": "killed", "check": report.failures[0].check if report.failures else "no evidence"}
                break
    except BaseException as error:
        verdict = {"verdict": "killed", "check": f"cannot run: {type(error).__name__}"}
    print(json.dumps(verdict))


def judged(module: str, number: int, rows: list[str]) -> dict[str, Any]:
    """Run a mutant in a process of its own."""
    command = [sys.executable, __file__, "--one", module, str(number), ",".join(rows)]
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, cwd=ROOT)
        lines = done.stdout.strip().splitlines()
        verdict = json.loads(lines[-1]) if lines else {"verdict": "killed", "check": "cannot run: the process ended"}
    except subprocess.TimeoutExpired:
        verdict = {"verdict": "killed", "check": f"does not end within {TIMEOUT} s"}
    return {**verdict, "seconds": round(time.monotonic() - began, 1)}


def subjects() -> dict[str, list[str]]:
    """Return the rows of the catalogue by the module that they rest on."""
    from ergodica.validation.catalogue import catalogue

    out: dict[str, list[str]] = {}
    for name, case in catalogue().items():
        if case.subject.__module__.startswith("ergodica.samplers"):
            out.setdefault(case.subject.__module__, []).append(name)
    return {module: rows for module, rows in {**out, **ALSO}.items() if file_of(module).is_file()}


def run(wanted: list[str], each: int) -> None:
    """Judge some mutants of each module that has no record yet."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for module, rows in subjects().items():
        short = module.removeprefix("ergodica.samplers.")
        if wanted and not any(part in short for part in wanted):
            continue
        all_of_it = mutants(file_of(module).read_text(encoding="utf-8"))
        numbers = sorted(random.Random(short).sample(range(len(all_of_it)), min(each, len(all_of_it))))
        path = RESULTS / f"{short}.json"
        records = json.loads(path.read_text(encoding="utf-8"))["mutants"] if path.is_file() else []
        known = {(record["before"], record["after"], record["line"]) for record in records}
        for number in numbers:
            _, line, before, after = all_of_it[number]
            if (before, after, line) in known:
                continue
            record = {"line": line, "before": before, "after": after, **judged(module, number, rows)}
            records.append(record)
            content = {"module": short, "rows": rows, "possible": len(all_of_it), "mutants": records}
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            print(
                f"{short}:{line} {record['verdict']:8} {record['seconds']:5.0f} s  {before} -> {after}  [{record['check']}]"
            )


# --- the page ---------------------------------------------------------------------------------------------------------

PAGE = ROOT / "docs" / "guide" / "mutants.md"

HEADER = """# Does the evidence notice?

A check that cannot fail proves nothing. `benchmarks/mutants.py` therefore breaks the library's own kernels by rule: it
changes one operator of a method that draws or decides (a comparison, a sign, a product, the branches of a choice, a
constant), and certifies the rows of the catalogue that rest on it. This page is written from its records.

"""


def page() -> None:
    """Write the page."""
    files = sorted(RESULTS.glob("*.json"))
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    rows, survivors = [], []
    totals = {"made": 0, "law": 0, "cannot": 0, "equivalent": 0, "open": 0}
    for content in contents:
        records = content["mutants"]
        cannot = [
            r for r in records if r["verdict"] == "killed" and r["check"].startswith(("cannot run", "does not end"))
        ]
        killed = [r for r in records if r["verdict"] == "killed" and r not in cannot]
        lived = [r for r in records if r["verdict"] == "survived"]
        equal = [r for r in lived if (content["module"], r["before"]) in EQUIVALENT]
        for key, part in zip(
            totals, (records, killed, cannot, equal, [r for r in lived if r not in equal]), strict=True
        ):
            totals[key] += len(part)
        rows.append(
            f"| `{content['module']}` | {len(records)} of {content['possible']} | {len(killed)} | {len(cannot)} | {len(equal)} | "
            f"{len(lived) - len(equal)} |"
        )
        for record in lived:
            reason = EQUIVALENT.get((content["module"], record["before"]), "**open**")
            survivors.append(
                f"- `{content['module']}`, line {record['line']}: `{record['before']}` became `{record['after']}`: {reason}."
            )
    text = HEADER + (
        f"**In short.** Of {totals['made']} mutants, {totals['law']} were found by a check and {totals['cannot']} cannot run or "
        f"never end. Of those that survived, {totals['equivalent']} keep the law that is claimed, for the reasons below, and "
        f"{totals['open']} are open.\n\n"
        "| module | mutants | found | cannot run | same law | open |\n|---|--:|--:|--:|--:|--:|\n" + "\n".join(rows)
    )
    text += (
        "\n\n## What survived\n\n"
        + "\n".join(survivors)
        + "\n\n## What was learnt\n\nA mutant of the coordinate slice "
        "sampler that accepts its last point when a cap ends the search had survived: no check of the catalogue made a cap "
        "decide. Slice samplers are now also checked with caps that are hit often.\n"
    )
    PAGE.write_text(text, encoding="utf-8")
    print(PAGE.relative_to(ROOT), totals)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wanted", nargs="*")
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--one", nargs=3, metavar=("MODULE", "NUMBER", "ROWS"))
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    if options.page:
        page()
    elif options.one:
        module, number, rows = options.one
        run_one(module, int(number), rows.split(","))
    else:
        run(options.wanted, options.each)
        page()


if __name__ == "__main__":
    main()
