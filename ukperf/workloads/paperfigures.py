"""The figures of the paper that ukperf starts from, as data. Which guests are named here, the paper decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ukperf.model import QuotedCalls

BASELINE = "linux"  # what it divides by

# Table I: the number of calls "supported", as its authors quote it.
TABLE_I = {
    "linux": QuotedCalls("Linux 3.7", 393),
    "unikraft": QuotedCalls("Unikraft", 146),
    "nanos": QuotedCalls("nanos", 148),
}


@dataclass(frozen=True)
class PaperNumber:
    """One line of Table II or III. seconds: by guest, on an EC2 t2.micro (Xen)."""

    table: str
    benchmark: str
    seconds: Mapping[str, float]


TABLES_II_AND_III = (
    PaperNumber("II", "multinomialnb train", {"nanos": 0.27, "linux": 0.25}),
    PaperNumber("II", "multinomialnb test", {"nanos": 0.039, "linux": 0.038}),
    PaperNumber("III", "extratrees train", {"nanos": 44.19, "linux": 43.58}),
    PaperNumber("III", "extratrees test", {"nanos": 1.31, "linux": 1.32}),
)


@dataclass(frozen=True)
class CostClaim:
    """A factor: one guest's operation over another's, and whose words say so."""

    over: tuple[str, str]
    under: tuple[str, str]
    words: str


# "Up to 20 times a function call" and "up to 60 times cheaper" both come from Unikraft's EuroSys'21 table, in cycles:
# Linux 222 (154 without mitigations), Unikraft's run-time translation 84, a function call 4. 84 / 4 = 21 is the "20
# times", 222 / 4 = 55.5 the "60 times". `+vsyscall`: the guest entered by a function call.
_TRANSLATION = "the paper: run-time translation up to 20× a function call"
_ENTRY = "the paper: Unikraft's function-call entry up to 60× cheaper than Linux"
_LINUX = "EuroSys'21: 222 / 4 cycles = 55.5×, the paper's 60×"
COST_CLAIMS = (
    CostClaim(("unikraft", "noop.raw"), ("unikraft", "call.direct"), _TRANSLATION),
    CostClaim(("nanos", "noop.raw"), ("nanos", "call.direct"), _TRANSLATION),
    CostClaim(("linux", "noop.raw"), ("linux", "call.direct"), _LINUX),
    CostClaim(("native", "noop.raw"), ("native", "call.direct"), _LINUX),
    CostClaim(
        ("linux", "noop.raw"),
        ("unikraft+vsyscall", "noop.vsyscall"),
        _ENTRY,
    ),
    CostClaim(
        ("unikraft", "noop.raw"),
        ("unikraft+vsyscall", "noop.vsyscall"),
        "EuroSys'21: 84 / 4 cycles = 21×, run-time translation over function call",
    ),
    CostClaim(
        ("linux", "getuid.raw"),
        ("unikraft+vsyscall", "getuid.vsyscall"),
        "the same with a call that does something: getuid",
    ),
)


# What its three frameworks are today, as runtimes and by the names that `ukperf deps` has for them.
FRAMEWORKS = {"PyTorch": "torch", "TensorFlow Lite": "litert", "ONNX": "onnxruntime"}
# Its two classifiers (section V.A) as docs/models.md has them, and who is set against whom on them.
CLASSIFIERS = ("nb", "trees")
LEARNER, RIVAL = "sklearn", "onnxruntime"


class Topic(StrEnum):
    """What a claim is about, that was compared: guest ÷ baseline."""

    INFERENCE = "inference"  # its two tests, as one figure
    LATENCY = "latency"  # of its classifiers, in each runtime
    BOOT = "boot"
    MEMORY = "memory"


class Rule(StrEnum):
    """How a claim is judged (workloads/paperverdicts.py)."""

    ADVANTAGE = "advantage"  # of a size: it is that, rounded to whole percents
    FASTER = "faster"  # surely less than the baseline, in all that it is about
    NOT_FASTER = "not faster"
    OWN_TABLES = "own tables"  # of a mean advantage: what its Tables II and III themselves say
    FACTOR = "factor"  # a ratio of costs is at least so large
    CALLS = "calls"  # so many system calls
    CANNOT_RUN = "cannot run"  # no runtime runs in the guest
    RUNS_ALL = "runs all"  # whatever runs in the baseline runs in the guest
    NEEDS = "needs"  # a framework needs what the paper names for it
    NOT_HERE = "not here"  # nothing that can be measured here


@dataclass(frozen=True)
class PaperClaim:
    """One claim. quote: the paper's words; where: in it. guests: that it is about.

    topic: of ADVANTAGE, FASTER and NOT_FASTER. size: of ADVANTAGE, 0.01 is 1 %. factor: of FACTOR, and costs: the
    words of the COST_CLAIMS that are measured against it. framework: of NEEDS. why: of NOT_HERE, and of FACTOR where
    costs were measured and none of them was that.
    """

    name: str
    quote: str
    where: str
    rule: Rule
    guests: tuple[str, ...] = ()
    topic: Topic | None = None
    size: float = 0.0
    factor: float = 0.0
    costs: str = ""
    framework: str = ""
    why: str = ""


_UNIKERNELS = ("nanos", "unikraft")
CLAIMS = (
    PaperClaim(
        "advantage in its tables",
        "For inference, the nanos unikernel can offer only a mere 1% average advantage.",
        "section V.A, against its own Tables II and III",
        Rule.OWN_TABLES,
        ("nanos",),
    ),
    PaperClaim(
        "advantage",
        "it only offered a 1% advantage over a traditional deployment",
        "abstract",
        Rule.ADVANTAGE,
        ("nanos",),
        Topic.INFERENCE,
        size=0.01,
    ),
    PaperClaim(
        "no gains",
        "the nanos Unikernels with run-time translation of system calls did not offer any significant gains in "
        "performance over traditional deployments",
        "section VII",
        Rule.NOT_FASTER,
        ("nanos",),
        Topic.INFERENCE,
    ),
    PaperClaim(
        "translation",
        "the nanos unikernels approach of binary compatibility via runtime translation system calls is not effective "
        "for optimizing machine learning systems",
        "section V.A",
        Rule.NOT_FASTER,
        ("nanos",),
        Topic.LATENCY,
    ),
    PaperClaim(
        "performant",
        "Unikernels provide the advantage of being extremely resource efficient and highly performant by eliminating "
        "the need for context switches",
        "section II, by the latency of inference",
        Rule.FASTER,
        _UNIKERNELS,
        Topic.LATENCY,
    ),
    PaperClaim(
        "unikraft cannot run",
        "our testing could not include more innovative systems like Unikraft due to their immaturity and inability to "
        "run machine learning libraries",
        "abstract",
        Rule.CANNOT_RUN,
        ("unikraft",),
    ),
    PaperClaim(
        "nanos runs binaries",
        "existing binaries can be packaged and executed as a unikernel",
        "section III.B, of nanos",
        Rule.RUNS_ALL,
        ("nanos",),
    ),
    PaperClaim(
        "60 times",
        "an innovative POSIX compatibility layer which decreases the cost of system calls up to 60x",
        "section III.A, of Unikraft",
        Rule.FACTOR,
        factor=60,
        costs=_ENTRY,
        why="no kernel here has a function-call entry (__kernel_vsyscall) that works, as `ukperf syscall-cost` probes",
    ),
    PaperClaim(
        "20 times",
        "run-time translation of system calls can be up to 20x more expensive than system calls implemented as regular "
        "function calls",
        "section III.B",
        Rule.FACTOR,
        factor=20,
        costs=_TRANSLATION,
    ),
    *(
        PaperClaim(
            f"calls of {guest}",
            f"{quoted.kernel[0].upper()}{quoted.kernel[1:]} {quoted.supported}",
            "Table I, system calls supported",
            Rule.CALLS,
            (guest,),
        )
        for guest, quoted in TABLE_I.items()
    ),
    PaperClaim(
        "needs of PyTorch",
        "PyTorch also requires various scientific computation libraries which are important to machine learning "
        "frameworks such as gemmlowp, eigen, sleef, libfxdiv",
        "section V.B, Figure 1",
        Rule.NEEDS,
        ("unikraft",),
        framework="PyTorch",
    ),
    PaperClaim(
        "needs of TensorFlow Lite",
        "The build requirements of tensorflow-lite are like that for PyTorch requiring a C++ runtime, a network stack, "
        "a thread scheduler",
        "section V.B, Figure 2",
        Rule.NEEDS,
        ("unikraft",),
        framework="TensorFlow Lite",
    ),
    PaperClaim(
        "needs of ONNX",
        "It requires a pthread implementation such as pthread-embedded, a libc implementation such as newlib",
        "section V.B",
        Rule.NEEDS,
        ("unikraft",),
        framework="ONNX",
    ),
    PaperClaim("boot", "fast boot times", "section VI, by the least program", Rule.FASTER, _UNIKERNELS, Topic.BOOT),
    PaperClaim(
        "memory",
        "low resource consumption, high density per host",
        "section VI, by the peak memory of the VMM with a runtime in it",
        Rule.FASTER,
        _UNIKERNELS,
        Topic.MEMORY,
    ),
    PaperClaim(
        "survey",
        "the majority of machine learning practitioners are using the CPU for machine learning deployments",
        "abstract",
        Rule.NOT_HERE,
        why="it is a survey of 20 answers, and its sentence in section VII says on both CPUs and GPUs",
    ),
)
