"""What -h prints: the options there are, in our words and in netperf's form."""

from __future__ import annotations

__all__ = ["CLIENT", "CLIENT_CLASSIC", "CLIENT_TEST", "SERVER"]

CLIENT = """
Usage: netperf [global options] -- [test options]

Global options:
    -4, -6            IPv4 or IPv6 only
    -a send[,recv]    Alignment of local buffers in bytes
    -A send[,recv]    Alignment of remote buffers
    -b n[,n]          Units per interval of -w, local and remote; alone: every 1 ms
    -B text           Tag on result lines without headers
    -c [rate]         Measure local CPU utilisation
    -C [rate]         Measure remote CPU utilisation
    -d                Accepted; prints nothing more
    -D secs[,units]   Interim results about every so many seconds
    -f x|k|m|g|K|M|G  Unit of the rate; x is transactions per second
    -F file[,file]    Fill send buffers from a file, local and remote
    -h                This text
    -H host[,family]  Host that runs netserver or xenrr.server
    -i max[,min]      Iterations for a confidence interval (3 to 30)
    -I level[,width]  Confidence level 95 or 99, full width in %
    -j                With -v 2, a histogram after the table
    -k, -K n[,n]      Accepted; buffers are never dirtied, as in Debian's build
    -l length         Seconds (10, 10s, 1m30s), or -N for N transactions or bytes;
                      0 until SIGINT
    -L host[,family]  Local address
    -n number         Accepted; CPUs are counted by the system
    -N                No control connection: straight to the data port
    -o send[,recv]    Offset of local buffers in bytes
    -O send[,recv]    Offset of remote buffers
    -p port[,local]   Control port of the server, and the local one
    -P 0|1            Headers off or on
    -r                The confidence of the rate is enough
    -s seconds        Pause between set-up and the first request
    -S                SO_KEEPALIVE on the data connection
    -t test           TCP_STREAM, TCP_MAERTS, TCP_SENDFILE, TCP_RR, TCP_CRR, TCP_CC,
                      UDP_STREAM, UDP_RR, omni, TCP_MSS, UUID, LOC_CPU, REM_CPU
    -T local[,remote] Bind each end to a CPU
    -v level          0 one number, 1 table, 2 details
    -V                Version of netperf whose words these are
    -w time[,time]    Interval of a paced test, local and remote (10 and 10m: ms, 10u: us)
    -W send[,recv]    Buffers in each ring
    -y local[,remote] SO_PRIORITY
    -Y local[,remote] Type of service: 0 to 255, 0x28, af11, cs5, ef, lowdelay
    -Z passphrase     Passphrase that the server wants

xenrr's own, anywhere on the line:
    --arrivals how    With --rate: uniform or poisson
    --busy-poll usec  SO_BUSY_POLL of the data socket
    --decompose       Round trips: time their parts; --json has them
    --engine name     hot (C), pure (Python) or auto
    --flows number    TCP_RR, UDP_RR: so many connections at once
    --json            Nothing but the full record of each run, one JSON document a line
    --percentiles [p,p,...]  Exact percentiles in microseconds after the results
    --poller name     How to wait for many: io_uring, epoll, poll or auto
    --rate R[/flow]   TCP_RR, UDP_RR: R requests per second, on schedule
    --seed number     Of --arrivals poisson
    --spin            Round trips: poll for a moment before blocking
    --version         Version of xenrr
"""

CLIENT_TEST = """
Usage: netperf [global options] -- [test options]

Options of omni and of TCP_STREAM, TCP_MAERTS, TCP_RR, TCP_CRR, UDP_STREAM, UDP_RR:
    -4, -6            IPv4 or IPv6 for the data connection
    -a                TCP_DEFER_ACCEPT at the target
    -b number         Requests in flight beyond the first
    -B                IP_PKTINFO at the target
    -c                A connection for every transaction
    -C                TCP_CORK at the sender
    -d direction      omni: send, receive or rr; 2, 4 or 6; joined with |
    -D                TCP_NODELAY at both ends
    -e seconds        UDP: a request without a response for this long is lost (1)
    -f                IP_MTU_DISCOVER: do not fragment
    -F                TCP Fast Open
    -g                SO_DEBUG on the local socket
    -G bytes          TCP_MAXSEG of the local socket
    -h                This text
    -H host[/mask][,family]  Where the data goes; a mask makes its host bits random
    -i, -j, -n, -N, -w  Accepted, without effect
    -I                write() instead of send()
    -k [selectors]    Results as NAME=value; '?' lists the selectors
    -K name[,name]    TCP congestion control, local and remote
    -l number         TTL of multicast datagrams
    -L host[/mask][,family]  Where the data comes from
    -m send[,send]    Bytes per send, local and remote
    -M recv[,recv]    Bytes per receive, remote and local
    -o [selectors]    Results as CSV
    -O [selectors]    Results in columns
    -p low[,high]     Local ports of a test that makes connections
    -P local[,remote] Ports of the data connection
    -q bytes          SO_MAX_PACING_RATE of the local socket, per second
    -r req[,rsp]      Request and response size in bytes
    -R 0|1            Whether the data may be routed
    -s send[,recv]    Local socket buffers in bytes
    -S send[,recv]    Remote socket buffers in bytes
    -t stream|dgram   Type of the sockets
    -T protocol       tcp or udp
    -u text           UUID of this test
    -U                Keep trying when a connection is refused
    -V                Copy avoidance: what is received is dropped in the kernel
    -W number         Buffers in the send ring

One value without a comma stands for both where the second is in brackets behind a comma,
but for -m, -M, -H and -L; "a," and ",b" give the first or the second.
Sizes take K M G (powers of 1024) and k m g (powers of 1000).
"""

CLIENT_CLASSIC = """
Usage: netperf [global options] -- [test options]

Options of TCP_CC, TCP_SENDFILE and TCP_MSS:
    -4, -6            IPv4 or IPv6 for the data connection
    -b, -n, -N        Accepted, without effect
    -C                TCP_CORK at the sender
    -D                TCP_NODELAY at both ends
    -h                This text
    -H host[,family]  Where the data connection goes
    -L host[,family]  Where the data connection comes from
    -m bytes          Bytes per send
    -M bytes          Bytes per receive, at the target
    -p low[,high]     Local ports of TCP_CC
    -P local[,remote] Ports of the data connection
    -r req[,rsp]      Printed sizes; TCP_CC sends nothing
    -R 0|1            Whether the data may be routed
    -s send[,recv]    Local socket buffers in bytes
    -S send[,recv]    Remote socket buffers in bytes
    -V                Copy avoidance
    -W number         Buffers in the send ring

One value without a comma stands for both; "a," and ",b" give the first or the second.
Sizes take K M G (powers of 1024) and k m g (powers of 1000).
"""

SERVER = """
Usage: netserver [options]

Options:
    -4, -6            IPv4 or IPv6 only
    -d                A line on stderr for each request, too
    -D                Stay in the foreground
    -f                One control connection at a time
    -h                This text
    -L host[,family]  Address to listen on
    -n number         CPUs of this machine, where the system does not tell
    -N                No -d; no debug file is ever written
    -p port           Port to listen on
    -v level          1 and above: a line on stderr for each finished test
    -V                Version of netperf whose words these are
    -Z passphrase     Passphrase that clients have to send

xenrr's own:
    --any-source      Data from any address, and datagrams to any
    --busy-poll usec  SO_BUSY_POLL of the data sockets
    --engine name     hot (C), pure (Python) or auto
    --poller name     How to wait for many connections: io_uring, epoll, poll or auto
    --spin            Round trips: poll for a moment before blocking
    --version         Version of xenrr
"""
