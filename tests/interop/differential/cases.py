"""The command lines that are compared, by what they are about.

A case is written as it is typed. What stands in braces is filled in by each run: ``{port}`` of
the control connection, ``{data}`` a free port, ``{dir}`` a folder with the files below,
``{sink}`` a port that swallows, ``{echo}`` a port that answers. ``-H`` and ``-p`` come first
unless the case is ``bare``.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

FILES = {
    "one.sel": "THROUGHPUT,THROUGHPUT_UNITS,ELAPSED_TIME\n",
    "two.sel": "THROUGHPUT,MEAN_LATENCY\nP99_LATENCY,REQUEST_SIZE\n",
    "titles.sel": "Throughput,Elapsed Time (sec),Request Size Bytes\n",
    "fill": "netperf fills its buffers from this file " * 4000,
}


@dataclass(frozen=True)
class Case:
    """One command line.

    Attributes:
        line: What follows the program's name.
        bare: Whether the line names host and port itself, or needs none.
        host: ``-H`` of a line that is not bare. 127.0.0.2 where the client's data port is
            given: it would meet itself on the host it comes from.
        interrupt: Signal that is sent to the client after its first interim result.
        environment: Variables beside those there are.
        ours: Why xenrr differs from netperf on purpose; what it prints then has to be on the
            same streams, and its exit code has to be the same.
        crash: What netperf does instead of reporting an error; xenrr has to report one.
        target: Why xenrr's server differs on purpose for netperf's client, which then has to
            end with an error.
        unlike: Selectors whose values differ on purpose, see ``UNLIKE``.
        more_err: xenrr adds a sentence on stderr that says what was meant.
        free_width: The columns are as wide as what stands in them.
        engines: Whether the pure Python engine has to show the same.
        program: ``netserver`` for the few lines that are its own.
    """

    line: str
    bare: bool = False
    host: str = "127.0.0.1"
    interrupt: signal.Signals | None = None
    environment: tuple[tuple[str, str], ...] = ()
    ours: str = ""
    crash: str = ""
    target: str = ""
    unlike: tuple[str, ...] = ()
    more_err: bool = False
    free_width: bool = False
    engines: bool = False
    program: str = "netperf"


USAGE = "the words of the usage are xenrr's own, and name its own options too"
HISTOGRAM = "Debian's netperf is built without the histogram that -j -v 2 asks xenrr for"
SELECTORS = "the list names xenrr's own selectors too"
LATENCIES_OF_FILES = "netperf measures the latencies that a file asks for only with -j"
PACING = "Debian's netperf is built without pacing and says so; xenrr paces"
TOO_LONG = "xenrr's server refuses what no datagram holds, netserver waits for it"
UNLIKE = {
    "SOCKET_TYPE": "netperf calls the UDP socket of an omni test a Stream",
    "LOCAL_TRANSPORT_RETRANS": "netperf looks at the last connection when it is closed already",
    "LOCAL_CONG_CONTROL": "the same",
    "REMOTE_CONG_CONTROL": "the same",
}
OF_THE_LAST_CONNECTION = ("LOCAL_TRANSPORT_RETRANS", "LOCAL_CONG_CONTROL",
                          "REMOTE_CONG_CONTROL")
LATENCIES = ("MIN_LATENCY,MEAN_LATENCY,MAX_LATENCY,P50_LATENCY,P90_LATENCY,P99_LATENCY,"
             "STDDEV_LATENCY,RT_LATENCY,TRANSACTION_RATE,THROUGHPUT,THROUGHPUT_UNITS")


def tables() -> Iterator[Case]:
    """Banner and table of every test at every verbosity."""
    for test in ("TCP_RR", "UDP_RR", "TCP_STREAM", "TCP_MAERTS"):
        yield Case(f"-t {test} -l 1", engines=True)
        for options in ("-P 0", "-P 0 -B mytag", "-B mytag", "-v 0", "-v 0 -P 0", "-v 2",
                        "-P 0 -v 2", "-c", "-C", "-c -C", "-c -C -v 0", "-c -v 0 -P 0 -B tag",
                        "-C -v 0 -P 0", "-c -C -v 2", "-c -C -P 0 -B tag"):
            yield Case(f"-t {test} -l 1 {options}")
    for test in ("TCP_SENDFILE", "UDP_STREAM"):
        yield Case(f"-t {test} -l 1", engines=True)
        for options in ("-P 0 -B mytag", "-v 0", "-v 0 -P 0", "-v 2", "-c", "-C -P 0", "-c -C",
                        "-c -C -v 0 -P 0", "-c -C -v 2"):
            yield Case(f"-t {test} -l 1 {options}")
    for test in ("TCP_CRR", "TCP_CC"):
        yield Case(f"-t {test} -l 1", engines=True)
        for options in ("-P 0 -B mytag", "-v 0", "-v 0 -P 0", "-v 2", "-c -C", "-c -C -v 0"):
            yield Case(f"-t {test} -l 1 {options}")
    for line in ("-t TCP_MSS -l 1", "-t TCP_MSS -l 1 -v 0 -P 0", "-t TCP_MSS -l 1 -v 2",
                 "-t REM_CPU", "-t LOC_CPU", "-t UUID", "-t UUID -P 0 -v 0"):
        yield Case(line)
    yield Case("-l 1")
    yield Case("-t tcp_rr -l 1")
    yield Case("-t Udp_Rr -l 1 -P 0")
    yield Case("-t TCP_RR -l 1 -j")
    yield Case("-t TCP_RR -l 1 -v 3 -P 0")
    yield Case("-t TCP_RR -l 1 -j -v 2", ours=HISTOGRAM)


def lengths() -> Iterator[Case]:
    """What -l takes."""
    for length in ("-1000", "1.0", "1s", "-1k", "0001"):
        yield Case(f"-t TCP_RR -l {length} -P 0")
    for line in ("-t UDP_RR -l -500", "-t TCP_STREAM -l -1000000", "-t TCP_STREAM -l -1M -P 0",
                 "-t TCP_MAERTS -l -1M", "-t TCP_SENDFILE -l -1M", "-t UDP_STREAM -l -1M",
                 "-t TCP_CRR -l -50", "-t omni -l -1000 -- -d rr -k THROUGHPUT_UNITS"):
        yield Case(line)


def units() -> Iterator[Case]:
    """Every letter of -f on a transaction test, the most used ones on others."""
    for unit in "BKMGbkmgxu":
        yield Case(f"-t TCP_RR -l -200 -f {unit} -- -r 100,200")
    for unit in "Kmx":
        yield Case(f"-t TCP_RR -l -200 -f {unit} -v 2 -c -C")
        yield Case(f"-t TCP_STREAM -l 1 -f {unit} -c -C")
        yield Case(f"-t TCP_RR -l -200 -f {unit} -- -k THROUGHPUT,THROUGHPUT_UNITS,SD_UNITS")
    for unit in "BKMGkg":
        yield Case(f"-t TCP_STREAM -l 1 -f {unit}")
    yield Case("-t UDP_STREAM -l 1 -f M -- -m 1000")
    yield Case("-t TCP_CRR -l 1 -f k")
    yield Case("-t UDP_RR -l -200 -f g -P 0 -v 0")


def interim() -> Iterator[Case]:
    """Both forms of -D in every output."""
    for test in ("TCP_RR", "TCP_STREAM", "TCP_MAERTS", "UDP_RR"):
        yield Case(f"-t {test} -l 2 -D -0.4", engines=True)
        for output in ("-k", "-o", "-O"):
            yield Case(f"-t {test} -l 2 -D -0.4 -- {output}", free_width=output == "-O")
    yield Case("-t TCP_RR -l 2 -D 0.5")
    yield Case("-t TCP_RR -l 2 -D 0.5,50 -P 0 -v 0")
    yield Case("-t TCP_RR -l 2 -D -0.4 -f m -v 2")
    yield Case("-t TCP_STREAM -l 2 -D -0.4 -f K")
    yield Case("-t UDP_STREAM -l 2 -D -0.4 -- -m 1000")
    yield Case("-t TCP_CRR -l 2 -D -0.5")
    yield Case("-t TCP_RR -l 2 -D -0.4 -- -k THROUGHPUT")
    yield Case("-t TCP_SENDFILE -l 1 -D -0.4")
    yield Case("-t TCP_CC -l 1 -D -0.4")


def selectors() -> Iterator[Case]:
    """-o, -O and -k."""
    for test in ("TCP_RR", "UDP_RR", "TCP_CRR", "TCP_STREAM", "TCP_MAERTS", "UDP_STREAM",
                 "omni"):
        for output in "oOk":
            yield Case(f"-t {test} -l 1 -- -{output}", free_width=output == "O")
    for test in ("TCP_RR", "TCP_STREAM"):
        for output in "oOk":
            wide = output == "O"
            yield Case(f"-t {test} -l 1 -c -C -- -{output}", free_width=wide)
            yield Case(f"-t {test} -l 1 -c -C -- -{output} all", free_width=wide)
            yield Case(f"-t {test} -l 1 -- -{output} all", free_width=wide)
    unlike = {"TCP_CRR": OF_THE_LAST_CONNECTION}
    for test in ("UDP_RR", "TCP_MAERTS", "UDP_STREAM", "TCP_CRR"):
        yield Case(f"-t {test} -l 1 -- -k all", unlike=unlike.get(test, ()))
    yield Case("-t TCP_RR -l 1 -c -C -P 0 -- -o all")
    yield Case(f"-t TCP_RR -l 1 -- -o {LATENCIES}", engines=True)
    yield Case(f"-t UDP_RR -l 1 -- -k {LATENCIES},BURST_SIZE -b 8", engines=True)
    yield Case(f"-t TCP_STREAM -l 1 -- -k {LATENCIES}")
    yield Case(f"-t TCP_MAERTS -l 1 -- -k {LATENCIES}")
    yield Case(f"-t TCP_CRR -l 1 -- -o {LATENCIES}")
    for argument in ("THROUGHPUT,THROUGHPUT_UNITS;MIN_LATENCY,P99_LATENCY,MEAN_LATENCY",
                     "OUTPUT_NONE,THROUGHPUT", "throughput,Elapsed_Time", "{dir}/one.sel",
                     "{dir}/titles.sel", "THROUGHPUT,THROUGHPUT"):
        for output in "oOk":
            yield Case(f"-t TCP_RR -l 1 -- -{output} '{argument}'", free_width=output == "O")
    for output in "oOk":
        yield Case(f"-t TCP_RR -l 1 -j -- -{output} {{dir}}/two.sel", free_width=output == "O")
    yield Case("-t TCP_RR -l 1 -- -k {dir}/two.sel", ours=LATENCIES_OF_FILES)
    yield Case("-t TCP_RR -l 1 -- -k THROUGHPUT,NO_SUCH_THING", more_err=True)
    yield Case("-t TCP_RR -l 1 -B brand -- -k THROUGHPUT,RESULT_BRAND")
    yield Case("-t TCP_RR -l 1 -B 'two words' -- -o THROUGHPUT,RESULT_BRAND,UUID,COMMAND_LINE")
    yield Case("-t TCP_RR -l 1 -- -u my-own-uuid -k UUID")
    yield Case("-t TCP_RR -l 1 -- -o -k THROUGHPUT")
    yield Case("-t TCP_RR -l 1 -P 0 -- -O THROUGHPUT,ELAPSED_TIME", free_width=True)
    yield Case("-t TCP_RR -l 1 -v 0 -P 0 -- -o THROUGHPUT")
    yield Case("-t TCP_RR -l 1 -v 2 -- -k THROUGHPUT")
    for output in "oOk":
        yield Case(f"-t TCP_RR -- -{output} ?", ours=SELECTORS)


def omni() -> Iterator[Case]:
    """The general test in its directions and protocols."""
    for options in ("-d send", "-d xmit", "-d stream", "-d recv", "-d receive", "-d maerts",
                    "-d rr", "-d 'send|recv'", "-d rr -T udp", "-d send -T udp -m 1000",
                    "-T udp -r 10,20", "-r 1,1", "-r 64", "-m 1000", "-M 2000", "-m 100,200",
                    "-d rr -c", "-c", "-t stream", "-d 6", "-d rr -b 4 -D"):
        yield Case(f"-t omni -l 1 -- {options}", free_width=True)
    yield Case("-t omni -l 1 -c -C -- -d rr", free_width=True)
    yield Case("-t omni -l 1 -- -d rr -T udp -k THROUGHPUT,PROTOCOL,SOCKET_TYPE,DIRECTION",
               unlike=("SOCKET_TYPE",))
    yield Case("-t omni -l 1 -- -d recv -k DIRECTION,LOCAL_RECV_SIZE,REMOTE_SEND_SIZE")
    yield Case("-t omni -l 1 -v 2 -- -d rr -o", free_width=True)
    yield Case("-t omni -l 1 -P 0 -- -d rr", free_width=True)
    for protocol in ("sctp", "dccp", "nonsense"):
        yield Case(f"-t omni -l 1 -- -T {protocol}", free_width=True,
                   more_err=protocol == "nonsense")


def settings() -> Iterator[Case]:
    """Options that change how the test runs, seen in banner, table and selectors."""
    names = {
        "-r 100,200": "REQUEST_SIZE,RESPONSE_SIZE",
        "-r 100": "REQUEST_SIZE,RESPONSE_SIZE",
        "-r ,200": "REQUEST_SIZE,RESPONSE_SIZE",
        "-r 1K,2k": "REQUEST_SIZE,RESPONSE_SIZE",
        "-s 32K -S 64K": "LSS_SIZE_REQ,LSS_SIZE,LSR_SIZE,RSS_SIZE_REQ,RSS_SIZE,RSR_SIZE",
        "-s 32K,48K": "LSS_SIZE_REQ,LSR_SIZE_REQ,LSS_SIZE,LSR_SIZE,RSS_SIZE",
        "-S ,64K": "RSS_SIZE_REQ,RSR_SIZE_REQ,RSS_SIZE,RSR_SIZE",
        "-D": "LOCAL_NODELAY,REMOTE_NODELAY",
        "-C": "LOCAL_CORK,REMOTE_CORK",
        "-b 4": "BURST_SIZE",
        "-K reno": "LOCAL_CONG_CONTROL,REMOTE_CONG_CONTROL",
        "-K cubic,reno": "LOCAL_CONG_CONTROL,REMOTE_CONG_CONTROL",
        "-R 0": "THROUGHPUT_UNITS", "-R 1": "THROUGHPUT_UNITS", "-e 1": "THROUGHPUT_UNITS",
        "-G 1000": "TRANSPORT_MSS", "-n": "THROUGHPUT_UNITS", "-N": "THROUGHPUT_UNITS",
        "-I": "THROUGHPUT_UNITS", "-V": "THROUGHPUT_UNITS", "-W 2": "LOCAL_SEND_WIDTH",
        "-j 2": "THROUGHPUT_UNITS", "-4": "SOURCE_FAMILY,DEST_FAMILY",
        "-g": "THROUGHPUT_UNITS", "-a": "THROUGHPUT_UNITS", "-U": "THROUGHPUT_UNITS",
    }
    for options, shown in names.items():
        # netperf's counted burst may lose its last requests to a reset, and a corked socket
        # takes 0.2 s for each.
        length = "1" if options in ("-b 4", "-C") else "-200"
        yield Case(f"-t TCP_RR -l {length} -- {options}")
        yield Case(f"-t TCP_RR -l {length} -- {options} -k {shown},THROUGHPUT")
    for options in ("-n", "-N", "-e 1", "-r 1000", "-s 64K", "-R 0"):
        yield Case(f"-t UDP_RR -l -200 -- {options}")
    yield Case("-t UDP_RR -l 1 -- -b 4")
    for options in ("-m 1000", "-m 1000,2000", "-M 4000", "-m 64K -M 32K -D", "-s 64K -S 128K",
                    "-m 1000 -s 64K -S 128K", "-C", "-V"):
        yield Case(f"-t TCP_STREAM -l -4M -- {options}")
        yield Case(f"-t TCP_MAERTS -l 1 -- {options}")
    for options in ("-m 1000 -R 1", "-m 64 -s 32K -S 32K", "-m 1472 -M 9000", "-m 1000 -n"):
        yield Case(f"-t UDP_STREAM -l 1 -- {options}")
    for options in ("-m 1000", "-M 4000", "-s 64K -S 64K", "-D"):
        yield Case(f"-t TCP_SENDFILE -l -4M -- {options}")
    yield Case("-t TCP_CRR -l 1 -- -r 100,200")
    yield Case("-t TCP_CRR -l 1 -- -p 20000,40000")
    yield Case("-t TCP_CC -l 1 -- -p 20000,40000")
    yield Case("-t TCP_CC -l 1 -- -s 32K -S 64K")
    globals_ = {
        "-T 0,1": "LOCAL_CPU_BIND,REMOTE_CPU_BIND", "-T 0": "LOCAL_CPU_BIND,REMOTE_CPU_BIND",
        "-T ,1": "LOCAL_CPU_BIND,REMOTE_CPU_BIND", "-T 0,": "LOCAL_CPU_BIND,REMOTE_CPU_BIND",
        "-y 3": "LOCAL_SOCKET_PRIO,REMOTE_SOCKET_PRIO",
        "-y 3,5": "LOCAL_SOCKET_PRIO,REMOTE_SOCKET_PRIO",
        "-Y 0x20": "LOCAL_SOCKET_TOS,REMOTE_SOCKET_TOS",
        "-Y ef,cs1": "LOCAL_SOCKET_TOS,REMOTE_SOCKET_TOS",
        "-Y lowdelay": "LOCAL_SOCKET_TOS,REMOTE_SOCKET_TOS",
        "-Y ,16": "LOCAL_SOCKET_TOS,REMOTE_SOCKET_TOS",
        "-a 64 -A 128": "LOCAL_SEND_ALIGN,LOCAL_RECV_ALIGN,REMOTE_SEND_ALIGN,REMOTE_RECV_ALIGN",
        "-a 16,32": "LOCAL_SEND_ALIGN,LOCAL_RECV_ALIGN",
        "-o 3,4 -O 5,6": "LOCAL_SEND_OFFSET,LOCAL_RECV_OFFSET,REMOTE_SEND_OFFSET,"
                         "REMOTE_RECV_OFFSET",
        "-W 4,8": "LOCAL_SEND_WIDTH,LOCAL_RECV_WIDTH,REMOTE_SEND_WIDTH,REMOTE_RECV_WIDTH",
        "-F {dir}/fill": "LOCAL_FILL_FILE", "-F /dev/urandom": "LOCAL_FILL_FILE",
        "-S": "THROUGHPUT_UNITS", "-n 2 -c": "LOCAL_CPU_COUNT", "-4": "DEST_FAMILY",
        "-c 100 -C 100": "LOCAL_CPU_METHOD,REMOTE_CPU_METHOD,LOCAL_CPU_COUNT,REMOTE_CPU_COUNT",
        "-L 127.0.0.1": "SOURCE_ADDR,SOURCE_FAMILY", "-s 1": "THROUGHPUT_UNITS",
        "-L 127.0.0.1,inet": "SOURCE_ADDR,SOURCE_FAMILY",
    }
    for options, shown in globals_.items():
        yield Case(f"-t TCP_RR -l -200 {options} -v 2")
        yield Case(f"-t TCP_RR -l -200 {options} -- -k {shown}")
    yield Case("-t TCP_STREAM -l -4M -a 64 -o 3 -W 4 -v 2")
    yield Case("-t TCP_STREAM -l -4M -F {dir}/fill")
    yield Case("-t TCP_SENDFILE -l -4M -F {dir}/fill")
    yield Case("-t UDP_RR -l -200 -Y 0x10 -y 2 -T 0,0")
    yield Case("-t TCP_RR -l -200 -- -P ,{data}", host="127.0.0.2")
    yield Case("-t TCP_RR -l -200 -- -P {data2},{data} -k SOURCE_PORT,DEST_PORT",
               host="127.0.0.2")
    yield Case("-t UDP_RR -l -200 -- -P {data2},{data}")
    yield Case("-t TCP_STREAM -l -4M -- -P ,{data}", host="127.0.0.2")
    yield Case("-t TCP_RR -l -200 -- -H 127.0.0.1 -L 127.0.0.1 -k SOURCE_ADDR,DEST_ADDR")
    yield Case("-t TCP_RR -l -200 -- -L 127.0.0.1")
    yield Case("-t UDP_RR -l -200 -- -H 127.0.0.1")
    yield Case("-t TCP_RR -l -200 -b 5 -w 10", ours=PACING)
    yield Case("-t TCP_RR -l -200", host="::1")
    yield Case("-t UDP_RR -l -200 -6", host="::1")
    yield Case("-t TCP_STREAM -l -4M -- -k all", host="::1")
    yield Case("-t TCP_RR -l -200 -6", host="localhost,6")
    yield Case("-t TCP_RR -l -200 -P 0 -4", host="localhost")
    yield Case("-t TCP_RR -l -200 -k 2,3 -K 4,5 -- -k LOCAL_SEND_DIRTY_COUNT,"
               "LOCAL_RECV_CLEAN_COUNT")


def confidence() -> Iterator[Case]:
    """-i and -I: reached, not reached, wrong."""
    for test in ("TCP_RR", "TCP_STREAM", "TCP_MAERTS", "UDP_RR", "UDP_STREAM -f M"):
        yield Case(f"-t {test} -l 1 -c -C -i 3,3 -I 95,0.0001 -r")
    yield Case("-t TCP_RR -l 1 -i 3,3 -I 99,0.0001")
    yield Case("-t TCP_RR -l 1 -i 3,3 -I 95,10000")
    yield Case("-t TCP_RR -l 1 -i 4,3 -I 95,10000 -r -P 0")
    yield Case("-t TCP_RR -l 1 -i 1 -I 95,10000 -- -k CONFIDENCE_LEVEL,CONFIDENCE_INTERVAL,"
               "CONFIDENCE_ITERATION,THROUGHPUT_CONFID,LOCAL_CPU_CONFID,REMOTE_CPU_CONFID")
    yield Case("-t TCP_CC -l 1 -i 3,3 -I 95,10")
    yield Case("-t TCP_RR -l 1 -I 90")
    yield Case("-t TCP_RR -l 1 -I 42,5")


def messages() -> Iterator[Case]:
    """What goes wrong, and what says so.

    Two things that go wrong in netperf itself are left out: -i with TCP_SENDFILE, and an
    interrupted TCP_MAERTS, whose own timer may interrupt it once more.
    """
    yield Case("-t TCP_RR -H 127.0.0.1 -p {data} -l 1", bare=True, more_err=True)
    yield Case("-t TCP_STREAM -H 127.0.0.1 -p {data} -l 1 -P 0 -v 0", bare=True, more_err=True)
    yield Case("-t TCP_RR -H ::1 -p {data} -l 1", bare=True, more_err=True)
    yield Case("-t TCP_RR -H 127.0.0.1 -L 127.0.0.1 -p {data} -l 1", bare=True, more_err=True)
    yield Case("-t TCP_RR -H no-such-host.invalid -p {data} -l 1", bare=True, more_err=True)
    yield Case("-t NO_SUCH_TEST -l 1", more_err=True)
    yield Case("-t TCP_RRR -l 1", more_err=True)
    yield Case("-t SCTP_RR -l 1", more_err=True)
    yield Case("-t SCTP_STREAM -l 1", more_err=True)
    yield Case("-h", bare=True, ours=USAGE)
    yield Case("-q", bare=True, ours=USAGE)
    yield Case("-t", bare=True, ours=USAGE)
    yield Case("--nonsense", bare=True, ours=USAGE)
    yield Case("-V", bare=True)
    yield Case("-V -t TCP_RR -l 1", bare=True)
    yield Case("-t TCP_RR -l 1 -- -h", ours=USAGE)
    yield Case("-t TCP_RR -l 1 -- -Q 5", more_err=True)
    yield Case("-t TCP_RR -l 1 -- -x", more_err=True)
    yield Case("-t TCP_STREAM -l 1 -- -Q", more_err=True)
    yield Case("-t TCP_RR -l 1 -- -r", more_err=True)
    yield Case("-t TCP_CC -l 1 -- -x", more_err=True)
    yield Case("-t TCP_RR -l 1 -- -o no-such-file", more_err=True)
    yield Case("-t TCP_RR -l 1 -- -k no-such-file", more_err=True)
    yield Case("-t TCP_RR -l 1 -- -i")
    yield Case("-t UDP_STREAM -l 1 -- -m 70000")
    yield Case("-t UDP_RR -l 1 -- -r 70000", target=TOO_LONG)
    yield Case("-t TCP_RR -l 1 -- -K no_such_control", more_err=True)
    yield Case("-t TCP_RR -l 1 -- -H no-such-host.invalid", more_err=True)
    yield Case("-t TCP_RR -l 1 -F {dir}/missing", crash="a segmentation fault")
    yield Case("-t TCP_RR -l 1 -- -o THROUGHPUT,NO_SUCH_THING", crash="an abort in malloc")
    yield Case("-t TCP_SENDFILE -l 1 -F /etc/passwd", more_err=True)
    yield Case("-t TCP_RR -l 1 -p {port},{data}")
    yield Case("-t TCP_RR -l 1 -Z sesame")
    yield Case("-t TCP_RR -l 1 extra words")
    yield Case("-t TCP_RR -l 1 -f q", more_err=True)
    yield Case("-t TCP_RR -l 1 -T 4000", more_err=True)
    for number in (signal.SIGINT, signal.SIGALRM):
        yield Case("-t TCP_RR -l 30 -D -0.3", interrupt=number, engines=True)
        yield Case("-t UDP_RR -l 0 -D -0.3", interrupt=number)
        yield Case("-t TCP_STREAM -l 30 -D -0.3 -- -k", interrupt=number)
    yield Case("-t UDP_STREAM -l 30 -D -0.3 -- -m 1000", interrupt=signal.SIGINT)
    yield Case("-t TCP_RR -l 30 -D -0.3 -P 0", interrupt=signal.SIGTERM)
    for options in ("-t TCP_STREAM -l 1 -N", "-t TCP_STREAM -l 1 -N -P 0 -v 0"):
        yield Case(f"-H 127.0.0.1 {options} -- -P ,{{sink}}", bare=True)
    yield Case("-H 127.0.0.1 -t UDP_STREAM -l 1 -N -- -m 1000 -P ,{sink}", bare=True)
    yield Case("-H 127.0.0.1 -t TCP_RR -l 1 -N -- -P ,{echo}", bare=True)
    yield Case("-H 127.0.0.1 -t UDP_RR -l 1 -N -- -P ,{echo}", bare=True)
    yield Case("-H 127.0.0.1 -t TCP_RR -l 1 -N -- -P ,{data}", bare=True)
    yield Case("-h", program="netserver", ours=USAGE)
    yield Case("-q", program="netserver", ours=USAGE)
    yield Case("-V", program="netserver")
    yield Case("-D -L 127.0.0.1 -p {port} -4", program="netserver", more_err=True)
    yield Case("-D -L 192.0.2.1 -p {data}", program="netserver", more_err=True)


def consumers() -> Iterator[Case]:
    """What the programs that drive netperf type."""
    flent = ("THROUGHPUT,LOCAL_CONG_CONTROL,REMOTE_CONG_CONTROL,TRANSPORT_MSS,"
             "LOCAL_TRANSPORT_RETRANS,REMOTE_TRANSPORT_RETRANS,LOCAL_SOCKET_TOS,"
             "REMOTE_SOCKET_TOS,DIRECTION,ELAPSED_TIME,PROTOCOL,LOCAL_SEND_SIZE,"
             "LOCAL_RECV_SIZE,REMOTE_SEND_SIZE,REMOTE_RECV_SIZE,LOCAL_BYTES_SENT,"
             "LOCAL_BYTES_RECVD,REMOTE_BYTES_SENT,REMOTE_BYTES_RECVD")
    start = "-P 0 -v 0 -D -0.20 -4"
    for options, specific in (
            ("-t UDP_RR -l 2 -F /dev/urandom", "-e 2"),
            ("-Y cs5,cs5 -t UDP_RR -l 2 -F /dev/urandom", "-e 2"),
            ("-t TCP_STREAM -l 2 -F /dev/urandom -f m", "-m ,16384"),
            ("-Y cs0,cs0 -t TCP_STREAM -l 2 -F /dev/urandom -f m", "-m 16384"),
            ("-t TCP_MAERTS -l 2 -F /dev/urandom -f m", "-M ,16384"),
            ("-L 127.0.0.1 -t TCP_MAERTS -l 2 -F /dev/urandom -f m", "-M 16384")):
        yield Case(f"{start} {options} -- {specific} -H 127.0.0.1 -k {flent} -K reno")
    yield Case("-l 1 -D -0.2 -- -e 1", bare=True, more_err=True)
    cilium = ("MIN_LATENCY,MEAN_LATENCY,MAX_LATENCY,P50_LATENCY,P90_LATENCY,P99_LATENCY,"
              "TRANSACTION_RATE,THROUGHPUT,THROUGHPUT_UNITS")
    for test in ("TCP_RR", "UDP_RR", "TCP_CRR", "TCP_STREAM", "UDP_STREAM"):
        yield Case(f"-l 1s -t {test} -- -R 1 -o {cilium}")
    k8s = ("rt_latency,p99_latency,throughput,throughput_units,remote_recv_calls,"
           "local_send_calls,local_transport_retrans")
    for test in ("TCP_RR", "TCP_STREAM", "UDP_STREAM", "TCP_CRR"):
        sizes = "-m 1024,1024" if test.endswith("STREAM") else "-r 1024,1024"
        # A datagram to a port that both ends have on one host may reach either.
        ports = "{data2},{data}" if test.startswith("UDP") else "{data}"
        yield Case(f"-s 1 -l 1 -t {test} -- -k {k8s} {sizes} -P {ports}", host="127.0.0.2",
                   unlike=("LOCAL_TRANSPORT_RETRANS",) if test == "TCP_CRR" else ())
    yield Case("-s 1 -l 1 -t TCP_RR -- -k rt_latency,throughput -r 1024,1024 -b 10 -P {data}",
               host="127.0.0.2")
    yield Case("-t TCP_RR -v 2 -l 1 -- -P {data}", host="127.0.0.2")
    yield Case("-t TCP_RR -l 1 -- -r 1,1 -o P50_LATENCY,P90_LATENCY,P99_LATENCY")
    yield Case("-P 0 -t TCP_RR -l 1 -- -r 1,1 -o P50_LATENCY,P90_LATENCY,P99_LATENCY")
    yield Case("-P 0 -v 0 -t TCP_RR -l 1 -f k")
    yield Case("-t TCP_STREAM -l 1 -v 0 -P 0 -Z pass")
    yield Case("-l 1 -t TCP_STREAM -f M -v 0 -P 0")
    for test in ("TCP_STREAM", "TCP_MAERTS"):
        yield Case(f"-t {test} -l 1 -v 0 -P 0", environment=(("DUMP_TCP_INFO", "1"),))
    yield Case("-t TCP_RR -l 1", environment=(("DUMP_TCP_INFO", "1"),))


GROUPS = {make.__name__: tuple(make()) for make in (
    tables, lengths, units, interim, selectors, omni, settings, confidence, messages,
    consumers)}
CASES = tuple(case for cases in GROUPS.values() for case in cases)
