"""What judges are made of: a check, comparisons that show the first wrong index, and words for code that fails.

The methods and their bounds are those of minivgg.gradcheck.
"""

import inspect
import traceback
from dataclasses import dataclass

import numpy as np

from minivgg import gradcheck
from minivgg.program import first_line

BOUND = 1e-12  # of the definition and of golden numbers with all their digits, float64
TO_BE_WRITTEN = "still to be written"  # what is said of a body that is as it was handed out
CALLED = "called with "  # how a note begins that says what a function was called with


class Wrong(Exception):
    """Found something that cannot be compared; the message is one line."""


@dataclass(frozen=True)
class Check:
    """One line: what was asked, whether it holds, and if not, where it does not."""

    method: str
    passed: bool
    words: str = ""


def judged(exercise, function, path=""):
    """The checks of a function, in turn; ends at the first that cannot be made. `path`: the learner's file."""
    method, failed = "answers", False
    try:
        for check in exercise.judge(function if exercise.attribute else Kept(function)):
            method, failed = check.method, failed or not check.passed
            yield check
    except Wrong as wrong:
        yield Check(f"after {method}" if method != "answers" else method, False, str(wrong))
    except BaseException as error:  # SystemExit as well: it is a learner's code
        if not failed or lines_of(error, path):  # else it is the judge that stumbled over what failed before
            yield Check("runs", False, words_of(error, path))


def lines_of(error, path):
    """The lines of the learner's file that an exception came through."""
    return [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]


def words_of(error, path):
    """What an exception of a learner's code says, with the line of his file, and what it was called with."""
    if isinstance(error, NotImplementedError):
        return TO_BE_WRITTEN
    places = lines_of(error, path)
    where = f"line {places[-1]}: " if places else "" if path == "" else "with what it returned: "
    if isinstance(error, SystemExit):
        return f"{where}ends the program (sys.exit)"
    name, said = type(error).__name__, first_line(error)
    call = "".join(f"; {note}" for note in getattr(error, "__notes__", ()) if note.startswith(CALLED))
    return f"{where}raises {name}" + (f": {said}" if said != name else "") + call


class Kept:
    """A function that is not to change its inputs: Wrong if it does."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *args, **options):
        before = [_copies(a) for a in args]
        try:
            result = self.function(*args, **options)
        except Exception as error:
            words = [f"{name} {sizes}" for name, a in zip(self._names(len(args)), args) if (sizes := _sizes(a))]
            words += [f"{name}={value!r}" for name, value in options.items() if isinstance(value, int | float)]
            error.add_note(CALLED + ", ".join(words))
            raise
        for name, a, b in zip(self._names(len(args)), args, before):
            if not _same(a, b):
                raise Wrong(f"changes its input {name}")
        return result

    def _names(self, count):
        names = list(inspect.signature(self.function).parameters)
        return [*names, *map(str, range(len(names), count))]


def _sizes(value):
    """The shape of an array, a number as it is; "" for anything else."""
    return f"{value.shape}" if isinstance(value, np.ndarray) else f"{value}" if isinstance(value, int | float) else ""


def _copies(value):
    if isinstance(value, list | tuple):
        return [_copies(v) for v in value]
    return value.copy() if isinstance(value, np.ndarray) else value


def _same(a, b):
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return not isinstance(a, np.ndarray) or np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def parts(result, *names):
    """The result as so many parts; Wrong if it is not a tuple of them."""
    if not isinstance(result, tuple) or len(result) != len(names):
        found = f"{len(result)} values" if isinstance(result, tuple) else _kind(result)
        raise Wrong(f"returns {found}, expected the {len(names)} values {', '.join(names)}")
    return result


def compare(method, bound=BOUND, **pairs):
    """Check that arrays or numbers, NAME=(found, expected), agree; shows the first entry that does not."""
    for name, (found, expected) in pairs.items():
        words = difference(name, found, np.asarray(expected), bound)
        if words:
            return Check(method, False, words)
    return Check(method, True)


def difference(name, found, expected, bound):
    """In words, the first entry of an array that is off by more than bound times the largest; "" if none is."""
    if not isinstance(found, np.ndarray | np.number | int | float | complex) or isinstance(found, bool):
        return f"{name} is {_kind(found)}, expected {'an array' if expected.ndim else 'a number'}"
    found = np.asarray(found)
    if found.shape != expected.shape:
        if found.ndim and expected.ndim:
            return f"{name} has the shape {found.shape}, expected {expected.shape}"
        return f"{name} is {_shaped(found)}, expected {_shaped(expected)}"
    if found.dtype.kind not in ("iufc" if expected.dtype.kind == "c" else "iuf"):
        return f"{name} has the type {found.dtype}, expected numbers"
    with np.errstate(invalid="ignore"):
        off, scale = abs(found - expected), max(abs(a[np.isfinite(a)]).max(initial=0) for a in (found, expected))
    wrong = ~(off <= bound * scale) & ~(np.isnan(found) & np.isnan(expected))
    if not wrong.any():
        return ""
    index = tuple(int(k) for k in np.argwhere(wrong)[0])
    worst = gradcheck.Deviation(name, index, found[index].item(), expected[index].item(), 0.0)
    count = f"; {wrong.sum()} of {wrong.size} entries are wrong" if expected.ndim else ""
    return f"{worst}{count}" + (f"; {rough}" if (rough := _rougher(name, found, expected)) else "")


def _rougher(name, found, expected):
    """In words, a type that cannot hold the values that are expected; "" if it can."""
    if expected.dtype.kind not in "fc" or np.can_cast(expected.dtype, found.dtype):
        return ""
    return f"{name} has the type {found.dtype}, expected {expected.dtype}"


def _shaped(array):
    return f"an array of the shape {array.shape}" if array.ndim else "a number"


def _kind(value):
    return "None" if value is None else "an array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def slopes(method, f, x, dout=1.0, **options):
    """The gradient of <dout, f(x)> by a method of gradcheck, in the shape of x."""
    return method(f, x, dout, **options).reshape(x.shape)


def gradients(backward, alone, inputs, dout, *, case="", central_step=gradcheck.STEP, analytic=True):
    """Central differences, then complex step.

    backward  {name: gradient} of the learner's
    alone     for each of them, the forward as a function of one input
    case      which of several inputs, in words
    """
    methods = [("central difference", gradcheck.central_difference, {"step": central_step}, gradcheck.BOUND_CENTRAL)]
    if analytic:
        methods.append(("complex step", gradcheck.complex_step, {}, gradcheck.BOUND_COMPLEX))
    for name, method, options, bound in methods:
        expected = [slopes(method, f, x, dout, **options) for f, x in zip(alone, inputs)]
        yield compare(f"{name} {case}".strip(), bound, **{k: (g, e) for (k, g), e in zip(backward.items(), expected)})


def adjoint(J, JT, u, v, case):
    """The adjoint identity <v, J u> = <Jᵀ v, u>."""
    method = f"adjoint identity {case}"
    back = JT(v)
    words = difference("Jᵀ v", back, u, np.inf)  # type and shape
    if words:
        return Check(method, False, words)
    error = gradcheck.adjoint_error(J, lambda _: back, u, v)
    found, expected = gradcheck.inner(back, u), gradcheck.inner(v, J(u))
    words = "" if error <= gradcheck.BOUND_ADJOINT else f"<Jᵀ v, u> is {found:.10g}, <v, J u> is {expected:.10g}"
    return Check(method, not words, words)


def keeps_float32(**arrays):
    """Check that NAME=array, computed from float32 arrays, is float32, as a picture is: half the time and memory."""
    for name, array in arrays.items():
        if getattr(array, "dtype", None) != np.float32:
            found = f"has the type {array.dtype}" if hasattr(array, "dtype") else f"is {_kind(array)}"
            return Check("float32 stays", False, f"{name} {found}, expected float32, as the input has")
    return Check("float32 stays", True)


def refuses(method, f, *args, error=ValueError, **options):
    """Check that a call raises."""
    try:
        f(*args, **options)
    except error:
        return Check(method, True)
    sizes = ", ".join(words for a in args if (words := _sizes(a)))
    return Check(method, False, f"returns, expected it to raise {error.__name__}; {CALLED}{sizes}")
