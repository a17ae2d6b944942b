"""`ukperf serve`: a web server in each guest, and load on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukperf.cli import programs as p
from ukperf.cli.measuring import Shared, measuring
from ukperf.cli.run import Output

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- PROGRAM [ARG]…]", help="The server and its arguments, behind --."),
]
Port = Annotated[int, typer.Option(metavar="PORT", help="The port that the program listens on.")]
UrlPath = Annotated[str, typer.Option(metavar="PATH", help="What is asked for.")]
Body = Annotated[Path | None, typer.Option(metavar="FILE", help="What is sent with each request, as a POST.")]
Rate = Annotated[
    list[str] | None,
    typer.Option(metavar="N", help="Open loop: requests a second, answered or not; again for more. Default: 100."),
]
Arrivals = Annotated[str, typer.Option(metavar="poisson|constant", help="How the requests of --rate are spread.")]
Connections = Annotated[int, typer.Option(metavar="N", help="Closed loop: clients that ask again at once. 0: none.")]
KeepAlive = Annotated[
    bool, typer.Option("--keep-alive/--no-keep-alive", help="Ask again on a connection that was answered.")
]
Duration = Annotated[float, typer.Option(metavar="S", help="Seconds of each load.")]
Warmup = Annotated[float, typer.Option(metavar="S", help="Seconds of load before anything counts.")]
Bound = Annotated[
    float, typer.Option(metavar="MS", help="Look for the greatest rate whose p99 is within so many ms. 0: do not.")
]
PinLoad = Annotated[str | None, typer.Option(metavar="CPUS", help="CPUs of the load generator, like 1 or 2-3.")]
Runtime = Annotated[
    str | None,
    typer.Option(metavar="RUNTIME", help="Instead of a program: serve a model of this runtime of `ukperf infer`."),
]
Model = Annotated[
    str | None, typer.Option(metavar="NAME", help="With --runtime: a model that ukperf makes. Default: its first.")
]
ModelFile = Annotated[Path | None, typer.Option(metavar="FILE", help="With --runtime: a model of your own.")]
Inputs = Annotated[Path | None, typer.Option(metavar="FILE", help="With --model-file: its rows, a .npy file.")]


@measuring(after="append")
def command(
    shared: Shared,
    program: Words = None,
    port: Port = 8080,
    path: UrlPath = "/",
    body: Body = None,
    rate: Rate = None,
    arrivals: Arrivals = "poisson",
    connections: Connections = 8,
    keep_alive: KeepAlive = True,
    duration: Duration = 10.0,
    warmup: Warmup = 2.0,
    bound: Bound = 0.0,
    pin_load: PinLoad = None,
    runtime: Runtime = None,
    model: Model = None,
    model_file: ModelFile = None,
    inputs: Inputs = None,
    file: p.File = None,
    env: p.Env = None,
    cwd: p.Cwd = "/",
    output: Output = "equal",
    python: p.Python = False,
    package: p.Package = None,
    requirements: p.Requirements = None,
    interpreter: p.Interpreter = None,
) -> None:
    """Load a web server in each guest, and compare latencies.

    The load comes from this machine. Compared is the time to the first answer, too. Each guest has a network that only
    this machine reaches, by a port of its loopback interface; no root. Latency is counted from when a request was meant
    to begin, so that a server that stands still hides nothing. A boot is a unit: p50, p99 and their ratio, throughput,
    and the time from the machine's start to the first answer. --timeout is for that answer. The server is ended with
    its guest.

    Example: ukperf serve --runtime sklearn --guest linux --boots 6
    """
    from ukperf.cli.options import parse_cpus
    from ukperf.cli.output import run_workload
    from ukperf.paths import absolute
    from ukperf.workloads.serve import ServeOptions

    options = ServeOptions(
        words=tuple(program or ()),
        files=tuple(file or ()),
        env=tuple(env or ()),
        cwd=cwd,
        output=output,
        python=python,
        packages=tuple(package or ()),
        requirements=absolute(requirements) if requirements else None,
        interpreter=absolute(interpreter) if interpreter else None,
        port=port,
        path=path,
        body=absolute(body) if body else None,
        rates=tuple(rate or ("100",)),
        arrivals=arrivals,
        connections=connections,
        keep_alive=keep_alive,
        duration=duration,
        warmup=warmup,
        bound=bound,
        pin_load=parse_cpus(pin_load) if pin_load else (),
        within_s=shared.timeout_s() or ServeOptions.within_s,
        runtime=runtime or "",
        model=model or "",
        model_file=absolute(model_file) if model_file else None,
        inputs=absolute(inputs) if inputs else None,
    )
    run_workload("serve", options, shared.request(boots=6), shared.json, shared.brief)
