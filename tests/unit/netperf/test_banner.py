"""Header lines as Debian's netperf 2.7.0 printed them for the same options."""

from __future__ import annotations

import pytest

from xenrr.netperf.banner import banner

ANY_V4 = "from 0.0.0.0 (0.0.0.0) port 0 AF_INET"
TCP, UDP = ("MIGRATED TCP REQUEST/RESPONSE TEST ", "MIGRATED UDP REQUEST/RESPONSE TEST ")


@pytest.mark.parametrize(("line", "text"), [
    ("-t TCP_RR", f"{TCP}{ANY_V4} to 127.0.0.1 () port 0 AF_INET : demo : first burst 0"),
    ("-t udp_rr", f"{UDP}{ANY_V4} to 127.0.0.1 () port 0 AF_INET : demo : first burst 0"),
    ("-t TCP_RR -- -D -b 4", f"{TCP}{ANY_V4} to 127.0.0.1 () port 0 AF_INET : nodelay : demo "
                             ": first burst 4"),
    ("-H 1.2 -t TCP_RR", f"{TCP}{ANY_V4} to 1.2 (1.0.0.2) port 0 AF_INET : demo "
                         ": first burst 0"),
    ("-H ::1 -t TCP_RR", f"{TCP}from ::0 (::) port 0 AF_INET6 to ::1 (::1) port 0 AF_INET6 "
                         ": demo : first burst 0"),
    ("-L 127.0.0.3 -t TCP_RR", f"{TCP}from 127.0.0.3 () port 0 AF_INET to 127.0.0.1 () port 0 "
                               "AF_INET : demo : first burst 0"),
    ("-L 127.0.0.3 -t TCP_RR -- -H 127.0.0.2",
     f"{TCP}{ANY_V4} to 127.0.0.2 () port 0 AF_INET : demo : first burst 0"),
    ("-t TCP_RR -- -P 5556,5557", f"{TCP}from 0.0.0.0 (0.0.0.0) port 5556 AF_INET to 127.0.0.1 "
                                  "() port 5557 AF_INET : demo : first burst 0"),
    ("-t TCP_RR -- -H ::1,6", f"{TCP}from ::0 (::) port 0 AF_INET6 to ::1 (::1) port 0 "
                              "AF_INET6 : demo : first burst 0"),
    ("-t TCP_RR -i 3", f"{TCP}{ANY_V4} to 127.0.0.1 () port 0 AF_INET : +/-2.500% @ 99% conf. "
                       " : demo : first burst 0"),
    ("-t TCP_RR -I 95,0.1 -r -- -D",
     f"{TCP}{ANY_V4} to 127.0.0.1 () port 0 AF_INET : +/-0.050% @ 95% conf. "
     " on result only : nodelay : demo : first burst 0"),
    ("", f"MIGRATED TCP STREAM TEST {ANY_V4} to 127.0.0.1 () port 0 AF_INET : demo"),
    ("-t TCP_CRR", f"MIGRATED TCP Connect/Request/Response TEST {ANY_V4} to 127.0.0.1 () port "
                   "0 AF_INET : demo"),
    ("-t TCP_CC -- -V", f"TCP Connect/Close TEST {ANY_V4} to 127.0.0.1 () port 0 AF_INET "
                        ": copy avoidance : demo"),
    ("-t UDP_STREAM -T 0,1", f"MIGRATED UDP STREAM TEST {ANY_V4} to 127.0.0.1 () port 0 "
                             "AF_INET : demo : cpu bind"),
    ("-t TCP_RR -N", f"{TCP}{ANY_V4} to 127.0.0.1 () port 7 AF_INET : no control : demo "
                     ": first burst 0"),
    ("-t TCP_SENDFILE -w 5", f"TCP SENDFILE TEST {ANY_V4} to 127.0.0.1 () port 0 AF_INET "
                             ": interval : demo"),
    ("-t omni", f"OMNI Send TEST {ANY_V4} to 127.0.0.1 () port 0 AF_INET : demo"),
    ("-t omni -- -d maerts", f"OMNI Receive TEST {ANY_V4} to 127.0.0.1 () port 0 AF_INET "
                             ": demo"),
    ("-t omni -- -r 1", f"OMNI Send|Recv TEST {ANY_V4} to 127.0.0.1 () port 0 AF_INET : demo"),
    ("-t omni -- -c -r 1", f"OMNI Connect|Send|Recv TEST {ANY_V4} to 127.0.0.1 () port 0 "
                           "AF_INET : demo"),
    ("-t omni -- -c", f"OMNI Connection TEST {ANY_V4} to 127.0.0.1 () port 0 AF_INET : demo"),
    ("-t TCP_RR -- -H 127.0.0.0/8", f"{TCP}{ANY_V4} to 127.0.0.0 () port 0 AF_INET : demo "
                                    ": first burst 0"),
    ("-t TCP_RR -I 95", f"{TCP}{ANY_V4} to 127.0.0.1 () port 0 AF_INET : +/-47.500% @ 95% "
                        "conf.  : demo : first burst 0"),
])
def test_header_line(outcome, line, text):
    built = outcome(line)
    assert banner(built.options, built.ends) == f"{text}\n"
